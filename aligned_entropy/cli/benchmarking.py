"""Commands ``alien bench`` and ``report``: grids of measurements, and the page of their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..batch.writing import check_outputs, make_folder_of
from .checks import check_page_name
from .options import Engine
from .terminal import note, progress_bar


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
    """Measure a grid of models, data sets, scores and seeds, with one file a study; finished cells are skipped.

    The result of a cell that fails is its error, and the next run computes the cell again; the other cells are not
    affected.
    """
    from ..bench.grid import Grid

    grid = Grid.read(config)
    missing = grid.missing()
    print(f"{len(grid.cells)} cells, {len(missing)} to compute, results in {grid.results}", flush=True)
    if dry_run:
        for cell in missing:
            print(cell.name)
        return
    failed: dict[tuple[str, str, str], list[str]] = {}  # names of cells by model, data set and error
    with progress_bar("cells", len(missing)) as progress:
        for cell, result in grid.run(workers, engine, note):
            progress(1)
            if "error" in result:
                alike = failed.setdefault((cell.model.name, cell.data.name, result["error"]), [])
                alike.append(cell.name)
                if len(alike) > 1:  # a training that fails, fails every score
                    continue
            print(f"{cell.name}  {_cell_summary(result)}", flush=True)
    for first, *others in failed.values():
        if others:
            print(f"{len(others)} more cells failed with the error of {first}")
    if failed:
        typer.echo(f"{sum(map(len, failed.values()))} cells failed: run again to try them again", err=True)
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
        list[Path],
        typer.Argument(
            metavar="RESULTS…",
            help="Folders with results of alien bench, or YAML files of grids, for their cells; several form one page.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file for the page.")] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this Markdown file.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the tables to this LaTeX file, for booktabs.")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Uncertainty benchmark",
) -> None:
    """Make one self-contained page of the results of a benchmark: tables, curves, settings."""
    from ..bench.grid import Grid
    from ..bench.results import read_results
    from ..report import results_page as page
    from ..report.result_files import partly_measured

    grids = {path: Grid.read(path) for path in results if path.suffix in (".yaml", ".yml")}
    check_page_name(output)
    outputs = [file for file in (output, markdown, latex) if file is not None]
    for file in outputs:
        make_folder_of(file)
    check_outputs(outputs, [*results, *(grid.results for grid in grids.values())])
    stored = [grids[path].stored_results() if path in grids else read_results(path) for path in results]
    cells = list({cell["key"]: cell for part in stored for cell in part}.values())  # a cell may be in several grids
    partly = partly_measured(cells)
    if partly:
        note(
            f"warning: {'; '.join(partly)}: not every score has a result with every seed, as it could not be fitted "
            "or its cell was not computed, so all scores are compared on the seeds that they share."
        )
    for path, write in ((markdown, page.markdown), (latex, page.latex)):
        if path is not None:
            path.write_text(write(cells), encoding="utf-8")
            print(f"saved: {path}")
    print(f"saved: {page.write_results(output, cells, title)}")
