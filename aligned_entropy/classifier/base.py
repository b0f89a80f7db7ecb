"""`UncertainClassifier`: a Hugging Face classifier that also predicts how likely it is to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.objects import as_texts, index_of
from ..display.progress import Progress, no_report
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.evaluation import Evaluation, evaluate
from ..evaluation.fitted_scores import FittedScore, default_scores, fit_scores
from ..evaluation.grouped import GroupedEvaluation
from ..evaluation.groups import Groups
from ..features.arrays import Features
from ..features.drawn import equal_part
from ..features.texts import are_pairs, check_kind
from ..head.fit import FitResult, fit_head
from ..head.fit_config import FitConfig, MultiLabelConfig, fit_settings
from ..head.fit_multilabel import MultiLabelResult
from ..predictions import MultiLabelPredictions, Predictions, TokenPredictions
from ..scores import HEAD, FittedHead, ScoreLike, arrays_of, read_views
from ..selective import SelectionUnits
from .elsewhere import ModelElsewhere, warn_of_row_errors
from .held_out import check_calibration, warn_if_seen, warn_of_seen_texts
from .selection import ModelWithSelection, with_sets


class UncertainClassifier(ModelElsewhere, ModelWithSelection):
    """A text classifier with an uncertainty head. The classifier's weights and predictions are never changed.

    A fitted head belongs to the classification module and the adapters that were active at the fit. If others are
    active, every method that needs the head raises ``HeadMismatchError``; an untrained head follows the model.

    Args:
        backbone: backbone of the classifier, see :meth:`from_pretrained`.
        head: fitted head with everything that is saved beside it; an untrained head by default.

    Attributes:
        task: kind of prediction.
        config_class: class of the settings of a fit.
        reads_outputs: True if methods take outputs of a model in place of texts.
        backbone: backbone of the classifier.
        saved: head in use with everything that is saved beside it.
    """

    config_class: ClassVar[type[FitConfig] | type[MultiLabelConfig]] = FitConfig
    reads_outputs: ClassVar[bool] = False

    def predict(
        self,
        texts: Any,
        progress: Progress = no_report,
        *,
        text_column: str | None = None,
        text_pair_column: str | None = None,
    ) -> Predictions | MultiLabelPredictions | TokenPredictions:
        """Predict the labels of texts, with their uncertainty.

        Args:
            texts: string, or list, array, Series or iterator of strings; or a table with a column of texts: DataFrame,
                ``datasets.Dataset``, dict of columns, list of dicts; ``load_data(path)`` for the rows of a file. A pair
                of texts is a tuple ``(text, text_pair)``, a dict with ``text`` and ``text_pair``, or a row of two
                columns.
            progress: function that takes the number of texts finished since its last call, as ``tqdm.update`` does.
            text_column: column of a table with the texts; found by its usual names by default.
            text_pair_column: column of a table with the second texts of pairs; found by usual names by default.

        Returns:
            :class:`aligned_entropy.Predictions`; the other tasks have their own kinds of predictions.

        Warns:
            UserWarning: an endpoint gives no usable reply to some texts; their numbers are NaN, and ``row_errors`` has
                the reasons.

        Raises:
            ArgumentTypeError: an object of this type holds no texts.
            DataError: a text is not a string or is blank, the text column is not clear, there are single texts and
                pairs, or the head was fitted on the other kind.
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
        """
        rows = as_texts(texts, self.task.find_text_columns, text_column, text_pair_column, label_names=self.label_names)
        if rows:
            self.saved.check_kind(are_pairs(rows))
        encoded = self.backbone.encode(rows)
        features = self.backbone.extract_encoded(encoded, progress, views=bool(self.head.views))
        warn_of_row_errors(features)
        warn_of_seen_texts(self.saved, features, rows, self.backbone.name)
        return replace(self.predict_features(features), truncated=encoded.truncated, texts=rows, index=index_of(texts))

    def predict_features(self, features: Features) -> Predictions | MultiLabelPredictions:
        """Predict the labels of texts, or the tags of words, from their features, with their uncertainty."""
        return self._predictions(features)

    def _predictions(self, features: Features) -> Predictions:
        head = self._slot.head()
        self.saved.check_kind(features.pairs)

        def values(hidden: Tensor, logits: Tensor, views: dict[str, Tensor]) -> tuple[Tensor, ...]:
            if head.error_model is None:
                return (head(hidden, logits),)
            probability, distance = head.error_probability_and_distance(hidden, logits, views)
            return probability if head.is_calibrated else head(hidden, logits), probability, distance

        uncertainty, *fitted = head.compute(features, values)
        predictions = Predictions(
            features.predictions,
            self.label_names,
            torch.tensor(features.logits).softmax(-1).numpy(),
            uncertainty,
            fitted[0] if fitted else None,
            row_errors=features.row_errors,
            distances=fitted[1] if fitted else None,
            basis=self.saved.accuracy_basis("words" if self.task.per_word else "texts") if fitted else None,
        )
        rule = self.saved.rule
        if rule is not None:
            predictions = replace(predictions, optional_accepted=rule.accepts(uncertainty, predictions.labels))
        return with_sets(predictions, features.logits, self.saved.sets)

    def fit(
        self,
        data: Any,
        *,
        reference: Any = None,
        config: FitConfig | MultiLabelConfig | None = None,
        progress: Progress = no_report,
        **columns: Any,
    ) -> FitResult | MultiLabelResult:
        """Fit the head on labeled texts that the classifier was not trained on.

        The saved baselines and calibration maps are fitted on the same texts. A threshold and sets are removed.

        Args:
            data: calibration set: a path, a table, ``(texts, labels)``, … (:func:`.load_data`), or ``LabeledTexts``.
            reference: training set of the classifier in the same form; optional, see :func:`aligned_entropy.fit_head`.
            config: settings of the fit; by default those of :attr:`config_class`.
            progress: function that takes the number of texts finished since its last call, as ``tqdm.update`` does.
            columns: ``text_column``, ``text_pair_column``, ``label_column``, ``label_map``; see :func:`.labeled_texts`.

        Returns:
            Candidates, choice and head; ``print`` shows them, with advice on the model if there is any.

        Raises:
            CalibrationError: no head can be fitted on these texts; the message gives the reason.
            DataError: the data cannot be read, or their labels are not the model's.
            NotApplicableError: the reference or the settings are not for this task.
        """
        views = fit_settings(config, self.config_class).views
        calibration = self.held_out_features(data, progress, views=views, **columns)
        training = None if reference is None else self.features(reference, progress, views=views, **columns)
        return self.fit_features(calibration, reference=training, config=config)

    def fit_features(
        self,
        calibration: Features,
        *,
        reference: Features | None = None,
        weights: NDArray[np.float64] | None = None,
        config: FitConfig | MultiLabelConfig | None = None,
        progress: Progress = no_report,
    ) -> FitResult | MultiLabelResult:
        """Fit the head on features of labeled texts.

        Args:
            calibration: features of the calibration set, labeled.
            reference: features of the classifier's training set, labeled; optional.
            weights: weight of each row, ``[N]``, if they were drawn unequally, see :func:`aligned_entropy.fit_head`.
            config: settings of the fit; ``FitConfig()`` by default.
            progress: function that is called with the percentage points of the fit that were finished since its last
                call.

        Raises:
            CalibrationError: no head can be fitted on these features; the message gives the reason.
            DataError: the reference has pairs of texts and the calibration set single texts, or the reverse.
            NotApplicableError: the settings are not for this task.
        """
        check_calibration(calibration)
        if reference is not None:
            check_kind(reference.pairs, calibration.pairs, "the calibration set has")
        result = fit_head(
            self.backbone.copy_classification_module(),
            calibration.hidden,
            calibration.labels,
            logits=calibration.logits,
            reference=None if reference is None else (reference.hidden, reference.labels),
            views=calibration.views,
            reference_views={} if reference is None else reference.views,
            reference_clusters=None if reference is None else reference.clusters,
            clusters=calibration.clusters,
            weights=weights,
            config=fit_settings(config, FitConfig),
            progress=progress,
        )
        rows, held_out = equal_part(calibration, result.held_out.double().numpy(), weights)
        group_maps, units = self._group_maps(rows, held_out), self.selection_units(rows, held_out)
        sentences = self._sentence_units(rows, held_out)
        self._slot.place_fit(result, calibration, rows, held_out, group_maps, units, sentences)
        return result

    def evaluate(
        self,
        data: Any,
        *,
        scores: Sequence[ScoreLike] | None = None,
        train: Any = None,
        calibration: Any = None,
        ood: Any = None,
        resamples: int = 1000,
        progress: Progress = no_report,
        **columns: Any,
    ) -> Evaluation | GroupedEvaluation:
        """Measure how well the head, and other scores, find the errors of the model.

        Args:
            data: labeled texts, in a form as for :meth:`fit`; a warning says if the classifier or the head saw them.
            scores: names in :data:`aligned_entropy.scores.SCORES`, or scores of your own: a ``Score``, its class, or a
                function from ``Features`` of N texts to N numbers. By default softmax response, entropy, margin and
                temperature scaling. Dropout passes and token states are computed if a score needs them.
            train: training set of the classifier, for scores that are fitted on it.
            calibration: calibration set of the head, for scores and calibration maps that are fitted on it. The default
                scores do not need it, since the head contains them fitted.
            ood: texts out of distribution, which scores should tell from ``data``; for text classification only.
            resamples: number of bootstrap samples of every interval.
            progress: function that takes the number of texts finished since its last call, as ``tqdm.update`` does.
            columns: column names and label map, as for :meth:`fit`.

        Returns:
            An evaluation; a grouped one for token and multi-label classification.

        Raises:
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
            CalibrationError: the classifier was trained on more than half of the texts of ``calibration``.
            ArgumentError: a score is not in :data:`aligned_entropy.scores.SCORES`.
            DataError: the data cannot be read, or their labels are not the model's.
            NotApplicableError: ``ood`` is not supported for the task.
        """
        extras, views = arrays_of(scores or ()), bool(self.head.views) or read_views(scores or ())
        options: dict[str, Any] = {"views": views, **columns}
        features = self.features(data, progress, extras=extras, **options)
        fitting_set = None
        if calibration is not None:
            fitting_set = self.held_out_features(calibration, progress, extras=extras, **options)
        train_set = None if train is None else self.features(train, progress, **options)
        ood_set = None if ood is None else self.plain_features(ood, progress, extras=extras, views=views)
        return self.evaluate_features(
            features, scores=scores, train=train_set, calibration=fitting_set, ood=ood_set, resamples=resamples
        )

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[ScoreLike] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        resamples: int = 1000,
    ) -> Evaluation | GroupedEvaluation:
        """Measure the head and other scores on features of labeled texts; arguments as for :meth:`evaluate`."""
        for part in filter(None, (features, train, calibration, ood)):
            self.saved.check_kind(part.pairs)
        fitted_scores, skipped = self._fitted_scores(scores, train, calibration)
        warn_if_seen(self.saved, features)
        return evaluate(features, fitted_scores, skipped=skipped, resamples=resamples, ood=ood)

    def _fitted_scores(
        self, scores: Sequence[ScoreLike] | None, train: Features | None, calibration: Features | None
    ) -> tuple[dict[str, FittedScore], dict[str, str]]:
        """Fitted scores by name, the head among them; and for each score that could not be fitted, the reason."""
        arrays_of(scores or ())  # raises an error for unknown names
        check_calibration(calibration)
        head = self._slot.head()
        is_fitted = head.error_model is not None
        if scores is None and calibration is None and self.saved.baselines:
            fitted_scores, skipped = dict(self.saved.baselines), dict[str, str]()
        else:
            names = [name for name in scores or default_scores(calibration) if not (is_fitted and name == HEAD)]
            fitted_scores, skipped = fit_scores(names, self.backbone.copy_classification_module(), train, calibration)
        if is_fitted:
            fitted_scores[HEAD] = FittedScore(FittedHead(head), self.saved.maps)
        return fitted_scores, skipped

    def groups(self, rows: Features) -> dict[str, Groups]:
        """Groups of labeled single predictions by kind; none for one prediction a text."""
        return {}

    def _sentence_units(self, calibration: Features, held_out: NDArray[np.float64]) -> SelectionUnits | None:
        """Labeled sentences of the calibration set; None for one prediction a text."""
        return None

    def _group_maps(self, calibration: Features, held_out: NDArray[np.float64]) -> dict[str, CalibrationMaps]:
        """Calibration maps of groups by kind; none for one prediction a text."""
        return {}
