"""Outputs of batch prediction: links, two runs at once, files of other versions, compression, safe CSV, counts."""

import csv
import gzip
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy.batch.counts import RowCounts
from aligned_entropy.batch.folders import claim_folder, open_folder, stored_counts
from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.batch.locking import check_unlocked, locked
from aligned_entropy.batch.predict import predict_file
from aligned_entropy.batch.writing import write_rows
from aligned_entropy.data.files.safe_cells import safe_cell
from aligned_entropy.errors import DataError
from aligned_entropy.features.files import write_atomic
from aligned_entropy.selective import Goal, Rule, Threshold
from fixtures.stub import Stub

TEXTS = ["a", "", "much longer", "b" * 60]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text, "id": n}) + "\n" for n, text in enumerate(TEXTS)))
    return path


def job(source, output, **options):
    return replace(PredictionJob(str(source), str(output), None, None, False, "", 1000), **options)


def run(source, output, classifier=None, **options):
    return predict_file(classifier or Stub(), job(source, output, **options), lambda rows: None)


def read_csv(path, opened=open):
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- Counts.


def test_counts_are_sums_over_all_rows(source, tmp_path):
    rule = Rule(Goal(coverage=0.5), {"": Threshold(0.2, 1, 1, 0, 1.0, 0.0, "")})
    counts = run(source, tmp_path / "out.csv", Stub(error_probabilities=True, rule=rule, max_length=50))
    # The uncertainties of the three texts are .01, .11 and .6, and so are the error probabilities.
    assert counts.to_dict() == {
        "rows": 4,
        "predicted": 3,
        "unreadable": 1,
        "entities": None,
        "accepted": 2,
        "for_review": 1,
        "truncated": 1,
        "expected_error_rate": pytest.approx((0.01 + 0.11 + 0.6) / 3),
        "estimated_accuracy": None,  # the head of the stub is untrained
    }
    assert counts.first_reason == "the text is empty"


def test_without_head_and_threshold_nothing_is_expected_or_decided(source, tmp_path):
    counts = run(source, tmp_path / "out.csv")
    assert (counts.expected_error_rate, counts.undecided, counts.has_threshold) == (None, 3, False)
    assert counts.to_dict()["accepted"] is None


def test_counts_of_entities(source, tmp_path):
    columns = replace(job(source, tmp_path / "out.csv").added_columns(Stub()), prediction="entities", per_word=True)
    values = {"row_error": None, "truncated": False, "error_probability": 0.25}
    entities = [{"accepted": True}, {"accepted": True}, {"accepted": False}]
    counts = RowCounts.of_rows([values | {"entities": entities}], columns)
    rows = [values | {"entities": [], "error_probability": 0.75}, columns.without_prediction("bad")]
    counts += RowCounts.of_rows(rows, columns)
    assert (counts.rows, counts.entities, counts.accepted, counts.deferred, counts.undecided) == (3, 3, 2, 1, 0)
    assert counts.expected_error_rate == 0.5


