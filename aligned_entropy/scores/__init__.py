"""Uncertainty scores, each a function of stored features; :data:`SCORES` lists them by name.

To add a score, write a subclass of :class:`~aligned_entropy.scores.base.Score` in the module of its family and add it
to the list below.
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


def make_score(score: ScoreLike, module: nn.Module | None = None, seed: int = 0) -> Score:
    """Make a score that can be fitted.

    Args:
        score: name in :data:`SCORES`, a score or its class, or a function of :class:`Features` that gives ``[N]``.
        module: classification module for scores that are made here.
        seed: seed of their fit.

    Raises:
        ArgumentError: there is no score of this name, or a score of the user has the name of another one.
    """
    if isinstance(score, str):
        if score not in SCORES:
            raise ArgumentError(f"there is no score {score!r}; there are {', '.join(SCORES)}.")
        return SCORES[score](module, seed)
    made: Score
    if isinstance(score, type):
        made = score(module, seed)
    else:
        made = score if isinstance(score, Score) else FunctionScore(score)
    if not isinstance(made, SCORES.get(made.name, Score)):
        raise ArgumentError(f"{made.name} is the name of a score of this library: give yours another name.")
    return made


def arrays_of(scores: Collection[ScoreLike]) -> set[str]:
    """Names of the arrays that scores need and that are extracted on request: ``passes``, ``states``, ``content_free``.

    Args:
        scores: scores, see :func:`make_score`.

    Raises:
        ArgumentError: a name is not in :data:`SCORES`.
        ArgumentTypeError: the scores are one string.
    """
    if isinstance(scores, str):
        raise ArgumentTypeError(f"scores is the string {scores!r}: pass a list of names, [{scores!r}].")
    unknown = [score for score in scores if isinstance(score, str) and score not in SCORES]
    if unknown:
        raise ArgumentError(f"there is no score {', '.join(map(repr, unknown))}; there are {', '.join(SCORES)}.")
    kinds = [SCORES[score] if isinstance(score, str) else score for score in scores]
    return {array for kind in kinds for array in getattr(kind, "needs", ())} & {"passes", "states", "content_free"}


def read_views(scores: Collection[ScoreLike]) -> bool:
    """True if a fit of any of the scores reads the inputs of views; see :func:`make_score`."""
    return any(make_score(score).reads_views for score in scores)


__all__ = ["HEAD", "SCORES", "FittedHead", "Score", "ScoreLike", "arrays_of", "make_score", "read_views"]
