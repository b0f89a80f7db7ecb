"""Arrays beyond hidden vectors and logits that some scores need: dropout passes, token states, empty prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..display.progress import Progress, no_report
from ..errors import NotApplicableError
from ..features.arrays import Array
from ..features.texts import Text
from .base import BaseBackbone
from .batching import require_texts
from .causal import LabelWordBackbone
from .endpoint.backbone import EndpointBackbone
from .templates import CONTENT_FREE

DROPOUT_PASSES = 20
# Forward passes over all texts that each array takes.
FORWARD_PASSES = {"passes": DROPOUT_PASSES, "states": 1, "content_free": 0}
STATE_BYTES = 64 * 1024  # largest size on disk of the hidden states of one text


def dropout_passes(
    backbone: BaseBackbone,
    texts: Sequence[Text],
    count: int = DROPOUT_PASSES,
    progress: Progress = no_report,
) -> Array:
    """Compute logits ``[N, T, C]`` of T forward passes with dropout, or read them from the store on disk.

    Args:
        backbone: model with dropout.
        texts: texts of the rows.
        count: number of passes T.
        progress: function that is called with the number of texts whose passes have become ready.

    Raises:
        DataError: there are no texts.
        NotApplicableError: the model has no dropout, as is usual for decoders.
    """
    require_texts(texts)
    _check_dropout(backbone, texts)

    def extract(rows: slice) -> tuple[Array]:
        logits_NTC = np.empty((len(texts[rows]), count, backbone.classes), np.float32)
        with torch.random.fork_rng(), _dropout(backbone.model):
            torch.manual_seed(rows.start)  # a resumed extraction draws the same numbers as an uninterrupted one
            for batch, inputs in backbone.batches(texts[rows]):
                logits = [backbone.forward(**inputs)[1].cpu() for _ in range(count)]
                logits_NTC[batch] = torch.stack(logits, 1).numpy()
                progress(len(batch))
        return (logits_NTC.reshape(len(logits_NTC), -1),)

    widths = {"passes": count * backbone.classes}
    store = backbone.store(texts, widths, f"{backbone.model_fingerprint} dropout {count}")
    return store.fill(extract, progress)[0].reshape(len(texts), count, backbone.classes)


def token_states(backbone: BaseBackbone, texts: Sequence[Text], progress: Progress = no_report) -> NDArray[np.float16]:
    """Compute the last hidden states ``[N, L, D]`` of the tokens of texts, or read them from the store on disk.

    States behind the end of a text are zero. A text with more than :data:`STATE_BYTES` of states keeps the first tokens
    of an encoder and the last tokens of a decoder.

    Args:
        backbone: model of texts.
        texts: texts of the rows.
        progress: function that is called with the number of texts whose states have become ready.

    Raises:
        DataError: there are no texts.
        NotApplicableError: the model is a token classifier.
    """
    if backbone.every_token:
        raise NotApplicableError("a token classifier has one hidden state a word, so there are no states to attend to.")
    encoder = getattr(backbone.inner, backbone.inner.base_model_prefix)
    width = int(backbone.config.get_text_config().hidden_size)
    length = max(1, min(backbone.max_length, STATE_BYTES // (2 * width)))
    decoder = backbone.reads_last_token
    outputs: list[Tensor] = []

    def extract(rows: slice) -> tuple[NDArray[np.float16]]:
        states_NLD = np.zeros((len(texts[rows]), length, width), np.float16)
        for batch, inputs in backbone.batches(texts[rows]):
            backbone.forward(**inputs)
            states = outputs.pop().float().cpu().numpy()
            for row, state, mask in zip(batch, states, inputs["attention_mask"].bool().numpy(), strict=True):
                stored = state[mask][-length:] if decoder else state[mask][:length]
                states_NLD[row, : len(stored)] = stored
            progress(len(batch))
        return (states_NLD.reshape(len(states_NLD), -1),)

    backbone.model.eval()
    store = backbone.store(texts, {"states": length * width}, dtype=np.float16)
    handle = encoder.register_forward_hook(lambda _, __, output: outputs.append(_states(output).detach()))
    try:
        return store.fill(extract, progress)[0].reshape(len(texts), length, width)
    finally:
        handle.remove()


def _states(output: Any) -> Tensor:
    """States of the tokens in the output of an encoder, or of a model of sentence-transformers."""
    states: Tensor = output["token_embeddings"] if type(output) is dict else output[0]
    return states


def content_free_logits(backbone: BaseBackbone, texts: Sequence[Text], progress: Progress = no_report) -> Array:
    """Compute the log of the mean label probabilities of texts without content, ``[N, C]``; all rows are equal.

    Args:
        backbone: language model with label words.
        texts: texts of the rows; only their number N is used.
        progress: function that is called with N.

    Raises:
        DataError: there are no texts.
        NotApplicableError: the model is a trained classifier.
    """
    if not isinstance(backbone, LabelWordBackbone | EndpointBackbone):
        raise NotApplicableError(
            f"{type(backbone.inner).__name__} predicts without label words: texts without content tell nothing "
            "about it."
        )
    require_texts(texts)
    content_free = [backbone.prompts.trial(text) for text in CONTENT_FREE]
    p_cf = torch.tensor(backbone.extract(content_free)[1]).double().softmax(-1).mean(0)
    progress(len(texts))
    return np.broadcast_to(p_cf.log().float().numpy(), (len(texts), backbone.classes))


EXTRAS: dict[str, Callable[..., NDArray[Any]]] = {
    "passes": dropout_passes,
    "states": token_states,
    "content_free": content_free_logits,
}
"""Functions by the name of the array of :class:`~aligned_entropy.features.arrays.Features` that they compute."""


@contextmanager
def _dropout(model: nn.Module) -> Iterator[None]:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()  # in training mode it would update its statistics
    try:
        yield
    finally:
        model.eval()


def _check_dropout(backbone: BaseBackbone, texts: Sequence[Text]) -> None:
    """Raise an error if two passes are equal; the option that configures dropout differs from model to model."""
    _, inputs = next(backbone.batches(texts[:1]))
    with torch.random.fork_rng(), _dropout(backbone.model):
        first, second = (backbone.forward(**inputs)[1] for _ in range(2))
    if torch.equal(first, second):
        raise NotApplicableError(
            f"{type(backbone.inner).__name__} has no dropout: all its forward passes are equal, so nothing can be "
            "sampled."
        )
