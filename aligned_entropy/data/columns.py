"""Columns of a data set, found by their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any

from ..display.hints import header_hint, similar_name
from ..display.wording import quoted, type_name
from ..errors import ArgumentError, ArgumentTypeError, DataError, NotApplicableError
from ..features.texts import NO_PAIRS
from .table import Table
from .usual_columns import LABEL_COLUMNS, NAMED, PAIR_COLUMNS, TEXT_COLUMNS, TOKEN_COLUMNS, ways_to_name

TEXT_OPTION = "text_column='…' or --text-column"
COLUMN_ARGUMENTS = ("text_column", "text_pair_column", "label_column", "label_map")
NAME_BOTH = "name both columns, text_column='…' and text_pair_column='…' or --text-column and --text-pair-column"


def find_text_columns(
    table: Table,
    column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    labeled: bool = False,
) -> tuple[str, ...]:
    """Name of the column with the texts, or names of the two columns with pairs of texts.

    Columns that the user named are taken, and one alone holds single texts. Otherwise two columns with the usual names
    of a pair hold pairs; without such columns the texts are in the only column with a usual name. If several columns
    have a usual name, the only one of them with strings is taken. See :func:`usual_columns` for the case of names.

    Args:
        table: table to search.
        column: name of the column with the texts that the user gave, or None.
        pair_column: name of the column with the second texts of pairs that the user gave, or None.
        label_column: column with the labels if the user named it; it is not a column with texts.
        labeled: True if labels are read, too, so that an error names both missing columns at once.

    Raises:
        DataError: a given column does not exist, two are the same, no column has a usual name, or several columns may
            hold the texts.
    """
    if column is not None and column == label_column:
        raise DataError(f"column {column!r} is named for the texts and for the labels: name the two that hold them.")
    if pair_column is not None:
        return _pair_with(table, column, pair_column, label_column)
    pair = _usual_pair(table, label_column) if column is None else None
    if pair is not None:
        return pair
    text_columns = usual_columns(table.columns, TEXT_COLUMNS)
    candidates = [name for name in text_columns if name != label_column]
    if column is None and text_columns and not candidates:
        others = [name for name in TEXT_COLUMNS if name.casefold() != text_columns[0].casefold()]
        raise DataError(
            f"column {label_column!r} is named for the labels, and none of {quoted(table.columns)} has another usual "
            f"name of texts ({', '.join(others)}): name the column of the texts, too, with {TEXT_OPTION}, or the "
            "right column of the labels."
        )
    of_strings = [name for name in candidates if isinstance(table.first_value(name), str)]
    lacks_labels = labeled and label_column is None and first_column(table, LABEL_COLUMNS) is None
    labels_too = " No column has a usual name of labels, either: name theirs, too, with "
    labels_too += f"{ways_to_name('label', table.columns)}."
    usual_names = of_strings if len(of_strings) == 1 else candidates
    return (find_column(table, "text", column, usual_names, TEXT_COLUMNS, labels_too if lacks_labels else ""),)


def _pair_with(table: Table, column: str | None, pair_column: str, label_column: str | None) -> tuple[str, str]:
    """Names of the two columns with pairs of texts, of which the user named the second one."""
    find_column(table, "text-pair", pair_column, ())
    usual = [first for first, second in _usual_pairs(table.column_names) if second == pair_column]
    others = [name for name in usual_columns(table.columns, TEXT_COLUMNS) if name not in (pair_column, label_column)]
    first = find_column(table, "text", column, usual or others, TEXT_COLUMNS)
    if first == pair_column:
        raise DataError(f"{first!r} is named for both texts of a pair: name the two columns that hold them.")
    return first, pair_column


def _usual_pair(table: Table, label_column: str | None) -> tuple[str, str] | None:
    """Names of two columns with the usual names of a pair of texts; None without such columns.

    Raises:
        DataError: several columns may hold the pairs, or another column may hold single texts.
    """

    def holds_strings(name: str) -> bool:
        return isinstance(table.first_value(name), str)

    names = [name for name in table.columns if name != label_column]
    pairs = _usual_pairs(names)
    if len(pairs) > 1:  # a column such as the one with the answers to questions need not hold texts
        pairs = [pair for pair in pairs if all(map(holds_strings, pair))] or pairs
    if not pairs:
        return None
    texts = usual_columns(table.columns, TEXT_COLUMNS)
    others = [name for name in texts if name in names and name not in pairs[0] and holds_strings(name)]
    if len(pairs) > 1 or others:
        candidates = [" and ".join(map(repr, pair)) for pair in pairs]
        alone = [repr(name) for name in others if not any(name in pair for pair in pairs)]
        singles = f", and {', '.join(alone)} single texts" if alone else ""
        raise DataError(
            f"the columns {', or '.join(candidates)} may hold pairs of texts{singles}: {NAME_BOTH}, or the first one "
            "alone for single texts."
        )
    return pairs[0]


def _usual_pairs(columns: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of columns with usual names, as :func:`usual_columns` finds each of them."""
    named = [(usual_columns(columns, [first]), usual_columns(columns, [second])) for first, second in PAIR_COLUMNS]
    return list(dict.fromkeys(pair for firsts, seconds in named for pair in product(firsts, seconds)))


