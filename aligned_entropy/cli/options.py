"""Options that several commands share, and groups of options that a command receives as one object."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_type_hints

import typer

from ..tasks import TASKS

if TYPE_CHECKING:
    TaskName = str
else:  # Typer makes a choice of a Literal; type checkers cannot read a computed one
    TaskName = Literal[tuple(TASKS)]

DATA_HELP = (
    "CSV, TSV, JSON Lines, Parquet or CoNLL file; a folder with one file per split; an embedded name "
    "(20newsgroups, rotten-tomatoes, twitter-ner); a folder of ALIEN_DATA; or a hub id. NAME:SPLIT selects one split."
)
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Trained text or token classifier: path or hub id, PEFT adapters included."),
]
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
OptionalModel = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="Trained text or token classifier: path or hub id, PEFT adapters included."),
]
OptionalData = Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)]
Head = Annotated[str | None, typer.Option(help="Path or hub id of a fitted head.")]
Reference = Annotated[str | None, typer.Option(help="Training set of the classifier; optional.")]
TextColumn = Annotated[str | None, typer.Option(help="Column with the texts; found by its usual names by default.")]
TextPairColumn = Annotated[
    str | None,
    typer.Option(help="Column with the second texts of pairs; usual pairs of columns are found by their names."),
]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the labels; found by its usual names by default.")]
Delimiter = Annotated[
    str | None,
    typer.Option(help="Delimiter of a CSV or TSV file, \\t for a tab; by default detected from its header."),
]
Encoding = Annotated[
    str | None,
    typer.Option(help="Encoding of a text file; by default UTF-8, or UTF-16 or UTF-32 as its first bytes show."),
]
MaxLength = Annotated[
    int | None,
    typer.Option(metavar="N", help="Maximum number of tokens per text; longer texts are truncated.", min=2),
]
Device = Annotated[str | None, typer.Option(help="Device such as cuda or cpu; by default the GPU if there is one.")]
Module = Annotated[
    str | None, typer.Option(help="Path of the module that computes the logits, if it is not found by name.")
]
Task = Annotated[
    TaskName | None,
    typer.Option(metavar="TASK", help=f"Task of the model, if its configuration does not name it: {', '.join(TASKS)}."),
]
Engine = Literal["local", "ray"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of all random numbers.", min=0)]


Replace = Annotated[bool, typer.Option("--force", help="Replace a file, which may hold labels of people.")]


class OptionGroup:
    """Base class of frozen dataclasses whose fields are options of a command; see :func:`with_option_groups`.

    Attributes:
        panel: heading of the options in the help.
        left_out: names of fields that are no options and have their defaults.
    """

    panel: ClassVar[str] = "Options"
    left_out: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """Options that decide how a model is loaded."""

    panel: ClassVar[str] = "Model"

    max_length: MaxLength = None
    device: Device = None
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(
            metavar="DTYPE",
            help="Precision of the model: float32, bfloat16 or float16; by default float32 on a CPU, elsewhere that of "
            "the checkpoint.",
        ),
    ] = None
    classification_module: Module = None
    task: Task = None
    prompt: Annotated[
        Path | None,
        typer.Option(
            help="JSON file for a language model that predicts label words: labels, template, examples, chat; see "
            "docs/label-words.md. A saved head contains its prompt."
        ),
    ] = None
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run Python code that is saved with the model; read it before."),
    ] = False


def of_head(options: ModelOptions) -> ModelOptions:
    """Copy options for a command that loads a saved head, which contains some of them."""
    return replace(options, max_length=None, prompt=None)


@dataclass(frozen=True)
class ColumnOptions(OptionGroup):
    """Options that decide how labeled data are read."""

    panel: ClassVar[str] = "Labeled data"

    text_column: TextColumn = None
    text_pair_column: TextPairColumn = None
    label_column: LabelColumn = None
    label_map: Annotated[
        str | None,
        typer.Option(
            "--label-map",
            "--tag-map",
            metavar="MAP",
            help="Map from labels of the data to labels of the model: pos=POSITIVE,neg=NEGATIVE, or a JSON file with "
            "an object; for token classification from entity types: person=PER.",
        ),
    ] = None
    delimiter: Delimiter = None
    encoding: Encoding = None

    @property
    def names(self) -> dict[str, str | None]:
        """Names of the columns, as arguments of a reader."""
        return {name: getattr(self, name) for name in ("text_column", "text_pair_column", "label_column")}

    @property
    def of_texts(self) -> ColumnOptions:
        """Those of these options that ``alien predict`` has as well."""
        return ColumnOptions(self.text_column, self.text_pair_column)


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command receive groups of options as objects.

    Typer reads the options of a command from its signature. In the signature of the returned function every parameter
    whose type is an :class:`OptionGroup` is replaced by the fields of the group.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and issubclass(hint, OptionGroup)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            parameters += _option_parameters(groups[parameter.name])
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))

    @wraps(command)
    def grouped(**values: Any) -> None:
        objects = {
            name: group(**{option.name: values.pop(option.name) for option in _option_parameters(group)})
            for name, group in groups.items()
        }
        command(**values, **objects)

    grouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(grouped)["__signature__"] = inspect.Signature(parameters)
    return grouped


def _option_parameters(group: Any) -> list[inspect.Parameter]:
    """Fields of an option group as parameters of a command."""
    hints = get_type_hints(group, include_extras=True)
    parameters = []
    for option in (option for option in fields(group) if option.name not in group.left_out):
        kind, information = get_args(hints[option.name])
        information = copy.copy(information)
        information.rich_help_panel = information.rich_help_panel or group.panel
        parameters.append(
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=Annotated[kind, information],
            )
        )
    return parameters
