"""Command ``alien evaluate``: measures of how well scores find the errors of a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..display.text_tables import wrapped
from ..errors import NotApplicableError
from .elsewhere_options import ElsewhereOptions
from .loading import features, load, read_labeled, read_table, training_features
from .options import (
    DATA_HELP,
    AsJson,
    ColumnOptions,
    Head,
    ModelOptions,
    OptionGroup,
    of_head,
    with_option_groups,
)
from .result_options import ResultFiles
from .rule_notes import note_own_texts
from .score_options import requested_scores, score_list
from .terminal import next_step, note, option_words, progress_bar, stage

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..data import Table
    from ..evaluation.evaluation import Evaluation
    from ..evaluation.grouped import GroupedEvaluation
    from ..features.arrays import Features

MEASURING = "fitting and measuring the scores"


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

    def tables(self, columns: ColumnOptions) -> dict[str, Table]:
        """Read these data; the out-of-distribution texts need no column of labels."""
        without_labels = replace(columns, label_column=None)
        names = {name: value for name, value in vars(self).items() if value is not None}
        return {name: read_table(value, without_labels if name == "ood" else columns) for name, value in names.items()}


@with_option_groups
def evaluate(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Trained classifier, as for fit.")] = None,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=f"Labeled data. {DATA_HELP}")] = None,
    *,
    outputs: ElsewhereOptions,
    head: Head = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Names of scores, separated by commas, or all; list prints all scores, their needs and their cost. "
            "By default the baselines and the head. Other packages can add scores, see docs/own-score.md."
        ),
    ] = None,
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

    With --outputs no model is needed; --train, --calibration and --ood then also name files of outputs. Without --head,
    scores are then measured on the outputs alone.
    """
    from ..report import facts_of
    from ..scores import score_names
    from ..scores.aligned import HEAD

    if scores == "list":
        print(score_list())
        return
    model, data = outputs.source(model, data, options)
    names = None if scores is None else requested_scores(scores, score_names())
    files.check([data, model, head, *vars(more_data).values(), columns.label_map, options.prompt])
    if outputs.outputs is not None and head is None:
        result, rows, facts = _evaluate_outputs(outputs, more_data, names, resamples, columns), None, {}
    else:
        table, more_tables = read_table(data, columns), more_data.tables(columns)
        classifier = load(model, head=head, options=options, outputs=outputs)
        labeled = None if classifier.reads_outputs else read_labeled(classifier, table, columns)
        test = features(classifier, labeled or table, columns=columns, measured=True, **_arrays(classifier, names))
        result = _evaluate_model(classifier, test, more_tables, names, resamples, columns)
        rows, facts = files.rows(classifier, test, labeled), facts_of(classifier)
    title = f"{model or outputs.model_name} on {data}" if outputs.outputs is None else data
    files.write(result, {"source": title, "head": head or "–", **facts, "resamples": str(resamples)}, rows)
    if as_json:
        print(json.dumps(result.to_dict()))
        return
    print(result)
    if head is not None and HEAD in result.single_predictions.table:
        print(wrapped(f"{HEAD}: uncertainty by the head in {head}"))
    has_rule = head is not None and classifier.saved.rule is not None
    if has_rule:
        _print_threshold(classifier, test)
    print(*(f"saved: {file}\n" for file in files.paths), sep="", end="")
    goal = [] if head is None or has_rule else _goal(classifier, test)
    _print_next_step(partial(outputs.words_beside, model, data), head, goal, options, columns)


def _print_threshold(classifier: UncertainClassifier, test: Features) -> None:
    """Print what the threshold of a head does on labeled texts; nothing where it decides on entities or whole texts."""
    from ..predictions import Predictions
    from ..report.findings import threshold_sentence

    rule = classifier.saved.rule
    if rule is not None and classifier.task.one_label:
        predictions = classifier.predict_features(test)
        assert isinstance(predictions, Predictions), "one label for each text"
        print(wrapped(threshold_sentence(str(rule.goal), predictions.accepted, test.errors)))
        note_own_texts(rule, predictions.uncertainty)