def test_a_continued_run_counts_the_rows_of_the_first_one(source, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", 2)
    classifier = Stub(error_probabilities=True, max_length=50)
    expected = run(source, tmp_path / "uninterrupted.jsonl", classifier)
    with monkeypatch.context() as patch:
        patch.setattr("aligned_entropy.batch.predict.write_rows", broken_disk)
        with pytest.raises(OSError, match="full"):
            run(source, tmp_path / "out.jsonl", classifier)
    monkeypatch.setattr(
        Stub, "predict", lambda self, texts: pytest.fail("all rows are in the journal") if texts else []
    )
    assert run(source, tmp_path / "out.jsonl", classifier) == expected


def broken_disk(*_, **__):
    raise OSError("full")


def test_the_column_truncated_is_written_on_request(source, tmp_path):
    classifier = Stub(max_length=50)
    run(source, tmp_path / "without.csv", classifier)
    run(source, tmp_path / "with.csv", classifier, truncated=True)
    assert list(read_csv(tmp_path / "without.csv")[0]) == ["text", "id", "predicted_label", "uncertainty", "row_error"]
    rows = read_csv(tmp_path / "with.csv")
    assert list(rows[0])[2:] == ["predicted_label", "uncertainty", "truncated", "row_error"]
    assert [row["truncated"] for row in rows] == ["False", "", "False", "True"]


# --- Links and files that exist.


@pytest.mark.unix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(source, tmp_path, exists):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "target.jsonl", tmp_path / "link.jsonl"
    if exists:
        target.write_text("old")
        target.chmod(0o640)
    link.symlink_to(target)
    run(source, link)
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 4
    assert not exists or target.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in.jsonl", "link.jsonl"]
    assert [path.name for path in target.parent.iterdir()] == ["target.jsonl"]


@pytest.mark.unix
def test_an_atomic_write_follows_a_link_and_leaves_no_half_file(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    write_atomic(link, b"new")
    assert (link.is_symlink(), (tmp_path / "target").read_bytes()) == (True, b"new")
    with pytest.raises(TypeError):
        write_atomic(link, "no bytes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


@pytest.mark.unix
def test_a_pipe_is_refused_as_output(source, tmp_path):
    os.mkfifo(tmp_path / "out.csv")
    with pytest.raises(DataError, match="a device or a pipe"):
        run(source, tmp_path / "out.csv")


# --- Two runs.


@pytest.mark.unix
def test_a_second_run_into_the_same_output_is_refused(source, tmp_path):
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "out.jsonl")
    first = job(source, tmp_path / "out.jsonl")
    with locked(first.lock_path, first.output):
        for output in (tmp_path / "out.jsonl", link):
            with pytest.raises(DataError, match=rf"is being written by process {os.getpid()} on .*: wait for the end"):
                job(source, output).check()
            with pytest.raises(DataError, match="is being written"):
                run(source, output)
    assert run(source, link).rows == 4
    assert not first.lock_path.exists()


def test_the_lock_of_a_process_that_died_is_free(tmp_path):
    path = tmp_path / "out.csv.lock"
    code = (
        "import os, sys; from pathlib import Path; from aligned_entropy.batch.locking import locked\n"
        "with locked(Path(sys.argv[1]), 'out.csv'): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.read_text().startswith("process ")
    check_unlocked(path, "out.csv")
    assert not path.exists()


def test_a_second_run_does_not_disturb_the_folder_of_the_first(tmp_path):
    folder = tmp_path / "deep" / "out"
    with open_folder(folder):
        claim_folder(folder, {"job": 1})
        with pytest.raises(DataError, match="is being written"), open_folder(folder):
            pass
        assert (folder / "_job.json").exists()
    assert list(tmp_path.iterdir()) == []  # no block was finished


# --- Other versions and other jobs.


@pytest.mark.parametrize("row", ['{"predicted_label": "short", "uncertainty": 0.01, "error": null}\n', ""])
def test_a_journal_of_an_earlier_version_is_refused(source, tmp_path, row):
    journal = tmp_path / "out.jsonl.journal"
    journal.write_text('{"job": "0123abcd"}\n' + row)
    before = journal.read_bytes()
    with pytest.raises(
        DataError, match=r"out\.jsonl\.journal .* another version .*: finish the run .* or delete the file"
    ):
        run(source, tmp_path / "out.jsonl")
    assert journal.read_bytes() == before
    assert not (tmp_path / "out.jsonl").exists()


def with_block(folder, facts):
    folder.mkdir()
    (folder / "_job.json").write_text(json.dumps(facts))
    pq.write_table(pa.table({"text": ["a"], "error": [None]}), folder / "part-000000.parquet")
    return folder


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"key": "0123", "job": {}},
            r"predictions of another version .*: name another folder, remove this one, or finish",
        ),
        ({"key": "0123", "format": 3, "job": {}}, "predictions of another job"),
    ],
)
def test_a_folder_of_another_version_or_job_is_refused(tmp_path, facts, message):
    folder = with_block(tmp_path / "out", facts)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=message), open_folder(folder):
        claim_folder(folder, {"job": 1})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "_job.json").unlink()
    with pytest.raises(DataError, match="another job"), open_folder(folder):
        claim_folder(folder, {"job": 1})


