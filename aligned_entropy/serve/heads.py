"""A classifier whose head can be exchanged between two batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..classifier import UncertainClassifier
from ..errors import HeadMismatchError
from ..saved.format import head_fingerprint

TRIAL = ["a", "The first of them was better than the second, or so they said.", "1 2 3 ? !"]
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Answered:
    """What a classifier said of a text, and the version of the head that it had.

    Attributes:
        row: of its predictions.
        head: version.
    """

    row: Any
    head: str


class Served:
    """A classifier with the head in use, and the one before.

    Args:
        classifier: with its head.
        folder: where the head came from; None where it is untrained.
    """

    def __init__(self, classifier: UncertainClassifier, folder: str | Path | None = None) -> None:
        self.folder = folder
        self.current = (classifier, head_version(classifier))
        self.previous: tuple[UncertainClassifier, str] | None = None

    @property
    def classifier(self) -> UncertainClassifier:
        """The one in use."""
        return self.current[0]

    @property
    def version(self) -> str:
        """Of its head."""
        return self.current[1]

    def answer(self, texts: list[str]) -> list[Answered]:
        """Predictions by one and the same head."""
        classifier, version = self.current
        return [Answered(row, version) for row in classifier.predict(texts)]

    def load(self, folder: str | Path) -> str:
        """Put another head in use, if it is sound and belongs to this model; returns its version.

        Raises:
            HeadMismatchError: it does not; the head in use stays.
        """
        classifier = self.classifier
        try:
            candidate = type(classifier)(classifier.backbone).load_head(folder)
            version = head_version(candidate)
            said = np.array([row.uncertainty for row in candidate.predict(TRIAL)])
        except HeadMismatchError:
            raise
        except Exception as error:  # whatever a damaged file can make go wrong
            raise HeadMismatchError(f"the head in {folder} cannot be used: {type(error).__name__}: {error}") from error
        if not ((said >= 0) & (said <= 1)).all():
            raise HeadMismatchError(f"the head in {folder} is damaged: it gives an uncertainty of {said.tolist()}.")
        self.previous, self.current = self.current, (candidate, version)
        return version

    def roll_back(self) -> str:
        """Put the head before this one in use again; returns its version.

        Raises:
            HeadMismatchError: there is none.
        """
        if self.previous is None:
            raise HeadMismatchError("there is no head before this one.")
        self.previous, self.current = self.current, self.previous
        return self.version


def head_version(classifier: UncertainClassifier) -> str:
    """Twelve digits that tell a classifier's fitted head from any other."""
    return UNTRAINED if classifier.head.error_model is None else head_fingerprint(classifier.saved)[:12]
