"""Features of texts: the hidden vectors, logits and other arrays that a classifier computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.short_repr import ShortRepr
from ..errors import DataError, NotApplicableError

Array = NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class Features(ShortRepr):
    """Arrays that a classifier computes for N texts.

    Attributes:
        hidden: input of the classification module, ``[N, D]`` float32.
        logits: logits of the model, ``[N, C]`` float32; predictions and errors are computed from these alone.
        labels: true classes, ``[N]`` int, or None for unlabeled texts.
        passes: logits of T forward passes with dropout, ``[N, T, C]`` float32.
        members: logits of the M other models of an ensemble, ``[N, M, C]`` float32.
        states: last hidden states of the texts' tokens, ``[N, L, D]`` float16; zero where there is no token.
        content_free: log of the mean label probabilities that a model with label words gives to texts without content,
            ``[N, C]`` float32, equal in all rows.
        views: inputs of views by name: ``layers``, the mean over a text's tokens of the output of each of L layers, or
            its value at the end of a prompt, ``[N, L, W]`` float16; ``tokens``, token ids of the text ``[N, T]`` int32,
            -1 where a row has no token. For a word these are the outputs of layers at its token, and the ids in a
            window around it, numbered by their place.
        clusters: cluster of each row, ``[N]`` int, such as the sentence of a word; None where rows are independent.
        absent: reason for each array that is missing, by the array's name. An array that stands in place of a missing
            one, as log-probabilities do for hidden vectors, counts as missing in :meth:`require`.
        hashes: 64-bit hash of each text, ``[N]`` int, where the texts are at hand; None to hash the hidden vectors.
        row_errors: reason why a row has no outputs and is NaN, None for other rows, ``[N]`` object; None if every row
            has outputs.
        pairs: True if the texts are pairs, False if they are single texts, None if this is not known.
        trained: True for rows of texts that the classifier was trained on, ``[N]``; None if it is not known.
    """

    hidden: Array
    logits: Array
    labels: NDArray[np.int64] | None = None
    passes: Array | None = None
    members: Array | None = None
    states: NDArray[np.float16] | None = None
    content_free: Array | None = None
    views: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    clusters: NDArray[np.int64] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    hashes: NDArray[np.int64] | None = None
    row_errors: NDArray[np.object_] | None = None
    pairs: bool | None = None
    trained: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted class of each row, ``[N]``."""
        predictions: NDArray[np.int64] = np.asarray(self.logits).argmax(-1)
        return predictions

    @property
    def errors(self) -> NDArray[np.float64]:
        """Errors of the predictions, ``[N]``: 1 where a prediction is wrong, 0 where it is right.

        Raises:
            DataError: the features have no labels, or these are not one whole number for each row.
        """
        if self.labels is None:
            raise DataError("errors cannot be computed without labels: add them with Features.with_labels().")
        _check_labels(self.labels, (len(self),))
        return np.asarray(self.predictions != self.labels, np.float64)

    def with_labels(self, labels: Sequence[int] | NDArray[np.int64]) -> Features:
        """Return a copy of the features with true classes, or with labels for multi-label logits, ``[N, C]``.

        Raises:
            DataError: the labels are not one whole number for each row, or for each logit.
        """
        values = np.asarray(labels)
        _check_labels(values, self.logits.shape if values.shape == self.logits.shape else (len(self),))
        return replace(self, labels=values.astype(np.int64))

    @property
    def text_hashes(self) -> NDArray[np.int64]:
        """64-bit hash of each text (each cluster, where there are clusters), used to recognize fitted texts.

        The first 32 values of the hidden vector are hashed in half precision, unless the features have ``hashes``.
        """
        if self.hashes is not None:
            return self.hashes
        rows = self.hidden if self.clusters is None else self.hidden[np.flatnonzero(np.diff(self.clusters, prepend=-1))]
        prefix = np.zeros((len(rows), 32), dtype=np.float16)
        with np.errstate(over="ignore"):
            prefix[:, : rows.shape[1]] = rows[:, :32]
            factors = np.array([3**power for power in range(1, 32, 4)])
            hashes: NDArray[np.int64] = prefix.view(np.int64) @ factors  # int64 wraps around
        return hashes

    def require(self, name: str) -> NDArray[Any]:
        """Return one of the arrays.

        Args:
            name: name of the attribute.

        Raises:
            NotApplicableError: the array is missing; the message gives the reason.
        """
        values: NDArray[Any] | None = getattr(self, name)
        if name in self.absent or values is None or 0 in values.shape[1:]:
            raise NotApplicableError(self.absent.get(name, f"the features hold no {name}: request them at extraction."))
        return values

    def check_finite(self, name: str, title: str = "") -> None:
        """Check that an array ``[N, …]`` has no NaN and no infinite value.

        Args:
            name: name of the attribute.
            title: name of the set of texts, for the message.

        Raises:
            DataError: a value is not finite; the message names the first rows.
        """
        values = getattr(self, name)
        broken = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(broken):
            rows = ", ".join(map(str, broken[:5])) + (", …" if len(broken) > 5 else "")
            raise DataError(
                f"the {name} of the {title or 'texts'} are not finite in {len(broken)} of {len(self)} rows ({rows}): "
                "remove these rows, or load the model in float32 or bfloat16 if half precision overflows."
            )

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Features:
        names = ("labels", "clusters", "passes", "members", "states", "content_free", "hashes", "row_errors", "trained")
        arrays = {name: getattr(self, name) for name in names}
        selected: dict[str, Any] = {name: None if values is None else values[rows] for name, values in arrays.items()}
        views = {name: values[rows] for name, values in self.views.items()}
        return replace(self, hidden=self.hidden[rows], logits=self.logits[rows], views=views, **selected)


def _check_labels(labels: NDArray[Any], shape: tuple[int, ...]) -> None:
    if labels.shape != shape:
        raise DataError(f"labels must be {list(shape)}, one for each row, not {list(labels.shape)}.")
    if labels.dtype.kind in "iub":
        return
    is_whole = labels == np.floor(labels) if labels.dtype.kind == "f" else np.zeros(shape, dtype=bool)
    if not is_whole.all():
        wrong = labels[~is_whole][0]
        raise DataError(f"labels must be whole numbers, the places of the classes in the logits, not {wrong}.")
