"""The pages in docs/ that show how something is done: their code runs, in order, as it is written."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fixtures import tiny

# Tiny models know nothing, and the labels are random.
pytestmark = pytest.mark.filterwarnings("ignore:.*check that the labels are in the model's order:UserWarning")

DOCS = Path(__file__).parent.parent / "docs"
CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
RNG = np.random.default_rng(0)
WORDS = [RNG.choice(tiny.WORDS, 5).tolist() for _ in range(120)]


def run(page, tmp_path, monkeypatch):
    """The code blocks of a page, in a folder where its models and files lie; returns what they leave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 1
    namespace = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
    return namespace


def save(model, tokenizer, name):
    model.save_pretrained(name)
    tokenizer.save_pretrained(name)


def test_label_words(tmp_path, monkeypatch, capsys):
    save(tiny.language_model("Qwen3"), tiny.subwords(chat_template=CHAT), tmp_path / "Qwen" / "Qwen3-0.6B")
    for name in ("held-out", "test"):
        lines = [f"{' '.join(words)},{RNG.choice(['negative', 'positive'])}" for words in WORDS]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    left = run("label-words.md", tmp_path, monkeypatch)
    assert left["classifier"].backbone.prompts.chat
    assert "contextual calibration" in capsys.readouterr().out


def test_words(tmp_path, monkeypatch, capsys):
    save(tiny.token_classifier("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "token-classifier")
    for name in ("held-out", "test"):
        lines = ["\n".join([*(f"{word} {RNG.choice(['O', 'B-X', 'I-X'])}" for word in words), ""]) for words in WORDS]
        (tmp_path / f"{name}.conll").write_text("\n".join(lines))
    left = run("token-classification.md", tmp_path, monkeypatch)
    assert (tmp_path / "my-token-head" / "head.safetensors").exists()
    assert left["report"].counts.missed > 0
    assert "errors in 120 sentences" in capsys.readouterr().out


def test_many_labels(tmp_path, monkeypatch, capsys):
    problem = {"problem_type": "multi_label_classification"}
    save(tiny.model("Bert", **problem), tiny.tokenizer(), tmp_path / "my-org" / "labels")
    for name in ("held-out", "test"):
        rows = [{"text": " ".join(words), "labels": np.flatnonzero(RNG.random(3) < 0.5).tolist()} for words in WORDS]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    left = run("multi-label.md", tmp_path, monkeypatch)
    assert 0 < left["row"].error_probability < 1
    assert "errors in 360 answers" in capsys.readouterr().out


def test_thresholds(tmp_path, monkeypatch, capsys):
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    for name in ("held-out", "more-held-out", "test", "other"):
        words = [RNG.choice(tiny.WORDS, 5) for _ in range(120)]
        lines = [f"{' '.join(own)},{RNG.choice(['LABEL_0', 'LABEL_1', 'LABEL_2'])}" for own in words]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    left = run("selective-prediction.md", tmp_path, monkeypatch)
    assert left["predictions"].accepted.shape == (2,)
    said = capsys.readouterr().out
    assert "80 % of the predictions accepted" in said
    assert "No threshold could be certified" in said
    assert "out-of-distribution: 120 texts" in said


def test_deploy(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    lines = [f"{' '.join(own)},{RNG.choice(['LABEL_0', 'LABEL_1', 'LABEL_2'])}" for own in WORDS]
    (tmp_path / "held-out.csv").write_text("\n".join(["text,label", *lines]))
    left = run("onnx-export.md", tmp_path, monkeypatch)
    expected = left["classifier"].predict(["the film is good", "not bad"])
    assert left["logits"].argmax(1).tolist() == expected.classes.tolist()
    np.testing.assert_allclose(left["uncertainty"], expected.uncertainty, atol=1e-5)
