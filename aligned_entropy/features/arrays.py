"""Features: what a classifier says of texts (hidden vectors and logits), and their memory-mapped store on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NotApplicableError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """What a classifier gives for N texts.

    Attributes:
        hidden: input of the classification module, ``[N, D]`` float32.
        logits: the model's own logits, ``[N, C]`` float32; predictions and errors come from these alone.
        labels: true classes ``[N]`` int, or None where they are not known.
        passes: logits of T forward passes with dropout, ``[N, T, C]`` float32.
        members: logits of the M other models of an ensemble, ``[N, M, C]`` float32.
        states: last hidden states of the texts' tokens, ``[N, L, D]`` float16; zero where there is no token.
        content_free: log of the mean label probabilities that a model with label words gives to texts without content,
            ``[N, C]`` float32, the same in every row.
        clusters: what belongs together ``[N]`` int, as the words of a sentence do; None where every row is for itself.
        absent: why one of these is not there, by its name.
    """

    hidden: Array
    logits: Array
    labels: NDArray[np.int64] | None = None
    passes: Array | None = None
    members: Array | None = None
    states: NDArray[np.float16] | None = None
    content_free: Array | None = None
    clusters: NDArray[np.int64] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The model's answers, ``[N]``."""
        return np.asarray(self.logits).argmax(-1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """1 where the model's answer is wrong, ``[N]``; needs labels."""
        assert self.labels is not None, "errors need labels"
        return (self.predictions != self.labels).astype(np.float64)

    def with_labels(self, labels: Sequence[int] | NDArray[np.int64]) -> Features:
        """The same features with their true classes."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))

    @property
    def text_hashes(self) -> NDArray[np.int64]:
        """A number for every text, by which it is known again: of some of its hidden vector, to half precision."""
        rows = self.hidden if self.clusters is None else self.hidden[np.flatnonzero(np.diff(self.clusters, prepend=-1))]
        kept = np.zeros((len(rows), 32), dtype=np.float16)
        with np.errstate(over="ignore"):
            kept[:, : rows.shape[1]] = rows[:, :32]
            return kept.view(np.int64) @ np.array([3**power for power in range(1, 32, 4)])  # wraps around

    def require(self, name: str) -> Any:
        """One of the arrays.

        Raises:
            NotApplicableError: it is not there; the message says why.
        """
        values = getattr(self, name)
        if values is None or 0 in values.shape[1:]:
            raise NotApplicableError(self.absent.get(name, f"the features hold no {name}: ask for them at extraction."))
        return values

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Features:
        names = ("labels", "clusters", "passes", "members", "states", "content_free")
        arrays = {name: getattr(self, name) for name in names}
        taken: dict[str, Any] = {name: None if values is None else values[rows] for name, values in arrays.items()}
        return replace(self, hidden=self.hidden[rows], logits=self.logits[rows], **taken)
