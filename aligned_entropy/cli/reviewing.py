"""Commands ``alien review export`` and ``import``: predictions go to people, and their labels come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display.hints import missing_file
from ..display.text_tables import wrapped
from ..display.wording import counted
from ..errors import DataError
from .checks import check_export
from .options import AsJson, Delimiter, Encoding, ModelOptions, Replace, Seed, of_head, with_option_groups
from .review_options import (
    Choice,
    ExportedSourceOptions,
    Format,
    HeadWithNames,
    LabelNames,
    LabelStore,
    SourceOptions,
    class_names,
    file_format,
    words_of_names,
    words_of_refit,
)
from .terminal import new_file, next_step, note, part_beside, progress_bar, stage

UNLABELED = (
    "Import the file again when they have one: people leave out the hard ones, and without them the others are not "
    "like all predictions."
)

if TYPE_CHECKING:
    from ..review.predictions import PredictedRows
    from ..review.rows import ReviewRow


@with_option_groups
def export_review(
    predictions: Annotated[
        str,
        typer.Argument(
            help="Output of alien predict: CSV, TSV, JSON Lines or Parquet file, or a folder; or the store of a "
            "server, for its review queue. With --suspects a labeled set.",
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    force: Replace = False,
    choose: Annotated[
        Choice | None,
        typer.Option(
            metavar="CHOICE",
            help="Rows to write: deferred, the default; audit (drawn to measure the accuracy); informative (to improve "
            "the head; needs --model); or all, with --count at random, the default for a store.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="Number of rows.", min=1)] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="Format: csv, label-studio or argilla; by the ending."),
    ] = None,
    suspects: Annotated[
        bool, typer.Option("--suspects", help="Write texts of a labeled set whose labels look wrong; needs --model.")
    ] = False,
    head: HeadWithNames = None,
    label_names: LabelNames = None,
    model: Annotated[str | None, typer.Option(help="Model of the predictions: path or hub id.")] = None,
    columns: ExportedSourceOptions,
    options: ModelOptions,
    store: LabelStore = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Write predictions for people to label: as CSV, as tasks of Label Studio or as records of Argilla.

    Each row has the prediction as a suggestion, its error probability, the most likely classes as far as PREDICTIONS
    has them, and the probability with which it was drawn. alien review import reads the labels back; see
    docs/review.md.
    """
    from ..review.formats import FORMATS
    from ..review.rows import Question
    from ..store import is_feedback

    choice = choose or ("all" if is_feedback(predictions) else "deferred")  # a server has drawn the rows of its queue
    name = file_format(form, output)
    writer = FORMATS[name]
    check_export(writer.files(output), predictions, force)
    columns.check_keep(name, predictions, suspects)
    source = _suspects(predictions, columns, model, options, seed) if suspects else columns.read(predictions)
    question = Question(source.task, class_names(label_names, head, source.label_names))
    _ = question.options
    rows = source.rows[:count] if suspects else _chosen(source, choice, count, seed, store, model, head, options)
    writer.write(rows, question, output)
    _print_export(rows, source, writer.files(output), as_json)
    if not as_json:
        place = predictions if is_feedback(predictions) else "feedback.sqlite"
        _show_what_follows(output, predictions if suspects else None, place, words_of_names(head, label_names))


