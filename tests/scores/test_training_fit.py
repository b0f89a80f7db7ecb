"""Published recipe that is fitted on the classifier's training texts and chosen on the calibration set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy import FitConfig, Schedule
from aligned_entropy.errors import ArgumentError, NotApplicableError
from aligned_entropy.evaluation.fitted_scores import fit_scores
from aligned_entropy.head.fit import fit_head
from aligned_entropy.head.published import train_published
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES
from fixtures.scenarios import blind_spot, worn
from fixtures.scores import CALIBRATION, MODULE, ON_TRAINING_TEXTS, TEST, TRAIN, of


def test_candidates_are_trained_on_the_training_texts_and_chosen_on_the_calibration_set():
    scenario = worn(560)
    calibration, train = of(scenario.half(0)), of(scenario.half(1))
    score = SCORES[ON_TRAINING_TEXTS](scenario.classifier, seed=3).fit(train, calibration)
    rates, strengths = (4e-4, 1e-4, 1e-5), (0.01, 0.1, 1.0)
    grid = [(rate, alpha, beta) for rate in rates for alpha in strengths for beta in strengths]
    both = [
        torch.from_numpy(np.r_[a, b])
        for a, b in ((train.hidden, calibration.hidden), (train.errors, calibration.errors))
    ]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        trained = train_published(
            scenario.classifier, both[0], both[1].float(), torch.arange(len(both[0])) >= len(train),
            "entropy", torch.tensor(grid), Schedule(epochs=20), 3,
        )  # fmt: skip
    best = int(trained.roc_auc.argmax())
    rate, alpha, beta = grid[best]
    assert score.chosen == f"entropy, lr {rate:g}, alpha {alpha:g}, beta {beta:g}"
    held_out = score.held_out(train, calibration)
    assert held_out.shape == (len(calibration),)
    assert roc_auc(calibration.errors, held_out) == pytest.approx(float(trained.roc_auc.max()), abs=1e-4)
    np.testing.assert_allclose(held_out, score.score(calibration), atol=1e-6)
    with torch.no_grad():
        logits = calibration.hidden @ trained.parameters["weight"][best].numpy().T
        logits += trained.parameters["bias"][best].numpy()
    entropy = SCORES["entropy"]().score(replace(calibration, logits=logits))
    np.testing.assert_allclose(held_out, entropy, atol=1e-6)


def test_it_learns_from_the_training_texts_what_the_classifier_gets_wrong():
    scenario = blind_spot(2400)
    halves = [of(scenario.half(part)) for part in (0, 1)]
    train, calibration, test = halves[0], halves[1][:400], halves[1][400:]
    values = SCORES[ON_TRAINING_TEXTS](scenario.classifier).fit(train, calibration).score(test)
    relabeled = train.with_labels(np.random.default_rng(0).permutation(train.labels))
    other = SCORES[ON_TRAINING_TEXTS](scenario.classifier).fit(relabeled, calibration).score(test)
    assert roc_auc(test.errors, values) > roc_auc(test.errors, SCORES["entropy"]().score(test))
    assert np.abs(values - other).max() > 1e-3


@pytest.mark.parametrize(("set_name", "wrong"), [("training", 0), ("training", 9), ("calibration", 9)])
def test_texts_that_are_hardly_ever_wrong_are_refused_with_the_count(set_name, wrong):
    sets = {"training": TRAIN, "calibration": CALIBRATION}
    labels = sets[set_name].predictions.copy()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    sets[set_name] = sets[set_name].with_labels(labels)
    message = f"these {set_name} texts have {wrong} and {120 - wrong}: use aligned entropy"
    with pytest.raises(NotApplicableError, match=message):
        SCORES[ON_TRAINING_TEXTS](MODULE).fit(sets["training"], sets["calibration"])
    fitted_scores, skipped = fit_scores([ON_TRAINING_TEXTS], MODULE, sets["training"], sets["calibration"])
    assert not fitted_scores
    assert message in skipped[ON_TRAINING_TEXTS]


def test_few_errors_on_the_training_texts_are_no_reason_to_warn():
    train = TRAIN[np.arange(2400) % 120]
    labels = train.predictions.copy()
    labels[:10] = (labels[:10] + 1) % 3
    calibration = CALIBRATION.with_labels(np.where(np.arange(120) < 11, CALIBRATION.labels, CALIBRATION.predictions))
    labels_few = calibration.predictions.copy()
    labels_few[:10] = (labels_few[:10] + 1) % 3
    score = SCORES[ON_TRAINING_TEXTS](MODULE).fit(train.with_labels(labels), calibration.with_labels(labels_few))
    assert np.isfinite(score.score(TEST)).all()


def test_rows_for_validation_are_a_part_by_default_and_those_that_are_given():
    config = FitConfig.paper(schedule=Schedule(epochs=2))
    data = (MODULE, CALIBRATION.hidden, CALIBRATION.labels)
    rows = np.arange(120) < 50
    for result, expected in (
        (fit_head(*data, config=config), None),
        (fit_head(*data, validation=rows, config=config), rows),
    ):
        held_out = ~np.isnan(result.held_out.numpy())
        assert 10 < held_out.sum() < 30 if expected is None else (held_out == expected).all()


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (np.zeros(40, bool), "the 0 validation rows have 0 errors"),
        (np.ones(40, bool), "the 0 training rows have 0 errors"),
        (np.ones(40, int), "give True or False for each of the 40 rows"),
        (np.ones(3, bool), "give True or False for each of the 40 rows"),
    ],
)
def test_validation_rows_that_cannot_choose_are_refused(validation, message):
    rng = np.random.default_rng(0)
    module, hidden = nn.Linear(4, 2), rng.normal(size=(40, 4)).astype(np.float32)
    labels = module(torch.from_numpy(hidden)).argmax(-1).numpy()
    labels[:15] = 1 - labels[:15]
    with pytest.raises(ArgumentError, match=message):
        fit_head(module, hidden, labels, validation=validation, config=FitConfig.paper())
