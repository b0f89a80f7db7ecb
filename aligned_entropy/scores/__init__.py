"""Uncertainty scores, each a function of stored features; :data:`SCORES` lists them by name.

To add a score, write a subclass of :class:`~aligned_entropy.scores.base.Score` in the module of its family and add it
to the list below. Another distribution adds one by an entry point, see :mod:`aligned_entropy.scores.plugins`.
"""

from collections.abc import Collection

from torch import nn

from ..errors import ArgumentError, ArgumentTypeError
from .aligned import (
    HEAD,
    AdUE,
    AlignedEntropy,
    AlignedEntropyPaper,
    AlignedEntropyPaperTraining,
    AlignedEntropyReference,
    FittedHead,
)
from .base import FunctionScore, Score, ScoreLike
from .contextual import ContextualCalibration
from .density import (
    DDU,
    RDE,
    RDE256,
    Mahalanobis,
    MarginalMahalanobis,
    NormalizedDDU,
    NormalizedMahalanobis,
    NormalizedMarginalMahalanobis,
    NormalizedRDE,
    NormalizedRelativeMahalanobis,
    RelativeMahalanobis,
)
from .detectors import Doctor, NormalizedMaxLogit, RelativeUncertainty
from .hybrid import EntropyMahalanobisHUQ, ResponseRelativeHUQ
from .laplace import LastLayerLaplace
from .layers import LayerMahalanobis
from .neighbors import NearestNeighborUncertainty, RunLength
from .plugins import plugin_scores
from .probes import AttentionProbe, LinearProbe, MLPProbe
from .sampling import DropoutBALD, DropoutPV, DropoutSMP, EnsembleBALD, EnsemblePV, EnsembleSMP
from .softmax import Energy, Entropy, Margin, MaxLogit, SoftmaxResponse, TemperatureEntropy, TemperatureSoftmaxResponse

SCORES: dict[str, type[Score]] = {
    kind.name: kind
    for kind in (
        SoftmaxResponse,
        Entropy,
        Margin,
        Energy,
        MaxLogit,
        NormalizedMaxLogit,
        Doctor,
        RelativeUncertainty,
        TemperatureSoftmaxResponse,
        TemperatureEntropy,
        ContextualCalibration,
        DropoutSMP,
        DropoutPV,
        DropoutBALD,
        EnsembleSMP,
        EnsemblePV,
        EnsembleBALD,
        Mahalanobis,
        NormalizedMahalanobis,
        RelativeMahalanobis,
        NormalizedRelativeMahalanobis,
        MarginalMahalanobis,
        NormalizedMarginalMahalanobis,
        RDE,
        NormalizedRDE,
        RDE256,
        DDU,
        NormalizedDDU,
        LayerMahalanobis,
        LastLayerLaplace,
        NearestNeighborUncertainty,
        RunLength,
        EntropyMahalanobisHUQ,
        ResponseRelativeHUQ,
        LinearProbe,
        MLPProbe,
        AttentionProbe,
        AdUE,
        AlignedEntropyPaper,
        AlignedEntropyPaperTraining,
        AlignedEntropy,
        AlignedEntropyReference,
    )
}
"""Classes of all scores by their names."""


def score_names() -> list[str]:
    """Names of all scores: those of this library, then those of other distributions, which are not imported.

    Raises:
        ArgumentError: two scores have the same name.
    """
    return [*SCORES, *plugin_scores(SCORES)]


def score_class(name: str) -> type[Score]:
    """Class of a score by its name; that of another distribution is imported.

    Raises:
        ArgumentError: there is no score of this name, or that of another distribution cannot be used.
    """
    if name in SCORES:
        return SCORES[name]
    plugins = plugin_scores(SCORES)
    if name not in plugins:
        raise ArgumentError(f"there is no score {name!r}; there are {', '.join([*SCORES, *plugins])}.")
    return plugins[name].load()


def make_score(score: ScoreLike, module: nn.Module | None = None, seed: int = 0) -> Score:
    """Make a score that can be fitted.

    Args:
        score: name of a score, a score or its class, or a function of :class:`Features` that gives ``[N]``.
        module: classification module for scores that are made here.
        seed: seed of their fit.

    Raises:
        ArgumentError: there is no score of this name, or a score of the user has no name or that of another one.
        ArgumentTypeError: it is neither a name, a score, its class nor a function.
    """
    if isinstance(score, str):
        return score_class(score)(module, seed)
    if isinstance(score, type) and issubclass(score, Score):
        made = score(module, seed)
    elif isinstance(score, Score):
        made = score
    elif callable(score) and not isinstance(score, type):
        made = FunctionScore(score)
    else:
        raise ArgumentTypeError(f"{score!r} is no score: pass a name, a Score, its class or a function of features.")
    if not hasattr(made, "name"):
        raise ArgumentError(f"{type(made).__name__} has no name: set the class attribute name to a string.")
    if not isinstance(made, SCORES.get(made.name, Score)):
        raise ArgumentError(f"{made.name} is the name of a score of this library: give yours another name.")
    return made


def arrays_of(scores: Collection[ScoreLike]) -> set[str]:
    """Names of the arrays that scores need and that are extracted on request: ``passes``, ``states``, ``content_free``.

    Args:
        scores: scores, see :func:`make_score`.

    Raises:
        ArgumentError: there is no score of a name, or that of another distribution cannot be used.
        ArgumentTypeError: the scores are one string.
    """
    if isinstance(scores, str):
        raise ArgumentTypeError(f"scores is the string {scores!r}: pass a list of names, [{scores!r}].")
    kinds = [score_class(score) if isinstance(score, str) else score for score in scores]
    return {array for kind in kinds for array in getattr(kind, "needs", ())} & {"passes", "states", "content_free"}


def read_views(scores: Collection[ScoreLike]) -> bool:
    """True if a fit of any of the scores reads the inputs of views; see :func:`make_score`."""
    return any(make_score(score).reads_views for score in scores)


__all__ = [
    "HEAD", "SCORES", "FittedHead", "Score", "ScoreLike",
    "arrays_of", "make_score", "plugin_scores", "read_views", "score_class", "score_names",
]  # fmt: skip
