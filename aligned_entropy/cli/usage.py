"""Command that explains wrong usage: the class of all commands."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

# Options of other commands that people write, and what to do instead; the parser would only say that there is none.
MISPLACED = {
    "fit --head": "a fit makes a new head: name its folder with --output.",
    "predict --label-column": "predictions need no labels: leave it out.",
    "inspect --model": "write the model after the head: alien inspect HEAD MODEL",
    "--quiet": "write it before the command: alien --quiet …",
    "--verbose": "write it before the command: alien --verbose …",
    "-q": "write it before the command: alien -q …",
    "-v": "write it before the command: alien -v …",
}


class Command(TyperCommand):
    """Command that says what is wrong with its words, beyond what the parser says.

    It refuses empty words, which a shell makes of variables without a value, and options that belong elsewhere; names
    the value that the parser refuses; and shows its example if a word is missing.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line.

        Raises:
            BadParameter: a word is empty, and is not the value of an option that may be empty; an option belongs to
                another place; or a value is wrong.
        """
        may_be_empty = {name for option in self.params if option.default == "" for name in option.opts}
        for position, word in enumerate(args):
            option = word.partition("=")[0]
            advice = MISPLACED.get(f"{self.name} {option}") or MISPLACED.get(option)
            if advice is not None:
                raise typer.BadParameter(f"{option}: {advice}", ctx)
            before = args[position - 1] if position else ""
            name = word.removesuffix("=") if word.startswith("--") else before
            if (not word or (word.startswith("--") and word.endswith("="))) and name not in may_be_empty:
                place = f"the value of {name}" if name.startswith("-") else f"word {position + 1}"
                raise typer.BadParameter(f"{place} is empty: a shell variable may have no value.", ctx)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if type(error).__name__ == "MissingParameter":  # Typer gives this class no public name
                error.message = self.epilog or ""
            # Recent versions of Typer check values with pydantic, whose messages leave the value out.
            cause: Any = error.__cause__
            if hasattr(cause, "errors"):
                value, reason = cause.errors()[0]["input"], error.message.removeprefix("Value error, ")
                error.message = reason if repr(value) in reason else f"{value!r} is refused. {reason}"
            raise
