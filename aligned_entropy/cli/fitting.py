"""Commands ``alien train``, ``fit`` and ``threshold``: they make a classifier, a head and a threshold."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from ..display.hints import similar_folder
from ..display.wording import counted
from .checks import check_folder, positive
from .elsewhere_options import ElsewhereOptions
from .goal_options import GoalOptions
from .loading import features, load, note_columns, read_table, training_features
from .options import (
    AsJson,
    ColumnOptions,
    Data,
    ModelOptions,
    OptionalData,
    OptionalModel,
    Reference,
    Seed,
    of_head,
    with_option_groups,
)
from .rule_notes import note_low_coverage, note_replaced, show_reachable
from .set_options import SetOptions
from .terminal import next_step, note, option_words, part_beside, progress_bar, stage

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..data import LabeledTexts, LabeledTokens
    from ..finetune import Epoch

EQUAL_COLUMNS = "After this fit, uncertainty and error_probability of a text are the same number."


@dataclass(frozen=True)
class TrainingColumns(ColumnOptions):
    """Options that decide how a training set is read: its labels become the classes, so that none is mapped."""

    left_out: ClassVar[frozenset[str]] = frozenset({"label_map"})


@with_option_groups
def train(
    model: Annotated[
        str, typer.Argument(help="Pretrained model: path, hub id or embedded name (minilm, mpnet, smollm2, gemma3).")
    ],
    data: Data,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained classifier.")],
    lora: Annotated[bool, typer.Option("--lora", help="Train LoRA adapters instead of all weights.")] = False,
    freeze: Annotated[bool, typer.Option("--freeze", help="Train only the layers after the encoder.")] = False,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Number of passes over the texts [3; 20 with --freeze].", min=1)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="Peak learning rate [5e-5; LoRA 3e-4; --freeze 1e-3].", callback=positive),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Number of texts per step.", min=1)] = 32,
    max_length: Annotated[int, typer.Option(metavar="N", help="Maximum number of tokens per text.", min=2)] = 128,
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(metavar="DTYPE", help="Precision of the matrix products: float32, or bfloat16, which is faster."),
    ] = "float32",
    columns: TrainingColumns,
    seed: Seed = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds a classifier or other files.")
    ] = False,
) -> None:
    """Train a text, multi-label or token classifier, by the type of the labels in DATA.

    Keep the texts that the head is fitted on out of DATA; alien divide makes a file for each step.
    """
    from ..finetune import TrainConfig, train_classifier
    from ..tasks import task_of_dataset

    if lora and freeze:
        raise typer.BadParameter("--lora and --freeze exclude each other.")
    check_folder(output, [model, data], content="model", force=force)
    table = read_table(data, columns)
    task = task_of_dataset(table, columns.text_column, columns.label_column)
    note_columns(task, table, columns)
    texts = task.read(table, **columns.names)
    mode: Literal["full", "lora", "freeze"] = "lora" if lora else "freeze" if freeze else "full"
    config = TrainConfig(mode, epochs, learning_rate, batch_size, max_length, seed, dtype)
    done: list[Epoch] = []

    def report(epoch: Epoch) -> None:
        done.append(epoch)
        note(str(epoch))

    passes = 1 if freeze else config.total_epochs
    description = "features" if freeze else f"training, {counted(passes, 'epochs')}"
    with progress_bar(description, len(texts) * passes) as progress:
        truncated = train_classifier(model, texts, output, config, progress, report, force=force)
    _print_training(texts, done[-1], truncated)
    if freeze:
        print("without --freeze, all layers are trained: slower, often with far fewer errors")
    print(f"saved: {output}")
    head = "head" if not Path("head").exists() else f"{output}-head"
    next_step("fit", output, part_beside(data, "held-out"), "-o", head, *option_words(columns))


def _print_training(texts: LabeledTexts | LabeledTokens, epoch: Epoch, truncated: int) -> None:
    """Print the size of a training set, and the accuracy on it in the last epoch."""
    from ..data import LabeledTexts

    is_of_texts = isinstance(texts, LabeledTexts)
    unit = "texts" if is_of_texts else "sentences"
    print(f"trained on {counted(len(texts), unit)} of {counted(len(texts.label_names), 'classes')}")
    if truncated:
        print(f"truncated texts, of which the model did not read all: {truncated:,}")
    of_words = "" if is_of_texts else " of all words, inside and outside of entities"
    print(f"training accuracy {epoch.accuracy:.1%}{of_words}; expect a lower accuracy on new texts")


@with_option_groups
def fit(
    model: OptionalModel = None,
    data: OptionalData = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the head.")],
    outputs: ElsewhereOptions,
    reference: Reference = None,
    preset: Annotated[
        Literal["default", "paper"],
        typer.Option(metavar="PRESET", help="Settings of the fit: default (measured best) or paper (as published)."),
    ] = "default",
    views: Annotated[
        bool | None,
        typer.Option(
            "--views/--no-views", help="Let the head read class models of the model's layers and tokens (default)."
        ),
    ] = None,
    options: ModelOptions,
    columns: ColumnOptions,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a head that has a threshold.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit an uncertainty head on labeled texts that the classifier was not trained on.

    With --outputs no model is needed; --reference then also names a file of outputs.
    """
    from ..head.fit_config import FitConfig

    if preset == "paper" and reference is not None:
        raise typer.BadParameter("--preset paper cannot be combined with --reference: the paper uses none.")
    if preset == "paper" and views:
        raise typer.BadParameter("--preset paper cannot be combined with --views: the paper uses none.")
    views = views is not False and preset == "default"
    model, data = outputs.source(model, data, options)
    check_folder(output, [data, reference], force=force)
    table, reference_table = read_table(data, columns), read_table(reference, columns)
    classifier = load(model, options=options, outputs=outputs)
    special = "--preset paper" if preset == "paper" else "--reference" if reference is not None else None
    if special and classifier.config_class is not FitConfig:
        raise typer.BadParameter(f"{special}: there is no such fit for {classifier.task}; leave it out.")
    calibration = features(classifier, table, description="calibration features", columns=columns, views=views)
    training = training_features(classifier, reference_table, columns=columns, views=views)
    is_default = preset == "default"
    config = classifier.config_class(views=views, seed=seed) if is_default else FitConfig.paper(seed=seed)
    with progress_bar("fitting the head, %", 100) as progress:
        result = classifier.fit_features(calibration, reference=training, config=config, progress=progress)
    if (output / "config.json").exists():
        note(f"warning: the head in {output} is replaced")
    _keep_columns(classifier, columns)
    classifier.save_pretrained(output)
    if as_json:
        print(json.dumps(classifier.saved.fit))
        return
    print(result)
    if classifier.task.one_label and classifier.head.is_calibrated:
        print(EQUAL_COLUMNS)
    print(f"saved: {output}")
    words = outputs.words_beside(model, data, "test")
    next_step("evaluate", *words, "--head", output, *option_words(of_head(options), columns))


