"""Options of ``alien threshold`` that state the goal of a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from .checks import share
from .options import OptionGroup

if TYPE_CHECKING:
    from ..selective import Goal


@dataclass(frozen=True)
class GoalOptions(OptionGroup):
    """Options that state the goal of a threshold."""

    panel: ClassVar[str] = "Goal"

    risk: Annotated[
        float | None,
        typer.Option(metavar="X", parser=share, help="Maximum share of errors among the accepted predictions."),
    ] = None
    coverage: Annotated[
        float | None, typer.Option(metavar="X", parser=share, help="Share of the predictions to accept.")
    ] = None
    error_cost: Annotated[
        float | None, typer.Option(metavar="X", help="Cost of an accepted prediction that is wrong.")
    ] = None
    deferral_cost: Annotated[float | None, typer.Option(metavar="X", help="Cost of a deferred prediction.")] = None
    delta: Annotated[
        float, typer.Option(metavar="X", parser=share, help="Probability that the bound on the risk does not hold.")
    ] = 0.05
    method: Annotated[
        Literal["fixed-sequence", "sgr"],
        typer.Option(metavar="METHOD", help="Method that certifies a risk: fixed-sequence (Learn then Test) or sgr."),
    ] = "fixed-sequence"
    per_class: Annotated[bool, typer.Option("--per-class", help="Choose a threshold for every predicted class.")] = (
        False
    )

    def goal(self) -> Goal:
        """Goal of these options.

        Raises:
            BadParameter: a value is out of range, or the options do not state exactly one goal.
        """
        from ..selective import Goal

        goals = ("risk", "coverage", "error_cost", "deferral_cost")
        given = [name for name in goals if getattr(self, name) is not None]
        if given not in (["risk"], ["coverage"], ["error_cost", "deferral_cost"]):
            words = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise typer.BadParameter(
                "give one goal, such as --risk 0.1, or --coverage 0.8, or --error-cost 10 --deferral-cost 1; given: "
                f"{words or 'none'}."
            )
        try:
            return Goal(
                self.risk,
                self.coverage,
                self.error_cost,
                self.deferral_cost,
                self.delta,
                self.method,
                self.per_class,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
