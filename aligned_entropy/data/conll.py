"""CoNLL files: one word and its tag on each line, a blank line between sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from .text_files import read_lines

COMMENTS = ("# id", "# sent_id", "# text", "# newdoc", "# newpar", "# global.")  # of CoNLL-U and similar formats


def read_conll(path: Path, encoding: str | None = None) -> dict[str, list[list[str]]]:
    """Read the columns ``tokens`` and ``tags`` of a CoNLL file, one list for each sentence.

    The tag of a word is the last column of its line. ``-DOCSTART-`` lines and comments are skipped.

    Args:
        path: path of the file.
        encoding: encoding of the file; None to find it out.

    Raises:
        DataError: the file is not in its encoding, a line has a word without a tag, or the first column holds word
            numbers.
    """
    columns: dict[str, list[list[str]]] = {"tokens": [], "tags": []}
    words, tags = list[str](), list[str]()
    for number, line in enumerate([*read_lines(path, encoding), ""], 1):
        parts = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or parts[0] == "-DOCSTART-":
            if words:
                columns["tokens"].append(words)
                columns["tags"].append(tags)
                words, tags = [], []
        elif words or not line.startswith(COMMENTS):
            if len(parts) < 2 or not parts[-1].strip():
                raise DataError(f"{path}, line {number}: there is no tag after the word: {line!r:.80}. Add a tag.")
            words.append(parts[0])
            tags.append(parts[-1].strip())
    if any(_is_numbered(words) for words in columns["tokens"]):
        raise DataError(
            f"{path}: the first column holds the numbers of the words in their sentence, as in CoNLL-U. Keep two "
            "columns, the word and its tag."
        )
    return columns


def _is_numbered(words: Sequence[str]) -> bool:
    return len(words) > 1 and list(words) == [str(number) for number in range(1, len(words) + 1)]
