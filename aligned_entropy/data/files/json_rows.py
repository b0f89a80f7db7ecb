"""Rows of JSON files: JSON Lines, arrays of objects, and objects that go on over several lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...display.wording import type_name
from ...errors import DataError
from .rows import MAX_NESTING, InputRow, map_json
from .text_files import TextFile, is_damaged, readable

WHITESPACE = " \t\r\n"
LONGEST_TOKEN = 12  # characters of a number, name or escape sequence that the end of a chunk may cut


def json_rows(file: TextFile) -> Iterator[InputRow]:
    """Yield the rows of a JSON file.

    The file holds one object on each line, or one array of objects, or objects that go on over several lines. A line
    that is not an object makes a row with the reason; blank lines are not rows.

    Raises:
        DataError: an array, or an object over several lines, is damaged, so that its end cannot be determined.
    """
    start = file.start.lstrip(WHITESPACE)
    if start.startswith("["):
        first = start[1:].lstrip(WHITESPACE)[:1]
        if first in ("{", "]", ""):  # otherwise lists on single lines, which are not rows
            return _array_rows(file)
    if start.startswith("{") and _goes_on(start):
        return _object_rows(file)
    return (_line_row(line, number, file) for number, line in enumerate(file.lines(), 1) if line.strip())


def _goes_on(start: str) -> bool:
    """True if the first object of a file does not end on its first line."""
    try:
        _, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return start[1:].lstrip(" \t").startswith(("\n", "\r"))
    return "\n" in start[:end]


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of its fields; a hook for the decoder of ``json``, which would drop all but the last of a name.

    Raises:
        ValueError: a name occurs twice.
    """
    columns = dict(pairs)
    if len(columns) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return columns


DECODER = json.JSONDecoder(object_pairs_hook=unique_names)


def _line_row(line: str, number: int, file: TextFile) -> InputRow:
    try:
        if is_damaged(line):
            raise ValueError(file.encoding_problem)
        try:
            value = DECODER.decode(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error.msg} (column {error.pos + 1})") from error
        return _row(value, line, number)
    except RecursionError:
        problem = f"nested too deeply, in more than {MAX_NESTING} levels"
    except ValueError as error:
        problem = str(error)
    return InputRow({"raw": readable(line).rstrip("\r\n")}, problem, number)


def _row(value: Any, text: str, line: int) -> InputRow:
    """Row of a JSON value.

    Raises:
        RecursionError: the value has more levels of lists and objects than allowed.
    """
    # Half a surrogate pair can only come from an escape sequence, and no file can hold it as a character.
    is_suspicious = "\\u" in text and "\\ud" in text.lower()
    is_suspicious |= text.count("[") + text.count("{") > MAX_NESTING
    plain = map_json(value, _without_surrogates) if is_suspicious else value
    if not isinstance(plain, dict):
        return InputRow({"raw": plain}, f"not a JSON object but {type_name(plain)}", line)
    half = "not valid Unicode: half a surrogate pair, written as its escape sequence"
    return InputRow(plain, half if is_suspicious and plain != value else None, line)


def _without_surrogates(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _array_rows(file: TextFile) -> Iterator[InputRow]:
    """Yield the elements of an array."""
    window = _Window(file)
    window.skip("[")
    if window.next_character() != "]":
        yield window.row()
        while window.next_character() != "]":
            window.skip(",")
            yield window.row()
    window.skip("]")
    if window.next_character():
        raise window.problem("there is more after the end of the array")


def _object_rows(file: TextFile) -> Iterator[InputRow]:
    """Yield objects with white space between them."""
    window = _Window(file)
    while window.next_character():
        yield window.row()


class _Window:
    """Part of a JSON file that is in memory.

    Args:
        file: file to read.
    """

    def __init__(self, file: TextFile) -> None:
        self.file, self.chunks = file, file.chunks()
        self.text, self.position, self.line = "", 0, 1
        self.last_line = 1  # of the last character that is not white space

    def next_character(self) -> str:
        """Next character that is not white space, which is not yet read; empty at the end of the file."""
        while True:
            rest = self.text[self.position : self.position + 1]
            if rest and rest not in WHITESPACE:
                return rest
            if rest:
                self.line += rest == "\n"
                self.position += 1
            elif not self._read_on():
                return ""

    def skip(self, character: str) -> None:
        """Read a character that must come next.

        Raises:
            DataError: another character comes.
        """
        if self.next_character() != character:
            raise self.problem(f"{character!r} is missing")
        self.position += 1
        self.last_line = self.line

    def row(self) -> InputRow:
        """Read a value as a row.

        Raises:
            DataError: the value is damaged.
        """
        self.next_character()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.position)
                if end < len(self.text) or not self._read_on():
                    break
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos + LONGEST_TOKEN > len(self.text)
                distance = error.pos - self.position
                if not (is_cut and self._read_on()):
                    raise self.problem(error.msg, distance) from error
            except (ValueError, RecursionError) as error:
                too_deep = isinstance(error, RecursionError)
                raise self.problem("it is nested too deeply" if too_deep else str(error)) from error
        text, line = self.text[self.position : end], self.line
        self.position, self.line = end, line + text.count("\n")
        self.last_line = self.line
        if is_damaged(text):
            return InputRow({"raw": readable(text)}, self.file.encoding_problem, line)
        try:
            return _row(value, text, line)
        except RecursionError:
            return InputRow({"raw": text}, f"nested too deeply, in more than {MAX_NESTING} levels", line)

    def problem(self, reason: str, distance: int = 0) -> DataError:
        """Error for a file that cannot be read on.

        Args:
            reason: reason for the error.
            distance: number of characters from the current position to the error.
        """
        rest = self.text[self.position :].rstrip(WHITESPACE)
        line = self.line + rest[:distance].count("\n") if rest else self.last_line
        if reason.startswith("Unterminated") or not rest[distance:]:
            reason = f"{reason.removesuffix(' starting at')}; the file ends here, and may be cut off"
        return DataError(
            f"{self.file.name}, line {line}: not JSON: {reason}. The rows after it cannot be read; correct it, or "
            "write one object on each line."
        )

    def _read_on(self) -> bool:
        """Read at least as many characters as are in memory; False at the end of the file."""
        rest = self.text[self.position :]
        chunks = list(islice(self.chunks, 1))
        while chunks and sum(map(len, chunks)) < len(rest) and (chunk := next(self.chunks, "")):
            chunks.append(chunk)
        self.text, self.position = rest + "".join(chunks), 0
        return bool(chunks)
