"""Folders that heads and graphs are written to: what they hold already, and must not lose."""

from __future__ import annotations

import json
from pathlib import Path

from ..data.sources import holds_head, holds_model
from ..errors import DataError


def check_output_folder(folder: str | Path) -> None:
    """Check that a folder holds no model.

    Raises:
        DataError: the folder holds a model, whose files would be overwritten.
    """
    if holds_model(folder):
        raise DataError(f"output {folder} holds a model, whose files would be overwritten: name another folder.")


def check_model_folder(folder: str | Path) -> None:
    """Check that a trained classifier can be saved in a folder without replacing a model or joining other files.

    Raises:
        DataError: the folder holds a model or other files.
    """
    remedy = "name another one, or write into it all the same with force=True or --force"
    if holds_model(folder):
        raise DataError(f"folder {folder} holds a model, which would be replaced: {remedy}.")
    path = Path(folder)
    others = [file.name for file in path.iterdir() if file.name[0] != "."] if path.is_dir() else []
    if others:
        raise DataError(f"folder {folder} holds other files, such as {min(others)}: {remedy}.")


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
