"""`alien predict`: every row out exactly once, in order, and a killed run goes on where it stopped.

With a file on both ends the answers are kept in a journal beside the output, and joined with the rows at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .rows import Row, batched, format_of, read_rows, write_rows

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier

Answer = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What to read, what to write and what to add; see ``alien predict --help``."""

    source: str
    output: str
    input_format: str | None
    text_column: str
    probabilities: bool
    prefix: str
    max_characters: int

    def added(self, classifier: UncertainClassifier) -> list[str]:
        """Names of the added columns, in order."""
        fitted = classifier.head.error_model is not None
        names = ["predicted_label", "uncertainty", *(["error_probability"] if fitted else [])]
        names += [f"probability_{name}" for name in classifier.label_names] if self.probabilities else []
        return [self.prefix + name for name in [*names, "error"]]


def run(classifier: UncertainClassifier, job: Job, progress: Callable[[int], object]) -> tuple[int, int]:
    """Answer every row; returns how many rows there were, and how many have an error."""
    kind_in = format_of(job.source, job.input_format, "input")
    same_kind = "jsonl" if kind_in == "txt" else kind_in
    kind_out = format_of(job.output, same_kind if job.output == "-" else None, "output")
    counts = [0, 0]
    added = job.added(classifier)

    def count(answers: Iterator[Answer]) -> Iterator[Answer]:
        for answer in answers:
            counts[0] += 1
            counts[1] += answer[added[-1]] is not None
            progress(1)
            yield answer

    if job.source == "-" or job.output == "-":
        finished = (
            _join(row, answer)
            for batch in batched(read_rows(job.source, kind_in))
            for row, answer in zip(batch, count(answer_rows(classifier, job, batch)), strict=True)
        )
        write_rows(finished, added, job.output, kind_out)
        return counts[0], counts[1]
    journal = Journal(Path(f"{job.output}.journal"), _job_key(classifier, job))
    try:
        done = journal.done
        for _ in range(done):
            progress(1)
        rows = read_rows(job.source, kind_in)
        for _ in range(done):
            next(rows)
        for batch in batched(rows):
            journal.append(list(answer_rows(classifier, job, batch)))
            for _ in batch:
                progress(1)
        progress = _ignore
        answers = count(journal.answers())
        joined = (_join(row, answer) for row, answer in zip(read_rows(job.source, kind_in), answers, strict=True))
        write_rows(joined, added, job.output, kind_out)
        journal.remove()
    finally:
        journal.close()
    return counts[0], counts[1]


def _ignore(_: int) -> None:
    """No progress: the rows have been counted."""


def answer_rows(classifier: UncertainClassifier, job: Job, rows: list[Row]) -> Iterator[Answer]:
    """The added columns of every row."""
    added = job.added(classifier)
    problems = [_problem(row, job, added) for row in rows]
    texts = [row.columns[job.text_column] for row, problem in zip(rows, problems, strict=True) if problem is None]
    answers = iter(classifier.predict(texts))
    for problem in problems:
        if problem is not None:
            yield dict.fromkeys(added) | {added[-1]: problem}
            continue
        answer = next(answers)
        values: list[Any] = [answer.label, answer.uncertainty]
        values += [] if answer.error_probability is None else [answer.error_probability]
        values += answer.probabilities.tolist() if job.probabilities else []
        yield dict(zip(added, [*values, None], strict=True))


def _problem(row: Row, job: Job, added: list[str]) -> str | None:
    """Why a row cannot be answered."""
    taken = [name for name in added if name in row.columns]
    if taken:
        raise DataError(f"the input has a column {taken[0]!r} of its own: pass --prefix, so that both can stay.")
    if row.problem is not None:
        return row.problem
    if job.text_column not in row.columns:
        return f"no column {job.text_column!r}"
    text = row.columns[job.text_column]
    if not isinstance(text, str):
        return f"the text is a {type(text).__name__}, not a string"
    if not text.strip():
        return "the text is empty"
    if len(text) > job.max_characters:
        return f"the text has {len(text)} characters, more than {job.max_characters}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the text is not valid Unicode: {error.reason}"
    return None


def _join(row: Row, answer: Answer) -> dict[str, Any]:
    return row.columns | answer


def _job_key(classifier: UncertainClassifier, job: Job) -> str:
    """What a journal must have been written for, to be gone on with."""
    stat = os.stat(job.source)
    digest = hashlib.sha256(classifier.backbone.fingerprint.encode())
    for name, tensor in sorted(classifier.head.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps([asdict(job), stat.st_size, stat.st_mtime_ns]).encode())
    return digest.hexdigest()


class Journal:
    """Answers as JSON Lines, after a first line that says of which job; what is not of this job is thrown away.

    Args:
        path: the file.
        key: of the job.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.done = path, 0
        size = self._valid(key)
        self._file = open(path, "r+b" if size else "wb")  # noqa: SIM115
        if size:
            self._file.seek(size)
            self._file.truncate()  # a line that was cut off by the kill
        else:
            self._file.write(json.dumps({"job": key}).encode() + b"\n")

    def _valid(self, key: str) -> int:
        """Bytes of the complete lines of a journal of this job, and how many answers they are."""
        if not self.path.exists():
            return 0
        size = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n") or (number == 0 and line != json.dumps({"job": key}).encode() + b"\n"):
                    break
                size += len(line)
                self.done = number
        return size

    def append(self, answers: list[Answer]) -> None:
        """Add answers; they are on disk when this returns."""
        self._file.write(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers))
        self._file.flush()
        os.fsync(self._file.fileno())

    def answers(self) -> Iterator[Answer]:
        """All answers, from the first."""
        with open(self.path, "rb") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Delete it, the work being done."""
        self.close()
        self.path.unlink()
