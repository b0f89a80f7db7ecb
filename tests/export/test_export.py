"""Export of model and head as one ONNX graph: ONNX Runtime computes the same outputs, for every task."""

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from scipy.stats import spearmanr

from aligned_entropy import FitConfig, MissingExtraError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, MultiLabelBackbone
from aligned_entropy.classifier import UncertainMultiLabelClassifier
from aligned_entropy.export import check_exportable_head, export_onnx
from aligned_entropy.head import selection
from aligned_entropy.saved.format import load_head
from aligned_entropy.selective import Goal, Rule
from fixtures import sentiment, tiny
from fixtures.command_line import in_process
from fixtures.multilabel_models import NAMES as LABELS
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.onnx_consumer import consumer
from fixtures.sentiment import named

QUICK = FitConfig(folds=3, betas=())
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")


def run(folder, texts):
    """Outputs of an exported graph by name, from the code of the guide, and the settings of the folder."""
    functions = consumer(folder)
    return functions["predict"](texts), functions["config"]


def test_a_head_with_reference_vectors_and_threshold(tmp_path):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path / "model"))
    classifier.fit(named(400, 2), reference=named(300, 4), config=QUICK)
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    classifier.save_pretrained(tmp_path / "head")
    module = classifier.backbone.copy_classification_module()
    assert len(load_head(tmp_path / "head", module).head.error_model.references)
    done = in_process("export", tmp_path / "model", "--head", tmp_path / "head", "-o", tmp_path / "graph")
    assert done.exit_code == 0, done.output
    last_line = done.stdout.splitlines()[-1]
    assert re.match(r"saved: .*model.onnx \(\d+\.\d MB\) and its tokenizer. .* by at most \d\.\de-0\d\. Run", last_line)
    assert "torchvision" not in done.output
    texts = named(30, 9)["text"]
    outputs, config = run(tmp_path / "graph", texts)
    expected = classifier.predict(texts)
    assert np.array_equal(outputs["logits"].argmax(1), expected.classes)
    np.testing.assert_allclose(outputs["uncertainty"], expected.uncertainty, atol=1e-5)
    np.testing.assert_allclose(outputs["error_probability"], expected.error_probability, atol=1e-5)
    assert config["labels"] == sentiment.NAMES
    assert Rule.from_dict(config["rule"]).accepts(outputs["uncertainty"], expected.labels).tolist() == (
        expected.accepted.tolist()
    )


def test_a_decoder_without_a_padding_token(tmp_path):
    model = tiny.stir(tiny.model("Qwen3", num_hidden_layers=1)).eval()
    model.config.pad_token_id = None
    classifier = UncertainClassifier(Backbone(model, tiny.tokenizer("decoder")))
    stages = []
    exported = export_onnx(classifier, tmp_path, stage=lambda description: nullcontext(stages.append(description)))
    assert stages == ["exporting the graph", "checking the graph on 6 texts"]
    assert exported.difference < 1e-4
    assert model.config.pad_token_id is None
    outputs, _ = run(tmp_path, tiny.TEXTS)
    np.testing.assert_allclose(outputs["uncertainty"], classifier.predict(tiny.TEXTS).uncertainty, atol=1e-5)
    assert exported.outputs == ["logits", "uncertainty"]


def test_multi_label_classification(tmp_path, monkeypatch):
    """An untrained model: a trained tiny one has few distinct vectors, so rounding would choose the neighbors."""
    options = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(LABELS))}
    classifier = UncertainMultiLabelClassifier(MultiLabelBackbone(tiny.model("Bert", **options), tiny.tokenizer()))
    monkeypatch.setattr(selection, "_finds_errors", lambda *_: True)  # an untrained model's errors are noise
    with pytest.warns(UserWarning, match="less than by guessing"):
        classifier.fit(multilabel_texts(300, 2))
    assert len(classifier.head.error_model.references)
    export_onnx(classifier, tmp_path / "labels")
    texts = multilabel_texts(20, 5)["text"]
    outputs, expected = run(tmp_path / "labels", texts)[0], classifier.predict(texts)
    np.testing.assert_allclose(outputs["uncertainty"], expected.uncertainty, atol=1e-5)
    np.testing.assert_allclose(outputs["label_uncertainty"], expected.label_uncertainty, atol=1e-5)


