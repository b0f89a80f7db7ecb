"""Texts that a visitor of the page enters or uploads, with their predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..batch.job import AddedColumns, PredictionJob
from ..batch.predict import predict_rows
from ..batch.writing import write_rows
from ..classifier import UncertainClassifier
from ..data import Table
from ..data.columns import quoted
from ..data.files.reading import open_rows
from ..data.files.rows import COMPRESSED, InputRow, format_of
from ..errors import AlignedEntropyError, DataError
from ..features.texts import Text, TextPair
from ..predictions import Row as PredictedRow
from ..selective import Rule, SetRule
from ..tasks import Task
from .attribution import PAIR_MARK
from .server import Server
from .shown_rows import ShownRow, shown_entity, shown_uncertainty

MAX_ROWS = 10_000
LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines would also divide a text at a line separator inside it
PREFIX = "alien_"  # prefix of added columns if the file has columns with their names
RESERVED = ("error_probability", "accepted")  # read or added later, so a file's columns may not have these names


@dataclass(frozen=True)
class UploadedTable:
    """Rows that a visitor entered or uploaded, with the columns of their predictions.

    Attributes:
        task: task of the classifier.
        rows: values of every row by column name, added columns included.
        columns: names of the uploaded columns, in order.
        added: names of the added columns.
        text_columns: column with the texts, or two columns of pairs.
        head: version of the head that made the predictions.
        rule: rule of this head that accepts or defers; None without a threshold.
        sets: rule of the sets of this head; None without sets.
    """

    task: Task
    rows: list[dict[str, Any]]
    columns: list[str]
    added: AddedColumns
    text_columns: tuple[str, ...]
    head: str
    rule: Rule | None = None
    sets: SetRule | None = None

    def loses_sets(self, rule: Rule | None) -> bool:
        """True if the guarantee of the sets holds for the rule of the head and not for another rule."""
        return self.sets is not None and self.sets.only_deferred and rule is not None and rule != self.rule

    def with_rule(self, rule: Rule | None) -> UploadedTable:
        """Apply a rule that accepts or defers: a table with its decisions; the table itself if the rule is None.

        Sets are removed if their guarantee does not hold for the rule.
        """
        if rule is None:
            return self
        if self.loses_sets(rule):
            rows = [row | {self.added.label_set: None} for row in self.rows]
            return replace(self, rows=rows, sets=None).with_rule(rule)
        if self.task.per_word:
            return replace(self, rows=[row | self._entities_with_rule(row, rule) for row in self.rows])
        added = self.added
        predictions = [row[added.prediction] for row in self.rows]
        labels = [prediction if isinstance(prediction, str) else "" for prediction in predictions]
        values = [row[added.uncertainty] for row in self.rows]
        accepted = rule.accepts([math.nan if value is None else value for value in values], labels).tolist()
        rows = [row | {added.accepted: decision} for row, decision in zip(self.rows, accepted, strict=True)]
        names = [name for name in added.names if name not in (added.accepted, added.row_error)]
        return replace(self, rows=rows, added=replace(added, names=(*names, added.accepted, added.row_error)))

    def _entities_with_rule(self, row: dict[str, Any], rule: Rule) -> dict[str, Any]:
        entities = row[self.added.prediction]
        if not entities:
            return {}
        uncertainty = [entity["uncertainty"] for entity in entities]
        accepted = rule.accepts(uncertainty, [entity["entity_group"] for entity in entities]).tolist()
        decided = [entity | {"accepted": decision} for entity, decision in zip(entities, accepted, strict=True)]
        return {self.added.prediction: decided}

    def rows_to_show(self, limit: int) -> list[ShownRow]:
        """Rows for the page: all rows in order, or the most uncertain ones if there are more than the limit.

        Among more rows than the limit, those without a prediction come first.
        """
        if len(self.rows) <= limit:
            return self._shown_rows
        return sorted(self._shown_rows, key=lambda row: -math.inf if row.error else -row.uncertainty)[:limit]

    def summary(self, limit: int) -> str:
        """Sentence with the number of predictions, of accepted ones and of the rows that the page shows."""
        predicted = [row for row in self._shown_rows if row.error is None]
        decisions = [decision for row in predicted for decision in row.decisions]
        units = "entities" if self.task.per_word else "predictions"
        parts = [f"{len(predicted)} of {len(self.rows)} texts have a prediction"]
        if decisions and None not in decisions:
            parts.append(f"{sum(map(bool, decisions))} of {len(decisions)} {units} are accepted")
        if len(self.rows) > limit:
            parts.append(f"the {limit} most uncertain texts are shown")
        return "; ".join(parts) + "."

    @cached_property
    def _shown_rows(self) -> list[ShownRow]:
        return [self._shown(row) for row in self.rows]

    def _shown(self, row: dict[str, Any]) -> ShownRow:
        text, prediction = self._text(row), row[self.added.prediction]
        error = row[self.added.row_error]
        if error is not None:
            return ShownRow(text, error)
        uncertainty = shown_uncertainty(row.get(self.added.uncertainty), row.get(self.added.error_probability))
        accepted, truncated = row.get(self.added.accepted), bool(row[self.added.truncated])
        if self.task.per_word:
            entities = [shown_entity(entity) for entity in prediction]
            return ShownRow(text, None, "", entities, uncertainty, accepted, truncated)
        labels = prediction if isinstance(prediction, str) else ", ".join(prediction) or "none"
        label_set = self._in_words(row.get(self.added.label_set))
        return ShownRow(text, None, labels, None, uncertainty, accepted, truncated, label_set)

    def _text(self, row: dict[str, Any]) -> str:
        """Text of a row for a person; both texts of a pair, with a mark between them."""
        return PAIR_MARK.join(_plain(row.get(name)) for name in self.text_columns)

    def _in_words(self, label_set: list[str] | None) -> str:
        """Set of classes for a person: ``one of: a, b``, or ``any`` for all classes; empty without a set."""
        if self.sets is None or not label_set:
            return ""
        if len(label_set) == len(self.sets.label_names):
            return "any class"
        return label_set[0] if len(label_set) == 1 else f"one of: {', '.join(label_set)}"

    def most_uncertain(self, count: int) -> list[Text]:
        """Texts, or pairs of texts, with the most uncertain predictions, in decreasing order."""
        rows = [row for row in self.rows if row[self.added.row_error] is None]
        rows.sort(key=lambda row: row[self.added.uncertainty], reverse=True)
        return [_as_read([row[name] for name in self.text_columns]) for row in rows[:count]]

    def write(self, path: str | Path) -> None:
        """Write all rows as CSV, in which no spreadsheet takes a text for a formula."""
        write_rows(lambda: self.rows, dict.fromkeys(self.columns), self.added.types, str(path), "csv", safe=True)


def _as_read(values: Sequence[Any]) -> Text:
    """Text, or pair of texts, that the model has read from the cells of a row."""
    return _plain(values[0]) if len(values) == 1 else TextPair(*values)


def _plain(text: Any) -> str:
    return " ".join(text) if isinstance(text, list) else str(text)


class QueuedClassifier:
    """Classifier of a server that predicts in the server's thread, one batch at a time between other requests.

    Its head stays the same when the server exchanges the head.

    Args:
        server: server with the classifier and its thread.

    Attributes:
        classifier: classifier with the head that was in use at the start.
        version: version of this head.
    """

    def __init__(self, server: Server) -> None:
        self.server, (self.classifier, self.version) = server, server.head.current

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    @property
    def task(self) -> Task:
        """Task of the classifier."""
        return self.classifier.task

    def predict(self, texts: Sequence[Any]) -> Iterator[PredictedRow]:
        """Predict texts row by row."""
        size = self.server.settings.batch
        for start in range(0, len(texts), size):
            yield from self.server.batcher.thread.submit(self.classifier.predict, texts[start : start + size]).result()


def read_lines(server: Server, lines: str) -> UploadedTable:
    """Predict the lines of a text; blank lines are skipped.

    Raises:
        DataError: there are no lines, or too many.
    """
    rows = [InputRow({"text": line}) for line in LINE_END.split(lines) if line.strip()]
    return _predicted(server, rows, ["text"])


def read_file(server: Server, path: str) -> UploadedTable:
    """Predict the rows of a file.

    Raises:
        DataError: the file cannot be read, has no column with texts, or too many rows, or is compressed: its size would
            not be limited.
    """
    if Path(path).suffix.lower() == COMPRESSED:
        raise DataError(f"file {path} is compressed: upload the decompressed file.")
    with open_rows(path, format_of(path, None, "file")) as table:
        rows = list(islice(table.rows, MAX_ROWS + 1))
        declared = list(table.columns)
    columns = [*declared, *(name for row in rows for name in row.columns if name not in declared)]
    return _predicted(server, rows, list(dict.fromkeys(columns)))


def _predicted(server: Server, rows: list[InputRow], columns: list[str]) -> UploadedTable:
    if not rows:
        raise DataError("there are no texts: enter at least one, or upload a file.")
    if len(rows) > MAX_ROWS:
        raise DataError(f"there are more than {MAX_ROWS} rows: use the command alien predict for large files.")
    queued = QueuedClassifier(server)
    classifier = cast(UncertainClassifier, queued)
    table = Table({name: [row.columns.get(name) for row in rows] for name in columns})
    try:
        names = queued.task.find_text_columns(table)
    except AlignedEntropyError as error:
        raise DataError(
            f"no single column with texts: the columns are {quoted(columns)}; name one of them "
            f"{queued.task.text_columns[0]} (for pairs of texts name two of them text and text_pair), and leave out "
            "other columns with texts."
        ) from error
    pair_column = names[1] if len(names) > 1 else None
    job = PredictionJob(
        "-", "-", None, names[0], False, "", server.settings.characters, truncated=True, text_pair_column=pair_column
    )
    while not set(columns).isdisjoint(_added_names(job, classifier)):
        job = replace(job, prefix=job.prefix + PREFIX)
    added = job.added_columns(classifier)
    predicted = list(map(added.joined, rows, predict_rows(classifier, job, rows)))
    saved = classifier.saved
    return UploadedTable(queued.task, predicted, columns, added, names, queued.version, saved.rule, saved.sets)


def _added_names(job: PredictionJob, classifier: UncertainClassifier) -> list[str]:
    """Names of the columns that are added to a table now or later."""
    return [*job.added_columns(classifier).names, *(job.prefix + name for name in RESERVED)]
