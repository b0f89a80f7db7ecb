"""The uncertainty head of a multi-label model, whose prediction for every label is a yes or a no.

The model predicts yes for label l where its logit z is above zero. This is a classifier of two classes with the logits
``(0, z)``, so base scores, features and calibration are those of :mod:`.head`, applied to ``[N, L, 2]``. Most labels
are too rare to fit an error model for each. One error model is fitted on all label predictions, with an offset for the
yes and the no of every label. A text is wrong where any of its label predictions is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ArgumentError
from .distances import reference_distances
from .error_model import LINE_PENALTY, ErrorModel
from .head import AlignedEntropyHead
from .reference import LabelReference, Reference
from .ridge import ridge_logistic
from .scoring import LOG_FLOOR, log1mexp, log_entropy, log_odds, log_softmax_response
from .views import View

MAX_LABEL_COUNT = 3  # numbers of predicted labels that have an offset: 0, 1, 2, and 3 or more


def pair_logits(logits_NL: Tensor) -> Tensor:
    """Logits ``[N, L, 2]`` of the no and the yes of every label."""
    return torch.stack([torch.zeros_like(logits_NL), logits_NL], -1)


def any_log_odds(odds_NL: Tensor) -> Tensor:
    """Log-odds ``[N]`` that any of L independent events happens, ``1 - prod(1 - q)``, from the log-odds of the q."""
    log_none = F.logsigmoid(-odds_NL).sum(-1)
    log_sum = F.logsigmoid(odds_NL).logsumexp(-1)  # for very rare events, the probability of any is the sum
    return torch.where(log_none > -1e-6, log_sum, log1mexp(log_none)) - log_none


class LabelErrorModel(ErrorModel):
    """Error model of all label predictions: shapes are ``[N, L]`` for ``[N]`` and ``[N, L, 2]`` for ``[N, C]``.

    It has an offset for the no and the yes of every label, ``[2 L]``.

    Args:
        labels: number of labels L.
        references: labeled texts whose nearest neighbors of a text give features.
        views: class models of other inputs than the hidden vector, which give features.
    """

    reference_class: ClassVar[type[Reference] | type[LabelReference]] = LabelReference

    def __init__(
        self, labels: int, references: Sequence[Reference | LabelReference] = (), views: Sequence[View] = ()
    ) -> None:
        super().__init__(2 * labels, references, views)

    @property
    def logit_feature_prior(self) -> Tensor:
        """Prior weights of :meth:`logit_features`, all zero."""
        return torch.zeros(2)

    def logit_features(self, logits_NL2: Tensor) -> Tensor:
        """Compute two features of every label from the logits of the text's other labels, ``[N, L, 2]``.

        The first is the log of the expected number of wrong predictions among the other labels. The second is the
        log-odds that the text has any other label, with the sign of the prediction: where labels exclude each other,
        evidence for one is evidence against the others; where most texts have a label, a no to every label is
        doubtful.
        """
        log_wrong, logits = log_softmax_response(logits_NL2), logits_NL2[..., 1]
        before = F.pad(log_wrong.logcumsumexp(-1)[:, :-1], (1, 0), value=-torch.inf)
        after = F.pad(log_wrong.flip(-1).logcumsumexp(-1).flip(-1)[:, 1:], (0, 1), value=-torch.inf)
        log_none = F.logsigmoid(-logits)
        log_no_other = (log_none.sum(-1, keepdim=True) - log_none).clamp(max=-1e-6)  # the precision of a difference
        other_log_odds = log1mexp(log_no_other) - log_no_other
        expected_wrong = torch.logaddexp(before, after).clamp(min=LOG_FLOOR)
        return torch.stack([expected_wrong, torch.where(logits > 0, other_log_odds, -other_log_odds)], -1)

    def combine(self, log_u_NL: Tensor, features_NLS: Tensor, predicted_NL: Tensor) -> Tensor:
        """Compute the logit ``[N, L]`` of the probability that a label prediction is wrong."""
        return super().combine(log_u_NL, features_NLS, _class_index(predicted_NL))

    def _fit_line(self, log_u: Tensor, logits: Tensor, errors: Tensor, row_weights: Tensor | None) -> None:
        super()._fit_line(log_u.flatten(), logits.flatten(0, 1), errors.flatten(), row_weights)

    def _fit_mixture(self, log_u: Tensor, features: Tensor, *rest: Any) -> None:
        predicted, errors, *others = rest
        rows = log_u.flatten(), features.flatten(0, 1), _class_index(predicted).flatten(), errors.flatten()
        super()._fit_mixture(*rows, *others)


def _class_index(predicted_NL: Tensor) -> Tensor:
    """Index of a label's no or yes among the 2 L possible predictions, ``[N, L]``."""
    return 2 * torch.arange(predicted_NL.shape[1], device=predicted_NL.device) + predicted_NL


