"""Tests of fit_head: errors it must find, cases in which the untrained score is kept, and data that it must refuse."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy import CalibrationError, FitConfig, fit_head
from aligned_entropy.errors import ArgumentError
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.candidates import NEGLIGIBLE
from aligned_entropy.head.fit_summary import TERMS
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.published import Schedule
from aligned_entropy.head.reference_features import calibration_set_features
from aligned_entropy.head.scoring import log_entropy, log_smoothmax
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.metrics import ece, roc_auc
from fixtures.scenarios import blind_spot, calibrated, class_bias, worn

FAST = {"folds": 3, "betas": (300.0,)}


def uncertainty(result, scenario):
    with torch.no_grad():
        return result.head(scenario.hidden, scenario.logits)


def test_keeps_the_untrained_score_where_nothing_can_be_gained():
    untrained_fits = 0
    for seed in range(5):
        scenario = calibrated(1500, seed=seed)
        fit, test = scenario.half(0), scenario.half(1)
        result = fit_head(fit.classifier, fit.hidden, fit.labels, config=FitConfig(**FAST))
        best = max(roc_auc(test.errors, score(test.logits)) for score in (log_entropy, log_smoothmax))
        untrained_fits += not result.summary.chosen.trained
        assert roc_auc(test.errors, uncertainty(result, test)) > best - 0.02
        assert ece(test.errors, uncertainty(result, test)) < 0.08
    assert untrained_fits >= 3


@pytest.mark.parametrize(("make", "gain"), [(blind_spot, 0.1), (class_bias, 0.05)])
def test_finds_errors_that_the_entropy_cannot_see(make, gain):
    scenario = make(2000)
    fit, test = scenario.half(0), scenario.half(1)
    result = fit_head(fit.classifier, fit.hidden, fit.labels, config=FitConfig(**FAST))
    assert result.summary.chosen.trained
    before = roc_auc(test.errors, log_entropy(test.logits))
    assert roc_auc(test.errors, uncertainty(result, test)) > before + gain
    assert ece(test.errors, uncertainty(result, test)) < 0.08


def test_reference_is_used_where_it_helps():
    """Two groups of vectors get the same confident prediction, but the training labels of one of them differ."""
    generator = torch.Generator().manual_seed(0)
    rows = 1600
    cluster = torch.arange(rows) % 4
    hidden = 0.5 * torch.randn(rows, 6, generator=generator)
    hidden[torch.arange(rows), cluster] += 3
    labels = torch.where(cluster == 3, 2, cluster)  # the model predicts class 0 for cluster 3
    classifier = nn.Linear(6, 3).requires_grad_(False)
    classifier.weight.zero_()
    classifier.bias.zero_()
    classifier.weight[:3, :3] = torch.eye(3)
    classifier.weight[0, 3] = 1.0
    calibration, training = slice(0, 80), slice(400, rows)
    config = FitConfig(folds=3, betas=())
    plain = fit_head(classifier, hidden[calibration], labels[calibration], config=config)
    with_reference = fit_head(
        classifier,
        hidden[calibration],
        labels[calibration],
        reference=(hidden[training], labels[training]),
        config=config,
    )
    assert any("reference" in candidate.name for candidate in with_reference.summary.candidates)
    test = slice(80, 400)
    logits = classifier(hidden[test])
    errors = (logits.argmax(-1) != labels[test]).float()
    with torch.no_grad():
        plain_score, reference_score = (r.head(hidden[test], logits) for r in (plain, with_reference))
    assert roc_auc(errors, reference_score) >= roc_auc(errors, plain_score) - 0.01
    assert roc_auc(errors, reference_score) > 0.95


@pytest.mark.parametrize("config", [FitConfig(**FAST), FitConfig.paper(schedule=Schedule(epochs=4))])
def test_classifier_is_never_changed(config):
    scenario = worn(600)
    before = copy.deepcopy(scenario.classifier.state_dict())
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=config)
    assert all(torch.equal(value, before[name]) for name, value in scenario.classifier.state_dict().items())
    assert not any(p is q for p in result.head.parameters() for q in scenario.classifier.parameters())


@pytest.mark.parametrize("config", [FitConfig(**FAST), FitConfig.paper(schedule=Schedule(epochs=4))])
def test_same_seed_same_head_and_the_global_generator_is_left_alone(config):
    scenario = worn(600)
    state = torch.random.get_rng_state()
    heads = [fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=config).head for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second = (head.state_dict() for head in heads)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_paper_preset_is_the_published_grid():
    scenario = worn(800)
    config = FitConfig.paper()
    assert config.bases == ("entropy",)
    assert config.alphas == config.betas == (0.01, 0.1, 1.0)
    schedule = config.schedule
    assert schedule.learning_rates == (4e-4, 1e-4, 1e-5)
    assert (schedule.epochs, schedule.batch_size, schedule.patience, schedule.balanced) == (50, 128, 5, False)
    assert (schedule.warm_up, schedule.start_divisor, schedule.end_divisor) == (0.1, 25.0, 1e4)
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=config)
    trained = [candidate for candidate in result.summary.candidates if candidate.trained]
    assert len(trained) == 27
    assert result.summary.chosen.roc_auc.value == max(candidate.roc_auc.value for candidate in trained)
    score = uncertainty(result, scenario)
    torch.testing.assert_close(score, result.head.log_uncertainty(scenario.hidden).exp())  # the copy's score
    probability = result.head.error_probability(scenario.hidden, scenario.logits)
    assert ece(scenario.errors, probability) < ece(scenario.errors, score)


def test_paper_preset_trains_adue_and_balanced():
    scenario = worn(600)
    config = FitConfig.paper(bases=("smoothmax",), schedule=Schedule(epochs=4, balanced=True))
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=config)
    assert result.head.base == "smoothmax"
    assert result.summary.chosen.settings["epochs"] >= 1


def test_a_module_without_a_final_linear_layer_keeps_its_scores():
    class Cosine(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x):
            return 5 * nn.functional.normalize(x, dim=1) @ nn.functional.normalize(self.weight, dim=1).T

    torch.manual_seed(0)
    module, hidden = Cosine(), torch.randn(400, 5)
    with torch.no_grad():
        labels = torch.multinomial(module(hidden).softmax(-1), 1).squeeze(1)
    result = fit_head(module, hidden, labels, config=FitConfig(folds=3))
    assert not any("aligned" in candidate.name for candidate in result.summary.candidates)
    assert result.head(hidden, module(hidden).detach()).isfinite().all()


def test_the_chosen_candidate_names_its_shares():
    scenario = class_bias()
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=FitConfig(**FAST))
    chosen = result.summary.chosen
    assert chosen.name.endswith("+ neighbors")
    for kind, sum_to_one in (("beta", False), ("penalty", True)):
        shares = [value for name, value in chosen.settings.items() if name.startswith(f"share of {kind}")]
        assert shares
        assert all(share == 0 or share >= NEGLIGIBLE for share in shares)
        assert (
            sum(shares) == pytest.approx(1) if sum_to_one else sum(shares) <= 1 + 1e-9
        )  # the rest is the untrained copy


def test_the_gain_prior_counts_where_the_standard_error_is_large():
    gain_prior = GainPrior(0.01, 0.01)
    assert gain_prior.posterior_mean(-0.5, 1.0) == pytest.approx(0.01, abs=1e-3)  # the measurement has no weight
    assert gain_prior.posterior_mean(-0.01, 0.01) == pytest.approx(0.0)  # prior and measurement have the same weight
    assert gain_prior.posterior_mean(-0.01, 0.001) == pytest.approx(-0.01, abs=3e-4)  # the prior has little weight
    assert gain_prior.posterior_mean(-0.02, 0.0) == -0.02


def test_the_gain_prior_accepts_no_clear_loss_and_requires_a_gain_where_texts_are_few():
    gain_prior = GainPrior(0.01, 0.01)
    assert gain_prior.minimum(0.015) == -0.015
    assert gain_prior.minimum(0.05) == 0.1


@pytest.mark.parametrize("seed", range(6))
def test_few_texts_of_a_calibrated_model_keep_the_untrained_score(seed):
    scenario = calibrated(100, classes=3, seed=seed)
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=FitConfig(**FAST))
    summary = result.summary
    if summary.chosen.trained:  # only with a measured gain
        assert summary.chosen.roc_auc.value > summary.before.roc_auc.value


@pytest.mark.parametrize(("mean", "trained"), [(1.0, True), (-1.0, False)])
def test_a_narrow_gain_prior_decides(mean, trained):
    scenario = class_bias(600)
    config = FitConfig(**FAST, gain_prior=GainPrior(mean, 1e-6))
    summary = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=config).summary
    assert summary.chosen.trained is trained
    assert f"The gain over ({summary.before.name}) is " in summary.reason
    gain = f"{100 * mean:+.1f}"
    assert summary.reason.endswith(f"averaged with the gain on other data sets, {gain} ± 0.0, to {gain}.")


def test_summary_names_every_candidate_and_the_reason():
    scenario = class_bias()
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=FitConfig(**FAST))
    summary = result.summary
    assert summary.examples == 2000
    assert summary.errors == int(scenario.errors.sum())
    assert summary.chosen in summary.candidates
    assert summary.before in summary.candidates
    text = str(summary)
    assert all(candidate.name in summary.table() for candidate in summary.candidates)
    assert 2 <= len(summary.main_candidates) <= 3 < len(summary.candidates)
    lines = [line.split("  ")[0].removeprefix("* ") for line in text.split("\n\n")[1].splitlines()[1:]]
    assert lines == [candidate.name for candidate in summary.main_candidates]
    assert {summary.chosen.name, summary.before.name} <= set(lines)
    assert f"{len(summary.candidates) - len(lines)} more candidates: alien inspect" in text
    explained = {term.split(":")[0] for term in summary.terms()} - {"ROC-AUC", "ECE"}
    assert explained == {term for term in TERMS if term in " ".join(lines)}
    assert summary.reason in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert {"smoothmax:", "ROC-AUC:", "ECE:"} <= set(text.split())  # terms are explained
    assert "reference:" not in text
    for candidate in summary.candidates:
        assert candidate.roc_auc.low <= candidate.roc_auc.value <= candidate.roc_auc.high


def test_errors_come_from_the_given_logits():
    """The logits of a half-precision model determine the errors, even if its module in float32 predicts otherwise."""
    scenario = calibrated(600)
    logits = scenario.logits.clone()
    logits[:50] = logits[:50].flip(1)
    result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, logits=logits, config=FitConfig(**FAST))
    assert result.summary.errors == int((logits.argmax(-1) != scenario.labels).sum())


def test_numpy_arrays_give_the_same_fit_as_tensors():
    scenario = worn(400)
    arrays = fit_head(
        scenario.classifier, scenario.hidden.numpy(), scenario.labels.numpy().astype(np.int32), config=FitConfig(**FAST)
    )
    tensors = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=FitConfig(**FAST))
    assert str(arrays.summary) == str(tensors.summary)


def changed_set(change):
    scenario = calibrated(300)
    hidden, labels, logits = scenario.hidden.clone(), scenario.labels.clone(), scenario.logits.clone()
    return change(scenario, hidden, labels, logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, h, y, z: (h, z.argmax(-1), z), "wrong on 0 of 300.*at least 10 errors"),
        (lambda s, h, y, z: (h, torch.zeros_like(y), z), "all 300 labels are class 0"),
        (lambda s, h, y, z: (h.index_fill(0, torch.tensor([7]), float("nan")), y, z), "row 7"),
        (lambda s, h, y, z: (h, y, z.index_fill(0, torch.tensor([3]), float("inf"))), "logits.*row 3"),
        (lambda s, h, y, z: (h, y + 3, z), "outside 0 … 3"),
        (lambda s, h, y, z: (h, y - 2, z), "outside 0 … 3"),
        (lambda s, h, y, z: (h, y[:-1], z), r"labels must be \[300\]"),
        (lambda s, h, y, z: (h, ["good"] * 300, z), "labels must be an array of numbers"),
        (lambda s, h, y, z: (h, [None] * 300, z), "labels must be an array of numbers"),
        (lambda s, h, y, z: ([[0.0] * 12, [0.0]], y, z), "hidden must be an array of numbers"),
        (lambda s, h, y, z: (h[:0], y[:0], z[:0]), "hidden has no rows"),
        (lambda s, h, y, z: (h[:1].expand(300, 12), y, z), "all 300 rows of hidden are the same vector"),
        (lambda s, h, y, z: (h, y.float() + 0.5, z), "whole numbers"),
        (lambda s, h, y, z: (h[:, :5], y, z), r"hidden must be \[N, 12\]"),
        (lambda s, h, y, z: (h, y, z[:-1]), "299 rows of logits for 300"),
        (lambda s, h, y, z: (h, (z.argmax(-1) + 1) % 4, z), "right on 0 of 300"),
    ],
)
def test_unusable_calibration_sets_are_refused(change, message):
    hidden, labels, logits = changed_set(change)
    with pytest.raises(CalibrationError, match=message):
        fit_head(calibrated(300).classifier, hidden, labels, logits=logits)


def test_memorized_data_gets_a_warning():
    scenario = calibrated(3000)
    labels = scenario.logits.argmax(-1)
    labels[:12] = (labels[:12] + 1) % 4
    with pytest.warns(UserWarning, match="only 0.40% of the calibration texts.*held-out"):
        fit_head(scenario.classifier, scenario.hidden, labels, config=FitConfig(folds=3, betas=(), error_model=False))


def test_labels_in_another_order_get_a_warning():
    scenario = calibrated(600)
    predictions = scenario.logits.argmax(-1)
    labels = torch.where(torch.arange(600) < 40, predictions, (predictions + 1) % 4)
    with pytest.warns(UserWarning, match="less than by guessing"):
        fit_head(scenario.classifier, scenario.hidden, labels, config=FitConfig(folds=3, betas=(), error_model=False))


def test_a_reference_that_contains_the_calibration_texts_gets_a_warning():
    scenario = calibrated(600)
    with pytest.warns(UserWarning, match="calibration vectors are also in the reference"):
        fit_head(
            scenario.classifier,
            scenario.hidden,
            scenario.labels,
            reference=(scenario.hidden, scenario.labels),
            config=FitConfig(folds=3, betas=()),
        )


def test_a_reference_of_one_vector_is_refused():
    scenario = calibrated(300)
    same = torch.ones(100, 12), torch.arange(100) % 4
    with pytest.raises(CalibrationError, match="all 100 rows of reference hidden are the same"):
        fit_head(scenario.classifier, scenario.hidden, scenario.labels, reference=same)


def test_a_healthy_set_fits_without_a_warning():
    scenario = calibrated(600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=FitConfig(**FAST))
    assert result.head.is_calibrated


@pytest.mark.parametrize("changes", [{"bases": ("variance",)}, {"bases": ()}, {"folds": 2}])
def test_invalid_configs_are_refused(changes):
    with pytest.raises(ArgumentError, match=r"bases|folds"):
        FitConfig(**changes)


def test_features_for_a_test_fold_do_not_depend_on_its_errors():
    scenario = blind_spot(200)
    data = calibration_set(AlignedEntropyHead(scenario.classifier), scenario.hidden, scenario.labels, None, 3, 0)
    values = calibration_set_features(data, 0).values
    for k in range(3):
        flipped = replace(data, errors=torch.where(data.fold == k, 1 - data.errors, data.errors))
        flipped_values = calibration_set_features(flipped, 0).values
        train = data.fold != k
        assert torch.equal(flipped_values[k, train], values[k, train])
        for j in {0, 1, 2} - {k}:
            rows = train & (data.fold == j)
            assert not torch.equal(flipped_values[j, rows], values[j, rows])
        assert torch.equal(flipped_values[k, ~train], values[k, ~train])  # the reference of a row excludes its fold


def test_errors_at_random_are_not_found():
    """Cross-validation of random errors is fair: its ROC-AUC is above one half as often as below."""
    values = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        hidden, labels = torch.randn(200, 8, generator=generator), torch.randint(3, (200,), generator=generator)
        config = FitConfig(folds=4, betas=(), bases=("smoothmax",))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # by chance some sets have fewer right predictions than guessing
            summary = fit_head(nn.Linear(8, 3).requires_grad_(False), hidden, labels, config=config).summary
        values += [c.roc_auc.value for c in summary.candidates if c.name.endswith("neighbors")]
    assert np.mean(values) == pytest.approx(0.5, abs=3 * np.std(values) / len(values) ** 0.5)
