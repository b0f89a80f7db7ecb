"""`alien predict`: every row out exactly once, in order, and a killed run goes on where it stopped.

With a file on both ends the answers are kept in a journal beside the output, and joined with the rows at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.columns import TOKEN_COLUMNS
from ..errors import DataError
from .rows import Row, Table, batched, check_output, format_of, open_rows, write_rows

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..predictions import Row as PredictedRow

Answer = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What to read, what to write and what to add; see ``alien predict --help``."""

    source: str
    output: str
    input_format: str | None
    text_column: str | None
    probabilities: bool
    prefix: str
    max_characters: int

    @property
    def kind_in(self) -> str:
        """Format of the input."""
        return format_of(self.source, self.input_format, "input")

    @property
    def kind_out(self) -> str:
        """Format of the output; on stdout that of the input, or JSON Lines."""
        same = self.kind_in if self.kind_in in ("csv", "tsv") else "jsonl"
        return format_of(self.output, same if self.output == "-" else None, "output")

    @property
    def accepted(self) -> str:
        """Name of the column that says whether an answer may be relied on."""
        return f"{self.prefix}accepted"

    def check(self) -> None:
        """Raise what can be known to go wrong before any work is done."""
        _ = self.kind_out
        if self.output != "-":
            check_output(self.output)
        if self.source != "-" and (not Path(self.source).exists() or Path(self.source).is_dir()):
            raise DataError(f"input {self.source}: there is no such file.")

    def check_task(self, classifier: UncertainClassifier) -> None:
        """Raise what is asked for and the task does not have."""
        self.added(classifier)

    def added(self, classifier: UncertainClassifier) -> list[str]:
        """Names of the added columns, in order."""
        names = classifier.task.prediction_columns(classifier.saved, self._with_probability(classifier))
        return [self.prefix + name for name in [*names, "error"]]

    def values(self, classifier: UncertainClassifier, row: PredictedRow) -> dict[str, Any]:
        """Values of the added columns for a predicted row, without an error."""
        columns = row.columns(self._with_probability(classifier))
        return {self.prefix + name: value for name, value in (columns | {"error": None}).items()}

    def _with_probability(self, classifier: UncertainClassifier) -> list[str]:
        """Class names that get a probability column."""
        return list(classifier.label_names) if self.probabilities else []


def run(classifier: UncertainClassifier, job: Job, progress: Callable[[int], object]) -> tuple[int, int]:
    """Answer every row; returns how many rows there were, and how many have an error."""
    job.check()
    job.check_task(classifier)
    added, counts = job.added(classifier), [0, 0]
    with open_rows(job.source, job.kind_in) as table:
        job = settled(job, classifier, table)
        if "-" not in (job.source, job.output) and Path(job.source).is_file():
            return _run_with_journal(classifier, job, table, progress)

        def finished() -> Iterator[dict[str, Any]]:
            for batch in batched(table.rows):
                for row, answer in zip(batch, answer_rows(classifier, job, batch), strict=True):
                    counts[0] += 1
                    counts[1] += answer[added[-1]] is not None
                    progress(1)
                    yield row.columns | answer

        if job.output == "-":
            write_rows(finished, table.columns, added, job.output, job.kind_out, job.accepted)
            return counts[0], counts[1]
        with tempfile.TemporaryFile("w+") as spool:
            spool.writelines(json.dumps(row) + "\n" for row in finished())

            def again() -> Iterator[dict[str, Any]]:
                spool.seek(0)
                yield from map(json.loads, spool)

            write_rows(again, table.columns, added, job.output, job.kind_out, job.accepted)
    return counts[0], counts[1]


def compare(
    one: UncertainClassifier, other: UncertainClassifier, job: Job, rows: int = 256
) -> tuple[int, float, float]:
    """How far two classifiers differ on the first rows of a file that can be answered.

    Returns:
        Texts that were compared, the share of their answers that differ, and the rank correlation of the uncertainty.
    """
    from scipy.stats import spearmanr

    names = job.added(one)
    with open_rows(job.source, job.kind_in) as table:
        job = settled(job, one, table)
        first = list(islice(table.rows, rows))
    said = [list(answer_rows(classifier, job, first)) for classifier in (one, other)]
    pairs = [pair for pair in zip(*said, strict=True) if pair[0][names[-1]] is None and pair[1][names[-1]] is None]
    labels = one.task.labels_only
    differ = [labels(a[names[0]]) != labels(b[names[0]]) for a, b in pairs]
    doubts = np.array([[row[names[1]] for row in pair] for pair in pairs]).reshape(-1, 2)
    correlation = float(spearmanr(*doubts.T).statistic) if len(np.unique(doubts[:, 0])) > 1 else float("nan")
    return len(pairs), float(np.mean(differ)) if differ else float("nan"), correlation


def _run_with_journal(
    classifier: UncertainClassifier, job: Job, table: Table, progress: Callable[[int], object]
) -> tuple[int, int]:
    added = job.added(classifier)
    journal = Journal(Path(f"{job.output}.journal"), _job_key(classifier, job), added)

    def joined() -> Iterator[dict[str, Any]]:
        with open_rows(job.source, job.kind_in) as again:
            for row, answer in zip(again.rows, journal.answers(), strict=True):
                yield row.columns | answer

    try:
        progress(journal.done)
        for batch in batched(islice(table.rows, journal.done, None)):
            journal.append(list(answer_rows(classifier, job, batch)))
            progress(len(batch))
        write_rows(joined, table.columns, added, job.output, job.kind_out, job.accepted)
        journal.remove()
    finally:
        journal.close()
    return journal.done, journal.failed


