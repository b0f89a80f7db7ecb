"""Every uncertainty score, each a function of stored features; :data:`SCORES` names them all.

A new one is a class with :class:`~aligned_entropy.scores.base.Score`'s verbs, in a file of its family, and a line here.
"""

from collections.abc import Collection

from .aligned import AdUE, AlignedEntropy, AlignedEntropyPaper, AlignedEntropyReference
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
    """What has to be extracted beyond hidden vectors and logits for scores by name: ``passes``, ``states`` …

    Raises:
        ValueError: there is no score of that name.
    """
    unknown = [name for name in names if name not in SCORES]
    if unknown:
        raise ValueError(f"there is no score {', '.join(map(repr, unknown))}; there are {', '.join(SCORES)}.")
    return {array for name in names for array in SCORES[name].needs} & {"passes", "states", "content_free"}


__all__ = ["SCORES", "Score", "arrays_of"]
