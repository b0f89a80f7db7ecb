"""Lines of text files: encodings, ends of lines and gzip."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

from ...errors import DataError
from .rows import COMPRESSED

Item = TypeVar("Item")

CHARACTERS_PER_CHUNK = 2**16
GZIP = b"\x1f\x8b"
# The marks of UTF-32 come first, since that of its little-endian form begins like that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Zero bytes (True) among the first four, if the first two characters are ASCII.
WITHOUT_MARK: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
NO_MARK = (
    "utf-8",
    "utf-16-le",
    "utf-16-be",
    "utf-32-le",
    "utf-32-be",
)  # decoders of these keep the mark as a character


@dataclass(frozen=True)
class TextFile:
    """Open text file. Bytes that its encoding does not have become surrogates, see :func:`is_damaged`.

    Attributes:
        name: name of the file, for error messages.
        encoding: name of the encoding.
        is_named: True if the user named the encoding.
        start: first characters of the file.
        stream: stream of all characters.
    """

    name: str
    encoding: str
    is_named: bool
    start: str
    stream: IO[str]

    def lines(self) -> Iterator[str]:
        """Yield the lines with their ends.

        Raises:
            DataError: the file is damaged, such that nothing after the damage can be read.
        """
        return self._guarded(self.stream)

    def chunks(self) -> Iterator[str]:
        """Yield all characters in chunks, without regard to lines.

        Raises:
            DataError: the file is damaged, such that nothing after the damage can be read.
        """
        return self._guarded(iter(partial(self.stream.read, CHARACTERS_PER_CHUNK), ""))

    @property
    def encoding_problem(self) -> str:
        """Reason why a line with a byte that its encoding does not have cannot be read."""
        return (
            f"not {self.encoding.upper()}: save the file as UTF-8, or name its encoding, such as --encoding cp1252 or "
            "encoding='cp1252'"
        )

    def _guarded(self, items: Iterable[Item]) -> Iterator[Item]:
        try:
            yield from chain(items)  # a file itself would be closed with this generator
        except UnicodeError as error:
            if self.is_named:
                raise _other_encoding(self.name, self.encoding, f"it cannot be decoded ({error})") from error
            raise DataError(f"{self.name} is damaged: not {self.encoding.upper()} ({error}). Save it anew.") from error
        except gzip.BadGzipFile as error:
            raise DataError(f"{self.name} is damaged, or not compressed with gzip ({error}).") from error
        except (EOFError, zlib.error) as error:
            raise DataError(f"{self.name} is damaged: its gzip data cannot be read ({error}).") from error


@contextmanager
def open_text(source: str | Path, encoding: str | None = None, newline: str | None = None) -> Iterator[TextFile]:
    """Open a text file, unpacked if it ends in ``.gz``, or stdin for ``-``.

    Args:
        source: path of the file, or ``-``.
        encoding: name of the encoding. By default UTF-16 or UTF-32 if the file begins with a byte order mark of
            these, or with two ASCII characters in one of these; otherwise UTF-8.
        newline: end of a line. An empty string stands for LF, CRLF and CR. By default CR in a file whose beginning
            has no LF, otherwise LF.

    Raises:
        DataError: there is no such encoding, the file is compressed but not named so, has another encoding than the
            named one, or begins with a NUL byte.
    """
    if encoding is not None:
        check_encoding(encoding)
    with _open_bytes(str(source)) as stream:
        name = "stdin" if source == "-" else str(source)
        sample = _peek(stream, name)
        is_named = encoding is not None
        encoding = encoding or detect_encoding(sample)
        codec = codecs.lookup(encoding).name
        is_wide = codec.startswith(("utf-16", "utf-32"))
        if is_named:
            _check_named(encoding, sample, name)
        if not is_wide and sample.startswith(b"\0"):
            raise DataError(
                f"{name} begins with NUL bytes, so that it is no text file, or was not written to its end: save or "
                "copy it anew."
            )
        mark = next((mark for mark in MARKS if sample.startswith(mark)), b"")
        if codec in NO_MARK and mark.decode(codec, "ignore") == "\ufeff":
            stream.read(len(mark))
            sample = sample[len(mark) :]
        start = sample.decode(encoding, "ignore")
        if newline is None:
            newline = "\r" if "\r" in start and "\n" not in start else "\n"
        text = io.TextIOWrapper(stream, encoding, "strict" if is_wide else "surrogateescape", newline)
        try:
            yield TextFile(name, encoding, is_named, start, text)
        finally:
            text.detach()  # otherwise stdin would be closed


def read_lines(path: str | Path, encoding: str | None = None) -> list[str]:
    """Read all lines of a text file, without their ends, which are LF, CRLF or CR.

    Args:
        path: path of the file.
        encoding: name of the encoding; None to find it out.

    Raises:
        DataError: the file cannot be read, or a line holds a byte that the encoding does not have.
    """
    lines = []
    with open_text(path, encoding, newline="") as file:
        for number, line in enumerate(file.lines(), 1):
            if is_damaged(line):
                raise DataError(f"{path}, line {number}: {file.encoding_problem}.")
            lines.append(line.rstrip("\r\n"))
    return lines


def check_encoding(encoding: str) -> None:
    """Check that an encoding of texts exists.

    Raises:
        DataError: there is none of this name.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except (LookupError, ValueError) as error:
        raise DataError(f"there is no encoding {encoding!r}: name one such as utf-8, cp1252 or utf-16.") from error


