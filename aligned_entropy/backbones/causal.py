"""Causal language models as backbones, which classify texts by label words after a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..features.texts import Text
from ..head.modules import module_shape
from ..head.views import MAX_TOKENS, PADDING
from .base import BaseBackbone
from .batching import Encoded, EncodedPrompts
from .loading import load_language_model, load_tokenizer
from .output_embedding import LabelWords, OutputEmbedding, by_label, differ, final_scaling
from .padding import checked_max_length, position_count
from .prompt_cache import expanded, is_plain
from .prompts import LabelPrompts
from .templates import Examples, Labels
from .wrappers import base_model, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT_TOKENS = 2048  # default maximum of the length of a prompt
SHARED_TOKENS = 8  # smallest number of shared first tokens for which a separate pass is faster


class LabelWordBackbone(BaseBackbone):
    """A causal language model as a classifier: its prediction is the most probable label word after a prompt.

    The hidden vector is the input of the output embedding at the last position of the prompt. The classification module
    consists of the rows of the output embedding for the tokens of the labels. The model itself is unchanged, except
    that it computes logits at one position only. Tokens that all prompts of a call begin with are run once, if the
    model's cache consists of plain keys and values.

    Args:
        model: transformers causal language model, or a PEFT model around one. Its weights are never changed.
        tokenizer: tokenizer that the model was trained with; it needs no padding token.
        labels: word or words of each class, see :class:`~aligned_entropy.backbones.prompts.LabelPrompts`.
        template: prompt with a slot for the text, see :class:`~aligned_entropy.backbones.prompts.LabelPrompts`.
        examples: texts, or pairs of texts, with their classes that each prompt shows.
        chat: True if the prompt is a turn of a chat.
        max_length: maximum number of tokens of a prompt, to which the text is cut; by default the least of 2048, the
            tokenizer's limit and the number of positions of the model.
        name: path or hub id, recorded beside a head.

    Attributes:
        prompts: makes the prompts of texts.
        scale: factor between the logits of the output embedding and those of the model.
        cap: cap on the scaled logits; None for no cap.

    Raises:
        DataError: labels, template or examples cannot be used.
        UnsupportedModelError: the model is not causal, its logits cannot be reproduced, or the tokens of its tokenizer
            do not distinguish the labels.
    """

    capture: OutputEmbedding

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        labels: Labels,
        template: str,
        examples: Examples = (),
        chat: bool = False,
        max_length: int | None = None,
        name: str = "",
    ) -> None:
        model.eval()
        inner = base_model(model)
        capture = OutputEmbedding(inner)
        max_length = checked_max_length(max_length, _default_max_length(inner.config, tokenizer))
        # The padding id is arbitrary: padding is masked, and it is behind the position that is read.
        super().__init__(model, tokenizer, capture=capture, max_length=max_length, pad_token_id=0, name=name)
        self.prompts = LabelPrompts(
            tokenizer, labels=labels, template=template, examples=examples, chat=chat, max_length=max_length
        )
        self._tokens = [token for label in self.prompts.tokens for token in label]
        self._counts = [len(label) for label in self.prompts.tokens]
        if max(self._tokens) >= vocabulary_size(inner):
            raise UnsupportedModelError(
                f"the label words are tokens up to {max(self._tokens)}, but the model has only tokens below "
                f"{self.vocabulary}: load the tokenizer that it was trained with."
            )
        self._checked_parts: list[object] | None = None
        self._view_shapes: dict[str, tuple[int, ...]] = {}
        self.scale, self.cap = self._final_scaling()
        self.width, self.classes, _ = module_shape(self.copy_classification_module())

    @property
    def facts(self) -> dict[str, Any]:
        """Description of the model and its prompt that is saved beside a head, since a head is fitted for a prompt."""
        return super().facts | {"prompt": json.loads(json.dumps(self.prompts.settings))}

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | None = None,
        dtype: Any = None,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> Self:
        """Load a language model with its tokenizer.

        Args:
            name: path, hub id or embedded name.
            device: device to load to; ``cuda`` if available and ``cpu`` otherwise by default.
            dtype: precision; that of the checkpoint on a GPU and float32 on a CPU by default.
            trust_remote_code: True to run Python code that is saved with the model.
            options: further arguments of the constructor.

        Raises:
            UnsupportedModelError: the checkpoint is not a trained causal language model.
        """
        model = load_language_model(name, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        tokenizer = load_tokenizer(name, trust_remote_code=trust_remote_code)
        return cls(model, tokenizer, name=str(name), **options)

    @property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of the logits."""
        return self.prompts.names

    @property
    def reads_last_token(self) -> bool:
        """True, since the next word is predicted at the last token."""
        return True

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 over everything that features depend on: that of the model, the prompts and the label words."""
        return self.part_fingerprint(self.model, f"{self.capture.name} {self.prompts.describe()}")

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute hidden vectors ``[N, D]`` and logits ``[N, C]``, both float32, of a batch of token ids.

        Raises:
            UnsupportedModelError: the classification module does not reproduce the model's own logits.
        """
        ids = inputs["input_ids"]
        hidden, logits, _ = self._label_logits(ids, inputs.get("attention_mask", torch.ones_like(ids)))
        return hidden, logits

    @property
    def view_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a text's inputs of views, by name; a view that the model does not allow to read is left out.

        A trial prompt shows the shape of the layers. With a learned prompt there are no views.
        """
        if self.learned_prompt is not None:
            return {}
        if not self._view_shapes:
            ids = torch.tensor(self.prompts.encode([self.prompts.trial("a")]), device=self.device)
            layers = self.capture.run(self.model, ids, torch.ones_like(ids), ids[:, 0] * 0, views=True).layers
            shapes = {} if layers is None else {"layers": tuple(layers.shape[1:])}
            self._view_shapes = {**shapes, "tokens": (min(self.max_length, MAX_TOKENS),)}
        return self._view_shapes

    def encode(self, texts: Sequence[Text]) -> EncodedPrompts:
        """Tokenize the prompts of texts, and report which texts were cut to the maximum length of a prompt."""
        prompts, cut = self.prompts.encode_with_texts(texts)
        truncated = np.array([part != text for part, text in zip(cut, texts, strict=True)], bool)
        inputs = {"input_ids": prompts, "attention_mask": [[1] * len(ids) for ids in prompts]}
        return EncodedPrompts(inputs, truncated, partial(self.prompts.encode_alone, cut))

    def pad(self, encoded: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        """Make one batch of tokenized texts, padded on the right, which a causal model does not read."""
        return {
            name: nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in values], batch_first=True)
            for name, values in encoded.items()
        }

    @property
    def can_pad(self) -> bool:
        """True unless learned tokens are active, of which the model gets embeddings, without token ids of padding."""
        return self.learned_prompt is None or self.learned_prompt[1] == "PREFIX_TUNING"

    def _module_state(self) -> object:
        return self.capture.state(self._tokens), self.scale, self.cap

    def _new_module_copy(self) -> nn.Module:
        """Make a float32 module of the output embedding's rows for the label tokens, scaled and capped as in the model.

        It is an ``nn.Linear`` if every label is one token and there is no cap, else :class:`LabelWords`.
        """
        linear, counts = self.capture.rows(self._tokens, self.scale), self._counts
        plain = self.cap is None and max(counts) == 1
        return (linear if plain else LabelWords(linear, counts, self.cap)).eval().requires_grad_(False)

    def _outputs(
        self, encoded: Encoded, views: bool = False
    ) -> Iterator[tuple[list[int], Tensor, Tensor, dict[str, Tensor]]]:
        assert isinstance(encoded, EncodedPrompts), "the texts without their prompts are known from encode()"
        shapes = self.view_shapes if views else {}
        shared, cache = self._shared_start(encoded.inputs["input_ids"])
        for rows, inputs in self.encoded_batches(encoded):
            ids, mask = inputs["input_ids"][:, shared:], inputs["attention_mask"]
            row_cache = None if cache is None else expanded(cache, len(rows))
            hidden, logits, layers = self._label_logits(ids, mask, row_cache, views="layers" in shapes)
            inputs_of_views = {} if layers is None else {"layers": layers}
            if shapes:
                inputs_of_views["tokens"] = _padded([encoded.text_ids[row] for row in rows])
            yield rows, hidden, logits, inputs_of_views

    def _label_logits(
        self, ids: Tensor, mask: Tensor, cache: Any = None, *, views: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Compute hidden vectors, logits of the labels and, if requested, layers, at the last token of each row.

        Args:
            ids: token ids ``[N, T]`` after those in the cache.
            mask: attention mask of all tokens, those in the cache included.
            cache: keys and values of the first tokens of all rows.
            views: True for the outputs of the layers, ``[N, L, W]``, which are None otherwise.
        """
        ids, mask = ids.to(self.device), mask.to(self.device)
        uncached_mask = mask[:, -ids.shape[1] :]
        last = (torch.arange(ids.shape[1], device=ids.device) * uncached_mask).argmax(-1)
        output = self.capture.run(self.model, ids, mask, last, cache, views=views)
        logits = by_label(output.logits[:, self._tokens].float(), self._counts)
        active_parts = self.active_parts
        if active_parts != self._checked_parts:
            copied = self.copy_classification_module()(output.hidden.float())
            if differ(copied, logits, output.logits.dtype):
                raise UnsupportedModelError(
                    f"the rows of {self.capture.name!r} in {type(self.inner).__name__} do not give the model's logits "
                    f"of the label words, which differ by up to {float((copied - logits).abs().max()):.3g}: a head "
                    "copied from them would be silently wrong. Name another model."
                )
            self._checked_parts = active_parts
        return output.hidden.float(), logits, output.layers

    def _final_scaling(self) -> tuple[float, float | None]:
        """Find scale and cap of the model's logits from those of one token, and check with a second token behind it
        that the model is causal.
        """
        ids = torch.tensor([(self.prompts.encode([self.prompts.trial("")])[0] * 2)[:2]], device=self.device)
        first = torch.zeros(1, dtype=torch.long, device=self.device)
        alone = self.capture.run(self.model, ids[:, :1], torch.ones_like(ids[:, :1]), first)
        followed = self.capture.run(self.model, ids, torch.ones_like(ids), first)
        if differ(followed.logits, alone.logits, alone.logits.dtype):
            raise UnsupportedModelError(
                f"{type(self.inner).__name__} is not causal, its logits at a token depend on the next token: name a "
                "model that was trained to predict the next word."
            )
        return final_scaling(self.config.get_text_config(), alone.raw, alone.logits)

    def _shared_start(self, prompts: list[list[int]]) -> tuple[int, Any]:
        """Return the number of tokens that all prompts begin with, and their keys and values.

        The number is 0 and the cache None if a separate pass is not faster, or if the cache cannot be shared.
        """
        if len(prompts) < 2:
            return 0, None
        first, last = min(prompts), max(prompts)  # all prompts between these two in sorted order begin like them
        equal = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        shared, longest = min(equal, min(map(len, prompts)) - 1), max(map(len, prompts))
        rope = str(getattr(self.config.get_text_config(), "rope_parameters", None))
        depends_on_length = "dynamic" in rope or "longrope" in rope  # the rotation of cached keys changes with length
        if shared < SHARED_TOKENS or self.learned_prompt or depends_on_length:
            return 0, None
        ids = torch.tensor([first[:shared]], device=self.device)
        cache = self.capture.run(self.model, ids, torch.ones_like(ids), ids[:, 0] * 0, keep_cache=True).cache
        return (shared, cache) if is_plain(cache, longest) else (0, None)


def _default_max_length(config: Any, tokenizer: Any) -> int:
    return int(min(PROMPT_TOKENS, position_count(config) or PROMPT_TOKENS, tokenizer.model_max_length))


def _padded(text_ids: list[list[int]]) -> Tensor:
    """Make one tensor ``[N, T]`` of the token ids of texts, as views read them."""
    rows = [torch.tensor(ids[:MAX_TOKENS], dtype=torch.int) for ids in text_ids]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)
