"""Tests that run the code of the first guides: get started, decisions, estimates and audits."""

import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from aligned_entropy import UncertainClassifier
from fixtures import sentiment, tiny
from fixtures.command_line import in_process
from fixtures.guides import DOCS, RNG, blocks_of, run, save, sentences, write_labeled
from fixtures.serving import serving

# The models are untrained and the labels random, so the warning about the order of the labels is expected.
pytestmark = [
    pytest.mark.usefixtures("same_numbers"),
    pytest.mark.filterwarnings("ignore:.*check that the labels are in the model's order:UserWarning"),
]


def test_get_started(tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    monkeypatch.chdir(tmp_path)
    save(tiny.model("Bert").bert, tiny.tokenizer(), tmp_path / "minilm")
    (tmp_path / "20newsgroups").mkdir()
    desks = ["comp.graphics", "comp.os.ms-windows.misc", "rec.autos", "sci.med"]  # the last one is none of the guide
    lines = [f"{' '.join(RNG.choice(tiny.WORDS, 5))} {row},{RNG.choice(desks)}" for row in range(800)]
    (tmp_path / "20newsgroups" / "train.csv").write_text("\n".join(["text,label", *lines]))
    page = (DOCS / "get-started.md").read_text(encoding="utf-8")
    namespace, request = {}, None
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", page, re.DOTALL):
        if language == "python":
            block = block.replace('"classifier", TrainConfig', '"other", TrainConfig')  # step 2 has made the folder
            exec(compile(block, "get-started.md", "exec"), namespace)
        elif block.startswith("alien serve"):
            serve = shlex.split(block)[2:]
        elif block.startswith("curl"):
            request = block
        else:
            # Nobody can certify 10% for random labels.
            done = in_process(*shlex.split(block.replace("minilm", "./minilm").replace("--risk .1", "--risk .95"))[1:])
            assert done.exit_code == 0, done.output
    printed = capsys.readouterr().out
    assert "of all predictions are wrong" in printed
    assert len(namespace["rows"]) == len(pd.read_csv("test.csv"))
    with serving(*serve, log=tmp_path / "log") as (_, _, address):
        request = request.replace("localhost:8000", address.removeprefix("http://"))
        reply = subprocess.run(["bash", "-c", request], capture_output=True, check=True)
    (row,) = json.loads(reply.stdout)["predictions"]
    assert 0 < row["error_probability"] < 1
    assert not {"probabilities", "labels", "entities"} & row.keys()


def test_selective_prediction(tmp_path, monkeypatch, capsys):
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    write_labeled(tmp_path, "held-out", "more-held-out", "test", "other")
    expected = {
        "routing.md": "80% of the predictions accepted",
        "selective-prediction.md": "No threshold could be certified",
        "class-sets.md": "right class in the set",
        "out-of-distribution.md": "out-of-distribution: 120 texts",
    }
    for page, printed in expected.items():
        variables = run(page, tmp_path, monkeypatch)
        assert "predictions" not in variables or variables["predictions"].accepted.shape == (2,)
        assert printed in capsys.readouterr().out


def test_models(tmp_path, monkeypatch, capsys):
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    write_labeled(tmp_path, "held-out")
    variables = run("models.md", tmp_path, monkeypatch)
    expected = variables["classifier"].predict(["the film is good", "not bad"])
    np.testing.assert_allclose(variables["output"].error_probability, expected.error_probability, atol=1e-5)
    assert "'error_probability'" in capsys.readouterr().out


def test_arrays_of_your_own(tmp_path, monkeypatch, capsys):
    variables = run("models.md", tmp_path, monkeypatch, headings=["Arrays of your own"])
    hidden = torch.zeros(2, 16)
    hidden[1, 0] = 2.0  # as in the texts that the guide calls hard
    easy, hard = variables["result"].head(hidden, variables["module"](hidden).detach())
    assert hard > 2 * easy
    assert "400 examples" in capsys.readouterr().out


def test_own_score(tmp_path, monkeypatch, capsys):
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    write_labeled(tmp_path, "held-out", "test")
    variables = run("own-score.md", tmp_path, monkeypatch)
    logits = np.sort(variables["classifier"].features("test.csv").logits, 1)
    gap = variables["logit_gap"](variables["classifier"].features("test.csv"))
    np.testing.assert_allclose(gap, logits[:, 1] - logits[:, 2])
    printed = capsys.readouterr().out
    assert "logit_gap" in printed
    assert "distance to mean" in printed


def test_estimated_accuracy(tmp_path, monkeypatch, capsys):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path / "my-model"))
    classifier.fit(sentiment.named(400, 3))
    classifier.save_pretrained(tmp_path / "my-head")
    monkeypatch.setattr("builtins.texts", sentiment.texts(200, 5)[0], raising=False)  # the reader's
    variables = run("estimated-accuracy.md", tmp_path, monkeypatch)
    assert variables["estimate"].predictions == 200
    assert str(variables["predictions"].estimated_accuracy) in capsys.readouterr().out


def test_audit(tmp_path, monkeypatch, capsys):
    save(tiny.model("Bert"), tiny.tokenizer(), tmp_path / "my-org" / "classifier")
    names = ["LABEL_0", "LABEL_1", "LABEL_2"]
    labels = {" ".join(words): str(RNG.choice(names)) for _ in range(4) for words in sentences()}
    lines = [f"{text},{label}" for text, label in labels.items()]
    (tmp_path / "held-out.csv").write_text("\n".join(["text,label", *lines[:200]]))
    (tmp_path / "new.csv").write_text("\n".join(["text", *list(labels)[200:]]))
    monkeypatch.chdir(tmp_path)
    classifier = UncertainClassifier.from_pretrained("my-org/classifier")
    classifier.fit("held-out.csv")
    classifier.save_pretrained("my-head")
    monkeypatch.setattr("builtins.input_label", labels.get, raising=False)
    report = run("audit.md", tmp_path, monkeypatch)["report"]
    truth = np.mean(
        [
            labels[text] == label
            for text, label in zip(list(labels)[200:], classifier.predict(list(labels)[200:]).labels, strict=True)
        ]
    )
    assert (report.labeled, report.rows) == (50, len(labels) - 200)
    assert report.accuracy.low < truth < report.accuracy.high
    assert "[0." in capsys.readouterr().out
    (commands,) = blocks_of((DOCS / "audit.md").read_text(encoding="utf-8").partition("\n## ")[0], "bash")
    for line in (
        commands.replace(" classifier ", " my-org/classifier ").replace("head head", "head my-head").splitlines()
    ):
        if line.startswith("#"):
            rows = pd.read_csv("to-label.csv").assign(label=lambda rows: rows.text.map(labels))
            rows.to_csv("to-label.csv", index=False)
            continue
        done = in_process(*shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
    assert "from 200 labels" in done.stdout
