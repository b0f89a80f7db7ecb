"""Grids: reading of files, computation of cells, results, and the commands bench and report."""

import json
import re
import shutil
import sys
import warnings
from collections import Counter
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import aligned_entropy
from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.bench import grid, measurements, runs
from aligned_entropy.bench.cells import Cell
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.measurements import run_cell
from aligned_entropy.bench.results import read_results, results_file
from aligned_entropy.bench.runs import DataSpec, ModelSpec, split_texts, train_run
from aligned_entropy.bench.studies import SIZES, STUDIES
from aligned_entropy.cli import main
from aligned_entropy.cli.app import app
from aligned_entropy.errors import DataError
from aligned_entropy.metrics import CALIBRATION, RANKING
from aligned_entropy.scores import SCORES
from aligned_entropy.scores.aligned import AlignedEntropy
from fixtures import sentiment

ROOT = Path(aligned_entropy.__file__).parent.parent
SPLITS = {"train": 90, "validation": 120, "test": 100}
DOMAIN = {"train": 70, "validation": 60, "test": 80}
GRID = """
models:
  tiny: {base: tiny, mode: freeze, max_length: 32}
  loose: {base: "loose-{dataset}", max_length: 32}
datasets:
  films:
  few: {resplit: true, epochs: 2}
  shops: {label_map: {bad: negative, good: positive}}
grid:
  - study: scores
    models: [tiny]
    datasets: {films: 2, few: 2}
    scores: [entropy, energy, MC dropout BALD, deep ensemble BALD, Mahalanobis, aligned entropy]
  - {study: scores, models: [loose], datasets: {films: 1}, scores: [softmax response, MC dropout BALD]}
  - {study: ablation, models: [tiny], datasets: {films: 1}, scores: [default, "paper: permuted errors", "views alone"]}
  - {study: outlook, models: [tiny], datasets: {films: 1}, scores: [margin, "margin, aligned"]}
  - study: label-efficiency
    models: [tiny]
    datasets: {films: 1}
    scores: [entropy, aligned entropy]
    sizes: [60, 500, null]
  - {study: transfer, models: [tiny], datasets: {films: 1}, domains: [films, shops]}
"""


def write_data(folder, sizes, names, seed):
    folder.mkdir(parents=True)
    for i, (split, count) in enumerate(sizes.items()):
        texts, labels = sentiment.texts(count, seed + i)
        write_split(folder / f"{split}.jsonl", texts, [names[label] for label in labels])


def write_split(path, texts, labels):
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_grid(folder, text=GRID, **paths):
    """Write a grid to a folder; paths of results and trained classifiers can be added."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.yaml"
    path.write_text(text + "".join(f"{name}: {target}\n" for name, target in paths.items()))
    return path


def one_entry(study, score, **settings):
    """Text of a grid with one entry, which uses the classifiers of the large grid."""
    head, tail = GRID.split("grid:")[0], ", ".join(f"{name}: {value}" for name, value in settings.items())
    entry = f"{{study: {study}, models: [tiny], datasets: {{films: 1}}, scores: [{score}]{tail and ', ' + tail}}}"
    return f"{head}grid:\n  - {entry}\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Folder with data and classifiers, and a grid with its results."""
    folder = tmp_path_factory.mktemp("bench")
    write_data(folder / "data" / "films", SPLITS, sentiment.NAMES, 1)
    write_data(folder / "data" / "few", SPLITS, sentiment.NAMES, 10)
    write_data(folder / "data" / "shops", DOMAIN, ["bad", "good"], 20)
    sentiment.save(folder / "runs" / "tiny")
    shutil.copytree(folder / "runs" / "tiny", folder / "runs" / "loose-films")
    config = folder / "runs" / "loose-films" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_dropout_prob": 0.3}))
    path = write_grid(folder)
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, folder)
        computed = Grid.read(path)
        results = dict(computed.run())
    return SimpleNamespace(folder=folder, path=path, grid=computed, results=results)


def set_folders(patch, folder):
    """Set the folders of data and caches, and few bootstrap samples."""
    patch.setenv("ALIEN_DATA", str(folder / "data"))
    patch.setenv("ALIEN_CACHE", str(folder / "cache"))
    patch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))  # read by other processes
    patch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "datasets"))
    patch.setattr(measurements, "RESAMPLES", 10)


