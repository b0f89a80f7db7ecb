"""Options of the commands that give predictions to people: ``alien review`` and ``alien audit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from .checks import names_of
from .options import ColumnOptions, Delimiter, Encoding, LabelColumn, OptionGroup, TextColumn, TextPairColumn
from .terminal import option_words

if TYPE_CHECKING:
    from ..review.predictions import PredictedRows

Format = Literal["csv", "label-studio", "argilla"]
Choice = Literal["deferred", "audit", "informative", "all"]
FORMAT_OF_ENDING: dict[str, Format] = {".csv": "csv", ".json": "label-studio"}
LabelNames = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Names of the classes, for token classification of the tags: a,b,c or a JSON list."
    ),
]
LabelStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Store of earlier labels, SQLite file or URL: deferred and informative rows that have one are left out.",
    ),
]
HeadWithNames = Annotated[str | None, typer.Option(help="Head of the predictions, which has the names of the classes.")]


@dataclass(frozen=True)
class SourceOptions(OptionGroup):
    """Options that decide how predictions are read."""

    panel: ClassVar[str] = "Predictions"

    prefix: Annotated[str, typer.Option(help="Prefix of the columns that alien predict has added.")] = ""
    safe_csv: Annotated[
        bool | None,
        typer.Option("--safe-csv/--no-safe-csv", help="PREDICTIONS was written with --safe-csv, or was not."),
    ] = None
    text_column: TextColumn = None
    text_pair_column: TextPairColumn = None
    label_column: LabelColumn = None
    delimiter: Delimiter = None
    encoding: Encoding = None

    @property
    def further(self) -> list[str]:
        """Further columns of the predictions that the written file keeps."""
        return []

    def read(self, predictions: str) -> PredictedRows:
        """Read predictions; errors as for :func:`aligned_entropy.review.predictions.read_predictions`."""
        from ..review.predictions import SourceColumns, read_predictions, read_queue
        from ..store import is_feedback

        if is_feedback(predictions):
            return read_queue(predictions)
        columns = SourceColumns(self.text_column, self.text_pair_column, self.prefix, self.safe_csv, self.further)
        return read_predictions(predictions, columns, delimiter=self.delimiter, encoding=self.encoding)


@dataclass(frozen=True)
class ExportedSourceOptions(SourceOptions):
    """Options that decide how predictions are read, and which of their columns a file for people keeps."""

    keep: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Further columns for a CSV file, such as the number of a ticket: a,b,c or a JSON list.",
        ),
    ] = None

    @property
    def further(self) -> list[str]:
        """Further columns of the predictions that the written file keeps."""
        return [] if self.keep is None else names_of("--keep", self.keep)

    def check_keep(self, form: str, predictions: str, suspects: bool = False) -> None:
        """Check that columns can be kept.

        Args:
            form: format of the file for people.
            predictions: source of the rows.
            suspects: True if the source is a labeled set.

        Raises:
            BadParameter: the format is not CSV, or the source is no output of ``alien predict``.
        """
        from ..store import is_feedback

        if self.keep is not None and (form != "csv" or suspects or is_feedback(predictions)):
            raise typer.BadParameter(
                f"--keep {self.keep} is for a CSV file of an output of alien predict: leave it out for other formats, "
                "--suspects and stores."
            )


def file_format(form: Format | None, output: Path) -> Format:
    """Format of a file for people: the given one, or that of its ending.

    Raises:
        BadParameter: the ending names no format.
    """
    name = form or FORMAT_OF_ENDING.get(output.suffix.lower())
    if name is None:
        raise typer.BadParameter(f"--format is needed for {output}: csv, label-studio or argilla.")
    return name


def class_names(label_names: str | None, head: str | None, of_source: Sequence[str]) -> list[str]:
    """Names of the classes, from the option, the head or the columns of the source.

    Raises:
        BadParameter: there are none, or two of these exclude each other.
    """
    if label_names is not None:
        if head is not None:
            raise typer.BadParameter("--label-names and --head exclude each other: the head has the names.")
        return names_of("--label-names", label_names)
    if head is not None:
        return list(_config(head)["backbone"]["labels"])
    if of_source:
        return list(of_source)
    raise typer.BadParameter("the names of the classes are needed: give --head HEAD, or --label-names a,b,c.")


def words_of_names(head: str | None, label_names: str | None) -> list[str]:
    """Options of the next command that give the names of the classes."""
    return ["--head", head or "HEAD"] if label_names is None else ["--label-names", label_names]


def words_of_refit(head: str, store: str) -> list[str]:
    """Words of ``alien refit`` that name the model of a head, a store of labels, and the columns of its fit.

    A head of outputs is refitted on a file of labeled outputs, since a store has texts alone.
    """
    from ..backbones.endpoint.backbone import ENDPOINT
    from ..backbones.outputs import OUTPUTS

    config = _config(head)
    model, columns = config["backbone"], option_words(ColumnOptions(**config["fit"].get("columns", {})))
    if model["model class"] == OUTPUTS:
        return ["--outputs", "LABELED-OUTPUTS.csv", *columns]
    if model["model class"] == ENDPOINT:
        return ["--endpoint", "URL", store, *columns]
    return [model.get("name") or "MODEL", store, *columns]


def _config(head: str) -> dict[str, Any]:
    """Config of a saved head."""
    from ..saved.format import read_config
    from ..saved.hub import resolve_head

    return read_config(resolve_head(head))
