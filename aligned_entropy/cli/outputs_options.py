"""Options of commands that take outputs of a model in place of the model and texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from .checks import names_of
from .options import ModelOptions, OptionGroup
from .terminal import part_beside

REMEDY = "give MODEL and DATA, or --outputs FILE in place of both, or --endpoint URL in place of MODEL"


@dataclass(frozen=True)
class OutputsOptions(OptionGroup):
    """Outputs of a model that takes no part, and the names of their classes."""

    panel: ClassVar[str] = "Outputs in place of a model"

    outputs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File of outputs in place of MODEL and DATA: logits, probabilities, top_logprobs or responses of an "
            "API, label, optionally hidden and text; see docs/outputs.md.",
        ),
    ] = None
    label_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of the classes in the order of the outputs: a,b,c or a JSON list; those of the head by "
            "default, or for lists of numbers LABEL_0,LABEL_1,….",
        ),
    ] = None
    field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Field of a JSON object with the label, in responses or asked of --endpoint; that of the head by "
            "default.",
        ),
    ] = None

    @property
    def names(self) -> list[str] | None:
        """Names of the classes; None if they were not given.

        Raises:
            BadParameter: they are no list of strings.
        """
        return None if self.label_names is None else names_of("--label-names", self.label_names)

    def file(
        self, model: str | None, data: str | Path | None, options: ModelOptions, *, default: str | None = None
    ) -> str:
        """Name of the data: DATA, which belongs to a model, or the file of outputs, which needs none.

        Args:
            model: MODEL, if it was given.
            data: DATA, if it was given.
            options: options of the model; none may be given without it.
            default: DATA of a model if none was given.

        Raises:
            BadParameter: both or neither were given.
        """
        if self.outputs is None:
            data = data or (None if model is None else default)
            if model is None or data is None:
                raise typer.BadParameter(f"{REMEDY}{'' if model is None else f'; there is only {model}'}.")
            if self.label_names is not None:
                raise typer.BadParameter(f"--label-names {self.label_names} is for --outputs: the model has names.")
            if self.field is not None:
                raise typer.BadParameter(f"--field {self.field} is for --outputs FILE or --endpoint URL: leave it out.")
            return str(data)
        given = [f"{name} {value}" for name, value in (("MODEL", model), ("DATA", data)) if value is not None]
        if given:
            raise typer.BadParameter(f"--outputs {self.outputs} and {' and '.join(given)}: {REMEDY}.")
        if options != ModelOptions():
            raise typer.BadParameter(f"--outputs {self.outputs} needs no model: leave the options of the model out.")
        return self.outputs

    def words_beside(self, model: str | None, data: str, part: str) -> list[str]:
        """Words of a next command for a part of all labeled rows, of which data are another part."""
        return self.words(model, part_beside(data, part))

    def words(self, model: str | None, data: str) -> list[str]:
        """Words of a next command for MODEL and DATA, or for a file of outputs."""
        if model is not None:
            return [model, data]
        field = [] if self.field is None else ["--field", self.field]
        return ["--outputs", data if Path(data).is_file() else data.removesuffix(".csv") + ".jsonl", *field]
