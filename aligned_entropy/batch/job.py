"""Job of ``alien predict``: the input, the output and the columns that are added."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Table
from ..data.columns import usual_columns
from ..data.files.reading import open_rows
from ..data.files.rows import InputRow, InputTable, batched, ending_format, format_of
from ..data.sources import holds_model
from ..display.hints import missing_file
from ..errors import DataError
from ..features.texts import Text, TextPair
from .locking import check_unlocked
from .writing import STDIN, STDOUT, check_output, is_same_file

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..predictions import Row

Values = dict[str, Any]
"""Values of the added columns of one row, by column name."""


STORED_FORMAT = 3
"""Version of journals and of output folders; it changes with the added columns, so that versions cannot mix."""

UNWRITTEN = ("truncated", "is_far", "row_error")
"""Values of a row after those of its prediction."""


@dataclass(frozen=True)
class AddedColumns:
    """Names of the columns that are added to a row.

    Attributes:
        names: names of the columns that are written, in order; the last one is ``row_error``.
        stored: names of all values of a row; ``truncated`` and ``is_far`` are among them even if they are not written.
        prediction: column with the prediction.
        uncertainty: column with the uncertainty.
        error_probability: column with the error probability; one of ``names`` only for a fitted head.
        accepted: column with the decision of the threshold; one of ``names`` only if the head has a threshold.
        label_set: column with the set of classes; one of ``names`` only if the head has sets.
        truncated: column that is True where the model did not read all of the text.
        is_far: value that is True where a text is unlike those of the calibration set; never written.
        row_error: column with the reason why a row has no prediction.
        per_word: True for token classification, where the prediction is a list of entities.
    """

    names: tuple[str, ...]
    stored: tuple[str, ...]
    prediction: str
    uncertainty: str
    error_probability: str
    accepted: str
    label_set: str
    truncated: str
    is_far: str
    row_error: str
    per_word: bool

    @property
    def types(self) -> dict[str, type]:
        """Type of the values of every column that is written, by name."""
        special: dict[str, type] = {self.prediction: str, self.label_set: str, self.row_error: str}
        special |= {self.accepted: bool, self.truncated: bool}
        return {name: special.get(name, float) for name in self.names}

    def without_prediction(self, reason: str) -> Values:
        """Values of a row that has no prediction, for the given reason."""
        return dict.fromkeys(self.stored) | {self.row_error: reason}

    def joined(self, row: InputRow, values: Values) -> Values:
        """Columns of an input row, followed by the added columns that are written."""
        return row.columns | {name: values[name] for name in self.names}


@dataclass(frozen=True)
class PredictionJob:
    """Input and output of ``alien predict``, and the options that decide what is added to a row.

    An unfinished run is identified by these fields, so a renamed field makes such a run start again; see :attr:`facts`.

    Attributes:
        source: input file, folder of Parquet files, or ``-`` for stdin.
        output: output file, folder, or ``-`` for stdout.
        input_format: format of the input; None to use its file ending.
        text_column: column with the texts; None to look for the usual names.
        text_pair_column: column with the second texts of pairs; None for single texts, or to look for the usual names.
        probabilities: True to add a column for every class.
        prefix: prefix for the added columns.
        max_characters: longest text that is predicted; a longer one gets an error.
        delimiter: delimiter of a CSV or TSV input; None to find it out.
        encoding: encoding of a text input; None to find it out.
        truncated: True to add a column that says where the model did not read all of a text.
        safe_csv: True to write CSV and TSV files in which no spreadsheet takes a text for a formula.

    Raises:
        DataError: the name of the input or of the output is empty.
    """

    source: str
    output: str
    input_format: str | None
    text_column: str | None
    probabilities: bool
    prefix: str
    max_characters: int
    delimiter: str | None = None
    encoding: str | None = None
    truncated: bool = False
    safe_csv: bool = False
    text_pair_column: str | None = None

    def __post_init__(self) -> None:
        for role, name in (("input", self.source), ("output", self.output)):
            if not name.strip():
                raise DataError(f"the name of the {role} is empty: name a file, a folder, or - for stdin and stdout.")

    @property
    def facts(self) -> dict[str, Any]:
        """Fields that identify an unfinished run: all without a default, and the others if they differ from it."""
        values = asdict(self)
        return {field.name: values[field.name] for field in fields(self) if values[field.name] != field.default}

    @property
    def source_format(self) -> str:
        """Format of the input.

        Raises:
            DataError: there is no such file, its ending is unknown, or the input is a folder.
        """
        if holds_model(self.source):
            raise DataError(
                f"input {self.source}: this folder holds a model: commands take the model before the texts."
            )
        if Path(self.source).is_dir():
            raise DataError(f"input {self.source}: this is a folder; name a file in it, or a folder as output, too.")
        is_known = self.source == "-" or self.input_format is not None or ending_format(self.source) is not None
        if not is_known and not Path(self.source).exists():  # the ending of a name that is no file says nothing
            raise DataError(missing_file(self.source))
        return format_of(self.source, self.input_format, "input")

    def open_source(self) -> AbstractContextManager[InputTable]:
        """Open the input; see :func:`~aligned_entropy.data.files.reading.open_rows`."""
        return open_rows(self.source, self.source_format, delimiter=self.delimiter, encoding=self.encoding)

    @property
    def output_format(self) -> str:
        """Format of the output; on stdout that of a CSV or TSV input, and JSON Lines for other inputs.

        Raises:
            DataError: the file ending is unknown, or the output is a device or a pipe.
        """
        if (
            self.output != "-"
            and self.output_path.exists()
            and not (self.output_path.is_file() or self.output_path.is_dir())
        ):
            raise DataError(f"output {self.output}: this is a device or a pipe; name a file, or - for stdout.")
        for_stdout = self.source_format if self.source_format in ("csv", "tsv") else "jsonl"
        return format_of(self.output, for_stdout if self.output == "-" else None, "output")

    @property
    def output_path(self) -> Path:
        """Path of the output file or folder; a link is followed, so that it is not replaced."""
        return Path(os.path.realpath(self.output))

    @property
    def lock_path(self) -> Path:
        """Path of the lock file of an output file."""
        return Path(f"{self.output_path}.lock")

    def check(self, inputs: Iterable[str | Path | None] = ()) -> None:
        """Check the input and the output before any work is done.

        Args:
            inputs: other files that are read, which the output must not replace.

        Raises:
            DataError: the input does not exist or is the output, the output cannot be written, or another run is
                writing it.
        """
        _ = self.source_format, self.output_format
        if self.source != "-" and not Path(self.source).exists():
            raise DataError(missing_file(self.source))
        if self.output == "-":
            if is_same_file(STDIN if self.source == "-" else self.source, STDOUT):
                raise DataError(f"stdout is the input {self.source}, which would be replaced; write to another file.")
        else:
            check_output(self.output, [self.source, *inputs])
            check_unlocked(self.lock_path, self.output)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns with the texts: one, or two for pairs; empty before they have been found."""
        return tuple(name for name in (self.text_column, self.text_pair_column) if name is not None)

    def text(self, row: InputRow) -> Text | list[str]:
        """Text of a row, or its pair of texts."""
        parts = [row.columns[name] for name in self.text_columns]
        text: Text | list[str] = parts[0] if len(parts) == 1 else TextPair(*parts)
        return text

    def added_columns(self, classifier: UncertainClassifier) -> AddedColumns:
        """Names of the added columns.

        Raises:
            DataError: the task of the classifier has no probability columns.
        """
        task, prefix = classifier.task, self.prefix
        names = task.prediction_columns(classifier.saved, self._classes_with_column(classifier))
        predicted = [prefix + name for name in names]
        truncated, is_far, row_error = (prefix + name for name in UNWRITTEN)
        return AddedColumns(
            names=(*predicted, *([truncated] if self.truncated else []), row_error),
            stored=(*predicted, truncated, is_far, row_error),
            prediction=prefix + task.prediction_column,
            uncertainty=f"{prefix}uncertainty",
            error_probability=f"{prefix}error_probability",
            accepted=f"{prefix}accepted",
            label_set=f"{prefix}label_set",
            truncated=truncated,
            is_far=is_far,
            row_error=row_error,
            per_word=task.per_word,
        )

    def added_values(self, classifier: UncertainClassifier, row: Row) -> Values:
        """Values of a predicted row, without an error."""
        label_names = self._classes_with_column(classifier)
        columns = row.columns(label_names) | {"truncated": bool(row.truncated), "is_far": row.is_far}
        names = (*classifier.task.prediction_columns(classifier.saved, label_names), *UNWRITTEN)
        return {self.prefix + name: columns.get(name) for name in names}

    def _classes_with_column(self, classifier: UncertainClassifier) -> list[str]:
        """Class names that get a probability column."""
        return list(classifier.label_names) if self.probabilities else []


