"""Predict Parquet files block by block: the file of a block is complete or missing, even if a worker dies; with Ray."""

import json
import os
import random
import re
import shutil
import signal
import sys
import time
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy import DataError, MissingExtraError, UncertainClassifier
from aligned_entropy.batch import blocks
from aligned_entropy.batch.blocks import Block, BlockWorker, blocks_of, predict_blocks
from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.execution import map_items, task_pool
from aligned_entropy.tasks import TASKS
from fixtures.command_line import in_process
from fixtures.processes import alien, start_alien
from fixtures.sentiment import named

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Three Parquet files with 230 rows in total, in row groups of 50; some texts are empty."""
    monkeypatch.setattr(blocks, "ROWS_PER_BLOCK", 20)
    texts = [text if i % 37 else "" for i, text in enumerate(named(230, 7)["text"])]
    (tmp_path / "in").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(230), 3)):
        table = pa.table({"id": rows, "text": [texts[i] for i in rows]})
        pq.write_table(table, tmp_path / "in" / f"{number}.parquet", row_group_size=50)
    return tmp_path / "in"


def run(source, output, workplace, **options):
    job = PredictionJob(str(source), str(output), None, None, False, "", 1000)
    load = partial(UncertainClassifier.from_pretrained, workplace / "model", head=workplace / "head")
    return predict_blocks(job, load, {"model": str(workplace / "model")}, **options)


def test_blocks_cover_every_row_once(source):
    all_blocks = blocks_of(source)
    assert [block.number for block in all_blocks] == list(range(len(all_blocks)))
    assert sum(block.rows for block in all_blocks) == 230
    assert max(block.rows for block in all_blocks) == 20
    rows = {
        (block.path, block.row_group, row)
        for block in all_blocks
        for row in range(block.start, block.start + block.rows)
    }
    assert len(rows) == 230
    assert blocks_of(source / "0.parquet") == [block for block in all_blocks if block.path.endswith("0.parquet")]


def test_parts_hold_the_predictions_of_predict(source, workplace, tmp_path):
    progress = []
    counts = run(source, tmp_path / "out", workplace, progress=progress.append)
    assert (counts.rows, counts.unreadable) == (230, 7)
    assert sum(progress) == 230
    rows = pd.read_parquet(tmp_path / "out")
    assert rows["id"].tolist() == list(range(230))
    assert list(rows.columns) == ["id", "text", "predicted_label", "uncertainty", "error_probability", "row_error"]
    assert (rows["row_error"].notna() == (rows["text"] == "")).all()
    predicted = rows[rows["text"] != ""]
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    expected = classifier.predict(predicted["text"].tolist())
    assert predicted["predicted_label"].tolist() == expected.labels.tolist()
    np.testing.assert_allclose(predicted["uncertainty"], expected.uncertainty, atol=1e-5)


def test_finished_blocks_are_skipped_and_other_jobs_are_refused(source, workplace, tmp_path):
    output = tmp_path / "out"
    run(source, output, workplace)
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    (output / "part-000003.parquet").unlink()
    (output / "part-000003.parquet.77.writing").write_text("half")
    assert run(source, output, workplace).rows == 230
    after = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"part-000003.parquet"}
    assert set(after) == set(before)
    pq.write_table(pa.table({"id": [1], "text": ["good"]}), source / "3.parquet")
    with pytest.raises(DataError, match="holds predictions of another job"):
        run(source, output, workplace)


def test_the_job_file_keeps_its_names(source, workplace, tmp_path):
    """A run of another version continues a folder only if the names and values in its job file are the same."""
    done = in_process("predict", workplace / "model", source / "0.parquet", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "out" / "_job.json").read_text())
    assert list(facts) == ["key", "format", "job", "made of", "source", "rows of a block"]
    assert facts["job"] == {
        "source": str(source / "0.parquet"),
        "output": "",
        "input_format": None,
        "text_column": None,
        "probabilities": False,
        "prefix": "",
        "max_characters": 100_000,
    }
    assert set(facts["made of"]) == {"model", "head", "prompt", "task", "dtype", "length", "module"}
    assert facts["rows of a block"] == 20


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "1.parquet").write_bytes(b"PAR1 nonsense"), r"1\.parquet cannot be read"),
        (lambda folder: pq.write_table(pa.table({"id": [1], "words": ["a"]}), folder / "1.parquet"), "has the columns"),
        (lambda folder: shutil.rmtree(folder), "there is no Parquet file"),
    ],
)
def test_unreadable_or_different_files_are_named_before_any_work(source, workplace, tmp_path, damage, message):
    damage(source)
    with pytest.raises(DataError, match=message):
        run(source, tmp_path / "out", workplace)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("part-*"))


def test_a_block_that_fails_leaves_the_others(source, workplace, tmp_path, monkeypatch):
    with open(source / "1.parquet", "r+b") as file:  # damages a page and leaves the footer intact
        file.seek(100)
        file.write(os.urandom(400))
    with pytest.raises(DataError, match=r"of 15 blocks failed; the others are in .*1\.parquet, row group 0"):
        run(source, tmp_path / "out", workplace)
    ids = pd.read_parquet(tmp_path / "out")["id"].tolist()
    assert {*range(77), *range(154, 230)} <= set(ids)
    assert len(ids) == len(set(ids)) < 230

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blocks, "write_rows", full)
    result = BlockWorker(lambda: UncertainClassifier.from_pretrained(workplace / "model"), _job(source, tmp_path))(
        Block(0, str(source / "0.parquet"), 0, 0, 20)
    )
    assert (result.counts.rows, "No space left" in result.problem) == (0, True)


def test_an_output_inside_the_input_is_refused(source, workplace):
    for output in (source, source / "predictions", source / "deep" / "predictions"):
        with pytest.raises(DataError, match=r"inside the input folder .*: name a folder outside it"):
            run(source, output, workplace)
    assert run(source / "0.parquet", source / "predictions", workplace).rows == 77, "an input file is not a folder"


def test_an_option_that_the_task_does_not_have_is_refused_before_any_block(source, workplace, tmp_path):
    class TokenClassifier:
        task, saved, label_names = TASKS["token-classification"], None, ("O", "B-PER")

    job = PredictionJob(str(source), str(tmp_path / "out"), None, None, True, "", 1000)
    with pytest.raises(DataError, match="token classification predicts a tag for every word"):
        predict_blocks(job, TokenClassifier, {})
    assert not list((tmp_path / "out").glob("part-*"))


def test_a_row_group_is_read_once_and_block_by_block(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS_PER_BLOCK", 20)
    source, ids = tmp_path / "in.parquet", np.arange(230)
    names = pa.array([f"name {i % 90}" for i in ids]).dictionary_encode()
    pq.write_table(pa.table({"text": named(230, 7)["text"], "id": ids, "name": names}), source, row_group_size=150)
    opened, original = [], blocks._RowGroupReader
    monkeypatch.setattr(blocks, "_RowGroupReader", lambda block: opened.append(block.row_group) or original(block))
    worker = BlockWorker(lambda: UncertainClassifier.from_pretrained(workplace / "model"), _job(source, tmp_path))
    all_blocks = blocks_of(source)
    (tmp_path / "out").mkdir()

    def ids_of(some_blocks):
        assert all(worker(block).problem is None for block in some_blocks)
        return pd.concat(pd.read_parquet(tmp_path / "out" / block.part) for block in some_blocks)["id"].tolist()

    assert ids_of(all_blocks) == ids.tolist()
    assert opened == [0, 1]
    assert ids_of(all_blocks[1:8:3]) == [*range(20, 40), *range(80, 100), *range(140, 150)]  # one of several workers
    assert ids_of(all_blocks[3:1:-1]) == [*range(60, 80), *range(40, 60)]
    assert opened == [0, 1, 0, 0, 0]
    pq.write_table(pa.table({"text": ["good"], "id": [1], "name": names[:1]}), source)
    assert "the file has other rows than at the start of the run" in worker(all_blocks[0]).problem
    assert "the file has other rows" in worker(all_blocks[5]).problem


def _job(source, tmp_path):
    return PredictionJob(str(source), str(tmp_path / "out"), None, None, False, "", 1000)


def killed_after_a_part(process, folder, share):
    """Kill a process a share of 20 ms after it has written one more part; True if it had not ended before."""

    def count_parts():
        return len(list(folder.glob("part-*.parquet")))

    before, deadline = count_parts(), time.time() + 240
    while count_parts() == before and process.poll() is None:
        assert time.time() < deadline
        time.sleep(0.002)
    time.sleep(0.02 * share)
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


def test_four_kills_change_nothing(workplace, tmp_path):
    pq.write_table(pa.table({"text": named(6000, 7)["text"]}), tmp_path / "in.parquet", row_group_size=500)
    arguments = ["predict", workplace / "model", tmp_path / "in.parquet", "--head", workplace / "head", "-o"]
    assert start_alien(*arguments, tmp_path / "uninterrupted").wait(300) == 0
    output, draw = tmp_path / "out", random.Random(0)
    killed = sum(killed_after_a_part(start_alien(*arguments, output), output, draw.random()) for _ in range(4))
    assert killed > 1, "the runs were over before they could be killed"
    assert start_alien(*arguments, output).wait(300) == 0
    for part in sorted((tmp_path / "uninterrupted").glob("part-*")):
        assert (tmp_path / "out" / part.name).read_bytes() == part.read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "uninterrupted").iterdir()
    }


# --- Ray.


@pytest.mark.exhaustive
@pytest.mark.unix
@needs_ray
def test_a_worker_that_dies_loses_and_doubles_nothing(tmp_path):
    flag = str(tmp_path / "dead")

    def make():
        def square(number):
            if number == 7 and not os.path.exists(flag):  # the first worker that gets 7 dies
                open(flag, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return number, number**2

        return square

    results = list(map_items("ray", 2, make, range(12)))
    assert os.path.exists(flag)
    assert sorted(results) == [(number, number**2) for number in range(12)]


@needs_ray
def test_tasks_on_ray_are_futures():
    def divide(number, by):
        return number // by

    with task_pool("ray", 2) as submit:
        futures = [submit(divide, number, 5) for number in range(8)]
        assert [future.result() for future in futures] == [number // 5 for number in range(8)]
        failed = submit(divide, 1, 0)
        assert "ZeroDivisionError" in str(failed.exception())


@pytest.mark.exhaustive
@needs_ray
def test_on_a_cluster_with_gpus_every_worker_has_its_own_gpu(monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray then listens on 127.0.0.1 only
    import ray

    def make():
        gpus = visible_gpus()
        return lambda number: time.sleep(0.05) or (number, gpus)

    def visible_gpus():
        return os.environ["CUDA_VISIBLE_DEVICES"]

    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)  # the GPUs need not exist
    try:
        results = list(map_items("ray", 3, make, range(40)))  # a third worker would wait for a GPU forever
        with task_pool("ray", 3) as submit:
            assert submit(visible_gpus).result() in ("0", "1")
    finally:
        ray.shutdown()
    assert sorted(number for number, _ in results) == [*range(40)]
    assert {gpu for _, gpu in results} == {"0", "1"}


@needs_ray
def test_ray_and_one_process_predict_the_same(workplace, tmp_path):
    texts = named(300, 7)["text"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet", row_group_size=50)
    arguments = ["predict", workplace / "model", tmp_path / "in.parquet", "--head", workplace / "head"]
    done = alien(*arguments, "-o", tmp_path / "ray", "--engine", "ray", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "300 of 300 rows predicted" in done.stderr
    assert in_process(*arguments, "-o", tmp_path / "local").exit_code == 0
    assert pd.read_parquet(tmp_path / "ray").equals(pd.read_parquet(tmp_path / "local"))
    assert "made of" in json.loads((tmp_path / "ray" / "_job.json").read_text())


def test_a_missing_engine_is_named(workplace, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"aligned-entropy\[ray\]"):
        list(map_items("ray", 1, lambda: abs, [1]))
    done = in_process("predict", workplace / "model", workplace / "test.jsonl", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "a folder is written for Parquet files only" in re.sub(r"[\s│]+", " ", done.output)
    done = in_process(
        "predict", workplace / "model", workplace / "test.jsonl", "--engine", "ray", "-o", tmp_path / "out.csv"
    )
    assert done.exit_code == 2
    assert "writes a folder of Parquet files" in done.output
