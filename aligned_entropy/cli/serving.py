"""`alien serve`, `refit` and `export`: a head at work, one that learns from it, and one that goes elsewhere."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingExtraError
from .options import (
    AsJson,
    Device,
    Dtype,
    Head,
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
    progress_bar,
)


def serve(
    model: Model,
    head: Head = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    feedback: Annotated[Path | None, typer.Option(help="SQLite file for true labels; none are taken without.")] = None,
    batch: Annotated[int, typer.Option(help="Texts answered at once, at most.", min=1)] = 32,
    wait: Annotated[float, typer.Option(help="Milliseconds to wait for more of them.", min=0)] = 2.0,
    queue: Annotated[int, typer.Option(help="Texts that may wait; more are refused.", min=1)] = 1024,
    max_texts: Annotated[int, typer.Option(help="Texts in a request, at most.", min=1)] = 64,
    max_characters: Annotated[int, typer.Option(help="Characters of a text, at most.", min=1)] = 100_000,
    max_body: Annotated[int, typer.Option(help="Bytes of a request, at most.", min=1)] = 4_000_000,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is given up.", min=0.1)] = 30.0,
    ui: Annotated[bool, typer.Option("--ui", help="A page for people, at /ui.")] = False,
    max_length: MaxLength = None,
    device: Device = None,
    dtype: Dtype = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
) -> None:
    """Serve a model with its head: POST /v1/predict, /v1/feedback; GET /healthz, /readyz, /metrics, /openapi.json.

    ALIEN_API_KEY is what requests must then bring as "Authorization: Bearer …", ALIEN_ADMIN_KEY what they need to
    exchange the head. SIGHUP reads the head's folder again. SIGTERM ends it when all that was accepted is answered.
    """
    try:
        from ..serve.run import run
        from ..serve.server import Settings
    except ImportError as error:
        raise MissingExtraError("the server needs more: pip install 'aligned-entropy[serve]'") from error
    if ui and find_spec("gradio") is None:
        raise MissingExtraError("the page needs more: pip install 'aligned-entropy[ui]'")
    classifier = load(model, head, max_length, device, classification_module, task, prompt, dtype)
    settings = Settings(
        batch=batch,
        wait=wait / 1000,
        queue=queue,
        texts=min(max_texts, queue),
        characters=max_characters,
        body=max_body,
        timeout=timeout,
        api_key=os.environ.get("ALIEN_API_KEY"),
        admin_key=os.environ.get("ALIEN_ADMIN_KEY"),
        feedback=feedback,
        page=ui,
    )
    run(classifier, head, settings, host, port)


def export(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the graph and what belongs to it.")],
    head: Head = None,
    max_length: MaxLength = None,
    classification_module: Module = None,
    task: Task = None,
    int8: Annotated[
        str | None, typer.Option(help="Texts to compare on: put the model in 8 bits, and say what that changes.")
    ] = None,
    text_column: TextColumn = None,
    as_json: AsJson = False,
) -> None:
    """Write model and head as one ONNX graph, with the tokenizer: token ids in, logits and uncertainty out.

    The graph is compared with the model before it is left there. Who runs it needs ONNX Runtime and a tokenizer, not
    this library: docs/deploy.md.
    """
    from ..data import load_data, plain_texts
    from ..export import export_onnx

    if text_column is not None and int8 is None:
        raise typer.BadParameter(f"--text-column {text_column}: it is a column of the texts that --int8 names.")
    check_folder(output)
    texts = None if int8 is None else plain_texts(load_data(int8), text_column)
    done = export_onnx(load(model, head, max_length, "cpu", classification_module, task), output, texts)
    facts = {"inputs": done.inputs, "outputs": done.outputs, "difference": done.difference}
    if done.int8 is not None:
        facts["int8"] = asdict(done.int8)
    if as_json:
        print(json.dumps(facts | {"saved": str(output)}))
        return
    print(f"from {', '.join(done.inputs)}")
    print(f"to   {', '.join(done.outputs)}")
    print(f"at most {done.difference:.1e} from the model's own, on trial texts")
    if done.int8 is not None:
        print(
            f"8 bits change {done.int8.changed:.2%} of {done.int8.answers} answers, rank correlation of the uncertainty"
        )
        print(f"{done.int8.correlation:.4f}; a threshold was shown for float32 and is left out")
    print(f"saved: {output}")


def refit(
    model: Model,
    feedback: Annotated[Path, typer.Argument(help="SQLite file that alien serve kept true labels in.")],
    head: Annotated[str, typer.Option(help="Path or hub id of the current head.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new head, if it is better.")],
    calibration: Annotated[
        str | None, typer.Option(help="More labeled texts to fit on, as for fit: those of the current head.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="The classifier's training set, as for fit.")] = None,
    share: Annotated[float, typer.Option(help="Of the feedback, to fit on; the rest is to compare heads on.")] = 0.5,
    max_length: MaxLength = None,
    device: Device = None,
    dtype: Dtype = None,
    classification_module: Module = None,
    task: Task = None,
    prompt: Prompt = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a new head on feedback, and save it if it is better than the current one on feedback that neither has seen.

    Better is a lower Brier score of the error probability (one-sided p < .05) without a worse ranking. The new head
    gets a threshold for the goal of the current one. Feedback that came only from doubtful answers teaches about those.
    """
    from ..refit import refit as fit_again
    from ..serve.feedback import read_feedback

    if not 0 < share < 1:
        raise typer.BadParameter(f"--share {share} is not between 0 and 1.")
    check_folder(output)
    rows = read_feedback(feedback)
    classifier = load(model, head, max_length, device, classification_module, task, prompt, dtype)
    with progress_bar("feedback", len(rows["text"])) as progress:
        said = classifier.features(rows, progress, text_column="text", label_column="label")
    known = None if calibration is None else features(classifier, calibration, "calibration features", {})
    training = None if reference is None else features(classifier, reference, "reference features", {})
    found = fit_again(classifier, said, calibration=known, reference=training, share=share, seed=seed)
    better = found.comparison.better
    if better:
        found.classifier.save_pretrained(output)
    if as_json:
        rule = None if found.rule is None else found.rule.to_dict()
        print(json.dumps(found.comparison.to_dict() | {"saved": str(output) if better else None, "rule": rule}))
        return
    print(found.comparison)
    print(f"saved: {output}" if better else "the new head is not better: nothing was saved")
    if better and found.rule is not None:
        print(f"\n{found.rule}")
