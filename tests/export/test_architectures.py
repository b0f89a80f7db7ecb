"""Every supported architecture, and every task: the code of the guide gives the outputs of the classifier."""

import numpy as np
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import Backbone, MultiLabelBackbone, TokenBackbone
from aligned_entropy.classifier import UncertainMultiLabelClassifier, UncertainTokenClassifier
from aligned_entropy.data import Words
from aligned_entropy.export import export_onnx
from aligned_entropy.features.arrays import Features
from fixtures import tiny
from fixtures.cases import always
from fixtures.onnx_consumer import consumer

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

LONG = " ".join(tiny.WORDS * 3)  # three times the limit of 32 tokens
TEXTS = ["the film is good", "", "bad 😀 film \u00ad", LONG, "   ", "not bad"]
SENTENCES = [text.split() for text in TEXTS if text.split()]
CASES = [*((kind, "one label") for kind in tiny.ARCHITECTURES), ("Bert", "several labels")]
# The graphs of the other architectures are much like one of these.
KEPT = [(kind, "one label") for kind in ("Bert", "DebertaV2", "Llama")]
PAIRS = ("Roberta", "DebertaV2", "Llama")  # graphs on which pairs of texts are compared, too
# One layer halves the time of an export; the layers of these two differ.
LAYERS = {kind: {} if tiny.family(kind) == "ModernBert" else {"num_hidden_layers": 1} for kind in tiny.ARCHITECTURES}


def classifier_of(kind, task):
    """Make a classifier of texts with one label each, or with several."""
    if task == "one label":
        return UncertainClassifier(Backbone(tiny.model(kind, **LAYERS[kind]), tiny.tokenizer_of(kind)))
    model = tiny.model(kind, problem_type="multi_label_classification", **LAYERS[kind])
    return UncertainMultiLabelClassifier(MultiLabelBackbone(model, tiny.tokenizer_of(kind)))


@pytest.mark.parametrize(("kind", "task"), always(*KEPT, of=CASES))
def test_texts(kind, task, tmp_path):
    """Outputs are compared for texts in a batch and alone, and for pairs."""
    classifier = classifier_of(kind, task)
    exported = export_onnx(classifier, tmp_path)
    assert exported.difference < 1e-4
    predict = consumer(tmp_path)["predict"]
    hidden, logits = classifier.backbone.extract(TEXTS)
    expected = classifier.predict_features(Features(hidden, logits))
    alone = [predict([text]) for text in TEXTS]
    if task == "one label" and kind in PAIRS:
        assert exported.inputs == ["input_ids", "attention_mask"]
        check_pairs(classifier, predict)
    for outputs in (predict(TEXTS), {name: np.concatenate([row[name] for row in alone]) for name in alone[0]}):
        np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(outputs["uncertainty"], expected.uncertainty, atol=1e-5)
        assert ("label_uncertainty" in outputs) == (task == "several labels")
        if task == "several labels":
            np.testing.assert_allclose(outputs["label_uncertainty"], expected.label_uncertainty, atol=1e-5)


def test_token_types_of_pairs_are_an_input(tmp_path):
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokens = tiny.tokenizer_of("Bert", model_input_names=names)
    classifier = UncertainClassifier(Backbone(tiny.model("Bert", **LAYERS["Bert"]), tokens))
    assert export_onnx(classifier, tmp_path).inputs == names
    check_pairs(classifier, consumer(tmp_path)["predict"])


def check_pairs(classifier, predict):
    """Compare the outputs of a graph with those of its classifier, for pairs in a batch and alone."""
    pairs = [
        ("the film is good", "bad"),
        (LONG, "not bad"),
        ("not bad", LONG),
        (LONG, LONG),
        ("bad", "the film is good"),
    ]
    expected = classifier.predict(pairs)
    assert expected.truncated.tolist() == [False, True, True, True, False]
    alone = np.concatenate([predict([pair])["uncertainty"] for pair in pairs])
    for uncertainty in (predict(pairs)["uncertainty"], alone):
        np.testing.assert_allclose(uncertainty, expected.uncertainty, atol=1e-5)
    assert abs(expected.uncertainty[0] - expected.uncertainty[4]) > 1e-4  # the order of the texts counts


@pytest.mark.parametrize("kind", always("Bert", of=tiny.ARCHITECTURES))
def test_words(kind, tmp_path):
    """Outputs of real tokens alone are compared, for sentences in one window and in several."""
    model = tiny.token_classifier(kind, **LAYERS[kind])
    classifier = UncertainTokenClassifier(TokenBackbone(model, tiny.tokenizer_of(kind)))
    assert export_onnx(classifier, tmp_path).difference < 1e-4
    outputs = consumer(tmp_path)["predict_words"](SENTENCES)
    hidden, logits = classifier.backbone.extract(Words(SENTENCES))
    uncertainty = classifier.predict_features(Features(hidden, logits)).uncertainty
    np.testing.assert_allclose(np.concatenate([row["logits"] for row in outputs]), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([row["uncertainty"] for row in outputs]), uncertainty, atol=1e-5)
