"""Models with one logit, the log-odds of yes: classifiers of two classes, by every way of running them."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, BertForTokenClassification, pipeline

from aligned_entropy import FitConfig, GainPrior, Goal, UncertainClassifier, UnsupportedModelError, register_pipeline
from aligned_entropy.backbones import Backbone, TokenBackbone
from aligned_entropy.head.head import AlignedEntropyHead
from fixtures import sentiment, tiny
from fixtures.onnx_consumer import consumer
from fixtures.sentiment import named

TEXTS = named(60, 9)["text"]
QUICK = FitConfig(folds=3, betas=(300.0,), gain_prior=GainPrior(0.5, 0.5))  # a gain by views is expected
CLOSE = {"rtol": 0, "atol": 1e-5}


def one_logit(model, name="LABEL_0"):
    """Turn a trained classifier of two classes into one of the difference of its logits."""
    two = model.classifier
    model.classifier = torch.nn.Linear(two.in_features, 1)
    with torch.no_grad():
        model.classifier.weight.copy_(two.weight[1:] - two.weight[:1])
        model.classifier.bias.copy_(two.bias[1:] - two.bias[:1])
    model.num_labels = model.config.num_labels = 1
    model.config.problem_type = None
    model.config.id2label, model.config.label2id = {0: name}, {name: 0}
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a model with two logits, and of the same with one logit."""
    parent = tmp_path_factory.mktemp("models")
    two = sentiment.save(parent / "two")
    one = one_logit(AutoModelForSequenceClassification.from_pretrained(two))
    one.save_pretrained(parent / "one")
    sentiment.tokenizer().save_pretrained(parent / "one")
    return two, parent / "one"


def labeled(count, seed):
    data = named(count, seed)
    return {"text": data["text"], "label": [sentiment.NAMES.index(name) for name in data["label"]]}


