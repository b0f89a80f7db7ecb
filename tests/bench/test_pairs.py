"""A grid with a data set of pairs: trained, fitted and measured like one of single texts."""

import json

import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.bench import measurements
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.runs import DataSpec, split_texts
from aligned_entropy.features.texts import TextPair
from fixtures import sentiment

SPLITS = {"train": 60, "validation": 160, "test": 80}
GRID = """
models:
  tiny: {base: runs/tiny, mode: full, max_length: 32}
datasets:
  nli: {}
grid:
  - {study: scores, models: [tiny], datasets: {nli: 1}, scores: [entropy, aligned entropy]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    sentiment.save(tmp_path / "runs" / "tiny")
    (tmp_path / "data" / "nli").mkdir(parents=True)
    for seed, (split, count) in enumerate(SPLITS.items()):
        texts, labels = sentiment.texts(count, seed)
        others, _ = sentiment.texts(count, seed + 50)
        rows = [
            {"text": text, "text_pair": other, "label": sentiment.NAMES[label]}
            for text, other, label in zip(texts, others, labels, strict=True)
        ]
        path = tmp_path / "data" / "nli" / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("ALIEN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(measurements, "RESAMPLES", 10)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def test_a_grid_of_pairs_has_the_measures_of_an_evaluation(folder):
    results = {cell.score: result for cell, result in Grid.read(folder / "grid.yaml").run()}
    assert set(results) == {"entropy", "aligned entropy"}
    classifier = UncertainClassifier.from_pretrained(folder / "runs" / "tiny-nli-0", max_length=32)
    evaluation = classifier.evaluate("nli:test", scores=["entropy"], resamples=10).to_dict()
    expected = evaluation["scores"]["entropy"]["roc_auc"]["value"]
    assert results["entropy"]["measures"]["roc_auc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert results["aligned entropy"]["examples"] == {"calibration": 160, "test": 80}


def test_a_new_split_of_pairs_keeps_them(folder):
    parts = split_texts(DataSpec("nli", resplit=True), 3)
    pairs = [pair for part in parts.values() for pair in part.texts]
    assert {name: len(part) for name, part in parts.items()} == SPLITS
    assert all(isinstance(pair, TextPair) for pair in pairs)
    again = [pair for part in split_texts(DataSpec("nli"), 3).values() for pair in part.texts]
    assert sorted(map(str, pairs)) == sorted(map(str, again))
