"""Training a classifier to put a head on: full fine-tuning, LoRA, or a frozen encoder with trained top layers.

The calibration split has no place here: nothing in this module takes one, not even to choose a checkpoint.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones import MULTI_LABEL, Backbone, TokenBackbone
from .backbones.loading import load_for_training, load_tokenizer, resolve
from .data import LabeledTexts, LabeledTokens
from .errors import MissingExtraError, UnsupportedModelError
from .features.arrays import Array
from .tasks import task_of_labels

Mode = Literal["full", "lora", "freeze"]
IGNORED = -100  # torch's label of what no loss is taken on


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained.

    Attributes:
        mode: ``full``; ``lora`` (r = 8 on the attention projections, classification module saved); ``freeze``, where
            the encoder runs once over the texts and only what comes after it is trained.
        epochs: passes over the texts; by default 3, and 20 in mode ``freeze``, where a pass costs next to nothing.
        learning_rate: peak; by default 5e-5, with LoRA 3e-4, in mode ``freeze`` 1e-3.
        batch_size: texts a step.
        max_length: tokens a text at most, within what the model can take and 512.
        seed: of the new classification module and of the order of the texts.

    Raises:
        ValueError: one of these numbers, the seed apart, is not positive.
    """

    mode: Mode = "full"
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int = 32
    max_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} {value} is not a positive number.")

    @property
    def passes(self) -> int:
        """Epochs, with the default of the mode."""
        return (20 if self.mode == "freeze" else 3) if self.epochs is None else self.epochs

    @property
    def peak(self) -> float:
        """Learning rate, with the default of the mode."""
        usual = {"full": 5e-5, "lora": 3e-4, "freeze": 1e-3}
        return usual[self.mode] if self.learning_rate is None else self.learning_rate