@pytest.fixture(scope="module")
def fitted(folders, tmp_path_factory):
    """Model with one logit and its head, with a threshold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier = UncertainClassifier.from_pretrained(folders[1])
        classifier.fit(labeled(400, 2), config=QUICK)
        classifier.choose_threshold(labeled(300, 5), Goal(coverage=0.7))
    assert classifier.head.views
    return classifier


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Electra", "DistilBert", "MPNet", "ModernBert", "Llama", "Qwen3"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_untrained_score_is_the_entropy_of_yes_and_no(kind, side):
    model = tiny.model(kind, num_labels=1)
    tokenizer = tiny.tokenizer("decoder" if kind in tiny.DECODERS else "encoder", padding_side=side)
    backbone = Backbone(model, tokenizer)
    with torch.inference_mode():
        z = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits[:, 0] for text in tiny.TEXTS])
    hidden, logits = backbone.extract(tiny.TEXTS)
    np.testing.assert_allclose(logits, torch.stack([torch.zeros_like(z), z], 1), **CLOSE)
    assert backbone.label_names == ["LABEL_0", "LABEL_1"]
    p = z.double().sigmoid()
    expected = -(p * p.log2() + (1 - p) * (1 - p).log2())
    head = AlignedEntropyHead(backbone.copy_classification_module())
    torch.testing.assert_close(head(torch.tensor(hidden)).double(), expected, **CLOSE)
    predictions = UncertainClassifier(backbone).predict(tiny.TEXTS)
    assert list(predictions.labels) == ["LABEL_1" if logit > 0 else "LABEL_0" for logit in z]
    np.testing.assert_allclose(predictions.uncertainty, expected, **CLOSE)


def test_a_head_is_that_of_the_model_with_two_logits(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    found = []
    for folder, data in zip(folders, (named(400, 2), labeled(400, 2)), strict=True):
        classifier = UncertainClassifier.from_pretrained(folder)
        found.append([classifier.predict(TEXTS).probabilities, classifier.predict(TEXTS).uncertainty])
        classifier.fit(data, config=FitConfig(folds=3, betas=(), error_model=False))
        found[-1].append(classifier.predict(TEXTS).error_probability)
    for two, one in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, **CLOSE)


def test_all_ways_of_running_the_model_give_the_same_uncertainty(fitted, folders, tmp_path):
    expected = fitted.predict(TEXTS)
    attached = tiny.attached_output(fitted, TEXTS)
    assert attached.logits.shape == (60, 1), "the model is as it was"
    np.testing.assert_allclose(attached.uncertainty, expected.uncertainty, **CLOSE)
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(folders[1], head=tmp_path / "head").predict(TEXTS)
    np.testing.assert_array_equal(again.uncertainty, expected.uncertainty)
    register_pipeline()
    run = pipeline("uncertain-text-classification", model=str(folders[1]), head=tmp_path / "head", device="cpu")
    rows = run(TEXTS)
    assert [row["label"] for row in rows] == list(expected.labels)
    np.testing.assert_allclose([row["score"] for row in rows], expected.probabilities.max(1), **CLOSE)
    np.testing.assert_allclose([row["uncertainty"] for row in rows], expected.uncertainty, **CLOSE)
    assert [row["accepted"] for row in rows] == expected.accepted.tolist()
    both = run(TEXTS[0], top_k=None)
    assert {row["label"] for row in both} == {"LABEL_0", "LABEL_1"}
    assert sum(row["score"] for row in both) == pytest.approx(1)


@pytest.mark.exhaustive  # an export takes seconds
def test_an_exported_graph_has_the_logits_of_both_classes(fitted, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from aligned_entropy.export import export_onnx

    export_onnx(fitted, tmp_path)
    outputs = consumer(tmp_path)["predict"](TEXTS)
    expected = fitted.predict(TEXTS)
    np.testing.assert_allclose(outputs["uncertainty"], expected.uncertainty, **CLOSE)
    assert outputs["logits"].shape == (60, 2)


@pytest.mark.parametrize("activation", ["torch.nn.modules.activation.Sigmoid", None])
def test_a_cross_encoder_with_a_sigmoid_is_a_classifier(folders, tmp_path, activation):
    model = AutoModelForSequenceClassification.from_pretrained(folders[1])
    model.config.sentence_transformers = {"activation_fn": activation, "version": "5.1.0"}
    model.save_pretrained(tmp_path)
    sentiment.tokenizer().save_pretrained(tmp_path)
    assert UncertainClassifier.from_pretrained(tmp_path).label_names == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"problem_type": "regression"},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.1.0"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
    ],
)
def test_a_regression_model_is_refused_unless_the_user_says_that_it_is_none(folders, tmp_path, settings):
    model = AutoModelForSequenceClassification.from_pretrained(folders[1])
    model.save_pretrained(tmp_path)
    sentiment.tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(UnsupportedModelError, match=r"regression model, .* pass task='text-classification' \(in the"):
        UncertainClassifier.from_pretrained(tmp_path)
    classifier = UncertainClassifier.from_pretrained(tmp_path, task="text-classification")
    expected = UncertainClassifier.from_pretrained(folders[1]).predict(TEXTS)
    np.testing.assert_allclose(classifier.predict(TEXTS).probabilities, expected.probabilities, **CLOSE)


def test_the_class_of_the_logit_may_have_a_name(folders):
    model = one_logit(AutoModelForSequenceClassification.from_pretrained(folders[0]), "positive")
    classifier = UncertainClassifier(Backbone(model, sentiment.tokenizer()))
    assert classifier.label_names == ["not positive", "positive"]
    assert set(classifier.predict(TEXTS).labels) == {"not positive", "positive"}


def test_an_adapter_of_a_model_with_one_logit(folders):
    model = AutoModelForSequenceClassification.from_pretrained(folders[1])
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")).eval()
    with torch.no_grad():
        adapted.base_model.model.classifier.modules_to_save["default"].weight.mul_(2)
    classifier = UncertainClassifier(Backbone(adapted, sentiment.tokenizer()))
    inputs = classifier.backbone.pad(classifier.backbone.tokenize(TEXTS))
    with torch.inference_mode():
        z = adapted(**inputs).logits[:, 0]
    np.testing.assert_allclose(classifier.predict(TEXTS).probabilities[:, 1], z.sigmoid(), **CLOSE)


def test_a_token_classifier_needs_two_logits():
    model = BertForTokenClassification(tiny.config("Bert", num_labels=1))
    with pytest.raises(UnsupportedModelError, match=r"1 label\(s\), but a classifier of one label a text or token"):
        TokenBackbone(model, tiny.tokenizer())
