"""Small logistic regression from a head's score and a few features to the probability of an error.

Without references it calibrates the score and keeps its order (beta calibration, Kull, Silva Filho and Flach, AISTATS
2017): Platt's map with a separate slope for each end, since an entropy of one and a probability of one half describe
the same prediction. The map is pulled gently towards the model's own error probability, ``1 - max p``.

With references it starts from a mixture of the score and the features whose weights are fixed. A calibration set of a
few hundred texts has a few dozen errors, which are too few to tell the useful features from the others, while the
fixed mixture improved the results on one development data set after another. The calibration set determines the scale
of the mixture, and moves a weight only as far as the errors justify.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from .distances import reference_distances
from .reference import LabelReference, Reference
from .ridge import ridge_logistic
from .scoring import LOG_FLOOR, entropy_and_response, log1mexp, log_odds, log_softmax_response
from .views import VIEWS, View

LINE_PENALTY = 10.0  # penalty on the weights of the score, in examples, for standardized columns
LEAST_SLOPE = 1e-3  # of a score that does not find errors on the calibration set: the score still keeps its order
MAX_STANDARDIZED = 6.0  # features are clipped at this many standard deviations: no extrapolation out of distribution


def logit_features(logits_NC: Tensor) -> Tensor:
    """Uncertainty features of a model's logits, ``[N, 4]`` for two classes and ``[N, 5]`` for more.

    They are the log-odds of the entropy, the log-odds of ``1 - max p``, minus logsumexp, minus the maximum and, for
    three or more classes, minus the gap between the second and the third logit. The gap between the first and the
    second is part of the log-odds.
    """
    top = logits_NC.topk(min(3, logits_NC.shape[1]), -1).values
    entropy, response = entropy_and_response(logits_NC)
    columns = [log_odds(entropy), response, -logits_NC.logsumexp(-1), -top[:, 0]]
    if top.shape[1] > 2:
        columns.append(top[:, 2] - top[:, 1])
    return torch.stack(columns, -1)


def logit_feature_prior(classes: int) -> Tensor:
    """Prior weights of :func:`logit_features`: half of the score's weight for the entropy, zero for the others."""
    return torch.tensor([0.5, *[0.0] * (3 if classes == 2 else 4)])