@pytest.fixture
def workspace(bench, own_caches, tmp_path, monkeypatch):
    """Folder for another grid, which uses data, classifiers and features of the first one."""
    set_folders(monkeypatch, bench.folder)
    return tmp_path


def result_of(bench, score, **attributes):
    """Result of the first cell of a score with these attributes."""
    return next(
        result
        for cell, result in bench.results.items()
        if cell.score == score and all(getattr(cell, name) == value for name, value in attributes.items())
    )


def valid_json(line):
    """Parse a line without NaN and infinity."""
    return json.loads(line, parse_constant=pytest.fail)


# Reading


def test_folders_are_relative_to_the_file(bench, tmp_path):
    assert bench.grid.results == bench.folder / "results"
    path = write_grid(tmp_path / "configs", GRID, results="../out", runs="deep/runs")
    moved = Grid.read(path)
    assert (moved.results, moved.runs) == (tmp_path / "configs" / "../out", tmp_path / "configs" / "deep/runs")


def test_a_grid_has_a_cell_for_every_score_and_seed(bench):
    counts = Counter(cell.study for cell in bench.grid.cells)
    assert counts == {"scores": 6 * 4 + 2, "ablation": 3, "outlook": 2, "label-efficiency": 2 * 3, "transfer": 3 * 4}
    assert len({cell.key for cell in bench.grid.cells}) == len({cell.name for cell in bench.grid.cells}) == 49
    assert {cell.seed for cell in bench.grid.cells if cell.data.name == "few"} == {0, 1}


def test_scores_and_sizes_are_all_by_default(tmp_path):
    text = "models: {m: {base: b}}\ndatasets: {d: }\ngrid: [{study: %s, models: [m], datasets: {d: 1}}]"
    for study, scores in STUDIES.items():
        cells = Grid.read(write_grid(tmp_path / study, text % study)).cells
        assert list(dict.fromkeys(cell.score for cell in cells)) == list(scores)
        expected = SIZES if study == "label-efficiency" else (None,)
        sizes = [cell.size for cell in cells if cell.score in ("entropy", "entropy, max")]
        assert sizes == list(expected) * (study != "ablation")


def test_an_ensemble_has_the_classifiers_of_the_other_seeds(bench):
    ensembles = [cell for cell in bench.grid.cells if cell.score == "deep ensemble BALD"]
    members = {(cell.data.name, cell.seed): cell.members for cell in ensembles}
    assert members == {("films", 0): (1,), ("films", 1): (0,), ("few", 0): (), ("few", 1): ()}
    assert not any(cell.members for cell in bench.grid.cells if cell.score != "deep ensemble BALD")


