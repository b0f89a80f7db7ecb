"""Evaluations of scores that a user brings: a score, its class, or a function of features."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aligned_entropy.errors import ArgumentError
from aligned_entropy.evaluation.evaluation import evaluate
from aligned_entropy.evaluation.fitted_scores import fit_scores
from aligned_entropy.features.arrays import Features
from aligned_entropy.scores import Score
from fixtures.scenarios import blind_spot


@pytest.fixture(scope="module")
def sets():
    scenario = blind_spot(1200)
    features = Features(scenario.hidden.numpy(), scenario.logits.numpy(), scenario.labels.numpy())
    return {"module": scenario.classifier, "train": features[:300], "calibration": features[300:600]}, features[600:]


class Distance(Score):
    """Distance of the logits to their mean on the training set, divided by a parameter of its own."""

    name = "distance"
    uses = ("train",)

    def __init__(self, module=None, seed=0, scale=2.0):
        super().__init__(module, seed)
        self.scale = scale

    def _fit(self, train, calibration):
        self.center_ = train.logits.mean(0)

    def _score(self, features):
        return np.linalg.norm(features.logits - self.center_, axis=1) / self.scale


def second_logit(features):
    return features.logits[:, 1]


def test_scores_of_the_user_are_measured_beside_the_built_in_ones(sets):
    test = sets[1]
    fitted, skipped = fit_scores(["entropy", Distance(scale=4.0), second_logit], **sets[0])
    assert (list(fitted), skipped) == (["entropy", "distance", "second_logit"], {})
    center = sets[0]["train"].logits.mean(0)
    np.testing.assert_allclose(
        fitted["distance"].score.score(test), np.linalg.norm(test.logits - center, axis=1) / 4, rtol=1e-6
    )
    measured = evaluate(test, fitted, resamples=10)
    assert measured.table["second_logit"]["roc_auc"].value == pytest.approx(
        roc_auc_score(test.errors, test.logits[:, 1])
    )
    assert {"ece_platt", "ece_isotonic"} <= set(measured.table["second_logit"])  # with calibration maps
    assert list(fit_scores([Distance], **sets[0])[0]) == ["distance"]  # a class is made with the module
    assert fit_scores([Distance], None, None, None)[1] == {"distance": "distance needs labeled train features."}


def test_held_out_values_come_from_copies_with_the_parameters_of_the_user(sets):
    class Supervised(Distance):
        supervised = True

    score = Supervised(scale=4.0)
    fitted = fit_scores([score], **sets[0])[0]["distance"]
    np.testing.assert_allclose(fitted.held_out, score.score(sets[0]["calibration"]))


class NamedEntropy(Distance):
    """Score with the name of another."""

    name = "entropy"


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([NamedEntropy], "entropy is the name of a score of this library"),
        ([Distance, Distance()], "two scores are named distance"),
        (["entropie"], "no score 'entropie'"),
        ([lambda features: [0.5]], r"gives 1 finite numbers in the shape \[1\] for 600 rows"),
        ([lambda features: np.full(len(features), np.nan)], "0 finite numbers"),
    ],
)
def test_a_score_of_the_user_that_cannot_be_measured_is_refused(sets, scores, message):
    with pytest.raises(ArgumentError, match=message):
        evaluate(sets[1], fit_scores(scores, None, sets[0]["train"], None)[0], resamples=10)
