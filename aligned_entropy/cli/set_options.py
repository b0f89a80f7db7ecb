"""Options of ``alien threshold`` for sets of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from .checks import share
from .options import OptionGroup

if TYPE_CHECKING:
    from ..selective import SetGoal


@dataclass(frozen=True)
class SetOptions(OptionGroup):
    """Options that state the goal of prediction sets."""

    panel: ClassVar[str] = "Sets of classes"

    sets: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            parser=share,
            help="Give each deferred text a set of classes that has the right one with probability 1 - X.",
        ),
    ] = None
    set_method: Annotated[
        Literal["lac", "aps"],
        typer.Option(metavar="METHOD", help="lac: smallest sets; aps: larger sets for less certain texts."),
    ] = "lac"
    set_guarantee: Annotated[
        Literal["all", "class", "cluster"],
        typer.Option(
            metavar="SCOPE",
            help="Hold the probability over all deferred texts (all), for each class, or for each cluster of classes.",
        ),
    ] = "all"

    def goal(self) -> SetGoal | None:
        """Goal of these options; None without ``--sets``.

        Raises:
            BadParameter: the probability is out of range, or ``--sets`` is missing.
        """
        from ..selective import SetGoal

        if self.sets is None:
            if (self.set_method, self.set_guarantee) != ("lac", "all"):
                raise typer.BadParameter("--set-method and --set-guarantee are for --sets: give --sets 0.1, too.")
            return None
        try:
            return SetGoal(self.sets, self.set_method, self.set_guarantee)
        except ValueError as error:
            raise typer.BadParameter(f"--sets: {error}") from error