def test_domains_are_paired(bench):
    cells = [cell for cell in bench.grid.cells if cell.study == "transfer" and cell.score == "entropy"]
    pairs = [(cell.calibration.name, cell.test.name) for cell in cells]
    assert pairs == [("films", "films"), ("films", "shops"), ("shops", "films"), ("shops", "shops")]
    assert not any(cell.calibration or cell.test for cell in bench.grid.cells if cell.study != "transfer")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GRID, "", "the file: a mapping is needed, not None"),
        (GRID, "[1, 2]", "the file: a mapping is needed, not [1, 2]"),
        (GRID, "models: {a: [", "expected the node content"),
        (GRID, "models: {}\ngrid: []", "the file: datasets is missing"),
        ("\nmodels:", "\nresult: here\nmodels:", "the file: no setting result; there are models, datasets, grid"),
        ('{base: "loose-{dataset}", max_length: 32}', "[loose]", "model 'loose': a mapping is needed, not ['loose']"),
        ('{base: "loose-{dataset}", ', "{", "model 'loose': base is missing"),
        ("mode: freeze", "mood: freeze", "model 'tiny': no setting mood; there are base, mode, max_length"),
        ("mode: freeze", "mode: frozen", "model 'tiny': no mode 'frozen'; there are full, lora, freeze"),
        ("resplit: true", "split: true", "data set 'few': no setting split; there are name, resplit"),
        ("grid:\n", "grid: all\nold:\n", "no setting old"),
        ("models: [tiny]\n", "models: [tidy]\n", "no model 'tidy'; there are tiny, loose"),
        ("models: [tiny]\n", "models: tiny\n", "models: a list is needed, not 'tiny'"),
        ("films: 2, few: 2", "film: 2", "no data set 'film'; there are films, few, shops"),
        ("films: 2, few: 2", "films: many", "data set 'films' of study 'scores': a number of seeds is needed, not 'm"),
        ("films: 2, few: 2", "films: 0", "a number of seeds is needed, not 0"),
        ("{films: 2, few: 2}", "[films]", "datasets of study 'scores': a mapping is needed, not ['films']"),
        ("    datasets: {films: 2, few: 2}\n", "", "study 'scores': datasets is missing"),
        ("study: outlook", "study: outlooks", "no study 'outlooks'; there are scores, ablation, outlook"),
        ("study: outlook, ", "", "an entry of the grid: study is missing"),
        ("energy,", "Energy,", "study 'scores': no score 'Energy'; there are softmax response, entropy"),
        ("scores: [margin,", "scores: [energy,", "study 'outlook': no score 'energy'"),
        ("[margin, \"margin, aligned\"]", "margin", "scores: a list is needed, not 'margin'"),
        ("study: outlook, ", "study: outlook, seeds: 3, ", "study 'outlook': no setting seeds; there are study"),
        ("study: outlook, ", "study: outlook, sizes: [9], ", "study 'outlook': no setting sizes"),
        ("study: outlook, ", "study: outlook, domains: [films], ", "study 'outlook': no setting domains"),
        ("[60, 500, null]", "[60, few]", "study 'label-efficiency': sizes are whole numbers"),
        ("domains: [films, shops]", "domains: [films, books]", "no data set 'books'"),
        ("  few: {resplit: true", "  few: {name: films, resplit: true", "two settings share the name tiny-films"),
        ("epochs: 2", "epochs: 2026-01-01", "date is not JSON serializable"),
    ],
)  # fmt: skip
def test_a_wrong_setting_in_a_file_is_named(old, new, message, tmp_path):
    assert GRID.count(old) >= 1
    path = write_grid(tmp_path, GRID.replace(old, new, 1))
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        Grid.read(path)
    assert str(raised.value).startswith(f"{path} is not a grid: ")
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"there is no file {tmp_path / 'gone.yaml'}.")):
        Grid.read(tmp_path / "gone.yaml")


