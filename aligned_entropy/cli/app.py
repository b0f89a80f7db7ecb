"""Application ``alien`` with all its commands, and the short commands ``inspect`` and ``demo``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .fitting import fit, threshold, train
from .loading import load
from .measuring import bench, evaluate, report
from .options import AsJson, Device, ModelOptions, Seed
from .predicting import predict
from .serving import ENVIRONMENT_PREFIX, export, refit, serve
from .terminal import progress_bar, quiet_libraries

app = typer.Typer(
    help="Know when a Hugging Face classifier is wrong. ALIEN_TRACEBACK=1 shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def inspect(
    head: Annotated[str, typer.Argument(help="Path or hub id of a head.")],
    model: Annotated[str | None, typer.Argument(help="Model to check the head against.")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a head and, given a model, check that the head belongs to it."""
    from ..saved.hub import describe_head, resolve_head

    facts = describe_head(resolve_head(head))
    if model is not None:
        load(model, head=head, options=ModelOptions(device=device))  # raises if the head does not belong to it
        facts["fits"] = f"{model}: yes, it reproduces the stored probe"
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        text = "\n".join(f"    {line}" for line in value) if isinstance(value, list) else f"  {value}"
        print(f"{name}:{chr(10) if isinstance(value, list) else ''}{text}")


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all files of the demo.")] = Path("demo"),
    texts: Annotated[int, typer.Option(help="Number of texts of 20 Newsgroups.", min=400)] = 8000,
    seed: Seed = 0,
) -> None:
    """Train a classifier, fit a head, evaluate and report: 20 Newsgroups, MiniLM, about four minutes on two cores."""
    from ..demo import run_demo

    quiet_libraries()
    run_demo(output, texts, seed, progress_bar)


def show_version(requested: bool) -> None:
    """Print the version and exit, if requested."""
    if requested:
        from importlib.metadata import version

        print(f"aligned-entropy {version('aligned-entropy')}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


for command in (train, fit, threshold, predict, serve, refit, export, evaluate, inspect, bench, report, demo):
    # Only the server reads its options from the environment: it often runs where nobody types a command.
    app.command(context_settings={"auto_envvar_prefix": ENVIRONMENT_PREFIX} if command is serve else None)(command)
