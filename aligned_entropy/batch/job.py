"""Job of ``alien predict``: the input, the output and the columns that are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DataError
from .rows import InputRow, InputTable, batched, check_output, format_of

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..predictions import Row

Values = dict[str, Any]
"""Values of the added columns of one row, by column name."""


class RowCounts(NamedTuple):
    """Number of rows of a finished job, and number of those with an error."""

    rows: int
    failed: int


@dataclass(frozen=True)
class AddedColumns:
    """Names of the columns that are added to a row.

    Attributes:
        names: names of all added columns, in order; the last one is ``error``.
        prediction: column with the prediction.
        uncertainty: column with the uncertainty.
        accepted: column with the decision of the threshold; one of ``names`` only if the head has a threshold.
        error: column with the reason why a row has no prediction.
    """

    names: tuple[str, ...]
    prediction: str
    uncertainty: str
    accepted: str
    error: str

    @classmethod
    def with_prefix(cls, prefix: str, names: Sequence[str], prediction: str) -> AddedColumns:
        """Columns of a prediction and of its error, with a prefix.

        Args:
            prefix: prefix of every name.
            names: names of the columns of a prediction.
            prediction: name of the one that holds the prediction itself.
        """
        uncertainty, accepted, error = (prefix + name for name in ("uncertainty", "accepted", "error"))
        return cls((*(prefix + name for name in names), error), prefix + prediction, uncertainty, accepted, error)

    @property
    def types(self) -> dict[str, type]:
        """Type of the values of every column, by name."""
        special = {self.prediction: str, self.accepted: bool, self.error: str}
        return {name: special.get(name, float) for name in self.names}

    def without_prediction(self, reason: str) -> Values:
        """Values of a row that has no prediction, for the given reason."""
        return dict.fromkeys(self.names) | {self.error: reason}


@dataclass(frozen=True)
class PredictionJob:
    """Input and output of ``alien predict``, and the options that decide what is added to a row.

    The fields and their values identify an unfinished run, so a renamed field makes such a run start again.

    Attributes:
        source: input file, folder of Parquet files, or ``-`` for stdin.
        output: output file, folder, or ``-`` for stdout.
        input_format: format of the input; None to use its file ending.
        text_column: column with the texts; None to look for the usual names.
        probabilities: True to add a column for every class.
        prefix: prefix for the added columns.
        max_characters: longest text that is predicted; a longer one gets an error.
    """

    source: str
    output: str
    input_format: str | None
    text_column: str | None
    probabilities: bool
    prefix: str
    max_characters: int

    @property
    def source_format(self) -> str:
        """Format of the input."""
        return format_of(self.source, self.input_format, "input")

    @property
    def output_format(self) -> str:
        """Format of the output; on stdout that of a CSV or TSV input, and JSON Lines for other inputs."""
        for_stdout = self.source_format if self.source_format in ("csv", "tsv") else "jsonl"
        return format_of(self.output, for_stdout if self.output == "-" else None, "output")

    def check(self) -> None:
        """Check the input and the output before any work is done.

        Raises:
            DataError: the input does not exist, or the output cannot be written.
        """
        _ = self.output_format
        if self.output != "-":
            check_output(self.output)
        if self.source != "-" and (not Path(self.source).exists() or Path(self.source).is_dir()):
            raise DataError(f"input {self.source}: there is no such file.")

    def added_columns(self, classifier: UncertainClassifier) -> AddedColumns:
        """Names of the added columns.

        Raises:
            DataError: the task of the classifier has no probability columns.
        """
        task = classifier.task
        names = task.prediction_columns(classifier.saved, self._classes_with_column(classifier))
        return AddedColumns.with_prefix(self.prefix, names, task.prediction_column)

    def added_values(self, classifier: UncertainClassifier, row: Row) -> Values:
        """Values of the added columns for a predicted row, without an error."""
        columns = row.columns(self._classes_with_column(classifier)) | {"error": None}
        return {self.prefix + name: value for name, value in columns.items()}

    def _classes_with_column(self, classifier: UncertainClassifier) -> list[str]:
        """Class names that get a probability column."""
        return list(classifier.label_names) if self.probabilities else []


def with_text_column(job: PredictionJob, classifier: UncertainClassifier, table: InputTable) -> PredictionJob:
    """Find the text column of an input: the named one, or the first with a usual name.

    The function reads rows ahead until one has such a column; ``table.rows`` still yields all rows afterwards.

    Raises:
        DataError: no row has a text column, or the input already has a column with the name of an added one.
    """
    candidates = classifier.task.text_columns if job.text_column is None else (job.text_column,)
    columns, rows_read = dict.fromkeys(table.columns), list[InputRow]()
    for batch in batched(table.rows):
        rows_read += batch
        columns |= dict.fromkeys(name for row in batch if row.problem is None for name in row.columns)
        if any(name in columns for name in candidates):
            break
    table.rows = chain(rows_read, table.rows)
    _check_names_are_free(job.added_columns(classifier).names, table.columns, rows_read)
    text_column = next((name for name in candidates if name in columns), None)
    if text_column is None and columns:
        usual = f"text column (looked for {', '.join(candidates)})"
        missing = usual if job.text_column is None else f"column {job.text_column!r}"
        raise DataError(
            f"the input has no {missing}; its columns are {', '.join(columns)}: name one of them with --text-column."
        )
    return replace(job, text_column=text_column or candidates[0])


def _check_names_are_free(names: Sequence[str], columns: Mapping[str, Any], rows: Sequence[InputRow]) -> None:
    taken = [name for name in names if name in columns or (rows and name in rows[0].columns)]
    if taken:
        raise DataError(f"the input already has a column {taken[0]!r}: pass --prefix to rename the added columns.")