def documentation():
    return (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")


def test_the_documented_grid_can_be_read(tmp_path):
    example = re.search(r"```yaml\n(.*?)```", documentation(), re.DOTALL).group(1)
    cells = Grid.read(write_grid(tmp_path, example)).cells
    assert {cell.study for cell in cells} == {"scores", "label-efficiency", "transfer"}
    assert {cell.model.mode for cell in cells} == {"full", "freeze", "lora"}


def test_every_study_and_setting_is_documentation():
    named = set(re.findall(r"`([^`\n]+)`", documentation()))
    assert set(STUDIES) <= named
    assert {field.name for kind in (ModelSpec, DataSpec) for field in fields(kind)} <= named


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_of_the_repository_can_be_read(path):
    assert len(Grid.read(path).cells) > 100


# Computing


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


@pytest.mark.parametrize("engine", ["local", "ray"])
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


# Splits and classifiers


def write_three_classes(folder, counts):
    """Write texts of three classes that contain the name of their class; ``counts`` are class sizes by split."""
    folder.mkdir()
    for split, class_sizes in counts.items():
        labels = [name for name, count in zip("abc", class_sizes, strict=True) for _ in range(count)]
        write_split(folder / f"{split}.jsonl", [f"{name} {split} {i}" for i, name in enumerate(labels)], labels)
    return str(folder)


@pytest.mark.parametrize(
    "rare", [{"train": (60, 30, 9), "validation": (20, 9, 1)}, {"train": (60, 30, 0), "validation": (20, 9, 10)}]
)
def test_a_new_split_preserves_sizes_and_class_shares(rare, tmp_path):
    counts = {**rare, "test": (27, 13, 0)}
    name = write_three_classes(tmp_path / "kinds", counts)
    parts = split_texts(DataSpec(name, resplit=True), 5)
    assert {split: len(part) for split, part in parts.items()} == {split: sum(n) for split, n in counts.items()}
    texts = [text for part in parts.values() for text in part.texts]
    assert sorted(texts) == sorted(t for part in split_texts(DataSpec(name), 5).values() for t in part.texts)
    assert len(set(texts)) == len(texts)
    for part in parts.values():
        assert [part.label_names[label] for label in part.labels] == [text[0] for text in part.texts]
        for label, label_name in enumerate(part.label_names):
            expected = sum(text[0] == label_name for text in texts) * len(part) / len(texts)
            assert abs((part.labels == label).sum() - expected) <= 2
    with_names = split_texts(DataSpec(name, resplit=True), 5, parts["train"].label_names)
    assert [list(part.texts) for part in with_names.values()] == [list(part.texts) for part in parts.values()]
    tests = {frozenset(split_texts(DataSpec(name, resplit=True), seed)["test"].texts) for seed in (5, 6, 7, 5)}
    assert len(tests) == 3


def test_without_resplit_the_splits_are_those_of_the_files(tmp_path):
    name = write_three_classes(tmp_path / "kinds", {"train": (5, 4, 3), "validation": (2, 2, 2), "test": (1, 1, 1)})
    for seed in (0, 1):
        parts = split_texts(DataSpec(name), seed)
        assert all(text.split()[1] == split for split, part in parts.items() for text in part.texts)


def test_texts_without_a_mapped_label_are_left_out(tmp_path):
    name = write_three_classes(tmp_path / "kinds", dict.fromkeys(SPLITS, (3, 2, 4)))
    parts = split_texts(DataSpec(name, label_map={"a": "yes", "c": "no"}), 0)
    assert parts["test"].label_names == ["no", "yes"]
    assert [text[0] for text in parts["test"].texts] == list("aaacccc")
    assert parts["test"].labels.tolist() == [1, 1, 1, 0, 0, 0, 0]
    with_names = split_texts(DataSpec(name, label_map={"a": "yes", "c": "no"}), 0, ["maybe", "yes", "no"])
    assert with_names["train"].labels.tolist() == [1, 1, 1, 2, 2, 2, 2]


def test_a_label_map_can_map_numbers(tmp_path):
    (tmp_path / "numbers").mkdir()
    for split in SPLITS:
        write_split(tmp_path / "numbers" / f"{split}.jsonl", ["one", "two", "three"], [0, 1, 2])
    parts = split_texts(DataSpec(str(tmp_path / "numbers"), label_map={0: "no", 2: "yes"}), 0)
    assert list(parts["train"].texts) == ["one", "three"]
    assert parts["train"].labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"d": "yes"}, "the label map names d, the data's labels are a, b, c"),
        ({"a": "yes", "d": "no"}, "the label map names a, d, the data's labels are a, b, c"),
        ({"a": "sure"}, "the label map leads to sure, the model's classes are yes, no"),
    ],
)
def test_a_wrong_label_map_is_an_error(label_map, message, tmp_path):
    name = write_three_classes(tmp_path / "kinds", dict.fromkeys(SPLITS, (3, 2, 4)))
    with pytest.raises(DataError, match=message):
        split_texts(DataSpec(name, label_map=label_map), 0, ["yes", "no"])


def test_a_classifier_is_trained_once(bench, workspace, monkeypatch):
    monkeypatch.setattr(runs, "train_classifier", lambda *_: pytest.fail("the classifier was trained again"))
    model = ModelSpec("tiny", "tiny", "freeze", 32)
    assert train_run(model, DataSpec("films"), 0, bench.grid.runs) == str(bench.grid.runs / "tiny-films-0")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ({"learning_rate": 0.01}, {}, "learning_rate None, now 0.01"),
        ({"mode": "full"}, {}, "mode freeze, now full"),
        ({"base": "loose"}, {}, "base tiny, now loose"),
        ({"dtype": "bfloat16"}, {}, "dtype float32, now bfloat16"),
        ({}, {"epochs": 7}, "epochs None, now 7"),
        ({}, {"resplit": True, "batch_size": 9}, "batch_size 32, now 9; resplit False, now True"),
    ],
)
def test_a_classifier_with_other_training_settings_is_refused(bench, model, data, message):
    options = {"base": "tiny", "mode": "freeze", "max_length": 32} | model
    with pytest.raises(DataError, match=re.escape(message)):
        train_run(ModelSpec("tiny", **options), DataSpec("films", **data), 0, bench.grid.runs)


