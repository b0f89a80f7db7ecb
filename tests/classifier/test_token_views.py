"""Views of a token classifier: equal uncertainty of words, entities and sentences from every way of running it."""

import json

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from aligned_entropy import ArgumentError, FitConfig, UncertainClassifier
from aligned_entropy.backbones import TokenBackbone
from aligned_entropy.data import Words
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.metrics import roc_auc
from aligned_entropy.refit import refit
from aligned_entropy.saved.format import read_config
from aligned_entropy.scores import HEAD
from aligned_entropy.selective import Goal
from aligned_entropy.serve.app import create_app
from fixtures import tiny
from fixtures.command_line import in_process
from fixtures.onnx_consumer import consumer
from fixtures.token_models import contextual_sentences

# A candidate with views is expected to be better.
QUICK = FitConfig(folds=3, betas=(), gain_prior=GainPrior(0.5, 0.5))
SENTENCES = [text.split() for text in tiny.TEXTS] + [tiny.WORDS * 2]


@pytest.fixture(scope="module", params=["calibration", "reference"])
def classifier(request, token_model_folder, tmp_path_factory):
    """Token classifier whose head has views, fitted on the calibration labels or on training sentences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier = UncertainClassifier.from_pretrained(token_model_folder)
        reference = contextual_sentences(classifier, 4) if request.param == "reference" else None
        classifier.fit(contextual_sentences(classifier, 2), reference=reference, config=QUICK)
        classifier.choose_threshold(contextual_sentences(classifier, 3), Goal(coverage=0.7))
    assert classifier.head.views == ["layers", "tokens"], classifier.saved.fit["reason"]
    return classifier


def expected(classifier, texts=SENTENCES):
    return classifier.predict(texts).words.uncertainty


def test_features_give_the_predictions_of_words(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    features = classifier.backbone.features(Words(SENTENCES), views=True)
    count = sum(map(len, SENTENCES))
    assert features.views["layers"].shape == (count, 2, 16)
    assert features.views["tokens"].shape == (count, 6)
    uncertainty = expected(classifier)
    np.testing.assert_array_equal(classifier.predict_features(features).uncertainty, uncertainty)
    rows = np.array([3, 30])
    np.testing.assert_allclose(classifier.predict_features(features[rows]).uncertainty, uncertainty[rows], rtol=1e-5)
    np.testing.assert_allclose(expected(classifier, SENTENCES[:1]), uncertainty[: len(SENTENCES[0])], atol=1e-5)


def test_an_attached_model_gives_the_same_uncertainty(classifier):
    output = tiny.attached_output(classifier, tiny.TEXTS)
    words = torch.cat(
        [row[1 : 1 + len(text.split())] for row, text in zip(output.uncertainty, tiny.TEXTS, strict=True)]
    )
    np.testing.assert_allclose(words, expected(classifier, tiny.TEXTS), atol=1e-5)


def test_a_saved_head_gives_the_same_uncertainty(classifier, token_model_folder, tmp_path):
    classifier.save_pretrained(tmp_path)
    assert read_config(tmp_path)["format"] == 2, "former versions would leave the views out"
    again = UncertainClassifier.from_pretrained(token_model_folder, head=tmp_path)
    assert again.predict(SENTENCES).to_dict() == classifier.predict(SENTENCES).to_dict()


# The graphs of the two heads have the same operations, and an export takes seconds.
@pytest.mark.exhaustive
@pytest.mark.parametrize("classifier", ["calibration"], indirect=True)
def test_an_exported_graph_gives_the_same_uncertainty(classifier, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from aligned_entropy.export import export_onnx

    export_onnx(classifier, tmp_path)
    outputs = consumer(tmp_path)["predict_words"](SENTENCES)
    uncertainty = np.concatenate([row["uncertainty"] for row in outputs])
    np.testing.assert_allclose(uncertainty, expected(classifier), atol=1e-5)


def test_the_server_and_the_command_give_the_same_uncertainty(classifier, token_model_folder, tmp_path):
    predictions = classifier.predict(tiny.TEXTS)
    uncertainty = [[entity.uncertainty for entity in row.entities] for row in predictions]
    with TestClient(create_app(classifier)) as client:
        served = client.post("/v1/predict", json={"texts": tiny.TEXTS}).json()["predictions"]
    classifier.save_pretrained(tmp_path / "head")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in tiny.TEXTS))
    files = tmp_path / "in.jsonl", "--head", tmp_path / "head", "-o", tmp_path / "out.jsonl"
    assert in_process("predict", token_model_folder, *files).exit_code == 0
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for rows in (served, written):
        for entities, values in zip([row["entities"] for row in rows], uncertainty, strict=True):
            assert [entity["uncertainty"] for entity in entities] == pytest.approx(values, abs=1e-5)


def test_an_older_store_is_filled_up(token_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    backbone, words = TokenBackbone.from_pretrained(token_model_folder), Words(SENTENCES)
    assert backbone.features(words).views == {}
    (hidden,) = tmp_path.rglob("hidden.npy")
    written = hidden.stat().st_mtime_ns
    filled = backbone.features(words, views=True)
    assert hidden.stat().st_mtime_ns == written
    fresh = backbone.extract_encoded(backbone.encode(words), views=True)

    def refuse(*_: object) -> None:
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(TokenBackbone, "extract_encoded", refuse)
    for views in (filled.views, backbone.features(words, views=True).views):
        for name, values in fresh.views.items():
            np.testing.assert_array_equal(views[name], values)
            assert views[name].dtype == values.dtype


def test_entities_and_sentences_have_the_uncertainty_of_their_words(classifier):
    predictions, features = classifier.predict(SENTENCES), classifier.backbone.features(Words(SENTENCES), views=True)
    words = classifier.predict_features(features).uncertainty.astype(np.float64)
    starts, groups = predictions.starts, classifier.groups(features.with_labels(features.predictions))
    assert set(classifier.saved.group_maps) == {"entities", "sentences"}
    means = groups["entities"].aggregate(words, "mean")
    entities = [entity for row in predictions for entity in row.entities]
    assert len(entities) > 5
    np.testing.assert_allclose([entity.uncertainty for entity in entities], means, atol=1e-5)
    products = [1 - np.prod(1 - words[slice(*starts[i : i + 2])]) for i in range(len(SENTENCES))]
    np.testing.assert_allclose([row.uncertainty for row in predictions], products, atol=1e-5)
    assert all(entity.error_probability is not None for entity in entities)


def test_views_find_errors_that_depend_on_the_next_word(classifier):
    data = contextual_sentences(classifier, 5, 300)
    without = UncertainClassifier.from_pretrained(classifier.backbone.name)
    without.fit(contextual_sentences(classifier, 2), config=FitConfig(folds=3, betas=(), views=False))
    assert without.features(data).views == {}
    features = classifier.features(data)
    assert set(features.views) == {"layers", "tokens"}, "the head needs them"
    with_views, plain = (
        roc_auc(features.errors, part.predict_features(features).uncertainty.astype(np.float64))
        for part in (classifier, without)
    )
    assert with_views > plain + 0.05
    report = classifier.evaluate(data, resamples=20)
    assert report.single_predictions.table[HEAD]["roc_auc"].value == pytest.approx(with_views)
    assert set(report.groups) == {"entities", "sentences"}


def test_features_without_inputs_of_views_are_refused(classifier):
    features = classifier.features(contextual_sentences(classifier, 9, 30), views=False)
    assert features.views == {}
    with pytest.raises(ArgumentError, match="this head reads the layers of a text, which are missing"):
        classifier.predict_features(features)


def test_a_refit_keeps_the_views(classifier):
    feedback, calibration = (classifier.features(contextual_sentences(classifier, seed)) for seed in (11, 2))
    result = refit(classifier, feedback, calibration=calibration)
    assert any("views" in candidate for candidate in result.classifier.saved.fit["candidates"])
    assert result.rule is not None


def test_a_listener_without_views_changes_no_prediction(classifier):
    before = expected(classifier)
    backbone = classifier.backbone
    outputs = []
    backbone.capture.set_listener(outputs.append)
    np.testing.assert_array_equal(expected(classifier), before)
    backbone.model(**backbone.tokenizer(tiny.TEXTS, padding=True, return_tensors="pt"))
    backbone.capture.remove_listener()
    assert [output.views for output in outputs] == [{}]
    assert not any(part._forward_hooks for part in backbone.model.modules())
