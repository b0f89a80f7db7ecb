"""Tests that run the code of the guides in docs/, block by block, as it is written."""

import json
import shlex
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from aligned_entropy import UncertainClassifier
from fixtures import endpoint, sentiment, tiny
from fixtures.command_line import in_process
from fixtures.embedding import embeddings, flawed, save_body, save_head
from fixtures.guides import RNG, blocks_of, run, save, sections, sentences
from fixtures.objects import batch_line, completion, label_object, write_lines
from fixtures.serving import serving

# The models are untrained and the labels random, so the warning about the order of the labels is expected.
pytestmark = [
    pytest.mark.usefixtures("same_numbers"),
    pytest.mark.filterwarnings("ignore:.*check that the labels are in the model's order:UserWarning"),
]

CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def test_label_words(tmp_path, monkeypatch, capsys):
    save(tiny.language_model("Qwen3"), tiny.subwords(chat_template=CHAT), tmp_path / "Qwen" / "Qwen3-0.6B")
    for name in ("held-out", "test"):
        lines = [f"{' '.join(words)},{RNG.choice(['negative', 'positive'])}" for words in sentences()]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    variables = run("label-words.md", tmp_path, monkeypatch)
    assert variables["classifier"].backbone.prompts.chat
    assert "contextual calibration" in capsys.readouterr().out