def _goal(classifier: UncertainClassifier, test: Features) -> list[object]:
    """Options of the goal to propose for a threshold; none where it could not help."""
    from ..evaluation.review import MOSTLY_WRONG
    from ..selective.reachable import proposed_risk

    try:
        units = classifier.labeled_selection_units(test)
    except NotApplicableError:  # tags without names: there are no entities to accept
        return []
    risk = proposed_risk(units)
    if risk is not None:
        return ["--risk", risk]
    is_mostly_wrong = not len(units.errors) or units.errors.mean() > MOSTLY_WRONG
    return [] if is_mostly_wrong else ["--coverage", 0.8]


def _print_next_step(
    words_of: Callable[[str], list[str]],
    head: str | None,
    goal: Sequence[object],
    options: ModelOptions,
    columns: ColumnOptions,
) -> None:
    """Print the command that comes after an evaluation: it makes a head or a threshold, or uses both.

    Args:
        words_of: function that gives the words of a command up to the file of a part.
        head: folder of the head; None without one.
        goal: options of the goal to propose for a threshold; empty if there is one, or none would help.
        options: options of the model.
        columns: options of the columns.
    """
    words, text_words = (option_words(of_head(options), part) for part in (columns, columns.of_texts))
    if head is None:
        next_step("fit", *words_of("held-out"), "-o", "head", *words)
    elif not goal:
        next_step("predict", *words_of("new"), "--head", head, "-o", "predictions.csv", *text_words)
    else:
        note(f"{goal[0]} {goal[1]} is a proposal: write what you can accept, and keep it whatever comes out.")
        next_step("threshold", *words_of("more-held-out"), "--head", head, *goal, *words)


def _evaluate_outputs(
    outputs: ElsewhereOptions,
    more_data: MoreData,
    names: Sequence[str] | None,
    resamples: int,
    columns: ColumnOptions,
) -> Evaluation | GroupedEvaluation:
    """Measure scores on files of model outputs."""
    from ..data import load_data, load_outputs
    from ..data.label_maps import parse_label_map
    from ..evaluation.evaluation import evaluate as evaluate_scores
    from ..evaluation.fitted_scores import default_scores, fit_scores
    from ..scores import HEAD

    label_names = outputs.names

    def read(path: str, labeled: bool = True) -> Features:
        return load_outputs(
            load_data(path, delimiter=columns.delimiter, encoding=columns.encoding),
            labeled,
            label_names=label_names,
            field=outputs.field,
            label_column=columns.label_column,
            label_map=parse_label_map(columns.label_map),
        )

    assert outputs.outputs is not None, "a file of outputs was given"
    test = read(outputs.outputs)
    training, calibration = (None if path is None else read(path) for path in (more_data.train, more_data.calibration))
    names = names or [*default_scores(calibration), *([HEAD] if calibration else [])]
    ood = None if more_data.ood is None else read(more_data.ood, labeled=False)
    with stage(MEASURING):
        fitted_scores, skipped = fit_scores(names, None, training, calibration)
        return evaluate_scores(test, fitted_scores, skipped=skipped, resamples=resamples, ood=ood)


def _arrays(classifier: UncertainClassifier, names: Sequence[str] | None) -> dict[str, Any]:
    """Additional arrays that the scores and the head need, as arguments of :func:`.loading.features`."""
    from ..scores import arrays_of, read_views

    return {"extras": arrays_of(names or ()), "views": bool(classifier.head.views) or read_views(names or ())}


def _evaluate_model(
    classifier: UncertainClassifier,
    test: Features,
    tables: Mapping[str, Table],
    names: Sequence[str] | None,
    resamples: int,
    columns: ColumnOptions,
) -> Evaluation | GroupedEvaluation:
    """Measure the head of a classifier and other scores on features of labeled data."""
    arrays = _arrays(classifier, names)
    calibration = ood = None
    if "calibration" in tables:
        calibration = features(classifier, tables["calibration"], description="calibration", columns=columns, **arrays)
    training = training_features(classifier, tables.get("train"), columns=columns, views=arrays["views"])
    if "ood" in tables:
        with progress_bar("out-of-distribution", len(tables["ood"])) as progress:
            ood = classifier.plain_features(
                tables["ood"],
                progress,
                text_column=columns.text_column,
                text_pair_column=columns.text_pair_column,
                **arrays,
            )
    with stage(MEASURING):
        return classifier.evaluate_features(
            test, scores=names, train=training, calibration=calibration, ood=ood, resamples=resamples
        )
