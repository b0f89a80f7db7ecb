"""Tagged sentences: which columns hold words and tags, and which of the model's tags a tag means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

TOKEN_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("tags", "ner_tags", "ner", "labels")
OUTSIDE = "O"
COMMENTS = ("# id", "# sent_id", "# text", "# newdoc", "# newpar", "# global.")  # of CoNLL-U and its relatives


class Words(Sequence[str]):
    """The words of S sentences as one sequence; a slice of it still knows which sentences its words stand in.

    Args:
        sentences: the words of each.
        rows: which of all words this is; all of them by default.

    Attributes:
        sentences: as given.
        starts: where every sentence starts among all words, ``[S + 1]``; the last is their number.
    """

    def __init__(self, sentences: Sequence[Sequence[str]], rows: range | None = None, starts: Any = None) -> None:
        self.sentences = sentences
        self.starts: NDArray[np.int64] = np.cumsum([0, *map(len, sentences)]) if starts is None else starts
        self._rows = range(int(self.starts[-1])) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Words: ...
    def __getitem__(self, row: int | slice) -> str | Words:
        if isinstance(row, slice):
            if row.step not in (None, 1):
                raise ValueError(f"words are taken one after the other, not with a step of {row.step}.")
            return Words(self.sentences, self._rows[row], self.starts)
        place = self._rows[row]
        sentence = int(np.searchsorted(self.starts, place, "right")) - 1
        return self.sentences[sentence][place - int(self.starts[sentence])]

    def __iter__(self) -> Iterator[str]:
        for first, words in self.whole_sentences():
            yield from (word for row, word in enumerate(words, first) if 0 <= row < len(self))

    def whole_sentences(self) -> Iterator[tuple[int, Sequence[str]]]:
        """The sentences that these words stand in, each with the row of its first word, which may be negative."""
        if not len(self):
            return
        first, last = np.searchsorted(self.starts, [self._rows[0], self._rows[-1]], "right") - 1
        for sentence in range(int(first), int(last) + 1):
            if self.starts[sentence] < self.starts[sentence + 1]:
                yield int(self.starts[sentence]) - self._rows[0], self.sentences[sentence]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """Which sentence every word stands in, ``[W]``."""
        rows = np.arange(self._rows.start, self._rows.stop)
        return np.searchsorted(self.starts, rows, "right").astype(np.int64) - 1


@dataclass(frozen=True)
class LabeledTokens:
    """S sentences of W words in all, with their true tags.

    Attributes:
        sentences: the words of each; a list, or a lazy column of a ``datasets.Dataset``.
        labels: tag of every word, ``[W]`` int, in the order of ``label_names``.
        label_names: the tags' names.
    """

    sentences: Sequence[Sequence[str]]
    labels: NDArray[np.int64]
    label_names: list[str]

    def __len__(self) -> int:
        return len(self.sentences)

    def __add__(self, other: LabeledTokens) -> LabeledTokens:
        labels = np.concatenate([self.labels, other.labels])
        return LabeledTokens([*self.sentences, *other.sentences], labels, self.label_names)

    @cached_property
    def texts(self) -> Words:
        """All words; what features are of."""
        return Words(self.sentences)

    def select(self, rows: NDArray[np.int64]) -> LabeledTokens:
        """Some of the sentences."""
        starts = self.texts.starts
        labels = [self.labels[starts[row] : starts[row + 1]] for row in rows]
        kept = [self.sentences[int(row)] for row in rows]
        return LabeledTokens(kept, np.concatenate([*labels, np.zeros(0, np.int64)]), self.label_names)


def has_token_labels(dataset: Dataset, text_column: str | None = None, label_column: str | None = None) -> bool:
    """Whether a data set holds words with a tag each, in these columns or in those of the usual names."""
    given = ((text_column, TOKEN_COLUMNS), (label_column, TAG_COLUMNS))
    return all(_known(dataset, (name,) if name else usual) is not None for name, usual in given)


def labeled_tokens(
    dataset: Dataset,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTokens:
    """Words and tags of a data set, the tags in the order of ``label_names``.

    Args:
        dataset: the data: a column of lists of words, and one of lists of as many tags.
        label_names: the model's tags; the data's own, ``O`` first, when left out.
        text_column: column of the words, found by its usual names when left out.
        label_column: column of the tags, likewise.
        label_map: from an entity type of the data to one of the model (``person`` to ``PER``: ``B-person`` is then
            ``B-PER``; a type that is mapped to ``O`` is none), or from a whole tag to another.

    Raises:
        DataError: a column is missing, a sentence has not one tag a word, or a tag is none of the model's.
    """
    tokens = _column(dataset, "words", text_column, TOKEN_COLUMNS)
    tags = _column(dataset, "tags", label_column, TAG_COLUMNS)
    own_names = list(getattr(getattr(dataset.features[tags], "feature", None), "names", None) or [])
    sentences, flat, raw = dataset[tokens], list[Any](), dataset[tags][:]
    if not len(sentences):
        raise DataError("the data set is empty.")
    for row, (words, own) in enumerate(zip(sentences, raw, strict=True)):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"row {row} of column {tokens!r} is no list of words: {words!r:.80}")
        if not isinstance(own, list) or len(own) != len(words):
            count = f"{len(own)} tags" if isinstance(own, list) else f"a {type(own).__name__}"
            raise DataError(f"row {row} has {len(words)} words and {count} in column {tags!r}: one a word is needed.")
        flat += own
    outside = sorted({tag for tag in flat if not isinstance(tag, str)} - set(range(len(own_names))), key=str)
    if outside:
        raise DataError(
            f"column {tags!r} holds {', '.join(map(repr, outside[:5]))}, and {len(own_names)} names of tags: tags are "
            "strings such as B-PER, or numbers of a ClassLabel."
        )
    kinds = dict.fromkeys(own_names or sorted(set(flat), key=lambda tag: (tag != OUTSIDE, tag)))
    meant = {tag: _mapped(tag, label_map or {}) for tag in kinds}
    names = list(label_names or dict.fromkeys(meant.values()))
    place = {name: index for index, name in enumerate(names)}
    named = [own_names[tag] if not isinstance(tag, str) else tag for tag in flat]
    unknown = sorted({f"{tag} (as {meant[tag]})" if meant[tag] != tag else tag for tag in set(named)
                      if meant[tag] not in place})  # fmt: skip
    if unknown:
        raise DataError(
            f"column {tags!r} holds tags that the model does not have: {', '.join(unknown[:10])}; the model has "
            f"{', '.join(names[:30])}. Give a map of their types, to O where there is none, label_map={{'person': "
            "'PER'}} or --label-map person=PER,misc=O,…"
        )
    return LabeledTokens(sentences, np.array([place[meant[tag]] for tag in named], dtype=np.int64), names)


def read_conll(path: Path) -> dict[str, list[list[str]]]:
    """Columns ``tokens`` and ``tags`` of a CoNLL file: a word a line, its tag in the last column, a blank line between
    sentences; ``-DOCSTART-`` lines and comments are passed over.

    Raises:
        DataError: a line has a word and no tag.
    """
    columns: dict[str, list[list[str]]] = {"tokens": [], "tags": []}
    words, tags = list[str](), list[str]()
    lines = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        parts = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or parts[0] == "-DOCSTART-":
            if words:
                columns["tokens"].append(words)
                columns["tags"].append(tags)
                words, tags = [], []
        elif words or not line.startswith(COMMENTS):
            if len(parts) < 2 or not parts[-1].strip():
                raise DataError(f"line {number} of {path} has no tag beside its word: {line!r:.80}")
            words.append(parts[0])
            tags.append(parts[-1].strip())
    if any(len(own) > 1 and own == [str(k) for k in range(1, len(own) + 1)] for own in columns["tokens"]):
        raise DataError(
            f"{path} counts the words of a sentence in its first column, as CoNLL-U does: give the word and its tag "
            "alone, a word a line."
        )
    return columns


def _mapped(tag: str, mapping: Mapping[str, str]) -> str:
    if tag in mapping:
        return mapping[tag]
    prefix, dash, kind = tag.partition("-")
    if not dash or kind not in mapping:
        return tag
    return OUTSIDE if mapping[kind] == OUTSIDE else f"{prefix}-{mapping[kind]}"


def _known(dataset: Dataset, usual: Sequence[str]) -> str | None:
    from datasets import LargeList, List

    return next((name for name in usual if isinstance(dataset.features.get(name), (List, LargeList))), None)


def _column(dataset: Dataset, what: str, given: str | None, usual: Sequence[str]) -> str:
    found = given or _known(dataset, usual)
    if found is None or found not in dataset.column_names:
        asked = f"no column {given!r}" if given else f"no column of lists with {what} (looked for {', '.join(usual)})"
        raise DataError(f"there is {asked}; the columns are {', '.join(dataset.column_names)}.")
    return found
