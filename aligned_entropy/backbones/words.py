"""Division of texts into words for token classification."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Scripts whose words have no spaces between them; ー is common to two of them.
UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}"
    r"\p{Tai_Tham}\p{Tai_Viet}\p{Javanese}\p{Balinese}ー"
)
LETTER = rf"[[\w\p{{M}}]--[{UNSPACED}]]"  # with combining marks, without which most Indic scripts would fall apart
# Invisible characters, such as soft hyphens and zero-width joiners, belong to the word around them.
LETTERS = rf"{LETTER}(?:{LETTER}|[\p{{Cf}}--\u200b]+(?={LETTER}))*"
CLITIC = r"(?i:s|re|ve|ll|d|m|t)\b"  # 's and similar suffixes of English
# Words of French, Italian and Catalan that lose their last vowel before another word.
ELIDED = (
    r"(?i:[cdjlmnstv]|qu|jusqu|lorsqu|puisqu|quoiqu|un|all|dall|dell|nell|sull|coll|quell|quest|bell|sant|gl|ch|anch|"
    r"com|dov)"
)
# Words much as in the usual corpora: abbreviations, numbers, addresses, names and hyphenated words are one word. A
# point without a space after it ends a sentence if a word in lower case is before it and a capitalized one after it.
WORD = regex.compile(
    rf"""(?P<unspaced>[{UNSPACED}][{UNSPACED}\p{{M}}]*)"""
    r"""|(?i:https?)://[^\s<>()\[\]]*[^\s<>()\[\].,;:!?'"]"""
    rf"""|[@#]{LETTER}+|(?:{LETTER}\.){{2,}}(?:{LETTER}\b)?|\d+(?:[.,:/]\d+)+"""
    rf"""|['’]{CLITIC}"""
    rf"""|(?<!['’]){ELIDED}['’](?!{CLITIC})(?={LETTER})"""
    rf"""|{LETTERS}(?:(?:[-&@]|(?<!\p{{Ll}}{{2}})\.|\.(?!\p{{Lu}}\p{{Ll}})|['’](?!{CLITIC})){LETTERS})*"""
    r"""|(?=[^\w\s\p{M}\p{Cf}\p{Cc}])\X""",
    regex.VERSION1,
)
CHARACTER = regex.compile(r"\X")  # with its marks


def word_offsets(text: str, tokenizer: PreTrainedTokenizerBase | None) -> list[tuple[int, int]]:
    """First character of each word of a text, and the one after its last.

    Scripts that put no spaces between words are divided into the sub-words of the tokenizer, which are single
    characters in most models for Chinese. All other words are divided as in the usual corpora: at spaces and
    punctuation, but not inside of abbreviations, numbers, addresses and hyphenated words; elided words (``d'``,
    ``dell'``) are words.

    Args:
        text: text to divide.
        tokenizer: fast tokenizer of the model; None to divide scripts without spaces into characters.
    """
    matches = list(WORD.finditer(text))
    runs = [match for match in matches if match["unspaced"]]
    pieces = dict(zip((run.start() for run in runs), _pieces([run.group() for run in runs], tokenizer), strict=True))
    offsets = []
    for match in matches:
        start, end = match.span()
        offsets += [(start + first, start + last) for first, last in pieces.get(start, [(0, end - start)])]
    return offsets


def _pieces(runs: Sequence[str], tokenizer: PreTrainedTokenizerBase | None) -> list[list[tuple[int, int]]]:
    """Offsets of the sub-words of each run of characters; a character is never cut, and none is left out."""
    if not runs:
        return []
    if tokenizer is None:
        return [[match.span() for match in CHARACTER.finditer(run)] for run in runs]
    encoded = tokenizer(list(runs), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pieces = []
    for run, ids, offsets in zip(runs, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        beginnings = {0}
        for token, (start, end) in zip(ids, offsets, strict=True):
            # A long run may be a single unknown token.
            beginnings |= set(range(start, end)) if token == tokenizer.unk_token_id else {start}
        starts = [match.start() for match in CHARACTER.finditer(run)]
        pieces.append(list(pairwise([*(start for start in starts if start in beginnings), len(run)])))
    return pieces
