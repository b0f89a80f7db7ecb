"""Tokenizer of an exported folder: one JSON file makes the inputs of the graph, truncated and padded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..backbones import Backbone, TokenBackbone
from ..data import Words
from ..errors import UnsupportedModelError
from ..features.texts import Text, parts_of

if TYPE_CHECKING:
    from tokenizers import Encoding

# Attribute of an encoding of the library tokenizers for each input of a model.
COLUMNS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def check_tokenizer(backbone: Backbone) -> None:
    """Check that the tokenizer of a backbone can be written to ``tokenizer.json``.

    Raises:
        UnsupportedModelError: the tokenizer is not a fast one, has parts in Python, or makes inputs of other kinds.
    """
    tokenizer, name = backbone.tokenizer, type(backbone.tokenizer).__name__
    if not tokenizer.is_fast:
        raise UnsupportedModelError(
            f"the tokenizer {name} cannot be exported, because it has no tokenizer.json: load the model with a fast "
            "tokenizer, or serve it with alien serve."
        )
    try:
        tokenizer.backend_tokenizer.to_str()
    except Exception as error:  # the library tokenizers raises Exception for parts that are written in Python
        raise UnsupportedModelError(
            f"the tokenizer {name} cannot be exported: {error}. Serve the model with alien serve."
        ) from error
    others = set(backbone.tokenize(["a"])) - set(COLUMNS)
    if others:
        raise UnsupportedModelError(
            f"the tokenizer {name} makes the input {min(others)!r}, which tokenizer.json cannot describe: remove it "
            "from the tokenizer's model_input_names if the model does not need it, or serve the model with alien serve."
        )


def write_tokenizer(backbone: Backbone, folder: Path) -> dict[str, Any]:
    """Write the files of a tokenizer with its current settings, and return the settings for ``config.json``.

    ``tokenizer.json`` holds truncation and padding.

    Args:
        backbone: backbone whose tokenizer has passed :func:`check_tokenizer`.
        folder: folder for the files.

    Raises:
        UnsupportedModelError: no text stands for the special token of empty texts.
    """
    from tokenizers import Tokenizer

    tokenizer: Any = copy.deepcopy(backbone.tokenizer)
    tokenizer.model_max_length, tokenizer.padding_side = backbone.max_length, backbone.padding_side
    tokenizer.save_pretrained(folder)
    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    words = None
    if isinstance(backbone, TokenBackbone):
        separator = " " if backbone.words_need_space else ""
        words = {
            "separator": separator,
            "unknown": backbone.unknown_word,
            "capacity": backbone.capacity,
            "stride": backbone.stride,
        }
    # Without an attention mask, the backbone leaves the padding of the tokenizer as it is.
    masked = "attention_mask" in tokenizer.model_input_names
    pad_token_id = backbone.pad_token_id if masked else tokenizer.pad_token_id
    core.enable_truncation(
        backbone.max_length, stride=words["stride"] if words else 0, direction=tokenizer.truncation_side
    )
    core.enable_padding(
        direction=backbone.padding_side,
        pad_id=pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.convert_ids_to_tokens(pad_token_id) or tokenizer.pad_token,
    )
    core.save(str(folder / "tokenizer.json"))
    core.encode_special_tokens = tokenizer.split_special_tokens
    return {
        "max_length": backbone.max_length,
        "truncation_side": tokenizer.truncation_side,
        "pad_token_id": pad_token_id,
        "padding_side": backbone.padding_side,
        "split_special_tokens": tokenizer.split_special_tokens,
        "empty_text": None if words or core.encode("").ids else _empty_text(backbone, core),
        "words": words,
    }


def _empty_text(backbone: Backbone, core: Any) -> str:
    """Text that is tokenized to the special token that the backbone reads for a text without tokens."""
    ids = backbone.tokenize([""])["input_ids"][0]
    text = backbone.tokenizer.convert_ids_to_tokens(ids)[0]
    if text is None or core.encode(text).ids != ids:
        raise UnsupportedModelError(
            f"the tokenizer {type(backbone.tokenizer).__name__} cannot be exported, because no text stands for the "
            f"token {ids[0]} that is read for an empty text: set split_special_tokens=False of the tokenizer."
        )
    return str(text)


def _word_lists(texts: Sequence[Text]) -> list[list[str]]:
    """Words between the spaces of each text."""
    return [parts_of(text)[0].split() for text in texts]


class ExportedTokenizer:
    """Tokenizer of an exported folder, read without transformers.

    Args:
        folder: folder with ``tokenizer.json``.
        settings: settings of ``config.json``, from :func:`write_tokenizer`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        from tokenizers import Tokenizer

        self.settings = settings
        self.core = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.core.encode_special_tokens = settings["split_special_tokens"]

    def encode(self, texts: Sequence[Text]) -> list[Encoding]:
        """Tokenize texts or pairs to padded rows; for token classification, the words between spaces, in windows."""
        if self.settings["words"] is None:
            empty = self.settings["empty_text"] or ""
            inputs: list[Any] = [parts_of(text) for text in texts]
            inputs = [parts if self.core.encode(*parts).ids else (empty, *parts[1:]) for parts in inputs]
            return list(self.core.encode_batch([parts[0] if len(parts) == 1 else parts for parts in inputs]))
        sentences = [self._words(words) for words in _word_lists(texts) if words]
        rows = self.core.encode_batch(sentences, is_pretokenized=True)
        return [window for row in rows for window in (row, *row.overflowing)]

    def _words(self, words: list[str]) -> list[str]:
        row = self.core.encode(words, is_pretokenized=True, add_special_tokens=False)
        with_tokens = {word for window in (row, *row.overflowing) for word in window.word_ids}
        settings = self.settings["words"]
        return [
            ((settings["separator"] if k else "") + word if k in with_tokens else settings["unknown"])
            for k, word in enumerate(words)
        ]

    def checked_inputs(self, backbone: Backbone, texts: Sequence[Text]) -> dict[str, Tensor]:
        """Make a padded batch of texts, and compare it with that of the backbone; no rows give no tensors.

        Raises:
            UnsupportedModelError: the batches differ.
        """
        if isinstance(backbone, TokenBackbone):
            encoded = backbone.windows(Words(_word_lists(texts)))[0]
        else:
            encoded = backbone.tokenize(texts)
        if not encoded["input_ids"]:
            return {}
        expected, encodings = backbone.pad(encoded), self.encode(texts)
        for name, values in expected.items():
            if [list(getattr(row, COLUMNS[name])) for row in encodings] != values.tolist():
                raise UnsupportedModelError(
                    f"the tokenizer {type(backbone.tokenizer).__name__} cannot be exported, because its tokenizer.json "
                    f"makes other {name} than the tokenizer itself: serve the model with alien serve."
                )
        return {name: values.to(torch.int64) for name, values in expected.items()}
