"""Commands ``alien serve``, ``export`` and ``refit``: they put a head to use and replace it by a better one."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..errors import MissingExtraError
from .loading import features, load
from .options import (
    AsJson,
    ColumnOptions,
    Head,
    MaxLength,
    Model,
    ModelOptions,
    Module,
    OptionGroup,
    Reference,
    Seed,
    Task,
    TextColumn,
    check_folder,
    with_option_groups,
)
from .terminal import progress_bar

if TYPE_CHECKING:
    from ..export import Export


ENVIRONMENT_PREFIX = "ALIEN"  # alien serve reads every option from the variable with this prefix, such as ALIEN_PORT


def _root_path(value: str) -> str:
    if value.strip("/") and not value.startswith("/"):
        raise typer.BadParameter(f"{value} does not begin with a slash: write /{value}.")
    return value.rstrip("/")


def _proxies(value: str) -> str:
    for address in value.split(","):
        try:
            if address.strip() != "*":
                ip_network(address.strip())
        except ValueError:
            raise typer.BadParameter(f"{address.strip()!r} is neither an IP address nor a network nor *.") from None
    return value


def _origins(values: list[str] | None) -> list[str] | None:
    for value in values or []:
        if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", value):
            raise typer.BadParameter(f"{value!r} is no origin: write https://example.org, without a path, or *.")
    return values


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """Options of the connections to clients and proxies."""

    panel: ClassVar[str] = "Network"

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(metavar="N", help="Port to listen on.", min=0, max=65535)] = 8000
    keep_alive: Annotated[
        float,
        typer.Option(metavar="X", help="Seconds until an idle connection is closed; more than the proxy's.", min=0.1),
    ] = 75.0
    root_path: Annotated[
        str, typer.Option(help="Path under which a proxy offers the server, such as /alien.", callback=_root_path)
    ] = ""
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            help="Addresses of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, separated by "
            "commas; * for all.",
            callback=_proxies,
        ),
    ] = "127.0.0.1"
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin whose pages may send requests from a browser, or *; repeatable, in the variable separated by "
            "spaces.",
            callback=_origins,
        ),
    ] = None


@dataclass(frozen=True)
class LimitOptions(OptionGroup):
    """Options that limit requests and their batches."""

    panel: ClassVar[str] = "Limits"

    batch: Annotated[int, typer.Option(metavar="N", help="Maximum number of texts per batch.", min=1)] = 32
    wait: Annotated[float, typer.Option(metavar="X", help="Milliseconds to wait until a batch is full.", min=0)] = 2.0
    queue: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of waiting texts; more are refused.", min=1)
    ] = 1024
    max_texts: Annotated[int, typer.Option(metavar="N", help="Maximum number of texts per request.", min=1)] = 64
    max_characters: Annotated[int, typer.Option(metavar="N", help="Maximum number of characters per text.", min=1)] = (
        100_000
    )
    max_body: Annotated[
        int, typer.Option(metavar="N", help="Maximum size of a request in bytes, also when it is decompressed.", min=1)
    ] = 4_000_000
    timeout: Annotated[float, typer.Option(metavar="X", help="Seconds until a request is aborted.", min=0.1)] = 30.0


@with_option_groups
def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="Trained text or token classifier: path or hub id, PEFT adapters included.",
            envvar=f"{ENVIRONMENT_PREFIX}_MODEL",
            show_envvar=True,
        ),
    ],
    head: Head = None,
    feedback: Annotated[
        Path | None, typer.Option(help="SQLite file for true labels; without it the server accepts no feedback.")
    ] = None,
    ui: Annotated[bool, typer.Option("--ui", help="Serve a page for people at /ui.")] = False,
    api_key: Annotated[
        str | None, typer.Option(help="Key that requests must send; the variable hides it from other users.")
    ] = None,
    admin_key: Annotated[
        str | None, typer.Option(help="Key for exchanging the head; the variable hides it from other users.")
    ] = None,
    *,
    network: NetworkOptions,
    limits: LimitOptions,
    options: ModelOptions,
) -> None:
    """Serve a model with its head: POST /v1/predict, /v1/feedback; GET /docs, /healthz, /readyz, /metrics.

    Every option can also be set by an environment variable: ALIEN_PORT for --port, for example. Requests must send the
    API key as "Authorization: Bearer …". The signal SIGHUP reloads the folder of the head. On SIGTERM the server
    finishes all accepted requests and exits.
    """
    try:
        from ..serve.run import listen, run
        from ..serve.server import Settings
    except ImportError as error:
        raise MissingExtraError(
            "the server needs optional dependencies: pip install 'aligned-entropy[serve]'"
        ) from error
    if ui and find_spec("gradio") is None:
        raise MissingExtraError("the page needs an optional dependency: pip install 'aligned-entropy[ui]'")
    _check_keys({"API_KEY": api_key, "ADMIN_KEY": admin_key})
    sockets = listen(network.host, network.port)  # a port in use is an error before the model is loaded
    settings = Settings(
        batch=limits.batch,
        wait=limits.wait / 1000,
        queue=limits.queue,
        texts=min(limits.max_texts, limits.queue),
        characters=limits.max_characters,
        body=limits.max_body,
        timeout=limits.timeout,
        api_key=api_key,
        admin_key=admin_key,
        feedback=feedback,
        page=ui,
        root_path=network.root_path,
        cors_origins=tuple(network.cors_origin or ()),
    )
    classifier = load(model, head=head, options=options)
    run(classifier, head, settings, sockets, network.keep_alive, network.forwarded_allow_ips)


def _check_keys(keys: dict[str, str | None]) -> None:
    """Refuse keys that are empty, because a server without a key is open to all."""
    for name, key in keys.items():
        variable = f"{ENVIRONMENT_PREFIX}_{name}"
        if key == "" or (key is None and variable in os.environ):
            raise typer.BadParameter(f"the key {variable} is empty: set a key, or remove the variable.")


def export(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the graph and the tokenizer.")],
    head: Head = None,
    max_length: MaxLength = None,
    classification_module: Module = None,
    task: Task = None,
    int8: Annotated[
        str | None,
        typer.Option(help="Texts for a comparison: quantize the model to 8 bits and print what this changes."),
    ] = None,
    text_column: TextColumn = None,
    as_json: AsJson = False,
) -> None:
    """Write model and head as one ONNX graph, with the tokenizer: token ids in, logits and uncertainty out.

    The graph is compared with the model before it is saved. It needs only ONNX Runtime and a tokenizer, not this
    library; see docs/onnx-export.md.
    """
    from ..data import load_data, plain_texts
    from ..export import export_onnx

    if text_column is not None and int8 is None:
        raise typer.BadParameter(f"--text-column {text_column} names a column of the texts of --int8: give both.")
    check_folder(output)
    texts = None if int8 is None else plain_texts(load_data(int8), text_column)
    options = ModelOptions(max_length, "cpu", classification_module=classification_module, task=task)
    exported = export_onnx(load(model, head=head, options=options), output, texts)
    if as_json:
        facts = {"inputs": exported.inputs, "outputs": exported.outputs, "difference": exported.difference}
        facts |= {} if exported.int8 is None else {"int8": exported.int8.to_dict()}
        print(json.dumps(facts | {"saved": str(output)}))
    else:
        _print_export(exported)
        print(f"saved: {output}")


def _print_export(exported: Export) -> None:
    print(f"inputs:  {', '.join(exported.inputs)}")
    print(f"outputs: {', '.join(exported.outputs)}")
    print(f"largest difference from the model on trial texts: {exported.difference:.1e}")
    effect = exported.int8
    if effect is not None:
        print(
            f"8 bits change {effect.changed_share:.2%} of {effect.predictions} predictions; the rank correlation of "
            f"the uncertainty is {effect.rank_correlation:.4f}."
        )
        print("The graph has no threshold, because the threshold was certified in float32.")


@with_option_groups
def refit(
    model: Model,
    feedback: Annotated[Path, typer.Argument(help="SQLite file with the true labels that alien serve has stored.")],
    head: Annotated[str, typer.Option(help="Path or hub id of the current head.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new head, if it is better.")],
    calibration: Annotated[
        str | None,
        typer.Option(help="More labeled texts to fit on, as DATA of fit; usually those of the current head."),
    ] = None,
    reference: Reference = None,
    share: Annotated[
        float, typer.Option(metavar="X", help="Share of the feedback to fit on; the rest serves to compare the heads.")
    ] = 0.5,
    *,
    options: ModelOptions,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a new head on feedback, and save it if it is better than the current one on held-out feedback.

    Better means a lower Brier score of the error probability (one-sided p < .05) and no worse ranking. The new head
    gets a threshold for the goal of the current one. If it is not better, nothing is saved and the exit code is 1.
    Feedback that was given only for uncertain predictions describes only those.
    """
    from ..refit import refit as fit_again
    from ..serve.feedback import read_feedback

    if not 0 < share < 1:
        raise typer.BadParameter(f"--share {share} is not between 0 and 1.")
    check_folder(output)
    rows = read_feedback(feedback)
    classifier = load(model, head=head, options=options)
    with progress_bar("feedback", len(rows["text"])) as progress:
        labeled = classifier.features(rows, progress, text_column="text", label_column="label")
    more, training = (
        None if data is None else features(classifier, data, description=f"{name} features", columns=ColumnOptions())
        for name, data in (("calibration", calibration), ("reference", reference))
    )
    result = fit_again(classifier, labeled, calibration=more, reference=training, share=share, seed=seed)
    better, rule = result.comparison.better, result.rule
    if better:
        result.classifier.save_pretrained(output)
    if as_json:
        facts = {"saved": str(output) if better else None, "rule": None if rule is None else rule.to_dict()}
        print(json.dumps(result.comparison.to_dict() | facts))
    else:
        print(result.comparison)
    if not better:
        typer.echo("alien: the new head is not better, nothing was saved", err=True)
        raise typer.Exit(1)
    if not as_json:
        print(f"saved: {output}")
        if rule is not None:
            print(f"\n{rule}")
