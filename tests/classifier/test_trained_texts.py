"""A head, a threshold or a score is not chosen on texts that the classifier was trained on, through any door."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import CalibrationError, FitConfig, Goal, SetGoal, UncertainClassifier
from aligned_entropy.backbones import text_hashes
from aligned_entropy.data import LabeledTexts, LabeledTokens
from aligned_entropy.finetune import TrainConfig, train_classifier
from aligned_entropy.head.fit_multilabel import pairs
from aligned_entropy.refit.refitting import joined_features
from aligned_entropy.review.suspects import suspect_labels
from fixtures import sentiment, tiny

MESSAGE = r"the classifier was trained on {} of these texts.*alien divide makes a file for each step"
FIT = FitConfig(views=False)


def labeled(count, seed):
    texts, labels = sentiment.texts(count, seed)
    return LabeledTexts([f"{text} {seed} {row}" for row, text in enumerate(texts)], labels, sentiment.NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    sentiment.save(folder / "base")
    train_classifier(folder / "base", labeled(200, 0), folder / "classifier", TrainConfig(epochs=1, learning_rate=1e-5))
    return folder / "classifier"


def test_texts_that_were_trained_on_are_refused(folder):
    classifier, trained, held_out = UncertainClassifier.from_pretrained(folder), labeled(200, 0), labeled(200, 1)
    refused = pytest.raises(CalibrationError, match=MESSAGE.format("100%"))
    with refused:
        classifier.fit(trained, config=FIT)
    with refused:
        classifier.evaluate(held_out, calibration=trained, scores=["temperature-scaled entropy"], resamples=10)
    classifier.fit(held_out, config=FIT)
    with refused:
        classifier.choose_threshold(trained, Goal(coverage=0.5))
    with pytest.warns(UserWarning, match=MESSAGE.format("100%")):
        classifier.evaluate(trained, resamples=10)


def test_they_are_refused_before_their_features_are_computed(folder, monkeypatch):
    classifier = UncertainClassifier.from_pretrained(folder)
    monkeypatch.setattr(classifier.backbone, "features", lambda *_, **__: pytest.fail("features were computed"))
    choices = (
        classifier.fit,
        lambda data: classifier.choose_threshold(data, Goal(coverage=0.5)),
        lambda data: classifier.choose_sets(data, SetGoal(0.1)),
    )
    for choose in choices:
        with pytest.raises(CalibrationError, match=MESSAGE.format("100%")):
            choose(labeled(200, 0))


def test_predictions_of_texts_that_were_seen_give_a_warning(folder):
    """Their error probabilities are too low, and nothing but a warning can show it."""
    classifier, trained, fitted = UncertainClassifier.from_pretrained(folder), labeled(200, 0), labeled(200, 1)
    classifier.predict(trained.texts)  # an untrained head gives no error probability
    classifier.fit(fitted, config=FIT)
    new = labeled(200, 2).texts
    for seen in (trained.texts, fitted.texts, [*new[:89], *trained.texts[:11]], [*new[:89], *fitted.texts[:11]]):
        with pytest.warns(UserWarning, match="was trained on more than 10% of these texts, or the head was fitted on"):
            classifier.predict(seen)
    for other in (new, [*new[:90], *trained.texts[:10]], trained.texts[:49]):
        classifier.predict(other)  # a warning would be an error


def test_a_part_of_such_texts_gives_a_warning_and_a_few_give_none(folder):
    classifier, trained = UncertainClassifier.from_pretrained(folder), labeled(200, 0)
    features = classifier.features(trained + labeled(200, 1))
    assert features.trained.sum() == 200
    with pytest.warns(UserWarning, match=MESSAGE.format("20%")):
        classifier.fit_features(features[np.arange(150, 400)], config=FIT)
    classifier.fit_features(features[np.arange(180, 400)], config=FIT)  # 9%
    with pytest.warns(UserWarning, match=MESSAGE.format("25%")):
        classifier.choose_threshold_features(
            classifier.features(trained.select(np.arange(50)) + labeled(150, 2)), Goal(coverage=0.5)
        )


def test_training_texts_may_be_the_reference_of_a_fit_and_the_train_set_of_scores(folder):
    classifier, trained = UncertainClassifier.from_pretrained(folder), labeled(200, 0)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        result = classifier.fit(labeled(200, 1), reference=trained, config=FIT)
        evaluation = classifier.evaluate(labeled(100, 2), train=trained, scores=["Mahalanobis"], resamples=10)
    assert result.summary.examples == 200
    assert "Mahalanobis" in evaluation.table
    assert not [warning for warning in given if "was trained on" in str(warning.message)]


def test_wrong_labels_are_looked_for_in_training_texts_too(folder):
    classifier = UncertainClassifier.from_pretrained(folder)
    suspects = suspect_labels(classifier, classifier.features(labeled(200, 0)))
    assert suspects.probability.shape == (200,)


def test_labels_of_a_text_and_joined_texts_keep_what_is_known(folder):
    features = UncertainClassifier.from_pretrained(folder).features(labeled(4, 0) + labeled(2, 1))
    assert features.trained.tolist() == [True] * 4 + [False] * 2
    rows = pairs(replace(features, labels=np.zeros((6, 2), int)))
    np.testing.assert_array_equal(rows.trained, np.repeat(features.trained, 2))
    assert rows[np.arange(6, 12)].trained.sum() == 2
    joined = joined_features(features, features)
    np.testing.assert_array_equal(joined.trained, np.tile(features.trained, 2))


@pytest.mark.filterwarnings("ignore:.*which is less than by guessing:UserWarning")  # the tags are random
def test_words_of_held_out_sentences_are_not_those_of_the_training(tmp_path):
    """Nearly all words of new sentences occur in the sentences of a training."""
    rng, names = np.random.default_rng(0), ["O", "B-PER"]

    def sentences(count):
        words = [list(rng.choice(tiny.WORDS, 8)) for _ in range(count)]
        return LabeledTokens([list(map(str, row)) for row in words], rng.integers(0, 2, 8 * count), names)

    tiny.model("Bert", num_labels=2).save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    trained, held_out = sentences(60), sentences(60)
    train_classifier(tmp_path / "base", trained, tmp_path / "tagger", TrainConfig(epochs=1))
    classifier = UncertainClassifier.from_pretrained(tmp_path / "tagger")
    assert not classifier.features(held_out).trained.any()
    half = classifier.features(trained.select(np.arange(30)) + held_out.select(np.arange(30)))
    np.testing.assert_array_equal(half.trained, np.repeat([True, False], 240))
    with pytest.raises(CalibrationError, match=MESSAGE.format("100%")):
        classifier.fit(trained, config=FIT)
    assert classifier.fit(held_out, config=FIT).summary.examples == 480


def test_case_and_spaces_do_not_hide_a_training_text(folder):
    data = labeled(60, 0)
    others = LabeledTexts([f"  {text.upper()} " for text in data.texts], data.labels, data.label_names)
    assert UncertainClassifier.from_pretrained(folder).features(others).trained.all()
    assert len(np.unique(text_hashes([*data.texts, *others.texts]))) == 60
