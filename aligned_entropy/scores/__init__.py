"""Uncertainty scores, each a function of stored features; :data:`SCORES` lists them by name.

To add a score, write a subclass of :class:`~aligned_entropy.scores.base.Score` in the module of its family and add it
to the list below.
"""

from collections.abc import Collection

from ..errors import ArgumentError, ArgumentTypeError
from .aligned import HEAD, AdUE, AlignedEntropy, AlignedEntropyPaper, AlignedEntropyReference, FittedHead
from .base import Score
from .contextual import ContextualCalibration
from .density import (
    DDU,
    RDE,
    Mahalanobis,
    MarginalMahalanobis,
    NormalizedDDU,
    NormalizedMahalanobis,
    NormalizedMarginalMahalanobis,
    NormalizedRDE,
    NormalizedRelativeMahalanobis,
    RelativeMahalanobis,
)
from .hybrid import EntropyMahalanobisHUQ, ResponseRelativeHUQ
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
        DDU,
        NormalizedDDU,
        EntropyMahalanobisHUQ,
        ResponseRelativeHUQ,
        LinearProbe,
        MLPProbe,
        AttentionProbe,
        AdUE,
        AlignedEntropyPaper,
        AlignedEntropy,
        AlignedEntropyReference,
    )
}


def arrays_of(names: Collection[str]) -> set[str]:
    """Names of the arrays that scores need and that are extracted on request: ``passes``, ``states``, ``content_free``.

    Args:
        names: names of scores.

    Raises:
        ArgumentError: a name is not in :data:`SCORES`.
        ArgumentTypeError: the names are one string.
    """
    if isinstance(names, str):
        raise ArgumentTypeError(f"scores is the string {names!r}: pass a list of names, [{names!r}].")
    unknown = [name for name in names if name not in SCORES]
    if unknown:
        raise ArgumentError(f"there is no score {', '.join(map(repr, unknown))}; there are {', '.join(SCORES)}.")
    return {array for name in names for array in SCORES[name].needs} & {"passes", "states", "content_free"}


__all__ = ["HEAD", "SCORES", "FittedHead", "Score", "arrays_of"]