def test_a_folder_without_finished_blocks_is_free(tmp_path):
    folder = with_block(tmp_path / "out", {"key": "0123", "job": {}})
    (folder / "part-000000.parquet").rename(folder / "part-000000.parquet.77")
    with open_folder(folder):
        claim_folder(folder, {"job": 1})
    assert list(folder.iterdir()) == []


def test_the_file_of_a_block_holds_its_counts(tmp_path):
    from aligned_entropy.batch.folders import as_metadata

    counts = RowCounts(3, 1, expected_errors=0.1, first_reason="empty")
    path = tmp_path / "part-000000.parquet"
    write_rows(lambda: [{"a": 1}], {"a": None}, {}, str(path), "parquet", metadata=as_metadata(counts))
    assert stored_counts(path) == counts
    assert asdict(counts)["rows"] == 3
    pq.write_table(pa.table({"a": [1]}), path)
    assert stored_counts(path) is None
    path.write_bytes(b"PAR1 damaged")
    assert stored_counts(path) is None


def test_options_at_their_default_do_not_change_the_facts_of_a_job(source, tmp_path):
    facts = job(source, tmp_path / "out.csv").facts
    names = ["source", "output", "input_format", "text_column", "probabilities", "prefix", "max_characters"]
    assert list(facts) == names
    assert list(job(source, tmp_path / "out.csv", delimiter=";").facts) == [*names, "delimiter"]


# --- Formats.


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_compressed_output_holds_the_same(source, tmp_path, ending):
    plain, compressed = tmp_path / f"out.{ending}", tmp_path / f"out.{ending}.gz"
    run(source, plain)
    run(source, compressed)
    assert gzip.decompress(compressed.read_bytes()) == plain.read_bytes()


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.txt.gz", "out.gz"])
def test_other_compressed_formats_are_refused(source, tmp_path, name):
    with pytest.raises(DataError, match=name):
        job(source, tmp_path / name).check()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("'tis", "''tis"),
        ("-5", "-5"),
        ("+3.25e-7", "+3.25e-7"),
        ("-.5", "-.5"),
        ("- 5", "'- 5"),
        ("--5", "'--5"),
        ("plain = text", "plain = text"),
        (-5, -5),
        (None, None),
        ("", ""),
    ],
)
def test_texts_that_a_spreadsheet_would_run_get_an_apostrophe(value, expected):
    assert safe_cell(value) == expected
    if isinstance(value, str):
        assert safe_cell(value).removeprefix("'") == value


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_safe_csv_is_an_option(tmp_path, ending):
    source, header = tmp_path / "in.jsonl", "=HYPERLINK(A1)"
    source.write_text(json.dumps({"text": "=1+1", header: "@x", "n": -3, "note": "-3"}) + "\n")
    run(source, tmp_path / f"plain.{ending}")
    run(source, tmp_path / f"safe.{ending}", safe_csv=True)
    delimiter = "\t" if ending == "tsv" else ","
    plain, safe = (
        [
            next(csv.reader([line], delimiter=delimiter))
            for line in (tmp_path / f"{name}.{ending}").read_text().splitlines()
        ]
        for name in ("plain", "safe")
    )
    assert plain == [
        ["text", header, "n", "note", "predicted_label", "uncertainty", "row_error"],
        ["=1+1", "@x", "-3", "-3", "short", "0.04", ""],
    ]
    assert safe == [
        ["text", f"'{header}", "n", "note", "predicted_label", "uncertainty", "row_error"],
        ["'=1+1", "'@x", "-3", "-3", "short", "0.04", ""],
    ]
