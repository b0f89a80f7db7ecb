"""Every uncertainty score, each a function of stored features; :data:`SCORES` names them all.

A new one is a class with :class:`~aligned_entropy.scores.base.Score`'s verbs, in a file of its family, and a line here.
"""

from .aligned import AdUE, AlignedEntropy, AlignedEntropyPaper, AlignedEntropyReference
from .base import Score
from .density import (
    DDU,
    RDE,
    Mahalanobis,
    MarginalMahalanobis,
    NormalisedDDU,
    NormalisedMahalanobis,
    NormalisedMarginalMahalanobis,
    NormalisedRDE,
    NormalisedRelativeMahalanobis,
    RelativeMahalanobis,
)
from .hybrid import EntropyMahalanobisHUQ, ResponseRelativeHUQ
from .probes import AttentionProbe, LinearProbe, MLPProbe
from .sampling import DropoutBALD, DropoutPV, DropoutSMP, EnsembleBALD, EnsemblePV, EnsembleSMP
from .softmax import (
    Energy,
    Entropy,
    Margin,
    MaxLogit,
    SoftmaxResponse,
    TemperatureEntropy,
    TemperatureSoftmaxResponse,
)

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
        DropoutSMP,
        DropoutPV,
        DropoutBALD,
        EnsembleSMP,
        EnsemblePV,
        EnsembleBALD,
        Mahalanobis,
        NormalisedMahalanobis,
        RelativeMahalanobis,
        NormalisedRelativeMahalanobis,
        MarginalMahalanobis,
        NormalisedMarginalMahalanobis,
        RDE,
        NormalisedRDE,
        DDU,
        NormalisedDDU,
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

__all__ = ["SCORES", "Score"]
