"""A causal language model that answers by label words, as a classifier: texts in, hidden vectors and logits out."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..features.arrays import Array
from ..head.modules import module_shape
from .base import Backbone
from .capture import base_model
from .extras import some_texts
from .loading import load_language_model, load_tokenizer
from .output_embedding import LabelWords, OutputEmbedding, by_label, differ, final_scaling
from .prompts import LabelPrompts, Labels

CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al., Calibrate Before Use, ICML 2021
PROMPT_TOKENS = 2048  # a prompt at most, by default
SHARED_TOKENS = 8  # a shorter beginning of all prompts is not worth a pass of its own


class _Pass(NamedTuple):
    """What a forward pass gives at one position of every row, and the cache where it was asked for."""

    hidden: Tensor  # input of the output embedding, [N, D]
    raw: Tensor  # its output, [N, V]
    logits: Tensor  # what the model makes of that, [N, V]
    past: Any


class LabelWordBackbone(Backbone):
    """A causal language model whose next token after a prompt is the answer, of the labels' words alone.

    The hidden vector is what the output embedding reads at the prompt's last position; the rows of the output embedding
    for the labels' tokens are the classification module. The model is run as it is, but for other positions it computes
    no logits. What all prompts of a call begin with is run once, where the model keeps plain keys and values.

    Args:
        model: a transformers causal language model, or a PEFT model around one. Its weights are never changed.
        tokenizer: the tokenizer that it was trained with; padding is no matter of its.
        labels, template, examples, chat: see :class:`~aligned_entropy.backbones.prompts.LabelPrompts`.
        max_length: tokens a prompt at most, of a longer one the text is cut; by default the least of 2048, the
            tokenizer's limit and the positions that the model has.
        name: path or hub id, for the records.

    Attributes:
        prompts: what the texts are made into.
        scale, cap: what the model does to the output embedding's logits: they are multiplied, then capped.

    Raises:
        DataError: labels, template or examples cannot be read.
        UnsupportedModelError: the model is not causal, its logits are not understood, or the tokens of its tokenizer do
            not tell the labels apart.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        labels: Labels,
        template: str,
        examples: Sequence[tuple[str, str]] = (),
        chat: bool = False,
        max_length: int | None = None,
        name: str = "",
    ) -> None:
        self.model, self.name, self.tokenizer = model.eval(), name, tokenizer
        self.inner = base_model(model)
        self.config = self.inner.config
        self._output = OutputEmbedding(self.inner)
        self.capture = self._output
        self.max_length = max_length or _default_max_length(self.config, tokenizer)
        self.prompts = LabelPrompts(
            tokenizer, labels=labels, template=template, examples=examples, chat=chat, max_length=self.max_length
        )
        self._tokens = [token for label in self.prompts.tokens for token in label]
        self._counts = [len(label) for label in self.prompts.tokens]
        if max(self._tokens) >= self.vocabulary:
            raise UnsupportedModelError(
                f"the label words are tokens up to {max(self._tokens)}, the model knows those below {self.vocabulary}: "
                "load the tokenizer that it was trained with."
            )
        self.pad_token_id, self._lends_padding = 0, False  # any will do: padding is masked, and behind what is read
        self._checked: list[Any] | None = None
        self.scale, self.cap = self._final_scaling()
        self.width, self.classes, _ = module_shape(self.classifier)

    @property
    def facts(self) -> dict[str, Any]:
        """What is recorded beside a head; the prompt too, since a head is fitted for it."""
        return super().facts | {"prompt": json.loads(json.dumps(self.prompts.settings))}

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str | None = None, dtype: Any = None, **options: Any
    ) -> LabelWordBackbone:
        """Load a path, a hub id or an embedded name; ``options`` are those of the constructor.

        Raises:
            UnsupportedModelError: it is no trained causal language model.
        """
        model = load_language_model(name, device=device, dtype=dtype)
        return cls(model, load_tokenizer(name), name=str(name), **options)

    @property
    def label_names(self) -> list[str]:
        """The classes' names in the order of the logits."""
        return self.prompts.names

    @property
    def reads_last_token(self) -> bool:
        """It does."""
        return True

    @property
    def classifier(self) -> nn.Module:
        """A new float32 module of the output embedding's rows for the labels' tokens, scaled and capped as the model's.

        A plain ``nn.Linear`` where every label is one token and nothing is capped, else :class:`LabelWords`.
        """
        linear, counts = self._output.rows(self._tokens, self.scale), self._counts
        plain = self.cap is None and max(counts) == 1
        return (linear if plain else LabelWords(linear, counts, self.cap)).eval().requires_grad_(False)

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 over everything that decides features now: that of the model, the prompts and the labels' words."""
        return self.part_fingerprint(self.model, f"{self._output.name} {self.prompts.describe()}")

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden vectors ``[N, D]`` and logits ``[N, C]``, both float32, of a batch of token ids, without gradient.

        Raises:
            UnsupportedModelError: the classification module does not give the model's own logits.
        """
        ids = inputs["input_ids"]
        return self._answers(ids, inputs.get("attention_mask", torch.ones_like(ids)))

    def extract(
        self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None
    ) -> tuple[Array, Array]:
        """Hidden vectors ``[N, D]`` and logits ``[N, C]`` of texts, in length-sorted batches, in the order given."""
        self.model.eval()
        hidden_ND = np.empty((len(texts), self.width), np.float32)
        logits_NC = np.empty((len(texts), self.classes), np.float32)
        encoded = self.tokenize(texts)
        shared, past = self._shared(encoded["input_ids"])
        for rows, inputs in self.batched(encoded):
            ids, mask = inputs["input_ids"][:, shared:], inputs["attention_mask"]
            hidden, logits = self._answers(ids, mask, None if past is None else _expanded(past, len(rows)))
            hidden_ND[rows], logits_NC[rows] = hidden.cpu().numpy(), logits.cpu().numpy()
            progress(len(rows))
        return hidden_ND, logits_NC

    def content_free(self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None) -> Array:
        """Log of the labels' mean probabilities after texts without content, ``[N, C]``: one row, seen N times."""
        some_texts(texts)
        p_cf = torch.tensor(self.extract(CONTENT_FREE)[1]).double().softmax(-1).mean(0)
        progress(len(texts))
        return np.broadcast_to(p_cf.log().float().numpy(), (len(texts), self.classes))

    def tokenize(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Token ids of the texts' prompts, cut to length, not padded."""
        prompts = self.prompts.encode(texts)
        return {"input_ids": prompts, "attention_mask": [[1] * len(ids) for ids in prompts]}

    def pad(self, encoded: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        """One batch of tokenized texts, padded on the right, where a causal model does not look."""
        return {
            name: nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in values], batch_first=True)
            for name, values in encoded.items()
        }

    def _answers(self, ids: Tensor, mask: Tensor, past: Any = None) -> tuple[Tensor, Tensor]:
        ids, mask = ids.to(self.device), mask.to(self.device)
        own_tokens = mask[:, -ids.shape[1] :]
        last = (torch.arange(ids.shape[1], device=ids.device) * own_tokens).argmax(-1)
        found = self._run(ids, mask, last, past)
        logits = by_label(found.logits[:, self._tokens].float(), self._counts)
        in_use = self.in_use
        if in_use != self._checked:
            again = self.classifier(found.hidden.float())
            if differ(again, logits, found.logits.dtype):
                raise UnsupportedModelError(
                    f"the rows of {self._output.name!r} in {type(self.inner).__name__} do not give the model's logits "
                    f"of the label words, which differ by up to {float((again - logits).abs().max()):.3g}: a head "
                    "copied from them would be silently wrong."
                )
            self._checked = in_use
        return found.hidden.float(), logits

    def _run(self, ids: Tensor, mask: Tensor, positions: Tensor, past: Any = None, keep: bool = False) -> _Pass:
        extra = {} if past is None else {"past_key_values": past}
        with torch.inference_mode(), self._output.taking(positions, ids.shape[1]) as seen:
            # Position ids are the model's to find: padded on the right, they follow from the length of the cache.
            output = self.model(
                input_ids=ids, attention_mask=mask, use_cache=keep or past is not None, return_dict=True, **extra
            )
        if len(seen) != 2:
            raise UnsupportedModelError(
                f"{type(self.inner).__name__} makes its logits without calling {self._output.name!r}, so there is no "
                "hidden vector to be taken: name another model."
            )
        return _Pass(seen[0], seen[1], output.logits[:, 0], getattr(output, "past_key_values", None))

    def _final_scaling(self) -> tuple[float, float | None]:
        """Scale and cap of the model's logits: one token tells. A second one behind it tells if the model is causal."""
        ids = torch.tensor([(self.prompts.encode([""])[0] * 2)[:2]], device=self.device)
        first = torch.zeros(1, dtype=torch.long, device=self.device)
        one = self._run(ids[:, :1], torch.ones_like(ids[:, :1]), first)
        two = self._run(ids, torch.ones_like(ids), first)
        if differ(two.logits, one.logits, one.logits.dtype):
            raise UnsupportedModelError(
                f"{type(self.inner).__name__} is not causal, what it says at a token depends on the next: name a model "
                "that was trained to predict the next word."
            )
        return final_scaling(self.config.get_text_config(), one.raw, one.logits)

    def _shared(self, prompts: list[list[int]]) -> tuple[int, Any]:
        """How many tokens all prompts begin with, and their keys and values; 0 and None where it is not worth it."""
        if len(prompts) < 2:
            return 0, None
        least, most = min(prompts), max(prompts)  # in between all begin alike
        alike = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
        shared, longest = min(alike, min(map(len, prompts)) - 1), max(map(len, prompts))
        rope = str(getattr(self.config.get_text_config(), "rope_parameters", None))
        rotated_anew = "dynamic" in rope or "longrope" in rope  # where a text is long
        if shared < SHARED_TOKENS or self.learned_prompt or rotated_anew:
            return 0, None
        ids = torch.tensor([least[:shared]], device=self.device)
        past = self._run(ids, torch.ones_like(ids), ids[:, 0] * 0, keep=True).past
        return (shared, past) if _is_plain(past, longest) else (0, None)


def _default_max_length(config: Any, tokenizer: Any) -> int:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or PROMPT_TOKENS
    return int(min(PROMPT_TOKENS, positions, tokenizer.model_max_length))


def _is_plain(past: Any, longest: int) -> bool:
    """Whether a cache is keys and values of every token, by prompts of this length, and nothing else."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if type(past) is not DynamicCache:
        return False
    for layer in past.layers:
        sliding = type(layer) is DynamicSlidingWindowLayer and longest < layer.sliding_window
        if not (type(layer) is DynamicLayer or sliding) or not layer.is_initialized:
            return False
    return True


def _expanded(past: Any, rows: int) -> Any:
    """The same keys and values for so many rows, without copying them; what a pass adds goes to new tensors."""
    again = copy.copy(past)
    again.layers = [copy.copy(layer) for layer in past.layers]
    for layer in again.layers:
        layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
    return again
