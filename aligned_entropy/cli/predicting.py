"""Command ``alien predict``: predictions for the rows of a file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import DataError
from .loading import load
from .options import Engine, Head, Model, ModelOptions, TextColumn, with_option_groups
from .terminal import progress_bar

if TYPE_CHECKING:
    from ..batch.job import PredictionJob


@with_option_groups
def predict(
    model: Model,
    source: Annotated[
        str, typer.Argument(help="JSON Lines, CSV, TSV, Parquet or .txt file; folder of Parquet files; - for stdin.")
    ] = "-",
    head: Head = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Output file, in the format of its ending; - for stdout, as CSV, TSV (like the input) or JSON Lines; "
            "or a folder, for predictions as several Parquet files.",
        ),
    ] = "-",
    engine: Annotated[
        Engine, typer.Option(help="Execution backend for folder output; see docs/batch-prediction.md.")
    ] = "local",
    workers: Annotated[int, typer.Option(help="Number of Ray actors; each loads the model.", min=1)] = 1,
    input_format: Annotated[
        Literal["jsonl", "csv", "tsv", "parquet", "txt"] | None,
        typer.Option(help="Format of the input, if its file ending does not name it."),
    ] = None,
    text_column: TextColumn = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add a column for every class.")] = False,
    prefix: Annotated[str, typer.Option(help="Prefix for the added columns.")] = "",
    max_characters: Annotated[
        int, typer.Option(help="Maximum number of characters per text; a longer text gets an error.", min=1)
    ] = 100_000,
    *,
    options: ModelOptions,
) -> None:
    """Predict every row of a file, with the probability that the prediction is wrong.

    Rows keep their order and their columns. The added columns are the prediction (predicted_label; predicted_labels
    for multi-label models; entities for token classification), uncertainty, error_probability (with a fitted head),
    accepted (with a threshold) and error, the reason why a row has no prediction. A killed run continues where it
    stopped. Blank lines are skipped in JSON Lines and in CSV files of several columns; NaN becomes null in JSON. For an
    input file, another --dtype is compared with float32 on the first rows, and the result is printed on stderr.
    """
    from ..batch.job import PredictionJob

    if engine == "local" and workers != 1:
        raise typer.BadParameter(f"--workers {workers} is for --engine ray; the local engine uses all cores.")
    job = PredictionJob(source, output, input_format, text_column, probabilities, prefix, max_characters)
    if output != "-" and (Path(output).is_dir() or not Path(output).suffix):
        _predict_folder(job, model, head, options, engine, workers)
    elif engine != "local":
        raise typer.BadParameter(f"--engine {engine} writes a folder of Parquet files: name a folder with --output.")
    else:
        _predict_file(job, model, head, options)


def _predict_folder(
    job: PredictionJob, model: str, head: str | None, options: ModelOptions, engine: Engine, workers: int
) -> None:
    """Predict Parquet files into a folder."""
    from ..batch.blocks import predict_blocks

    is_parquet = Path(job.source).is_dir() or Path(job.source).suffix == ".parquet"
    if not is_parquet or job.input_format not in (None, "parquet"):
        source = job.source if job.input_format is None else f"{job.source} as {job.input_format}"
        raise typer.BadParameter(
            f"output {job.output}: a folder is written for Parquet files only; for {source} name an output file."
        )
    made_of = {  # the names of these settings are stored in the output folder
        "model": model,
        "head": head,
        "prompt": options.prompt,
        "task": options.task,
        "dtype": options.dtype,
        "length": options.max_length,
        "module": options.classification_module,
    }
    loading = partial(load, model, head=head, options=options)
    with progress_bar("rows", None) as progress:
        counts = predict_blocks(job, loading, made_of, engine=engine, workers=workers, progress=progress)
    typer.echo(f"{counts.rows} rows; {counts.failed} of those predicted in this run with an error", err=True)


def _predict_file(job: PredictionJob, model: str, head: str | None, options: ModelOptions) -> None:
    """Predict a file, or stdin, into a file or to stdout."""
    from ..batch.predict import compare_predictions, predict_file

    try:
        _ = job.source_format, job.output_format
    except DataError as error:  # a wrong name is wrong usage, unlike wrong content of a file
        raise typer.BadParameter(str(error)) from error
    job.check()
    classifier = load(model, head=head, options=options)
    if options.dtype not in (None, "float32") and job.source != "-":
        float32 = load(model, head=head, options=replace(options, dtype="float32"))
        difference = compare_predictions(classifier, float32, job)
        typer.echo(
            f"{options.dtype} against float32, on the first {difference.texts} rows: {difference.changed:.2%} of the "
            f"predictions differ, rank correlation of the uncertainty {difference.correlation:.4f}",
            err=True,
        )
    with progress_bar("rows", None) as progress:
        counts = predict_file(classifier, job, progress)
    typer.echo(f"{counts.rows} rows, {counts.failed} of them with an error", err=True)