def _check_named(encoding: str, sample: bytes, name: str) -> None:
    """Check that the first bytes of a file do not contradict the encoding that the user named.

    Raises:
        DataError: the file begins with the byte order mark of another encoding, or no byte of a file in UTF-16 or
            UTF-32 is zero.
    """
    mark = next((mark for mark in MARKS if sample.startswith(mark)), b"")
    if mark and mark.decode(encoding, "ignore") not in ("", "\ufeff"):
        raise _other_encoding(name, encoding, f"it begins with the byte order mark of {MARKS[mark].upper()}")
    is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if is_wide and sample and not mark and b"\0" not in sample:
        raise _other_encoding(name, encoding, "none of its bytes is zero")


def _other_encoding(name: str, encoding: str, reason: str) -> DataError:
    """Error for a file that does not have the encoding that the user named."""
    return DataError(
        f"{name} is not {encoding.upper()}: {reason}. Leave --encoding (in Python encoding=) out, since UTF-8, UTF-16 "
        "and UTF-32 are recognized, or name the right encoding, such as cp1252."
    )


def detect_encoding(sample: bytes) -> str:
    """Detect the encoding of a file by its first bytes.

    Args:
        sample: first bytes of the file.

    Returns:
        An encoding of Unicode: that of the byte order mark, or the one whose zero bytes the first two characters have,
        and ``utf-8`` otherwise.
    """
    for mark, encoding in MARKS.items():
        if sample.startswith(mark):
            return encoding
    return WITHOUT_MARK.get(tuple(not byte for byte in sample[:4]), "utf-8")


def is_damaged(line: str) -> bool:
    """True if a line holds a byte that its encoding does not have."""
    if line.isascii():
        return False
    try:
        line.encode()
    except UnicodeEncodeError:
        return True
    return False


def readable(text: str) -> str:
    """Text in which bytes that its encoding does not have are written as ``\\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def _open_bytes(source: str) -> Iterator[Any]:
    """Open a file, or stdin for ``-``, as a stream with the method ``peek``."""
    if source == "-":
        stream = sys.stdin.buffer
        yield stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    else:
        with gzip.open(source) if source.lower().endswith(COMPRESSED) else open(source, "rb") as file:
            yield file


def _peek(stream: Any, name: str) -> bytes:
    """First bytes of a stream, which still has them.

    Raises:
        DataError: the bytes are compressed, or are not although the name says so.
    """
    try:
        sample = bytes(stream.peek(CHARACTERS_PER_CHUNK))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} is not compressed with gzip ({error}): leave out the ending {COMPRESSED}, or compress it."
        ) from error
    if sample.startswith(GZIP):
        remedy = "pipe it through gunzip" if name == "stdin" else f"add the ending {COMPRESSED} to its name"
        raise DataError(f"{name} is compressed with gzip: {remedy}.")
    return sample
