"""Selection by a classifier: thresholds that accept or defer predictions, and sets of classes for deferred ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backbones import are_training_texts
from ..display.card import Card, Displayed
from ..display.progress import Progress, no_report
from ..display.wording import type_name
from ..errors import ArgumentTypeError, NotApplicableError
from ..features.arrays import Features
from ..predictions import MultiLabelPredictions, Predictions, TokenPredictions
from ..saved.display import head_lines
from ..selective import (
    Goal,
    Rule,
    SelectionUnits,
    SetGoal,
    SetRule,
    choose_sets,
    choose_threshold,
    class_probabilities,
    set_scores,
)
from .held_out import check_held_out, check_trained
from .pretrained import ModelWithHead

SHOWN_NAMES = 4  # of classes


class ModelWithSelection(ModelWithHead, Displayed):
    """A model whose predictions can be accepted or deferred, and can have sets of classes."""

    def _card(self) -> Card:
        names = ", ".join(self.label_names[:SHOWN_NAMES]) + (", …" if len(self.label_names) > SHOWN_NAMES else "")
        model = f"{self.backbone.name or 'unnamed model'}, {len(self.label_names)} classes ({names})"
        return Card(f"{type(self).__name__}: {model}", head_lines(self.saved))

    def held_out_features(
        self,
        data: Any,
        progress: Progress = no_report,
        *,
        extras: Collection[str] = (),
        views: bool | None = None,
        **columns: Any,
    ) -> Features:
        """Features of labeled data that something is chosen on; arguments and errors as for :meth:`features`.

        Raises:
            CalibrationError: the classifier was trained on more than half of the texts. This is found before the
                features are computed, which may take long.
        """
        labeled = self.read_labeled(data, **columns)
        check_trained(are_training_texts(self.backbone.name, labeled.texts))
        return self.features(labeled, progress, extras=extras, views=views)

    @abstractmethod
    def predict_features(self, features: Features) -> Predictions | MultiLabelPredictions | TokenPredictions:
        """Predict from features, with the uncertainty."""

    def choose_threshold(self, data: Any, goal: Goal, *, progress: Progress = no_report, **columns: Any) -> Rule:
        """Choose which predictions are accepted; later predictions and a saved head contain the choice.

        Token classification accepts or defers entities; multi-label classification accepts or defers texts.

        Args:
            data: labeled texts that neither the classifier nor the head was fitted on, in a form as for :meth:`fit`.
            goal: ``Goal(risk=0.02)``, ``Goal(coverage=0.8)`` or ``Goal(error_cost=10, deferral_cost=1)``.
            progress: function that takes the number of texts finished since its last call, as ``tqdm.update`` does.
            columns: column names and label map, as for :meth:`fit`.

        Raises:
            NotFittedError: the head is untrained.
            CalibrationError: the head was fitted on more than a tenth of these texts, or the classifier trained on more
                than half of them; or nothing is predicted.
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
        """
        if not isinstance(goal, Goal):
            raise ArgumentTypeError(f"goal is {type_name(goal)}: pass a Goal, such as Goal(risk=0.02).")
        return self.choose_threshold_features(self.held_out_features(data, progress, **columns), goal)

    def choose_threshold_features(self, features: Features, goal: Goal) -> Rule:
        """Choose which predictions are accepted on features of labeled texts; see :meth:`choose_threshold`."""
        self._slot.head()
        check_held_out(self.saved, features)
        units = self.labeled_selection_units(features)
        pilot = self.saved.pilot
        rule = choose_threshold(units, goal, pilot)
        facts = self._facts_of_choice()
        self.saved = replace(self.saved, selection_units=units, rule=rule, backbone=facts, fit_units=pilot, sets=None)
        return rule

    def _facts_of_choice(self) -> dict[str, Any]:
        """Facts about the model with its precision now, since bounds hold in the precision of the labeled texts."""
        return self.saved.backbone | {"dtype": self.backbone.facts["dtype"]}

    def labeled_selection_units(self, features: Features) -> SelectionUnits:
        """Units that a threshold accepts or defers, with the head's uncertainty and their errors."""
        uncertainty = self.predict_features(features).uncertainty
        return self.selection_units(self.single_predictions(features), uncertainty)

    def selection_units(self, rows: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """Units that a threshold accepts or defers, here texts.

        Args:
            rows: labeled single predictions, one a row.
            uncertainty: uncertainty of the rows, ``[N]``; for multi-label classification that of the texts.
        """
        labels = np.asarray(self.label_names)[rows.predictions]
        return SelectionUnits(uncertainty.astype(np.float32), rows.errors, labels)

    def single_predictions(self, features: Features) -> Features:
        """Labeled features with one row for every single prediction; scores are fitted on these."""
        return features

    def choose_sets(
        self,
        data: Any,
        goal: SetGoal | None = None,
        *,
        progress: Progress = no_report,
        **columns: Any,
    ) -> SetRule:
        """Choose sets of classes, each with the right one at a chosen probability, for deferred predictions.

        Later predictions and a saved head contain the choice. With a threshold, deferred predictions get a set and the
        guarantee holds for these; without one, all predictions get a set. Therefore choose the threshold first: another
        threshold, or another fit, removes the sets.

        The guarantee is exact if the threshold was not chosen on these texts. If it was, with one threshold for a
        coverage, the probability is at least ``1 - alpha - alpha / n`` for n deferred texts; with another goal it was
        at least ``1 - alpha`` in all simulations, without a proof. See docs/class-sets.md.

        Args:
            data: labeled texts that neither the classifier nor the head was fitted on, in a form as for :meth:`fit`.
            goal: target of the sets; ``SetGoal(alpha=0.1)`` by default.
            progress: function that takes the number of texts finished since its last call, as ``tqdm.update`` does.
            columns: column names and label map, as for :meth:`fit`.

        Raises:
            NotApplicableError: the task is not text classification with one label.
            NotFittedError: the head is untrained.
            CalibrationError: the head was fitted on more than a tenth of these texts, or the classifier trained on more
                than half of them; or there are none.
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
        """
        if goal is not None and not isinstance(goal, SetGoal):
            raise ArgumentTypeError(f"goal is {type_name(goal)}: pass a SetGoal, such as SetGoal(alpha=0.1).")
        self.check_sets()
        return self.choose_sets_features(self.held_out_features(data, progress, **columns), goal)

    def choose_sets_features(self, features: Features, goal: SetGoal | None = None) -> SetRule:
        """Choose sets of classes on features of labeled texts; see :meth:`choose_sets`."""
        self.check_sets()
        self._slot.head()
        check_held_out(self.saved, features)
        goal = SetGoal() if goal is None else goal
        predictions = self.predict_features(features)
        assert isinstance(predictions, Predictions), "only texts with one label have sets"
        probabilities = class_probabilities(features.logits, predictions.classes, predictions.error_probability)
        sets = choose_sets(
            set_scores(probabilities, predictions.classes, goal.method),
            features.require("labels"),
            self.label_names,
            goal,
            None if self.saved.rule is None else ~predictions.accepted,
        )
        self.saved = replace(self.saved, sets=sets, backbone=self._facts_of_choice())
        return sets

    def check_sets(self) -> None:
        """Check that predictions of the task can have sets.

        Raises:
            NotApplicableError: the task is not text classification with one label.
        """
        if not self.task.one_label:
            reason = "every word has a tag" if self.task.per_word else "a text can have any number of labels"
            raise NotApplicableError(
                f"prediction sets are for text classification: in {self.task} {reason}, so there is no single right "
                "class. Use error_probability and a threshold."
            )


def with_sets(predictions: Predictions, logits: ArrayLike, sets: SetRule | None) -> Predictions:
    """Give predictions their sets of classes, if sets were chosen; accepted predictions get none.

    Args:
        predictions: predictions, with their acceptance if the head has a threshold.
        logits: logits of the model, ``[N, C]``.
        sets: rule of the head; None without sets.
    """
    if sets is None or predictions.optional_error_probability is None:
        return predictions
    contained = sets.contains(logits, predictions.classes, predictions.error_probability)
    if sets.only_deferred and predictions.optional_accepted is not None:
        contained &= ~predictions.accepted[:, None]
    return replace(predictions, optional_sets=contained)
