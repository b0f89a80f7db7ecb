"""Head in use, which can be exchanged between two batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backbones import EndpointBackbone, LabelWordBackbone
from ..classifier import UncertainClassifier
from ..classifier.elsewhere import reasons_in_rows
from ..classifier.outputs import HIDDEN_SIZE
from ..errors import DataError, EndpointError, HeadMismatchError
from ..features.texts import Text, TextPair
from ..predictions import Row as PredictedRow
from ..saved.format import head_fingerprint

TRIAL_TEXTS = ["a", "The first of them was better than the second, or so they said.", "1 2 3 ? !"]
UNTRAINED = "untrained"


@dataclass(frozen=True)
class OutputsRow:
    """Outputs of a model for one text of a request.

    Attributes:
        number: position in the request, for error messages.
        columns: values by the name of their column, see :func:`aligned_entropy.data.load_outputs`.
    """

    number: int
    columns: dict[str, Any]


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
        folders: path or hub id of every head that was in use, by its version; empty for the untrained head.
        announce: function that is called with the next head before :meth:`replace` and :meth:`roll_back` put it in use;
            an exception of it leaves the head in use.
    """

    def __init__(self, classifier: UncertainClassifier, folder: str | Path | None = None) -> None:
        self.folder = folder
        self.current = VersionedClassifier(classifier, head_version(classifier))
        self.previous: VersionedClassifier | None = None
        self.folders = {self.current.version: str(folder or "")}
        self.announce: Callable[[VersionedClassifier], object] = lambda following: None

    @property
    def classifier(self) -> UncertainClassifier:
        """Classifier with the head in use."""
        return self.current.classifier

    @property
    def version(self) -> str:
        """Version of the head in use."""
        return self.current.version

    def predict(self, texts: list[Text | OutputsRow]) -> list[VersionedPrediction]:
        """Predict texts, pairs of texts or outputs, which may be of several requests, all with the same head.

        Raises:
            DataError: outputs cannot be read, or lack vectors or texts that the head needs.
            EndpointError: the endpoint that the model is behind cannot be used.
        """
        classifier, version = self.current
        rows: dict[int, PredictedRow] = {}
        kinds = [_kind(text) for text in texts]
        for kind in dict.fromkeys(kinds):
            positions = [position for position, other in enumerate(kinds) if other == kind]
            predictions = _predict_kind(classifier, [texts[position] for position in positions])
            rows |= dict(zip(positions, predictions, strict=True))
        return [VersionedPrediction(rows[position], version) for position in range(len(texts))]

    def replace(self, folder: str | Path) -> str:
        """Load a head and put it in use, after a trial; returns its version.

        The previous head stays the previous one if the head in use is loaded again.

        Raises:
            HeadMismatchError: the head cannot be loaded, is damaged or belongs to another model. The head in use stays.
        """
        candidate = self._load(str(folder))
        self.announce(candidate)
        if candidate.version != self.version:
            self.previous, self.current = self.current, candidate
        return self.version

    def roll_back(self) -> str:
        """Put the previous head in use again; returns its version.

        Raises:
            HeadMismatchError: there is no previous head.
        """
        if self.previous is None:
            raise HeadMismatchError("there is no previous head to go back to: the head was not exchanged yet.")
        self.announce(self.previous)
        self.previous, self.current = self.current, self.previous
        return self.version

    def take(self, folder: str, version: str) -> str:
        """Put the head in use that another server uses; returns its version.

        Args:
            folder: path or hub id of the head; empty for the untrained head.
            version: version that the head must have. The previous head is used again if it has this version.

        Raises:
            HeadMismatchError: the head cannot be loaded, or has another version. The head in use stays.
        """
        if self.version == version:  # it was exchanged here, too, while this call was waiting for its turn
            return version
        if self.previous is not None and self.previous.version == version:
            candidate = self.previous
        elif version == UNTRAINED:
            candidate = VersionedClassifier(type(self.classifier)(self.classifier.backbone), UNTRAINED)
        else:
            candidate = self._load(folder)
        if candidate.version != version:
            raise HeadMismatchError(
                f"the head in {folder} has the version {candidate.version}, but {version} was put in use from this "
                "folder: copy that head to this machine, too, or put a head in use again."
            )
        self.previous, self.current = self.current, candidate
        return version

    def _load(self, folder: str) -> VersionedClassifier:
        """Load a head and try it.

        Raises:
            HeadMismatchError: the head cannot be loaded, is damaged or belongs to another model.
        """
        classifier = self.classifier
        try:
            candidate = type(classifier)(classifier.backbone).load_head(folder)
            version = head_version(candidate)
            rows = _predict_kind(candidate, _trial(classifier, candidate))
            uncertainty = np.array([row.uncertainty for row in rows])
        except HeadMismatchError:
            raise
        except Exception as error:  # a damaged file can raise exceptions of many kinds
            raise HeadMismatchError(f"the head in {folder} cannot be used: {type(error).__name__}: {error}") from error
        if not ((uncertainty >= 0) & (uncertainty <= 1)).all():
            raise HeadMismatchError(
                f"the head in {folder} is damaged: its uncertainties {uncertainty.tolist()} are not all in [0, 1]."
            )
        self.folders[version] = folder
        return VersionedClassifier(candidate, version)


