"""Data in memory, in the forms in which libraries hold them: read as a table, or as the texts to predict."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from ..display.wording import cut, type_name
from ..errors import ArgumentTypeError, DataError, warn_user
from ..features.texts import TextPair, parts_of
from .cells import check_texts, is_missing
from .files.rows import ending_format
from .files.text_files import is_damaged
from .pairs import input_rows, items, labeled_columns
from .series import SeriesColumn, check_indexes, is_table, python_value, python_values
from .table import Table, blank_word, check_unique, index_label

if TYPE_CHECKING:
    import pandas as pd

LABELED_FORMS = (
    "a datasets.Dataset, a DataFrame, a pyarrow.Table, a dict of columns, a list of dicts, (texts, labels), "
    "(text, label) pairs, or the name of a data set"
)
TEXT_FORMS = "a string, a list of strings or of pairs (text, text_pair), or a table with a column of texts"


def as_table(source: Any) -> Table:
    """Read labeled data in memory as a table.

    Args:
        source: labeled data in one of these forms; iterators are read once:

            * :class:`Table`, ``datasets.Dataset``, or a streamed ``datasets.IterableDataset``;
            * DataFrame of pandas or polars, ``pyarrow.Table``, or another table with Arrow's stream interface;
            * dict of columns, which are lists, arrays or Series; a dict whose values are strings and numbers is one
              row;
            * list of dicts;
            * tuple of two sequences, the texts and their labels;
            * list of (text, label) pairs.

            A tuple of two strings in the place of a text is a pair of texts.

    Raises:
        ArgumentTypeError: an object of this type does not hold labeled data.
        DataError: the object cannot be read as labeled data, two of its columns have one name, or Series of pandas have
            different indexes.
    """
    table = _named_columns(source)
    if table is not None:
        return table
    if isinstance(source, tuple) and len(source) == 2 and all(map(_is_sequence, source)):
        check_indexes(dict(zip(("texts", "labels"), source, strict=True)))
        return Table(labeled_columns(*source))
    if isinstance(source, (str, os.PathLike)):
        raise DataError(f"{cut(str(source), 80)} is a name, not the data: pass load_data({cut(str(source), 80)}).")
    _check_iterable(source, f"cannot be read as labeled data: pass {LABELED_FORMS}")
    rows: list[Any] = [row if isinstance(row, (list, tuple, TextPair)) else python_value(row) for row in items(source)]
    if all(isinstance(row, dict) for row in rows) and rows:
        return _of_rows(rows)
    for number, row in enumerate(rows):
        is_labeled = isinstance(row, (list, tuple)) and len(row) == 2
        if not is_labeled or not isinstance(row[0], (str, list, tuple, TextPair)):
            has_no_label = isinstance(row, (str, TextPair))
            detail = f"the text {cut(row, 40)} has no label" if has_no_label else f"row {number} is {cut(row, 80)}"
            raise DataError(f"{type_name(source)} cannot be read as labeled data ({detail}): pass {LABELED_FORMS}.")
    return Table(labeled_columns([row[0] for row in rows], [row[1] for row in rows]))


def as_texts(
    source: Any,
    find_text_columns: Callable[[Table, str | None, str | None], tuple[str, ...]],
    text_column: str | None = None,
    text_pair_column: str | None = None,
    *,
    per_word: bool = False,
    label_names: Collection[str] = (),
) -> list[Any]:
    """Read the texts, or pairs of texts, to predict from an object in memory.

    Args:
        source: string; list, array, Series or iterator of strings (or, for token classification, of lists of words);
            a pair of texts, which is a tuple of two strings, or a list or iterator of pairs; or a table in any form
            that :func:`as_table` reads, except for texts with labels.
        find_text_columns: function that gives the name of the column with the texts of a table, or of two columns.
        text_column: name of the column with the texts that the user gave, or None.
        text_pair_column: name of the column with the second texts of pairs that the user gave, or None.
        per_word: True for token classification, where a list of strings is a sentence.
        label_names: class names of the model; tuples with one of them in the second place are texts with labels.

    Returns:
        Strings, :class:`~aligned_entropy.features.texts.TextPair` objects, or lists of words.

    Raises:
        ArgumentTypeError: an object of this type does not hold texts.
        DataError: a text is blank or not a string (or, for token classification, a list of words), the object holds
            texts with labels, or single texts and pairs; or its text column is not clear.
        NotApplicableError: there are pairs of texts for token classification.

    Warns:
        UserWarning: every text is the path of a file with data, which is not read.
    """
    table: Table | None = None
    texts: list[Any] = []
    if isinstance(source, (str, TextPair)):
        texts = input_rows([source], per_word)
    elif (table := _named_columns(source)) is None:
        remedy = f"load_data({os.fspath(source)!r})" if isinstance(source, os.PathLike) else TEXT_FORMS
        _check_iterable(source, f"holds no texts: pass {remedy}")
        texts = input_rows(source, per_word, label_names)
        if texts and all(isinstance(row, dict) for row in texts):
            table = _of_rows(texts)
    if table is None:
        _warn_of_paths(texts)
    else:
        names = find_text_columns(table, text_column, text_pair_column)
        columns = [table[name] for name in names]
        texts = list(columns[0]) if len(columns) == 1 else list(map(TextPair, *columns))
        if not per_word:
            for name in names:
                check_texts(table, name, may_be_blank=False)
            return texts
    index = index_of(source)
    for row, text in enumerate(texts):
        _check_text(text, f"text {row}{index_label(index, row)}", per_word)
    return texts


def index_of(source: Any) -> pd.Index | None:
    """Index of a DataFrame or Series of pandas; None for another object."""
    return source.index if hasattr(source, "iloc") else None


def _check_text(text: Any, place: str, per_word: bool) -> None:
    """Check that a text, both texts of a pair, or a list of words can be predicted.

    Raises:
        DataError: one of them is blank, not a string, or not valid Unicode.
    """
    if isinstance(text, TextPair):
        for order, part in zip(("first", "second"), parts_of(text), strict=True):
            _check_text(part, f"the {order} text of {place.replace('text', 'pair')}", False)
        return
    if is_missing(text) and not isinstance(text, str):
        raise DataError(f"{place} is missing ({text!r}): leave it out, since there is nothing to predict.")
    is_words = per_word and isinstance(text, list) and all(isinstance(word, str) for word in text)
    if not isinstance(text, str) and not is_words:
        expected = "a string or a list of words" if per_word else "a string"
        raise DataError(f"{place} is {type_name(text)}, not {expected}: {cut(text, 80)}. Pass strings.")
    joined = text if isinstance(text, str) else " ".join(text)
    if not joined.strip():
        raise DataError(f"{place} is empty: leave it out, since there is nothing to predict.")
    if is_words and (position := blank_word(text)) is not None:
        raise DataError(f"word {position} of {place} is empty: leave it out. The words are {cut(text, 80)}.")
    if is_damaged(joined):
        raise DataError(f"{place} holds half of a surrogate pair, which is not valid Unicode: {cut(text, 80)}.")


def _warn_of_paths(texts: Sequence[Any]) -> None:
    """Warn if every text is the path of a file with data."""
    if texts and all(isinstance(text, str) and ending_format(text) and os.path.isfile(text) for text in texts):
        warn_user(
            f"the text {texts[0]!r} is the path of a file, whose rows are not read: to predict them, call "
            f"predict(load_data({texts[0]!r})) of the classifier, after from aligned_entropy import load_data.",
        )


def _named_columns(source: Any) -> Table | None:
    """Table of an object whose columns have names; None if it has another form."""
    if isinstance(source, Table):
        return source
    if type(source).__module__.partition(".")[0] == "datasets":
        return _of_datasets(source)
    if hasattr(source, "collect_schema") and hasattr(source, "collect"):
        raise ArgumentTypeError(f"{type_name(source)} has no rows yet: call its method collect() and pass the result.")
    if is_table(source):
        series = _series(source)
        return _of_arrow(source) if series is None else _of_series(series, index_of(source))
    return _of_mapping(source) if isinstance(source, Mapping) else None


def _series(source: Any) -> list[tuple[Any, Any]] | None:
    """Names and Series of the columns of a DataFrame of pandas or polars; None for another table."""
    if hasattr(source, "iter_columns"):
        return [(series.name, series) for series in source.iter_columns()]
    if not hasattr(source, "iloc"):
        return None
    import pandas as pd

    return list(source.items()) if isinstance(source, pd.DataFrame) else None


def _of_series(columns: Sequence[tuple[Any, Any]], index: Any) -> Table:
    """Table of Series, each of which is converted alone, since Arrow has no form for some columns that do no harm."""
    names = [str(name) for name, _ in columns]
    check_unique(names)
    return Table({name: SeriesColumn(series) for name, (_, series) in zip(names, columns, strict=True)}, index=index)


def _of_datasets(source: Any) -> Table | None:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, (DatasetDict, IterableDatasetDict)):
        name = type(source).__name__
        raise DataError(f"a {name} holds several splits ({', '.join(source)}): pass one of them, such as data['test'].")
    if isinstance(source, IterableDataset):
        features = source.features
        source = Dataset.from_list(list(source), features=features)
    return Table.from_dataset(source) if isinstance(source, Dataset) else None


def _of_arrow(source: Any) -> Table:
    import pyarrow as pa
    from pyarrow import interchange

    try:
        is_arrow = hasattr(source, "__arrow_c_stream__")
        return Table.from_arrow(pa.table(source) if is_arrow else interchange.from_dataframe(source))
    except (pa.ArrowException, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{type_name(source)} cannot be read ({' '.join(map(str, error.args))}): pass the columns with the "
            "texts and the labels alone, data[['text', 'label']], each with values of one type."
        ) from error


def _of_mapping(source: Mapping[Any, Any]) -> Table:
    wrong = [name for name in source if not isinstance(name, str)]
    if wrong:
        raise DataError(f"a dict needs the names of columns as keys, not {cut(wrong[0], 40)}: pass {LABELED_FORMS}.")
    is_row = any(isinstance(value, str) for value in source.values())
    if is_row or not any(isinstance(value, Iterable) for value in source.values()):
        return Table({name: [python_value(value)] for name, value in source.items()})
    for name, value in source.items():
        if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray, Mapping)):
            raise DataError(
                f"column {name!r} is {type_name(value)}, not a list with one value for each row: {cut(value, 40)}."
            )
    check_indexes(source)
    return Table({name: python_values(values) for name, values in source.items()})


def _of_rows(rows: Sequence[dict[Any, Any]]) -> Table:
    names = dict.fromkeys(name for row in rows for name in row)
    check_unique([str(name) for name in names])
    return Table({str(name): [python_value(row.get(name)) for row in rows] for name in names})


def _is_sequence(value: Any) -> bool:
    return (
        hasattr(value, "__len__") and isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, Set))
    )


def _check_iterable(source: Any, problem: str) -> None:
    """Check that an object has rows in an order.

    Raises:
        ArgumentTypeError: it has none, or it is a number, bytes, a set, a path, or an open file.
    """
    if isinstance(source, (bytes, bytearray, memoryview, Set, os.PathLike, io.IOBase)) or not isinstance(
        source, (Iterable, Iterator)
    ):
        value = "None" if source is None else f"{cut(source, 40)}, {type_name(source)},"
        raise ArgumentTypeError(f"{value} {problem}.")