class TextMap(nn.Module):
    """Platt's map of ``1 - prod(1 - q)`` to the error probability of a text, from the error probabilities q of labels.

    The labels of a text depend on each other. Therefore the map has an offset for the number of predicted labels (0,
    1, 2, and 3 or more): where every text has a label, a text without a predicted label is wrong.
    """

    line: Tensor
    offsets: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("line", torch.tensor([0.0, 1.0]))
        self.register_buffer("offsets", torch.zeros(MAX_LABEL_COUNT + 1))

    def forward(self, odds_NL: Tensor, predicted_NL: Tensor) -> Tensor:
        """Compute the log-odds ``[N]`` that any label prediction of a text is wrong.

        Args:
            odds_NL: log-odds of an error for every label.
            predicted_NL: label predictions, 1 for yes.
        """
        intercept, slope = self.line.unbind()
        return intercept + slope * any_log_odds(odds_NL) + self.offsets[_label_count(predicted_NL)]

    def fit(self, odds_NL: Tensor, predicted_NL: Tensor, errors_NL: Tensor) -> TextMap:
        """Fit the map, pulled gently towards that of independent labels, with a slope of at least zero; returns itself.

        Args:
            odds_NL: log-odds of an error for every label, from models that were not fitted on the text.
            predicted_NL: label predictions, 1 for yes.
            errors_NL: 1 where a label prediction is wrong.
        """
        odds, errors, count = any_log_odds(odds_NL).double(), errors_NL.amax(1).double(), _label_count(predicted_NL)
        center, scale = odds.mean(), odds.std(correction=0).clamp(min=1e-6)
        design = torch.stack([torch.ones_like(odds), (odds - center) / scale], 1)
        start = torch.cat([torch.stack([center, scale]), torch.zeros(MAX_LABEL_COUNT + 1).double()])
        penalty = torch.tensor([1e-3, LINE_PENALTY, *[1.0] * (MAX_LABEL_COUNT + 1)]).double()
        solution = ridge_logistic(design, errors, penalty, start, count)
        if solution[1] < 0:
            design[:, 1], start[1] = 0.0, 0.0
            solution = ridge_logistic(design, errors, penalty, start, count)
        slope = solution[1] / scale
        self.line, self.offsets = torch.stack([solution[0] - slope * center, slope]).float(), solution[2:].float()
        return self


def _label_count(predicted_NL: Tensor) -> Tensor:
    return predicted_NL.sum(1).clamp(max=MAX_LABEL_COUNT)


