"""Reading of grids: cells of a file, and messages about wrong settings."""

import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

import aligned_entropy
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.runs import DataSpec, ModelSpec
from aligned_entropy.bench.studies import SIZES, STUDIES
from aligned_entropy.errors import DataError
from fixtures.grids import GRID, write_grid

ROOT = Path(aligned_entropy.__file__).parent.parent


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
        ("scores: [margin,", "without: [energy,", "study 'outlook': no score 'energy'"),
        ("study: outlook, ", "study: outlook, without: margin, ", "without: a list is needed, not 'margin'"),
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


def test_scores_can_be_left_out(tmp_path):
    text = GRID.replace('scores: [margin, "margin, aligned"]', "without: [entropy, margin, margin]")
    scores = [cell.score for cell in Grid.read(write_grid(tmp_path, text)).cells if cell.study == "outlook"]
    assert scores == [name for name in STUDIES["outlook"] if name not in ("entropy", "margin")]
    assert len(scores) == len(STUDIES["outlook"]) - 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"there is no file {tmp_path / 'gone.yaml'}: check the path.")):
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
