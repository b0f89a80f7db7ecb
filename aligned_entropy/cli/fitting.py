"""`alien train`, `fit` and `threshold`: what makes a classifier, a head, and a rule for what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import (
    AsJson,
    Data,
    Device,
    Dtype,
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
    features,
    load,
    positive,
    progress_bar,
    quiet_libraries,
)


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
    from ..data import load_data
    from ..finetune import TrainConfig, train_classifier
    from ..tasks import task_of_dataset

    if lora and freeze:
        raise typer.BadParameter("--lora and --freeze exclude each other.")
    check_folder(output, replaced=True)
    quiet_libraries()
    dataset = load_data(data)
    task = task_of_dataset(dataset, text_column, label_column)
    texts = task.read(dataset, text_column=text_column, label_column=label_column)
    mode: Literal["full", "lora", "freeze"] = "lora" if lora else "freeze" if freeze else "full"
    config = TrainConfig(mode, epochs, learning_rate, batch_size, max_length, seed)
    with progress_bar("features", len(texts) if freeze else None) as progress:
        train_classifier(model, texts, output, config, progress)
    print(f"trained on {len(texts)} texts of {len(texts.label_names)} classes: {output}")


def fit(
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the head.")],
    reference: Annotated[str | None, typer.Option(help="The classifier's training set, as DATA; optional.")] = None,
    preset: Annotated[Literal["default", "paper"], typer.Option(help="Best measured, or as published.")] = "default",
    max_length: MaxLength = None,
    device: Device = None,
    dtype: Dtype = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    label_map: LabelMap = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit an uncertainty head on labeled texts that the classifier was not trained on."""
    from ..head.fit import FitConfig

    if preset == "paper" and reference is not None:
        raise typer.BadParameter("--preset paper takes no --reference: the published recipe has none.")
    check_folder(output)
    classifier = load(model, None, max_length, device, classification_module, task, prompt, dtype)
    given = "--preset paper" if preset == "paper" else "--reference" if reference is not None else None
    if given and classifier.config_class is not FitConfig:
        raise typer.BadParameter(f"{given}: there is no such fit for {classifier.task}, leave it out.")
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


def threshold(
    model: Model,
    data: Data,
    head: Annotated[str, typer.Option(help="Folder of a fitted head; the threshold is saved there.")],
    risk: Annotated[float | None, typer.Option(help="Errors among accepted answers, a share: at most.")] = None,
    coverage: Annotated[float | None, typer.Option(help="Share of the answers to accept.")] = None,
    error_cost: Annotated[float | None, typer.Option(help="Of a wrong answer that was accepted.")] = None,
    deferral_cost: Annotated[float | None, typer.Option(help="Of an answer that was not accepted.")] = None,
    delta: Annotated[float, typer.Option(help="Probability that a bound does not hold.")] = 0.05,
    method: Annotated[
        Literal["fixed-sequence", "sgr"], typer.Option(help="How a risk is certified: Learn then Test, or SGR.")
    ] = "fixed-sequence",
    per_class: Annotated[bool, typer.Option("--per-class", help="A threshold for every predicted class.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the head with its threshold here instead.")
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
    """Choose which answers are accepted, on labeled texts that neither the classifier nor the head was fitted on.

    Give one of --risk, --coverage, or both costs. From then on predictions say whether they are accepted. Of words,
    entities are. If a risk cannot be certified the exit code is 1, and the head stays as it is.
    """
    from ..selective import Goal

    try:
        goal = Goal(risk, coverage, error_cost, deferral_cost, delta, method, per_class)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    target = Path(head) if output is None else output
    if output is None and not target.is_dir():
        raise typer.BadParameter(f"{head} is no folder: pass --output, to save the head with its threshold there.")
    check_folder(target)
    classifier = load(model, head, max_length, device, classification_module, task, prompt, dtype)
    columns = {"text_column": text_column, "label_column": label_column, "label_map": label_map}
    rule = classifier.choose_threshold_features(features(classifier, data, "features", columns), goal)
    print(json.dumps(rule.to_dict()) if as_json else rule)
    if not any(own.accepted for own in rule.thresholds.values()):
        typer.echo("alien: no threshold reaches this goal, the head stays as it is", err=True)
        raise typer.Exit(1)
    classifier.save_pretrained(target)
    if not as_json:
        print(f"saved: {target}")
