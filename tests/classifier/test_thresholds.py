"""Thresholds in the hands of users: chosen, saved with the head, seen in predictions, for every kind of classifier."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import pipeline

from aligned_entropy import CalibrationError, FitConfig, NotFittedError, UncertainClassifier, register_pipeline
from aligned_entropy.features.arrays import Features
from aligned_entropy.saved.format import head_fingerprint
from aligned_entropy.selective import Goal, choose_threshold
from fixtures import sentiment
from fixtures.command_line import in_process
from fixtures.multilabel_models import texts as multilabel_texts
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
    return own


def test_predictions_say_what_is_accepted_and_a_saved_head_remembers(classifier, folder, tmp_path):
    texts = named(200, 9)["text"]
    with pytest.raises(NotFittedError, match="choose_threshold"):
        _ = classifier.predict(texts).accepted
    assert classifier.predict(texts)[0].accepted is None
    rule = classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    found = classifier.predict(texts)
    assert 0.5 < found.accepted.mean() < 0.9
    assert np.array_equal(found.accepted, found.uncertainty <= np.float32(rule.thresholds[""].value))
    assert [row.accepted for row in found] == found.accepted.tolist()
    assert np.array_equal(found[3:7].accepted, found.accepted[3:7])
    assert found.to_pandas()["accepted"].tolist() == found.accepted.tolist()
    classifier.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(folder, head=tmp_path / "head")
    assert again.saved.rule == rule
    assert np.array_equal(again.predict(texts).accepted, found.accepted)
    kept, now = again.saved.selection_units, classifier.saved.selection_units
    assert kept.held_out
    assert all(np.array_equal(getattr(kept, name), getattr(now, name)) for name in ("uncertainty", "errors", "labels"))
    again.fit(named(400, 5), config=QUICK)
    assert again.saved.rule is None, "a threshold belongs to the head that it was chosen for"


def test_the_pipeline_says_what_is_accepted(classifier, folder, tmp_path):
    register_pipeline()
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7, per_class=True))
    classifier.save_pretrained(tmp_path / "head")
    texts = named(40, 9)["text"]
    expected = classifier.predict(texts).accepted.tolist()
    assert set(expected) == {True, False}
    pipe = pipeline("uncertain-text-classification", model=str(folder), head=tmp_path / "head")
    assert [answer["accepted"] for answer in pipe(texts)] == expected
    assert {answer["accepted"] for answer in pipe(texts[0], top_k=None)} == {expected[0]}


def test_a_fit_keeps_what_it_saw_for_later(classifier):
    calibration = classifier.features(named(400, 2))
    kept = classifier.saved.selection_units
    assert not kept.held_out
    assert np.array_equal(kept.errors, calibration.errors)
    assert set(kept.labels) <= set(sentiment.NAMES)
    assert np.array_equal(classifier.saved.text_hashes.numpy(), calibration.text_hashes)


def test_the_units_of_the_fit_stay_the_pilot_of_every_threshold(classifier, folder, tmp_path):
    fit_units, before = classifier.saved.selection_units, head_fingerprint(classifier.saved)
    assert classifier.saved.pilot is fit_units
    classifier.save_pretrained(tmp_path / "fitted")
    assert "pilot" not in json.loads((tmp_path / "fitted" / "config.json").read_text())
    for seed in (3, 4):  # the second choice has the same pilot, not the units of the first
        rule = classifier.choose_threshold(named(500, seed), Goal(risk=0.2))
        labeled = classifier.saved.selection_units
        assert rule.accepted
        assert rule == choose_threshold(labeled, Goal(risk=0.2), fit_units)
        assert classifier.saved.pilot is fit_units
    classifier.save_pretrained(tmp_path / "chosen")
    again = UncertainClassifier.from_pretrained(folder, head=tmp_path / "chosen")
    assert head_fingerprint(again.saved) == head_fingerprint(classifier.saved) != before
    assert not again.saved.pilot.held_out
    for name in ("uncertainty", "errors", "labels"):
        assert np.array_equal(getattr(again.saved.pilot, name), getattr(fit_units, name))
    assert again.choose_threshold(named(500, 4), Goal(risk=0.2)) == rule
    fitted = UncertainClassifier.from_pretrained(folder, head=tmp_path / "fitted")
    assert np.array_equal(fitted.saved.pilot.errors, fit_units.errors)


def test_a_threshold_needs_a_fitted_head_and_texts_that_it_has_not_seen(classifier, folder):
    with pytest.raises(NotFittedError, match="call fit"):
        UncertainClassifier.from_pretrained(folder).choose_threshold(named(200, 3), Goal(coverage=0.5))
    with pytest.raises(CalibrationError, match="fitted on 100% of these texts"):
        classifier.choose_threshold(named(400, 2), Goal(coverage=0.5))
    assert classifier.saved.rule is None


@pytest.mark.filterwarnings("default")
def test_an_evaluation_on_the_texts_of_the_fit_gives_a_warning(workplace, whole_command):
    options = ("--head", workplace / "head", "--resamples", "10")
    done = whole_command("evaluate", workplace / "model", workplace / "calibration.jsonl", *options)
    assert done.returncode == 0, done.stderr
    assert "the head was fitted on 100% of these texts, on which it looks better" in " ".join(done.stderr.split())
    done = whole_command("evaluate", workplace / "model", workplace / "test.jsonl", *options)
    assert done.returncode == 0, done.stderr
    assert "was fitted on" not in done.stderr


@pytest.mark.parametrize("kind", ["token", "multilabel"])
def test_an_evaluation_of_other_tasks_on_the_texts_of_the_fit_gives_a_warning(kind, request):
    classifier = UncertainClassifier.from_pretrained(request.getfixturevalue(f"{kind}_model_folder"))
    data = sentences(classifier, 1) if kind == "token" else multilabel_texts(600, 1)
    classifier.fit(data, config=QUICK if kind == "token" else None)
    with pytest.warns(UserWarning, match="fitted on 100% of these texts.*evaluate it on other labeled texts"):
        classifier.evaluate(data, resamples=10)


def test_of_words_entities_are_accepted(token_model_folder):
    tagger = UncertainClassifier.from_pretrained(token_model_folder)
    tagger.fit(sentences(tagger, 1), config=QUICK)
    rule = tagger.choose_threshold(sentences(tagger, 2), Goal(coverage=0.6, per_class=True))
    assert list(rule.thresholds) == ["X"]
    found = tagger.predict([" ".join(words) for words in sentences(tagger, 3)["tokens"]])
    entities = [entity for row in found for entity in row.entities]
    assert 0.4 < np.mean([entity.accepted for entity in entities]) < 0.8
    limit = np.float32(rule.thresholds["X"].value)
    assert all(entity.accepted == (np.float32(entity.uncertainty) <= limit) for entity in entities)
    assert found.to_arrow()["accepted"].to_pylist() == [entity.accepted for entity in entities]
    assert entities[0].to_dict()["accepted"] in (True, False)
    with pytest.raises(CalibrationError, match="fitted on 100%"):
        tagger.choose_threshold(sentences(tagger, 1), Goal(coverage=0.6))


def test_of_many_labels_a_text_is_accepted_as_a_whole(multilabel_model_folder, tmp_path):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    classifier.fit(multilabel_texts(600, 1))
    rule = classifier.choose_threshold(multilabel_texts(400, 2), Goal(coverage=0.5))
    texts = multilabel_texts(200, 3)["text"]
    found = classifier.predict(texts)
    assert np.array_equal(found.accepted, found.uncertainty <= np.float32(rule.thresholds[""].value))
    assert found[0].accepted == found.to_dict()["accepted"][0]
    assert found[2:4].accepted.tolist() == found.accepted[2:4].tolist()
    classifier.save_pretrained(tmp_path)
    again = UncertainClassifier.from_pretrained(multilabel_model_folder, head=tmp_path)
    assert np.array_equal(again.predict(texts).accepted, found.accepted)


def test_the_command_saves_a_threshold_and_predict_uses_it(workplace, tmp_path):
    model, head = workplace / "model", tmp_path / "head"
    data = ["threshold", model, workplace / "test.jsonl", "--head", workplace / "head"]
    done = in_process(*data, "--coverage", ".6", "--output", head, "--json")
    assert done.exit_code == 0, done.stderr
    (own,) = json.loads(done.stdout)["thresholds"].values()
    assert own["coverage_low"] < 0.6 <= own["accepted"] / own["answers"]
    rows = in_process("predict", model, workplace / "test.jsonl", "--head", head)
    accepted = [json.loads(line)["accepted"] for line in rows.stdout.splitlines()]
    assert sum(accepted) == own["accepted"]
    in_process("predict", model, workplace / "test.jsonl", "--head", head, "-o", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["accepted"].to_pylist() == accepted
    shown = in_process("inspect", head)
    assert "60% of the predictions accepted" in shown.stdout
    # In place, and what cannot be had is said and changes nothing.
    assert in_process(*data[:-1], head, "--coverage", ".5").exit_code == 0
    before = (head / "config.json").read_text()
    failed = in_process(*data[:-1], head, "--risk", ".0001")
    assert failed.exit_code == 1
    assert "alien: no threshold reaches this goal, the head stays as it is" in failed.stderr.splitlines()
    assert "No threshold could be certified" in failed.stdout
    assert (head / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("test", 2, "give one goal"),
        ("test --risk 2", 2, "risk 2.0 is not between 0 and 1"),
        ("calibration --coverage .5", 1, "the head was fitted on 100% of these texts"),
    ],
)
def test_the_command_says_what_is_wrong(workplace, whole_command, options, code, message):
    source, *rest = options.split()
    labeled, head = workplace / f"{source}.jsonl", workplace / "head"
    done = whole_command("threshold", workplace / "model", labeled, "--head", head, *rest)
    assert done.returncode == code
    assert message in " ".join(done.stderr.replace("│", "").split())


def test_fingerprints_know_a_text_again_and_tell_vectors_apart(classifier):
    first, again, other = (classifier.features(named(300, seed)) for seed in (7, 7, 8))
    assert np.array_equal(first.text_hashes, again.text_hashes)
    known = np.isin(named(300, 8)["text"], named(300, 7)["text"])
    assert known.any()
    assert np.isin(other.text_hashes, first.text_hashes)[known].all()
    hidden = np.random.default_rng(0).normal(size=(5000, 40)).astype(np.float32).clip(-1, 1)
    vectors = Features(hidden, hidden[:, :2])
    assert len(np.unique(vectors.text_hashes)) == 5000
    noisy = Features(hidden * np.float32(1 + 1e-7), hidden[:, :2])  # another batch, another machine
    assert np.mean(vectors.text_hashes == noisy.text_hashes) > 0.9


def test_a_threshold_in_another_precision_is_warned_about(classifier, folder, tmp_path):
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    classifier.save_pretrained(tmp_path / "head")
    with pytest.warns(UserWarning, match="chosen with the model in float32, but the model is loaded in bfloat16"):
        half = UncertainClassifier.from_pretrained(folder, head=tmp_path / "head", dtype=torch.bfloat16)
    half.choose_threshold(named(500, 3), Goal(coverage=0.7))
    half.save_pretrained(tmp_path / "half")
    UncertainClassifier.from_pretrained(folder, head=tmp_path / "half", dtype=torch.bfloat16)  # no warning is an error


def test_another_precision_is_compared_on_the_file_at_hand(workplace, tmp_path):
    model, source = workplace / "model", workplace / "test.jsonl"
    done = in_process("predict", model, source, "--dtype", "bfloat16", "-o", tmp_path / "half.jsonl")
    assert done.exit_code == 0, done.stderr
    said = re.search(r"bfloat16 against float32, on the first 256 rows: (\S+)% .* uncertainty (\S+)", done.stderr)
    assert float(said[1]) < 5
    assert float(said[2]) > 0.9
    assert "against" not in in_process("predict", model, source, "-o", tmp_path / "full.jsonl").stderr