def find_input_columns(
    table: Table, column: str | None = None, pair_column: str | None = None, per_word: bool = False
) -> tuple[str, ...]:
    """Name of the column with the texts to predict, or names of the two columns with pairs of texts.

    Args:
        table: rows to predict; the first ones are enough.
        column: name that the user gave, or None to look for the usual names.
        pair_column: name of the column with the second texts of pairs that the user gave, or None.
        per_word: True for token classification, where a column of word lists comes before a column of texts.

    Raises:
        DataError: the column does not exist, or none or several may be meant.
        NotApplicableError: two columns hold pairs of texts, for token classification.
    """
    has_words = first_list_column(table, TOKEN_COLUMNS) is not None or first_column(table, TEXT_COLUMNS) is None
    if per_word and column is None and pair_column is None and has_words:
        return (find_column(table, "text", None, TOKEN_COLUMNS, (*TEXT_COLUMNS, *TOKEN_COLUMNS)),)
    columns = find_text_columns(table, column, pair_column)
    if per_word:
        check_single(columns)
    return columns


def check_single(columns: Sequence[str]) -> None:
    """Check that one column holds the texts of token classification.

    Raises:
        NotApplicableError: there are two columns.
    """
    if len(columns) > 1:
        raise NotApplicableError(
            f"the columns {' and '.join(map(repr, columns))} hold pairs of texts, but {NO_PAIRS}: name the column with "
            f"the texts alone, text_column={columns[0]!r} or --text-column {columns[0]}."
        )


def find_column(
    table: Table,
    kind: str,
    column: str | None,
    usual_names: Sequence[str],
    listed: Sequence[str] | None = None,
    hint: str = "",
) -> str:
    """Name of a column: the given one if it exists, else the only one with a usual name.

    Args:
        table: table to search.
        kind: kind of the column (``text``, ``label``), as in the option ``--text-column``.
        column: name that the user gave, or None.
        usual_names: names to look for if the user gave none.
        listed: usual names for the error message; ``usual_names`` by default.
        hint: end of the message if no column has a usual name.

    Raises:
        DataError: the given column does not exist, no column has a usual name, or several have.
    """
    candidates = usual_columns(table.columns, usual_names)
    return _only_column(table, kind, f"no {kind} column", column, candidates, listed or usual_names, hint)


def find_list_column(table: Table, kind: str, content: str, column: str | None, usual_names: Sequence[str]) -> str:
    """Name of a column of lists: the given one if it exists, else the only column of lists with a usual name.

    Args:
        table: table to search.
        kind: kind of the column (``text``, ``label``), as in the option ``--text-column``.
        content: items of the lists (``words``, ``tags``), for the error message.
        column: name that the user gave, or None.
        usual_names: names to look for if the user gave none.

    Raises:
        DataError: the given column does not exist, no column of lists has a usual name, or several have.
    """
    candidates = list(filter(table.has_lists, usual_columns(table.columns, usual_names)))
    return _only_column(table, kind, f"no column of lists with {content}", column, candidates, usual_names)


def _only_column(
    table: Table,
    kind: str,
    missing: str,
    column: str | None,
    candidates: Sequence[str],
    usual_names: Sequence[str],
    hint: str = "",
) -> str:
    place = f" of {table.source}" if table.source else ""
    if column is not None:
        if column not in table.columns:
            raise DataError(table.without(column))
        return column
    if not table.columns:
        raise DataError(f"the data{place} have no columns: pass a table with the column {usual_names[0]!r}.")
    if len(candidates) > 1 and candidates[0] not in NAMED.values():
        raise DataError(
            f"{len(candidates)} columns may be the {kind} column: {quoted(candidates)}. Name the right one with "
            f"{ways_to_name(kind, table.columns)}{f'; for pairs of texts {NAME_BOTH}' if kind == 'text' else ''}."
        )
    if not candidates:
        names = (name for name in table.columns if name not in LABEL_COLUMNS)
        others = [name for name in names if isinstance(table.first_value(name), str)]
        only = others[0] if kind == "text" and len(others) == 1 else "…"
        raise DataError(
            f"{missing} among {quoted(table.columns)}{place} (looked for {', '.join(usual_names)}): name it with "
            f"{ways_to_name(kind, table.columns, only)}.{hint}{header_hint(table.columns)}"
        )
    return candidates[0]


def check_arguments(columns: Mapping[str, Any], read: object = None) -> None:
    """Check that keyword arguments describe columns, and that none are given for data that have been read.

    Args:
        columns: keyword arguments.
        read: data that have been read; None for a table.

    Raises:
        ArgumentTypeError: one of them is no such argument.
        ArgumentError: data that have been read have no columns.
    """
    for name, value in columns.items():
        if name not in COLUMN_ARGUMENTS:
            raise ArgumentTypeError(
                f"there is no argument {name!r}{similar_name(name, COLUMN_ARGUMENTS)}: those that describe columns are "
                f"{', '.join(COLUMN_ARGUMENTS)}, and settings are fields of config."
            )
        if value and read is not None:
            raise ArgumentError(
                f"{name}: {type_name(read)} has been read and has no columns; pass the data that it was read from."
            )


def usual_columns(columns: Collection[str], usual_names: Sequence[str]) -> list[str]:
    """Columns with usual names, in the order of the names: each as it is written, or else in another case."""
    names: dict[str, None] = {}
    for name in usual_names:
        others = (column for column in columns if column.casefold() == name.casefold())
        names |= dict.fromkeys([name] if name in columns else others)
    return list(names)


def first_column(table: Table, names: Sequence[str]) -> str | None:
    """First column with one of some usual names, or None."""
    return next(iter(usual_columns(table.columns, names)), None)


def first_list_column(table: Table, names: Sequence[str]) -> str | None:
    """First column of lists with one of some usual names, or None."""
    return next(filter(table.has_lists, usual_columns(table.columns, names)), None)
