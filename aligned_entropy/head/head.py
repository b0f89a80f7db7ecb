"""The aligned-entropy head. Start reading here.

A classifier turns a text into a hidden vector ``h`` and its classification module ``g`` turns ``h`` into
logits. The head is a copy of ``g``; its score is an uncertainty of ``softmax(copy(h))`` in [0, 1]. Untrained it
is exactly the model's own uncertainty; trained, it says how likely the model's answer is to be wrong.

Everything is computed in float32 and in log space: near-certain rows keep their order where ``1 - max p`` or the
entropy itself would round to zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import NotFittedError
from .error_model import ErrorModel
from .modules import module_shape, plain_copy
from .reference import LabelReference, Reference
from .scoring import BASE_SCORES


class AlignedEntropyHead(nn.Module):
    """An uncertainty head: a copy of a classification module, read as an uncertainty in [0, 1].

    Untrained, ``head(hidden, logits)`` is the normalized predictive entropy of ``softmax(classifier(hidden))`` (or the
    base score asked for) exactly, in float32. :func:`aligned_entropy.fit_head` trains it. Source: arXiv 2505.15443.

    Args:
        classifier: the module that maps a hidden vector to logits: a Linear, RoBERTa's or ELECTRA's classification
            head, any module of one vector in and logits out, PEFT-wrapped or not. It is copied, never changed.
        base: ``entropy``, ``smoothmax`` (AdUE) or ``margin``.

    Attributes:
        classifier: the copy.
        error_model: calibrates the score to P(error); None before a fit.
        is_calibrated: whether ``forward`` gives the calibrated probability (the default fit) or the copy's own score
            (untrained, and under the published recipe).

    Raises:
        UnsupportedModelError: the module is no classification module.
        ValueError: no base score of that name.
    """

    def __init__(self, classifier: nn.Module, base: str = "entropy") -> None:
        super().__init__()
        if base not in BASE_SCORES:
            raise ValueError(f"no base score {base!r}; there are {', '.join(BASE_SCORES)}.")
        self.base = base
        self.classifier = plain_copy(classifier)
        self.width, self.classes, self._sequence = module_shape(self.classifier)
        self.error_model: ErrorModel | None = None
        self.is_calibrated = False

    @property
    def device(self) -> torch.device:
        """Where the copy is: where the module was, until it is moved."""
        return next(self.classifier.parameters()).device

    def forward(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Uncertainty ``[N]`` float32 in [0, 1]; NaN where the logits are not finite.

        Args:
            hidden: input of the classification module, ``[N, D]``.
            logits: the model's own logits ``[N, C]``; needed by a calibrated head only, which looks at the answer.
        """
        if self.is_calibrated:
            return self.error_probability(hidden, logits)
        own = self.log_uncertainty(hidden).exp().clamp(0.0, 1.0)
        return own if logits is None else own.masked_fill(self.no_answer(logits), torch.nan)

    def log_uncertainty(self, hidden: Tensor) -> Tensor:
        """Log of the copy's own score, ``[N]``, before calibration."""
        return BASE_SCORES[self.base](self.copy_logits(hidden))

    def copy_logits(self, hidden: Tensor) -> Tensor:
        """Logits ``[N, C]`` of the copy, in float32."""
        return self.classifier(self.module_input(hidden))

    def module_input(self, hidden: Tensor) -> Tensor:
        """``hidden`` in the shape and precision that the copy takes."""
        if hidden.dim() != 2 or hidden.shape[1] != self.width:
            raise ValueError(f"hidden must be [N, {self.width}], not {list(hidden.shape)}.")
        return hidden.float().unsqueeze(1) if self._sequence else hidden.float()

    def new_error_model(self, references: Sequence[Reference | LabelReference] = ()) -> ErrorModel:
        """An error model of this head's kind, to be fitted."""
        return ErrorModel(self.classes, references)

    def error_probability(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        """Calibrated probability ``[N]`` that the model's answer ``argmax logits`` is wrong; NaN as in :meth:`forward`.

        Raises:
            NotFittedError: before a fit.
        """
        model, logits = self.fitted(hidden, logits)
        odds = model(self.log_uncertainty(hidden), hidden.float(), logits)
        return odds.sigmoid().masked_fill(self.no_answer(logits), torch.nan)

    def no_answer(self, logits: Tensor) -> Tensor:
        """Where there is no answer to doubt, ``[N]``: some of the logits ``[N, C]`` are not finite."""
        return ~logits.isfinite().all(-1)

    def fitted(self, hidden: Tensor, logits: Tensor | None) -> tuple[ErrorModel, Tensor]:
        """The error model and the model's own logits in float32, if both are there.

        Raises:
            NotFittedError: before a fit.
            ValueError: no logits, or not of these rows.
        """
        if self.error_model is None:
            raise NotFittedError("an untrained head knows no probability of an error: fit it on labeled texts first.")
        if logits is None or logits.shape != (hidden.shape[0], self.classes):
            shape = None if logits is None else list(logits.shape)
            raise ValueError(f"a fitted head needs the model's logits [{len(hidden)}, {self.classes}], not {shape}.")
        return self.error_model, logits.float()
