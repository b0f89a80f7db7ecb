"""Commands ``alien train``, ``fit`` and ``threshold``: they make a classifier, a head and a threshold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .loading import features, load
from .options import (
    AsJson,
    ColumnOptions,
    Data,
    LabelColumn,
    Model,
    ModelOptions,
    OptionGroup,
    Reference,
    Seed,
    TextColumn,
    check_folder,
    positive,
    with_option_groups,
)
from .terminal import progress_bar, quiet_libraries

if TYPE_CHECKING:
    from ..selective import Goal


def train(
    model: Annotated[str, typer.Argument(help="Pretrained model: path, hub id or embedded name (minilm, smollm2).")],
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained classifier.")],
    lora: Annotated[bool, typer.Option("--lora", help="Train LoRA adapters instead of all weights.")] = False,
    freeze: Annotated[bool, typer.Option("--freeze", help="Train only the layers after the encoder.")] = False,
    epochs: Annotated[
        int | None, typer.Option(help="Number of passes over the texts [3; 20 with --freeze].", min=1)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate [5e-5; LoRA 3e-4; --freeze 1e-3].", callback=positive),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Number of texts per step.", min=1)] = 32,
    max_length: Annotated[int, typer.Option(help="Maximum number of tokens per text.", min=2)] = 128,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    seed: Seed = 0,
) -> None:
    """Train a text, multi-label or token classifier, by the type of the labels in DATA.

    Keep the texts that the head is fitted on out of DATA.
    """
    from ..data import load_data
    from ..finetune import TrainConfig, train_classifier
    from ..tasks import task_of_dataset

    if lora and freeze:
        raise typer.BadParameter("--lora and --freeze exclude each other.")
    check_folder(output, may_hold_model=True)
    quiet_libraries()
    dataset = load_data(data)
    task = task_of_dataset(dataset, text_column, label_column)
    texts = task.read(dataset, text_column=text_column, label_column=label_column)
    mode: Literal["full", "lora", "freeze"] = "lora" if lora else "freeze" if freeze else "full"
    config = TrainConfig(mode, epochs, learning_rate, batch_size, max_length, seed)
    with progress_bar("features", len(texts) if freeze else None) as progress:
        train_classifier(model, texts, output, config, progress)
    print(f"trained on {len(texts)} texts of {len(texts.label_names)} classes: {output}")


@with_option_groups
def fit(
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the head.")],
    reference: Reference = None,
    preset: Annotated[
        Literal["default", "paper"],
        typer.Option(help="Settings of the fit: those that measured best, or those of the paper."),
    ] = "default",
    *,
    options: ModelOptions,
    columns: ColumnOptions,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit an uncertainty head on labeled texts that the classifier was not trained on."""
    from ..head.fit import FitConfig

    if preset == "paper" and reference is not None:
        raise typer.BadParameter("--preset paper cannot be combined with --reference: the paper uses none.")
    check_folder(output)
    classifier = load(model, options=options)
    special = "--preset paper" if preset == "paper" else "--reference" if reference is not None else None
    if special and classifier.config_class is not FitConfig:
        raise typer.BadParameter(f"{special}: there is no such fit for {classifier.task}; leave it out.")
    calibration = features(classifier, data, description="calibration features", columns=columns)
    training = None
    if reference is not None:
        training = features(classifier, reference, description="reference features", columns=columns)
    config = classifier.config_class(seed=seed) if preset == "default" else FitConfig.paper(seed=seed)
    result = classifier.fit_features(calibration, reference=training, config=config)
    classifier.save_pretrained(output)
    if as_json:
        print(json.dumps(classifier.saved.fit))
    else:
        print(result.summary)
        print(f"saved: {output}")


@dataclass(frozen=True)
class GoalOptions(OptionGroup):
    """Options that state the goal of a threshold."""

    risk: Annotated[float | None, typer.Option(help="Maximum share of errors among the accepted predictions.")] = None
    coverage: Annotated[float | None, typer.Option(help="Share of the predictions to accept.")] = None
    error_cost: Annotated[float | None, typer.Option(help="Cost of an accepted prediction that is wrong.")] = None
    deferral_cost: Annotated[float | None, typer.Option(help="Cost of a deferred prediction.")] = None
    delta: Annotated[float, typer.Option(help="Probability that the bound on the risk does not hold.")] = 0.05
    method: Annotated[
        Literal["fixed-sequence", "sgr"],
        typer.Option(help="Method that certifies a risk: fixed-sequence testing (Learn then Test) or SGR."),
    ] = "fixed-sequence"
    per_class: Annotated[bool, typer.Option("--per-class", help="Choose a threshold for every predicted class.")] = (
        False
    )

    def goal(self) -> Goal:
        """Goal of these options.

        Raises:
            BadParameter: a value is out of range, or the options do not state exactly one goal.
        """
        from ..selective import Goal

        try:
            return Goal(
                self.risk,
                self.coverage,
                self.error_cost,
                self.deferral_cost,
                self.delta,
                self.method,
                self.per_class,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error


@with_option_groups
def threshold(
    model: Model,
    data: Data,
    head: Annotated[str, typer.Option(help="Folder of a fitted head; the threshold is saved there.")],
    *,
    goal_options: GoalOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the head with its threshold, instead of --head.")
    ] = None,
    options: ModelOptions,
    columns: ColumnOptions,
    as_json: AsJson = False,
) -> None:
    """Choose which predictions are accepted, on labeled texts that neither the classifier nor the head was fitted on.

    Give --risk, --coverage, or both costs. Later predictions contain the decision to accept or defer them; token
    classification accepts and defers entities. If the risk cannot be certified, the head stays as it is and the exit
    code is 1. See docs/selective-prediction.md.
    """
    goal = goal_options.goal()
    target = Path(head) if output is None else output
    if output is None and not target.is_dir():
        raise typer.BadParameter(f"{head} is not a folder: name a folder for the head and its threshold with --output.")
    check_folder(target)
    classifier = load(model, head=head, options=options)
    data_features = features(classifier, data, description="features", columns=columns)
    rule = classifier.choose_threshold_features(data_features, goal)
    print(json.dumps(rule.to_dict()) if as_json else rule)
    if not any(class_threshold.accepted for class_threshold in rule.thresholds.values()):
        typer.echo("alien: no threshold reaches this goal, the head stays as it is", err=True)
        raise typer.Exit(1)
    classifier.save_pretrained(target)
    if not as_json:
        print(f"saved: {target}")
