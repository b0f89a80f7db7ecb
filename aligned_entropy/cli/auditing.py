"""Commands ``alien audit select`` and ``report``: the accuracy of predictions from a few labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..accuracy.audit import RANDOM_SHARE
from ..accuracy.display import percent
from ..display.hints import missing_file
from ..display.text_tables import text_table, wrapped
from .checks import check_export
from .options import AsJson, Delimiter, Encoding, Replace, Seed, with_option_groups
from .review_options import (
    ExportedSourceOptions,
    Format,
    HeadWithNames,
    LabelNames,
    SourceOptions,
    class_names,
    file_format,
    words_of_names,
)
from .terminal import next_step, note, option_words

if TYPE_CHECKING:
    from ..accuracy.audited import AuditReport
    from ..review.audits import Audit
    from ..review.predictions import PredictedRows

MOST_CLASSES = 30  # classes in the table of a report; --json has all
PredictionsFile = Annotated[
    str,
    typer.Argument(
        metavar="PREDICTIONS",
        help="Output of alien predict with a fitted head: CSV, TSV, JSON Lines or Parquet file, or a folder.",
    ),
]


@with_option_groups
def select_audit(
    predictions: PredictionsFile,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, for people to label.")],
    force: Replace = False,
    budget: Annotated[int, typer.Option(metavar="N", help="Number of rows to label.", min=2)] = 300,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Stratify by predicted class, so that rare classes have labels, too.")
    ] = False,
    random_share: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of the budget that is spread evenly over all rows.", min=0.01, max=1),
    ] = RANDOM_SHARE,
    form: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="Format: csv, label-studio or argilla; csv for .csv."),
    ] = None,
    head: HeadWithNames = None,
    label_names: LabelNames = None,
    columns: ExportedSourceOptions,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw the rows whose labels tell most about the accuracy of all predictions.

    Label every row of the file that is written: the true class in the column label, or yes or no in the column
    is_correct. Then run alien audit report. The column label also serves alien review import and refit; see
    docs/audit.md.
    """
    from ..review.audits import IS_CORRECT, Audit
    from ..review.csv_file import CsvFile
    from ..review.formats import FORMATS
    from ..review.rows import Question

    name = file_format(form, output)
    files = FORMATS[name].files(output)
    check_export(files, predictions, force)
    columns.check_keep(name, predictions)
    source = columns.read(predictions)
    audit = Audit(source, budget, per_class, random_share, seed)
    sample = audit.sample
    question, rows = Question(source.task, _names(source, head, label_names)), audit.rows(sample)
    if name == "csv":
        CsvFile().write(rows, question, output, more=[IS_CORRECT])
    else:
        FORMATS[name].write(rows, question, output)
    facts = {"rows": len(rows), "of": len(source.rows), "unreadable": source.unreadable}
    if as_json:
        print(json.dumps(facts | {"files": list(map(str, files))}))
        return
    print(f"{len(rows):,} of {len(source.rows):,} predictions drawn: {', '.join(map(str, files))}")
    _note_unreadable(source)
    if len(rows) < budget:
        note(f"--budget {budget}: there are no more predictions")
    note("Label every row of the file first.")
    names = ["--head", head] if head else ["--label-names", label_names] if label_names else []
    next_step("audit", "report", predictions, output, *names, *option_words(replace(columns, keep=None)))


@with_option_groups
def report_audit(
    predictions: PredictionsFile,
    labeled: Annotated[
        Path, typer.Argument(help="File of alien audit select after labeling, or what the labeling tool has exported.")
    ],
    *,
    head: HeadWithNames = None,
    label_names: LabelNames = None,
    columns: SourceOptions,
    labeled_delimiter: Delimiter = None,
    labeled_encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Show the accuracy of all predictions, with intervals, from the labels of an audit.

    The accuracy is unbiased whatever the head is worth: the error probabilities only decide how wide the intervals are.
    PREDICTIONS must be the file that alien audit select read. A row without a label is refused.
    """
    from ..review.audits import Audit
    from ..review.formats import format_of_export

    if not labeled.is_file():
        raise typer.BadParameter(missing_file(labeled))
    source = columns.read(predictions)
    names = _names(source, head, label_names)
    reviewed = format_of_export(labeled).read(labeled, names, delimiter=labeled_delimiter, encoding=labeled_encoding)
    audit = Audit.of_rows(source, reviewed)
    report = audit.report(reviewed, names)
    if as_json:
        print(json.dumps(report.to_dict() | {"unreadable": source.unreadable}))
        return
    print("\n".join(_lines(report, audit)))
    _note_unreadable(source)
    if any(row.annotations for row in reviewed):  # where people wrote yes or no alone, there are no labels to import
        next_step("review", "import", labeled, "--store", "feedback.sqlite", *words_of_names(head, label_names))


def _names(source: PredictedRows, head: str | None, label_names: str | None) -> list[str]:
    """Names of the classes: those that are given, or those that occur in the predictions."""
    from ..review.audits import likely_names

    is_given = head is not None or label_names is not None
    return class_names(label_names, head, ()) if is_given else likely_names(source)


def _note_unreadable(source: PredictedRows) -> None:
    if source.unreadable:
        note(f"rows without a prediction, which are left out: {source.unreadable}")


def _lines(report: AuditReport, audit: Audit) -> list[str]:
    """Lines of a report for people."""
    unit = "sentences" if audit.source.task.per_word else "texts"
    lines = [
        f"accuracy on these {report.rows:,} {unit}: {percent(report.accuracy)}",
        f"from {report.labeled} labels; in {report.errors} of them the prediction is wrong",
        *_note_on_the_draw(audit, unit),
        f"accuracy on further {unit} of this kind: {percent(report.population)}",
        f"expected by the head without labels: {100 * report.expected:.1f}%",
    ]
    if report.risk is not None:
        lines.append(f"risk of the {report.accepted:,} accepted predictions: {percent(report.risk)}")
    only = "" if report.random_labels > report.labeled else "only "
    lines.append(f"random sampling would have needed {only}{report.random_labels:,} labels for an interval this narrow")
    if report.classes:
        lines += ["", *_class_table(report)]
    return lines


def _note_on_the_draw(audit: Audit, unit: str) -> list[str]:
    """Reason why the labels have another share of errors; empty if all rows were drawn with the same probability."""
    inclusion = audit.sample.inclusion
    if inclusion.max() - inclusion.min() < 1e-9:
        return []
    return [f"(uncertain {unit} were drawn more often; the accuracy corrects for that)"]


def _class_table(report: AuditReport) -> list[str]:
    """Table of the figures by predicted class, from the most frequent one on."""
    classes = sorted(report.classes.items(), key=lambda item: -item[1].rows)
    has_recall = all(figures.recall is not None for _, figures in classes)
    header = ["predicted class", "rows", "labels", "precision"] + (["recall"] if has_recall else [])
    rows = [
        [name, f"{figures.rows:,}", figures.labeled, percent(figures.precision)]
        + ([percent(figures.recall)] if has_recall and figures.recall is not None else [])
        for name, figures in classes[:MOST_CLASSES]
    ]
    rest = f"{len(classes) - MOST_CLASSES} more classes: see --json. " if len(classes) > MOST_CLASSES else ""
    return [text_table(header, rows), wrapped(f"{rest}Each interval holds by itself with 95%, and not all at once.")]
