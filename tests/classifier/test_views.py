"""Views of a text classifier: equal uncertainty from every way of running it, and a store that is filled up."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from aligned_entropy import (
    ArgumentError,
    FitConfig,
    HeadMismatchError,
    UncertainClassifier,
    register_pipeline,
)
from aligned_entropy.backbones import Backbone
from aligned_entropy.backbones.layers import mean_vectors, token_weights
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.refit import refit
from aligned_entropy.saved.format import read_config
from fixtures import sentiment, tiny
from fixtures.onnx_consumer import consumer
from fixtures.sentiment import named

QUICK = FitConfig(folds=3, betas=(), gain_prior=GainPrior(0.5, 0.5))  # a candidate with views is expected to be better
TEXTS = named(60, 9)["text"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(scope="module", params=["calibration", "reference"])
def classifier(request, folder, tmp_path_factory):
    """Classifier whose head has views, fitted on the calibration labels or on training texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier = UncertainClassifier.from_pretrained(folder)
        classifier.fit(named(400, 2), reference=named(300, 4) if request.param == "reference" else None, config=QUICK)
    assert classifier.head.views == ["layers", "tokens"]
    return classifier


def test_features_give_the_predictions_of_texts(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    features = classifier.backbone.features(TEXTS, views=True)
    assert features.views["layers"].shape == (60, 1, 24)
    assert features.views["tokens"].shape == (60, 32)
    uncertainty = classifier.predict(TEXTS).uncertainty
    np.testing.assert_array_equal(classifier.predict_features(features).uncertainty, uncertainty)
    rows = np.array([3, 50])
    np.testing.assert_allclose(classifier.predict_features(features[rows]).uncertainty, uncertainty[rows], atol=1e-6)
    np.testing.assert_allclose(classifier.predict(TEXTS[7]).uncertainty, uncertainty[7], atol=1e-5)


def test_an_attached_model_gives_the_same_uncertainty(classifier):
    output = tiny.attached_output(classifier, TEXTS)
    np.testing.assert_allclose(output.uncertainty, classifier.predict(TEXTS).uncertainty, atol=1e-5)


def test_a_pipeline_gives_the_same_uncertainty(classifier, folder, tmp_path):
    register_pipeline()
    classifier.save_pretrained(tmp_path)
    pipe = pipeline("uncertain-text-classification", model=str(folder), head=tmp_path)
    uncertainty = [row["uncertainty"] for row in pipe(TEXTS)]
    np.testing.assert_allclose(uncertainty, classifier.predict(TEXTS).uncertainty, atol=1e-5)


def test_a_saved_head_gives_the_same_uncertainty(classifier, folder, tmp_path):
    classifier.save_pretrained(tmp_path)
    assert read_config(tmp_path)["format"] == 2, "former versions would leave the views out"
    again = UncertainClassifier.from_pretrained(folder, head=tmp_path)
    np.testing.assert_array_equal(again.predict(TEXTS).uncertainty, classifier.predict(TEXTS).uncertainty)


def test_a_head_without_views_has_the_former_format(folder, tmp_path):
    classifier = UncertainClassifier.from_pretrained(folder)
    classifier.fit(named(400, 2), config=FitConfig(folds=3, betas=(), views=False))
    classifier.save_pretrained(tmp_path)
    assert read_config(tmp_path)["format"] == 1
    read_config(tmp_path)
    text = (tmp_path / "config.json").read_text().replace('"format": 1', '"format": 3')
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(HeadMismatchError, match="has format 3, but this version reads formats up to 2"):
        read_config(tmp_path)


# The graphs of the two heads have the same operations, and an export takes seconds.
@pytest.mark.parametrize("classifier", ["reference"], indirect=True)
def test_an_exported_graph_gives_the_same_uncertainty(classifier, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from aligned_entropy.export import export_onnx

    export_onnx(classifier, tmp_path)
    outputs = consumer(tmp_path)["predict"](TEXTS)
    np.testing.assert_allclose(outputs["uncertainty"], classifier.predict(TEXTS).uncertainty, atol=1e-5)


def test_an_older_store_is_filled_up(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    backbone = Backbone.from_pretrained(folder)
    assert backbone.features(TEXTS).views == {}
    (hidden,) = tmp_path.rglob("hidden.npy")
    written = hidden.stat().st_mtime_ns
    filled = backbone.features(TEXTS, views=True)
    assert hidden.stat().st_mtime_ns == written
    fresh = backbone.extract_encoded(backbone.encode(TEXTS), views=True)
    np.testing.assert_array_equal(filled.views["layers"], fresh.views["layers"])
    np.testing.assert_array_equal(filled.views["tokens"][:, : fresh.views["tokens"].shape[1]], fresh.views["tokens"])

    def refuse(*_: object) -> None:
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(Backbone, "extract_encoded", refuse)
    np.testing.assert_array_equal(backbone.features(TEXTS, views=True).views["tokens"], filled.views["tokens"])


@pytest.mark.parametrize("kind", tiny.ENCODERS)
def test_layers_are_the_means_of_the_hidden_states_of_transformers(kind):
    model, tokenizer = tiny.model(kind), tiny.tokenizer()
    backbone = Backbone(model, tokenizer)
    features = backbone.extract_encoded(backbone.encode(tiny.TEXTS), views=True)
    ids = [row[row >= 0].tolist() for row in features.views["tokens"]]
    assert ids == [tokenizer(text)["input_ids"] for text in tiny.TEXTS]
    if "layers" not in features.views:
        assert kind == "Albert", "its layers share one module"
        return
    for text, layers in zip(tiny.TEXTS, features.views["layers"], strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1:]
        expected = torch.stack([state[0].mean(0) for state in states])
        np.testing.assert_allclose(layers[0], expected[0], atol=5e-3)
        assert layers.shape == expected.shape


def test_means_leave_out_padding_whatever_it_holds():
    states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]]).bool()
    expected = torch.stack([row[kept].mean(0) for row, kept in zip(states, mask, strict=True)])
    for padding in (0.0, 7.0, torch.nan, torch.inf):
        means = mean_vectors(states.masked_fill(~mask.unsqueeze(-1), padding), token_weights(mask))
        torch.testing.assert_close(means, expected)


