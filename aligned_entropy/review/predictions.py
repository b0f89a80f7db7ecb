"""Predictions for review, read from an output of ``alien predict`` or from the queue of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Table
from ..data.files.reading import read_table
from ..data.files.rows import ending_format
from ..data.files.safe_cells import is_marked, plain_cell
from ..data.label_cells import yes_or_no
from ..display.hints import missing_file
from ..display.wording import counted, cut
from ..errors import DataError
from ..features.texts import TextPair
from ..tasks import TASKS, Task
from .rows import ReviewRow

if TYPE_CHECKING:
    from ..store import QueueCounts, StoredPrediction

PROBABILITY = "probability_"
MOST_ALTERNATIVES = 5


@dataclass(frozen=True)
class PredictedRows:
    """Predictions for review.

    Attributes:
        task: task of the predictions.
        rows: rows with a prediction, in the order of the source.
        label_names: classes, if the source names all of them; empty otherwise.
        unreadable: number of rows without a prediction, which are left out.
        positions: position of every row among all rows of the source.
    """

    task: Task
    rows: list[ReviewRow]
    label_names: list[str]
    unreadable: int = 0
    positions: Sequence[int] = ()


@dataclass(frozen=True)
class SourceColumns:
    """Columns of an output of ``alien predict``.

    Attributes:
        text: column with the texts; None to look for the usual names.
        text_pair: column with the second texts of pairs.
        prefix: prefix of the columns that ``alien predict`` has added.
        safe: True if the file was written with ``--safe-csv``, False if not, None if that is not known.
        further: further columns whose values the rows keep.
    """

    text: str | None = None
    text_pair: str | None = None
    prefix: str = ""
    safe: bool | None = None
    further: Sequence[str] = ()


def read_predictions(
    source: str | Path,
    columns: SourceColumns | None = None,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> PredictedRows:
    """Read an output of ``alien predict``: a file, or a folder of Parquet files.

    All rows are in the source, so that each has the inclusion probability 1 before some are chosen.

    Args:
        source: path of the file or folder.
        columns: columns of the source, and how its cells were written.
        delimiter: delimiter of a CSV or TSV file; None to find it out.
        encoding: encoding of a text file; None to find it out.

    Raises:
        DataError: the source cannot be read, has no predictions, lacks a column, or it is not clear which column holds
            the texts.
    """
    columns = columns or SourceColumns()
    table = _read(Path(source), delimiter, encoding)
    task = _task_of(table, columns.prefix, source)
    is_csv = ending_format(source) in ("csv", "tsv")
    text_columns = task.find_text_columns(table, columns.text, columns.text_pair)
    texts = [_text(values, task, is_csv) for values in zip(*(table[name] for name in text_columns), strict=True)]
    if is_csv:
        texts = [_unmarked(text, columns.safe, source) for text in texts]
    names = [name.removeprefix(columns.prefix + PROBABILITY) for name in table.columns if _is_share(name, columns)]
    problems = table.columns.get(columns.prefix + "row_error", [None] * len(table))
    further = {name: list(table[name]) for name in columns.further}
    if is_csv and columns.safe:
        further = {name: [plain_cell(str(value or "")) for value in values] for name, values in further.items()}
    rows, positions = [], []
    for number, (text, problem) in enumerate(zip(texts, problems, strict=True)):
        if problem not in (None, ""):
            continue
        values = {name: table[name][number] for name in table.columns if name.startswith(columns.prefix)}
        if is_csv and columns.safe:
            values = {name: plain_cell(value) if isinstance(value, str) else value for name, value in values.items()}
        values = {name.removeprefix(columns.prefix): value for name, value in values.items()}
        try:
            row = _row(number, task, text, values, names)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{source}, row {number}: the values of alien predict cannot be read ({error}): write the file again."
            ) from error
        rows.append(replace(row, further={name: column[number] for name, column in further.items()}))
        positions.append(number)
    if not rows:
        raise DataError(f"{source} has no row with a prediction: see its column row_error.")
    return PredictedRows(task, rows, names, len(table) - len(rows), positions)


def _read(source: Path, delimiter: str | None, encoding: str | None) -> Table:
    if not source.is_dir():
        if not source.exists():
            raise DataError(missing_file(source))
        return read_table(source, delimiter=delimiter, encoding=encoding)
    parts = [read_table(path) for path in sorted(source.glob("*.parquet"))]
    if not parts:
        raise DataError(f"predictions {source}: the folder holds no Parquet file.")
    names = dict.fromkeys(name for part in parts for name in part.columns)
    return Table({name: [value for part in parts for value in part.columns[name]] for name in names})


def _task_of(table: Table, prefix: str, source: str | Path) -> Task:
    """Task by the column with the predictions."""
    tasks = [task for task in TASKS.values() if prefix + task.prediction_column in table.columns]
    if len(tasks) != 1:
        names = ", ".join(repr(prefix + task.prediction_column) for task in TASKS.values())
        raise DataError(
            f"{source} has {len(tasks)} of the columns {names}, and one is needed: name an output of alien predict, "
            "and its --prefix if it was written with one."
        )
    return tasks[0]


def _is_share(name: str, columns: SourceColumns) -> bool:
    return name.startswith(columns.prefix + PROBABILITY)


def _text(values: Sequence[Any], task: Task, is_csv: bool) -> Any:
    """Text of a row, pair of texts, or list of words, which a CSV file holds as JSON."""
    if len(values) > 1:
        return TextPair(*values)
    text = values[0]
    if task.per_word and is_csv and isinstance(text, str) and text.startswith('["'):
        try:
            words = json.loads(text)
        except ValueError:
            return text
        return words if isinstance(words, list) else text
    return text


def _unmarked(text: Any, safe: bool | None, source: str | Path) -> Any:
    """Text of a cell as it was before ``--safe-csv``.

    Raises:
        DataError: it is not clear whether the file was written with this option.
    """
    if isinstance(text, TextPair):
        return TextPair(_unmarked(text.text, safe, source), _unmarked(text.text_pair, safe, source))
    if safe is None and is_marked(text):
        raise DataError(
            f"{source} holds a text that begins as if it was written with --safe-csv, {cut(text, 60)}: pass --safe-csv "
            "if it was, and --no-safe-csv if the texts are like this."
        )
    return plain_cell(text) if safe and isinstance(text, str) else text


def _row(number: int, task: Task, text: Any, values: Mapping[str, Any], names: Sequence[str]) -> ReviewRow:
    predicted = values[task.prediction_column]
    if not task.one_label and isinstance(predicted, str):
        predicted = json.loads(predicted)
    shares = {name: float(values[PROBABILITY + name]) for name in names}
    decision = values.get("accepted")
    accepted = None if decision in (None, "") else yes_or_no(decision)
    if task.per_word:
        decisions = [entity.get("accepted") for entity in predicted]
        accepted = None if not decisions or None in decisions else all(decisions)
    probability = values.get("error_probability")
    return ReviewRow(
        origin=f"row-{number}",
        task=task.name,
        text=text,
        predicted=predicted,
        alternatives=most_likely(shares, predicted),
        uncertainty=float(values["uncertainty"]),
        error_probability=None if probability in (None, "") else float(probability),
        accepted=accepted,
        inclusion=1.0,
    )


def most_likely(shares: Mapping[str, float] | None, predicted: Any) -> dict[str, float]:
    """Most likely classes besides the predicted ones, by falling probability."""
    chosen = [predicted] if isinstance(predicted, str) else [name for name in predicted if isinstance(name, str)]
    others = {name: share for name, share in (shares or {}).items() if name not in chosen}
    return dict(sorted(others.items(), key=lambda item: -item[1])[:MOST_ALTERNATIVES])


def read_queue(store: str) -> PredictedRows:
    """Read the predictions of a server that wait for review; for ten minutes its page shows them to nobody else.

    Args:
        store: path of an SQLite file, or URL.

    Raises:
        DataError: no prediction waits, none of them has a text, or nothing shows what kind of labels they have.
        StoreError: the database cannot be reached.
    """
    from ..store import Store

    opened = Store(store)
    try:
        counts = opened.queue_counts()
        queue = opened.take_from_queue(max(counts.waiting, 1), reviewer="alien review export")
    finally:
        opened.close()
    stored = [prediction for prediction in queue if prediction.text is not None]
    if not stored:
        raise DataError(f"{store}: {_no_row(queue, counts)}.")
    task = _task_of_values([prediction.predicted for prediction in stored], store)
    return PredictedRows(task, [stored_row(prediction, task) for prediction in stored], [], len(queue) - len(stored))


def _no_row(queue: Sequence[StoredPrediction], counts: QueueCounts) -> str:
    """Reason why a queue gives no row with a text, and what to do."""
    if queue:
        return (
            f"no prediction in the queue has a text (there are {len(queue)}): start the server with --store-texts "
            "keep, and send it texts"
        )
    if counts.waiting:
        return f"{counted(counts.waiting, 'predictions')} in the queue, shown to somebody now: wait ten minutes"
    if counts.labeled or counts.skipped:
        return (
            f"no prediction waits: of those that were drawn, {counts.labeled} are labeled and {counts.skipped} skipped"
        )
    return (
        "no prediction was drawn for review, since the server draws those that it defers and the --review-share of the "
        "others: send it more texts"
    )


def _task_of_values(predicted: Sequence[Any], store: str) -> Task:
    """Task by predicted values: labels, lists of labels, or lists of entities."""
    one_label = isinstance(predicted[0], str)
    item = next((value[0] for value in predicted if value), None)
    if item is None:
        raise DataError(f"{store}: no prediction in the queue has a label or an entity: wait for more predictions.")
    kind = (one_label, not isinstance(item, str))
    return next(task for task in TASKS.values() if (task.one_label, task.per_word) == kind)


def stored_row(prediction: StoredPrediction, task: Task) -> ReviewRow:
    """Row of a prediction of a server, which has stored its text."""
    assert prediction.text is not None, "rows have texts"
    return ReviewRow(
        origin=f"prediction-{prediction.id}",
        task=task.name,
        text=prediction.text,
        predicted=prediction.predicted,
        alternatives=most_likely(prediction.probabilities, prediction.predicted),
        uncertainty=prediction.uncertainty,
        error_probability=prediction.error_probability,
        accepted=prediction.accepted,
        inclusion=prediction.inclusion,
        head=prediction.head,
    )
