"""HUQ, compared with its definition."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import percentileofscore

from aligned_entropy.features.arrays import Features
from aligned_entropy.metrics import aurc
from aligned_entropy.scores import SCORES
from aligned_entropy.scores.hybrid import AMBIGUOUS, IN_DISTRIBUTION, SHARES
from fixtures.scores import CALIBRATION, HUQ, MODULE, TEST, TRAIN, by_class, fitted


def huq(parts: tuple[str, str], near: float, ambiguous: float, share: float, features: Features) -> list[float]:
    aleatoric, epistemic = (fitted(part).score(CALIBRATION) for part in parts)

    def rank(value, population):
        return percentileofscore(population, value, kind="mean") / 100

    inside = [a for a, e in zip(aleatoric, epistemic, strict=True) if rank(e, epistemic) <= near]
    result = []
    for a, e in zip(*(fitted(part).score(features) for part in parts), strict=True):
        if rank(a, aleatoric) >= ambiguous:
            result.append(rank(a, aleatoric))
        elif inside and rank(e, epistemic) <= near:
            result.append(rank(a, inside))
        else:
            result.append((1 - share) * rank(e, epistemic) + share * rank(a, aleatoric))
    return result


@pytest.mark.parametrize("settings", [(0.6, 0.9, 0.25), (0.2, 1.0, 0.75), (0.8, 0.8, 0.0), (0.4, 0.95, 1.0)])
@pytest.mark.parametrize("name", HUQ)
def test_huq_ranks_among_calibration_texts(name, settings):
    score = SCORES[name](MODULE, seed=1).fit(TRAIN, CALIBRATION)
    score.settings_ = np.array(settings)
    np.testing.assert_allclose(score.score(TEST), huq(HUQ[name], *settings, TEST), atol=1e-12)


@pytest.mark.parametrize("name", HUQ)
def test_huq_takes_the_settings_with_the_least_aurc(name):
    losses = {
        settings: aurc(CALIBRATION.errors, huq(HUQ[name], *settings, CALIBRATION))
        for settings in ((n, a, s) for n in IN_DISTRIBUTION[::2] for a in AMBIGUOUS[::3] for s in SHARES[::2])
    }
    chosen = tuple(fitted(name).state["settings_"])
    loss = aurc(CALIBRATION.errors, huq(HUQ[name], *chosen, CALIBRATION))
    assert loss <= min(losses.values()) + 1e-12
    assert loss < max(losses.values())


def test_huq_without_an_inside_mixes_the_ranks_of_the_most_typical_text_too():
    score = SCORES["HUQ entropy + Mahalanobis"](MODULE, seed=1).fit(TRAIN, CALIBRATION)
    score.settings_ = np.array([0.0, 1.0, 0.5])
    at_the_mean = np.stack([rows.mean(0) for rows in by_class(TRAIN).values()])
    typical = replace(TEST[:3], hidden=at_the_mean.astype(np.float32))
    np.testing.assert_allclose(score.score(typical), huq(HUQ[score.name], 0.0, 1.0, 0.5, typical), atol=1e-12)