def test_a_head_with_views_refuses_features_without_their_inputs(classifier):
    with pytest.raises(ArgumentError, match="reads the layers of a text, which are missing"):
        classifier.predict_features(classifier.features(named(60, 9), views=False))


def test_features_have_the_inputs_of_views_unless_a_fitted_head_has_none(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    classifier, data = UncertainClassifier.from_pretrained(folder), named(400, 2)
    assert set(classifier.features(data).views) == {"layers", "tokens"}
    result = classifier.fit_features(classifier.features(data, views=False), config=QUICK)
    assert not any("views" in candidate.name for candidate in result.summary.candidates)
    assert classifier.features(data).views == {}
    assert classifier.plain_features({"text": data["text"]}).views == {}


def test_a_refit_keeps_the_views(classifier):
    feedback = classifier.features(named(900, 11))
    assert set(feedback.views) == {"layers", "tokens"}, "the head needs them"
    result = refit(classifier, feedback, calibration=classifier.features(named(400, 2)))
    assert any("views" in candidate for candidate in result.classifier.saved.fit["candidates"])


def test_a_listener_without_views_leaves_the_layers_alone(folder):
    backbone = Backbone.from_pretrained(folder)
    outputs = []
    backbone.capture.set_listener(outputs.append)
    batch = backbone.tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    backbone.model(**batch)
    backbone.capture.set_listener(outputs.append, views=True)
    backbone.model(**batch)
    backbone.capture.remove_listener()
    assert [sorted(output.views) for output in outputs] == [[], ["layers", "tokens"]]
    assert not any(part._forward_hooks for part in backbone.model.modules())