def import_review(
    export: Annotated[Path, typer.Argument(help="File that came back: CSV, JSON of Label Studio, JSON of Argilla.")],
    *,
    store: Annotated[str, typer.Option(help="Store of the feedback: SQLite file or URL, as of alien serve.")],
    form: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="Format of the file; by default found out from its content."),
    ] = None,
    head: HeadWithNames = None,
    label_names: LabelNames = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Read the labels that people gave into the store of feedback, for alien refit.

    Every row is checked: texts and numbers must be those that were exported, and labels must be classes of the head. If
    a row has a problem, nothing is stored. Where several people labeled a text, the label of more than half counts.
    """
    from ..review.formats import FORMATS, format_of_export
    from ..review.importing import checked_labels
    from ..store import Store, text_key

    if not export.is_file():
        raise typer.BadParameter(missing_file(export))
    names = class_names(label_names, head, ())
    reader = FORMATS[form] if form is not None else format_of_export(export)
    reviewed = checked_labels(reader.read(export, names, delimiter=delimiter, encoding=encoding), names)
    if not reviewed.labeled:
        raise DataError(
            f"{export} has no label in any of its {reviewed.unlabeled} rows: write labels into the column label, or "
            "finish the annotations in the tool."
        )
    feedback = [row.feedback() for row in reviewed.labeled]
    opened = Store(store)
    try:
        before = {text_key(row.text) for row in opened.feedback() if row.text is not None}
        for row in feedback:
            opened.add_feedback(row)
    finally:
        opened.close()
    replaced = sum(row.text is not None and text_key(row.text) in before for row in feedback)
    wrong = sum(row.wrong for row in reviewed.labeled)
    drawn = sum(row.row.inclusion is not None for row in reviewed.labeled)
    facts: dict[str, Any] = {"imported": len(feedback), "wrong": wrong, "drawn": drawn}
    facts |= {"unlabeled": reviewed.unlabeled, "settled": reviewed.settled, "replaced": replaced}
    reviewed.warn()
    if reviewed.unlabeled_drawn:
        note(wrapped(f"drawn rows without a label: {reviewed.unlabeled_drawn}. {UNLABELED}"))
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{counted(len(feedback), 'labels')} imported into {store}; rows without one: {reviewed.unlabeled}")
    print(f"the prediction was wrong in {wrong} of them; {drawn} have an inclusion probability")
    if replaced:
        print(f"texts that had a label already, of which the latest counts: {replaced}")
    if reviewed.settled:
        print(f"a majority decided on {reviewed.settled} texts on which people disagreed")
    if head is not None:
        _show_use_of_labels(export, head, store, is_drawn=drawn > 0)


def _show_use_of_labels(labeled: Path, head: str, store: str, is_drawn: bool) -> None:
    """Print the command that fits a new head on labels, or where none of their texts was drawn, one that draws some."""
    if not is_drawn:
        note(
            wrapped(
                "None of these texts was drawn, so that their labels say nothing about the other predictions. The "
                "accuracy of all, and a better head, need labels of texts that are:"
            )
        )
        next_step("audit", "select", "PREDICTIONS.csv", "-o", new_file("to-label.csv"))
        return
    words = words_of_refit(head, store)
    if store not in words:
        note("A head of outputs is refitted on labeled outputs, and not on a store of texts.")
    calibration = part_beside(str(labeled), "held-out")
    next_step("refit", *words, "--head", head, "--calibration", calibration, "-o", new_file("better-head"))


def _chosen(
    source: PredictedRows,
    choice: Choice,
    count: int | None,
    seed: int,
    store: str | None,
    model: str | None,
    head: str | None,
    options: ModelOptions,
) -> list[ReviewRow]:
    """Rows that are to be labeled, by the way to choose them."""
    from ..review.choosing import choose_rows, have_labels
    from ..store import labeled_keys

    if store is not None and choice not in ("deferred", "informative"):
        raise typer.BadParameter(f"--store {store}: --choose {choice} draws from all rows; leave the store out.")
    labeled = None if store is None else have_labels(source.rows, labeled_keys(store))
    vectors = _vectors(source, model, head, options) if choice == "informative" else None
    return choose_rows(source.rows, choice, count, seed=seed, vectors=vectors, labeled=labeled)


def _vectors(source: PredictedRows, model: str | None, head: str | None, options: ModelOptions) -> Any:
    """Vectors of the rows, ``[N, D]``, from the model; those of a text's words are averaged.

    Raises:
        BadParameter: the model is not named.
    """
    from ..review.vectors import text_vectors
    from .loading import load

    if model is None:
        raise typer.BadParameter("--choose informative needs the vectors of the texts: give --model MODEL.")
    classifier = load(model, head=head, options=of_head(options) if head is not None else options)
    if classifier.task.name != source.task.name:
        raise typer.BadParameter(f"--model {model} is for {classifier.task}, and the predictions for {source.task}.")
    texts = [row.text for row in source.rows]
    with progress_bar("vectors", len(texts)) as progress:
        return text_vectors(classifier, texts, progress)


def _suspects(data: str, columns: SourceOptions, model: str | None, options: ModelOptions, seed: int) -> PredictedRows:
    """Rows of a labeled set whose labels look wrong, the most suspect one first.

    Raises:
        BadParameter: the model is not named.
    """
    from ..data import LabeledTexts, load_data
    from ..review.predictions import PredictedRows
    from ..review.suspects import suspect_labels, suspect_rows
    from .loading import load

    if model is None:
        raise typer.BadParameter("--suspects needs the model of the labels: give --model MODEL.")
    classifier = load(model, options=options)
    table = load_data(data, delimiter=columns.delimiter, encoding=columns.encoding)
    names = {name: getattr(columns, name) for name in ("text_column", "text_pair_column", "label_column")}
    labeled = classifier.read_labeled(table, **names)
    with progress_bar("features", len(labeled)) as progress:
        features = classifier.features(labeled, progress, views=True)
    with stage("fitting a head in cross-validation"):
        suspects = suspect_labels(classifier, features, seed=seed)
    assert isinstance(labeled, LabeledTexts), "texts have one label"
    rows = suspect_rows(suspects, labeled, features, classifier.task.name)
    return PredictedRows(classifier.task, rows, list(classifier.label_names))


def _show_what_follows(output: Path, labeled: str | None, store: str, words: Sequence[str]) -> None:
    """Print what to do with a file for review: correct the labels of a labeled set, or import those of predictions."""
    if labeled is not None:
        note(f"Where the suspicion is right, correct the label in {labeled}; then fit again.")
    else:
        note("Label the rows of the file first.")
        next_step("review", "import", output, "--store", store, *words)


def _print_export(rows: Sequence[ReviewRow], source: PredictedRows, files: Sequence[Path], as_json: bool) -> None:
    drawn = sum(row.inclusion is not None for row in rows)
    facts = {"rows": len(rows), "of": len(source.rows), "unreadable": source.unreadable, "drawn": drawn}
    if as_json:
        print(json.dumps(facts | {"files": list(map(str, files))}))
        return
    print(f"{len(rows):,} of {len(source.rows):,} predictions written: {', '.join(map(str, files))}")
    if source.unreadable:
        print(f"rows without a prediction, which were left out: {source.unreadable}")
    if drawn < len(rows):
        note(
            f"{counted(len(rows) - drawn, 'rows')} not drawn, but chosen: their labels alone say nothing about the "
            "other predictions; see docs/review.md"
        )
