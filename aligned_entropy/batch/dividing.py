"""Division of a file of labeled rows into one file for each step that needs labels (alien divide)."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data import LabeledTokens, Table
from ..data.cells import is_missing
from ..data.columns import find_column, first_column
from ..data.dividing import divided_rows, joined_rows
from ..data.files.conll import conll_lines
from ..data.files.reading import is_blank, open_rows
from ..data.files.rows import COMPRESSED, ending_format
from ..data.label_checks import check_repeated, label_warnings
from ..data.label_column import LabelColumn
from ..data.outputs import TEXT_COLUMN, output_column
from ..data.tags import TagSet
from ..data.usual_columns import LABEL_COLUMNS
from ..errors import DataError
from ..features.files import write_atomic
from ..features.texts import identity_of, parts_of
from ..tasks import task_of_dataset
from .writing import write_rows

RowKind = Literal["texts", "sentences", "outputs"]


@dataclass(frozen=True)
class DivisibleRows:
    """N labeled rows as far as a division needs them.

    Attributes:
        groups: group of each row, ``[N]``; rows of a group stay together.
        labels: labels of each row: one, several, or the entity types of a sentence.
        notes: sentences about the rows that say what a division is worth.
        kind: kind of the rows: texts, sentences with a tag for every word, or outputs without texts.
    """

    groups: NDArray[np.int64]
    labels: Sequence[Sequence[str]]
    notes: Sequence[str]
    kind: RowKind = "texts"

    @classmethod
    def read(
        cls,
        table: Table,
        *,
        text_column: str | None = None,
        text_pair_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
    ) -> DivisibleRows:
        """Read the texts and labels of a table.

        Args:
            table: rows; those with equal texts, pairs of texts or sentences are in one group.
            text_column: column with the texts or words; found by its usual names by default.
            text_pair_column: column with the second texts of pairs; found by usual names of two columns by default.
            label_column: column with the labels or tags; found by its usual names by default.
            group_column: column whose equal values are in one group, too; None for none.

        Raises:
            DataError: a column is missing or not clear, or a text or label cannot be read.
        """
        texts, labels, notes, kind = _texts_and_labels(table, text_column, text_pair_column, label_column)
        # Texts that differ in case and space alone are the same text, as for all warnings of copies.
        keys: list[Sequence[Hashable]] = [range(len(table)) if texts is None else list(map(_identity, texts))]
        if texts is None:
            notes.append("there is no column with texts, so rows with the same text may be in different parts")
        elif repeated := len(texts) - len(set(keys[0])):
            notes.append(f"rows that repeat the text of another row, and are in the same part: {repeated:,}")
        if group_column is not None:
            values = table[find_column(table, "group", group_column, ())]
            keys.append([None if is_missing(value) else repr(value) for value in values])
            missing = sum(value is None for value in keys[1])
            if missing:
                notes.append(f"rows without a value in column {group_column!r}, which are in no group: {missing:,}")
        return cls(joined_rows(*keys), labels, notes, kind)

    def divided(self, shares: Mapping[str, float], seed: int) -> dict[str, NDArray[np.int64]]:
        """Divide the rows at random; each set of labels has nearly the same share in all parts.

        Args:
            shares: share of each part, by its name; their sum is 1.
            seed: seed of the random numbers.

        Returns:
            Rows of each part, in order.

        Raises:
            DataError: a part has no rows.
        """
        numbers: dict[tuple[str, ...], int] = {}
        strata = np.array([numbers.setdefault(tuple(labels), len(numbers)) for labels in self.labels], np.int64)
        part_of_row = divided_rows(list(shares.values()), self.groups, strata, seed)
        members = {name: np.flatnonzero(part_of_row == number) for number, name in enumerate(shares)}
        for name, rows in members.items():
            if not len(rows):
                raise DataError(
                    f"the part {name} would have no rows: there are {len(self.groups):,}, in {self.groups.max() + 1:,} "
                    "groups that stay together. Give it a larger share, or name fewer parts."
                )
        return members


class _ReadRows(NamedTuple):
    """Text of each row, None for outputs without texts; labels of each row; notes; and the kind of the rows."""

    texts: Sequence[Hashable] | None
    labels: Sequence[Sequence[str]]
    notes: list[str]
    kind: RowKind = "texts"


def _texts_and_labels(
    table: Table, text_column: str | None, text_pair_column: str | None, label_column: str | None
) -> _ReadRows:
    is_output = output_column(table) is not None
    if is_output and text_column is None and first_column(table, (TEXT_COLUMN,)) is None:
        column = LabelColumn.read(table, find_column(table, "label", label_column, LABEL_COLUMNS))
        labels = list(map(str, column.values))
        return _ReadRows(None, [[label] for label in labels], list(_label_notes((), labels)), "outputs")
    columns = {"text_column": text_column, "text_pair_column": text_pair_column}
    task = task_of_dataset(table, text_column, label_column)
    labeled = task.read(table, label_column=label_column, **columns)
    names = labeled.label_names
    if isinstance(labeled, LabeledTokens):
        parts = TagSet(names).parts
        kinds = [parts[name].kind for name in names]
        tags = [labeled.labels[start:end] for start, end in pairwise(labeled.texts.starts)]
        of_sentences = [sorted({kinds[tag] for tag in row} - {""}) for row in tags]
        return _ReadRows(list(map(tuple, labeled.sentences)), of_sentences, [], "sentences")
    texts = list(labeled.texts)
    if labeled.labels.ndim > 1:
        return _ReadRows(texts, [[names[label] for label in np.flatnonzero(row)] for row in labeled.labels], [])
    labels = [names[label] for label in labeled.labels]
    return _ReadRows(texts, [[label] for label in labels], list(_label_notes(labeled.texts, labels)))


def _identity(text: Any) -> Hashable:
    return identity_of(text if isinstance(text, tuple) else parts_of(text))


def _label_notes(texts: Sequence[Hashable], labels: Sequence[str]) -> Iterator[str]:
    """Yield notes on labels that look like mistakes.

    Args:
        texts: text of each row, ``[N]``; empty if they are not known.
        labels: label of each row, ``[N]``.

    Raises:
        DataError: the labels are no classes.
    """
    counts = Counter(labels)
    if len(counts) == 1:
        yield f"all rows have the label {labels[0]!r}: if another column holds the labels, name it with --label-column."
    check_repeated(counts)
    yield from label_warnings(counts)
    labels_of: dict[Hashable, set[str]] = {}
    for text, label in zip(texts, labels, strict=False):
        labels_of.setdefault(text, set()).add(label)
    if several := sum(len(names) > 1 for names in labels_of.values()):
        yield f"texts that occur with several labels: {several:,}"


def write_parts(
    source: Path,
    members: Mapping[Path, NDArray[np.int64]],
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> None:
    """Write rows of a file to other files of the same format; each appears when it is complete.

    Parquet files keep their types and metadata, and CoNLL files all columns of a word, but not comments and the borders
    of documents. Texts are written in UTF-8, CSV with commas, and JSON with one object on each line.

    Args:
        source: file of rows.
        members: rows of each file to write, by its path.
        delimiter: delimiter of a CSV or TSV file; None to find it out.
        encoding: encoding of a text file; None to find it out.
    """
    file_format = ending_format(source)
    if file_format == "parquet":
        _write_parquet(source, members)
    elif file_format == "conll":
        sentences = conll_lines(source, encoding)
        for path, rows in members.items():
            content = "".join("\n".join(sentences[row]) + "\n\n" for row in rows).encode()
            write_atomic(path, gzip.compress(content) if path.suffix.lower() == COMPRESSED else content)
    else:
        with open_rows(source, str(file_format), delimiter=delimiter, encoding=encoding) as table:
            records = [row.columns for row in table.rows if not is_blank(row, str(file_format))]
        for path, rows in members.items():
            chosen = [records[row] for row in rows]
            write_rows(chosen.copy, table.columns, {}, str(path), str(file_format))


def _write_parquet(source: Path, members: Mapping[Path, NDArray[np.int64]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(str(source)) as stream:  # the path alone would be taken as an address if it looks like one
        table = pq.read_table(stream)
    for path, rows in members.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table.take(rows), sink)
        write_atomic(path, sink.getvalue().to_pybytes())
