"""Rows of CSV and TSV files: delimiter, header, quotes and damaged records."""

from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ...display.wording import cut
from ...errors import DataError
from ..table import check_unique
from .rows import InputRow, InputTable
from .text_files import TextFile, is_damaged, readable

DELIMITERS = (",", ";", "\t", "|")
NO_DELIMITER = "\uffff"  # this code point is never a character of a text
LINES_AHEAD = 100  # lines that decide between delimiters which all divide the header
DELIMITER_LINE = re.compile(r"\ufeff?(\"?)sep=([^\"\r\n])\1[\r\n]*", re.IGNORECASE)  # first line for Excel
QUOTE_AT_START = re.compile(r'(?:^|\t)"')


class Record(NamedTuple):
    """Record of a CSV file.

    Attributes:
        values: fields of the record; empty if it cannot be read, or if it is a blank line.
        problem: reason why the record cannot be read; None if it can.
        line: number of its first line.
    """

    values: list[str]
    problem: str | None
    line: int


def csv_table(file: TextFile, delimiter: str | None, is_tsv: bool = False) -> InputTable:
    """Read the header of a CSV or TSV file, and its rows one by one.

    The delimiter is the given one; or that of a first line ``sep=;``, which Excel reads, also in quotes; or a tab for
    TSV; otherwise the one of ``,``, ``;``, tab and ``|`` that divides the header. If several do, it is the one that
    gives most rows as many fields as the header. If none does, the file has one column, and every line is one text,
    whatever characters it has.

    A field that begins with a quote ends with a quote, and a quote inside of it is doubled. Many TSV files are written
    without quoting, and a quote in them is a character of the text: the quotes of a TSV file are read as characters if
    fewer records are broken in this way. A record is broken if it has another number of fields than the header,
    and also if its quotes join lines which all have the right number of fields by themselves.

    Args:
        file: open file.
        delimiter: character between two fields, or ``\\t`` for a tab; None to find it out.
        is_tsv: True for a TSV file.

    Raises:
        DataError: the header is damaged, or names a column twice; or the delimiter is not one character, or not that
            of the file.
    """
    csv.field_size_limit(sys.maxsize)
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"the delimiter {delimiter!r} is not one character: name one such as ';', or '\\t' for a tab.")
    lines = _Lines(file.lines())
    first = next(lines, "")
    named = DELIMITER_LINE.fullmatch(first)
    if first and not named:
        lines.put_back([first])
    if delimiter is None and named:
        delimiter = named[2]
    elif delimiter is None and not is_tsv:
        delimiter = _find_delimiter(lines)
    else:
        delimiter = delimiter or "\t"
        _check_delimiter(lines, delimiter, file.name)
    records = _records(lines, delimiter)
    header = next((record for record in records if record.values or record.problem), Record([], None, 1))
    _check_header(header, file)
    names = header.values
    if delimiter == "\t":
        records = _records_with_tabs(lines, len(names))
    has_one_column = len(names) == 1  # a blank line is then a row with an empty text
    rows = (
        _row(record, names, delimiter, file) for record in records if record.values or record.problem or has_one_column
    )
    return InputTable(dict.fromkeys(names), rows)


