"""The subcommands of ``alien``: options in, one call of the library, its answer printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import (
    DATA_HELP,
    AsJson,
    Data,
    Device,
    Head,
    LabelColumn,
    LabelMap,
    MaxLength,
    Model,
    Module,
    Prompt,
    Seed,
    Task,
    TextColumn,
    check_folder,
    check_output,
    features,
    load,
    positive,
    progress_bar,
    quiet_libraries,
)

app = typer.Typer(
    help="Know when a Hugging Face classifier is wrong. ALIEN_TRACEBACK=1 shows where an error came from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Pretrained model: path, hub id or embedded name (minilm, smollm2).")],
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained classifier.")],
    lora: Annotated[bool, typer.Option("--lora", help="Train LoRA adapters, not the whole model.")] = False,
    freeze: Annotated[bool, typer.Option("--freeze", help="Train only what comes after the encoder.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the texts [3; 20 with --freeze].", min=1)] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak [5e-5; LoRA 3e-4; --freeze 1e-3].", callback=positive)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Texts a step.", min=1)] = 32,
    max_length: Annotated[int, typer.Option(help="Tokens a text at most.", min=2)] = 128,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    seed: Seed = 0,
) -> None:
    """Train a classifier; words with tags make one of words. Leave the texts that the head is for out of DATA."""
    from ..data import is_multi_label, is_tagged, labeled_texts, load_data, multilabel_texts, tagged_texts
    from ..finetune import TrainConfig, train_classifier

    if lora and freeze:
        raise typer.BadParameter("--lora and --freeze exclude each other.")
    check_folder(output)
    quiet_libraries()
    dataset = load_data(data)
    tagged = is_tagged(dataset, text_column, label_column)
    read = tagged_texts if tagged else multilabel_texts if is_multi_label(dataset, label_column) else labeled_texts
    texts = read(dataset, text_column=text_column, label_column=label_column)
    mode: Literal["full", "lora", "freeze"] = "lora" if lora else "freeze" if freeze else "full"
    config = TrainConfig(mode, epochs, learning_rate, batch_size, max_length, seed)
    with progress_bar("features", len(texts) if freeze else None) as progress:
        train_classifier(model, texts, output, config, progress)
    print(f"trained on {len(texts)} texts of {len(texts.label_names)} classes: {output}")


@app.command()
def fit(
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the head.")],
    reference: Annotated[str | None, typer.Option(help="The classifier's training set, as DATA; optional.")] = None,
    preset: Annotated[Literal["default", "paper"], typer.Option(help="Best measured, or as published.")] = "default",
    max_length: MaxLength = None,
    device: Device = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    label_map: LabelMap = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit an uncertainty head on labelled texts that the classifier was not trained on."""
    from ..fit import FitConfig

    if preset == "paper" and reference is not None:
        raise typer.BadParameter("--preset paper takes no --reference: the published recipe has none.")
    check_folder(output)
    classifier = load(model, None, max_length, device, classification_module, task, prompt)
    columns = {"text_column": text_column, "label_column": label_column, "label_map": label_map}
    calibration = features(classifier, data, "calibration features", columns)
    known = None if reference is None else features(classifier, reference, "reference features", columns)
    config = classifier.config_class(seed=seed) if preset == "default" else FitConfig.paper(seed=seed)
    result = classifier.fit_features(calibration, reference=known, config=config)
    classifier.save_pretrained(output)
    if as_json:
        print(json.dumps(classifier.saved.fit))
    else:
        print(result.summary)
        print(f"saved: {output}")


@app.command()
def predict(
    model: Model,
    source: Annotated[str, typer.Argument(help="JSON Lines, CSV, TSV, Parquet or .txt file, or - for stdin.")] = "-",
    head: Head = None,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File, its ending says the format; - for stdout, as the input or JSON Lines."
        ),
    ] = "-",
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
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
) -> None:
    """Answer every row of a file, with how likely each answer is to be wrong.

    Rows keep their order and their columns; added are predicted_label (entities, of words; predicted_labels, of many
    labels), uncertainty, error_probability (with a fitted head) and error, which says why a row could not be answered.
    A run that was killed goes on where it stopped. Blank lines are skipped in JSON Lines and in a CSV of several
    columns; NaN is null in JSON.
    """
    from .predict import Job, run

    job = Job(source, output, input_format, text_column, probabilities, prefix, max_characters)
    job.check()
    classifier = load(model, head, max_length, device, classification_module, task, prompt)
    with progress_bar("rows", None) as progress:
        done, failed = run(classifier, job, progress)
    typer.echo(f"{done} rows, {failed} of them with an error", err=True)


