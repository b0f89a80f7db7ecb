"""Heads and features from before version 0.1.0, with other names, are still read; results keep their keys.

``fixtures/stored`` was written before: for each task a tiny model with its head, the features of twelve texts,
and what it predicted.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import aligned_entropy
from aligned_entropy import UncertainClassifier
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.results import read_results
from aligned_entropy.selective import Goal, choose_threshold
from fixtures.sentiment import named

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
EXPECTED = json.loads((STORED / "expected.json").read_text())
REPOSITORY = Path(aligned_entropy.__file__).parents[1]


def load(task: str) -> UncertainClassifier:
    return UncertainClassifier.from_pretrained(STORED / task / "model", head=STORED / task / "head")


def test_a_head_with_reference_threshold_and_baselines_predicts_as_before() -> None:
    expected = EXPECTED["texts"]
    classifier = load("texts")
    predictions = classifier.predict(expected["input"])
    np.testing.assert_allclose(predictions.uncertainty, expected["uncertainty"], atol=1e-6)
    np.testing.assert_allclose(predictions.error_probability, expected["error_probability"], atol=1e-6)
    assert predictions.accepted.tolist() == expected["accepted"]
    assert {True, False} == set(expected["accepted"])
    assert classifier.saved.pairs is None
    assert len(classifier.predict([("a film", "it is dull")])) == 1, "it does not tell which kind of texts it is for"


def test_baselines_and_calibration_maps_of_a_head_measure_as_before() -> None:
    expected, evaluation = EXPECTED["texts"], load("texts").evaluate(named(100, 6), resamples=20)
    for measure in ("roc_auc", "ece_platt"):
        values = {name: row[measure].value for name, row in evaluation.table.items()}
        head = values.pop("aligned entropy")  # equally near neighbors share their weight now
        assert head == pytest.approx(expected[measure]["aligned entropy"], abs=1e-4)
        assert values == pytest.approx(
            {name: value for name, value in expected[measure].items() if name != "aligned entropy"}, abs=1e-6
        )


def test_a_head_for_token_classification_predicts_as_before() -> None:
    expected, predictions = EXPECTED["tokens"], load("tokens").predict(EXPECTED["tokens"]["input"])
    np.testing.assert_allclose(predictions.uncertainty, expected["uncertainty"], atol=1e-6)
    np.testing.assert_allclose(predictions.error_probability, expected["error_probability"], atol=1e-6)
    entities = [[entity.to_dict() for entity in row.entities] for row in predictions]
    assert sum(map(len, entities)) > 5
    for row, expected_row in zip(entities, expected["entities"], strict=True):
        for entity, expected_entity in zip(row, expected_row, strict=True):
            assert entity == pytest.approx(expected_entity, abs=1e-6)


def test_a_multi_label_head_predicts_as_before() -> None:
    expected, predictions = EXPECTED["labels"], load("labels").predict(EXPECTED["labels"]["input"])
    np.testing.assert_allclose(predictions.uncertainty, expected["uncertainty"], atol=1e-6)
    np.testing.assert_allclose(predictions.label_uncertainty, expected["label_uncertainty"], atol=1e-6)
    assert predictions.accepted.tolist() == expected["accepted"]
    assert predictions.labels == expected["labels"]


def test_a_head_that_is_saved_again_keeps_its_numbers(tmp_path) -> None:
    for task in ("texts", "tokens", "labels"):
        load(task).save_pretrained(tmp_path / task)
        before = json.loads((STORED / task / "head" / "config.json").read_text())
        after = json.loads((tmp_path / task / "config.json").read_text())
        assert after.keys() == before.keys()
        assert after["rule"] == before["rule"]
        again = UncertainClassifier.from_pretrained(STORED / task / "model", head=tmp_path / task)
        texts = EXPECTED[task]["input"]
        assert np.array_equal(again.predict(texts).uncertainty, load(task).predict(texts).uncertainty)


def test_a_head_of_before_has_no_pilot_and_certifies_a_risk_without_one() -> None:
    classifier = load("texts")
    assert classifier.saved.pilot is None
    rule = classifier.choose_threshold(named(300, 6), Goal(risk=0.3))
    assert rule == choose_threshold(classifier.saved.selection_units, Goal(risk=0.3))
    assert classifier.saved.pilot is None


def test_features_are_read_from_the_cache_of_before(tmp_path, monkeypatch) -> None:
    shutil.copytree(STORED / "cache", tmp_path / "cache")
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path / "cache"))
    classifier = load("texts")
    monkeypatch.setattr(classifier.backbone, "extract", None)  # a call would be an error
    features = classifier.backbone.features(EXPECTED["texts"]["input"])
    np.testing.assert_allclose(features.logits, EXPECTED["texts"]["logits"], atol=1e-6)


@pytest.mark.parametrize("grid", ["core", "pairs", "studies", "tasks", "text_classification"])
def test_results_of_before_are_found_by_their_keys(grid: str) -> None:
    """A key that changed would compute a stored result anew."""
    stored = Grid.read(REPOSITORY / "benchmarks" / "configs" / f"{grid}.yaml")
    before = {result["name"]: result["key"] for result in read_results(stored.results)}
    changed = [cell.name for cell in stored.cells if cell.name in before and before[cell.name] != cell.key]
    assert len(before.keys() & {cell.name for cell in stored.cells}) > 50
    assert not changed, "\n".join(changed[:10])