def test_an_interrupted_training_leaves_no_files(bench, workspace, monkeypatch):
    def interrupted(base, texts, folder, config):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "train_classifier", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_run(ModelSpec("cut", "tiny"), DataSpec("films"), 0, workspace / "runs")
    assert list((workspace / "runs").iterdir()) == []


def test_if_two_processes_train_the_same_classifier_the_first_one_is_used(workspace, monkeypatch, tmp_path):
    def train(base, texts, folder, config):
        for trained in (folder, tmp_path / "raced-films-0"):  # the second is that of another process
            trained.mkdir(parents=True)
            (trained / "config.json").write_text("{}")

    monkeypatch.setattr(runs, "train_classifier", train)
    assert train_run(ModelSpec("raced", "tiny"), DataSpec("films"), 0, tmp_path) == str(tmp_path / "raced-films-0")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("raced")] == ["raced-films-0"]


def test_a_base_with_placeholders_is_used_without_training(bench, workspace):
    trained = ModelSpec("trained", "tiny-{dataset}-{seed}")
    assert train_run(trained, DataSpec("films"), 1, bench.grid.runs) == str(bench.grid.runs / "tiny-films-1")
    assert train_run(ModelSpec("hub", "me/{dataset}"), DataSpec("films"), 1, bench.grid.runs) == "me/films"


# The command


