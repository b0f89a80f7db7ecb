"""A head that was fitted on pairs of texts refuses single texts, and the reverse; a head of before takes both."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aligned_entropy import DataError, FitConfig, Goal, SetGoal, UncertainClassifier
from aligned_entropy.refit import refit
from fixtures import sentiment, tiny
from fixtures.command_line import in_process
from fixtures.sentiment import named

QUICK = FitConfig(folds=3, betas=())
KINDS = ("single texts", "pairs of texts")
REASON = "these are {}, but the head was fitted on {}"


def labeled(kind, count, seed):
    """Labeled texts of a kind."""
    rows = named(count, seed)
    return rows if kind == KINDS[0] else rows | {"text_pair": sentiment.texts(count, seed + 100)[0]}


def write(path, columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(scope="module", params=KINDS)
def heads(request, model_folder, tmp_path_factory):
    """Folder of a head, the kind of texts that it was fitted on, and the other kind."""
    folder = tmp_path_factory.mktemp("heads") / "head"
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labeled(request.param, 400, 2), config=QUICK)
    classifier.choose_threshold(labeled(request.param, 400, 3), Goal(coverage=0.6))
    classifier.save_pretrained(folder)
    return folder, request.param, next(kind for kind in KINDS if kind != request.param)


def test_a_classifier_refuses_the_other_kind(heads, model_folder):
    folder, kind, other = heads
    classifier = UncertainClassifier.from_pretrained(model_folder, head=folder)
    assert classifier.saved.pairs is (kind == KINDS[1])
    assert len(classifier.predict(labeled(kind, 5, 4))) == 5
    assert classifier.evaluate(labeled(kind, 100, 4), resamples=10)
    wrong = labeled(other, 400, 4)
    features = classifier.features(wrong)
    for call in (
        lambda: classifier.predict(wrong),
        lambda: classifier.predict_features(features),
        lambda: classifier.evaluate(wrong),
        lambda: classifier.evaluate(labeled(kind, 100, 4), calibration=wrong),
        lambda: classifier.evaluate(labeled(kind, 100, 4), ood=wrong),
        lambda: classifier.choose_threshold(wrong, Goal(coverage=0.5)),
        lambda: classifier.choose_sets(wrong, SetGoal(0.1)),
        lambda: refit(classifier, features),
    ):
        with pytest.raises(DataError, match=REASON.format(other, kind)):
            call()
    right = classifier.features(labeled(kind, 400, 5))
    with pytest.raises(DataError, match=f"these are {kind}, but the calibration set has {other}"):
        refit(classifier, right, calibration=features)
    with pytest.raises(DataError, match=f"these are {other}, but the calibration set has {kind}"):
        classifier.fit_features(right, reference=features)
    more = classifier.features(labeled(kind, 400, 2))
    assert refit(classifier, right, calibration=more).classifier.saved.pairs is (kind == KINDS[1])
    assert len(classifier.predict([])) == 0


def test_a_head_can_be_fitted_again_on_the_other_kind(heads, model_folder):
    folder, _, other = heads
    classifier = UncertainClassifier.from_pretrained(model_folder, head=folder)
    classifier.fit(labeled(other, 400, 2), config=QUICK)
    assert len(classifier.predict(labeled(other, 5, 4))) == 5


def test_a_head_that_does_not_tell_its_kind_takes_both(heads, model_folder, tmp_path):
    folder, kind, other = heads
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] <= 2
    del config["fit"]["pairs"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "head.safetensors").write_bytes((folder / "head.safetensors").read_bytes())
    classifier = UncertainClassifier.from_pretrained(model_folder, head=tmp_path)
    known = UncertainClassifier.from_pretrained(model_folder, head=folder)
    for texts in (labeled(kind, 20, 4), labeled(other, 20, 4)):
        assert np.isfinite(classifier.predict(texts).error_probability).all()
    texts = labeled(kind, 20, 4)
    assert np.array_equal(classifier.predict(texts).uncertainty, known.predict(texts).uncertainty)


def test_the_commands_refuse_the_other_kind(heads, model_folder, tmp_path):
    folder, kind, other = heads
    right, wrong = (write(tmp_path / f"{name}.csv", labeled(name, 300, 6)) for name in (kind, other))
    assert in_process("predict", model_folder, right, "--head", folder, "-o", tmp_path / "right.csv").exit_code == 0
    pd.DataFrame(labeled(other, 30, 6)).to_parquet(tmp_path / "wrong.parquet")
    for command in (
        ("predict", model_folder, wrong, "--head", folder, "-o", tmp_path / "out.csv"),
        ("predict", model_folder, tmp_path / "wrong.parquet", "--head", folder, "-o", tmp_path / "parts"),
        ("evaluate", model_folder, wrong, "--head", folder),
        ("threshold", model_folder, wrong, "--head", folder, "--coverage", "0.5"),
    ):
        done = in_process(*command)
        assert done.exit_code == 1, done.output
        assert REASON.format(other, kind) in f"{done.stderr} {done.exception}"
    assert not (tmp_path / "out.csv").exists()
    assert not list(tmp_path.glob("out.csv.*"))
    done = in_process("inspect", folder, "--json")
    assert json.loads(done.stdout)["pairs"] is (kind == KINDS[1])


def test_a_multi_label_classifier_refuses_the_other_kind(tmp_path):
    tiny.model("Bert", problem_type="multi_label_classification").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    classifier = UncertainClassifier.from_pretrained(tmp_path)
    features = classifier.backbone.features(["a", "b"])
    classifier.saved = replace(classifier.saved, fit={"pairs": False})
    assert len(classifier.predict_features(replace(features, pairs=False))) == 2
    for call in (
        lambda: classifier.predict([("a", "b")]),
        lambda: classifier.predict_features(replace(features, pairs=True)),
    ):
        with pytest.raises(DataError, match=REASON.format(KINDS[1], KINDS[0])):
            call()
