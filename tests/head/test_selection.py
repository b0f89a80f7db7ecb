"""Choice of a fit's candidate: what the reasons say, and labels that say nothing leave the untrained score in place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aligned_entropy import FitConfig, fit_head
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.candidates import untrained_candidate
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.scoring import log_smoothmax
from aligned_entropy.head.selection import DEVELOPMENT_PRIOR, GainPrior, choose_base_score, choose_candidate
from aligned_entropy.metrics import roc_auc
from aligned_entropy.stats import paired_auc
from fixtures.cases import always
from fixtures.scenarios import Scenario, calibrated


def views_of(rows, seed):
    """Inputs of views that have nothing to do with the labels."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "layers": torch.randn(rows, 2, 6, generator=generator).half(),
        "tokens": torch.randint(0, 50, (rows, 8), generator=generator, dtype=torch.int32),
    }


def with_permuted_errors(scenario, seed):
    """Labels that are wrong on the same number of texts as before, which are drawn anew."""
    wrong = np.random.default_rng(seed).permutation(scenario.errors.numpy()) == 1
    predicted = scenario.logits.argmax(-1)
    return torch.where(torch.from_numpy(wrong), (predicted + 1) % 4, predicted)


@pytest.mark.parametrize("seed", always(0, of=range(6)))
@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("rows", [60, 200, 1000])
def test_permuted_errors_leave_the_order_of_the_untrained_score(rows, with_reference, seed):
    everything = calibrated(3000 + rows, seed=99)
    test, training, fit = (
        Scenario(everything.classifier, everything.hidden[part], everything.labels[part])
        for part in (slice(2000), slice(2000, 3000), slice(3000, None))
    )
    expected = roc_auc(test.errors, log_smoothmax(test.logits))
    reference = {
        "reference": (training.hidden, training.labels),
        "reference_views": views_of(1000, seed + 50),
    }
    head = fit_head(
        fit.classifier,
        fit.hidden,
        with_permuted_errors(fit, seed),
        views=views_of(rows, seed),
        config=FitConfig(folds=3, betas=(300.0,), seed=seed),
        **(reference if with_reference else {}),
    ).head
    with torch.no_grad():
        uncertainty = head(test.hidden, test.logits, views_of(2000, seed))
    assert roc_auc(test.errors, uncertainty) == pytest.approx(expected, abs=1e-4)


def test_another_base_score_is_taken_only_if_it_finds_errors():
    scenario = calibrated(400, seed=5)
    labels = with_permuted_errors(scenario, 0)
    data = calibration_set(AlignedEntropyHead(scenario.classifier), scenario.hidden, labels, None, 5, 0)
    first, second = (untrained_candidate(scenario.classifier, base, data) for base in ("smoothmax", "entropy"))
    better = replace(second, ranking=first.ranking + 1e-3 * data.errors)
    better = replace(better, candidate=replace(better.candidate, roc_auc=replace(first.candidate.roc_auc, value=0.99)))
    assert choose_base_score([first, better], data, 0.0) is first
    right = calibration_set(AlignedEntropyHead(scenario.classifier), scenario.hidden, scenario.labels, None, 5, 0)
    assert choose_base_score([first, replace(better, ranking=first.ranking + right.errors)], right, 0.0) is not first


def test_nothing_is_learned_from_texts_that_lack_classes():
    """With half of the classes, every prediction of another one is an error, and a head would learn that."""
    scenario = calibrated(3000, seed=4)
    rows = torch.arange(1500)[scenario.labels[:1500] < 2]
    result = fit_head(scenario.classifier, scenario.hidden[rows], scenario.labels[rows], config=FitConfig(folds=3))
    assert result.summary.reason == (
        "2 of the 4 predicted classes have no calibration text, so that every prediction of them counts as an error: "
        "the untrained score is kept and calibrated. Add texts of these classes."
    )
    test = Scenario(scenario.classifier, scenario.hidden[1500:], scenario.labels[1500:])
    with torch.no_grad():
        uncertainty = result.head(test.hidden, test.logits)
    assert roc_auc(test.errors, uncertainty) == pytest.approx(
        roc_auc(test.errors, log_smoothmax(test.logits)), abs=1e-4
    )


def test_more_is_required_of_a_candidate_where_the_untrained_score_is_at_chance():
    scenario = calibrated(600, seed=6)
    data = calibration_set(
        AlignedEntropyHead(scenario.classifier), scenario.hidden, with_permuted_errors(scenario, 1), None, 5, 0
    )
    start = untrained_candidate(scenario.classifier, "smoothmax", data)
    noise = torch.randn(len(data.errors), generator=torch.Generator().manual_seed(0))
    for gain, is_chosen in ((0.4, False), (3.0, True)):
        candidate = replace(start, ranking=noise + gain * data.errors)
        assert (choose_candidate([candidate], start, data, DEVELOPMENT_PRIOR)[0] is candidate) == is_chosen
    right = replace(start, ranking=0.8 * data.errors + noise.flip(0))  # an untrained score that finds errors
    better = replace(start, ranking=right.ranking + 0.1 * data.errors)
    assert choose_candidate([better], right, data, DEVELOPMENT_PRIOR)[0] is better


