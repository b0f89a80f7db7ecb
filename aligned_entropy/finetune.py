"""Train a classifier to put a head on: full fine-tuning, LoRA, or a frozen encoder with trained top layers.

Nothing in this module takes a calibration set, not even to choose a checkpoint: a head must be fitted on texts that the
classifier has not seen.
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
from .errors import ArgumentError, MissingExtraError, UnsupportedModelError
from .features.arrays import Array
from .tasks import task_of_labels

Mode = Literal["full", "lora", "freeze"]
IGNORED = -100  # label of tokens that the loss of torch leaves out
# Names of the attention projections in the architectures that LoRA can be used with.
ATTENTION_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("Wqkv",),
    ("query_proj", "key_proj", "value_proj"),
)  # fmt: skip
ROWS_PER_CHUNK = 4096


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training of a classifier.

    Attributes:
        mode: ``full`` for full fine-tuning; ``lora`` for LoRA (r = 8 on the attention projections, the classification
            module is trained and saved, too); ``freeze`` to run the encoder once over the texts and train only the
            layers after it.
        epochs: number of passes over the texts; by default 3, and 20 in mode ``freeze``, where a pass takes little
            time.
        learning_rate: peak learning rate; by default 5e-5, 3e-4 in mode ``lora`` and 1e-3 in mode ``freeze``.
        batch_size: number of texts per step.
        max_length: maximum number of tokens of a text; at most the limit of the model, and at most 512.
        seed: seed of the new classification module and of the order of the texts.

    Raises:
        ArgumentError: a number other than the seed is not positive.
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
                raise ArgumentError(f"{name}={value} is not a positive number.")

    @property
    def total_epochs(self) -> int:
        """Number of epochs, with the default of the mode."""
        return (20 if self.mode == "freeze" else 3) if self.epochs is None else self.epochs

    @property
    def peak_learning_rate(self) -> float:
        """Peak learning rate, with the default of the mode."""
        defaults = {"full": 5e-5, "lora": 3e-4, "freeze": 1e-3}
        return defaults[self.mode] if self.learning_rate is None else self.learning_rate


def train_classifier(
    name: str | Path,
    data: LabeledTexts | LabeledTokens,
    folder: str | Path,
    config: TrainConfig | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Train a classifier and save it with its tokenizer, so that ``from_pretrained`` can load it.

    Args:
        name: path, hub id or embedded name of the pretrained model.
        data: training set; its labels determine the task: one label per text, a list of labels per text, or a tag per
            word.
        folder: folder for the classifier.
        config: settings of the training; ``TrainConfig()`` by default.
        progress: function that is called in mode ``freeze`` with the number of texts whose vectors are ready.

    Raises:
        UnsupportedModelError: the model or the task cannot be trained in this mode.
    """
    config = config or TrainConfig()
    if isinstance(data, LabeledTokens) and config.mode == "freeze":
        raise UnsupportedModelError("a token classifier is trained in mode 'full' or 'lora', not 'freeze'.")
    backbone_class = task_of_labels(data).backbone()
    assert issubclass(backbone_class, Backbone), "only prompts have another kind of backbone"
    problem_type = MULTI_LABEL if backbone_class.multi_label else None
    model: Any = load_for_training(name, backbone_class.auto_class, data.label_names, config.seed, problem_type)
    tokenizer = load_tokenizer(name)
    tokenizer.model_max_length = config.max_length  # saved with the tokenizer, so that later inputs are cut the same
    backbone = backbone_class(model, tokenizer, name=resolve(name))
    backbone.config.get_text_config().pad_token_id = backbone.pad_token_id  # training needs batches; saved as well
    if config.mode == "freeze" and isinstance(data, LabeledTexts):
        _train_top_layers(backbone, data, config, progress)
    else:
        model = _train_all_layers(backbone, data, config)
    model.save_pretrained(folder)
    backbone.inner.config.save_pretrained(folder)  # the folder of an adapter needs the labels, too
    backbone.tokenizer.save_pretrained(folder)


