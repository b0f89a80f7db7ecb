"""Checks of option values, and of outputs before the work begins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import typer

from ..batch.writing import check_outputs, check_writable, local_path, unwritable
from ..errors import DataError
from .terminal import new_file


def check_folder(
    path: Path,
    inputs: Iterable[str | Path | None] = (),
    content: Literal["head", "graph", "model"] = "head",
    force: bool = False,
) -> None:
    """Check that a folder can be written to a path, and that it is no input.

    Args:
        path: path of the folder.
        inputs: names of the data that are read, and of a model that must not be replaced; None is skipped.
        content: what will be written.
        force: True if a model may replace a model, or join other files, and a head replace one with a threshold.

    Raises:
        DataError: the path is a file, nothing can be written there, or the folder is an input or holds something
            else, or a model, whose files would be replaced.
    """
    from ..saved.folders import check_head_folder, check_model_folder, check_output_folder, has_threshold

    for name in inputs:
        if name is not None and path.is_dir() and os.path.isdir(local_path(name)) and path.samefile(local_path(name)):
            raise DataError(f"output {path}: this is the input {name}, whose files could be replaced; name another.")
    if content != "model":
        (check_head_folder if content == "head" else check_output_folder)(path)
        if content == "head" and not force and has_threshold(path):
            raise DataError(f"{path} holds a head with a threshold: name another folder with -o, or add --force.")
    else:
        check_model_folder(path, force=force)
    if path.exists() and not path.is_dir():
        raise DataError(f"output {path}: this is a file; name a folder.")
    try:
        check_writable(next(folder for folder in (path, *path.resolve().parents) if folder.is_dir()))
    except OSError as error:
        raise unwritable(path, error) from error


def check_page_name(path: Path) -> None:
    """Check that the name of a page has the ending of HTML.

    Raises:
        BadParameter: it has another one.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{path}: the page is HTML; name a file that ends in .html.")


def json_value(option: str, text: str) -> object:
    """Read the value of an option as JSON.

    Raises:
        BadParameter: it is not JSON.
    """
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text} is not JSON: {error}.") from error
    return value


def names_of(option: str, text: str) -> list[str]:
    """Read the value of an option that is a list of names: ``a,b,c``, or a JSON list if a name has a comma.

    Raises:
        BadParameter: it is a JSON value, but no list of strings.
    """
    if not text.lstrip().startswith("["):
        return [name.strip() for name in text.split(",") if name.strip()]
    names = json_value(option, text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise typer.BadParameter(f"{option} {text}: a list of strings is needed.")
    return names


def positive(value: float | None) -> float | None:
    """Check that the value of an option is a positive number.

    Raises:
        BadParameter: the value is zero, negative or not finite.
    """
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def share(value: str | float) -> float:
    """Read the value of an option that is a share: a number, or a percentage such as ``10%``.

    Raises:
        BadParameter: it is neither.
    """
    text = str(value).strip()
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{value} is not a share: write 0.1, or 10%, for ten percent.") from error


def check_export(files: Sequence[Path], predictions: str, force: bool) -> None:
    """Check that files for people can be written, and that no labels in files of these names would be lost.

    Raises:
        BadParameter: a file exists, and ``force`` is False.
        DataError: a file cannot be written, or is the input.
    """
    check_outputs(files, [predictions])
    existing = next((file for file in files if file.is_file()), None)
    if existing is not None and not force:
        raise typer.BadParameter(
            f"{existing} exists, and may hold labels of people: name another file, such as {new_file(existing)}, or "
            "add --force to replace it."
        )
