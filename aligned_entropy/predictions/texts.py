"""Predictions of one label for each text, as arrays and row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, AccuracyEstimate
from ..display.card import Card
from ..display.short_repr import ShortRepr
from ..display.wording import counted
from ..features.texts import Text
from .tables import Column, Table, all_finite, calibrated, chosen_sets, far, positions, predictions_card, selected


@dataclass(frozen=True, kw_only=True, repr=False)
class TextRow(ShortRepr, ABC):
    """Prediction for one text as a whole, of one label or of several.

    Attributes:
        prediction_column: name of the column with the prediction.
        probabilities: the model's probability of every class, ``[C]`` float32.
        uncertainty: uncertainty by the head, in [0, 1].
        error_probability: calibrated probability that the prediction is wrong; None before a fit.
        accepted: True if the threshold of the head accepts the text; None without a threshold.
        truncated: True if the text is longer than the model's maximum length, so that the model did not read all of it;
            None for a prediction from features.
        row_error: reason why there is no prediction and all numbers are NaN; None if there is one.
        is_far: True if the text is farther from the calibration set than 99% of its own texts; None if unknown.
    """

    prediction_column: ClassVar[str]

    probabilities: NDArray[np.float32]
    uncertainty: float
    error_probability: float | None
    accepted: bool | None = None
    truncated: bool | None = None
    row_error: str | None = None
    is_far: bool | None = field(default=None, repr=False, compare=False)

    @property
    @abstractmethod
    def predicted(self) -> str | list[str]:
        """Predicted label or labels as a JSON value."""

    @property
    def is_finite(self) -> bool:
        """True if the probabilities and the uncertainty of the prediction are finite."""
        return all_finite(self.uncertainty, self.error_probability, self.probabilities)

    @property
    def selection_units(self) -> list[tuple[float, bool | None]]:
        """Uncertainty and ``accepted`` of each selection unit, which is the text."""
        return [(self.uncertainty, self.accepted)]

    def columns(self, label_names: Sequence[str] = ()) -> dict[str, Any]:
        """Values of the row by column name; columns without a value are left out.

        Args:
            label_names: names of all C classes, to add a column with the probability of each; none by default.
        """
        values = {name: getattr(self, name) for name in ("uncertainty", "error_probability", "accepted")}
        columns: dict[str, Any] = {self.prediction_column: self.predicted}
        columns |= {name: value for name, value in values.items() if value is not None}
        probabilities = self.probabilities.tolist() if label_names else []
        return columns | {f"probability_{name}": p for name, p in zip(label_names, probabilities, strict=True)}


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction(TextRow):
    """Prediction of one label for a text; the probabilities are the softmax of the model's logits.

    Attributes:
        label: name of the predicted class.
        label_set: names of the classes among which the right one is, the predicted class first, the others by falling
            probability; None for an accepted prediction, and without sets.
    """

    prediction_column: ClassVar[str] = "predicted_label"

    label: str
    label_set: tuple[str, ...] | None = None

    @property
    def predicted(self) -> str:
        """Predicted label as a JSON value."""
        return self.label

    def columns(self, label_names: Sequence[str] = ()) -> dict[str, Any]:
        """Values of the row by column name, see :meth:`TextRow.columns`; with sets also ``label_set``, a list."""
        columns = super().columns(label_names)
        return columns if self.label_set is None else columns | {"label_set": list(self.label_set)}


@dataclass(frozen=True, repr=False)
class Predictions(Table):
    """Predictions for N texts as arrays; an index gives one row; a slice, numbers or booleans give several.

    Where a logit is not finite (half precision can overflow, an endpoint may not reply), uncertainty and error
    probability of the row are NaN.

    Attributes:
        classes: index of the predicted class, ``[N]`` int.
        label_names: names of the C classes.
        probabilities: softmax of the model's logits, ``[N, C]`` float32.
        uncertainty: uncertainty by the head, ``[N]`` float32 in [0, 1]; the predictive entropy before a fit.
        optional_error_probability: array behind :attr:`error_probability`, ``[N]`` float32; None before a fit.
        optional_accepted: array behind :attr:`accepted`, ``[N]`` bool; None without a threshold.
        truncated: True where a text is longer than the model's maximum length, so that the model did not read all of
            it, ``[N]`` bool; None for predictions from features.
        optional_sets: True for the classes in the set of each prediction, ``[N, C]`` bool, the predicted class among
            them; no class for predictions without a set, since they are accepted; None if no sets were chosen.
        row_errors: reason why a row has no prediction, None for other rows, ``[N]`` object; None if the model is in
            this process.
        distances: distance of each text from the calibration set, ``[N]`` float32, NaN for a head without neighbors;
            None before a fit.
        basis: labeled predictions of the head, which estimates of the accuracy rest on; None before a fit.
        texts: texts that were predicted, ``[N]``; None for predictions from features.
        index: index of the data frame or Series of pandas that holds the texts, ``[N]``; None for other texts.
    """

    classes: NDArray[np.int64]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    optional_error_probability: NDArray[np.float32] | None
    optional_accepted: NDArray[np.bool_] | None = None
    truncated: NDArray[np.bool_] | None = None
    optional_sets: NDArray[np.bool_] | None = None
    row_errors: NDArray[np.object_] | None = None
    distances: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    basis: AccuracyBasis | None = field(default=None, repr=False, compare=False)
    texts: Sequence[Text] | None = field(default=None, repr=False, compare=False)
    index: Any = field(default=None, repr=False, compare=False)

    @property
    def labels(self) -> NDArray[np.str_]:
        """Names of the predicted classes, ``[N]``."""
        return np.asarray(self.label_names)[self.classes]

    @property
    def error_probability(self) -> NDArray[np.float32]:
        """Calibrated probability that the prediction is wrong, ``[N]``.

        Raises:
            NotFittedError: the head is untrained.
        """
        return calibrated(self.optional_error_probability)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """True where the threshold of the head accepts the prediction, ``[N]``.

        Raises:
            NotFittedError: no threshold was chosen.
        """
        return selected(self.optional_accepted)

    @property
    def sets(self) -> list[tuple[str, ...] | None]:
        """Names of the classes among which the right one is, for each of N predictions.

        The predicted class is first, the others follow by falling probability. The value is None for predictions that
        the threshold accepts; see :meth:`UncertainClassifier.choose_sets` for the guarantee.

        Raises:
            NotFittedError: no sets were chosen.
        """
        contained = chosen_sets(self.optional_sets)
        return [self._label_set(contained, row) for row in range(len(self))]

    def _label_set(self, contained: NDArray[np.bool_], row: int) -> tuple[str, ...] | None:
        probability, predicted = self.probabilities[row], self.classes[row]
        indices = sorted(np.flatnonzero(contained[row]), key=lambda index: (index != predicted, -probability[index]))
        return tuple(self.label_names[index] for index in indices) or None

    @property
    def estimated_accuracy(self) -> AccuracyEstimate:
        """Accuracy of these predictions, estimated from their error probabilities, without labels.

        Of all, of the accepted ones and by predicted class; with the expected recall and confusion matrix. For words of
        token classification use the estimates of :class:`TokenPredictions`.

        Raises:
            NotFittedError: the head is untrained.
        """
        return (self.basis or AccuracyBasis()).estimate(
            self.error_probability,
            predicted=self.labels,
            accepted=self.optional_accepted,
            probabilities=self.probabilities,
            label_names=self.label_names,
            distances=self.distances,
        )

    @property
    def single_error_probabilities(self) -> NDArray[np.float32]:
        """Error probability of every single prediction, ``[N]``, one for each text.

        Raises:
            NotFittedError: the head is untrained.
        """
        return self.error_probability

    def __len__(self) -> int:
        return len(self.classes)

    @overload
    def __getitem__(self, row: int) -> Prediction: ...
    @overload
    def __getitem__(self, row: slice | Sequence[int] | NDArray[Any]) -> Predictions: ...
    def __getitem__(self, row: int | slice | Sequence[int] | NDArray[Any]) -> Prediction | Predictions:
        row = positions(row, len(self))
        if not isinstance(row, int):
            return self.rows(row)
        probability, accepted = self.optional_error_probability, self.optional_accepted
        return Prediction(
            label=str(self.label_names[self.classes[row]]),
            probabilities=self.probabilities[row],
            uncertainty=float(self.uncertainty[row]),
            error_probability=None if probability is None else float(probability[row]),
            accepted=None if accepted is None else bool(accepted[row]),
            truncated=None if self.truncated is None else bool(self.truncated[row]),
            label_set=None if self.optional_sets is None else self._label_set(self.optional_sets, row),
            row_error=None if self.row_errors is None else self.row_errors[row],
            is_far=far(self.basis, self.distances, row),
        )

    def rows(self, rows: slice | NDArray[np.int64]) -> Predictions:
        """Predictions for some of the texts."""
        names = ("classes", "probabilities", "uncertainty", "optional_error_probability", "optional_accepted")
        others = ("truncated", "optional_sets", "row_errors", "distances", "texts", "index")
        return replace(self, **sliced(self, (*names, *others), rows))

    def __iter__(self) -> Iterator[Prediction]:
        return (self[row] for row in range(len(self)))

    def _card(self) -> Card:
        reasons = [None] * len(self) if self.row_errors is None else self.row_errors
        more: list[Column] = []
        if self.optional_sets is not None:
            sets = self.optional_sets
            more.append(("set", lambda row: ", ".join(self._label_set(sets, row) or ()) or None))
        title = f"{type(self).__name__}: {counted(len(self), 'texts')}, {len(self.label_names)} classes"
        if failed := sum(reason is not None for reason in reasons):
            title += f", {failed:,} without a prediction"
            more.append(("row error", lambda row: reasons[row]))
        probability = self.optional_error_probability
        return predictions_card(
            title,
            len(self),
            ("predicted", lambda row: None if reasons[row] else str(self.label_names[self.classes[row]])),
            self.uncertainty if probability is None else probability,
            texts=self.texts,
            is_calibrated=probability is not None,
            accepted=self.optional_accepted,
            truncated=self.truncated,
            more=more,
        )

    def to_dict(self) -> dict[str, Any]:
        """Columns by name: ``predicted_label``, ``uncertainty`` and others, as in a file of ``alien predict``.

        After a fit there is ``error_probability``, with a threshold ``accepted``, with sets ``label_set``, a list of
        names or None; for predictions of texts ``truncated``; for those of an endpoint ``row_error``. Every class has
        one more column, ``probability_<name>``.
        """
        columns: dict[str, Any] = {"predicted_label": self.labels, "uncertainty": self.uncertainty}
        if self.optional_error_probability is not None:
            columns["error_probability"] = self.optional_error_probability
        if self.optional_accepted is not None:
            columns["accepted"] = self.optional_accepted
        if self.optional_sets is not None:
            columns["label_set"] = [None if names is None else list(names) for names in self.sets]
        if self.truncated is not None:
            columns["truncated"] = self.truncated
        if self.row_errors is not None:
            columns["row_error"] = self.row_errors
        return columns | {f"probability_{name}": self.probabilities[:, i] for i, name in enumerate(self.label_names)}


def sliced(predictions: Table, names: Sequence[str], rows: slice | NDArray[np.int64]) -> dict[str, Any]:
    """Take some rows of the arrays of predictions, by attribute name; None stays None."""
    arrays = {name: getattr(predictions, name) for name in names}
    return {name: None if array is None else _taken(array, rows) for name, array in arrays.items()}


def _taken(values: Any, rows: slice | NDArray[np.int64]) -> Any:
    if isinstance(rows, slice) or hasattr(values, "dtype"):
        return values[rows]
    return [values[row] for row in rows.tolist()]  # a list of texts
