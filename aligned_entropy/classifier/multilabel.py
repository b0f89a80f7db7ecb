"""`UncertainMultiLabelClassifier`: texts with any number of labels, and how likely each of them is to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import LabeledTexts, checked_names, load_data, multilabel_texts
from ..errors import NotApplicableError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.evaluation import compare
from ..evaluation.fitted_scores import ScoreValues, score_values
from ..evaluation.grouped import GroupedEvaluation, group_values
from ..evaluation.groups import Groups, ScoreKey
from ..features.arrays import Features
from ..head.fit_multilabel import MultiLabelConfig, MultiLabelResult, fit_multilabel, pairs
from ..head.modules import in_float32
from ..head.multilabel_head import MultiLabelHead
from ..predictions.multilabel import MultiLabelPredictions
from ..scores import HEAD
from ..selective import SelectionUnits
from ..tasks import MultiLabelClassification, Task
from .base import UncertainClassifier

AGGREGATION = "product"  # of labels to a text, in what is printed
AGGREGATIONS = ("max", "mean", "product")


class UncertainMultiLabelClassifier(UncertainClassifier):
    """A multi-label classifier with an uncertainty head: what :class:`UncertainClassifier` is to one label a text.

    Every label is a yes or a no of its own, yes where its logit is above zero, and each of these answers has an
    uncertainty. A text is wrong where any of its answers is.
    """

    task: ClassVar[Task] = MultiLabelClassification()
    config_class: ClassVar[Any] = MultiLabelConfig

    def predict_features(self, features: Features) -> MultiLabelPredictions:
        """Predictions with their uncertainty, from features that are at hand."""
        answers, texts = self.said(features)
        fitted = self._head_in_use().error_model is not None
        logits = torch.tensor(features.logits)
        rule = self.saved.rule
        decided = None if rule is None else rule.accepts(texts, [""] * len(texts))
        return MultiLabelPredictions(
            logits.numpy() > 0, self.label_names, logits.sigmoid().numpy(), texts, answers, fitted, decided
        )

    def read_labeled(self, data: Any, **columns: Any) -> LabeledTexts:
        """Texts with their labels as the model has them; arguments and errors as for :meth:`fit`."""
        if isinstance(data, LabeledTexts):
            return checked_names(data, self.label_names, dimensions=2)
        return multilabel_texts(load_data(data), self.label_names, **columns)

    def fit_features(  # type: ignore[override]
        self, calibration: Features, *, reference: Features | None = None, config: MultiLabelConfig | None = None
    ) -> MultiLabelResult:
        """:meth:`fit` on features that are at hand.

        Raises:
            NotApplicableError: a reference was given, or a configuration for one label a text; neither is of use here.
        """
        if reference is not None:
            raise NotApplicableError("training texts as reference are of no use to a multi-label head: leave them out.")
        if config is not None and not isinstance(config, MultiLabelConfig):
            raise NotApplicableError(f"a {type(config).__name__} is for one label a text: use MultiLabelConfig.")
        module = self.backbone.copy_classification_module()
        result = fit_multilabel(
            module, calibration.hidden, calibration.labels, logits=calibration.logits, config=config
        )
        rows, of_texts = self.single_predictions(calibration), result.held_out_text.double().numpy()
        wholes = {"texts": CalibrationMaps.fit(of_texts, self.groups(rows)["texts"].errors, is_probability=True)}
        answers = self.selection_units(rows, of_texts)
        self._keep(result, calibration, rows, result.held_out.double().numpy().reshape(-1), wholes, answers)
        return result

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[str] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        resamples: int = 1000,
    ) -> GroupedEvaluation:
        """:meth:`evaluate` on features that are at hand: every answer, and texts with any answer that is wrong."""
        rows, known = (
            self.single_predictions(features),
            None if calibration is None else self.single_predictions(calibration),
        )
        answers, texts = self.said(features)
        fitted_scores, skipped = self._fitted_scores(
            scores, None if train is None else self.single_predictions(train), known
        )
        fitted_scores.pop(HEAD, None)
        values, missing = score_values(fitted_scores, rows)
        if self.head.error_model is not None or scores is None:
            values[HEAD] = ScoreValues(answers.astype(np.float64).reshape(-1), True, self.saved.maps)
        wholes = self.groups(rows)["texts"]
        said = group_values(values, wholes, None if known is None else self.groups(known)["texts"], AGGREGATIONS)
        if HEAD in values:
            own = str(ScoreKey(HEAD, AGGREGATION))
            said[own] = replace(
                said[own], uncertainty=texts.astype(np.float64), maps=self.saved.group_maps.get("texts")
            )
        skipped |= missing
        single = compare(
            rows.errors, values, skipped=skipped, resamples=resamples, unit="predictions", clusters=rows.clusters
        )
        whole = compare(wholes.errors, said, skipped={}, resamples=resamples)
        return GroupedEvaluation(single, {"texts": whole}, {"texts": AGGREGATION})

    def _new_head(self) -> MultiLabelHead:
        return MultiLabelHead(self.backbone.copy_classification_module())

    def single_predictions(self, features: Features) -> Features:
        """Every label's yes or no as a row of two classes."""
        return pairs(features)

    def groups(self, answers: Features) -> dict[str, Groups]:
        """Texts of such rows."""
        assert answers.clusters is not None, "rows of texts"
        return {"texts": Groups.from_clusters(answers.clusters, answers.errors)}

    def selection_units(self, answers: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """Texts, given the uncertainty of every text; with any number of labels they have no one class."""
        errors = self.groups(answers)["texts"].errors
        return SelectionUnits(uncertainty.astype(np.float32), errors, np.full(len(errors), ""))

    def said(self, features: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Uncertainty of every answer ``[N, L]`` and of every text ``[N]``."""
        head = self._head_in_use()
        assert isinstance(head, MultiLabelHead)
        answers, texts = [torch.zeros(0, head.classes)], [torch.zeros(0)]
        with torch.inference_mode(), in_float32(head.device):
            for start in range(0, len(features), 4096):
                part = features[slice(start, start + 4096)]
                hidden, logits = (torch.tensor(rows, device=head.device) for rows in (part.hidden, part.logits))
                of_labels, of_texts = head.label_and_text_uncertainty(hidden, logits)
                answers.append(of_labels.cpu())
                texts.append(of_texts.cpu())
        return torch.cat(answers).numpy(), torch.cat(texts).numpy()
