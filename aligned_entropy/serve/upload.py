"""Rows that a visitor of the page has given, with their answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..batch.answers import Job, answer_rows
from ..batch.rows import Row, format_of, open_rows, write_rows
from ..classifier import UncertainClassifier
from ..errors import DataError
from ..selective import Rule
from ..tasks import Task
from .server import Server

LONGEST = 10_000  # rows of a sheet
PREFIX = "alien_"  # of added columns, where the file has some by their names
LATER = ("error_probability", "accepted")  # columns that are looked for, or added, whatever the head has


@dataclass(frozen=True)
class UploadedTable:
    """Rows and answers.

    Attributes:
        task: of the classifier.
        rows: columns of every row, with those that were added.
        known: columns that were there, in their order.
        added: names of the added columns: the answer, its uncertainty … ``accepted``, and the error.
        text: the column with the texts.
        head: version of the head that answered.
    """

    task: Task
    rows: list[dict[str, Any]]
    known: list[str]
    added: list[str]
    text: str
    head: str

    def name(self, what: str) -> str:
        """Of an added column: ``answer``, or as in a file of ``alien predict`` without a prefix."""
        if what == "answer":
            return self.added[0]
        prefix = self.added[-1].removesuffix("error")
        return prefix + what

    def decided(self, rule: Rule | None) -> UploadedTable:
        """The same with what a rule accepts."""
        if rule is None:
            return self
        if self.task.per_word:
            return replace(self, rows=[row | self._decided_entities(row, rule) for row in self.rows])
        accepted, uncertainty, answer = self.name("accepted"), self.name("uncertainty"), self.name("answer")
        labels = [row[answer] if isinstance(row[answer], str) else "" for row in self.rows]
        doubts = [float("nan") if row[uncertainty] is None else row[uncertainty] for row in self.rows]
        decisions = rule.accepts(doubts, labels).tolist()
        added = [*(name for name in self.added[:-1] if name != accepted), accepted, self.added[-1]]
        return replace(
            self, rows=[row | {accepted: yes} for row, yes in zip(self.rows, decisions, strict=True)], added=added
        )

    def _decided_entities(self, row: dict[str, Any], rule: Rule) -> dict[str, Any]:
        found = row[self.name("answer")]
        if not found:
            return {}
        accepted = rule.accepts([own["uncertainty"] for own in found], [own["entity_group"] for own in found])
        named = zip(found, accepted.tolist(), strict=True)
        return {self.name("answer"): [own | {"accepted": yes} for own, yes in named]}

    def look(self, most: int) -> tuple[list[dict[str, Any]], str]:
        """Rows as the page shows them, and a sentence: in their order, or the most doubtful where there are more."""
        rows = [self._look(row) for row in self.rows]
        answered = [row for row in rows if row["error"] is None]
        decisions = [own["accepted"] for row in answered for own in row.get("entities", [row])]
        what = "entities" if self.task.per_word else "answers"
        parts = [f"{len(answered)} of {len(rows)} texts are answered"]
        if decisions and None not in decisions:
            parts.append(f"{sum(decisions)} of {len(decisions)} {what} are accepted")
        if len(rows) > most:
            rows = sorted(rows, key=lambda row: -math.inf if row["error"] else -row["doubt"])[:most]
            parts.append(f"below are the {most} most doubtful ones")
        return rows, "; ".join(parts) + "."

    def _look(self, row: dict[str, Any]) -> dict[str, Any]:
        answer, error = row[self.name("answer")], row[self.name("error")]
        look: dict[str, Any] = {"text": _plain(row.get(self.text)), "error": error}
        if error is not None:
            return look
        if self.task.per_word:
            look["entities"] = [own | {"doubt": _doubt(own), "accepted": own.get("accepted")} for own in answer]
        else:
            look["answer"] = answer if isinstance(answer, str) else ", ".join(answer) or "none"
        own = {name: row.get(self.name(name)) for name in ("uncertainty", "error_probability", "accepted")}
        return look | {"doubt": _doubt(own), "accepted": own["accepted"]}

    def most_doubtful(self, count: int) -> list[str]:
        """Texts that are answered, by their uncertainty."""
        rows = [row for row in self.rows if row[self.name("error")] is None]
        rows.sort(key=lambda row: row[self.name("uncertainty")], reverse=True)
        return [_plain(row[self.text]) for row in rows[:count]]

    def write(self, path: str | Path) -> None:
        """All rows as CSV."""
        write_rows(lambda: self.rows, dict.fromkeys(self.known), self.added, str(path), "csv")


def _plain(text: Any) -> str:
    return " ".join(text) if isinstance(text, list) else str(text)


def _doubt(own: dict[str, Any]) -> float:
    """Probability of an error, or the uncertainty where it is not known."""
    known = own.get("error_probability")
    return float(own["uncertainty"] if known is None else known)


class QueuedClassifier:
    """The server's classifier, whose answers are computed in turn with those for other requests, a batch at a time.

    Its head stays the same, whatever head the server takes in the meantime.
    """

    def __init__(self, server: Server) -> None:
        self.server, (self.classifier, self.version) = server, server.served.current

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    def predict(self, texts: list[Any]) -> Iterator[Any]:
        """Predictions, row by row."""
        size = self.server.settings.batch
        for start in range(0, len(texts), size):
            yield from self.server.batcher.thread.submit(self.classifier.predict, texts[start : start + size]).result()


def read_lines(server: Server, lines: str) -> UploadedTable:
    """Predictions for texts that stand in a line each.

    Raises:
        DataError: there are none, or too many.
    """
    rows = [Row({"text": line}) for line in lines.splitlines() if line.strip()]
    return _answered(server, rows, ["text"])


def read_file(server: Server, path: str) -> UploadedTable:
    """Predictions for the rows of a file.

    Raises:
        DataError: it cannot be read, has no column of texts, or too many rows.
    """
    with open_rows(path, format_of(path, None, "file")) as table:
        rows = list(islice(table.rows, LONGEST + 1))
        known = list(table.columns)
    known += [name for row in rows for name in row.columns if name not in table.columns]
    return _answered(server, rows, list(dict.fromkeys(known)))


def _answered(server: Server, rows: list[Row], known: list[str]) -> UploadedTable:
    if not rows:
        raise DataError("there are no texts.")
    if len(rows) > LONGEST:
        raise DataError(f"more than {LONGEST} rows; for so many there is alien predict.")
    turns = QueuedClassifier(server)
    classifier = cast(UncertainClassifier, turns)
    usual = classifier.task.text_columns
    text = next((name for name in usual if name in known), None)
    if text is None:
        raise DataError(f"no column with texts: there are {', '.join(known)}; call one of them {usual[0]}.")
    job = Job("-", "-", None, text, False, "", server.settings.characters)
    while set(known) & {*job.added(classifier), *(job.prefix + name for name in LATER)}:
        job = replace(job, prefix=job.prefix + PREFIX)
    answers = answer_rows(classifier, job, rows)
    done = [row.columns | answer for row, answer in zip(rows, answers, strict=True)]
    return UploadedTable(classifier.task, done, known, job.added(classifier), text, turns.version)
