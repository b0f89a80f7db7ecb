"""Command ``alien predict``: predictions for the rows of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..display.wording import counted
from ..errors import DataError
from .elsewhere_options import ElsewhereOptions
from .loading import load, note_requests
from .options import (
    ColumnOptions,
    Delimiter,
    Encoding,
    Engine,
    Head,
    ModelOptions,
    OptionalModel,
    OptionGroup,
    TextColumn,
    TextPairColumn,
    of_head,
    with_option_groups,
)
from .review_options import SourceOptions
from .terminal import new_file, next_step, note, option_words, progress_bar

if TYPE_CHECKING:
    from ..batch.counts import RowCounts
    from ..batch.job import PredictionJob
    from ..classifier import UncertainClassifier


@dataclass(frozen=True)
class RowOptions(OptionGroup):
    """Options that decide how rows are read and written; the fields are those of ``PredictionJob``."""

    input_format: Annotated[
        Literal["jsonl", "csv", "tsv", "parquet", "txt", "conll"] | None,
        typer.Option(
            metavar="FORMAT",
            help="Format of the input, if its file ending does not name it: jsonl, csv, tsv, parquet, txt or conll.",
        ),
    ] = None
    text_column: TextColumn = None
    text_pair_column: TextPairColumn = None
    delimiter: Delimiter = None
    encoding: Encoding = None
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add a column for every class.")] = False
    prefix: Annotated[str, typer.Option(help="Prefix for the added columns.")] = ""
    max_characters: Annotated[
        int,
        typer.Option(
            metavar="N", help="Maximum number of characters per text; a longer text has no prediction.", min=1
        ),
    ] = 100_000
    truncated: Annotated[
        bool, typer.Option("--truncated", help="Add a column that is true where the model did not read all of a text.")
    ] = False
    safe_csv: Annotated[
        bool,
        typer.Option(
            "--safe-csv", help="Put an apostrophe before texts that a spreadsheet would run as formulas (CSV and TSV)."
        ),
    ] = False


@with_option_groups
def predict(
    model: OptionalModel = None,
    source: Annotated[
        str | None,
        typer.Argument(
            help="JSON, JSON Lines, CSV, TSV, Parquet, CoNLL or .txt file; folder of Parquet files; - for stdin, the "
            "default."
        ),
    ] = None,
    *,
    outputs: ElsewhereOptions,
    head: Head = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Output file, in the format of its ending (.jsonl, .csv, .tsv, also with .gz, or .parquet); - for "
            "stdout, as CSV, TSV (like the input) or JSON Lines; or a folder, for predictions as Parquet files.",
        ),
    ] = "-",
    engine: Annotated[
        Engine,
        typer.Option(
            metavar="ENGINE", help="Execution backend for folder output: local or ray; see docs/batch-prediction.md."
        ),
    ] = "local",
    workers: Annotated[int, typer.Option(metavar="N", help="Number of Ray actors; each loads the model.", min=1)] = 1,
    rows: RowOptions,
    options: ModelOptions,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counts as JSON; on stderr if the predictions go to stdout.")
    ] = False,
) -> None:
    """Predict every row of a file, with the probability that the prediction is wrong.

    Rows keep their order and their columns. The added columns are the prediction (predicted_label; predicted_labels
    for multi-label models; entities for token classification), uncertainty, error_probability (with a fitted head),
    accepted (with a threshold), label_set (with sets of classes) and row_error, the reason why a row has no prediction.
    A killed run continues where it stopped. Blank lines are skipped in JSON Lines and in CSV files of several columns;
    NaN becomes null in JSON. For an input file, another --dtype is compared with float32 on the first rows, and the
    result is printed on stderr. The exit code is 1 if no row has a prediction. With --outputs FILE, every row has
    outputs of a model in place of a text, and no model is needed.
    """
    from ..batch.job import PredictionJob

    if engine == "local" and workers != 1:
        raise typer.BadParameter(f"--workers {workers} is for --engine ray; the local engine uses all cores.")
    model, source = outputs.source(model, source, options, default="-")
    job = PredictionJob(source, output, **vars(rows))
    loading = partial(load, model, head=head, options=options, outputs=outputs)
    counts = _predict(job, loading, _made_of(model, head, options, outputs), options, engine, workers)
    if as_json:
        typer.echo(json.dumps(counts.to_dict()), err=output == "-")
    else:
        note("\n".join(_summary(counts, rows.prefix)))
        texts = None if outputs.outputs is not None or output == "-" else output
        _print_next_step(counts, partial(outputs.words_beside, model, source), head, options, rows, texts)
    if counts.rows and not counts.predicted:
        raise DataError(_no_prediction(counts, is_guessed=source == "-" and rows.input_format is None))


def _summary(counts: RowCounts, prefix: str) -> Iterator[str]:
    """Sentences about the rows of a finished job."""
    unreadable = f"; {counts.unreadable:,} unreadable, see the column {prefix}row_error" if counts.unreadable else ""
    yield f"{counts.predicted:,} of {counts.rows:,} rows predicted{unreadable}"
    if counts.unreadable:
        yield f"the first reason: {counts.first_reason}"
    if counts.has_threshold:
        unit = "predictions" if counts.entities is None else "entities"
        yield f"{counted(counts.accepted, unit)} accepted, {counts.deferred:,} for review"
    if counts.expected_error_rate is not None:
        is_per_word = counts.entities is not None
        wrong = "texts are expected to have a wrong tag" if is_per_word else "predictions are expected to be wrong"
        yield f"{100 * counts.expected_error_rate:.1f}% of the {wrong}"
    if counts.truncated:
        yield f"truncated texts, of which the model did not read all: {counts.truncated:,}"
    yield from _accuracy(counts)


def _accuracy(counts: RowCounts) -> Iterator[str]:
    """Lines with the estimated accuracy, and the reasons why it must not be believed."""
    unit = "predictions" if counts.entities is None else "entities"
    estimates = [
        (counts.estimated_accuracy, unit, ""),
        (counts.estimated_sentence_accuracy, "texts", ", by all of their tags"),
    ]
    reasons: dict[str, None] = {}
    for estimate, name, judged_by in estimates:
        if estimate is not None:
            yield estimate.line(name, judged_by)
            reasons |= dict.fromkeys(estimate.reasons)
    yield from (f"do not rely on this estimate. {reason}" for reason in reasons)
    if not reasons and any(estimate is not None and estimate.accepted is not None for estimate, *_ in estimates):
        yield "an estimate without labels does not replace the bound of the threshold: it may lie on either side of it"


def _no_prediction(counts: RowCounts, is_guessed: bool) -> str:
    """Message for a job in which no row has a prediction; the format may have been guessed."""
    remedy = ". Stdin was read as JSON Lines: name another format with --input-format" if is_guessed else ""
    return f"none of the {counts.rows:,} rows has a prediction; the first reason: {counts.first_reason}{remedy}"


def _print_next_step(
    counts: RowCounts,
    words_of: Callable[[str], list[str]],
    head: str | None,
    options: ModelOptions,
    rows: RowOptions,
    texts: str | None,
) -> None:
    """Print the command that adds a column that the predictions lack, or that gives deferred texts to people.

    Args:
        counts: counts of the rows.
        words_of: function that gives the words of a command up to the file of a part.
        head: folder of the head; None without one.
        options: options of the model.
        rows: options of the rows.
        texts: file of predictions with their texts; None if there is none.
    """
    columns = ColumnOptions(rows.text_column, rows.text_pair_column)
    if head is None:
        next_step("fit", *words_of("held-out"), "-o", "head", *option_words(options, columns))
    elif counts.undecided:
        words = option_words(of_head(options), columns)
        next_step("threshold", *words_of("more-held-out"), "--head", head, "--risk", "0.1", *words)
    elif counts.deferred and texts is not None:
        written = SourceOptions(rows.prefix, rows.safe_csv or None, rows.text_column, rows.text_pair_column)
        ending = "csv" if counts.entities is None else "json"
        review, sample = (new_file(f"{name}.{ending}") for name in ("review", "to-label"))
        note("Let people decide on the deferred predictions, or measure the accuracy of all with a few labels:")
        next_step("review", "export", texts, "--head", head, "-o", review, *option_words(written))
        next_step("audit", "select", texts, "--head", head, "-o", sample, *option_words(written))


def _predict(
    job: PredictionJob,
    loading: Callable[..., UncertainClassifier],
    made_of: Mapping[str, object],
    options: ModelOptions,
    engine: Engine,
    workers: int,
) -> RowCounts:
    """Predict into a file, to stdout, or into a folder."""
    if made_of["model"] is None and job.truncated:
        subject = "an endpoint does" if "endpoint" in made_of else "outputs do"
        raise typer.BadParameter(f"--truncated: {subject} not tell if the model read all of a text; leave it out.")
    path = Path(job.output)
    if job.output != "-" and (path.is_dir() or not (path.suffix or path.exists())):
        return _predict_folder(job, loading, made_of, engine, workers)
    if engine != "local":
        raise typer.BadParameter(f"--engine {engine} writes a folder of Parquet files: name a folder with --output.")
    return _predict_file(job, loading, options)


def _made_of(
    model: str | None, head: str | None, options: ModelOptions, outputs: ElsewhereOptions
) -> dict[str, object]:
    """Settings that decide the predictions, whose names are stored in the output folder."""
    settings: dict[str, object] = {
        "model": model,
        "head": head,
        "prompt": options.prompt,
        "task": options.task,
        "dtype": options.dtype,
        "length": options.max_length,
        "module": options.classification_module,
    }
    if outputs.endpoint is not None:
        settings |= {"endpoint": outputs.endpoint, "name": outputs.model_name, "body": outputs.extra_body}
    elif model is None:
        settings |= {"labels": outputs.label_names}
    return settings if outputs.field is None else settings | {"field": outputs.field}


def _predict_folder(
    job: PredictionJob,
    loading: Callable[[], UncertainClassifier],
    made_of: Mapping[str, object],
    engine: Engine,
    workers: int,
) -> RowCounts:
    """Predict Parquet files into a folder."""
    from ..batch.blocks import predict_blocks

    is_parquet = Path(job.source).is_dir() or Path(job.source).suffix == ".parquet"
    if not is_parquet or job.input_format not in (None, "parquet"):
        source = job.source if job.input_format is None else f"{job.source} as {job.input_format}"
        raise typer.BadParameter(
            f"output {job.output}: a folder is written for Parquet files only; for {source} name an output file."
        )
    if job.safe_csv:
        raise typer.BadParameter(f"--safe-csv is for CSV and TSV files, not for the folder {job.output}: leave it out.")
    with progress_bar("rows", None) as progress:
        return predict_blocks(job, loading, made_of, engine=engine, workers=workers, progress=progress)


def _predict_file(job: PredictionJob, loading: Callable[..., UncertainClassifier], options: ModelOptions) -> RowCounts:
    """Predict a file, or stdin, into a file or to stdout."""
    from ..batch.predict import compare_predictions, predict_file

    try:
        _, output_format = job.source_format, job.output_format
    except DataError as error:  # a wrong name is wrong usage, unlike wrong content of a file
        raise typer.BadParameter(str(error)) from error
    if job.safe_csv and output_format not in ("csv", "tsv"):
        raise typer.BadParameter(f"--safe-csv is for CSV and TSV files, not for {job.output}: leave it out.")
    job.check([options.prompt])
    if job.source != "-":
        with job.open_source():  # raises if the file or its header cannot be read, before a model is loaded
            pass
    classifier = loading()
    if options.dtype not in (None, "float32") and job.source != "-":
        float32 = loading(options=replace(options, dtype="float32"))
        difference = compare_predictions(classifier, float32, job)
        typer.echo(
            f"{options.dtype} against float32, on the first {difference.texts} rows: {difference.changed:.2%} of the "
            f"predictions differ, rank correlation of the uncertainty {difference.correlation:.4f}",
            err=True,
        )
    with progress_bar("rows", None) as progress:
        counts = predict_file(classifier, job, progress)
    note_requests(classifier)
    return counts
