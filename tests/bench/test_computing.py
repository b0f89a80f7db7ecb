"""Computation of cells: results, failures, keys, workers, domains and sizes of the calibration set."""

import json
from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.backbones import Backbone
from aligned_entropy.bench import grid, measurements, runs
from aligned_entropy.bench.cells import Cell
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.measurements import run_cell
from aligned_entropy.bench.results import read_results, results_file
from aligned_entropy.bench.runs import DataSpec, ModelSpec, split_texts
from aligned_entropy.bench.studies import STUDIES
from aligned_entropy.metrics import CALIBRATION, RANKING
from aligned_entropy.scores.aligned import AlignedEntropy
from fixtures import sentiment
from fixtures.cases import always
from fixtures.grids import (
    SPLITS,
    one_entry,
    result_of,
    valid_json,
    write_data,
    write_grid,
)


def test_every_cell_has_one_line_of_valid_json(bench):
    files = {path.name: path.read_text().splitlines() for path in bench.grid.results.iterdir()}
    assert {name: len(lines) for name, lines in files.items()} == {
        f"{study}.jsonl": count for study, count in Counter(cell.study for cell in bench.grid.cells).items()
    }
    assert all(lines == sorted(lines) for lines in files.values())
    lines = {line["key"]: line for file in files.values() for line in map(valid_json, file)}
    for cell in bench.grid.cells:
        result = lines.pop(cell.key)
        assert result.pop("name") == cell.name
        assert result.pop("key") == cell.key
        assert result == json.loads(json.dumps(bench.results[cell]))
        assert (result["cell"]["score"], result["cell"]["seed"]) == (cell.score, cell.seed)
        assert set(result["versions"]) >= {"torch", "transformers"}
        assert ("measures" in result) != ("skipped" in result)
        assert "error" not in result
    assert not lines


def test_a_result_holds_every_measure(bench):
    for cell, result in bench.results.items():
        if "skipped" in result:
            continue
        is_probability = STUDIES[cell.study][cell.score](None, 0).is_probability
        assert set(result["measures"]) == {
            *RANKING,
            *(CALIBRATION if is_probability else ()),
            "ece_platt",
            "ece_isotonic",
            "smooth_ece_platt",
            "smooth_ece_isotonic",
        }
        coverage, risk = result["risk_coverage"]
        assert coverage[-1] == 1
        assert risk[-1] == pytest.approx(result["error_rate"]["test"], abs=1e-5)
        assert result["accuracy"]["value"] == pytest.approx(1 - result["error_rate"]["test"])
        for _, observed, counts in result["reliability"].values():
            assert sum(counts) == result["examples"]["test"]
            assert np.dot(observed, counts) / sum(counts) == pytest.approx(result["error_rate"]["test"], abs=1e-4)
        assert ("raw" in result["reliability"]) == is_probability


def test_a_result_equals_an_evaluation_of_the_classifier(bench, workspace):
    result = result_of(bench, "entropy", study="scores", seed=1)
    classifier = UncertainClassifier.from_pretrained(bench.folder / "runs" / "tiny-films-1", max_length=32)
    evaluation = classifier.evaluate("films:test", scores=["entropy"], resamples=10)
    for measure, value in evaluation.to_dict()["scores"]["entropy"].items():
        assert result["measures"][measure]["value"] == pytest.approx(value["value"], abs=1e-6)
    assert result["examples"] == {"calibration": 120, "test": 100}
    assert result["against"]["entropy"] == {"roc_auc": 0.0, "deviation": 0.0}
    assert result_of(bench, "aligned entropy", study="scores")["chosen"] not in (None, "nothing yet")


def test_a_second_run_computes_nothing(bench, workspace, monkeypatch):
    monkeypatch.setattr(grid, "run_cell", lambda *_: pytest.fail("a cell was computed again"))
    computed = Grid.read(bench.path)
    assert computed.missing() == []
    assert list(computed.run()) == []


@pytest.mark.parametrize(
    ("score", "reason", "attributes"),
    [
        ("MC dropout BALD", "has no dropout", {"model": ModelSpec("tiny", "tiny", "freeze", 32)}),
        ("deep ensemble BALD", "no second classifier", {"data": DataSpec("few", True, epochs=2)}),
        ("entropy", "has 120 texts, not more than 500", {"size": 500}),
    ],
)
def test_a_score_that_does_not_apply_is_skipped_with_its_reason(bench, score, reason, attributes):
    assert reason in result_of(bench, score, **attributes)["skipped"]


def test_scores_of_dropout_and_of_ensembles_are_measured_if_they_apply(bench):
    loose = ModelSpec("loose", "loose-{dataset}", max_length=32)
    for result in (
        result_of(bench, "MC dropout BALD", model=loose),
        result_of(bench, "deep ensemble BALD", members=(1,)),
    ):
        assert 0 <= result["measures"]["roc_auc"]["value"] <= 1


