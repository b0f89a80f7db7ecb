"""Texts with any number of labels: every label is a yes or a no of its own, and each answer may be wrong.

A model answers label l with yes where its logit z is above zero. That is a classifier of two classes with the logits
``(0, z)``, so base scores, signals and calibration are those of :mod:`.head`, on ``[N, L, 2]``. Most
labels are too rare to carry an error model of their own: one is fitted on all answers, with an offset for every label's
yes and no. A text is wrong where any of its answers is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .error_model import LINE_PENALTY, ErrorModel
from .head import AlignedEntropyHead
from .reference import LabelReference, Reference
from .ridge import ridge_logistic
from .scoring import LOG_FLOOR, log1mexp, log_entropy, log_odds, log_softmax_response

MOST_GIVEN = 3  # numbers of labels given to a text that are told apart: 0, 1, 2, and 3 or more


def pair_logits(logits_NL: Tensor) -> Tensor:
    """Logits ``[N, L, 2]`` of every label's no and yes."""
    return torch.stack([torch.zeros_like(logits_NL), logits_NL], -1)


def any_log_odds(odds_NL: Tensor) -> Tensor:
    """Log-odds ``[N]`` of ``1 - prod(1 - q)``, from those of the q: that any of L independent events happens."""
    log_none = F.logsigmoid(-odds_NL).sum(-1)
    log_sum = F.logsigmoid(odds_NL).logsumexp(-1)  # of events that are next to impossible this is their union
    return torch.where(log_none > -1e-6, log_sum, log1mexp(log_none)) - log_none


class LabelErrorModel(ErrorModel):
    """The error model of all answers at once: ``[N, L]`` for ``[N]``, ``[N, L, 2]`` for ``[N, C]``.

    It has an offset for every label's no and yes, ``[2 L]``, and asks what the texts that are near say of this label.

    Args:
        labels: number of labels L.
        references: where new vectors are looked up.
    """

    look_up: ClassVar[type[Reference] | type[LabelReference]] = LabelReference

    def __init__(self, labels: int, references: Sequence[Reference | LabelReference] = ()) -> None:
        super().__init__(2 * labels, references)

    @property
    def shape_prior(self) -> Tensor:
        """What :meth:`shape` counts before any error is seen."""
        return torch.zeros(2)

    def shape(self, logits_NL2: Tensor) -> Tensor:
        """Doubt in the other logits of the text, ``[N, L, 2]``.

        Log of how many of the text's other answers are expected to be wrong; log-odds that it has any other label, with
        the sign of the answer: where labels exclude each other, what speaks for one speaks against the others, and
        where most texts have one, a no to all of them is doubtful.
        """
        log_wrong, logits = log_softmax_response(logits_NL2), logits_NL2[..., 1]
        before = F.pad(log_wrong.logcumsumexp(-1)[:, :-1], (1, 0), value=-torch.inf)
        after = F.pad(log_wrong.flip(-1).logcumsumexp(-1).flip(-1)[:, 1:], (0, 1), value=-torch.inf)
        log_none = F.logsigmoid(-logits)
        log_no_other = (log_none.sum(-1, keepdim=True) - log_none).clamp(max=-1e-6)  # a difference: no more is known
        other = log1mexp(log_no_other) - log_no_other
        expected = torch.logaddexp(before, after).clamp(min=LOG_FLOOR)
        return torch.stack([expected, torch.where(logits > 0, other, -other)], -1)

    def combine(self, log_u_NL: Tensor, signals_NLS: Tensor, predicted_NL: Tensor) -> Tensor:
        """Logit ``[N, L]`` of the probability that an answer is wrong."""
        return super().combine(log_u_NL, signals_NLS, _kind(predicted_NL))

    def _fit_line(self, log_u: Tensor, logits: Tensor, errors: Tensor) -> None:
        super()._fit_line(log_u.flatten(), logits.flatten(0, 1), errors.flatten())

    def _fit_mixture(self, log_u: Tensor, signals: Tensor, predicted: Tensor, errors: Tensor, penalty: float) -> None:
        rows = log_u.flatten(), signals.flatten(0, 1), _kind(predicted).flatten(), errors.flatten()
        super()._fit_mixture(*rows, penalty)


def _kind(predicted_NL: Tensor) -> Tensor:
    """Number of a label's no or yes among the 2 L answers there are."""
    return 2 * torch.arange(predicted_NL.shape[1], device=predicted_NL.device) + predicted_NL


