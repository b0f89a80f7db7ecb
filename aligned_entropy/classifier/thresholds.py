"""Choosing which answers of a classifier are accepted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CalibrationError, NotFittedError
from ..features.arrays import Features
from ..selective import Goal, Rule, SelectionUnits, choose_threshold
from .heads import WithHead

Progress = Callable[[int], object]
SEEN = 0.1  # share of texts known from the fit; more are no accident


class WithThreshold(WithHead):
    """A classifier whose head decides which answers may be relied on."""

    def choose_threshold(
        self, data: Any, goal: Goal, *, progress: Progress = lambda done: None, **columns: Any
    ) -> Rule:
        """Choose which answers are accepted; from then on predictions say so, and a saved head keeps it.

        Of words entities are accepted or not; of texts with any number of labels the text as a whole.

        Args:
            data: labeled texts that neither the classifier nor the head was fitted on, as for :meth:`fit`.
            goal: ``Goal(risk=0.02)``, ``Goal(coverage=0.8)`` or ``Goal(error_cost=10, deferral_cost=1)``.
            progress: called with the number of texts whose features are ready.
            columns: as for :meth:`fit`.

        Raises:
            NotFittedError: the head is untrained.
            CalibrationError: the head was fitted on these texts: what it says of them promises too much.
        """
        return self.choose_threshold_features(self.features(data, progress, **columns), goal)

    def choose_threshold_features(self, features: Features, goal: Goal) -> Rule:
        """:meth:`choose_threshold` on features that are at hand."""
        if self._head_in_use().error_model is None:
            raise NotFittedError("the head is untrained, a threshold belongs to a fitted one: call fit() first.")
        seen = float(np.isin(features.text_hashes, self.saved.text_hashes.numpy()).mean()) if len(features) else 0.0
        if seen > SEEN:
            raise CalibrationError(
                f"the head was fitted on {seen:.0%} of these texts, which makes it look better than it is: choose the "
                "threshold on other labeled texts."
            )
        answers = self.labeled_selection_units(features)
        rule = choose_threshold(answers, goal)
        backbone = self.saved.backbone | {"dtype": self.backbone.facts["dtype"]}  # what is certified is so in this one
        self.saved = replace(self.saved, selection_units=answers, rule=rule, backbone=backbone)
        return rule

    def labeled_selection_units(self, features: Features) -> SelectionUnits:
        """What is accepted or deferred, with the head's uncertainty and where it is wrong."""
        said = self.predict_features(features)
        return self.selection_units(self.single_predictions(features), said.uncertainty)

    @abstractmethod
    def features(self, data: Any, progress: Progress = ..., **options: Any) -> Features:
        """Features of labeled texts."""

    @abstractmethod
    def predict_features(self, features: Features) -> Any:
        """Predictions with their uncertainty."""

    @abstractmethod
    def single_predictions(self, features: Features) -> Features:
        """A row for every answer."""

    @abstractmethod
    def selection_units(self, answers: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """What is accepted or deferred."""