def test_endpoints(tmp_path, monkeypatch, capsys):
    save(tiny.model("Bert").bert, tiny.tokenizer(), tmp_path / "minilm")
    with endpoint.serving() as server:
        for seed, name in enumerate(("held-out", "more-held-out", "test")):
            rows = zip(*server.labeled(120, seed).values(), strict=True)
            lines = [f"{text},{label}" for text, label in rows]
            (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
        replaced = [("http://127.0.0.1:8080/v1", server.url), ('"minilm"', '"./minilm"')]
        variables = run("endpoints.md", tmp_path, monkeypatch, replaced)
    assert variables["predictions"].accepted.shape == (2,)
    assert variables["classifier"].backbone.prompts.chat
    assert any("response_format" in body for _, _, body in server.requests)
    assert server.requests[-1][2]["chat_template_kwargs"] == {"enable_thinking": False}
    printed = capsys.readouterr().out
    assert "contextual calibration" in printed
    assert "of the probability fell on no label" in printed


def test_pairs(tmp_path, monkeypatch, capsys):
    names = ["contradiction", "entailment", "neutral"]
    model = tiny.model("DebertaV2", id2label=dict(enumerate(names)), label2id={name: k for k, name in enumerate(names)})
    save(model, tiny.tokenizer(), tmp_path / "cross-encoder" / "nli-deberta-v3-small")
    for name in ("held-out", "test"):
        rows = zip(sentences(), sentences(), strict=True)
        lines = [f"{' '.join(first)},{' '.join(second)},{RNG.choice(names)}" for first, second in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(["premise,hypothesis,label", *lines]))
    variables = run("pairs.md", tmp_path, monkeypatch)
    assert variables["classifier"].predict(variables["pairs"]).labels.shape == (2,)
    assert "aligned entropy" in capsys.readouterr().out


def test_token_classification(tmp_path, monkeypatch, capsys):
    save(tiny.token_classifier("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "token-classifier")
    for name in ("held-out", "test"):
        lines = [
            "\n".join([*(f"{word} {RNG.choice(['O', 'B-X', 'I-X'])}" for word in words), ""]) for words in sentences()
        ]
        (tmp_path / f"{name}.conll").write_text("\n".join(lines))
    variables = run("token-classification.md", tmp_path, monkeypatch)
    assert (tmp_path / "my-token-head" / "head.safetensors").exists()
    assert variables["report"].counts.missed > 0
    assert "errors in 120 sentences" in capsys.readouterr().out


def test_multi_label(tmp_path, monkeypatch, capsys):
    problem = {"problem_type": "multi_label_classification"}
    save(tiny.model("Bert", **problem), tiny.tokenizer(), tmp_path / "my-org" / "labels")
    for name in ("held-out", "test"):
        rows = [
            {"text": " ".join(words), "labels": np.flatnonzero(RNG.random(3) < 0.5).tolist()} for words in sentences()
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    variables = run("multi-label.md", tmp_path, monkeypatch)
    assert 0 < variables["row"].error_probability < 1
    assert "errors in 360 predictions" in capsys.readouterr().out


def test_onnx_export(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    lines = [f"{' '.join(row)},{RNG.choice(['LABEL_0', 'LABEL_1', 'LABEL_2'])}" for row in sentences()]
    (tmp_path / "held-out.csv").write_text("\n".join(["text,label", *lines]))
    variables = run("onnx-export.md", tmp_path, monkeypatch)
    expected = variables["classifier"].predict(["the film is good", "not bad"])
    assert variables["outputs"]["logits"].argmax(1).tolist() == expected.classes.tolist()
    np.testing.assert_allclose(variables["outputs"]["uncertainty"], expected.uncertainty, atol=1e-5)


def test_setfit(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sentence_transformers", reason="needs the extra setfit")
    texts, labels = sentiment.texts(100, 1)
    head = save_head(save_body(tmp_path / "my-setfit-model"), texts, labels, names=sentiment.NAMES)
    for name, seed in (("held-out", 2), ("test", 3)):
        rows = zip(*flawed(120, seed).values(), strict=True)
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]))
    variables = run("setfit.md", tmp_path, monkeypatch)
    vectors = embeddings(tmp_path / "my-setfit-model", ["a warm and great film"])
    np.testing.assert_allclose(variables["row"].probabilities, head.predict_proba(vectors)[0], atol=1e-5)
    assert (tmp_path / "my-setfit-head" / "head.safetensors").exists()
    assert "aligned entropy" in capsys.readouterr().out


def test_outputs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    topics = {"autos": ["car", "road", "wheel"], "space": ["orbit", "moon", "car"], "windows": ["file", "card", "moon"]}
    (tmp_path / "20newsgroups").mkdir()
    for split, count in (("train", 200), ("validation", 200), ("test", 400)):
        lines = [
            f"{' '.join(RNG.choice(topics[topic if RNG.random() < 0.7 else 'space'], 3))} no{split}{row},{topic}"
            for row, topic in enumerate(RNG.choice(list(topics), count))
        ]
        (tmp_path / "20newsgroups" / f"{split}.csv").write_text("\n".join(["text,label", *lines]))
    labels, tokens, objects = {}, [], []
    for row in range(200):
        p = float(np.clip(RNG.beta(0.6, 0.6), 0.02, 0.98))
        labels[str(row)] = "positive" if RNG.random() < p else "negative"
        words = {"negative": 0.9 * (1 - p), "positive": 0.9 * p}
        token = (max(words, key=words.get), words | {"The": 0.05})
        tokens.append(batch_line(row, completion(token)) | {"custom_id": str(row)})
        objects.append(batch_line(row, label_object("label", words)) | {"custom_id": str(row)})
    write_lines(tmp_path / "batch-results.jsonl", tokens)
    write_lines(tmp_path / "json-results.jsonl", objects)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    headings = [heading for heading in sections("outputs.md") if heading != "spaCy"]
    variables = run("outputs.md", tmp_path, monkeypatch, headings=headings)
    assert variables["rule"].goal.risk == 0.1
    predictions = variables["classifier"].predict("json-results.jsonl")
    assert len(predictions) == variables["classifier"].saved.fit["examples"] == 200
    assert ((predictions.error_probability > 0) & (predictions.error_probability < 1)).all()
    assert "errors in 200 texts" in capsys.readouterr().out


def test_outputs_of_spacy(tmp_path, monkeypatch):
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
    words = {"network": ["cable", "router", "wifi", "paper"], "printer": ["ink", "tray", "paper", "cable"]}

    def tickets(count):
        """Texts of words of a topic; a tenth of the labels are wrong."""
        topics = RNG.choice(list(words), count)
        texts = [" ".join(RNG.choice([*words[topic], *tiny.WORDS[:4]], 4)) for topic in topics]
        return texts, [RNG.choice(list(words)) if RNG.random() < 0.2 else str(topic) for topic in topics]

    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe("textcat")
    texts, labels = tickets(200)
    categories = [{"cats": {topic: float(topic == label) for topic in words}} for label in labels]
    examples = list(map(spacy.training.Example.from_dict, map(nlp.make_doc, texts), categories))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    assert set(textcat.labels) == set(words)
    nlp.to_disk(tmp_path / "ticket-model")
    texts, labels = tickets(300)
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "tickets.csv", index=False)
    variables = run("outputs.md", tmp_path, monkeypatch, headings=["spaCy"])
    triage, topics = variables["triage"], variables["topics"]
    expected = [[nlp(text).cats[topic] for topic in topics] for text in texts]
    assert np.std(np.array(expected)[:, 0]) > 0.1
    errors = np.array(topics)[np.argmax(expected, 1)] != np.array(labels)
    assert (triage.saved.fit["examples"], triage.saved.fit["errors"]) == (300, errors.sum())
    assert 15 < errors.sum() < 120
    predictions = triage.predict(variables["outputs_of_spacy"](texts))
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-5)
    assert np.std(predictions.error_probability) > 0.01


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl on the path")
def test_commands_and_server_for_outputs(tmp_path, monkeypatch):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    monkeypatch.chdir(tmp_path)
    text = sections("outputs.md")
    for name in ("held-out", "more-held-out", "test", "feedback", "new"):
        p = RNG.beta(0.3, 0.3, 900).clip(0.001, 0.999)
        logits = np.log(np.stack([1 - p, p], 1))
        labels = np.where(RNG.random(900) < p, "positive", "negative")
        rows = pd.DataFrame({"logits": logits.tolist(), "label": labels})
        rows.to_json(f"{name}.jsonl", orient="records", lines=True)
    rows.to_parquet("new.parquet")
    lines = []
    for row, p in enumerate(RNG.beta(0.6, 0.6, 300).clip(0.02, 0.98)):
        reply = label_object("label", {"negative": 0.9 * (1 - p), "positive": 0.9 * p})
        lines.append(batch_line(row, reply) | {"label": "positive" if RNG.random() < p else "negative"})
    write_lines(tmp_path / "labeled-results.jsonl", lines)
    (commands,) = blocks_of(text["Command line"], "bash")
    for line in commands.splitlines():
        program, command, *words = shlex.split(line)
        done = in_process(command, *words)
        assert program == "alien"
        assert done.exit_code == 0 or "the new head is not clearly better" in done.stderr, done.output
    serve, request = blocks_of(text["A server next to any model server"], "bash")
    program, command, *words = shlex.split(serve)
    assert (program, command) == ("alien", "serve")
    with serving(*words, log=tmp_path / "log") as (_, _, address):
        request = request.replace("localhost:8000", address.removeprefix("http://"))
        reply = subprocess.run(["bash", "-c", request], capture_output=True, check=True, cwd=tmp_path)
    scored = json.loads(reply.stdout)["predictions"]
    rows = [{"logits": [-1.2, 2.3]}, {"logits": np.log([0.4, 0.6]).tolist()}]
    expected = UncertainClassifier.from_outputs(head="head").predict(rows)
    assert [row["label"] for row in scored] == expected.labels.tolist() == ["positive", "positive"]
    assert [row["accepted"] for row in scored] == expected.accepted.tolist()
    assert [row["error_probability"] for row in scored] == pytest.approx(expected.error_probability.tolist(), abs=1e-6)
