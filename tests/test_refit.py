"""A new head from feedback takes the place of the current one only where it is better."""

import json

import numpy as np
import pytest

from aligned_entropy import CalibrationError, FitConfig, NotFittedError, UncertainClassifier
from aligned_entropy.refit import refit
from aligned_entropy.selective import Goal
from aligned_entropy.serve.feedback import Feedback
from fixtures import sentiment
from fixtures.command_line import alien
from fixtures.sentiment import named
from fixtures.token_models import sentences

QUICK = FitConfig(folds=3, betas=())


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture
def classifier(folder):
    own = UncertainClassifier.from_pretrained(folder)
    own.fit(named(400, 2), config=QUICK)
    own.choose_threshold(named(500, 3), Goal(coverage=0.6))
    return own


def unseen(classifier, count, seed, **options):
    """Features of texts that the head was not fitted on."""
    features = classifier.features(named(2 * count, seed, **options))
    return features[np.flatnonzero(~np.isin(features.text_hashes, classifier.saved.text_hashes.numpy()))[:count]]


def test_a_head_for_a_world_that_has_changed_is_better_than_the_old_one(classifier):
    before = classifier.saved
    found = refit(classifier, unseen(classifier, 1200, 5, flipped=0.3))
    assert found.comparison.better
    assert found.comparison.brier[1] < found.comparison.brier[0]
    assert found.comparison.brier_p < 0.01
    assert found.comparison.answers == 600
    assert classifier.saved is before, "the current head stays as it is"
    assert found.rule == found.classifier.saved.rule
    assert found.rule.goal == Goal(coverage=0.6)
    assert found.rule.held_out


def test_in_the_same_world_there_is_no_better_head(classifier):
    better = [refit(classifier, classifier.features(named(600, seed)), seed=seed).comparison for seed in range(20, 26)]
    assert sum(own.better for own in better) <= 1
    assert all(0 < own.brier_p <= 1 and 0 < own.roc_auc_p <= 1 for own in better)


def test_more_labeled_texts_may_be_fitted_on(classifier):
    feedback, more = unseen(classifier, 400, 5), classifier.features(named(300, 6))
    alone, together = (refit(classifier, feedback, calibration=known).classifier for known in (None, more))
    assert (alone.saved.fit["examples"], together.saved.fit["examples"]) == (200, 500)


def test_what_the_current_head_was_fitted_on_is_not_compared_again(classifier):
    feedback = unseen(classifier, 1000, 5)
    _, first = np.unique(feedback.text_hashes, return_index=True)
    feedback = feedback[np.sort(first)[:600]]  # no text comes twice
    current = refit(classifier, feedback[:300]).classifier  # fitted on half of these
    found = refit(current, feedback)
    assert found.comparison.answers == 225, "half of what it has not seen"
    assert found.classifier.saved.fit["examples"] == 375
    assert found.rule.held_out, "the threshold is chosen on texts that neither head has seen"


def test_words_are_divided_by_sentence(token_model_folder):
    tagger = UncertainClassifier.from_pretrained(token_model_folder)
    tagger.fit(sentences(tagger, 1), config=QUICK)
    features = tagger.features(sentences(tagger, 2))
    more = tagger.features(sentences(tagger, 3))
    found = refit(tagger, features, calibration=more)
    sizes = np.bincount(features.clusters)
    assert found.comparison.answers in (sizes.sum() - found.classifier.saved.fit["examples"] + len(more),)


def test_what_cannot_be_compared_says_so(classifier, folder):
    with pytest.raises(NotFittedError, match="fit one first"):
        refit(UncertainClassifier.from_pretrained(folder), classifier.features(named(100, 5)))
    with pytest.raises(CalibrationError):
        refit(classifier, classifier.features(named(12, 5)))


def test_the_command_saves_a_better_head_and_only_that(workplace, tmp_path):
    for name, flipped, better in (("same", 0.0, False), ("changed", 0.3, True)):
        feedback, output = Feedback(tmp_path / f"{name}.sqlite"), tmp_path / name
        rows = named(900, 8, flipped)
        for text, label in zip(rows["text"], rows["label"], strict=True):
            feedback.add(text, label)
        feedback.close()
        arguments = ["refit", workplace / "model", feedback.path, "--head", workplace / "head", "-o", output, "--json"]
        done = alien(*arguments)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["better"], said["saved"], output.exists()) == (better, str(output) if better else None, better)
    assert alien("inspect", tmp_path / "changed", workplace / "model").returncode == 0
    shown = alien(*arguments[:-1])
    assert "Brier score" in shown.stdout
    assert f"saved: {output}" in shown.stdout
    missing = alien("refit", workplace / "model", tmp_path / "no.sqlite", "--head", workplace / "head", "-o", output)
    assert (missing.returncode, "there is no feedback" in missing.stderr) == (1, True)
