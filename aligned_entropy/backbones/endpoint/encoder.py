"""Encoder in this process that gives vectors of texts, which a model behind an endpoint does not give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...display.progress_bars import without_progress_bars
from ...errors import UnsupportedModelError
from ...features.texts import Text, two_lists
from ..batching import CPU_PADDING, GPU_PADDING, length_sorted_batches
from ..checkpoints import device_and_dtype, resolve
from ..fingerprint import fingerprint
from ..layers import mean_vectors, token_weights
from ..loading import load_tokenizer
from ..padding import default_max_length


class TextEncoder:
    """Encoder whose vector of a text is the mean of the last states of its tokens.

    Args:
        name: path, hub id or embedded name of an encoder of transformers, such as ``minilm``.

    Attributes:
        name: path, hub id or embedded name.
        width: size D of the vectors.
        fingerprint: SHA-256 over everything that the vectors depend on.

    Raises:
        UnsupportedModelError: the checkpoint lacks weights, which would be random.
    """

    @without_progress_bars()
    def __init__(self, name: str | Path) -> None:
        from transformers import AutoModel

        self.name, path = str(name), resolve(name)
        device, _ = device_and_dtype(None, None)
        model, info = AutoModel.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
        missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)  # the states do not depend on it
        if missing:
            raise UnsupportedModelError(
                f"{name} lacks weights of an encoder ({missing[0]} would be random numbers): name a trained encoder, "
                "such as minilm."
            )
        self._model: Any = model.to(device).eval()
        self.width: int = model.config.hidden_size
        self._tokenizer = load_tokenizer(name)
        self._max_length = default_max_length(model.config, self._tokenizer)
        self.fingerprint = fingerprint(
            self._model,
            learned_prompt=None,
            config=model.config,
            tokenizer=self._tokenizer,
            settings=f"mean {self._max_length}",
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Name of the encoder, and its fingerprint, by which it is recognized."""
        return {"name": self.name, "sha256": self.fingerprint}

    def is_same(self, facts: Mapping[str, Any]) -> bool:
        """True if the facts about an encoder are those of this one."""
        return facts.get("sha256") == self.fingerprint

    def vectors(self, texts: Sequence[Text]) -> tuple[NDArray[np.float16], NDArray[np.object_]]:
        """Compute the vectors ``[N, D]`` of texts or pairs, in half precision; the reasons ``[N]`` are None."""
        firsts, seconds = two_lists(texts)
        encoded = self._tokenizer(firsts, seconds, truncation=True, max_length=self._max_length)
        device = self._model.device
        vectors = np.zeros((len(texts), self.width), np.float16)
        padding = CPU_PADDING if device.type == "cpu" else GPU_PADDING
        for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]], padding):
            batch = {name: [values[row] for row in rows] for name, values in encoded.items()}
            inputs = self._tokenizer.pad(batch, return_tensors="pt").to(device)
            with torch.inference_mode():
                states = self._model(**inputs).last_hidden_state
                means = mean_vectors(states, token_weights(inputs["attention_mask"]))
            if means is None:
                raise UnsupportedModelError(
                    f"{self.name} gives no state for every token: name an encoder of texts, such as minilm."
                )
            vectors[rows] = means.cpu().numpy()
        return vectors, np.full(len(texts), None, object)