def _kind(text: Text | OutputsRow) -> object:
    """Key of the texts that can be predicted in one call: rows of outputs must have the same columns."""
    return frozenset(text.columns) if isinstance(text, OutputsRow) else isinstance(text, TextPair)


def _predict_kind(classifier: UncertainClassifier, texts: list[Text | OutputsRow]) -> list[PredictedRow]:
    outputs = [text for text in texts if isinstance(text, OutputsRow)]
    if isinstance(classifier.backbone, EndpointBackbone):
        return _predict_behind_endpoint(classifier, classifier.backbone, texts)
    if not outputs:
        return list(classifier.predict(texts))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # classes without a token; documented for the whole table
            return list(classifier.predict([row.columns for row in outputs]))
    except DataError as error:  # the batcher predicts the rows of a failed batch again, each alone
        reason = str(error).removeprefix("row 0 of ").removeprefix("row 0: ")
        raise DataError(f"row {outputs[0].number} of outputs: {reason}") from error


def _predict_behind_endpoint(
    classifier: UncertainClassifier, backbone: EndpointBackbone, texts: list[Any]
) -> list[PredictedRow]:
    """Predict texts by an endpoint; a text without a reply has its reason in its row.

    Raises:
        EndpointError: no request for these texts had a reply, or the endpoint refuses all.
    """
    with reasons_in_rows():
        rows: list[PredictedRow] = list(classifier.predict(texts))
    reasons = [getattr(row, "row_error", None) for row in rows]
    if backbone.client.failures >= len(set(texts)) and None not in reasons:
        raise EndpointError(f"no request for {len(texts)} texts had a reply; the last one: {reasons[-1]}.")
    return rows


def _trial(classifier: UncertainClassifier, candidate: UncertainClassifier) -> list[Any]:
    """Texts of the kind that the clients send, or outputs, to try a head on before it is put in use."""
    backbone = classifier.backbone
    if classifier.reads_outputs:
        return _trial_outputs(classifier)
    if isinstance(backbone, LabelWordBackbone | EndpointBackbone):
        return [backbone.prompts.trial(text) for text in TRIAL_TEXTS]
    pairs = candidate.saved.pairs if classifier.saved.pairs is None else classifier.saved.pairs
    return [TextPair(text, text) for text in TRIAL_TEXTS] if pairs else list(TRIAL_TEXTS)


def _trial_outputs(classifier: UncertainClassifier) -> list[dict[str, Any]]:
    """Rows with the columns that the head in use needs, since the clients send no others."""
    size = classifier.saved.backbone.get(HIDDEN_SIZE)
    columns = ({} if size is None else {"hidden": [0.5] * size}) | (
        {"text": TRIAL_TEXTS[1]} if classifier.head.views else {}
    )
    classes = len(classifier.label_names)
    return [{"logits": [scale * number for number in range(classes)]} | columns for scale in (0.0, 1.0, -5.0)]


def head_version(classifier: UncertainClassifier) -> str:
    """Twelve digits of the fingerprint of a fitted head; ``untrained`` for an untrained head."""
    return UNTRAINED if classifier.head.error_model is None else head_fingerprint(classifier.saved)[:12]
