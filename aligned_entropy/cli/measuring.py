"""`alien evaluate`, `bench` and `report`: how well scores find errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..batch.rows import check_output
from .options import (
    DATA_HELP,
    AsJson,
    Device,
    Dtype,
    Head,
    LabelColumn,
    LabelMap,
    MaxLength,
    Module,
    Prompt,
    Task,
    TextColumn,
    features,
    load,
    progress_bar,
    quiet_libraries,
)


def evaluate(
    model: Annotated[str | None, typer.Argument(help="A trained sequence classifier, as for fit.")] = None,
    data: Annotated[str | None, typer.Argument(help=f"Labeled texts. {DATA_HELP}")] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="In place of MODEL and DATA: a file with logits or probabilities, label and maybe hidden."),
    ] = None,
    head: Head = None,
    scores: Annotated[
        str | None,
        typer.Option(help="all, or names with commas between; the simple ones and the head by default."),
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="The classifier's training set, for scores that are fitted on it.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="The head's calibration set, for scores and calibration maps fitted on it.")
    ] = None,
    ood: Annotated[
        str | None, typer.Option(help="Texts of another kind, as DATA, labels or not: do scores tell them apart?")
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
    dtype: Dtype = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    label_map: LabelMap = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well the head finds the model's errors, next to other scores.

    With --outputs no model is needed; --train, --calibration and --ood then name files of the same kind.
    """
    from ..data import load_outputs
    from ..evaluation.evaluation import evaluate as measure
    from ..evaluation.fitted_scores import default_scores, fit_scores
    from ..report import write_report
    from ..scores import HEAD, SCORES, arrays_of

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
        fitted_scores, skipped = fit_scores(chosen, None, known, held_out)
        other = None if ood is None else load_outputs(ood, labeled=False)
        result = measure(test, fitted_scores, skipped=skipped, resamples=resamples, ood=other)
    else:
        classifier = load(str(model), head, max_length, device, classification_module, task, prompt, dtype)
        columns = {"text_column": text_column, "label_column": label_column, "label_map": label_map}
        extras = arrays_of(names or ())
        test = features(classifier, str(data), "features", columns, extras)
        held_out = None if calibration is None else features(classifier, calibration, "calibration", columns, extras)
        known = None if train is None else features(classifier, train, "training features", columns)
        other = None
        if ood is not None:
            with progress_bar("out-of-distribution", None) as progress:
                other = classifier.plain_features(ood, progress, extras=extras, text_column=text_column)
        result = classifier.evaluate_features(
            test, scores=names, train=known, calibration=held_out, ood=other, resamples=resamples
        )
    if output:
        output.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
    if csv:
        result.write_csv(csv)
    if report:
        source = f"{model} on {data}" if model else str(outputs)
        settings = {"source": source, "head": head or "–", "resamples": str(resamples)}
        write_report(report, source, result.single_predictions, settings, {})
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


def bench(
    config: Annotated[Path, typer.Argument(help="YAML file: models, datasets, grid; see docs/benchmark.md.")],
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where cells are computed: docs/cluster.md.")
    ] = "local",
    workers: Annotated[int, typer.Option(help="Processes; the cores of this machine are shared out.", min=1)] = 1,
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
        for cell, result in grid.run(workers, engine):
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
    from ..report import results_page as page
    from ..report.result_files import read_results

    found = Grid.read(results).results_found() if results.suffix in (".yaml", ".yml") else read_results(results)
    for path, write in ((markdown, page.markdown), (latex, page.latex)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(found), encoding="utf-8")
            print(f"saved: {path}")
    print(f"saved: {page.write_results(output, found, title)}")
