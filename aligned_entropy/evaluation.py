"""A head next to the scores that it must beat, on labelled texts, every measure with its interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .baselines import Baselines
from .features import Features
from .head import AlignedEntropyHead
from .metrics import CALIBRATION, LOWER_IS_BETTER, RANKING
from .stats import Interval, bootstrap

HEAD = "aligned entropy"
SAME_MAP = "ece_calibrated"  # ECE after one kind of map, fitted on the same calibration set for every score


@dataclass(frozen=True)
class Evaluation:
    """How well scores find the errors of a model.

    Attributes:
        accuracy: of the model.
        table: interval of every measure of every score, ``table[score][measure]``.
        errors: ``[N]``, 1 where the model is wrong.
        scores: uncertainty ``[N]`` of every score.
    """

    accuracy: Interval
    table: dict[str, dict[str, Interval]]
    errors: NDArray[np.float64] = field(repr=False)
    scores: dict[str, NDArray[np.float64]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, for JSON."""
        return {
            "examples": len(self.errors),
            "errors": int(self.errors.sum()),
            "accuracy": vars(self.accuracy),
            "scores": {
                name: {measure: vars(interval) for measure, interval in row.items()} for name, row in self.table.items()
            },
        }

    def best(self, measure: str) -> str:
        """The score that is best by one measure."""
        sign = 1 if measure in LOWER_IS_BETTER or measure == SAME_MAP else -1
        return min(
            (name for name in self.table if measure in self.table[name]),
            key=lambda name: sign * self.table[name][measure].value,
        )

    def __str__(self) -> str:
        measures = list(next(iter(self.table.values())))
        width = max(map(len, self.table))
        lines = [f"accuracy {self.accuracy}, {int(self.errors.sum())} errors in {len(self.errors)} texts", ""]
        lines.append(f"{'':{width}}  " + "  ".join(f"{measure:>23}" for measure in measures))
        for name, row in self.table.items():
            cells = "  ".join(f"{row[measure]!s:>23}" if measure in row else f"{'–':>23}" for measure in measures)
            lines.append(f"{name:{width}}  {cells}")
        return "\n".join(lines)


def evaluate(
    features: Features,
    head: AlignedEntropyHead,
    baselines: Baselines | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measure a head, and softmax response, entropy, margin and temperature scaling with it.

    Args:
        features: of labelled texts that neither the model nor the head was fitted on.
        head: fitted or not.
        baselines: fitted on the head's calibration set; without them there is no temperature and no common map.
        resamples: bootstrap samples of every interval.
        seed: of the bootstrap.
    """
    errors = features.errors
    hidden, logits = torch.tensor(features.hidden), torch.tensor(features.logits)
    with torch.inference_mode():
        own = head(hidden, logits).double().numpy()
        calibrated = {} if head.error_model is None else {HEAD: head.error_probability(hidden, logits).double().numpy()}
    plain = baselines or Baselines(1.0, {})
    others = {name: score for name, score in plain.scores(features).items() if baselines or "scaled" not in name}
    calibrated |= plain.calibrated(features)
    scores = others | {HEAD: own}
    table: dict[str, dict[str, Interval]] = {}
    for name, score in scores.items():
        measures = RANKING | CALIBRATION
        table[name] = {m: bootstrap(f, errors, score, resamples=resamples, seed=seed) for m, f in measures.items()}
        if name in calibrated:
            table[name][SAME_MAP] = bootstrap(
                CALIBRATION["ece"], errors, calibrated[name], resamples=resamples, seed=seed
            )
    accuracy = bootstrap(
        lambda e, _: 1 - float(np.asarray(e).mean()), errors, errors, resamples=resamples, seed=seed, stratified=False
    )
    return Evaluation(accuracy, table, errors, scores)
