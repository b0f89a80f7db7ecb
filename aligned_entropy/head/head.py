"""The aligned-entropy head. Start reading here.

A classifier maps a text to a hidden vector ``h``, and its classification module ``g`` maps ``h`` to logits. The head is
a copy of ``g``; its score is the uncertainty of ``softmax(copy(h))``, in [0, 1]. Before training the score is exactly
the uncertainty of the model. After training it estimates how likely the model's prediction is wrong.

Scores are computed in float32 and as logarithms, so that confident rows keep their order where ``1 - max p`` or the
entropy itself would round to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ArgumentError, NotFittedError
from ..features.arrays import Features
from .error_model import ErrorModel
from .modules import LogProbabilityModule, in_float32, module_shape, plain_copy
from .reference import LabelReference, Reference
from .scoring import BASE_SCORES
from .views import View

ROWS_PER_CHUNK = 4096  # rows that are computed at once


class AlignedEntropyHead(nn.Module):
    """Uncertainty head: a copy of a classification module whose output is an uncertainty in [0, 1].

    Before training, ``head(hidden, logits)`` is the normalized predictive entropy of ``softmax(classifier(hidden))``
    (or another base score), computed in float32. :func:`aligned_entropy.fit_head` trains a head. Source: arXiv
    2505.15443.

    Args:
        classifier: module that maps a hidden vector to logits: a Linear, the classification head of RoBERTa or ELECTRA,
            or any other module with one vector as input and logits as output, with or without PEFT. It is copied,
            never changed.
        base: name of the base score: ``entropy``, ``smoothmax`` (AdUE) or ``margin``.

    Attributes:
        base: name of the base score.
        classifier: copy of the classification module.
        width: size D of a hidden vector.
        classes: number of classes C.
        error_model: model that calibrates the score to the error probability; None before a fit.
        is_calibrated: True if ``forward`` gives the calibrated probability (default fit), False if it gives the copy's
            score (untrained head and published recipe).

    Raises:
        UnsupportedModelError: the module is no classification module.
        ArgumentError: there is no base score of that name.
    """

    def __init__(self, classifier: nn.Module, base: str = "entropy") -> None:
        super().__init__()
        if base not in BASE_SCORES:
            raise ArgumentError(f"there is no base score {base!r}: choose one of {', '.join(BASE_SCORES)}.")
        self.base = base
        self.classifier = plain_copy(classifier)
        self.width, self.classes, self._sequence = module_shape(self.classifier)
        self.error_model: ErrorModel | None = None
        self.is_calibrated = False

    @classmethod
    def from_state(
        cls, classifier: nn.Module, state: dict[str, Tensor], *, base: str, is_calibrated: bool
    ) -> AlignedEntropyHead:
        """Restore a saved head from its ``state_dict``.

        Args:
            classifier: classification module that the head was copied from.
            state: saved tensors by name.
            base: name of the base score.
            is_calibrated: True if ``forward`` gives the calibrated probability.
        """
        head, prefixes = cls(classifier, base), ("classifier.", "error_model.")
        copy_state, model_state = (
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            for prefix in prefixes
        )
        head.classifier.load_state_dict(copy_state)
        if model_state:
            head.error_model = ErrorModel.from_state(head.classes, model_state)
        head.is_calibrated = is_calibrated
        return head

    def __repr__(self) -> str:
        views = f", views {', '.join(self.views)}" if self.views else ""
        state = "not fitted" if self.error_model is None else "fitted"
        return f"{type(self).__name__}({self.base}, {self.width} → {self.classes}, {state}{views})"

    @property
    def device(self) -> torch.device:
        """Device of the copy, which starts on the device of the original module."""
        return next(self.classifier.parameters()).device

    def forward(
        self, hidden: Tensor, logits: Tensor | None = None, views: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the uncertainty ``[N]``, float32 in [0, 1]; NaN where the logits are not finite.

        Args:
            hidden: input of the classification module, ``[N, D]``.
            logits: the model's logits ``[N, C]``; a calibrated head requires them, since it uses the prediction.
            views: inputs of views by name, see :class:`aligned_entropy.features.arrays.Features`; a calibrated head
                requires those of :attr:`views`.

        Raises:
            NotFittedError: the head is calibrated but has no error model.
            ArgumentError: the vectors have another shape, or a calibrated head gets no logits ``[N, C]``, or not the
                inputs of its views.
        """
        if self.is_calibrated:
            return self.error_probability(hidden, logits, views)
        score = self.log_uncertainty(hidden, logits).exp().clamp(0.0, 1.0)
        return score if logits is None else score.masked_fill(self.not_finite(logits), torch.nan)

    @property
    def views(self) -> list[str]:
        """Names of the views whose inputs the head needs; empty for an untrained head."""
        return [] if self.error_model is None else list(self.error_model.views)

    def compute(
        self, features: Features, function: Callable[[Tensor, Tensor, dict[str, Tensor]], tuple[Tensor, ...]]
    ) -> tuple[NDArray[Any], ...]:
        """Apply a function of a head's inputs to features, chunk by chunk, on the device of the copy.

        Arrays may be memory maps that do not fit into memory. The function runs without gradient and in float32.

        Args:
            features: features of N rows.
            function: maps hidden vectors ``[n, D]``, logits ``[n, C]`` and the inputs of the head's views by name to
                one or several tensors ``[n, …]``.

        Returns:
            Arrays ``[N, …]``, one for each tensor.
        """
        chunks, names = [], [name for name in self.views if name in features.views]
        with torch.inference_mode(), in_float32(self.device):
            for start in range(0, max(1, len(features)), ROWS_PER_CHUNK):  # no rows are one chunk, to know the shapes
                rows = slice(start, start + ROWS_PER_CHUNK)
                hidden, logits, *inputs = (
                    torch.tensor(values[rows], device=self.device)
                    for values in (features.hidden, features.logits, *(features.views[name] for name in names))
                )
                outputs = function(hidden, logits, dict(zip(names, inputs, strict=True)))
                chunks.append([tensor.cpu().numpy() for tensor in outputs])
        return tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))

    @property
    def reads_logits(self) -> bool:
        """True if the copy reads the model's logits and not the hidden vectors, as for outputs from elsewhere."""
        return isinstance(self.classifier, LogProbabilityModule)

    def log_uncertainty(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Compute the log of the copy's score ``[N]``, before calibration."""
        return BASE_SCORES[self.base](self.copy_logits(hidden, logits))

    def copy_logits(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Compute the copy's logits ``[N, C]`` in float32."""
        outputs: Tensor = self.classifier(self.module_input(hidden, logits))
        return outputs

    def module_input(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Convert hidden vectors ``[N, D]`` to the shape and precision of the copy's input.

        Args:
            hidden: hidden vectors ``[N, D]``.
            logits: the model's logits ``[N, C]``, which are returned if the copy reads them.

        Raises:
            ArgumentError: the vectors or the logits have another shape, or the logits are missing.
        """
        name, values, size = ("logits", logits, self.classes) if self.reads_logits else ("hidden", hidden, self.width)
        if values is None or values.dim() != 2 or values.shape[1] != size:
            shape = None if values is None else list(values.shape)
            raise ArgumentError(
                f"{name} must be [N, {size}], not {shape}: pass one vector a row, the input of the classification "
                "module."
            )
        return values.float().unsqueeze(1) if self._sequence else values.float()

    def new_error_model(
        self, references: Sequence[Reference | LabelReference] = (), views: Sequence[View] = ()
    ) -> ErrorModel:
        """Create an unfitted error model for this type of head."""
        return ErrorModel(self.classes, references, views)

    def error_probability(
        self, hidden: Tensor, logits: Tensor | None, views: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the calibrated probability ``[N]`` that the model's prediction ``argmax logits`` is wrong.

        It is NaN where the logits are not finite.

        Raises:
            NotFittedError: the head has not been fitted.
            ArgumentError: the logits are missing or have another shape than ``[N, C]``, or an input of a view is
                missing.
        """
        model, logits = self.checked_error_model(hidden, logits)
        error_logit: Tensor = model(self.log_uncertainty(hidden, logits), hidden.float(), logits, views)
        return error_logit.sigmoid().masked_fill(self.not_finite(logits), torch.nan)

    def error_probability_and_distance(
        self, hidden: Tensor, logits: Tensor | None, views: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute :meth:`error_probability` and the distance from the calibration set, ``[N]`` each.

        The distance is NaN for a head without neighbors. Arguments and errors are those of :meth:`error_probability`.
        """
        model, logits = self.checked_error_model(hidden, logits)
        features = model.features(hidden.float(), logits, views)
        odds = model.combine(self.log_uncertainty(hidden, logits), features, logits.argmax(-1))
        distances = model.distances(hidden.float(), features)
        missing = torch.full_like(odds, torch.nan)
        return odds.sigmoid().masked_fill(
            self.not_finite(logits), torch.nan
        ), missing if distances is None else distances

    def not_finite(self, logits: Tensor) -> Tensor:
        """True for rows ``[N]`` where a logit ``[N, C]`` is not finite, so that the model makes no prediction."""
        return ~logits.isfinite().all(-1)

    def checked_error_model(self, hidden: Tensor, logits: Tensor | None) -> tuple[ErrorModel, Tensor]:
        """Return the fitted error model and the model's logits in float32.

        Raises:
            NotFittedError: the head has not been fitted.
            ArgumentError: the logits are missing or have another shape than ``[N, C]``.
        """
        if self.error_model is None:
            raise NotFittedError("an untrained head has no error probability: fit it on labeled texts first.")
        if logits is None or logits.shape != (hidden.shape[0], self.classes):
            shape = None if logits is None else list(logits.shape)
            raise ArgumentError(
                f"a fitted head needs the model's logits [{len(hidden)}, {self.classes}], not {shape}: pass the logits "
                "of the same rows."
            )
        return self.error_model, logits.float()
