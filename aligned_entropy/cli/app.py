"""The subcommands of ``alien``: options in, one call of the library, its answer printed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import DataError
from .fitting import fit, threshold, train
from .measuring import bench, evaluate, report
from .options import (
    AsJson,
    Device,
    Dtype,
    Head,
    MaxLength,
    Model,
    Module,
    Prompt,
    Seed,
    Task,
    TextColumn,
    load,
    progress_bar,
    quiet_libraries,
)
from .serving import export, refit, serve

app = typer.Typer(
    help="Know when a Hugging Face classifier is wrong. ALIEN_TRACEBACK=1 shows where an error came from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def predict(
    model: Model,
    source: Annotated[str, typer.Argument(help="JSON Lines, CSV, TSV, Parquet or .txt file, or - for stdin.")] = "-",
    head: Head = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="File, its ending says the format; - for stdout, as the input or JSON Lines; or a folder, for parts "
            "of the answers to Parquet files.",
        ),
    ] = "-",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Who answers, where the output is a folder: docs/cluster.md.")
    ] = "local",
    workers: Annotated[int, typer.Option(help="Of the Ray engine, each with a model.", min=1)] = 1,
    input_format: Annotated[
        Literal["jsonl", "csv", "tsv", "parquet", "txt"] | None,
        typer.Option(help="Of the input, if its name does not say."),
    ] = None,
    text_column: TextColumn = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add a column for every class.")] = False,
    prefix: Annotated[str, typer.Option(help="Of the added columns.")] = "",
    max_characters: Annotated[int, typer.Option(help="Longer texts get an error, not an answer.", min=1)] = 100_000,
    max_length: MaxLength = None,
    device: Device = None,
    dtype: Dtype = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
) -> None:
    """Answer every row of a file, with how likely each answer is to be wrong.

    Rows keep their order and their columns; added are predicted_label (entities, of words; predicted_labels, of many
    labels), uncertainty, error_probability (with a fitted head) and error, which says why a row could not be answered.
    A run that was killed goes on where it stopped. Blank lines are skipped in JSON Lines and in a CSV of several
    columns; NaN is null in JSON. From file to file another --dtype is compared with float32 on the first rows, which is
    said on stderr.
    """
    from ..batch.answers import Job, compare, run

    if engine == "local" and workers != 1:
        raise typer.BadParameter(f"--workers {workers} is for --engine ray; the local one uses all cores by itself.")
    job = Job(source, output, input_format, text_column, probabilities, prefix, max_characters)
    loading = partial(load, model, head, max_length, device, classification_module, task, prompt, dtype=dtype)
    if output != "-" and (Path(output).is_dir() or not Path(output).suffix):
        from ..batch.blocks import answer_blocks

        is_parquet = Path(source).is_dir() or Path(source).suffix == ".parquet"
        if not is_parquet or input_format not in (None, "parquet"):
            what = source if input_format is None else f"{source} as {input_format}"
            raise typer.BadParameter(f"output {output}: parts are of Parquet files; for {what} name a file to write.")
        options = {"task": task, "dtype": dtype, "length": max_length, "module": classification_module}
        made_of = {"model": model, "head": head, "prompt": prompt, **options}
        with progress_bar("rows", None) as progress:
            done, failed = answer_blocks(job, loading, made_of, engine=engine, workers=workers, progress=progress)
        typer.echo(f"{done} rows, {failed} of those answered now with an error", err=True)
        return
    if engine != "local":
        raise typer.BadParameter(f"--engine {engine} writes a folder of Parquet files: name one by --output.")
    try:
        _ = job.kind_in, job.kind_out
    except DataError as error:  # a matter of what was typed, not of what is in the files
        raise typer.BadParameter(str(error)) from error
    job.check()
    classifier = loading()
    if dtype not in (None, "float32") and source != "-":
        count, share, correlation = compare(classifier, loading(dtype="float32"), job)
        said = f"{share:.2%} of the answers differ, rank correlation of the uncertainty {correlation:.4f}"
        typer.echo(f"{dtype} against float32, on the first {count} rows: {said}", err=True)
    with progress_bar("rows", None) as progress:
        done, failed = run(classifier, job, progress)
    typer.echo(f"{done} rows, {failed} of them with an error", err=True)


def inspect(
    head: Annotated[str, typer.Argument(help="Path or hub id of a head.")],
    model: Annotated[str | None, typer.Argument(help="A model: does the head fit it?")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in a head and, given a model, whether it belongs to it."""
    from ..saved.hub import describe_head, resolve_head

    facts = describe_head(resolve_head(head))
    if model is not None:
        load(model, head, None, device, None)  # raises where it does not fit
        facts["fits"] = f"{model}: yes, it reproduces the stored probe"
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        text = "\n".join(f"    {line}" for line in value) if isinstance(value, list) else f"  {value}"
        print(f"{name}:{chr(10) if isinstance(value, list) else ''}{text}")


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything that the demo makes.")] = Path(
        "demo"
    ),
    texts: Annotated[int, typer.Option(help="Texts in all, of 20 Newsgroups.", min=400)] = 8000,
    seed: Seed = 0,
) -> None:
    """Train a classifier, fit a head, evaluate and report: 20 Newsgroups, MiniLM, about four minutes on two cores."""
    from ..demo import run_demo

    quiet_libraries()
    run_demo(output, texts, seed, progress_bar)


def show_version(wanted: bool) -> None:
    """The version, in place of a command."""
    if wanted:
        from importlib.metadata import version

        print(f"aligned-entropy {version('aligned-entropy')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """What is said in front of a command."""


for command in (train, fit, threshold, predict, serve, refit, export, evaluate, inspect, bench, report, demo):
    app.command()(command)
