"""Folders that heads and graphs are written to: what they hold already, and must not lose."""

from __future__ import annotations

import json
from pathlib import Path

from ..data.sources import holds_head, holds_model
from ..errors import DataError

# Files that transformers, PEFT, Sentence Transformers and SetFit write for a model and its tokenizer.
MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors*", "model-*-of-*.safetensors", "pytorch_model*.bin*",
    "adapter_config.json", "adapter_model.*", "modules.json", "config_sentence_transformers.json",
    "sentence_bert_config.json", "config_setfit.json", "model_head.*", "tokenizer.*", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "spm.model", "sentencepiece.bpe.model", "chat_template.*",
)  # fmt: skip


def check_output_folder(folder: str | Path) -> None:
    """Check that a folder holds no model.

    Raises:
        DataError: the folder holds a model, whose files would be overwritten.
    """
    if holds_model(folder):
        raise DataError(f"output {folder} holds a model, whose files would be overwritten: name another folder.")


def check_model_folder(folder: str | Path, source: str | Path | None = None, force: bool = False) -> None:
    """Check that a trained classifier can be saved in a folder without replacing a model or joining other files.

    Args:
        folder: folder for the classifier.
        source: model that is trained, which must not be replaced; None if that is checked elsewhere.
        force: True if another model may be replaced, and other files joined.

    Raises:
        DataError: the folder is a file or the source; or without ``force``, it holds a model or other files.
    """
    path = Path(folder)
    if path.is_file():
        raise DataError(f"output {folder} is a file, and a classifier needs a folder: name another one.")
    if source is not None and path.is_dir() and Path(source).is_dir() and path.samefile(source):
        raise DataError(f"output {folder} is the folder of the model that is trained: name another one.")
    if force:
        return
    remedy = "name another one, or write into it all the same with force=True or --force"
    if holds_model(folder):
        raise DataError(f"folder {folder} holds a model, which would be replaced: {remedy}.")
    others = [file.name for file in path.iterdir() if file.name[0] != "."] if path.is_dir() else []
    if others:
        raise DataError(f"folder {folder} holds other files, such as {min(others)}: {remedy}.")


def remove_model(folder: str | Path) -> None:
    """Remove the files of a model and its tokenizer from a folder, since an adapter would be read before new weights.

    Files with other names, and a folder without a model, stay as they are.
    """
    if holds_model(folder):
        for file in {file for pattern in MODEL_FILES for file in Path(folder).glob(pattern) if file.is_file()}:
            file.unlink()


def check_head_folder(folder: str | Path) -> None:
    """Check that a head can be saved in a folder: that nothing but a head would be overwritten.

    Raises:
        DataError: the folder holds a model, or other files with the names of a head's; or it is a file.
    """
    if Path(folder).is_file():
        raise DataError(f"output {folder} is a file, and a head needs a folder: name another one.")
    check_output_folder(folder)
    others = [name for name in ("config.json", "README.md") if (Path(folder) / name).exists()]
    if others and not holds_head(folder):
        raise DataError(
            f"output {folder} holds {' and '.join(others)} of something else, which would be overwritten: name another "
            "folder."
        )


def has_threshold(folder: str | Path) -> bool:
    """True if a folder holds a head for which a threshold or sets were chosen; not for a damaged head."""
    file = Path(folder) / "config.json"
    if not (holds_head(folder) and file.is_file()):
        return False
    try:
        config = json.loads(file.read_bytes())
    except ValueError:
        return False
    return isinstance(config, dict) and any(config.get(name) is not None for name in ("rule", "sets"))