def _keep_columns(classifier: UncertainClassifier, columns: ColumnOptions) -> None:
    """Keep names of columns among the facts about the fit, so that the command of a refit can be proposed with them."""
    names = {kind: name for kind, name in columns.names.items() if name is not None}
    if names:
        classifier.saved = replace(classifier.saved, fit=classifier.saved.fit | {"columns": names})


@with_option_groups
def threshold(
    model: OptionalModel = None,
    data: OptionalData = None,
    *,
    head: Annotated[str, typer.Option(help="Folder of a fitted head; the threshold is saved there.")],
    outputs: ElsewhereOptions,
    goal_options: GoalOptions,
    set_options: SetOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the head with its threshold, instead of --head.")
    ] = None,
    options: ModelOptions,
    columns: ColumnOptions,
    as_json: AsJson = False,
) -> None:
    """Choose which predictions are accepted, on labeled texts that neither the classifier nor the head was fitted on.

    Give --risk, --coverage, or both costs. Later predictions contain the decision to accept or defer them; token
    classification accepts and defers entities. With --sets, a deferred text also has the classes among which the right
    one is, such as one of two. If the risk cannot be certified, the head stays as it is and the exit
    code is 1. See docs/selective-prediction.md.
    """
    goal, set_goal = goal_options.goal(), set_options.goal()
    target = Path(head) if output is None else output
    model, data = outputs.source(model, data, options)
    if output is None:
        _check_head(head)
    check_folder(target, [data], force=True)
    table = read_table(data, columns)
    classifier = load(model, head=head, options=options, outputs=outputs)
    if set_goal is not None:
        classifier.check_sets()
    data_features, before = features(classifier, table, columns=columns), classifier.saved.rule
    with stage("choosing the threshold"):
        rule = classifier.choose_threshold_features(data_features, goal)
        sets = (
            None if set_goal is None or not rule.accepted else classifier.choose_sets_features(data_features, set_goal)
        )
    facts = rule.to_dict() | ({} if sets is None else {"sets": sets.to_dict()})
    print(json.dumps(facts) if as_json else rule if sets is None else f"{rule}\n\n{sets}")
    words = option_words(of_head(options), columns, set_options)
    if not rule.accepted:
        typer.echo("alien: no threshold reaches this goal, the head stays as it is", err=True)
        if goal.risk is not None:
            command: list[object] = ["threshold", *outputs.words_of(model, data), "--head", head, *words]
            command += [] if output is None else ["--output", output]
            show_reachable(rule, command)
        raise typer.Exit(1)
    note_low_coverage(rule)
    note_replaced(before if target.resolve() == Path(head).resolve() else None, rule)
    classifier.save_pretrained(target)
    if not as_json:
        print(f"saved: {target}")
        words = option_words(of_head(options), columns.of_texts)
        new = outputs.words_beside(model, data, "new")
        next_step("predict", *new, "--head", target, "-o", "predictions.csv", *words)


def _check_head(head: str) -> None:
    """Check that a threshold can be saved in the folder of a head.

    Raises:
        BadParameter: the folder holds no head.
    """
    from ..data.sources import holds_head, holds_model

    folder = Path(head)
    if holds_head(folder):
        return
    hint = "" if folder.exists() else similar_folder(head)
    problem = "holds a model, not a head" if holds_model(folder) else f"is no folder with a head{hint}"
    if "/" in head and not folder.exists():
        raise typer.BadParameter(f"{head} {problem}. For a head on the hub, name a folder with --output.")
    raise typer.BadParameter(f"{head} {problem}: name the folder that alien fit has written.")
