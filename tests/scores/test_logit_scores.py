"""Scores of logits and of several predictions for a text, compared with their formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import entropy as shannon

from aligned_entropy.errors import NotApplicableError
from aligned_entropy.scores import SCORES
from fixtures.scenarios import calibrated
from fixtures.scores import CALIBRATION, TEST, fitted, of

LOGIT_SCORES = {
    "softmax response": lambda z: 1 - softmax(z, axis=1).max(1),
    "entropy": lambda z: shannon(softmax(z, axis=1), axis=1) / np.log(z.shape[1]),
    "margin": lambda z: 1 - np.diff(np.sort(softmax(z, axis=1))[:, -2:])[:, 0],
    "energy": lambda z: -logsumexp(z, axis=1),
    "max logit": lambda z: -np.sort(z)[:, -1],
}


@pytest.mark.parametrize("name", LOGIT_SCORES)
def test_scores_of_logits_equal_their_formulas(name):
    np.testing.assert_allclose(fitted(name).score(TEST), LOGIT_SCORES[name](TEST.logits.astype(float)), atol=2e-6)


@pytest.mark.parametrize("name", ["energy", "max logit"])
def test_scores_of_the_size_of_logits_refuse_logits_without_a_size(name):
    score, z = SCORES[name](), TEST.logits[:, :1]
    for columns in ((0 * z, z), (z, 0 * z)):
        with pytest.raises(NotApplicableError, match=f"{name} .*one of two is always 0.*: use the entropy"):
            score.score(replace(TEST, logits=np.hstack(columns), labels=None))
    probabilities = softmax(TEST.logits.astype(float), axis=1)
    for values in (probabilities, probabilities.round(4) + 1e-9):
        with pytest.raises(NotApplicableError, match=f"{name} .*log-probabilities.*give the model's logits"):
            score.score(replace(TEST, logits=np.log(values).astype(np.float32)))
    np.testing.assert_allclose(
        score.score(replace(TEST, logits=np.log(0.9 * probabilities).astype(np.float32))),
        LOGIT_SCORES[name](np.log(0.9 * probabilities)),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["softmax response", "entropy", "margin"])
def test_near_certain_texts_keep_their_order(name):
    logits = np.array([[30, 0, 0], [40, 0, 0], [50, 0, 0]], np.float32)
    assert (np.diff(SCORES[name]().score(replace(TEST[:3], logits=logits))) < 0).all()


@pytest.mark.parametrize("base", ["softmax response", "entropy"])
def test_temperature_makes_the_labels_most_likely(base):
    name = f"temperature-scaled {base}"
    logits, rows = CALIBRATION.logits.astype(float), np.arange(120)

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[rows, CALIBRATION.labels].mean()

    temperature = minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    assert float(fitted(name).state["temperature_"]) == pytest.approx(temperature, rel=1e-2)
    expected = LOGIT_SCORES[base](TEST.logits.astype(float) / temperature)
    np.testing.assert_allclose(fitted(name).score(TEST), expected, atol=5e-3)


def test_temperature_takes_back_what_the_logits_were_blown_up_by():
    features = of(calibrated(4000))
    blown_up = replace(features, logits=3 * features.logits)
    score = SCORES["temperature-scaled softmax response"]().fit(calibration=blown_up)
    assert float(score.state["temperature_"]) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("measure", ["SMP", "PV", "BALD"])
@pytest.mark.parametrize("source", ["MC dropout", "deep ensemble"])
def test_scores_of_several_predictions_equal_their_formulas(source, measure):
    for row, value in enumerate(fitted(f"{source} {measure}").score(TEST)):
        drawn = TEST.passes[row] if source == "MC dropout" else np.vstack([TEST.logits[row], TEST.members[row]])
        p = [softmax(logits.astype(float)) for logits in drawn]
        mean = sum(p) / len(p)
        expected = {
            "SMP": 1 - max(mean),
            "PV": sum(sum((q[c] - mean[c]) ** 2 for q in p) / len(p) for c in range(3)),
            "BALD": shannon(mean) - sum(shannon(q) for q in p) / len(p),
        }
        assert value == pytest.approx(expected[measure], abs=1e-12)


@pytest.mark.parametrize("name", ["MC dropout PV", "MC dropout BALD"])
def test_passes_that_agree_have_no_uncertainty(name):
    agreed = replace(TEST, passes=np.repeat(TEST.logits[:, None], 4, axis=1))
    np.testing.assert_allclose(fitted(name).score(agreed), 0, atol=1e-12)