def _train_all_layers(backbone: Backbone, data: LabeledTexts | LabeledTokens, config: TrainConfig) -> nn.Module:
    """Train a model with the Trainer of transformers, by full fine-tuning or with LoRA."""
    import transformers

    model = _with_lora(backbone) if config.mode == "lora" else backbone.model
    rows = _training_rows(backbone, data)
    per_word = isinstance(data, LabeledTokens)
    collator = transformers.DataCollatorForTokenClassification if per_word else transformers.DataCollatorWithPadding
    with tempfile.TemporaryDirectory() as scratch:
        arguments = transformers.TrainingArguments(
            output_dir=scratch,
            num_train_epochs=config.total_epochs,
            learning_rate=config.peak_learning_rate,
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
        trainer = transformers.Trainer(model, arguments, train_dataset=rows, data_collator=collator(backbone.tokenizer))
        trainer.remove_callback(transformers.PrinterCallback)  # it would print into the output of the command
        trainer.train()
    return model.cpu().eval()


def _training_rows(backbone: Backbone, data: LabeledTexts | LabeledTokens) -> list[dict[str, Any]]:
    """Tokenized texts with their labels, as the Trainer reads them.

    For token classification a row is a window, and the tag of a word is the label of its first sub-word in one window.
    """
    labels: list[Any]
    if isinstance(data, LabeledTokens) and isinstance(backbone, TokenBackbone):
        encoded, words_of_windows = backbone.windows(data.texts)
        labels = [[IGNORED] * len(ids) for ids in encoded["input_ids"]]
        for window_labels, words in zip(labels, words_of_windows, strict=True):
            for row, position in words:
                window_labels[position] = int(data.labels[row])
    else:
        encoded, labels = backbone.tokenize(list(data.texts)), _targets(data.labels).tolist()
    return [
        {name: values[row] for name, values in encoded.items()} | {"labels": label} for row, label in enumerate(labels)
    ]


def _targets(labels: NDArray[np.int64]) -> NDArray[Any]:
    """Labels as the loss expects them: class indices, or 1.0 and 0.0 for every label of multi-label data."""
    return labels.astype(np.float32) if labels.ndim == 2 else labels


def _with_lora(backbone: Backbone) -> nn.Module:
    """Wrap a model with LoRA adapters on its attention projections.

    Raises:
        MissingExtraError: peft is not installed.
        UnsupportedModelError: the names of the attention projections are unknown.
    """
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtraError("LoRA needs an optional dependency: pip install 'aligned-entropy[peft]'") from error
    names = {name.rsplit(".", 1)[-1] for name, part in backbone.inner.named_modules() if isinstance(part, nn.Linear)}
    targets = next((list(group) for group in ATTENTION_PROJECTIONS if set(group) <= names), None)
    if targets is None:
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} has no attention projections of a known name, only "
            f"{', '.join(sorted(names))}: train it in mode 'full'."
        )
    encoder_name, children = backbone.inner.base_model_prefix, backbone.inner.named_children()
    # All modules after the encoder (poolers, pre-classifiers) are new and must be saved with the adapters.
    new_modules = [name for name, part in children if name != encoder_name and any(True for _ in part.parameters())]
    lora = LoraConfig(
        task_type=TaskType.TOKEN_CLS if backbone.every_token else TaskType.SEQ_CLS,
        r=8,
        lora_alpha=16,
        lora_dropout=0.05,
        target_modules=targets,
        modules_to_save=new_modules,
    )
    model: nn.Module = get_peft_model(backbone.model, lora)
    return model


class _FirstVector(nn.Module):
    """First vector of each row: ``[N, T, D]`` to ``[N, D]``."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[:, 0]


class _PrecomputedEncoder(nn.Module):
    """Substitute for a frozen encoder: returns ``inputs_embeds``, one precomputed vector per text, as its output."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.pooler = getattr(encoder, "pooler", None)
        if isinstance(self.pooler, nn.Linear):  # ALBERT applies the selection of the first vector and tanh in its model
            activation: Any = encoder.pooler_activation
            self.pooler = nn.Sequential(_FirstVector(), self.pooler, activation)

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def _train_top_layers(
    backbone: Backbone, data: LabeledTexts, config: TrainConfig, progress: Callable[[int], object]
) -> None:
    """Train the layers after the encoder (pooler, pre-classifier, classification module) on precomputed vectors."""
    model, encoder_name = backbone.inner, backbone.inner.base_model_prefix
    vectors = torch.tensor(_encoder_vectors(backbone, data.texts, progress)).unsqueeze(1)
    labels = torch.from_numpy(_targets(data.labels))
    encoder = getattr(model, encoder_name)
    setattr(model, encoder_name, _PrecomputedEncoder(encoder))
    try:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.peak_learning_rate, weight_decay=0.01)
        steps = config.total_epochs * -(-len(labels) // config.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        generator = torch.Generator().manual_seed(config.seed)
        for _ in range(config.total_epochs):
            for rows in torch.randperm(len(labels), generator=generator).split(config.batch_size):
                loss = model(inputs_embeds=vectors[rows], labels=labels[rows]).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        model.eval()
        outputs = [backbone.forward(inputs_embeds=chunk) for chunk in vectors.split(ROWS_PER_CHUNK)]
    finally:
        setattr(model, encoder_name, encoder)
    hidden, logits = (torch.cat(chunks).cpu().numpy() for chunks in zip(*outputs, strict=True))
    # Store the features of the training texts, so that a fit with these texts as reference needs no run of the encoder.
    widths = {"hidden": backbone.width, "logits": backbone.classes}
    backbone.store(data.texts, widths).fill(lambda rows: (hidden[rows], logits[rows]), lambda done: None)


def _encoder_vectors(backbone: Backbone, texts: Sequence[str], progress: Callable[[int], object]) -> Array:
    """Vectors ``[N, D]`` of the encoder that the top layers read: of the first token, or of the last in a decoder.

    The cache on disk uses the fingerprint of the encoder, so another seed or learning rate needs no second run.

    Raises:
        UnsupportedModelError: the top layers read more than one vector per text.
    """
    pooling = getattr(backbone.config, "classifier_pooling", "cls")
    if pooling != "cls":
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} has classifier_pooling={pooling!r}, but training on a frozen encoder "
            "needs one vector per text: set classifier_pooling='cls', or train in mode 'full' or 'lora'."
        )
    encoder_outputs: list[Tensor] = []
    encoder = getattr(backbone.inner, backbone.inner.base_model_prefix)
    handle = encoder.register_forward_hook(lambda _, __, output: encoder_outputs.append(output[0].detach()))
    is_decoder = backbone.capture.name == "score"
    width = backbone.config.get_text_config().hidden_size

    def extract(rows: slice) -> tuple[Array]:
        vectors = np.empty((len(texts[rows]), width), np.float32)
        for batch_rows, inputs in backbone.batches(texts[rows]):
            hidden, _ = backbone.forward(**inputs)
            vectors[batch_rows] = (hidden if is_decoder else encoder_outputs[-1][:, 0]).cpu().numpy()
            encoder_outputs.clear()
            progress(len(batch_rows))
        return (vectors,)

    try:
        fingerprint = backbone.part_fingerprint(encoder, "encoder")
        (vectors,) = backbone.store(texts, {"encoder": width}, fingerprint).fill(extract, progress)
    finally:
        handle.remove()
    return vectors
