"""Refit: a new head is fitted on feedback, and saved only if it is better than the current one."""

import json

import numpy as np
import pandas as pd
import pytest

from aligned_entropy import CalibrationError, FitConfig, NotFittedError, UncertainClassifier
from aligned_entropy.refit import refit
from aligned_entropy.selective import Goal
from aligned_entropy.store import NewFeedback, Store
from fixtures import sentiment
from fixtures.command_line import in_process
from fixtures.sentiment import named
from fixtures.token_models import sentences

QUICK = FitConfig(folds=3, betas=())


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture
def classifier(folder):
    classifier = UncertainClassifier.from_pretrained(folder)
    classifier.fit(named(400, 2), config=QUICK)
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.6))
    return classifier


def unseen(classifier, count, seed, **options):
    """Features of texts that the head was not fitted on."""
    features = classifier.features(named(2 * count, seed, **options))
    return features[np.flatnonzero(~np.isin(features.text_hashes, classifier.saved.text_hashes.numpy()))[:count]]


def test_after_a_change_of_the_labels_the_new_head_is_better(classifier):
    before = classifier.saved
    result = refit(classifier, unseen(classifier, 1200, 5, flipped=0.3))
    assert result.comparison.better
    assert result.comparison.brier[1] < result.comparison.brier[0]
    assert result.comparison.brier_p < 0.01
    assert result.comparison.predictions == 600
    assert classifier.saved is before, "the current head stays as it is"
    assert result.rule == result.classifier.saved.rule
    assert result.rule.goal == Goal(coverage=0.6)
    assert result.rule.held_out


def test_without_a_change_the_new_head_is_not_better(classifier):
    comparisons = [
        refit(classifier, classifier.features(named(600, seed)), seed=seed).comparison for seed in range(20, 26)
    ]
    assert sum(comparison.better for comparison in comparisons) <= 1
    assert all(0 < comparison.brier_p <= 1 and 0 < comparison.roc_auc_p <= 1 for comparison in comparisons)


def test_more_labeled_texts_can_be_given_for_the_fit(classifier):
    feedback, calibration = unseen(classifier, 400, 5), classifier.features(named(300, 6))
    without, with_calibration = (
        refit(classifier, feedback, calibration=features).classifier for features in (None, calibration)
    )
    assert (without.saved.fit["examples"], with_calibration.saved.fit["examples"]) == (200, 500)


def test_texts_that_the_current_head_was_fitted_on_are_not_compared(classifier):
    feedback = unseen(classifier, 1000, 5)
    _, first_rows = np.unique(feedback.text_hashes, return_index=True)
    feedback = feedback[np.sort(first_rows)[:600]]  # without duplicates
    current = refit(classifier, feedback[:300]).classifier  # fitted on half of these
    result = refit(current, feedback)
    assert result.comparison.predictions == 225, "half of the texts that the current head was not fitted on"
    assert result.classifier.saved.fit["examples"] == 375
    assert result.rule.held_out, "the threshold is chosen on texts that neither head was fitted on"


def test_words_are_divided_by_sentence(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.fit(sentences(classifier, 1), config=QUICK)
    features = classifier.features(sentences(classifier, 2))
    calibration = classifier.features(sentences(classifier, 3))
    result = refit(classifier, features, calibration=calibration)
    sizes = np.bincount(features.clusters)
    assert result.comparison.predictions == sizes.sum() - result.classifier.saved.fit["examples"] + len(calibration)


def test_without_a_head_or_enough_feedback_there_is_an_error(classifier, folder):
    with pytest.raises(NotFittedError, match="fit one first"):
        refit(UncertainClassifier.from_pretrained(folder), classifier.features(named(100, 5)))
    with pytest.raises(CalibrationError):
        refit(classifier, classifier.features(named(12, 5)))


def test_the_command_saves_only_a_better_head(workplace, whole_command, tmp_path):
    for name, count, flipped, better in (("fewer", 300, 0.0, False), ("changed", 900, 0.3, True)):
        feedback, output = Store(tmp_path / f"{name}.sqlite"), tmp_path / name
        rows = named(count, 8, flipped)
        for text, label in zip(rows["text"], rows["label"], strict=True):
            feedback.add_feedback(NewFeedback(text=text, label=label, inclusion=0.5 if flipped else None))
        feedback.close()
        arguments = ["refit", workplace / "model", feedback.place, "--head", workplace / "head", "-o", output, "--json"]
        done = in_process(*arguments)
        assert done.exit_code == (0 if better else 1), done.stderr
        assert ("nothing was saved" in done.stderr) == (not better)
        facts = json.loads(done.stdout)
        assert (facts["better"], facts["saved"], output.exists()) == (better, str(output) if better else None, better)
        assert ("effective_texts" in facts) == better, "texts that were drawn are weighted"
        assert {"answers", "errors", "brier", "brier_p", "roc_auc", "roc_auc_p"} <= set(facts)
    assert in_process("inspect", tmp_path / "changed", workplace / "model").exit_code == 0
    shown = in_process(*arguments[:-1])
    assert "Brier score" in shown.stdout
    assert "weighted by inclusion probabilities" in shown.stdout
    assert f"saved: {output}" in shown.stdout
    assert f"next: alien serve {workplace / 'model'} --head {output}" in shown.stderr
    pd.DataFrame(named(2000, 9)).to_csv(tmp_path / "more.csv", index=False)
    chosen = ("threshold", workplace / "model", tmp_path / "more.csv", "--risk", 0.3, "-o", tmp_path / "strict")
    assert in_process(*chosen, "--head", workplace / "head").exit_code == 0
    arguments[arguments.index("--head") + 1] = tmp_path / "strict"
    shown = in_process(*arguments[:-1])
    assert "accepts no prediction. Keep the current head in use until a threshold" in " ".join(shown.stderr.split())
    assert f"next: alien threshold {workplace / 'model'} MORE-HELD-OUT.csv --head {output} --risk 0.3" in shown.stderr
    store = tmp_path / "no.sqlite"
    missing = whole_command("refit", workplace / "model", store, "--head", workplace / "head", "-o", output)
    assert (missing.returncode, "there is no feedback" in missing.stderr) == (1, True)
