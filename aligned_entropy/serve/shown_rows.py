"""Predicted rows and entities in the form in which the page shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ShownEntity:
    """Entity as the page shows it.

    Attributes:
        word: characters of the entity.
        label: type of the entity.
        uncertainty: error probability, or the uncertainty if there is none.
        accepted: True if the threshold accepts the entity; None without a threshold.
    """

    word: str
    label: str
    uncertainty: float
    accepted: bool | None


@dataclass(frozen=True)
class ShownRow:
    """Row as the page shows it.

    Attributes:
        text: text of the row.
        error: reason why there is no prediction; None if there is one.
        prediction: predicted label, or labels; empty for token classification.
        entities: predicted entities; None for other tasks.
        uncertainty: error probability, or the uncertainty if there is none; NaN without a prediction.
        accepted: True if the threshold accepts the prediction; None without a threshold.
        truncated: True if the model did not read all of the text.
        label_set: classes among which the right one is, as words; empty without a set.
    """

    text: str
    error: str | None = None
    prediction: str = ""
    entities: list[ShownEntity] | None = None
    uncertainty: float = math.nan
    accepted: bool | None = None
    truncated: bool = False
    label_set: str = ""

    @property
    def decisions(self) -> list[bool | None]:
        """Acceptance of every selection unit."""
        return [self.accepted] if self.entities is None else [entity.accepted for entity in self.entities]


def shown_entity(entity: Mapping[str, Any]) -> ShownEntity:
    """Convert an entity of a predicted row."""
    uncertainty = shown_uncertainty(entity["uncertainty"], entity.get("error_probability"))
    return ShownEntity(entity["word"], entity["entity_group"], uncertainty, entity.get("accepted"))


def shown_uncertainty(uncertainty: Any, error_probability: Any) -> float:
    """Return the error probability, or the uncertainty if there is none."""
    return float(uncertainty if error_probability is None else error_probability)
