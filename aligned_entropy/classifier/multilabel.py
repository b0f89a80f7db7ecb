"""`UncertainMultiLabelClassifier`: multi-label classification with an uncertainty for every label and every text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..display.progress import Progress, no_report
from ..errors import NotApplicableError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.evaluation import compare
from ..evaluation.fitted_scores import ScoreValues, score_values
from ..evaluation.grouped import GroupedEvaluation, group_values
from ..evaluation.groups import Groups, ScoreKey
from ..features.arrays import Features
from ..features.drawn import equal_part
from ..head.fit_config import FitConfig, MultiLabelConfig, fit_settings
from ..head.fit_multilabel import MultiLabelResult, fit_multilabel, pairs
from ..head.head import AlignedEntropyHead
from ..head.multilabel_head import MultiLabelHead
from ..predictions import MultiLabelPredictions
from ..scores import HEAD, ScoreLike
from ..selective import SelectionUnits
from ..tasks import MultiLabelClassification, Task
from .base import UncertainClassifier
from .held_out import check_calibration, warn_if_seen

AGGREGATION = "product"  # aggregation from labels to a text that tables show
AGGREGATIONS = ("max", "mean", "product")


class UncertainMultiLabelClassifier(UncertainClassifier):
    """Multi-label classifier with an uncertainty head; has the methods of :class:`UncertainClassifier`.

    The prediction for every label is yes if its logit is above zero and no otherwise; each of these single predictions
    has an uncertainty. A text is wrong if any of its single predictions is.
    """

    task: ClassVar[Task] = MultiLabelClassification()
    head_class: ClassVar[type[AlignedEntropyHead]] = MultiLabelHead
    config_class: ClassVar[type[FitConfig] | type[MultiLabelConfig]] = MultiLabelConfig

    def predict_features(self, features: Features) -> MultiLabelPredictions:
        """Predict the labels of texts from their features, with their uncertainty."""
        head = self._slot.head()
        assert isinstance(head, MultiLabelHead)
        self.saved.check_kind(features.pairs)

        def values(hidden: Tensor, logits: Tensor, views: dict[str, Tensor]) -> tuple[Tensor, ...]:
            return *head.label_and_text_uncertainty(hidden, logits, views), head.distances(hidden)

        label_uncertainty, uncertainty, distances = head.compute(features, values)
        logits, rule = torch.tensor(features.logits), self.saved.rule
        return MultiLabelPredictions(
            indicators=logits.numpy() > 0,
            label_names=self.label_names,
            probabilities=logits.sigmoid().numpy(),
            uncertainty=uncertainty,
            label_uncertainty=label_uncertainty,
            is_calibrated=head.error_model is not None,
            optional_accepted=None if rule is None else rule.accepts(uncertainty, [""] * len(uncertainty)),
            distances=distances,
            basis=None if head.error_model is None else self.saved.accuracy_basis("texts"),
        )

    def label_and_text_uncertainty(self, features: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Uncertainty of every label ``[N, L]`` and of every text ``[N]``."""
        head = self._slot.head()
        assert isinstance(head, MultiLabelHead)
        self.saved.check_kind(features.pairs)
        labels, texts = head.compute(features, head.label_and_text_uncertainty)
        return labels, texts

    def fit_features(
        self,
        calibration: Features,
        *,
        reference: Features | None = None,
        weights: NDArray[np.float64] | None = None,
        config: FitConfig | MultiLabelConfig | None = None,
        progress: Progress = no_report,
    ) -> MultiLabelResult:
        """Fit the head on features of labeled texts; arguments as for :meth:`UncertainClassifier.fit_features`.

        With ``weights``, the head is fitted on a subsample in which all texts count alike.

        Raises:
            CalibrationError: no head can be fitted on these texts; the message gives the reason.
            NotApplicableError: a reference, or a configuration for one label a text, was given.
        """
        check_calibration(calibration)
        if reference is not None:
            raise NotApplicableError("a multi-label head makes no use of training texts as reference: leave them out.")
        module = self.backbone.copy_classification_module()
        calibration, _ = equal_part(calibration, np.zeros(len(calibration)), weights)
        result = fit_multilabel(
            module,
            calibration.hidden,
            calibration.labels,
            logits=calibration.logits,
            views=calibration.views,
            config=fit_settings(config, MultiLabelConfig),
            progress=progress,
        )
        rows, held_out_text = self.single_predictions(calibration), result.held_out_text.double().numpy()
        texts = self.groups(rows)["texts"]
        group_maps = {"texts": CalibrationMaps.fit(held_out_text, texts.errors, is_probability=True)}
        held_out = result.held_out.double().numpy().reshape(-1)
        units = self.selection_units(rows, held_out_text)
        self._slot.place_fit(result, calibration, rows, held_out, group_maps, units)
        return result

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[ScoreLike] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        resamples: int = 1000,
    ) -> GroupedEvaluation:
        """Measure how well scores find wrong single predictions and wrong texts.

        The arguments are features of the sets of :meth:`evaluate`; ``ood`` is not used.
        """
        rows = self.single_predictions(features)
        calibration_rows = None if calibration is None else self.single_predictions(calibration)
        train_rows = None if train is None else self.single_predictions(train)
        fitted_scores, skipped = self._fitted_scores(scores, train_rows, calibration_rows)
        warn_if_seen(self.saved, features)
        fitted_scores.pop(HEAD, None)  # the head computes its values text by text, below
        values, not_computed = score_values(fitted_scores, rows)
        is_fitted = self.head.error_model is not None
        if is_fitted:
            label_uncertainty, text_uncertainty = self.label_and_text_uncertainty(features)
            values[HEAD] = ScoreValues(label_uncertainty.astype(np.float64).reshape(-1), True, self.saved.maps)
        texts = self.groups(rows)["texts"]
        calibration_texts = None if calibration_rows is None else self.groups(calibration_rows)["texts"]
        text_values = group_values(values, texts, calibration_texts, AGGREGATIONS)
        if is_fitted:  # the head has its own aggregation, see MultiLabelHead
            key = str(ScoreKey(HEAD, AGGREGATION))
            uncertainty, maps = text_uncertainty.astype(np.float64), self.saved.group_maps.get("texts")
            text_values[key] = replace(text_values[key], uncertainty=uncertainty, maps=maps)
        single = compare(
            rows.errors,
            values,
            skipped=skipped | not_computed,
            resamples=resamples,
            unit="predictions",
            clusters=rows.clusters,
        )
        grouped = compare(texts.errors, text_values, skipped={}, resamples=resamples)
        return GroupedEvaluation(single, {"texts": grouped}, {"texts": AGGREGATION})

    def single_predictions(self, features: Features) -> Features:
        """Labeled features with one row of two classes for the yes or no of every label."""
        return pairs(features)

    def groups(self, rows: Features) -> dict[str, Groups]:
        """Texts, as groups of the rows of :meth:`single_predictions`."""
        assert rows.clusters is not None, "rows of single_predictions() have their texts as clusters"
        return {"texts": Groups.from_clusters(rows.clusters, rows.errors)}

    def selection_units(self, rows: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """Texts, which a threshold accepts or defers; they have no single predicted class.

        Args:
            rows: labeled single predictions, one a row.
            uncertainty: uncertainty of the texts, ``[N]``.
        """
        errors = self.groups(rows)["texts"].errors
        return SelectionUnits(uncertainty.astype(np.float32), errors, np.full(len(errors), ""))