def settled(job: Job, classifier: UncertainClassifier, table: Table) -> Job:
    """The job with the column of the texts: the one asked for, or one with a usual name; ``table.rows`` stays whole.

    Raises:
        DataError: no row has it, or the columns to be added are there already.
    """
    known = classifier.task.text_columns
    asked, added = job.text_column, job.added(classifier)
    usual = known if asked is None else (asked,)
    columns, seen = dict.fromkeys(table.columns), list[Row]()
    for batch in batched(table.rows):
        seen += batch
        columns |= dict.fromkeys(name for row in batch if row.problem is None for name in row.columns)
        if any(name in columns for name in usual):
            break
    table.rows = chain(seen, table.rows)
    taken = [name for name in added if name in table.columns or (seen and name in seen[0].columns)]
    if taken:
        raise DataError(f"the input has a column {taken[0]!r} of its own: pass --prefix, so that both can stay.")
    found = next((name for name in usual if name in columns), None)
    if found is None and columns:
        what = f"column {asked!r}" if asked else f"text column (looked for {', '.join(usual)})"
        raise DataError(f"the input has no {what}; its columns are {', '.join(columns)}: name one by --text-column.")
    return replace(job, text_column=found or usual[0])


def answer_rows(classifier: UncertainClassifier, job: Job, rows: list[Row]) -> Iterator[Answer]:
    """The added columns of every row."""
    added = job.added(classifier)
    problems = [_problem(row, job, added, classifier.task.per_word) for row in rows]
    column = str(job.text_column)
    texts = [row.columns[column] for row, problem in zip(rows, problems, strict=True) if problem is None]
    answers = iter(classifier.predict(texts))
    for problem in problems:
        if problem is not None:
            yield dict.fromkeys(added) | {added[-1]: problem}
            continue
        answer = next(answers)
        if answer.is_finite:
            yield job.values(classifier, answer)
        else:
            yield dict.fromkeys(added) | {added[-1]: "the model's answer is not a finite number"}


def _problem(row: Row, job: Job, added: list[str], words: bool) -> str | None:
    """Why a row cannot be answered."""
    taken = {name: row.columns[name] for name in added if name in row.columns}
    if taken:
        own = json.dumps(taken, ensure_ascii=False, default=str)
        return f"the row has columns of its own by the names of those that are added, {own}: pass --prefix"
    if row.problem is not None:
        return row.problem
    if job.text_column not in row.columns:
        return f"no column {job.text_column!r}"
    text = row.columns[job.text_column]
    if words and isinstance(text, list) and all(isinstance(word, str) for word in text):
        text = " ".join(text)
    elif words and isinstance(text, str) and job.text_column in TOKEN_COLUMNS:
        return f"the words are a string, not a list: {text!r:.80}"
    if not isinstance(text, str):
        return f"the text is a {type(text).__name__}, not a string"
    if not text.strip():
        return "the text is empty"
    if len(text) > job.max_characters:
        return f"the text has {len(text)} characters, more than {job.max_characters}"
    return None


def _job_key(classifier: UncertainClassifier, job: Job) -> str:
    """What a journal must have been written for, to be gone on with."""
    from ..saved.format import head_fingerprint

    stat = os.stat(job.source)
    made_of = [classifier.backbone.model_fingerprint, head_fingerprint(classifier.saved), classifier.label_names]
    facts = [*made_of, asdict(job), stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _answer(line: bytes) -> Answer | None:
    """A line of a journal, or None if it is none."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


class Journal:
    """Predictions as JSON Lines, after a first line that says of which job; what is not of this job is thrown away.

    Args:
        path: the file.
        key: of the job.
        names: of the columns of an answer, the last of which is the error.

    Attributes:
        done: answers in it.
        failed: those of them that are errors.
    """

    def __init__(self, path: Path, key: str, names: list[str]) -> None:
        self.path, self.names, self.done, self.failed = path, names, 0, 0
        self._head = json.dumps({"job": key}).encode() + b"\n"
        size = self._valid()
        self._file = open(path, "r+b" if size else "wb")  # noqa: SIM115
        if size:
            self._file.seek(size)
            self._file.truncate()  # a line that was cut off by the kill, or what follows damage
        else:
            self._file.write(self._head)

    def _valid(self) -> int:
        """Bytes of the first whole lines of a journal of this job; counts the answers in them."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb") as file:
            if file.readline() != self._head:
                return 0
            size = len(self._head)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                answer = _answer(line)
                if answer is None or list(answer) != self.names:
                    print(f"{self.path} is damaged after {self.done} rows: going on from there", file=sys.stderr)
                    break
                size += len(line)
                self._count([answer])
        return size

    def _count(self, answers: list[Answer]) -> None:
        self.done += len(answers)
        self.failed += sum(answer[self.names[-1]] is not None for answer in answers)

    def append(self, answers: list[Answer]) -> None:
        """Add answers; they are on disk when this returns."""
        self._file.write(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._count(answers)

    def answers(self) -> Iterator[Answer]:
        """All answers, from the first."""
        self._file.flush()
        with open(self.path, "rb") as file:
            file.readline()
            yield from map(json.loads, file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Delete it, the work being done."""
        self.close()
        self.path.unlink()