class ErrorModel(nn.Module):
    """Model of the error probability.

    ``logit P(error) = c + a log u - b log(1 - u) + features @ weights + offset[predicted class]``. Without references
    the model calibrates the score alone. With references ``a = b = 0``, and the score is the first of the standardized
    features.

    Args:
        classes: number of classes C.
        references: labeled texts whose nearest neighbors of a text give features.
        views: class models of other inputs than the hidden vector, which give features.
    """

    line: Tensor
    offsets: Tensor
    mean: Tensor
    scale: Tensor
    weights: Tensor

    reference_class: ClassVar[type[Reference] | type[LabelReference]] = Reference

    def __init__(
        self, classes: int, references: Sequence[Reference | LabelReference] = (), views: Sequence[View] = ()
    ) -> None:
        super().__init__()
        self.references = nn.ModuleList(references)
        self.views = nn.ModuleDict({view.name: view for view in views})
        self.register_buffer("line", torch.tensor([0.0, 1.0, 1.0]))  # c, a and b
        self.register_buffer("offsets", torch.zeros(classes))
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("scale", torch.ones(0))
        self.register_buffer("weights", torch.zeros(0))

    @classmethod
    def from_state(cls, classes: int, state: dict[str, Tensor]) -> ErrorModel:
        """Restore a saved error model from its ``state_dict``."""
        parts: dict[str, dict[str, dict[str, Tensor]]] = {"references": {}, "views": {}}
        for name, value in state.items():
            kind, _, rest = name.partition(".")
            if kind in parts:
                key, buffer = rest.split(".", 1)
                parts[kind].setdefault(key, {})[buffer] = value
        references = [cls.reference_class({**buffers}) for _, buffers in sorted(parts["references"].items())]
        # The columns are in the order of VIEWS; a file may hold its tensors in another one.
        views = [view(parts["views"][name]) for name, view in VIEWS.items() if name in parts["views"]]
        model = cls(classes, references, views)
        model.line, model.offsets = state["line"], state["offsets"]
        model.mean, model.scale, model.weights = state["mean"], state["scale"], state["weights"]
        return model

    @property
    def prior(self) -> Tensor:
        """Prior weights ``[1 + S]`` of the standardized score and features: the mixture that a fit starts from."""
        parts = [torch.ones(1), self.logit_feature_prior]
        sources = [*self.references, *self.views.values()]
        return torch.cat([*parts, *(torch.as_tensor(source.prior) for source in sources)])

    @property
    def logit_feature_prior(self) -> Tensor:
        """Prior weights of :meth:`logit_features`."""
        return logit_feature_prior(len(self.offsets))

    def logit_features(self, logits_NC: Tensor) -> Tensor:
        """Compute the features that depend on the logits alone."""
        return logit_features(logits_NC)

    def forward(
        self, log_u_N: Tensor, hidden_ND: Tensor, logits_NC: Tensor, views: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the logit ``[N]`` of the probability that the prediction ``argmax logits`` is wrong."""
        return self.combine(log_u_N, self.features(hidden_ND, logits_NC, views), logits_NC.argmax(-1))

    def combine(self, log_u_N: Tensor, features_NS: Tensor, predicted_N: Tensor) -> Tensor:
        """Compute the logit ``[N]`` of the error probability from the result of :meth:`features`."""
        if len(self.weights):
            standardized = self._standardized(log_u_N, features_NS)
            return self.line[0] + self.offsets[predicted_N] + standardized @ self.weights
        return _line_terms(log_u_N) @ self.line + self.offsets[predicted_N]

    def features(self, hidden_ND: Tensor, logits_NC: Tensor, views: Mapping[str, Tensor] | None = None) -> Tensor:
        """Compute the features ``[N, S]`` of the logits, of the neighbors in each reference, and of the views.

        S is 0 without references and views.

        Raises:
            ArgumentError: an input of a view is missing.
        """
        if not len(self.references) and not len(self.views):
            return logits_NC.new_zeros(*logits_NC.shape[:-1], 0)
        predicted = logits_NC.argmax(-1)
        neighbor_features = [reference(hidden_ND, predicted) for reference in self.references]
        signals = [view(views or {}, predicted) for view in self.views.values()]
        return torch.cat([self.logit_features(logits_NC), *neighbor_features, *signals], -1)

    def distances(self, hidden_ND: Tensor, features: Tensor) -> Tensor | None:
        """Distance ``[N]`` of each text from the first reference, the calibration set if it is one; None without any.

        Args:
            hidden_ND: hidden vectors ``[N, D]``.
            features: result of :meth:`features`.
        """
        if not len(self.references):
            return None
        first, start = self.references[0], len(self.logit_feature_prior)
        assert isinstance(first, Reference | LabelReference)
        return reference_distances(first, hidden_ND, features[..., start : start + len(first.prior)])

    def _standardized(self, log_u: Tensor, features: Tensor) -> Tensor:
        columns = torch.cat([log_odds(log_u).unsqueeze(-1), features], -1)
        return ((columns - self.mean) / self.scale).clamp(-MAX_STANDARDIZED, MAX_STANDARDIZED)

    def fit(
        self,
        log_u: Tensor,
        features: Tensor,
        logits: Tensor,
        errors: Tensor,
        penalty: float = 300.0,
        weights: Tensor | None = None,
    ) -> ErrorModel:
        """Fit the weights on rows of a calibration set, given their features, and return the model.

        Args:
            log_u: log of the score ``[N]``, from heads that were not trained on the row.
            features: features ``[N, S]`` of :meth:`features`, from references that do not hold the row.
            logits: the model's logits ``[N, C]``.
            errors: 1 where the model is wrong, ``[N]``.
            penalty: penalty on the weights of features and classes, in examples; unused without features.
            weights: weight of every row, ``[N]``; None for 1.
        """
        weights = None if weights is None else weights.double()
        if features.shape[-1]:
            self._fit_mixture(log_u, features, logits.argmax(-1), errors.double(), penalty, weights)
        else:
            self._fit_line(log_u, logits, errors.double(), weights)
        return self

    def fit_average(
        self,
        log_u: Tensor,
        features: Tensor,
        logits: Tensor,
        errors: Tensor,
        shares: Mapping[float, float],
        row_weights: Tensor | None = None,
    ) -> ErrorModel:
        """Fit with several penalties, average the logits weighted by ``shares[penalty]``, and return the model.

        Args:
            log_u: log of the score ``[N]``, from heads that were not trained on the row.
            features: features ``[N, S]`` of :meth:`features`, from references that do not hold the row.
            logits: the model's logits ``[N, C]``.
            errors: 1 where the model is wrong, ``[N]``.
            shares: weight of the fit with each penalty; the weights sum to 1.
            row_weights: weight of every row, ``[N]``; None for 1.
        """
        names = ("line", "weights", "offsets")
        average: dict[str, Tensor] = {}
        for penalty, share in shares.items():
            self.fit(log_u, features, logits, errors, penalty, row_weights)
            average = {name: average.get(name, 0.0) + share * getattr(self, name) for name in names}
        self.line, self.weights, self.offsets = (average[name] for name in names)
        return self

    def _fit_line(self, log_u: Tensor, logits: Tensor, errors: Tensor, row_weights: Tensor | None) -> None:
        """Fit c, a and b alone; a and b are never negative and never both zero, so that the score keeps its order."""
        terms, free = _line_terms(log_u).double(), torch.ones(3, dtype=torch.bool)
        model_error_logit = log_odds(log_softmax_response(logits)).double().clamp(-20.0, 20.0)
        scale = terms.std(0, correction=0).clamp(min=1e-6)
        scale[0] = 1.0
        while True:
            start = torch.zeros(3, dtype=torch.float64)
            target = model_error_logit.unsqueeze(1)
            start[free] = torch.linalg.lstsq(terms[:, free], target, driver="gelsd").solution.squeeze(1)
            penalty = torch.full_like(start, LINE_PENALTY)[free]
            line = torch.zeros_like(start)
            scaled = ridge_logistic(
                (terms / scale)[:, free], errors, penalty, (start * scale)[free], weights=row_weights
            )
            line[free] = scaled / scale[free]
            negative = (line < 0) & torch.tensor([False, True, True])
            if not negative.any():
                break
            free &= ~negative
        if not line[1:].any():
            line[1], line[0] = LEAST_SLOPE, line[0] - LEAST_SLOPE * terms[:, 1].mean()
        self.line = line.float()

    def _fit_mixture(
        self,
        log_u: Tensor,
        features: Tensor,
        predicted: Tensor,
        errors: Tensor,
        penalty: float,
        row_weights: Tensor | None,
    ) -> None:
        """Fit all weights, pulled towards the prior mixture, whose scale and base rate are fitted first."""
        columns = torch.cat([log_odds(log_u).unsqueeze(1), features], 1)
        self.mean = columns.mean(0)
        self.scale = (columns - self.mean).square().mean(0).sqrt().clamp(min=1e-6)
        standardized, prior = self._standardized(log_u, features).double(), self.prior.double()
        mixture = standardized @ prior
        spread = mixture.std(correction=0).clamp(min=1e-6)
        ones = torch.ones_like(errors)
        weak, start = torch.tensor([1e-3, 1.0]).double(), torch.tensor([0.0, 1.0]).double()
        mixed = torch.stack([ones, mixture / spread], 1)
        rate, slope = ridge_logistic(mixed, errors, weak, start, weights=row_weights)
        slope = slope.clamp(min=0.0)  # a higher uncertainty may never lower the error probability
        classes, width = len(self.offsets), standardized.shape[1]
        penalties = torch.full((1 + width + classes,), penalty, dtype=torch.float64)
        penalties[0], penalties[1] = 1e-3, LINE_PENALTY
        start = torch.cat([rate.view(1), prior * slope / spread, torch.zeros(classes).double()])
        design = torch.cat([ones.unsqueeze(1), standardized], 1)
        solution = ridge_logistic(design, errors, penalties, start, predicted, weights=row_weights).float()
        bias, weights, offsets = solution.split([1, width, classes])
        self.line = torch.cat([bias, torch.zeros(2)])
        self.weights, self.offsets = weights, offsets


def _line_terms(log_u: Tensor) -> Tensor:
    """Terms ``[N, 3]`` that the coefficients c, a and b multiply: 1, ``log u`` and ``-log(1 - u)``."""
    return torch.stack([torch.ones_like(log_u), log_u.clamp(min=LOG_FLOOR), -log1mexp(log_u)], -1)
