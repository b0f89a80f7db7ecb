"""Model and head as one ONNX graph: the same answers in ONNX Runtime, of every kind of classifier."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from aligned_entropy import FitConfig, MissingExtraError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, MultiLabelBackbone
from aligned_entropy.classifier import UncertainMultiLabelClassifier
from aligned_entropy.export import export_onnx
from aligned_entropy.saved.format import load_head
from aligned_entropy.selective import Goal, Rule
from fixtures import sentiment, tiny
from fixtures.command_line import in_process
from fixtures.multilabel_models import NAMES as LABELS
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named

QUICK = FitConfig(folds=3, betas=())
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")


def run(folder, texts):
    """What someone does who has the folder, ONNX Runtime and a tokenizer, and not this library."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cut = {"truncation": True, "max_length": config["max_length"]}
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="np", **cut)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    wanted = {own.name for own in session.get_inputs()}
    given = {name: batch[name].astype(np.int64) for name in config["inputs"] if name in wanted}
    return dict(zip(config["outputs"], session.run(config["outputs"], given), strict=True)), config


def test_a_head_with_all_that_it_can_have(tmp_path):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path / "model"))
    classifier.fit(named(400, 2), reference=named(300, 4), config=QUICK)
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    classifier.save_pretrained(tmp_path / "head")
    module = classifier.backbone.copy_classification_module()
    assert len(load_head(tmp_path / "head", module).head.error_model.references)
    done = in_process("export", tmp_path / "model", "--head", tmp_path / "head", "-o", tmp_path / "graph")
    assert done.exit_code == 0, done.output
    texts = named(30, 9)["text"]
    found, config = run(tmp_path / "graph", texts)
    expected = classifier.predict(texts)
    assert np.array_equal(found["logits"].argmax(1), expected.classes)
    np.testing.assert_allclose(found["uncertainty"], expected.uncertainty, atol=1e-5)
    np.testing.assert_allclose(found["error_probability"], expected.error_probability, atol=1e-5)
    assert config["labels"] == sentiment.NAMES
    assert Rule.from_dict(config["rule"]).accepts(found["uncertainty"], expected.labels).tolist() == (
        expected.accepted.tolist()
    )


def test_a_decoder_that_names_no_padding_token(tmp_path):
    model = tiny.stir(tiny.model("Qwen3")).eval()
    model.config.pad_token_id = None
    classifier = UncertainClassifier(Backbone(model, tiny.tokenizer("decoder")))
    done = export_onnx(classifier, tmp_path)
    assert done.difference < 1e-4
    assert model.config.pad_token_id is None
    found, _ = run(tmp_path, tiny.TEXTS)
    np.testing.assert_allclose(found["uncertainty"], classifier.predict(tiny.TEXTS).uncertainty, atol=1e-5)
    assert done.outputs == ["logits", "uncertainty"]


def test_words(token_model_folder, tmp_path):
    tagger = UncertainClassifier.from_pretrained(token_model_folder)
    export_onnx(tagger, tmp_path / "words")
    found, _ = run(tmp_path / "words", [tiny.TEXTS[0]])
    words = tagger.predict([tiny.TEXTS[0]])[0].words
    inside = found["uncertainty"][0, 1 : 1 + len(words)]
    np.testing.assert_allclose(inside, words.uncertainty, atol=1e-5)


def test_many_labels(tmp_path):
    """A trained tiny model has a few vectors for all texts: which are nearest would be for rounding to say."""
    named = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(LABELS))}
    many = UncertainMultiLabelClassifier(MultiLabelBackbone(tiny.model("Bert", **named), tiny.tokenizer()))
    with pytest.warns(UserWarning, match="less than by guessing"):
        many.fit(multilabel_texts(300, 2))
    assert len(many.head.error_model.references)
    export_onnx(many, tmp_path / "labels")
    texts = multilabel_texts(20, 5)["text"]
    found, expected = run(tmp_path / "labels", texts)[0], many.predict(texts)
    np.testing.assert_allclose(found["uncertainty"], expected.uncertainty, atol=1e-5)
    np.testing.assert_allclose(found["label_uncertainty"], expected.label_uncertainty, atol=1e-5)


def test_eight_bits_are_told_what_they_change(tmp_path, token_model_folder, monkeypatch):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path / "model"))
    classifier.fit(named(400, 2), config=QUICK)
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    classifier.save_pretrained(tmp_path / "head")
    texts = named(200, 9)["text"]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = ["export", tmp_path / "model", "--head", tmp_path / "head", "-o", tmp_path / "graph"]
    done = in_process(*arguments, "--int8", tmp_path / "texts.jsonl", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)["int8"]
    found, config = run(tmp_path / "graph", texts)
    expected = classifier.predict(texts)
    apart = found["logits"] - classifier.backbone.extract(texts)[1]
    assert 0 < np.abs(apart).max() < 1, "these are not the logits of float32, but near them"
    assert said["answers"] == 200
    # A batch has one scale for its activations, so that other batches give slightly other numbers.
    assert said["changed"] == pytest.approx(np.mean(found["logits"].argmax(1) != expected.classes), abs=0.02)
    assert said["correlation"] == pytest.approx(spearmanr(found["uncertainty"], expected.uncertainty)[0], abs=0.01)
    assert config["rule"] is None
    stored = {str(node.op_type) for node in onnx.load(tmp_path / "graph" / "model.onnx").graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= stored

    monkeypatch.setattr("aligned_entropy.export._bytes", lambda module: 2**31)  # weights in a file of their own
    words = UncertainClassifier.from_pretrained(token_model_folder)
    change = export_onnx(words, tmp_path / "words", tiny.TEXTS).int8
    tokens = sum(len(ids) for ids in words.backbone.tokenizer(tiny.TEXTS)["input_ids"])
    assert change.answers == tokens
    assert (tmp_path / "words" / "model.onnx.data").is_file()
    assert change.correlation > 0.9


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    folder = sentiment.save(tmp_path / "model")
    half = UncertainClassifier.from_pretrained(folder, dtype=torch.bfloat16)
    with pytest.raises(UnsupportedModelError, match=r"in torch.bfloat16: load it with dtype=torch.float32"):
        export_onnx(half, tmp_path / "graph")
    monkeypatch.setattr("aligned_entropy.export.TOLERANCE", -1.0)
    with pytest.raises(UnsupportedModelError, match="does not answer as the model does"):
        export_onnx(UncertainClassifier.from_pretrained(folder), tmp_path / "graph")
    assert not (tmp_path / "graph" / "model.onnx").exists()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"aligned-entropy\[onnx\]"):
        export_onnx(half, tmp_path / "graph")