class _Lines(Iterator[str]):
    """Lines of a file, which can be put back.

    Args:
        lines: lines with their ends.
        number: number of lines before these.

    Attributes:
        number: number of the line that was read last.
    """

    def __init__(self, lines: Iterable[str], number: int = 0) -> None:
        self._lines, self._waiting, self.number = iter(lines), deque[str](), number

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self.number += 1
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        """Put the lines back that were read last."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)


def _find_delimiter(lines: _Lines) -> str:
    """Find the delimiter by the header, and by the rows after it if several divide the header."""
    head = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    dividing = _dividing(head)
    if len(dividing) > 1 or not (dividing or _widths(head, ",")):
        head += islice(lines, LINES_AHEAD)
        dividing = _dividing(head)
    lines.put_back(head)
    otherwise = NO_DELIMITER if _widths(head, ",") else ","  # a damaged header
    return max(dividing, key=lambda name: dividing[name].count(dividing[name][0]), default=otherwise)


def _check_delimiter(lines: _Lines, delimiter: str, name: str) -> None:
    """Check that a named delimiter divides the header, unless no other one divides the rows as it would the header.

    Raises:
        DataError: it does not divide the header, but another one divides the header and most rows alike.
    """
    head = list(islice(lines, 1))
    if _widths(head, delimiter) == [1] and (dividing := _dividing(head)):
        head += islice(lines, LINES_AHEAD)
        for other, counts in {other: _widths(head, other) for other in dividing}.items():
            if len(counts) > 1 and counts[1:].count(counts[0]) > len(counts[1:]) / 2:
                raise DataError(
                    f"{name}: the header {cut(head[0].strip(), 80)} has no {delimiter!r}, but {other!r}, as most rows "
                    f"do: name the delimiter {other!r}."
                )
    lines.put_back(head)


def _dividing(head: Sequence[str]) -> dict[str, list[int]]:
    """Number of fields of every record, by each delimiter that divides the first one."""
    widths = {delimiter: _widths(head, delimiter) for delimiter in DELIMITERS}
    return {delimiter: counts for delimiter, counts in widths.items() if counts and counts[0] > 1}


def _widths(head: Sequence[str], delimiter: str) -> list[int]:
    """Number of fields of every record before the first damaged one."""
    widths = []
    try:
        for values in csv.reader(head, delimiter=delimiter, strict=True):
            widths += [len(values)] if values else []
    except csv.Error:
        pass
    return widths


def _check_header(header: Record, file: TextFile) -> None:
    if header.problem is not None:
        raise DataError(f"{file.name}: the header is {readable(header.problem)}.")
    if any(map(is_damaged, header.values)):
        raise DataError(f"{file.name}: the header is {file.encoding_problem}.")
    unnamed = [str(number) for number, name in enumerate(header.values, 1) if not name.strip()]
    if len(unnamed) > 1:  # one is usual: an index without a name
        raise DataError(f"{file.name}: columns {', '.join(unnamed)} of the header have no name: name or remove them.")
    check_unique(header.values, file.name)


def _records(lines: _Lines, delimiter: str) -> Iterator[Record]:
    """Yield every CSV record.

    If a quote is not closed, or is not followed by a delimiter, only the first line of the record is lost: the lines
    that the quote has swallowed after it are read again.
    """
    record: list[str] = []

    def feed() -> Iterator[str]:
        for line in lines:
            record.append(line)
            yield line

    while True:
        try:
            for values in csv.reader(feed(), delimiter=delimiter, strict=True):
                start = lines.number - len(record) + 1
                record.clear()
                yield Record(values, None, start)
            return
        except csv.Error as error:
            reason = "a quote that is never closed" if "end of data" in str(error) else str(error)
            broken = record[0].rstrip("\r\n")
            lines.put_back(record[1:])
            record.clear()
        yield Record([], f"not valid CSV ({reason}): {broken}", lines.number)


def _records_with_tabs(lines: _Lines, width: int) -> Iterator[Record]:
    """Yield the records of a TSV file, whose quotes may be characters of the text; see :func:`csv_table`."""
    for line in lines:
        if '"' in line and QUOTE_AT_START.search(line):
            break
        yield _unquoted(line, lines.number)
    else:
        return
    number = lines.number - 1
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogatepass", newline="") as spool:
        spool.write(line)
        spool.writelines(lines)

        def quoted() -> Iterator[Record]:
            spool.seek(0)
            return _records(_Lines(spool, number), "\t")

        def unquoted() -> Iterator[Record]:
            spool.seek(0)
            return (_unquoted(line, start) for start, line in enumerate(spool, number + 1))

        are_characters = _broken(unquoted(), width) < _broken(quoted(), width)
        yield from unquoted() if are_characters else quoted()


def _unquoted(line: str, number: int) -> Record:
    text = line.rstrip("\r\n")
    return Record(text.split("\t") if text else [], None, number)


def _broken(records: Iterator[Record], width: int) -> int:
    """Number of records of a TSV file that are broken; see :func:`csv_table`."""
    return sum(
        record.problem is not None or (bool(record.values) and len(record.values) != width) or _joins(record, width)
        for record in records
    )


def _joins(record: Record, width: int) -> bool:
    """True if the quotes of a record join lines which have the right number of fields by themselves."""
    lines = re.split("\r\n|\r|\n", "\t".join(record.values))
    return width > 1 and len(lines) > 1 and all(line.count("\t") == width - 1 for line in lines)


def _row(record: Record, names: list[str], delimiter: str, file: TextFile) -> InputRow:
    values, problem, line = record
    if problem is None and values and len(values) != len(names):
        problem = f"{len(values)} fields, but the header has {len(names)}"
        beyond = values[len(names) :]
        problem += f"; beyond it: {json.dumps(beyond, ensure_ascii=False)}" if beyond else ""
        problem += f"; put quotes around a field that holds {delimiter!r}" if beyond else "; complete the row"
    if len(values) != len(names):
        values = [*values, *[""] * len(names)]
    if problem is not None or is_damaged("".join(values)):
        problem = file.encoding_problem if problem is None else readable(problem)
        values = [readable(value) for value in values]
    return InputRow(dict(zip(names, values, strict=False)), problem, line)