@app.command()
def evaluate(
    model: Annotated[str | None, typer.Argument(help="A trained sequence classifier, as for fit.")] = None,
    data: Annotated[str | None, typer.Argument(help=f"Labelled texts. {DATA_HELP}")] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="In place of MODEL and DATA: a file with logits or probabilities, label and maybe hidden."),
    ] = None,
    head: Head = None,
    scores: Annotated[
        str | None, typer.Option(help="all, or names with commas between them [the simple ones and the head].")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="The classifier's training set, for scores that are fitted on it.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="The head's calibration set, for scores and calibration maps fitted on it.")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap samples of every interval.", min=10)] = 1000,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write metrics to this JSON file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write metrics to this CSV file.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with curves to this HTML file; of words and many labels it shows single answers."
        ),
    ] = None,
    max_length: MaxLength = None,
    device: Device = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    label_map: LabelMap = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well the head finds the model's errors, next to other scores.

    With --outputs no model is needed; --train and --calibration then name files of the same kind.
    """
    from ..data import load_outputs
    from ..evaluation import HEAD, default_scores, fit_scores
    from ..evaluation import evaluate as measure
    from ..report import write_report
    from ..scores import SCORES, arrays_of

    if (outputs is None) == (data is None) or (outputs is not None and (model or head)):
        raise typer.BadParameter("give MODEL and DATA, or --outputs FILE alone.")
    names = _score_names(scores, list(SCORES))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
    for path in (output, csv, report):
        if path is not None:
            check_output(path)
    if outputs is not None:
        quiet_libraries()
        test = load_outputs(outputs)
        known, held_out = (None if path is None else load_outputs(path) for path in (train, calibration))
        chosen = names or [*default_scores(held_out), *([HEAD] if held_out else [])]
        contenders, skipped = fit_scores(chosen, None, known, held_out)
        result = measure(test, contenders, skipped=skipped, resamples=resamples)
    else:
        classifier = load(str(model), head, max_length, device, classification_module, task, prompt)
        columns = {"text_column": text_column, "label_column": label_column, "label_map": label_map}
        extras = arrays_of(names or ())
        test = features(classifier, str(data), "features", columns, extras)
        held_out = None if calibration is None else features(classifier, calibration, "calibration", columns, extras)
        known = None if train is None else features(classifier, train, "training features", columns)
        result = classifier.evaluate_features(
            test, scores=names, train=known, calibration=held_out, resamples=resamples
        )
    if output:
        output.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
    if csv:
        result.write_csv(csv)
    if report:
        source = f"{model} on {data}" if model else str(outputs)
        settings = {"source": source, "head": head or "–", "resamples": str(resamples)}
        write_report(report, source, getattr(result, "answers", result), settings, {})
    print(json.dumps(result.to_dict()) if as_json else result)


def _score_names(text: str | None, known: list[str]) -> list[str] | None:
    if text is None or text.strip() == "all":
        return None if text is None else known
    by_name = {name.casefold(): name for name in known}
    asked = [name.strip().casefold() for name in text.split(",")]
    unknown = [name for name in asked if name not in by_name]
    if unknown:
        raise typer.BadParameter(f"no score {', '.join(unknown)}; there are {', '.join(known)}.")
    return [by_name[name] for name in asked]


@app.command()
def inspect(
    head: Annotated[str, typer.Argument(help="Path or hub id of a head.")],
    model: Annotated[str | None, typer.Argument(help="A model: does the head fit it?")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in a head and, given a model, whether it belongs to it."""
    from ..hub import describe_head, resolve_head

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


@app.command()
def bench(
    config: Annotated[Path, typer.Argument(help="YAML file: models, datasets, grid; see docs/benchmark.md.")],
    engine: Annotated[Literal["local"], typer.Option(help="Where cells are computed.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes; the cores are shared out.", min=1)] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
) -> None:
    """Measure a grid of models, data sets, scores and seeds, one result file a cell; what is there is not done again.

    A cell that fails is noted in its file and tried again by the next run; the others go on.
    """
    quiet_libraries()
    from ..bench.grid import Grid

    grid = Grid.read(config)
    missing = grid.missing()
    print(f"{len(grid.cells)} cells, {len(missing)} to compute, results in {grid.results}", flush=True)
    if dry_run:
        for cell in missing:
            print(cell.path)
        return
    failed = 0
    with progress_bar("cells", len(missing)) as progress:
        for cell, result in grid.run(workers):
            progress(1)
            failed += "error" in result
            said = next((f"{kind}: {result[kind]}" for kind in ("error", "skipped") if kind in result), None)
            if said is None:
                found = result["measures"]["roc_auc"]["value"]  # None where the model makes no error
                said = f"ROC-AUC {'–' if found is None else f'{found:.4f}'}"
            print(f"{cell.path}  {said}", flush=True)
    if failed:
        typer.echo(f"{failed} cells failed: run again to try them again", err=True)
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[
        Path,
        typer.Argument(help="Folder of result files, as alien bench writes them; or a grid's YAML file: its cells."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this Markdown file.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the tables to this LaTeX file, for booktabs.")] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Uncertainty benchmark",
) -> None:
    """Make one self-contained page of the results of a benchmark: tables, curves, settings."""
    from ..bench.grid import Grid
    from ..report import results as page
    from ..report.summary import read_results

    found = Grid.read(results).results_found() if results.suffix in (".yaml", ".yml") else read_results(results)
    for path, write in ((markdown, page.markdown), (latex, page.latex)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(found), encoding="utf-8")
            print(f"saved: {path}")
    print(f"saved: {page.write_results(output, found, title)}")


@app.command()
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