def test_classifiers_follow_one_another_and_dropout_passes_come_last_on_a_sample(bench, workspace, monkeypatch):
    monkeypatch.setattr(measurements, "SAMPLED_ROWS", 50)
    missing = Grid(bench.grid.cells, workspace / "results", bench.grid.runs).missing()
    dropout = [cell for cell in bench.grid.cells if cell.score == "MC dropout BALD"]
    assert missing[-len(dropout) :] == dropout
    assert Counter(missing) == Counter(bench.grid.cells)
    classifiers = [(cell.model.name, cell.data.name, cell.seed) for cell in missing[: -len(dropout)]]
    assert len(list(groupby(classifiers))) == len(set(classifiers)) == 5
    assert missing[: -len(dropout)] != [cell for cell in bench.grid.cells if cell not in dropout]
    result = run_cell(dropout[-1], bench.grid.runs)
    assert result["examples"] == {"calibration": 50, "test": 50}


def test_a_grid_runs_the_model_once_over_each_set_of_texts(bench, workspace, monkeypatch):
    order = "RDE, entropy, aligned entropy, linear probe, aligned entropy + reference"
    path = write_grid(workspace, one_entry("scores", order), runs=bench.grid.runs)
    monkeypatch.setenv("ALIEN_CACHE", str(workspace / "cache"))
    measurements._load.cache_clear()
    sizes, encode = [], Backbone.encode
    monkeypatch.setattr(Backbone, "encode", lambda self, texts: sizes.append(len(texts)) or encode(self, texts))
    results = dict(Grid.read(path).run())
    assert not any("error" in result or "skipped" in result for result in results.values())
    sets = [size for size in sizes if size > 5]  # when a classifier is loaded, it is tried on up to five texts
    assert sorted(sets) == sorted(SPLITS.values())


def test_a_failed_cell_is_computed_again_and_does_not_stop_the_others(bench, workspace):
    text = one_entry("scores", "entropy").replace("datasets: {films: 1}", "datasets: {late: 1, films: 1}")
    path = write_grid(workspace, text.replace("  films:\n", "  films:\n  late:\n"), runs=bench.grid.runs)
    results = dict(Grid.read(path).run())
    late, films = Grid.read(path).cells
    assert results[late]["error"].startswith("DataError: 'late' is not a file or folder")
    assert "measures" in results[films]
    assert Grid.read(path).missing() == [late]
    write_data(bench.folder / "data" / "late", SPLITS, sentiment.NAMES, 30)
    results = dict(Grid.read(path).run())
    assert list(results) == [late]
    assert "measures" in results[late]
    assert Grid.read(path).missing() == []


def test_a_training_that_fails_is_not_repeated_in_the_same_run(bench, workspace, monkeypatch):
    text = one_entry("scores", "entropy, energy, margin").replace("datasets: {films: 1}", "datasets: {absent: 2}")
    path = write_grid(workspace, text.replace("  films:\n", "  films:\n  absent:\n"), runs=bench.grid.runs)
    trained, split = [], runs.split_texts
    monkeypatch.setattr(runs, "split_texts", lambda data, seed: trained.append(seed) or split(data, seed))
    errors = {(cell.seed, result["error"]) for cell, result in Grid.read(path).run()}
    assert trained == [0, 1]
    assert len(errors) == 2
    assert len(read_results(workspace / "results")) == 6
    list(Grid.read(path).run())
    assert trained == [0, 1, 0, 1]


def test_an_incomplete_last_line_is_computed_again(bench, workspace):
    incomplete = Grid.read(write_grid(workspace, one_entry("scores", "entropy, energy"), runs=bench.grid.runs))
    assert len(list(incomplete.run())) == 2
    path = results_file(incomplete.results, "scores")
    whole = path.read_text()
    path.write_text(whole[: whole.index("\n") + 40])
    with pytest.warns(UserWarning, match="the last line of .* is incomplete and was left out"):
        assert [cell.score for cell in incomplete.missing()] == ["entropy"]
    with pytest.warns(UserWarning, match="incomplete"):
        assert [cell.score for cell, _ in incomplete.run()] == ["entropy"]
    assert incomplete.missing() == []
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == [
        json.loads(line)["name"] for line in whole.splitlines()
    ]


