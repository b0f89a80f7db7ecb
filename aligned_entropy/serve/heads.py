"""Head in use, which can be exchanged between two batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..backbones import LabelWordBackbone
from ..classifier import UncertainClassifier
from ..errors import HeadMismatchError
from ..features.texts import Text, TextPair
from ..predictions import Row as PredictedRow
from ..saved.format import head_fingerprint

TRIAL_TEXTS = ["a", "The first of them was better than the second, or so they said.", "1 2 3 ? !"]
UNTRAINED = "untrained"


@dataclass(frozen=True)
class VersionedPrediction:
    """Prediction for one text, and the version of the head that made it.

    Attributes:
        row: predicted row.
        head: version of the head.
    """

    row: PredictedRow
    head: str


class VersionedClassifier(NamedTuple):
    """Classifier with a head, and the version of this head.

    Attributes:
        classifier: classifier with its head.
        version: version of the head, see :func:`head_version`.
    """

    classifier: UncertainClassifier
    version: str


class ServedHead:
    """Slot for the head in use; it remembers the previous head.

    Args:
        classifier: classifier with its head.
        folder: path or hub id that the head was loaded from; None if the head is untrained.

    Attributes:
        folder: path or hub id that the first head was loaded from.
        current: classifier with the head in use. Read it once where several values must belong to one head.
        previous: classifier with the previous head; None before the first exchange.
    """

    def __init__(self, classifier: UncertainClassifier, folder: str | Path | None = None) -> None:
        self.folder = folder
        self.current = VersionedClassifier(classifier, head_version(classifier))
        self.previous: VersionedClassifier | None = None

    @property
    def classifier(self) -> UncertainClassifier:
        """Classifier with the head in use."""
        return self.current.classifier

    @property
    def version(self) -> str:
        """Version of the head in use."""
        return self.current.version

    def predict(self, texts: list[Text]) -> list[VersionedPrediction]:
        """Predict texts and pairs of texts, which may be of several requests, all with the same head."""
        classifier, version = self.current
        rows: dict[int, PredictedRow] = {}
        for kind in (str, TextPair):
            positions = [position for position, text in enumerate(texts) if isinstance(text, kind)]
            if positions:
                predictions = classifier.predict([texts[position] for position in positions])
                rows |= dict(zip(positions, predictions, strict=True))
        return [VersionedPrediction(rows[position], version) for position in range(len(texts))]

    def replace(self, folder: str | Path) -> str:
        """Load a head and put it in use, after a trial; returns its version.

        Raises:
            HeadMismatchError: the head cannot be loaded, is damaged or belongs to another model. The head in use stays.
        """
        classifier = self.classifier
        backbone, texts = classifier.backbone, list[Text](TRIAL_TEXTS)
        if isinstance(backbone, LabelWordBackbone):
            texts = [backbone.prompts.trial(text) for text in TRIAL_TEXTS]
        try:
            candidate = type(classifier)(classifier.backbone).load_head(folder)
            version = head_version(candidate)
            uncertainty = np.array([row.uncertainty for row in candidate.predict(texts)])
        except HeadMismatchError:
            raise
        except Exception as error:  # a damaged file can raise exceptions of many kinds
            raise HeadMismatchError(f"the head in {folder} cannot be used: {type(error).__name__}: {error}") from error
        if not ((uncertainty >= 0) & (uncertainty <= 1)).all():
            raise HeadMismatchError(
                f"the head in {folder} is damaged: its uncertainties {uncertainty.tolist()} are not all in [0, 1]."
            )
        self.previous, self.current = self.current, VersionedClassifier(candidate, version)
        return version

    def roll_back(self) -> str:
        """Put the previous head in use again; returns its version.

        Raises:
            HeadMismatchError: there is no previous head.
        """
        if self.previous is None:
            raise HeadMismatchError("there is no previous head to go back to: the head was not exchanged yet.")
        self.previous, self.current = self.current, self.previous
        return self.version


def head_version(classifier: UncertainClassifier) -> str:
    """Twelve digits of the fingerprint of a fitted head; ``untrained`` for an untrained head."""
    return UNTRAINED if classifier.head.error_model is None else head_fingerprint(classifier.saved)[:12]