def with_text_columns(job: PredictionJob, classifier: UncertainClassifier, table: InputTable) -> PredictionJob:
    """Find the text column of an input, or the two columns of pairs: the named ones, or those with usual names.

    The function reads rows ahead until these have such columns; ``table.rows`` still yields all rows afterwards.

    Raises:
        DataError: there are no rows, no row has a text column, several columns may be meant, the head was fitted on
            pairs and there are single texts, or the reverse; or the input already has a column with the name of an
            added one.
    """
    if classifier.reads_outputs:  # in columns of fixed names
        first = next(table.rows, None)
        if first is None:
            raise DataError(f"{job.source} is empty: it has no rows.")
        table.rows = chain([first], table.rows)
        _check_names_are_free(job.added_columns(classifier).names, table.columns, [first])
        return job
    candidates = job.text_columns or classifier.task.text_columns
    columns, rows_read = dict.fromkeys(table.columns), list[InputRow]()
    for batch in batched(table.rows):
        rows_read += batch
        columns |= dict.fromkeys(name for row in batch if row.problem is None for name in row.columns)
        if set(job.text_columns) <= columns.keys() if job.text_columns else usual_columns(columns, candidates):
            break
    if not rows_read:
        raise DataError(f"{job.source} is empty: it has no rows.")
    table.rows = chain(rows_read, table.rows)
    _check_names_are_free(job.added_columns(classifier).names, table.columns, rows_read)
    if not columns:
        return replace(job, text_column=job.text_column or candidates[0])
    readable = [row.columns for row in rows_read if row.problem is None]
    first_rows = Table({name: [row.get(name) for row in readable] for name in columns})
    names = classifier.task.find_text_columns(first_rows, job.text_column, job.text_pair_column)
    classifier.saved.check_kind(len(names) > 1)
    return replace(job, text_column=names[0], text_pair_column=names[1] if len(names) > 1 else None)


def _check_names_are_free(names: Sequence[str], columns: Mapping[str, Any], rows: Sequence[InputRow]) -> None:
    taken = [name for name in names if name in columns or (rows and name in rows[0].columns)]
    if taken:
        raise DataError(f"the input already has a column {taken[0]!r}: pass --prefix to rename the added columns.")
