"""Classifier for outputs from elsewhere: logits or probabilities of any model, in place of a model and texts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..backbones import OUTPUTS, OutputsBackbone
from ..backbones.outputs import FIELD
from ..data import load_outputs
from ..data.columns import check_arguments
from ..data.matching import NameIndex
from ..data.objects import index_of
from ..display.progress import Progress, no_report
from ..display.wording import cut
from ..errors import ArgumentError, ArgumentTypeError, DataError, HeadMismatchError, NotApplicableError
from ..evaluation.evaluation import Evaluation
from ..evaluation.grouped import GroupedEvaluation
from ..evaluation.label_warnings import warn_of_labels
from ..features.arrays import Features
from ..head.fit import FitResult
from ..head.fit_multilabel import MultiLabelResult
from ..predictions import MultiLabelPredictions, Predictions, TokenPredictions
from ..saved.format import read_config
from ..saved.hub import resolve_head
from .base import UncertainClassifier
from .elsewhere import warn_of_row_errors
from .held_out import warn_of_seen_texts
from .slot import check_model_class

HIDDEN_SIZE = "hidden size"  # fact about a head: size D of its vectors, None if log-probabilities stand in their place
MAX_REPEATED = 0.01  # share of rows with outputs of another row, above which outputs do not identify a text


class UncertainOutputs(UncertainClassifier):
    """Outputs of any classifier with an uncertainty head; no model is needed.

    All methods of :class:`UncertainClassifier` take outputs in place of texts, in every form that
    :func:`aligned_entropy.data.load_outputs` reads; a string is a path. Methods that run or change a model raise
    ``NotApplicableError``. See :meth:`UncertainClassifier.from_outputs`.
    """

    reads_outputs: ClassVar[bool] = True

    @property
    def field(self) -> str | None:
        """Name of the field of a JSON object that the class is read from in responses; None for other outputs."""
        field: str | None = self.backbone.facts.get(FIELD)
        return field

    def load_head(self, folder: str | Path) -> Self:
        """Use a head that was fitted on outputs with the same label names, and return the classifier.

        Raises:
            HeadMismatchError: the head is damaged, was fitted for a model, for other label names, or for another field.
        """
        folder = resolve_head(folder)
        facts = _facts_of(folder)
        labels = facts["labels"]
        if labels != self.label_names:
            raise HeadMismatchError(
                f"the head in {folder} was fitted for the classes {', '.join(labels[:30])}, in this order, but the "
                f"outputs have {', '.join(self.label_names[:30])}: give the names and the outputs in the order of the "
                "head, or fit another head."
            )
        if facts.get(FIELD) != self.field:
            fields = ["no field" if name is None else f"the field {name!r}" for name in (facts.get(FIELD), self.field)]
            raise HeadMismatchError(
                f"the head in {folder} was fitted on {fields[0]} of responses, but these are read with {fields[1]}: "
                "leave field or --field out to use that of the head, or fit another head."
            )
        return super().load_head(folder)

    def predict(
        self,
        texts: Any,
        progress: Progress = no_report,
        *,
        text_column: str | None = None,
        text_pair_column: str | None = None,
    ) -> Predictions | MultiLabelPredictions | TokenPredictions:
        """Predict from outputs, with their uncertainty; labels are not needed.

        Args:
            texts: outputs: path, or data in memory, see :func:`aligned_entropy.data.load_outputs`.
            progress: function that takes the number of rows read since its last call, as ``tqdm.update`` does.
            text_column: column with the texts, for a head with a lexical view; ``text`` by default.

        Raises:
            DataError: the outputs cannot be read, or lack vectors or texts that the head needs.

        Warns:
            UserWarning: responses of a language model cannot be read; their numbers are NaN, and ``row_errors`` has the
                reasons.
        """
        _check_no_pairs(text_pair_column)
        options: dict[str, Any] = {"text_column": text_column, "with_row_errors": True}
        features = self._read(texts, progress, (), bool(self.head.views), labeled=False, **options)
        warn_of_row_errors(features)
        warn_of_seen_texts(self.saved, features)
        return replace(self.predict_features(features), index=index_of(texts))

    def features(
        self,
        data: Any,
        progress: Progress = no_report,
        *,
        extras: Collection[str] = (),
        views: bool | None = None,
        **columns: Any,
    ) -> Features:
        """Read labeled outputs.

        Args:
            data: path, or data in memory, see :func:`aligned_entropy.data.load_outputs`.
            progress: function that takes the number of rows read since its last call, as ``tqdm.update`` does.
            extras: names of arrays that only a model could compute; they are left out.
            views: True for the texts of the lexical view, too; by default unless a fitted head has no views.
            columns: ``text_column``, ``label_column`` and ``label_map``.

        Raises:
            DataError: the outputs cannot be read, or their labels are not the classes.

        Warns:
            UserWarning: the labels hint at a mistake, or texts are copies; see :mod:`..evaluation.label_warnings`.
        """
        check_arguments(columns)
        _check_no_pairs(columns.pop("text_pair_column", None))
        features = self._read(data, progress, extras, views, labeled=True, **columns)
        warn_of_labels(features, self.label_names, None if "tokens" in features.absent else features.hashes)
        return features

    def held_out_features(self, data: Any, progress: Progress = no_report, **options: Any) -> Features:
        """Read labeled outputs as :meth:`features` does, since they do not say what a model was trained on."""
        return self.features(data, progress, **options)

    def plain_features(
        self,
        data: Any,
        progress: Progress = no_report,
        *,
        extras: Collection[str] = (),
        text_column: str | None = None,
        text_pair_column: str | None = None,
        views: bool | None = None,
    ) -> Features:
        """Read outputs without their labels; arguments and errors as for :meth:`features`.

        Raises:
            NotApplicableError: a column of second texts was given, which the lexical view does not read.
        """
        _check_no_pairs(text_pair_column)
        return self._read(data, progress, extras, views, labeled=False, text_column=text_column)

    def _read(
        self, data: Any, progress: Progress, extras: Collection[str], views: bool | None, **options: Any
    ) -> Features:
        views = self._needs_views(views)
        features = load_outputs(data, label_names=self.label_names, field=self.field, views=views, **options)
        progress(len(features))
        reasons = dict.fromkeys(extras, f"{OUTPUTS} have no model that could compute it.")
        return replace(features, absent={**features.absent, **reasons})

    def fit_features(
        self,
        calibration: Features,
        *,
        reference: Features | None = None,
        weights: NDArray[np.float64] | None = None,
        config: Any = None,
        progress: Progress = no_report,
    ) -> FitResult | MultiLabelResult:
        """Fit the head on features of labeled outputs; see :meth:`UncertainClassifier.fit_features`.

        Raises:
            DataError: the reference has other vectors than the calibration set.
        """
        calibration = self._with_vectors(calibration)
        if reference is not None:
            reference = self._matching(reference, _hidden_size(calibration), "the calibration set")
        options = {"weights": weights, "config": config, "progress": progress}
        result = super().fit_features(calibration, reference=reference, **options)
        facts = self.saved.backbone | {HIDDEN_SIZE: _hidden_size(calibration)}
        hashes = self.saved.text_hashes
        if {"hidden", "tokens"} <= calibration.absent.keys():
            repeated = 1 - len(np.unique(hashes.numpy())) / len(hashes)
            hashes = hashes if repeated <= MAX_REPEATED else torch.zeros(0, dtype=torch.int64)
        self.saved = replace(self.saved, backbone=facts, text_hashes=hashes)
        return result

    def predict_features(self, features: Features) -> Predictions | MultiLabelPredictions:
        """Predict from features of outputs, with their uncertainty.

        Raises:
            DataError: the features lack vectors or texts that the head needs.
        """
        return super().predict_features(self._for_head(features))

    def evaluate_features(
        self,
        features: Features,
        *,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        **options: Any,
    ) -> Evaluation | GroupedEvaluation:
        """Measure the head and other scores on features of labeled outputs; arguments as for :meth:`evaluate`."""
        test, train, calibration, ood = (
            None if part is None else self._for_head(part) for part in (features, train, calibration, ood)
        )
        assert test is not None, "features are given"
        return super().evaluate_features(test, train=train, calibration=calibration, ood=ood, **options)

    def _for_head(self, features: Features) -> Features:
        """Check features against the head in use, and give them the vectors that it reads."""
        if self.head.error_model is None:
            return self._with_vectors(features)
        missing = [name for name in self.head.views if name not in features.views]
        if missing:
            raise DataError(
                f"the head reads the words of a text, but {features.absent.get('tokens', 'the texts were not read.')} "
                "Add the texts, or fit a head without views."
            )
        return self._matching(features, self.saved.backbone.get(HIDDEN_SIZE), "the head")

    def _matching(self, features: Features, hidden_size: int | None, owner: str) -> Features:
        """Give features the vectors of a size; None for log-probabilities, which every row has."""
        if hidden_size is None:
            features = replace(features, hidden=features.hidden[:, :0])
        features = self._with_vectors(features)
        if _hidden_size(features) != hidden_size:
            raise DataError(
                f"{owner} has vectors of {hidden_size} numbers in the column 'hidden' (or 'embedding'), but these rows "
                f"have {_hidden_size(features) or 'none'}: give the vectors of the same model for all rows, or fit "
                "a head without them."
            )
        return features

    def _with_vectors(self, features: Features) -> Features:
        """Put log-probabilities in place of missing vectors, so that the head can look up neighbors."""
        from scipy.special import log_softmax

        if features.logits.shape[1] != len(self.label_names):
            raise DataError(f"the logits have {features.logits.shape[1]} classes, not {len(self.label_names)}.")
        if features.hidden.shape[1] and "hidden" not in features.absent:
            return features
        absent = {"hidden": "these outputs have no column 'hidden'.", **features.absent}
        return replace(features, hidden=log_softmax(features.logits, axis=1).astype(np.float32), absent=absent)


def classifier_of_outputs(
    label_names: Sequence[str] | None = None, head: str | Path | None = None, field: str | None = None
) -> UncertainOutputs:
    """Create a classifier for outputs; see :meth:`UncertainClassifier.from_outputs`."""
    folder = None if head is None else resolve_head(head)
    facts = {} if folder is None else _facts_of(folder)
    if label_names is None:
        if folder is None:
            raise ArgumentError("label_names are missing: name the classes in the order of the outputs.")
        label_names = facts["labels"]
    if isinstance(label_names, (str, bytes)) or not all(isinstance(name, str) for name in label_names):
        raise ArgumentTypeError(f"label_names is {cut(label_names, 80)}: pass a list of strings, one for each class.")
    if len(label_names) < 2:
        raise ArgumentError(f"label_names has {len(label_names)} class: at least two are needed.")
    NameIndex(label_names, "label_names")  # raises if two are equal
    if field is not None and (not isinstance(field, str) or not field):
        raise ArgumentTypeError(f"field is {cut(field, 80)}: pass the name of a field of the JSON objects.")
    classifier = UncertainOutputs(OutputsBackbone(label_names, facts.get(FIELD) if field is None else field))
    return classifier if folder is None else classifier.load_head(folder)


def _facts_of(folder: Path) -> dict[str, Any]:
    """Facts of a head that was fitted on outputs.

    Raises:
        HeadMismatchError: the folder holds no head, or one that was fitted for a model.
    """
    facts: dict[str, Any] = read_config(folder)["backbone"]
    check_model_class(facts, OUTPUTS)
    return facts


def _check_no_pairs(text_pair_column: str | None) -> None:
    """Raise an error if a column of second texts was given, which the lexical view does not read."""
    if text_pair_column is not None:
        raise NotApplicableError(
            f"text_pair_column={text_pair_column!r}: the outputs decide, and their lexical view reads one text; "
            "leave it out, or join both texts in one column."
        )


def _hidden_size(features: Features) -> int | None:
    return None if "hidden" in features.absent else features.hidden.shape[1]
