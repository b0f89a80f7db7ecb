"""Options of ``alien evaluate`` that name files for its results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..batch.writing import check_outputs, make_folder_of
from .checks import check_page_name
from .options import OptionGroup

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..data import LabeledTexts, LabeledTokens
    from ..evaluation.evaluation import Evaluation
    from ..evaluation.grouped import GroupedEvaluation
    from ..features.arrays import Features
    from ..report import Rows


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
            "predictions. It contains texts, see --report-texts."
        ),
    ] = None
    report_texts: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of texts in each list of the report; with 0 it contains no text, for data that its readers "
            "may not see.",
            min=0,
        ),
    ] = 10

    def check(self, inputs: Sequence[str | Path | None]) -> None:
        """Create the folder of the report, and check that all files can be written and replace no input.

        Raises:
            BadParameter: the report has another ending than that of HTML.
            DataError: a path is a folder, an input or another result file, its parent folder does not exist, or it
                cannot be written.
        """
        if self.report is not None:
            check_page_name(self.report)
            make_folder_of(self.report)
        check_outputs(self.paths, inputs)

    @property
    def paths(self) -> list[Path]:
        """Paths of the files that were asked for."""
        return [file for file in (self.output, self.csv, self.report) if file is not None]

    def rows(
        self, classifier: UncertainClassifier, test: Features, labeled: LabeledTexts | LabeledTokens | None
    ) -> Rows | None:
        """Predictions behind an evaluation, for the report; None without a report."""
        from ..report import rows_of

        return None if self.report is None else rows_of(classifier, test, labeled)

    def write(self, result: Evaluation | GroupedEvaluation, settings: Mapping[str, str], rows: Rows | None) -> None:
        """Write an evaluation to all files; the report shows the settings, and its title is their ``source``."""
        from ..report import write_report

        if self.output:
            self.output.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
        if self.csv:
            result.write_csv(self.csv)
        if self.report:
            write_report(self.report, settings["source"], result.single_predictions, settings, rows, self.report_texts)