def test_the_effect_of_8_bit_quantization_is_measured(tmp_path, token_model_folder, monkeypatch):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path / "model"))
    classifier.fit(named(400, 2), config=QUICK)
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    classifier.save_pretrained(tmp_path / "head")
    texts = named(200, 9)["text"]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = ["export", tmp_path / "model", "--head", tmp_path / "head", "-o", tmp_path / "graph"]
    done = in_process(*arguments, "--int8", tmp_path / "texts.jsonl", "--json")
    assert done.exit_code == 0, done.output
    effect = json.loads(done.stdout)["int8"]
    outputs, config = run(tmp_path / "graph", texts)
    expected = classifier.predict(texts)
    difference = outputs["logits"] - classifier.backbone.extract(texts)[1]
    assert 0 < np.abs(difference).max() < 1, "the logits must be close to those in float32, but not equal"
    assert effect["answers"] == 200
    # All activations of a batch share one scale, so numbers depend slightly on the batches.
    assert effect["changed"] == pytest.approx(np.mean(outputs["logits"].argmax(1) != expected.classes), abs=0.02)
    assert effect["correlation"] == pytest.approx(spearmanr(outputs["uncertainty"], expected.uncertainty)[0], abs=0.01)
    assert config["rule"] is None
    stored = {str(node.op_type) for node in onnx.load(tmp_path / "graph" / "model.onnx").graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= stored

    monkeypatch.setattr("aligned_entropy.export.graph.MAX_BYTES", 0)  # weights in a separate file
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    effect = export_onnx(classifier, tmp_path / "words", tiny.TEXTS).int8
    tokens = sum(len(ids) for ids in classifier.backbone.tokenizer(tiny.TEXTS)["input_ids"])
    assert effect.predictions == tokens
    assert (tmp_path / "words" / "model.onnx.data").is_file()
    assert effect.rank_correlation > 0.9


def test_a_model_that_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    """Nothing is written, and no graph is made."""
    folder = sentiment.save(tmp_path / "model")
    half = UncertainClassifier.from_pretrained(folder, dtype=torch.bfloat16)
    refused = {"in torch.bfloat16 .*: load it with dtype=torch.float32": half}
    mixed = UncertainClassifier.from_pretrained(folder)
    mixed.backbone.inner.classifier.to(torch.float16)
    refused["in torch.float16 .classifier.weight.: load it with"] = mixed
    quantized = UncertainClassifier.from_pretrained(folder)
    quantized.backbone.config.quantization_config = {"quant_method": "bitsandbytes"}
    refused["a quantized model cannot be exported: load the original weights"] = quantized
    model = get_peft_model(tiny.model("Bert"), PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2))
    refused["learned prompt .adapter 'default', PROMPT_TUNING. cannot"] = UncertainClassifier(
        Backbone(model, tiny.tokenizer(), max_length=20)
    )
    for message, classifier in refused.items():
        with pytest.raises(UnsupportedModelError, match=message):
            export_onnx(classifier, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"aligned-entropy\[onnx\]"):
        export_onnx(half, tmp_path / "graph")


def test_a_head_without_a_model_is_refused_with_what_to_do(tmp_path):
    classifier = UncertainClassifier.from_outputs(["a", "b"])
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    classifier.fit({"logits": rng.normal(size=(200, 2)), "label": [classifier.label_names[row] for row in labels]})
    classifier.save_pretrained(tmp_path / "head")
    message = "a head for outputs from elsewhere cannot be exported, .* serve the head with alien serve --head HEAD, or"
    with pytest.raises(UnsupportedModelError, match=message):
        export_onnx(classifier, tmp_path / "graph")
    with pytest.raises(UnsupportedModelError, match=message):
        check_exportable_head(tmp_path / "head")
    assert not (tmp_path / "graph").exists()


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.export.export.TOLERANCE", -1.0)
    monkeypatch.setattr("aligned_entropy.export.graph.MAX_BYTES", 0)  # weights in a file of their own
    (tmp_path / "note.txt").write_text("stays")
    with pytest.raises(UnsupportedModelError, match="outputs of the graph differ from those of the model"):
        export_onnx(UncertainClassifier(Backbone(tiny.model("Bert", num_hidden_layers=1), tiny.tokenizer())), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_an_export_writes_nothing_to_the_home_folder_of_the_user(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "import aligned_entropy.export, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=300)
    assert not list(tmp_path.rglob("*onnxruntime*"))