def train_classifier(
    name: str | Path,
    data: LabeledTexts | LabeledTokens,
    folder: str | Path,
    config: TrainConfig | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Train a classifier and save it, with its tokenizer, into a folder that ``from_pretrained`` reads.

    Args:
        name: pretrained model: path, hub id or embedded name.
        data: training texts; words with tags make a token classifier, any number of labels a multi-label one.
        folder: where to.
        config: how; ``TrainConfig()`` by default.
        progress: in mode ``freeze``, called with the number of texts whose vectors are ready.

    Raises:
        UnsupportedModelError: the model cannot be trained in this mode.
    """
    config = config or TrainConfig()
    if isinstance(data, LabeledTokens) and config.mode == "freeze":
        raise UnsupportedModelError("a token classifier is trained in mode 'full' or 'lora', not 'freeze'.")
    kind = task_of_labels(data).backbone()
    problem = MULTI_LABEL if kind.multi_label else None
    model = load_for_training(name, kind.auto_class, data.label_names, config.seed, problem)
    tokenizer = load_tokenizer(name)
    tokenizer.model_max_length = config.max_length  # saved too: a classifier is used at the length it was trained at
    backbone = kind(model, tokenizer, name=resolve(name))
    backbone.config.get_text_config().pad_token_id = backbone.pad_token_id  # to be trained in batches, and saved
    if config.mode == "freeze" and isinstance(data, LabeledTexts):
        _train_top(backbone, data, config, progress)
    else:
        model = _train_through(backbone, data, config)
    model.save_pretrained(folder)
    backbone.inner.config.save_pretrained(folder)  # an adapter's folder needs the labels too
    backbone.tokenizer.save_pretrained(folder)


def _train_through(backbone: Backbone, data: LabeledTexts | LabeledTokens, config: TrainConfig) -> nn.Module:
    from transformers import (
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    model = _with_lora(backbone) if config.mode == "lora" else backbone.model
    rows = _examples(backbone, data)
    collate = DataCollatorForTokenClassification if isinstance(data, LabeledTokens) else DataCollatorWithPadding
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=config.passes,
            learning_rate=config.peak,
            per_device_train_batch_size=config.batch_size,
            warmup_steps=0.1,
            weight_decay=0.01,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to=[],
            seed=config.seed,
            disable_tqdm=not sys.stderr.isatty(),
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collate(backbone.tokenizer))
        trainer.remove_callback(PrinterCallback)  # it would write into the answer of the command
        trainer.train()
    return model.cpu().eval()


def _examples(backbone: Backbone, data: LabeledTexts | LabeledTokens) -> list[dict[str, Any]]:
    """Tokenized texts with their labels; of words the first sub-word has one, in one window."""
    if isinstance(data, LabeledTokens) and isinstance(backbone, TokenBackbone):
        encoded, found = backbone.windows(data.texts)
        labels: list[Any] = [[IGNORED] * len(ids) for ids in encoded["input_ids"]]
        for own, places in zip(labels, found, strict=True):
            for row, place in places:
                own[place] = int(data.labels[row])
    else:
        encoded, labels = backbone.tokenize(list(data.texts)), _targets(data.labels).tolist()
    return [
        {name: values[row] for name, values in encoded.items()} | {"labels": label} for row, label in enumerate(labels)
    ]


def _targets(labels: NDArray[np.int64]) -> NDArray[Any]:
    """As the loss takes them: classes as whole numbers, yes and no of many labels as 1.0 and 0.0."""
    return labels.astype(np.float32) if labels.ndim == 2 else labels


def _with_lora(backbone: Backbone) -> nn.Module:
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtraError("LoRA needs peft: pip install 'aligned-entropy[peft]'") from error
    names = {name.rsplit(".", 1)[-1] for name, part in backbone.inner.named_modules() if isinstance(part, nn.Linear)}
    known = [("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("Wqkv",)]
    known.append(("query_proj", "key_proj", "value_proj"))
    targets = next((list(group) for group in known if set(group) <= names), None)
    if targets is None:
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} has no attention projections of a known name: {', '.join(sorted(names))}."
        )
    encoder = backbone.inner.base_model_prefix
    # Whatever stands after the encoder is new and has to be saved with the adapters: poolers, pre-classifiers, all.
    fresh = [
        name
        for name, part in backbone.inner.named_children()
        if name != encoder and any(True for _ in part.parameters())
    ]
    lora = LoraConfig(
        task_type=TaskType.TOKEN_CLS if backbone.every_token else TaskType.SEQ_CLS,
        r=8,
        lora_alpha=16,
        lora_dropout=0.05,
        target_modules=targets,
        modules_to_save=fresh,
    )
    return get_peft_model(backbone.model, lora)


class _FirstVector(nn.Module):
    """Of ``[N, T, D]`` the first, ``[N, D]``."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[:, 0]


class _RememberedEncoder(nn.Module):
    """Stands in for a frozen encoder: hands out, as ``inputs_embeds``, one vector a text that it computed before."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.pooler = getattr(encoder, "pooler", None)
        if isinstance(self.pooler, nn.Linear):  # ALBERT's; its model takes the first vector and the tanh itself
            activation: Any = encoder.pooler_activation
            self.pooler = nn.Sequential(_FirstVector(), self.pooler, activation)

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def _train_top(backbone: Backbone, data: LabeledTexts, config: TrainConfig, progress: Callable[[int], object]) -> None:
    """Train everything after the encoder (pooler, pre-classifier, classification module) on vectors computed once."""
    model, prefix = backbone.inner, backbone.inner.base_model_prefix
    vectors = torch.tensor(_encoder_vectors(backbone, data.texts, progress)).unsqueeze(1)
    labels = torch.from_numpy(_targets(data.labels))
    encoder = getattr(model, prefix)
    setattr(model, prefix, _RememberedEncoder(encoder))
    try:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.peak, weight_decay=0.01)
        steps = config.passes * -(-len(labels) // config.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        generator = torch.Generator().manual_seed(config.seed)
        for _ in range(config.passes):
            for rows in torch.randperm(len(labels), generator=generator).split(config.batch_size):
                loss = model(inputs_embeds=vectors[rows], labels=labels[rows]).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        model.eval()
        parts = [backbone.forward(inputs_embeds=part) for part in vectors.split(4096)]
    finally:
        setattr(model, prefix, encoder)
    hidden, logits = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    # The training texts' features come for nothing here; kept, a fit with reference=… need not run the encoder again.
    widths = {"hidden": backbone.width, "logits": backbone.classes}
    backbone.store(data.texts, widths).fill(lambda rows: (hidden[rows], logits[rows]), lambda done: None)


def _encoder_vectors(backbone: Backbone, texts: Sequence[str], progress: Callable[[int], object]) -> Array:
    """The encoder's vector that the top layers read, ``[N, D]``: the first token's, or a decoder's last.

    Kept on disk by the encoder's own weights, so that another seed or learning rate need not run it again.
    """
    if getattr(backbone.config, "classifier_pooling", "cls") != "cls":
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} pools by {backbone.config.classifier_pooling!r}; training on a frozen "
            "encoder needs one vector a text: set classifier_pooling='cls', or train in mode 'full' or 'lora'."
        )
    seen: list[Tensor] = []
    encoder = getattr(backbone.inner, backbone.inner.base_model_prefix)
    handle = encoder.register_forward_hook(lambda _, __, output: seen.append(output[0].detach()))
    decoder = backbone.capture.name == "score"
    width = backbone.config.get_text_config().hidden_size

    def extract(rows: slice) -> tuple[Array]:
        vectors = np.empty((len(texts[rows]), width), np.float32)
        for batch, inputs in backbone.batches(texts[rows]):
            hidden, _ = backbone.forward(**inputs)
            vectors[batch] = (hidden if decoder else seen[-1][:, 0]).cpu().numpy()
            seen.clear()
            progress(len(batch))
        return (vectors,)

    try:
        fingerprint = backbone.part_fingerprint(encoder, "encoder")
        (vectors,) = backbone.store(texts, {"encoder": width}, fingerprint).fill(extract, progress)
    finally:
        handle.remove()
    return vectors
