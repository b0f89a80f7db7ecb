"""Option groups: a command receives several options as one object."""

import typing
from dataclasses import dataclass, fields
from inspect import signature
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from aligned_entropy.cli.fitting import fit
from aligned_entropy.cli.options import ModelOptions, OptionGroup, with_option_groups


@dataclass(frozen=True)
class Sizes(OptionGroup):
    """Group of two options."""

    rows: Annotated[int, typer.Option(help="Number of rows.", min=1)] = 2
    columns: Annotated[int, typer.Option("--columns", "-c", help="Number of columns.")] = 3


@pytest.fixture
def app():
    """Application whose only command prints the values that it receives."""

    @with_option_groups
    def show(name: str, *, sizes: Sizes, loud: bool = False) -> None:
        """Show the sizes."""
        print(name, sizes, loud)

    application = typer.Typer()
    application.command()(show)
    return application


def test_a_command_receives_its_options_as_one_object(app):
    done = CliRunner().invoke(app, ["table", "--rows", "5", "-c", "7", "--loud"])
    assert (done.exit_code, done.stdout.strip()) == (0, f"table {Sizes(5, 7)} True")
    assert CliRunner().invoke(app, ["table"]).stdout.strip() == f"table {Sizes()} False"
    assert CliRunner().invoke(app, ["table", "--rows", "0"]).exit_code == 2


def test_the_options_of_a_group_stand_in_the_help_at_the_place_of_the_group(app):
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert shown.index("--rows") < shown.index("--columns") < shown.index("--loud")
    assert "Number of rows." in shown


def test_a_command_that_loads_a_model_has_all_model_options():
    names = list(signature(fit).parameters)
    assert {option.name for option in fields(ModelOptions)} <= set(names)
    assert "options" not in names
    assert typing.get_type_hints(fit, include_extras=True)["max_length"].__metadata__[0].help