class TextMap(nn.Module):
    """From the answers' error probabilities to that of any error in the text: Platt's map of ``1 - prod(1 - q)``.

    Labels of a text depend on each other. So the map has an offset for every number of labels that the model gives, up
    to three: where every text has a label, a text that is given none is wrong.
    """

    line: Tensor
    offsets: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("line", torch.tensor([0.0, 1.0]))
        self.register_buffer("offsets", torch.zeros(MOST_GIVEN + 1))

    def forward(self, odds_NL: Tensor, predicted_NL: Tensor) -> Tensor:
        """Log-odds ``[N]`` that any answer is wrong, from those of every answer.

        Args:
            odds_NL: log-odds of an error.
            predicted_NL: the answers, 1 for yes.
        """
        intercept, slope = self.line
        return intercept + slope * any_log_odds(odds_NL) + self.offsets[_given(predicted_NL)]

    def fit(self, odds_NL: Tensor, predicted_NL: Tensor, errors_NL: Tensor) -> TextMap:
        """Fit on answers, whose log-odds come from models that were not fitted on the text; returns itself.

        The map is pulled gently towards independent labels, and never falls.
        """
        odds, errors, given = any_log_odds(odds_NL).double(), errors_NL.amax(1).double(), _given(predicted_NL)
        center, scale = odds.mean(), odds.std(correction=0).clamp(min=1e-6)
        design = torch.stack([torch.ones_like(odds), (odds - center) / scale], 1)
        start = torch.cat([torch.stack([center, scale]), torch.zeros(MOST_GIVEN + 1).double()])
        penalty = torch.tensor([1e-3, LINE_PENALTY, *[1.0] * (MOST_GIVEN + 1)]).double()
        found = ridge_logistic(design, errors, penalty, start, given)
        if found[1] < 0:
            design[:, 1], start[1] = 0.0, 0.0
            found = ridge_logistic(design, errors, penalty, start, given)
        slope = found[1] / scale
        self.line, self.offsets = torch.stack([found[0] - slope * center, slope]).float(), found[2:].float()
        return self


def _given(predicted_NL: Tensor) -> Tensor:
    return predicted_NL.sum(1).clamp(max=MOST_GIVEN)


class MultiLabelHead(AlignedEntropyHead):
    """An uncertainty head for a multi-label model: a copy of its classification module.

    Untrained, ``head(hidden, logits)`` is the normalized entropy ``[N, L]`` of every label's sigmoid exactly, in
    float32, and :meth:`text_uncertainty` the probability ``[N]`` that any answer is wrong, were the model calibrated
    and its labels independent. :func:`aligned_entropy.head.fit_multilabel.fit_multilabel` calibrates both.

    Args:
        classifier: the module that maps a hidden vector to L logits; copied, never changed.

    Attributes:
        text_map: calibrates the probability of any error in a text.

    Raises:
        UnsupportedModelError: the module is no classification module.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__(classifier)
        self.text_map = TextMap()

    @classmethod
    def from_state(cls, classifier: nn.Module, state: dict[str, Tensor]) -> MultiLabelHead:
        """A saved head from its ``state_dict``, for the classification module that it was copied from."""
        head, prefix = cls(classifier), "error_model."
        fitted = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if fitted:
            head.error_model, head.is_calibrated = LabelErrorModel.from_state(head.classes, fitted), True
        head.load_state_dict(state)
        return head

    def log_uncertainty(self, hidden: Tensor) -> Tensor:
        """Log of the copy's own score, ``[N, L]``, before calibration."""
        return log_entropy(pair_logits(self.copy_logits(hidden)))

    def log_wrong(self, hidden: Tensor) -> Tensor:
        """``log(1 - max(p, 1 - p))``, ``[N, L]``: what the copy itself believes of an error.

        It ranks as the entropy does and is what is calibrated: an even chance is one half here, certainty there.
        """
        return log_softmax_response(pair_logits(self.copy_logits(hidden)))

    def text_uncertainty(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Uncertainty ``[N]`` of the whole text: that any of its answers is wrong. Arguments as for the head itself."""
        if self.is_calibrated:
            return self.text_error_probability(hidden, logits)
        own = any_log_odds(log_odds(self.log_wrong(hidden))).sigmoid()
        return own if logits is None else own.masked_fill(self.no_answer(logits).any(-1), torch.nan)

    def error_probability(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        """Calibrated probability ``[N, L]`` that an answer of the model, yes where its logit is above 0, is wrong.

        Raises:
            NotFittedError: before a fit.
        """
        odds = self._error_log_odds(hidden, logits)
        assert logits is not None
        return odds.sigmoid().masked_fill(self.no_answer(logits), torch.nan)

    def no_answer(self, logits: Tensor) -> Tensor:
        """Where there is no answer to doubt, ``[N, L]``: the logit is not finite."""
        return ~logits.isfinite()

    def text_error_probability(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        """Calibrated probability ``[N]`` that any answer for a text is wrong.

        Raises:
            NotFittedError: before a fit.
        """
        odds = self._error_log_odds(hidden, logits)
        assert logits is not None
        said = self.text_map(odds, (logits > 0).long()).sigmoid()
        return said.masked_fill(self.no_answer(logits).any(-1), torch.nan)

    def new_error_model(self, references: Sequence[Reference | LabelReference] = ()) -> LabelErrorModel:
        """An error model of this head's kind, to be fitted."""
        return LabelErrorModel(self.classes, references)

    def _error_log_odds(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        model, logits = self.fitted(hidden, logits)
        return model(self.log_wrong(hidden), hidden.float(), pair_logits(logits))