class MultiLabelHead(AlignedEntropyHead):
    """Uncertainty head of a multi-label model: a copy of its classification module.

    Before training, ``head(hidden, logits)`` is the normalized entropy ``[N, L]`` of every label's sigmoid, computed in
    float32. :meth:`text_uncertainty` is then the probability ``[N]`` that any label prediction is wrong if the model is
    calibrated and its labels are independent. :func:`aligned_entropy.head.fit_multilabel.fit_multilabel` calibrates
    both.

    Args:
        classifier: module that maps a hidden vector to L logits; copied, never changed.

    Attributes:
        text_map: map that calibrates the error probability of a text.

    Raises:
        UnsupportedModelError: the module is no classification module.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__(classifier)
        self.text_map = TextMap()

    @classmethod
    def from_state(
        cls, classifier: nn.Module, state: dict[str, Tensor], *, base: str = "entropy", is_calibrated: bool = True
    ) -> MultiLabelHead:
        """Restore a saved head from its ``state_dict``.

        Args:
            classifier: classification module that the head was copied from.
            state: saved tensors by name; those of a fitted head include an error model.
            base: name of the base score, always ``entropy``.
            is_calibrated: True if the output of a fitted head is the calibrated probability.

        Raises:
            ArgumentError: the base score is not the entropy.
        """
        if base != "entropy":
            raise ArgumentError(f"a multi-label head has the base score 'entropy', not {base!r}: load it as 'entropy'.")
        head, prefix = cls(classifier), "error_model."
        fitted = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if fitted:
            head.error_model, head.is_calibrated = LabelErrorModel.from_state(head.classes, fitted), is_calibrated
        head.load_state_dict(state)
        return head

    def log_uncertainty(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Compute the log of the copy's score ``[N, L]``, before calibration."""
        return log_entropy(pair_logits(self.copy_logits(hidden, logits)))

    def log_wrong(self, hidden: Tensor) -> Tensor:
        """Compute ``log(1 - max(p, 1 - p))``, ``[N, L]``: the log of the copy's uncalibrated error probability.

        It ranks label predictions like the entropy, and is the score that a fit calibrates: for p = 1/2 it is the log
        of 1/2, while the entropy is 1.
        """
        return log_softmax_response(pair_logits(self.copy_logits(hidden)))

    def label_and_text_uncertainty(
        self, hidden: Tensor, logits: Tensor | None = None, views: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the uncertainty of every label ``[N, L]`` and of the text ``[N]`` in one pass.

        The first is ``head(hidden, logits, views)``, the second :meth:`text_uncertainty`; the nearest neighbors are
        looked up only once.

        Args:
            hidden: input of the classification module, ``[N, D]``.
            logits: the model's logits ``[N, L]``; a calibrated head requires them, since it uses the predictions.
            views: inputs of views by name; a calibrated head requires those of :attr:`views`.
        """
        if self.is_calibrated:
            return self._error_probabilities(hidden, logits, views)
        pairs = pair_logits(self.copy_logits(hidden))
        labels = log_entropy(pairs).exp().clamp(0.0, 1.0)
        texts = any_log_odds(log_odds(log_softmax_response(pairs))).sigmoid()
        return (labels, texts) if logits is None else self._masked(labels, texts, logits)

    def distances(self, hidden: Tensor) -> Tensor:
        """Compute the distance of texts from the calibration set, ``[N]``; NaN for a head without neighbors."""
        references = [] if self.error_model is None else list(self.error_model.references)
        if not references:
            return torch.full((len(hidden),), torch.nan, device=hidden.device)
        assert isinstance(references[0], LabelReference)
        return reference_distances(references[0], hidden, hidden)

    def text_uncertainty(
        self, hidden: Tensor, logits: Tensor | None = None, views: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the uncertainty ``[N]`` of texts: the probability that any label prediction is wrong.

        Args:
            hidden: input of the classification module, ``[N, D]``.
            logits: the model's logits ``[N, L]``; a calibrated head requires them, since it uses the predictions.
            views: inputs of views by name; a calibrated head requires those of :attr:`views`.
        """
        return self.label_and_text_uncertainty(hidden, logits, views)[1]

    def error_probability(
        self, hidden: Tensor, logits: Tensor | None, views: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the calibrated probability ``[N, L]`` that a label prediction is wrong (yes if its logit exceeds 0).

        Raises:
            NotFittedError: the head has not been fitted.
            ArgumentError: the logits are missing or have another shape than ``[N, L]``, or an input of a view is
                missing.
        """
        return self._error_probabilities(hidden, logits, views)[0]

    def text_error_probability(
        self, hidden: Tensor, logits: Tensor | None, views: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the calibrated probability ``[N]`` that any label prediction of a text is wrong.

        Raises:
            NotFittedError: the head has not been fitted.
            ArgumentError: the logits are missing or have another shape than ``[N, L]``, or an input of a view is
                missing.
        """
        return self._error_probabilities(hidden, logits, views)[1]

    def not_finite(self, logits: Tensor) -> Tensor:
        """True for labels ``[N, L]`` whose logit is not finite, so that the model makes no prediction."""
        return ~logits.isfinite()

    def new_error_model(
        self, references: Sequence[Reference | LabelReference] = (), views: Sequence[View] = ()
    ) -> LabelErrorModel:
        """Create an unfitted error model for this type of head."""
        return LabelErrorModel(self.classes, references, views)

    def _error_probabilities(
        self, hidden: Tensor, logits: Tensor | None, views: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Calibrated error probabilities of labels ``[N, L]`` and of texts ``[N]``."""
        model, logits = self.checked_error_model(hidden, logits)
        odds = model(self.log_wrong(hidden), hidden.float(), pair_logits(logits), views)
        text_odds = self.text_map(odds, (logits > 0).long())
        return self._masked(odds.sigmoid(), text_odds.sigmoid(), logits)

    def _masked(self, labels: Tensor, texts: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the values of labels and texts by NaN where logits are not finite."""
        not_finite = self.not_finite(logits)
        return labels.masked_fill(not_finite, torch.nan), texts.masked_fill(not_finite.any(-1), torch.nan)