def test_after_a_change_of_the_preset_the_new_result_replaces_the_old_one(bench, workspace, monkeypatch):
    path = write_grid(workspace, one_entry("scores", "aligned entropy, entropy"), runs=bench.grid.runs)
    before = Grid.read(path)
    assert len(list(before.run())) == 2
    path_of_results = results_file(before.results, "scores")
    old, unchanged = path_of_results.read_text().splitlines()
    monkeypatch.setattr(AlignedEntropy, "config", lambda self: FitConfig(folds=3, betas=(), seed=self.seed))
    after = Grid.read(path)
    assert [cell.score for cell in after.missing()] == ["aligned entropy"]
    assert [result["cell"]["score"] for result in after.stored_results()] == ["entropy"], "the head has other settings"
    assert len(list(after.run())) == 1
    new, still_unchanged = path_of_results.read_text().splitlines()
    assert still_unchanged == unchanged
    assert json.loads(new)["name"] == json.loads(old)["name"] == "scores/tiny/films-0/aligned-entropy"
    assert json.loads(new)["key"] == after.cells[0].key != json.loads(old)["key"]
    assert after.missing() == []


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"score": "margin"},
        {"size": 60},
        {"members": (1,)},
        {"test": DataSpec("shops")},
        {"model": ModelSpec("tiny", "tiny", max_length=16)},
        {"data": DataSpec("films", label_map={"a": "b"})},
    ],
)
def test_a_key_depends_on_all_fields_of_a_cell(change):
    cell = Cell("scores", "entropy", ModelSpec("tiny", "tiny"), DataSpec("films"), 0)
    assert replace(cell, **change).key != cell.key == replace(cell).key
    assert (replace(cell, **change).name != cell.name) == (not {"members", "model", "data"} & set(change))


@pytest.mark.parametrize("name", ["/there/are/films.csv", "../films", "maker/films"])
def test_the_name_of_a_cell_has_four_parts_for_any_name_of_a_data_set(name):
    parts = Cell("scores", "entropy", ModelSpec("maker/tiny", "tiny"), DataSpec(name), 0).name.split("/")
    assert len(parts) == 4
    assert all(parts)


@pytest.mark.parametrize("engine", always("local", of=["local", "ray"]))
def test_more_workers_give_the_same_measures(bench, workspace, engine):
    if engine == "ray":
        pytest.importorskip("ray", reason="needs the extra ray")
    text = one_entry("scores", "aligned entropy").replace("films: 1}", "films: 2, gone: 1}", 1)
    path = write_grid(workspace, text.replace("  films:\n", "  films:\n  gone:\n"), runs=bench.grid.runs)
    results = dict(Grid.read(path).run(2, engine))
    assert len(results) == 3
    stored = {result["key"]: result for result in read_results(workspace / "results")}
    assert len(stored) == 3
    for cell, result in results.items():
        assert stored[cell.key] == {"name": cell.name, "key": cell.key} | json.loads(json.dumps(result))
        if cell.data.name == "gone":
            assert "'gone' is not a file or folder" in result["error"]
            continue
        expected = result_of(bench, cell.score, study="scores", seed=cell.seed, data=cell.data)
        for measure, interval in expected["measures"].items():
            assert result["measures"][measure]["value"] == pytest.approx(interval["value"], abs=1e-6)
        assert result["chosen"] == expected["chosen"]


# Domains and sizes


@pytest.mark.parametrize(("calibration", "labeled"), [("films", 120), ("shops", 70 + 60)])
@pytest.mark.parametrize(("test", "tested"), [("films", 100), ("shops", 80)])
def test_the_calibration_set_of_another_domain_excludes_only_its_test_texts(bench, calibration, labeled, test, tested):
    results = [
        result
        for cell, result in bench.results.items()
        if cell.study == "transfer" and (cell.calibration.name, cell.test.name) == (calibration, test)
    ]
    assert len(results) == 3
    assert all(result["examples"] == {"calibration": labeled, "test": tested} for result in results)


def test_texts_of_another_domain_come_from_that_data_set(bench, workspace):
    cells = (cell for cell in bench.grid.cells if cell.study == "transfer")
    cell = next(cell for cell in cells if (cell.calibration.name, cell.test.name) == ("shops", "films"))
    parts = split_texts(cell.calibration, 0, sentiment.NAMES)
    texts = measurements._texts(cell, "calibration", sentiment.NAMES)
    assert list(texts.texts) == [*parts["train"].texts, *parts["validation"].texts]
    assert texts.labels.tolist() == [*parts["train"].labels, *parts["validation"].labels]
    assert list(measurements._texts(cell, "test", sentiment.NAMES).texts) == list(
        split_texts(cell.data, 0)["test"].texts
    )


def test_sizes_are_those_of_the_calibration_set(bench):
    sizes = {
        cell.size: result["examples"]["calibration"]
        for cell, result in bench.results.items()
        if cell.study == "label-efficiency" and "examples" in result
    }
    assert sizes == {60: 60, None: 120}
