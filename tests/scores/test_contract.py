"""Contract of all scores."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from aligned_entropy.errors import DataError, NotApplicableError
from aligned_entropy.evaluation.evaluation import evaluate
from aligned_entropy.evaluation.fitted_scores import fit_scores
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES, Score
from fixtures.scores import ALIGNED, CALIBRATION, MODULE, SUPERVISED, TEST, TRAIN, every_score, fitted, linear, made


def test_there_are_42_scores_under_their_names():
    assert len(SCORES) == 42
    assert all(kind.name == name for name, kind in SCORES.items())


@every_score
def test_fit_returns_the_score_and_a_score_is_a_finite_number_a_text(name):
    module = linear()
    score = SCORES[name](module, seed=1)
    assert score.fit(TRAIN, CALIBRATION) is score
    values = score.score(TEST)
    assert values.shape == (60,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert not score.is_probability or (values.min() >= 0 and values.max() <= 1)
    assert torch.equal(module.weight, MODULE.weight)


@every_score
def test_a_text_is_scored_for_itself_without_its_label(name):
    values = fitted(name).score(TEST)
    order = np.random.default_rng(0).permutation(60)
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(fitted(name).score(TEST[order]), values[order], **tolerance)
    np.testing.assert_allclose(fitted(name).score(TEST[3:4]), values[3:4], **tolerance)
    np.testing.assert_array_equal(fitted(name).score(replace(TEST, labels=None)), values)
    np.testing.assert_array_equal(fitted(name).score(TEST.with_labels(np.zeros(60))), values)


@every_score
def test_no_text_has_no_score(name):
    assert fitted(name).score(TEST[:0]).shape == (0,)


@every_score
def test_one_seed_gives_one_score_whatever_else_was_drawn(name):
    torch.manual_seed(99)
    np.random.seed(99)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    repeated = SCORES[name](MODULE, seed=1).fit(TRAIN, CALIBRATION)
    np.testing.assert_array_equal(repeated.score(TEST), fitted(name).score(TEST))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@every_score
def test_a_saved_score_loads_as_it_was(name, tmp_path):
    fitted(name).save(tmp_path / "score.npz")
    loaded = SCORES[name](MODULE).load(tmp_path / "score.npz")
    np.testing.assert_array_equal(loaded.score(TEST), fitted(name).score(TEST))


@pytest.mark.parametrize("name", ["RDE", "normalised RDE", "RDE (256 components)"])
def test_a_saved_rde_has_the_array_names_of_earlier_versions(name, tmp_path):
    fitted(name).save(tmp_path / "score.npz")
    assert set(np.load(tmp_path / "score.npz").files) == {
        "points_", "gamma_", "axes_", "column_means_", "seen_", "centres_", "precisions_",
    }  # fmt: skip


@pytest.mark.parametrize("name", ALIGNED)
def test_a_saved_head_has_the_array_names_of_earlier_versions(name):
    arrays = {key for key in fitted(name).state if not key.startswith("tensor ")}
    assert arrays == {"base_", "calibrated_", "held_out_", "reads_"}


@pytest.mark.parametrize("name", ALIGNED)
def test_a_head_without_a_module_loads_for_a_single_text(name, tmp_path):
    fitted(name, None).save(tmp_path / "score.npz")
    loaded = SCORES[name]().load(tmp_path / "score.npz")
    np.testing.assert_allclose(loaded.score(TEST[:1]), fitted(name, None).score(TEST[:1]), atol=1e-6)


@every_score
def test_a_second_fit_forgets_the_first(name):
    score = SCORES[name](seed=1).fit(made(60, 3, width=5), made(60, 4, width=5)).fit(TRAIN, CALIBRATION)
    assert score.state.keys() == fitted(name, None).state.keys()
    np.testing.assert_array_equal(score.score(TEST), fitted(name, None).score(TEST))


@pytest.mark.parametrize(
    ("name", "set_name"), [(name, set_name) for name, kind in SCORES.items() for set_name in kind.uses]
)
@pytest.mark.parametrize("lacking", [None, replace(TRAIN, labels=None)], ids=["no set", "no labels"])
def test_a_set_that_is_missing_is_named(name, set_name, lacking):
    sets = {"train": TRAIN, "calibration": CALIBRATION} | {set_name: lacking}
    with pytest.raises(NotApplicableError, match=f"{re.escape(name)} needs labeled {set_name} features"):
        SCORES[name](MODULE).fit(**sets)


@pytest.mark.parametrize(
    ("name", "set_name"), [(name, set_name) for name, kind in SCORES.items() for set_name in kind.uses]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named_before_a_fit(name, set_name, value):
    sets = {"train": TRAIN, "calibration": CALIBRATION}
    for array in ["logits"] + ["hidden"] * ("hidden" in SCORES[name].needs):
        broken = getattr(sets[set_name], array).copy()
        broken[[3, 5], 0] = value
        changed = sets | {set_name: replace(sets[set_name], **{array: broken})}
        message = rf"the {array} of the {set_name} texts are not finite in 2 of \d+ rows \(3, 5\)"
        with pytest.raises(DataError, match=message):
            SCORES[name](MODULE).fit(**changed)


@pytest.mark.parametrize(("name", "array"), [(name, array) for name, kind in SCORES.items() for array in kind.needs])
def test_an_array_that_is_missing_is_named_or_its_reason_given(name, array):
    missing = {array: np.empty((120, 0), np.float32) if array == "hidden" else None}
    plain, explained = (replace(TRAIN, **missing, absent=why) for why in ({}, {array: "the cat sat on it"}))
    for features, message in ((plain, f"no {array}"), (explained, "the cat sat on it")):
        with pytest.raises(NotApplicableError, match=message):
            fitted(name).score(features)
        if SCORES[name].uses:
            with pytest.raises(NotApplicableError, match=message):
                SCORES[name](MODULE).fit(features, features)


@pytest.mark.parametrize("name", [name for name in SUPERVISED if name not in ALIGNED])
def test_a_held_out_score_does_not_know_the_error_of_its_row(name, monkeypatch):
    folds = np.arange(120) % 5  # fixed, because folds otherwise depend on the errors
    monkeypatch.setattr("aligned_entropy.scores.base.stratified_folds", lambda *_: folds)
    score = SCORES[name](MODULE)
    values = score.held_out(TRAIN, CALIBRATION)
    fold = folds == 2
    predicted = CALIBRATION.predictions
    flipped = np.where(CALIBRATION.errors == 1, predicted, (predicted + 1) % 3)
    changed = score.held_out(TRAIN, CALIBRATION.with_labels(np.where(fold, flipped, CALIBRATION.labels)))
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(changed[fold], values[fold])
    assert (changed[~fold] != values[~fold]).any()


@pytest.mark.parametrize("name", [name for name in SCORES if name not in SUPERVISED])
def test_a_score_that_uses_no_errors_needs_no_folds(name):
    np.testing.assert_array_equal(fitted(name).held_out(TRAIN, CALIBRATION), fitted(name).score(CALIBRATION))


@pytest.mark.parametrize("wrong", [0, 1, 3])
@pytest.mark.parametrize("name", SUPERVISED)
def test_hardly_an_error_to_learn_from_is_no_crash(name, wrong):
    labels = CALIBRATION.predictions.copy()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    fitted_scores, skipped = fit_scores([name], MODULE, TRAIN, CALIBRATION.with_labels(labels))
    assert fitted_scores.keys() ^ skipped.keys() == {name}
    for fitted_score in fitted_scores.values():
        assert np.isfinite(fitted_score.score.score(TEST)).all()


def test_a_registered_subclass_is_one_more_row_in_a_table(monkeypatch):
    class Norm(Score):
        name = "norm"
        needs = ("hidden",)

        def _score(self, features):
            return np.linalg.norm(features.hidden, axis=1)

    monkeypatch.setitem(SCORES, "norm", Norm)
    fitted_scores, skipped = fit_scores(["norm", "entropy"], MODULE, None, CALIBRATION)
    evaluation = evaluate(TEST, fitted_scores, skipped=skipped, resamples=10)
    assert evaluation.table.keys() == {"norm", "entropy"}
    assert evaluation.table["norm"]["roc_auc"].value == roc_auc(TEST.errors, np.linalg.norm(TEST.hidden, axis=1))
    assert "ece_platt" in evaluation.table["norm"]
