"""Texts that a visitor of the page enters or uploads, and their predictions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from ..batch.job import AddedColumns, PredictionJob, Values
from ..batch.predict import predict_rows
from ..classifier import UncertainClassifier
from ..data import Table
from ..data.files.reading import open_rows
from ..data.files.rows import COMPRESSED, InputRow, format_of
from ..display.wording import quoted
from ..errors import AlignedEntropyError, DataError
from ..features.texts import Text, TextPair
from .attribution import PAIR_MARK
from .queued import QueuedClassifier
from .server import LOG, Server
from .shown_rows import ShownRow, file_columns, shown_row

MAX_ROWS = 10_000
MAX_CELLS = 1_000_000  # rows of JSON may have a column each
LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines would also divide a text at a line separator inside it
PREFIX = "alien_"  # prefix of added columns if the file has columns with their names
RESERVED = ("error_probability", "accepted")  # read or added later, so a file's columns may not have these names
FAILED = "the model failed on this text"


@dataclass(frozen=True)
class Upload:
    """Rows that a visitor entered or uploaded.

    Attributes:
        classifier: classifier with the head that predicts all of the rows.
        job: limits, and the names of the columns with texts.
        rows: rows in their order.
        columns: names of their columns, in order.
    """

    classifier: QueuedClassifier
    job: PredictionJob
    rows: list[InputRow]
    columns: list[str]

    @cached_property
    def added(self) -> AddedColumns:
        """Names of the added columns."""
        return self.job.added_columns(cast(UncertainClassifier, self.classifier))

    @cached_property
    def file_columns(self) -> list[str]:
        """Columns of the file with all predictions."""
        return file_columns(self.columns, self.added)

    def predict(self, rows: Sequence[InputRow]) -> list[Values]:
        """Predict rows in one batch; a row on which the model fails gets a reason, and the others are predicted.

        Returns:
            Values of the added columns for every row.

        Raises:
            AlignedEntropyError: the rows cannot be predicted for a reason that their visitor should read.
        """
        try:
            return self._predicted(rows)
        except AlignedEntropyError:
            raise
        except Exception as error:
            values = [self._predicted_alone(row) for row in rows] if len(rows) > 1 else [self._failed]
            log_failure(error, values.count(self._failed))
            return values

    def _predicted(self, rows: Sequence[InputRow]) -> list[Values]:
        return list(predict_rows(cast(UncertainClassifier, self.classifier), self.job, list(rows)))

    def _predicted_alone(self, row: InputRow) -> Values:
        try:
            return self._predicted([row])[0]
        except AlignedEntropyError:
            raise
        except Exception:
            return self._failed

    @property
    def _failed(self) -> Values:
        return self.added.without_prediction(FAILED)

    def shown(self, row: InputRow, values: Values) -> ShownRow:
        """Convert a row with the values of its added columns for the page."""
        text = PAIR_MARK.join(_plain(row.columns.get(name)) for name in self.job.text_columns)
        joined = self.added.joined(row, values)
        return shown_row(text, joined, self.file_columns, self.added, self.classifier.saved.sets)

    def most_uncertain(self, predicted: Sequence[Values], count: int) -> list[Text]:
        """Texts, or pairs of texts, with the most uncertain predictions, in falling order.

        Args:
            predicted: values of the added columns of all rows.
            count: maximum number of texts.
        """
        numbers = [number for number, values in enumerate(predicted) if values[self.added.row_error] is None]
        numbers.sort(key=lambda number: predicted[number][self.added.uncertainty], reverse=True)
        return [self._as_read(self.rows[number]) for number in numbers[:count]]

    def _as_read(self, row: InputRow) -> Text:
        """Text, or pair of texts, that the model has read from a row."""
        values: list[Any] = [row.columns[name] for name in self.job.text_columns]
        return _plain(values[0]) if len(values) == 1 else TextPair(*values)


def log_failure(error: Exception, texts: int) -> None:
    """Log that the model failed, without its message, which may hold a text."""
    LOG.error("failed", extra={"facts": {"kind": type(error).__name__, "texts": texts}})


def _plain(text: Any) -> str:
    return " ".join(map(str, text)) if isinstance(text, list) else str(text)


def read_lines(server: Server, lines: str) -> Upload:
    """Read the lines of a text; blank lines are skipped.

    Raises:
        DataError: there are no lines, or too many.
    """
    return _upload(server, [InputRow({"text": line}) for line in LINE_END.split(lines) if line.strip()], ["text"])


def read_file(server: Server, content: bytes, name: str) -> Upload:
    """Read the rows of a file; it is on disk only while it is read.

    Args:
        server: server whose head will predict the rows.
        content: bytes of the file.
        name: name of the file, whose ending tells its format.

    Raises:
        DataError: the file cannot be read, has no column with texts, or too many rows, is for another kind of texts
            than the head, or is compressed: its size would not be limited.
    """
    ending = Path(name).suffix.lower()
    if ending == COMPRESSED:
        raise DataError(f"file {name} is compressed: choose the decompressed file.")
    file_format = format_of(name, None, "file")
    with TemporaryDirectory(prefix="aligned-entropy-") as folder:
        path = Path(folder) / f"file{ending}"
        try:
            path.write_bytes(content)
            with open_rows(path, file_format) as table:
                rows = list(islice(table.rows, MAX_ROWS + 1))
                declared = list(table.columns)
        except (AlignedEntropyError, OSError) as error:
            raise DataError(str(error).replace(str(path), name)) from error
    columns = [*declared, *(name for row in rows for name in row.columns if name not in declared)]
    return _upload(server, rows, list(dict.fromkeys(columns)))


def _upload(server: Server, rows: list[InputRow], columns: list[str]) -> Upload:
    if not rows:
        raise DataError("there are no texts: enter at least one, or choose a file.")
    if len(rows) > MAX_ROWS:
        raise DataError(f"there are more than {MAX_ROWS} rows: use the command alien predict for large files.")
    if len(rows) * len(columns) > MAX_CELLS:
        raise DataError(f"{len(rows)} rows with {len(columns)} columns are too many values: leave out some columns.")
    queued = QueuedClassifier(server)
    names = _text_columns(queued, rows, columns)
    queued.saved.check_kind(len(names) > 1)
    pair_column = names[1] if len(names) > 1 else None
    job = PredictionJob(
        "-", "-", None, names[0], False, "", server.settings.characters, truncated=True, text_pair_column=pair_column
    )
    while not set(columns).isdisjoint(_added_names(job, cast(UncertainClassifier, queued))):
        job = replace(job, prefix=job.prefix + PREFIX)
    return Upload(queued, job, rows, columns)


def _text_columns(queued: QueuedClassifier, rows: list[InputRow], columns: list[str]) -> tuple[str, ...]:
    """Column with the texts, or two columns of pairs.

    Raises:
        DataError: no columns, or several, may be meant.
    """
    table = Table({name: [row.columns.get(name) for row in rows] for name in columns})
    try:
        return queued.task.find_text_columns(table)
    except AlignedEntropyError as error:
        raise DataError(
            f"no single column with texts: the columns are {quoted(columns)}; name one of them "
            f"{queued.task.text_columns[0]} (for pairs of texts name two of them text and text_pair), and leave out "
            "other columns with texts."
        ) from error


def _added_names(job: PredictionJob, classifier: UncertainClassifier) -> list[str]:
    """Names of the columns that are added to a table now or later."""
    return [*job.added_columns(classifier).names, *(job.prefix + name for name in RESERVED)]
