"""Predictions for the rows of a file: every row is written exactly once, in order.

If input and output are files, predictions are stored in a journal next to the output, so that a killed run continues
where it stopped. The journal and the rows are joined at the end.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..classifier.elsewhere import reasons_in_rows
from ..data.columns import usual_columns
from ..data.files.rows import InputRow, InputTable, batched
from ..data.table import blank_word
from ..data.usual_columns import WORD_COLUMNS
from ..display.progress import Progress, no_report
from ..display.wording import cut
from .accuracy import bases_of
from .counts import RowCounts
from .job import AddedColumns, PredictionJob, Values, with_text_columns
from .journal import Journal, job_key
from .locking import locked
from .outputs import predict_outputs
from .writing import write_rows

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..predictions import Row


def predict_file(classifier: UncertainClassifier, job: PredictionJob, progress: Progress) -> RowCounts:
    """Predict every row of a file and write the rows with the added columns.

    Args:
        classifier: classifier with its head.
        job: input, output and options.
        progress: function that is called with the number of rows that are finished since the last call.

    Raises:
        DataError: the input cannot be read, the output cannot be written, or another run is writing it.
    """
    job.check()
    job.added_columns(classifier)  # refuses options that the task does not have
    lock = nullcontext() if job.output == "-" else locked(job.lock_path, job.output)
    with lock, job.open_source() as table:
        job = with_text_columns(job, classifier, table)
        is_resumable = "-" not in (job.source, job.output) and Path(job.source).is_file()
        counts = (_with_journal if is_resumable else _without_journal)(classifier, job, table, progress)
    return replace(counts, bases=bases_of(classifier))


def predict_rows(
    classifier: UncertainClassifier, job: PredictionJob, rows: list[InputRow], progress: Progress = no_report
) -> Iterator[Values]:
    """Yield the values of the added columns for every row; a row without a usable text gets an error.

    Args:
        classifier: classifier with its head.
        job: options, and the columns with the texts.
        rows: rows to predict.
        progress: function that is called with the number of texts of each batch of the model; outputs have none.
    """
    columns = job.added_columns(classifier)
    predictions: Iterator[Row | str]
    if classifier.reads_outputs:
        problems = [_problem_of_row(row, columns) for row in rows]
        usable = [row.columns for row, problem in zip(rows, problems, strict=True) if problem is None]
        predictions = iter(predict_outputs(classifier, usable, next(iter(job.text_columns), None)))
    else:
        problems = [_problem(row, job, columns, classifier.task.per_word) for row in rows]
        texts = [job.text(row) for row, problem in zip(rows, problems, strict=True) if problem is None]
        with reasons_in_rows():
            predictions = iter(classifier.predict(texts, progress))
    for problem in problems:
        prediction = next(predictions) if problem is None else problem
        if isinstance(prediction, str):
            yield columns.without_prediction(prediction)
        elif prediction.is_finite:
            yield job.added_values(classifier, prediction)
        else:
            reason = getattr(prediction, "row_error", None) or "the model's output is not a finite number"
            yield columns.without_prediction(reason)


class Difference(NamedTuple):
    """Difference between the predictions of two classifiers.

    Attributes:
        texts: number of texts that both classifiers predicted.
        changed: share of the texts with another prediction.
        correlation: rank correlation of the uncertainty (Spearman).
    """

    texts: int
    changed: float
    correlation: float


def compare_predictions(
    first: UncertainClassifier, second: UncertainClassifier, job: PredictionJob, rows: int = 256
) -> Difference:
    """Compare two classifiers of one task on the first rows of a file."""
    from scipy.stats import spearmanr

    columns = job.added_columns(first)
    with job.open_source() as table:
        job = with_text_columns(job, first, table)
        first_rows = list(islice(table.rows, rows))
    predicted = [predict_rows(classifier, job, first_rows) for classifier in (first, second)]
    pairs = [pair for pair in zip(*predicted, strict=True) if all(values[columns.row_error] is None for values in pair)]
    labels = first.task.labels_only
    changed = [labels(a[columns.prediction]) != labels(b[columns.prediction]) for a, b in pairs]
    uncertainty = np.array([[values[columns.uncertainty] for values in pair] for pair in pairs]).reshape(-1, 2)
    is_constant = len(np.unique(uncertainty[:, 0])) <= 1
    correlation = float("nan") if is_constant else float(spearmanr(*uncertainty.T).statistic)
    return Difference(len(pairs), float(np.mean(changed)) if changed else float("nan"), correlation)


def _with_journal(
    classifier: UncertainClassifier, job: PredictionJob, table: InputTable, progress: Progress
) -> RowCounts:
    """Predict from file to file, continuing an unfinished run of the same job."""
    columns = job.added_columns(classifier)
    journal = Journal(Path(f"{job.output_path}.journal"), job_key(classifier, job), columns)

    def joined() -> Iterator[dict[str, Any]]:
        with job.open_source() as reread:
            for row, values in zip(reread.rows, journal.rows(), strict=True):
                yield columns.joined(row, values)

    try:
        progress(journal.counts.rows)
        for batch in batched(islice(table.rows, journal.counts.rows, None)):
            journal.append(_predicted(classifier, job, batch, progress))
        _write(joined, table, columns, job)
        journal.remove()
    finally:
        journal.close()
    return journal.counts


def _without_journal(
    classifier: UncertainClassifier, job: PredictionJob, table: InputTable, progress: Progress
) -> RowCounts:
    """Predict from stdin or to stdout, row by row."""
    columns = job.added_columns(classifier)
    counts = RowCounts()

    def joined() -> Iterator[dict[str, Any]]:
        nonlocal counts
        for batch in batched(table.rows):
            predicted = _predicted(classifier, job, batch, progress)
            counts += RowCounts.of_rows(predicted, columns)
            yield from map(columns.joined, batch, predicted)

    if job.output == "-":
        _write(joined, table, columns, job)
    else:
        _write_spooled(joined(), table, columns, job)
    return counts


def _predicted(
    classifier: UncertainClassifier, job: PredictionJob, rows: list[InputRow], progress: Progress
) -> list[Values]:
    """Predict rows, and report each batch of the model; outputs and unusable rows are reported at the end."""
    reported = 0

    def report(texts: int) -> None:
        nonlocal reported
        reported += texts
        progress(texts)

    values = list(predict_rows(classifier, job, rows, report))
    progress(len(rows) - reported)
    return values


def _write(
    rows: Callable[[], Iterator[dict[str, Any]]], table: InputTable, columns: AddedColumns, job: PredictionJob
) -> None:
    target = "-" if job.output == "-" else str(job.output_path)
    write_rows(rows, table.columns, columns.types, target, job.output_format, safe=job.safe_csv)


def _write_spooled(
    rows: Iterator[dict[str, Any]], table: InputTable, columns: AddedColumns, job: PredictionJob
) -> None:
    """Write rows that can be read only once to a file whose format may need them twice."""
    with tempfile.TemporaryFile("w+") as spool:
        spool.writelines(json.dumps(row) + "\n" for row in rows)

        def reread() -> Iterator[dict[str, Any]]:
            spool.seek(0)
            yield from map(json.loads, spool)

        _write(reread, table, columns, job)


def _problem_of_row(row: InputRow, columns: AddedColumns) -> str | None:
    """Reason why a row cannot be read, or written with the added columns; None if it can."""
    taken = {name: row.columns[name] for name in columns.names if name in row.columns}
    if taken:
        values = json.dumps(taken, ensure_ascii=False, default=str)
        return f"the row already has values in the added columns, {values}: pass --prefix"
    return row.problem


def _problem(row: InputRow, job: PredictionJob, columns: AddedColumns, per_word: bool) -> str | None:
    """Reason why a row cannot be predicted; None if it can."""
    problem = _problem_of_row(row, columns)
    if problem is not None:
        return problem
    missing = [name for name in job.text_columns if name not in row.columns]
    if missing:
        return f"no column {missing[0]!r}"
    if len(job.text_columns) > 1:
        return _problem_of_pair({name: row.columns[name] for name in job.text_columns}, job.max_characters)
    text = row.columns[job.text_columns[0]]
    if per_word and isinstance(text, list) and all(isinstance(word, str) for word in text):
        text, position = " ".join(text), blank_word(text)
        if position is not None and text.strip():
            return f"word {position} is empty"
    elif per_word and isinstance(text, str) and usual_columns(job.text_columns[:1], WORD_COLUMNS):
        return f"the words are a string, not a list: {cut(text, 80)}"
    if not isinstance(text, str):
        return f"the text has type {type(text).__name__}, not string"
    if not text.strip():
        return "the text is empty"
    if len(text) > job.max_characters:
        return f"the text has {len(text)} characters, more than {job.max_characters}"
    return None


def _problem_of_pair(texts: Mapping[str, Any], max_characters: int) -> str | None:
    """Reason why a pair of texts, by the names of their columns, cannot be predicted; None if it can."""
    for column, text in texts.items():
        if not isinstance(text, str):
            return f"the text in column {column!r} has type {type(text).__name__}, not string"
        if not text.strip():
            return f"the text in column {column!r} is empty"
    length = sum(map(len, texts.values()))
    if length > max_characters:
        return f"the two texts have {length} characters, more than {max_characters}"
    return None
