"""Padding token and maximum length of a sequence classifier."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Models that number positions from the padding id on, so that fewer positions are left for tokens.
COUNTED_FROM_PADDING = (
    "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "xmod", "ibert", "data2vec-text",
    "mpnet", "longformer", "luke", "esm",
)  # fmt: skip

USUAL_MAX_LENGTH = 512  # largest number of tokens of a text, unless the user or the model names another

# Trial texts of different lengths, which show if padding changes the logits.
PADDING_TEXTS = (
    "a",
    "It is good.",
    "This one is not so bad at all",
    "It is 1 of 2 long texts, and the others are short: they are padded to its length.",
)

_LENDING = threading.RLock()  # held while a configuration has a padding token that it does not name itself


def checked_max_length(max_length: int | None, default: int) -> int:
    """Maximum number of tokens of an input; the default if none is given.

    Raises:
        ArgumentError: it is not a positive whole number.
    """
    if max_length is not None and not (isinstance(max_length, int) and max_length > 0):
        raise ArgumentError(f"max_length {max_length!r} is no number of tokens: give a positive whole number, or none.")
    return default if max_length is None else max_length


def default_max_length(config: Any, tokenizer: Any, limit: int = USUAL_MAX_LENGTH) -> int:
    """Maximum number of tokens of a text: the least of a limit, the tokenizer's limit and the model's positions."""
    positions = position_count(config) or limit
    if config.model_type in COUNTED_FROM_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(limit, positions, tokenizer.model_max_length))


def position_count(config: Any) -> int | None:
    """Number of positions of a model; None for a model without a limit, whose configuration may say -1."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions is not None and positions > 0 else None


def configured_padding(config: Any, vocabulary: int) -> int | None:
    """Padding token that a configuration names; None if it names none, or an id outside of the vocabulary as -1."""
    pad_token_id = getattr(config.get_text_config(), "pad_token_id", None)
    return int(pad_token_id) if pad_token_id is not None and 0 <= pad_token_id < vocabulary else None


def with_padding(tokenizer: Any, configured: int | None, vocabulary: int) -> tuple[PreTrainedTokenizerBase, int]:
    """Return a tokenizer that has a padding token, and the padding token id for the model.

    A tokenizer without a padding token is copied and gets the end-of-text token, as usual in training scripts. A text
    that ends in that token is then read at its last other token, as transformers does, in every batch.

    Args:
        tokenizer: tokenizer of the model.
        configured: padding token that the model's configuration names, if it names one.
        vocabulary: number of token ids of the model.

    Raises:
        UnsupportedModelError: neither the model nor the tokenizer has a token that can be used for padding.
    """
    if tokenizer.pad_token is None:
        model_token = None if configured is None else tokenizer.convert_ids_to_tokens(configured)
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = model_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise UnsupportedModelError("the tokenizer has no padding token and no end-of-text token: set its pad_token.")
    if configured is not None:
        return tokenizer, configured
    if tokenizer.pad_token_id >= vocabulary:
        raise UnsupportedModelError(
            f"the tokenizer's padding token {tokenizer.pad_token!r} has id {tokenizer.pad_token_id}, but the model has "
            f"only ids below {vocabulary} and names no padding token itself: set the tokenizer's pad_token."
        )
    logger.warning("the model names no padding token; using %r of its tokenizer.", tokenizer.pad_token)
    return tokenizer, int(tokenizer.pad_token_id)


@contextmanager
def lent_padding(config: Any, pad_token_id: int) -> Iterator[None]:
    """Set the padding token of a configuration while the block runs, in one thread at a time.

    Decoders whose configuration names no padding token refuse batches.
    """
    text_config = config.get_text_config()
    with _LENDING:
        original, text_config.pad_token_id = getattr(text_config, "pad_token_id", None), pad_token_id
        try:
            yield
        finally:
            text_config.pad_token_id = original
