"""CoNLL files: one word and its tag on each line, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...display.wording import cut
from ...errors import DataError
from ..tags import OUTSIDE, TagSet
from .rows import InputRow, InputTable
from .text_files import read_lines

DOCUMENT = "-DOCSTART-"
COMMENT = re.compile(r"#\s*(?:(?:id|sent_id|text|newdoc|newpar|global\.|begin document|end document)\b|::|[\w.]+ = )")
CONLL_2012 = "#begin document"
NUMBER = re.compile(r"\d+(?:[-.]\d+)?")  # of a word; with a hyphen or point for CoNLL-U's words of several parts
BRACKETS = re.compile(r"[(*\w-]*\*[)*]*|\*")  # entities as (PERSON* … *)
WORD_HEADERS = {"token", "tokens", "word", "words"}
TAG_HEADERS = {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags"}
MOST_COLUMNS = 100  # of a line; CoNLL-2012 has some dozens
ONE_LINE = "Write one word with its tag on each line, and a blank line after every sentence"
TAGGED = re.compile(r"[BIESLU]-\S+")  # tag of a word in an entity
FEWEST_TAGGED, TAGGED_SHARE = 10, 0.9  # lines of a text file that show that it is a CoNLL file
MOST_WORDS = 1000  # of the only sentence of a file
KEEP = "Keep two columns, the word and its tag"


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    fields: list[str]


def conll_table(path: Path, encoding: str | None = None) -> InputTable:
    """Read the columns ``tokens`` and ``tags`` of a CoNLL file, with a list of strings in each for every sentence.

    The word is the first column of its line, its tag the last; a file with one column has words alone, to predict.
    Columns are divided by tabs, or by spaces if the file has no tabs; no other character divides them, so that words
    may hold no-break spaces. ``-DOCSTART-`` lines, a header (``word tag``) and comments are skipped. A line that begins
    with ``#`` is a comment if it is the first one of its sentence and has other columns than the words of the file.

    Args:
        path: path of the file.
        encoding: encoding of the file; None to find it out.

    Raises:
        DataError: the file is not in its encoding, a line has no word, no tag or another number of columns, or it is
            not clear which column holds the words and which the tags; or more than a thousand words are one sentence.
    """
    sentences = _sentences(path, encoding)
    if len(sentences) == 1 and len(sentences[0]) > MOST_WORDS:
        raise DataError(
            f"{path}: all {len(sentences[0])} words are one sentence: put a blank line after every sentence."
        )
    has_tags = not sentences or len(sentences[0][0].fields) > 1
    fields = {"tokens": 0, "tags": -1} if has_tags else {"tokens": 0}
    rows = (
        InputRow({name: [line.fields[k] for line in part] for name, k in fields.items()}, line=part[0].number)
        for part in sentences
    )
    return InputTable(dict.fromkeys(fields), rows)


def conll_lines(path: Path, encoding: str | None = None) -> list[list[str]]:
    """Read the lines with words of a CoNLL file as they are, one list for each sentence; errors as for conll_table."""
    return [[line.text for line in sentence] for sentence in _sentences(path, encoding)]


def check_untagged(lines: Iterable[str], name: str) -> None:
    """Check that the lines of a text file are not those of a CoNLL file, of which every line would be a text.

    Args:
        lines: first lines of the file.
        name: name of the file, for the error message.

    Raises:
        DataError: all lines have as many columns, and nearly all of them end with a tag, of words in entities and of
            others.
    """
    rows = [line.split() for line in lines if line.strip() and not _is_comment(line)]
    tagged = [row for row in rows if _is_tag(row[-1])]
    columns = {len(row) for row in rows}
    is_table = len(columns) == 1 and min(columns) > 1 and len({row[-1] == OUTSIDE for row in tagged}) == 2
    if is_table and len(rows) >= FEWEST_TAGGED and len(tagged) >= TAGGED_SHARE * len(rows):
        raise DataError(
            f"{name}: the lines hold words with tags, such as {cut(' '.join(tagged[0]), 40)}, as those of a CoNLL "
            "file: name it with the ending .conll."
        )


def _sentences(path: Path, encoding: str | None) -> list[list[_Line]]:
    """Lines with words, by sentence; see :func:`conll_table`."""
    lines = read_lines(path, encoding)
    separator = "\t" if any("\t" in line and not _is_comment(line) for line in lines) else " "
    sentences: list[list[_Line]] = [[]]
    for number, text in enumerate(lines, 1):
        fields = [field.strip(" ") for field in text.split(separator)]
        fields = fields if separator == "\t" else [field for field in fields if field]
        is_header = (
            number == 1
            and bool(fields)
            and fields[0].lower() in WORD_HEADERS
            and (len(fields) == 1 or fields[-1].lower() in TAG_HEADERS)
        )
        if not any(fields) or fields[0].split(" ")[0] == DOCUMENT or is_header:
            sentences.append([])
        else:
            sentences[-1].append(_Line(number, text, fields))
    sentences = _without_comments(sentences)
    all_lines = [line for sentence in sentences for line in sentence]
    words = {line.fields[0] for line in all_lines}
    if all(len(line.fields) == 1 for line in all_lines) and not _are_tags(sorted(words)) and words != {OUTSIDE}:
        return sentences
    if len(all_lines) == 1 and sum(map(_is_tag, all_lines[0].fields[1:-1])) > 1:
        raise DataError(f"{path}: all words are on one line. {ONE_LINE}.")
    for line in all_lines:
        _check_line(line, sentences[0][0], path)
    rows = [[line.fields for line in sentence] for sentence in sentences]
    _check_columns(rows, path, has_2012=any(line.startswith(CONLL_2012) for line in lines))
    return sentences


def _is_tag(field: str) -> bool:
    """True for the tag of words outside of entities, and for a prefix with a type."""
    return field == OUTSIDE or TAGGED.fullmatch(field) is not None


def _is_comment(line: str) -> bool:
    return COMMENT.match(line) is not None


def _without_comments(sentences: Sequence[Sequence[_Line]]) -> list[list[_Line]]:
    """Lines with words, by sentence; sentences without any are left out."""
    with_words = [line for sentence in sentences for line in sentence if not line.text.startswith("#")]
    counts = {len(line.fields) for line in with_words}
    tags = {OUTSIDE} | {line.fields[-1] for line in with_words}

    def is_comment(line: _Line) -> bool:
        if not line.text.startswith("#"):
            return False
        is_sign = line.fields[0] == "#"  # a word by itself, such as the sign of a number
        fits = len(line.fields) > 1 and (not counts or len(line.fields) in counts)
        return _is_comment(line.text) or not fits or (is_sign and line.fields[-1] not in tags)

    words = []
    for sentence in sentences:
        first = next((k for k, line in enumerate(sentence) if not is_comment(line)), len(sentence))
        words.append(list(sentence[first:]))
    return [sentence for sentence in words if sentence]


def _check_line(line: _Line, first: _Line, path: Path) -> None:
    place = f"{path}, line {line.number}"
    if len(line.fields) > MOST_COLUMNS:
        raise DataError(f"{place}: {len(line.fields)} columns. {ONE_LINE}.")
    if len(line.fields) < 2 or not line.fields[-1]:
        raise DataError(f"{place}: there is no tag after the word: {cut(line.text, 80)}. Add a tag.")
    if not line.fields[0]:
        raise DataError(f"{place}: there is no word before the tag: {cut(line.text, 80)}. Add the word.")
    if len(line.fields) != len(first.fields):
        raise DataError(
            f"{place}: {len(line.fields)} columns, but line {first.number} has {len(first.fields)}: "
            f"{cut(line.text, 80)}. Give all lines as many columns, divided by tabs if a word holds a space."
        )


def _check_columns(sentences: Sequence[Sequence[Sequence[str]]], path: Path, has_2012: bool) -> None:
    """Check that the words are in the first column and tags in the last."""
    if not sentences:
        return
    columns = [[[row[k] for row in part] for part in sentences] for k in range(len(sentences[0][0]))]
    if len(columns) > 2 and _are_numbers(columns[0]):
        raise DataError(
            f"{path}: the first column holds the numbers of the words in their sentence, as in CoNLL-U or GermEval. "
            f"{KEEP}."
        )
    has_constant = all(len(set(part)) == 1 for part in columns[0]) and any(map(_are_numbers, columns[1:-1]))
    if len(columns) > 3 and (has_2012 or has_constant):
        raise DataError(
            f"{path}: the first column holds the name of the document, as in CoNLL-2012 (OntoNotes), and not a word. "
            f"{KEEP}."
        )
    tags = [sorted({tag for part in column for tag in part}) for column in columns[1:]]
    if all(BRACKETS.fullmatch(tag) for tag in tags[-1]):
        raise DataError(
            f"{path}: the last column holds entities in parentheses, such as {tags[-1][0]!r}. {KEEP}, such as B-PER, "
            "I-PER and O."
        )
    likely = [number for number, names in enumerate(tags, 2) if _are_tags(names)]
    if likely and likely[-1] != len(columns) and not _are_tags(tags[-1]):
        raise DataError(
            f"{path}: the last column, {', '.join(tags[-1][:3])}, …, does not hold tags as column {likely[-1]} does. "
            f"{KEEP}."
        )


def _are_numbers(column: Iterable[Sequence[str]]) -> bool:
    """True if a column numbers the words of every sentence from 0 or 1."""
    for values in column:
        numbers = [value for value in values if value.isdecimal()]
        if not all(map(NUMBER.fullmatch, values)) or not numbers or numbers[0] not in ("0", "1"):
            return False
        if [int(value) for value in numbers] != list(range(int(numbers[0]), int(numbers[0]) + len(numbers))):
            return False
    return True


def _are_tags(names: Sequence[str]) -> bool:
    """True if a column has the tag ``O`` and tags with the prefixes of a scheme."""
    parts = TagSet(names).parts
    return OUTSIDE in names and any(part.kind and part.kind != name for name, part in parts.items())
