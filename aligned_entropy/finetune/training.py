"""Train a classifier to put a head on: full fine-tuning, LoRA, or a frozen encoder with trained top layers.

Nothing in this module takes a calibration set, not even to choose a checkpoint: a head must be fitted on texts that the
classifier has not seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ..backbones import MULTI_LABEL, Backbone, TokenBackbone
from ..backbones.batching import Encoded
from ..backbones.checkpoints import resolve
from ..backbones.loading import load_for_training, load_tokenizer
from ..backbones.training_texts import save_training_texts
from ..data import LabeledTexts, LabeledTokens
from ..data.label_checks import check_repeated, label_warnings
from ..data.matching import listed_names
from ..display.progress import Progress, no_report
from ..display.progress_bars import without_progress_bars
from ..display.wording import type_name
from ..errors import ArgumentTypeError, DataError, MissingExtraError, UnsupportedModelError, warn_user
from ..saved.folders import check_model_folder, remove_model
from .config import TrainConfig
from .labeled import labeled_data, task_of_labels
from .measures import IGNORED, Epoch, TrainingMeter
from .top_layers import targets, train_top_layers

# Linear layers; GPT-2's are of a class of their own.
LAYERS = (nn.Linear, Conv1D)
# Names of the attention projections in the architectures that LoRA can be used with.
ATTENTION_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("Wqkv",),
    ("query_proj", "key_proj", "value_proj"), ("q", "k", "v"), ("query_key_value",), ("qkv_proj",), ("in_proj",),
    ("c_attn",),
)  # fmt: skip


def train_classifier(
    name: str | Path,
    data: Any,
    folder: str | Path,
    config: TrainConfig | None = None,
    progress: Progress = no_report,
    report: Callable[[Epoch], object] = no_report,
    *,
    force: bool = False,
    **columns: Any,
) -> int:
    """Train a classifier and save it with its tokenizer, so that ``from_pretrained`` can load it.

    Args:
        name: path, hub id or embedded name of the pretrained model.
        data: training set in any form that :func:`aligned_entropy.data.load_data` reads, ``LabeledTexts`` or
            ``LabeledTokens``; its labels determine the task: one label per text, several per text, or a tag per word.
        folder: folder for the classifier.
        config: settings of the training; ``TrainConfig()`` by default.
        progress: function that is called with the number of texts whose vectors are ready in mode ``freeze``, and with
            the number of texts (windows of texts for token classification) of every step in the other modes.
        report: function that is called with the measures of every epoch; ``print`` shows them.
        force: True to write into a folder that holds a model, which is replaced, or other files.
        columns: ``text_column``, ``text_pair_column``, ``label_column`` and ``label_map``, as for ``fit``.

    Returns:
        Number of texts that the classifier did not read completely, because they have more than ``config.max_length``
        tokens; 0 for token classification, which reads long texts in windows.

    Raises:
        ArgumentTypeError: an object of this type holds no labeled data, the settings are no ``TrainConfig``, or there
            is no such argument.
        DataError: the data cannot be read, hold one class only, or their labels are no classes; or the folder is a
            file, that of the model that is trained, or without ``force`` holds a model or other files.
        UnsupportedModelError: the model or the task cannot be trained in this mode.
    """
    config, data = _checked(config), labeled_data(data, **columns)
    check_model_folder(folder, name, force)
    check_labels(data)
    if isinstance(data, LabeledTokens) and config.mode == "freeze":
        raise UnsupportedModelError("a token classifier is trained in mode 'full' or 'lora': leave out --freeze.")
    backbone_class = task_of_labels(data).backbone()
    assert issubclass(backbone_class, Backbone), "only prompts have another kind of backbone"
    problem_type = MULTI_LABEL if backbone_class.multi_label else None
    model: Any = load_for_training(name, backbone_class.auto_class, data.label_names, config.seed, problem_type)
    tokenizer = load_tokenizer(name)
    tokenizer.model_max_length = config.max_length  # saved with the tokenizer, so that later inputs are cut the same
    backbone = backbone_class(model, tokenizer, name=resolve(name))
    backbone.config.get_text_config().pad_token_id = backbone.pad_token_id  # training needs batches; saved as well
    encoded = None if isinstance(data, LabeledTokens) else backbone.encode(data.texts)
    meter = TrainingMeter(config.total_epochs, report)
    if config.mode == "freeze" and isinstance(data, LabeledTexts) and encoded is not None:
        train_top_layers(backbone, data, encoded, config, progress, meter)
    else:
        model = _train_all_layers(backbone, data, encoded, config, progress, meter)
    _warn_of_absent_classes(data, meter.predicted)
    _save(model, backbone, folder)
    save_training_texts(folder, data, resolve(name))
    return 0 if encoded is None or encoded.truncated is None else int(encoded.truncated.sum())


def _save(model: Any, backbone: Backbone, folder: str | Path) -> None:
    remove_model(folder)
    with without_progress_bars():
        model.save_pretrained(folder)
        backbone.inner.config.save_pretrained(folder)  # the folder of an adapter needs the labels, too
        backbone.tokenizer.save_pretrained(folder)


def _checked(config: TrainConfig | None) -> TrainConfig:
    if config is not None and not isinstance(config, TrainConfig):
        raise ArgumentTypeError(f"config is {type_name(config)}: pass a TrainConfig, such as TrainConfig(epochs=5).")
    return config or TrainConfig()


def _warn_of_absent_classes(data: LabeledTexts | LabeledTokens, predicted: set[int]) -> None:
    """Warn of classes, or tags, of the training set that were not predicted in the last epoch.

    Args:
        data: training set.
        predicted: classes that were predicted; empty, and there is no warning, for several labels per text.
    """
    if not predicted:
        return
    absent = [data.label_names[number] for number in np.unique(data.labels) if number not in predicted]
    remedy = "Train for more epochs or with a higher learning rate."
    if len(predicted) == 1:
        (only,) = predicted
        warn_user(
            f"in the last epoch the classifier predicted nothing but {data.label_names[only]!r}: it has not learned to "
            f"tell the classes apart. {remedy}",
        )
    elif absent:
        kind = "tags" if isinstance(data, LabeledTokens) else "classes"
        warn_user(
            f"in the last epoch the classifier never predicted {len(absent)} of {len(data.label_names)} {kind}: "
            f"{listed_names(absent, 10)}. {remedy}",
        )


def check_labels(data: LabeledTexts | LabeledTokens) -> None:
    """Check that labeled data hold at least two classes, or are multi-label; warn of labels that look like mistakes.

    Raises:
        DataError: all labels, or tags, are the same, or the labels are no classes.
    """
    classes, counts = np.unique(data.labels, return_counts=True)
    if data.labels.ndim == 1 and len(classes) == 1:
        kind = "tag" if isinstance(data, LabeledTokens) else "class"
        raise DataError(
            f"the training set holds one {kind} only, {data.label_names[classes[0]]!r}: add texts of another one, or "
            "name the right column of labels with --label-column."
        )
    if not isinstance(data, LabeledTexts) or data.labels.ndim > 1:
        return
    texts = {data.label_names[label]: int(count) for label, count in zip(classes, counts, strict=True)}
    check_repeated(texts)
    for warning in label_warnings(texts):
        warn_user(warning)


def _train_all_layers(
    backbone: Backbone,
    data: LabeledTexts | LabeledTokens,
    encoded: Encoded | None,
    config: TrainConfig,
    progress: Progress,
    meter: TrainingMeter,
) -> nn.Module:
    """Train a model with the Trainer of transformers, by full fine-tuning or with LoRA; tokens are encoded here."""
    import transformers

    class MeteredTrainer(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **options: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
            meter.add(loss, outputs.logits, inputs["labels"])
            progress(len(inputs["labels"]))
            return (loss, outputs) if return_outputs else loss

    class EpochCallback(transformers.TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            meter.end_epoch()

    model = _with_lora(backbone) if config.mode == "lora" else backbone.model
    rows = _training_rows(backbone, data, encoded)
    per_word = isinstance(data, LabeledTokens)
    per_word_collator = transformers.DataCollatorForTokenClassification
    collator: Any = per_word_collator(backbone.tokenizer) if per_word else _collator(backbone)
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
            bf16=config.dtype == "bfloat16",
            use_cpu=not torch.accelerator.is_available(),
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = MeteredTrainer(
            model,
            arguments,
            train_dataset=rows,
            data_collator=collator,
            callbacks=[EpochCallback()],
        )
        trainer.remove_callback(transformers.PrinterCallback)  # it would print into the output of the command
        trainer.train()
    return model.cpu().eval()


def _collator(backbone: Backbone) -> Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]:
    """Make a function that pads texts as for a prediction; the tokenizer may pad on the other side."""
    backbone.padding_side  # noqa: B018 - found once, before the model is in training mode

    def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        inputs = {name: [row[name] for row in rows] for name in rows[0] if name != "labels"}
        return backbone.pad(inputs) | {"labels": torch.tensor([row["labels"] for row in rows])}

    return padded


def _training_rows(
    backbone: Backbone, data: LabeledTexts | LabeledTokens, encoded: Encoded | None
) -> list[dict[str, Any]]:
    """Tokenized texts with their labels, as the Trainer reads them.

    For token classification a row is a window, and the tag of a word is the label of its first sub-word in one window.
    """
    labels: list[Any]
    if isinstance(data, LabeledTokens) and isinstance(backbone, TokenBackbone):
        inputs, words_of_windows = backbone.windows(data.texts)
        labels = [[IGNORED] * len(ids) for ids in inputs["input_ids"]]
        for window_labels, words in zip(labels, words_of_windows, strict=True):
            for row, position in words:
                window_labels[position] = int(data.labels[row])
    else:
        assert encoded is not None, "only the words of tokens are not encoded before"
        inputs, labels = encoded.inputs, targets(data.labels).tolist()
    return [
        {name: values[row] for name, values in inputs.items()} | {"labels": label} for row, label in enumerate(labels)
    ]


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
    layers = {
        name.rsplit(".", 1)[-1]: part for name, part in backbone.inner.named_modules() if isinstance(part, LAYERS)
    }
    targets = next((list(group) for group in ATTENTION_PROJECTIONS if set(group) <= set(layers)), None)
    if targets is None:
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} has no attention projections of a known name, only "
            f"{', '.join(sorted(layers))}: train it in mode 'full'."
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
        fan_in_fan_out=isinstance(layers[targets[0]], Conv1D),
        modules_to_save=new_modules,
    )
    model: nn.Module = get_peft_model(backbone.model, lora)
    return model
