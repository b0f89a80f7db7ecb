"""Files of results: sorted lines, one a cell, that several processes replace under a lock."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from aligned_entropy.bench import results
from aligned_entropy.bench.cells import Cell
from aligned_entropy.bench.results import read_results, read_study, results_file, sort_results, store_result
from aligned_entropy.bench.runs import DataSpec, ModelSpec
from aligned_entropy.errors import DataError
from aligned_entropy.features.files import write_atomic

SCORES = ["margin", "entropy", "energy"]


def cell(score="entropy", data="films", model="tiny", study="scores", **settings):
    return Cell(study, score, ModelSpec(model, "tiny"), DataSpec(data, **settings), 0)


def result_of(stored_cell, **facts):
    return {"cell": stored_cell.facts() | {"members": []}} | facts


def stored(folder):
    """Values of the results in a folder, by the name of the score."""
    return {result["cell"]["score"]: result["value"] for result in read_results(folder)}


def lines(folder, study="scores"):
    return results_file(folder, study).read_text().splitlines()


@pytest.fixture
def folder(tmp_path):
    """Folder with three results of the study ``scores``."""
    for value, score in enumerate(SCORES):
        store_result(tmp_path / "results", cell(score), result_of(cell(score), value=value))
    return tmp_path / "results"


def test_lines_are_sorted_and_hold_name_key_and_result(folder):
    assert [json.loads(line)["name"] for line in lines(folder)] == [
        f"scores/tiny/films-0/{score}" for score in ("energy", "entropy", "margin")
    ]
    for line, score in zip(lines(folder), ("energy", "entropy", "margin"), strict=True):
        assert json.loads(line) == {"name": cell(score).name, "key": cell(score).key} | result_of(
            cell(score), value=SCORES.index(score)
        )
    assert [path.name for path in folder.iterdir()] == ["scores.jsonl"]


def test_a_new_cell_is_one_added_line_and_a_changed_one_is_one_changed_line(folder):
    before = lines(folder)
    store_result(folder, cell("max logit"), result_of(cell("max logit"), value=9))
    assert [line for line in lines(folder) if line in before] == before
    assert len(lines(folder)) == 4
    changed = cell("entropy", batch_size=8)
    assert changed.name == cell("entropy").name
    assert changed.key != cell("entropy").key
    store_result(folder, changed, result_of(changed, value=7))
    assert len(set(lines(folder)) - set(before)) == 2
    assert len(lines(folder)) == 4
    assert stored(folder) == {"energy": 2, "entropy": 7, "margin": 0, "max logit": 9}


def test_every_study_has_a_file_and_models_are_read_in_the_order_of_their_names(folder):
    for other in (cell(model="tiny-frozen"), cell("margin", study="outlook"), cell(data="été")):
        store_result(folder, other, result_of(other, value=1))
        store_result(folder, other, result_of(other, value=1))
    assert sorted(path.name for path in folder.iterdir()) == ["outlook.jsonl", "scores.jsonl"]
    names = [result["name"] for result in read_results(folder)]
    assert [name.split("/")[1] for name in names] == [*["tiny"] * 5, "tiny-frozen"]
    assert "scores/tiny/été-0/entropy" in names


def test_lines_of_another_folder_are_added_by_hand_and_the_last_one_of_a_cell_counts(folder, tmp_path):
    other = tmp_path / "other"
    for score, value in (("entropy", 7), ("max logit", 8)):
        store_result(other, cell(score), result_of(cell(score), value=value))
    path = results_file(folder, "scores")
    path.write_text(path.read_text() + results_file(other, "scores").read_text())
    expected = {"energy": 2, "entropy": 7, "margin": 0, "max logit": 8}
    assert stored(folder) == expected
    sort_results(folder, "scores")
    assert stored(folder) == expected
    assert len(lines(folder)) == 4
    assert lines(folder) == sorted(lines(folder))


def test_sorted_results_are_not_written_again(folder):
    before = results_file(folder, "scores").stat()
    sort_results(folder, "scores")
    sort_results(folder, "outlook")
    assert results_file(folder, "scores").stat() == before
    assert [path.name for path in folder.iterdir()] == ["scores.jsonl"]


@pytest.mark.parametrize("length", [1, 60, 100, -2])
def test_a_last_line_that_is_cut_off_is_left_out_with_a_warning(folder, length):
    path = results_file(folder, "scores")
    *whole, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole) + last[:length])
    with pytest.warns(UserWarning, match="the last line of .*scores.jsonl is incomplete and was left out: run alien"):
        assert stored(folder) == {"energy": 2, "entropy": 1}
    with pytest.warns(UserWarning, match="incomplete"):
        store_result(folder, cell("margin"), result_of(cell("margin"), value=5))
    assert stored(folder) == {"energy": 2, "entropy": 1, "margin": 5}


def test_a_last_line_without_its_end_of_line_is_read(folder):
    path = results_file(folder, "scores")
    path.write_text(path.read_text().rstrip("\n").replace("\n", "\r\n"))
    assert stored(folder) == {"energy": 2, "entropy": 1, "margin": 0}


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("<<<<<<< HEAD", "line 2 of .*scores.jsonl is no result of the study 'scores': remove it and run alien bench"),
        ("", "line 2 of .*scores.jsonl is no result"),
        ("null", "line 2 of .*scores.jsonl is no result"),
        ('{"name": "outlook/tiny/films-0/margin", "key": "' + 64 * "0" + '", "value": 1}', "line 2 of .* no result of"),
        (
            '{"name": "scores/a/b/c", "key": "' + 64 * "0" + '", "value": }',
            "the line of scores/a/b/c in .*scores.jsonl is damaged: remove it and run alien bench again",
        ),
    ],
)
def test_another_damaged_line_is_an_error_that_names_it(folder, damaged, message):
    first, *others = lines(folder)
    results_file(folder, "scores").write_text("\n".join([first, damaged, *others]) + "\n")
    with pytest.raises(DataError, match=message):
        read_results(folder)


def test_files_of_no_study_are_not_read(folder):
    (folder / "facts.jsonl").write_text("[]\n")
    (folder / "facts.json").write_text("{}")
    assert stored(folder) == {"energy": 2, "entropy": 1, "margin": 0}


def test_results_of_version_0_1_are_refused_with_what_to_do(folder):
    old = folder / "scores" / "tiny" / "films-0"
    old.mkdir(parents=True)
    read_results(folder)
    (old / "entropy-01234567.json").write_text("{}")
    message = "results/scores holds one file for each cell, the form before version 0.1.0, which is no longer read"
    with pytest.raises(DataError, match=message):
        read_results(folder)
    assert read_study(folder, "outlook") == []


def test_an_interrupted_write_leaves_the_results_of_before(folder, monkeypatch):
    before = lines(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store_result(folder, cell("max logit"), result_of(cell("max logit"), value=9))
    assert [path.name for path in folder.iterdir()] == ["scores.jsonl"]
    assert lines(folder) == before
    with pytest.raises(ValueError, match="JSON compliant"):
        store_result(folder, cell("max logit"), result_of(cell("max logit"), value=float("nan")))
    assert lines(folder) == before


def test_results_of_several_processes_are_all_kept(tmp_path):
    code = """if True:
        import sys
        from pathlib import Path
        from aligned_entropy.bench.cells import Cell
        from aligned_entropy.bench.results import store_result
        from aligned_entropy.bench.runs import DataSpec, ModelSpec
        for seed in range(15):
            cell = Cell("scores", "entropy", ModelSpec(sys.argv[2], "tiny"), DataSpec("films"), seed)
            store_result(Path(sys.argv[1]), cell, {"cell": cell.facts()})
    """
    models = ["a", "b", "c"]
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), model]) for model in models]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = [(result["cell"]["model"]["name"], result["cell"]["seed"]) for result in read_results(tmp_path)]
    assert sorted(found) == [(model, seed) for model in models for seed in range(15)]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_a_write_waits_for_another_one(folder, monkeypatch):
    """Without the lock, the first write would drop the line of the second one."""
    later = cell("MC dropout SMP")
    second = Thread(target=store_result, args=(folder, later, result_of(later, value=3)))

    def write(path, content):
        monkeypatch.undo()
        second.start()
        second.join(0.5)
        assert second.is_alive()
        write_atomic(path, content)

    monkeypatch.setattr(results, "write_atomic", write)
    store_result(folder, cell("max logit"), result_of(cell("max logit"), value=9))
    second.join()
    assert stored(folder) == {"energy": 2, "entropy": 1, "margin": 0, "max logit": 9, "MC dropout SMP": 3}