def test_a_candidate_that_does_not_clearly_find_errors_is_not_chosen():
    scenario = calibrated(160, seed=3)
    data = calibration_set(AlignedEntropyHead(scenario.classifier), scenario.hidden, scenario.labels, None, 5, 0)
    before = untrained_candidate(scenario.classifier, "entropy", data)
    noise = torch.randn(len(data.errors), generator=torch.Generator().manual_seed(0))
    start = replace(before, ranking=-data.errors)
    chosen, reason = choose_candidate([replace(before, ranking=noise)], start, data, GainPrior(1.0, 0.01))
    assert chosen is start
    assert reason.startswith("The best other candidate does not clearly find errors (ROC-AUC 0.")
    start = replace(before, ranking=before.ranking + 0.5 * noise)
    assert choose_candidate([before], start, data, GainPrior(1.0, 0.01))[0] is before


@pytest.mark.parametrize(("rows", "uses_fallback"), [(160, True), (4000, False)])
def test_fallbacks_with_training_texts_alone_are_chosen_where_calibration_texts_are_few(rows, uses_fallback):
    scenario = calibrated(rows, seed=3)
    head = AlignedEntropyHead(scenario.classifier)
    data = calibration_set(head, scenario.hidden, scenario.labels, scenario.logits, 5, 0)
    with torch.no_grad():
        before = untrained_candidate(scenario.classifier, "entropy", data)
    noise = torch.randn(len(data.errors), generator=torch.Generator().manual_seed(0))
    worse = replace(before, ranking=before.ranking + 3 * noise)
    fallback = replace(before, ranking=before.ranking + 0.1 * data.errors + 0.05 * noise)
    chosen, reason = choose_candidate([worse], before, data, DEVELOPMENT_PRIOR, [fallback])
    assert chosen is (fallback if uses_fallback else before)
    assert reason.startswith("The calibration texts are too few to serve as neighbors") == uses_fallback
    assert choose_candidate([worse], before, data, DEVELOPMENT_PRIOR)[0] is before
    assert choose_candidate([worse], before, data, DEVELOPMENT_PRIOR, [worse])[0] is before


@pytest.mark.parametrize(("rows", "is_few"), [(160, True), (4000, False)])
def test_with_few_calibration_texts_a_gain_must_exceed_two_standard_errors_and_the_fallback(rows, is_few):
    scenario = calibrated(rows, seed=3)
    data = calibration_set(
        AlignedEntropyHead(scenario.classifier), scenario.hidden, scenario.labels, scenario.logits, 5, 0
    )
    with torch.no_grad():
        before = untrained_candidate(scenario.classifier, "entropy", data)
    noise = torch.randn(len(data.errors), generator=torch.Generator().manual_seed(2))

    def gaining(standard_errors, spread):
        """Candidate whose measured gain is about that number of standard errors."""
        for raised in torch.arange(0, 2, 0.002):
            candidate = replace(before, ranking=before.ranking + spread * noise + raised * data.errors)
            gain, error = paired_auc(data.errors.numpy(), candidate.ranking.numpy(), before.ranking.numpy())
            if gain > standard_errors * error:
                return candidate, error
        raise AssertionError("no such gain")

    (small, error), (large, _) = gaining(1.5, 0.3), gaining(2.5, 0.3)
    assert (error > 0.02) == is_few
    assert choose_candidate([small], before, data, DEVELOPMENT_PRIOR)[0] is (before if is_few else small)
    assert choose_candidate([large], before, data, DEVELOPMENT_PRIOR)[0] is large
    surer, _ = gaining(2.5, 0.1)  # its standard error is smaller, so more of its gain is expected
    assert choose_candidate([large], before, data, DEVELOPMENT_PRIOR, [surer])[0] is (surer if is_few else large)
    assert choose_candidate([large], before, data, DEVELOPMENT_PRIOR, [small])[0] is large


def test_the_reason_for_the_untrained_score_is_no_expected_gain_or_a_measured_gain_that_is_too_small():
    scenario = calibrated(160, seed=3)
    data = calibration_set(AlignedEntropyHead(scenario.classifier), scenario.hidden, scenario.labels, None, 5, 0)
    with torch.no_grad():
        before = untrained_candidate(scenario.classifier, "entropy", data)
    noise = torch.randn(len(data.errors), generator=torch.Generator().manual_seed(0))
    worse = replace(before, ranking=before.ranking + 3 * noise)
    ending = "(entropy, untrained): the untrained score is kept and calibrated. The gain over"
    for mean, problem in (
        (-1.0, "No gain is expected from the best other candidate"),
        (1.0, "The measured gain of the best other candidate is too small"),
    ):
        chosen, reason = choose_candidate([worse], before, data, GainPrior(mean, 0.01))
        assert chosen is before
        assert reason.startswith(f"{problem} {ending}")
    chosen, reason = choose_candidate([], before, data, DEVELOPMENT_PRIOR)
    assert chosen is before
    assert reason == "There is no other candidate: the untrained score is kept and calibrated."
