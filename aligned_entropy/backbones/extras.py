"""What a backbone can be asked for beyond hidden vectors and logits: dropout passes, token states, empty prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import DataError, NotApplicableError
from ..features.arrays import Array

STATE_BYTES = 64 * 1024  # what the hidden states of one text may take on disk


def some_texts(texts: Sequence[str]) -> None:
    """Raise where there are none."""
    if not len(texts):
        raise DataError("there are no texts: an empty list has no features.")


class Extras:
    """The methods of a :class:`~aligned_entropy.backbones.base.Backbone` that scores ask for by name."""

    model: Any
    inner: Any
    config: Any
    capture: Any
    max_length: int
    classes: int
    model_fingerprint: Any
    reads_last_token: Any
    forward: Callable[..., tuple[Tensor, Tensor]]
    batches: Callable[..., Iterator[tuple[list[int], dict[str, Tensor]]]]
    store: Callable[..., Any]

    def passes(
        self, texts: Sequence[str], count: int = 20, progress: Callable[[int], object] = lambda done: None
    ) -> Array:
        """Logits ``[N, T, C]`` of forward passes with dropout, from the store on disk where they are there already.

        Raises:
            NotApplicableError: the model has no dropout, as most decoders have none.
        """
        some_texts(texts)
        self._check_dropout(texts)

        def extract(rows: slice) -> tuple[Array]:
            logits_NTC = np.empty((len(texts[rows]), count, self.classes), np.float32)
            with torch.random.fork_rng(), self._dropout():
                torch.manual_seed(rows.start)  # a resumed extraction draws what an uninterrupted one does
                for batch, inputs in self.batches(texts[rows]):
                    logits = [self.forward(**inputs)[1].cpu() for _ in range(count)]
                    logits_NTC[batch] = torch.stack(logits, 1).numpy()
                    progress(len(batch))
            return (logits_NTC.reshape(len(logits_NTC), -1),)

        store = self.store(texts, {"passes": count * self.classes}, f"{self.model_fingerprint} dropout {count}")
        return store.fill(extract, progress)[0].reshape(len(texts), count, self.classes)

    def states(
        self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None
    ) -> NDArray[np.float16]:
        """Last hidden states ``[N, L, D]`` of the texts' tokens, zero where there is none, from the store likewise.

        A text may take :data:`STATE_BYTES` on disk: kept are the first tokens of an encoder, the last of a decoder.
        """
        encoder = getattr(self.inner, self.inner.base_model_prefix)
        width = int(self.config.get_text_config().hidden_size)
        length = max(1, min(self.max_length, STATE_BYTES // (2 * width)))
        decoder = self.reads_last_token
        seen: list[Tensor] = []

        def extract(rows: slice) -> tuple[NDArray[np.float16]]:
            states_NLD = np.zeros((len(texts[rows]), length, width), np.float16)
            for batch, inputs in self.batches(texts[rows]):
                self.forward(**inputs)
                states = seen.pop().float().cpu().numpy()
                for row, state, mask in zip(batch, states, inputs["attention_mask"].bool().numpy(), strict=True):
                    kept = state[mask][-length:] if decoder else state[mask][:length]
                    states_NLD[row, : len(kept)] = kept
                progress(len(batch))
            return (states_NLD.reshape(len(states_NLD), -1),)

        self.model.eval()
        store = self.store(texts, {"states": length * width}, dtype=np.float16)
        handle = encoder.register_forward_hook(lambda _, __, output: seen.append(output[0].detach()))
        try:
            return store.fill(extract, progress)[0].reshape(len(texts), length, width)
        finally:
            handle.remove()

    def content_free(self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None) -> Array:
        """What a model that answers by label words makes of a text without content, ``[N, C]``, a row a text.

        Raises:
            NotApplicableError: this one has learned its classes.
        """
        raise NotApplicableError(
            f"{type(self.inner).__name__} answers without label words: a text without content tells nothing of it."
        )

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.eval()  # it would learn from the texts
        try:
            yield
        finally:
            self.model.eval()

    def _check_dropout(self, texts: Sequence[str]) -> None:
        """Two passes tell; where dropout is configured differs from model to model."""
        _, inputs = next(self.batches(texts[:1]))
        with torch.random.fork_rng(), self._dropout():
            first, second = (self.forward(**inputs)[1] for _ in range(2))
        if torch.equal(first, second):
            raise NotApplicableError(
                f"{type(self.inner).__name__} has no dropout: its passes are all the same, there is nothing to sample."
            )