def alien(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_lists_and_computes_missing_cells(bench, workspace, monkeypatch):
    path = write_grid(workspace, one_entry("scores", "entropy, MC dropout BALD"), runs=bench.grid.runs)
    shown = alien("bench", path, "--dry-run")
    assert shown.exit_code == 0, shown.output
    first, *listed = shown.stdout.splitlines()
    assert first == f"2 cells, 2 to compute, results in {workspace / 'results'}"
    assert listed == [cell.name for cell in Grid.read(path).cells]
    assert not (workspace / "results").exists()
    done = alien("bench", path)
    assert done.exit_code == 0, done.output
    lines = [line.split("  ", 1) for line in done.stdout.splitlines()[-2:]]
    assert [name for name, _ in lines] == listed
    assert re.fullmatch(r"ROC-AUC 0\.\d{4}", lines[0][1])
    assert lines[1][1].startswith("skipped: ")
    assert alien("bench", path).stdout.splitlines() == [f"2 cells, 0 to compute, results in {workspace / 'results'}"]


def test_the_command_exits_with_1_if_a_cell_failed(bench, workspace):
    text = one_entry("scores", "entropy, margin, softmax response").replace("films", "nothing")
    done = alien("bench", write_grid(workspace, text, runs=bench.grid.runs))
    assert done.exit_code == 1
    assert done.stdout.count("error: DataError: 'nothing' is not a file or folder") == 1
    assert done.stdout.endswith("2 more cells failed with the error of scores/tiny/nothing-0/entropy\n")
    assert "3 cells failed: run again to try them again" in done.stderr


def test_a_model_without_an_error_is_measured_and_reported(bench, workspace):
    """Without errors ROC-AUC is not defined."""
    shutil.copytree(bench.folder / "runs" / "tiny", workspace / "runs" / "sure-0")
    classifier = UncertainClassifier.from_pretrained(workspace / "runs" / "sure-0")
    (workspace / "sure").mkdir()
    for seed, split in enumerate(SPLITS):
        texts, _ = sentiment.texts(40, seed)
        write_split(workspace / "sure" / f"{split}.jsonl", texts, classifier.predict(texts).labels)
    text = one_entry("scores", "entropy, energy, aligned entropy").replace("base: tiny,", 'base: "sure-{seed}",')
    done = alien(
        "bench", write_grid(workspace, text.replace("  films:\n", f"  films: {{name: {workspace / 'sure'}}}\n"))
    )
    assert done.exit_code == 0, done.output
    assert [line.split("  ")[1] for line in done.stdout.splitlines()[-3:]][:2] == ["ROC-AUC –"] * 2
    assert "skipped: the model is wrong on 0 of 40" in done.stdout
    reported = alien("report", workspace / "results", "-o", workspace / "page.html")
    assert reported.exit_code == 0, reported.output
    assert "nan" not in (workspace / "page.html").read_text().partition("<body>")[2].lower()


def test_results_are_written_as_a_page_and_tables(bench, workspace):
    paths = {
        "-o": workspace / "new" / "page.html",
        "--markdown": workspace / "t" / "t.md",
        "--latex": workspace / "t" / "t.tex",
    }
    done = alien("report", bench.grid.results, *(part for pair in paths.items() for part in pair), "--title", "Tiny")
    assert done.exit_code == 0, done.output
    assert [line.removeprefix("saved: ") for line in done.stdout.splitlines()] == [
        str(paths[name]) for name in ("--markdown", "--latex", "-o")
    ]
    page, markdown, latex = (paths[name].read_text(encoding="utf-8") for name in ("-o", "--markdown", "--latex"))
    for title in (
        "Scores, tiny",
        "Transfer, tiny, trained on films",
        "Ablation, tiny",
        "Outlook, tiny",
        "Label efficiency, tiny",
        "Data",
    ):
        assert f"{title}</h2>" in page
        assert f"## {title}" in markdown
    assert "<h1>Tiny</h1>" in page
    assert "has no dropout" in page
    assert latex.count(r"\begin{table}") == latex.count(r"\end{tabular}\end{table}") == markdown.count("|---|")
    body = re.search(r"### Scores, tiny: ROC-AUC\n.*?\n\n(.*?)\n\n", markdown + "\n", re.DOTALL).group(1).splitlines()
    assert body[0] == "| | few | films | mean rank |"
    seeds = [result_of(bench, "entropy", study="scores", seed=seed, data=DataSpec("films")) for seed in (0, 1)]
    mean = 100 * np.mean([result["measures"]["roc_auc"]["value"] for result in seeds])
    assert any(line.startswith("| entropy |") and f"{mean:.2f} ±" in line for line in body)


def test_the_report_of_a_grid_contains_only_its_cells(bench, workspace):
    path = write_grid(workspace, one_entry("scores", "energy"), runs=bench.grid.runs, results=bench.grid.results)
    done = alien("report", path, "-o", workspace / "page.html", "--markdown", workspace / "t.md")
    assert done.exit_code == 0, done.output
    tables = (workspace / "t.md").read_text(encoding="utf-8")
    assert "| energy |" in tables
    assert "entropy" not in tables
    counts = []
    for sources in ([path], [bench.grid.results], [path, bench.grid.results, path]):
        done = alien("report", *sources, "-o", workspace / "page.html")
        assert done.exit_code == 0, done.output
        counts.append(int(re.search(r"([\d,]+) cells: ", (workspace / "page.html").read_text()).group(1)))
    assert counts[0] < counts[1] == counts[2]  # a cell of both counts once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "{folder}/gone.yaml"], "there is no file {folder}/gone.yaml."),
        (["bench", "{folder}/bad.yaml"], "{folder}/bad.yaml is not a grid: no study 'x'"),
        (["bench", "{folder}"], "Is a directory"),
        (["report", "{folder}/empty"], "{folder}/empty holds no results: run alien bench first"),
        (["report", "{folder}/nowhere"], "{folder}/nowhere holds no results: run alien bench first"),
        (
            ["report", "{folder}/new.yaml"],
            "none of the 1 cells of this grid has a result in {folder}/results: run alien bench first.",
        ),
        (["report", "{folder}/half"], "line 1 of {folder}/half/scores.jsonl is no result of the study 'scores'"),
    ],
)
def test_bad_input_is_1_with_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command replaces it
    for name in ("empty", "half"):
        (tmp_path / name).mkdir()
    (tmp_path / "half" / "scores.jsonl").write_text('{"cell": \n')
    (tmp_path / "empty" / "other.json").write_text("[1]")
    write_grid(tmp_path, one_entry("scores", "entropy")).rename(tmp_path / "new.yaml")
    (tmp_path / "bad.yaml").write_text("models: {}\ndatasets: {}\ngrid: [{study: x}]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["alien", *(argument.format(folder=tmp_path) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("alien: ")
    assert message.format(folder=tmp_path) in printed.err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "arguments", [["bench"], ["bench", "a.yaml", "--workers", "0"], ["report"], ["report", "a", "--pdf"]]
)
def test_bad_usage_is_2(arguments):
    assert alien(*arguments).exit_code == 2


def test_every_registered_score_can_be_in_a_grid():
    assert list(STUDIES["scores"]) == list(SCORES)
    for study, scores in STUDIES.items():
        for name, build in scores.items():
            assert build(None, 3).seed == 3, (study, name)
