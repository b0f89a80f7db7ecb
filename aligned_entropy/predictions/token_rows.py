"""Rows of token classification: the prediction for a text, with its entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.short_repr import ShortRepr
from .tables import all_finite
from .texts import Predictions


@dataclass(frozen=True, repr=False)
class Entity(ShortRepr):
    """Predicted entity, with the fields of transformers' ``pipeline("ner", aggregation_strategy=…)``.

    Attributes:
        entity_group: type of the entity.
        score: mean of the model's probabilities of the tags of the entity's words.
        word: characters of the entity, from ``start`` to ``end - 1`` of the text.
        start: offset of the entity's first character in the text.
        end: offset after the entity's last character.
        uncertainty: aggregated uncertainty of the entity's words, in [0, 1].
        error_probability: calibrated probability that the words or the type of the entity are wrong; None before a fit,
            and if the calibration set had fewer than ten wrong or ten correct entities.
        accepted: True if the threshold of the head accepts the entity; None without a threshold.
    """

    entity_group: str
    score: float
    word: str
    start: int
    end: int
    uncertainty: float
    error_probability: float | None
    accepted: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Fields by name; ``accepted`` only with a threshold."""
        return {name: value for name, value in asdict(self).items() if name != "accepted" or value is not None}


@dataclass(frozen=True, repr=False)
class TokenPrediction(ShortRepr):
    """Prediction for one text (a sentence) of W words.

    Attributes:
        text: text as a string; a list of words is joined by spaces.
        entities: predicted entities in the order of the text.
        words: predictions for the words, as arrays.
        offsets: first character of each word in the text, and the one after its last, ``[W, 2]``.
        uncertainty: aggregated uncertainty of the words; 0 without words.
        error_probability: calibrated probability that any tag is wrong; None before a fit, and if the calibration set
            had fewer than ten wrong or ten correct sentences.
        is_far: True if the text is farther from the calibration set than 99% of its own texts; None if unknown.
    """

    text: str
    entities: list[Entity]
    words: Predictions = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    uncertainty: float
    error_probability: float | None
    is_far: bool | None = field(default=None, repr=False, compare=False)

    @property
    def predicted(self) -> list[dict[str, Any]]:
        """Predicted entities as a JSON value."""
        return [entity.to_dict() for entity in self.entities]

    @property
    def is_finite(self) -> bool:
        """True if the probabilities of the words and the uncertainty of the text are finite."""
        return all_finite(self.uncertainty, self.error_probability, self.words.probabilities)

    @property
    def truncated(self) -> bool:
        """False: long texts are read in overlapping windows, so that no word is left out."""
        return False

    @property
    def accepted(self) -> bool | None:
        """True if all entities are accepted; None without entities or without a threshold."""
        accepted = [entity.accepted for entity in self.entities]
        return None if not accepted or None in accepted else all(accepted)

    @property
    def selection_units(self) -> list[tuple[float, bool | None]]:
        """Uncertainty and ``accepted`` of each selection unit; the units are the entities."""
        return [(entity.uncertainty, entity.accepted) for entity in self.entities]

    def columns(self, label_names: Sequence[str] = ()) -> dict[str, Any]:
        """Values of the row by column name; ``accepted`` is a field of the entities.

        Args:
            label_names: unused, since a text has no single distribution over the tags.
        """
        columns = {"entities": self.predicted, "uncertainty": self.uncertainty}
        return columns if self.error_probability is None else columns | {"error_probability": self.error_probability}
