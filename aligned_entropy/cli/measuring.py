"""Commands ``alien evaluate``, ``bench`` and ``report``: they measure how well scores find errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..batch.writing import check_output
from .loading import features, load
from .options import (
    DATA_HELP,
    AsJson,
    ColumnOptions,
    Engine,
    Head,
    ModelOptions,
    OptionGroup,
    with_option_groups,
)
from .terminal import progress_bar, quiet_libraries

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..evaluation.evaluation import Evaluation
    from ..evaluation.grouped import GroupedEvaluation


@dataclass(frozen=True)
class MoreData(OptionGroup):
    """Data that an evaluation uses in addition to the test data: names of data, or files of outputs."""

    panel: ClassVar[str] = "More data"

    train: Annotated[
        str | None, typer.Option(help="Training set of the classifier, for scores that are fitted on it.")
    ] = None
    calibration: Annotated[
        str | None,
        typer.Option(help="Calibration set of the head, for scores and calibration maps that are fitted on it."),
    ] = None
    ood: Annotated[
        str | None,
        typer.Option(help="Out-of-distribution texts, as DATA, with or without labels, to detect by each score."),
    ] = None


@dataclass(frozen=True)
class ResultFiles(OptionGroup):
    """Files that an evaluation is written to."""

    panel: ClassVar[str] = "Result files"

    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write metrics to this JSON file.")] = None
    csv: Annotated[Path | None, typer.Option(help="Write metrics to this CSV file.")] = None
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with curves to this HTML file; for token and multi-label classification it shows single "
            "predictions."
        ),
    ] = None

    def check(self) -> None:
        """Create the folder of the report, and check that all files can be written.

        Raises:
            DataError: a path is a folder, or its parent folder does not exist.
        """
        if self.report is not None:
            self.report.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.output, self.csv, self.report):
            if path is not None:
                check_output(path)

    def write(self, result: Evaluation | GroupedEvaluation, settings: Mapping[str, str]) -> None:
        """Write an evaluation to all files; the report shows the settings, and its title is their ``source``."""
        from ..report import write_report

        if self.output:
            self.output.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
        if self.csv:
            result.write_csv(self.csv)
        if self.report:
            write_report(self.report, settings["source"], result.single_predictions, settings, {})


@with_option_groups
def evaluate(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Trained classifier, as for fit.")] = None,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=f"Labeled data. {DATA_HELP}")] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="File of model outputs in place of MODEL and DATA: logits or probabilities, label, optionally hidden."
        ),
    ] = None,
    head: Head = None,
    scores: Annotated[
        str | None,
        typer.Option(help="Names of scores, separated by commas, or all; by default the baselines and the head."),
    ] = None,
    *,
    more_data: MoreData,
    resamples: Annotated[
        int, typer.Option(metavar="N", help="Number of bootstrap samples per interval.", min=10)
    ] = 1000,
    files: ResultFiles,
    options: ModelOptions,
    columns: ColumnOptions,
    as_json: AsJson = False,
) -> None:
    """Measure how well the head and other scores find the errors of a model.

    With --outputs no model is needed; --train, --calibration and --ood then also name files of outputs.
    """
    from ..scores import SCORES

    if (outputs is None) == (data is None) or (outputs is not None and (model or head)):
        raise typer.BadParameter("give MODEL and DATA, or --outputs FILE alone.")
    names = _score_names(scores, list(SCORES))
    files.check()
    if outputs is not None:
        result = _evaluate_outputs(outputs, more_data, names, resamples)
    else:
        classifier = load(str(model), head=head, options=options)
        result = _evaluate_model(classifier, str(data), more_data, names, resamples, columns)
    source = f"{model} on {data}" if model else str(outputs)
    files.write(result, {"source": source, "head": head or "–", "resamples": str(resamples)})
    print(json.dumps(result.to_dict()) if as_json else result)


def _evaluate_outputs(
    outputs: str, more_data: MoreData, names: Sequence[str] | None, resamples: int
) -> Evaluation | GroupedEvaluation:
    """Measure scores on files of model outputs."""
    from ..data import load_outputs
    from ..evaluation.evaluation import evaluate as evaluate_scores
    from ..evaluation.fitted_scores import default_scores, fit_scores
    from ..scores import HEAD

    quiet_libraries()
    test = load_outputs(outputs)
    training, calibration = (
        None if path is None else load_outputs(path) for path in (more_data.train, more_data.calibration)
    )
    names = names or [*default_scores(calibration), *([HEAD] if calibration else [])]
    fitted_scores, skipped = fit_scores(names, None, training, calibration)
    ood = None if more_data.ood is None else load_outputs(more_data.ood, labeled=False)
    return evaluate_scores(test, fitted_scores, skipped=skipped, resamples=resamples, ood=ood)


def _evaluate_model(
    classifier: UncertainClassifier,
    data: str,
    more_data: MoreData,
    names: Sequence[str] | None,
    resamples: int,
    columns: ColumnOptions,
) -> Evaluation | GroupedEvaluation:
    """Measure the head of a classifier and other scores on labeled data."""
    from ..scores import arrays_of

    extras = arrays_of(names or ())
    test = features(classifier, data, description="features", columns=columns, extras=extras)
    training = calibration = ood = None
    if more_data.calibration is not None:
        calibration = features(
            classifier, more_data.calibration, description="calibration", columns=columns, extras=extras
        )
    if more_data.train is not None:
        training = features(classifier, more_data.train, description="training features", columns=columns)
    if more_data.ood is not None:
        with progress_bar("out-of-distribution", None) as progress:
            ood = classifier.plain_features(more_data.ood, progress, extras=extras, text_column=columns.text_column)
    return classifier.evaluate_features(
        test, scores=names, train=training, calibration=calibration, ood=ood, resamples=resamples
    )


def _score_names(text: str | None, available: list[str]) -> list[str] | None:
    """Names of the scores of ``--scores``; None for the default.

    Raises:
        BadParameter: there is no score of a name.
    """
    if text is None or text.strip() == "all":
        return None if text is None else available
    by_name = {name.casefold(): name for name in available}
    requested = [name.strip().casefold() for name in text.split(",")]
    unknown = [name for name in requested if name not in by_name]
    if unknown:
        raise typer.BadParameter(f"no score {', '.join(unknown)}; there are {', '.join(available)}.")
    return [by_name[name] for name in requested]


def bench(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file with models, datasets and grid; see docs/benchmark.md.")
    ],
    engine: Annotated[
        Engine,
        typer.Option(
            metavar="ENGINE", help="Execution backend for the cells: local or ray; see docs/batch-prediction.md."
        ),
    ] = "local",
    workers: Annotated[
        int, typer.Option(metavar="N", help="Number of local processes, which share the cores of this machine.", min=1)
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the missing cells.")] = False,
) -> None:
    """Measure a grid of models, data sets, scores and seeds, with one result file per cell; finished cells are skipped.

    The file of a cell that fails holds its error, and the next run computes the cell again; the other cells are not
    affected.
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
            print(f"{cell.path}  {_cell_summary(result)}", flush=True)
    if failed:
        typer.echo(f"{failed} cells failed: run again to try them again", err=True)
        raise typer.Exit(1)


def _cell_summary(result: Mapping[str, Any]) -> str:
    """Error of a cell, the reason why it was skipped, or its ROC-AUC."""
    for kind in ("error", "skipped"):
        if kind in result:
            return f"{kind}: {result[kind]}"
    value = result["measures"]["roc_auc"]["value"]  # None if the model makes no error
    return f"ROC-AUC {'–' if value is None else f'{value:.4f}'}"


def report(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS",
            help="Folder with result files of alien bench, or the YAML file of a grid, for its cells.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file for the page.")] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this Markdown file.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the tables to this LaTeX file, for booktabs.")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Uncertainty benchmark",
) -> None:
    """Make one self-contained page of the results of a benchmark: tables, curves, settings."""
    from ..bench.grid import Grid
    from ..report import results_page as page
    from ..report.result_files import read_results

    is_grid = results.suffix in (".yaml", ".yml")
    cells = Grid.read(results).stored_results() if is_grid else read_results(results)
    for path, write in ((markdown, page.markdown), (latex, page.latex)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(cells), encoding="utf-8")
            print(f"saved: {path}")
    print(f"saved: {page.write_results(output, cells, title)}")
