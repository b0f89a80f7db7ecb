"""Commands ``alien serve``, ``export`` and ``refit``: they put a head to use and replace it by a better one."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display.text_tables import wrapped
from ..errors import MissingExtraError
from .checks import check_folder, share
from .elsewhere_options import ElsewhereOptions
from .loading import features, load, read_table, training_features
from .options import (
    AsJson,
    ColumnOptions,
    Delimiter,
    Encoding,
    Head,
    MaxLength,
    Model,
    ModelOptions,
    Module,
    OptionalModel,
    Reference,
    Seed,
    Task,
    TextColumn,
    TextPairColumn,
    of_head,
    with_option_groups,
)
from .rule_notes import show_use
from .server_options import (
    ENVIRONMENT_PREFIX,
    LimitOptions,
    NetworkOptions,
    ServedEndpointOptions,
    StoreOptions,
    check_keys,
    server_settings,
)
from .terminal import Verbosity, note, option_words, progress_bar, quiet_warnings, stage
from .terminal import settings as terminal

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..export import Export
    from ..features.arrays import Features
    from ..refit import Refit

MORE_TEXTS = "Give the texts that it was fitted on with --calibration, so that the new head learns from them, too."
MORE_LABELS = (
    "To improve a head takes about as many labeled texts as it was fitted on. Fewer still measure the accuracy: see "
    "alien audit."
)
FitShare = Annotated[
    float,
    typer.Option(
        metavar="X", parser=share, help="Share of the feedback to fit on; the rest serves to compare the heads."
    ),
]


@with_option_groups
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Trained text or token classifier: path or hub id, PEFT adapters included; none for a head that was "
            "fitted on outputs, or with --endpoint.",
            envvar=f"{ENVIRONMENT_PREFIX}_MODEL",
            show_envvar=True,
        ),
    ] = None,
    head: Head = None,
    ui: Annotated[bool, typer.Option("--ui", help="Serve a page for people at /ui.")] = False,
    api_key: Annotated[
        str | None, typer.Option(help="Key that requests must send; the variable hides it from other users.")
    ] = None,
    admin_key: Annotated[
        str | None, typer.Option(help="Key for exchanging the head and deleting predictions; use the variable.")
    ] = None,
    *,
    endpoint: ServedEndpointOptions,
    network: NetworkOptions,
    limits: LimitOptions,
    store: StoreOptions,
    options: ModelOptions,
) -> None:
    """Serve a model with its head: POST /v1/predict, /v1/feedback; GET /docs, /healthz, /readyz, /metrics.

    Without MODEL, a head that was fitted on outputs serves POST /v1/score, which takes outputs in place of texts. With
    --endpoint URL in place of MODEL, the server asks a language model behind an API for each text.

    Every option can also be set by an environment variable: ALIEN_PORT for --port, for example. Requests must send the
    API key as "Authorization: Bearer …". The signal SIGHUP reloads the folder of the head. On SIGTERM the server
    finishes all accepted requests and exits.
    """
    try:
        from ..serve.run import listen, run, start_log
        from ..serve.server import LOG
        from ..store import Store
    except ImportError as error:
        raise MissingExtraError(
            "the server needs optional dependencies: pip install 'aligned-entropy[serve]'"
        ) from error
    if ui and find_spec("python_multipart") is None:
        raise MissingExtraError("the page needs an optional dependency: pip install 'aligned-entropy[ui]'")
    check_keys({"API_KEY": api_key, "ADMIN_KEY": admin_key})
    endpoint.check_place(model, options)
    if endpoint.endpoint is not None and ui:
        raise typer.BadParameter("--ui needs MODEL: the page shades words, which would take hundreds of requests.")
    if model is None and endpoint.endpoint is None:
        _check_without_model(head, options, store, ui)
    if store.place is not None:
        Store(store.place).close()  # one that cannot be used is an error before the model is loaded
    sockets = listen(network.host, network.port)  # a port in use is an error before the model is loaded
    settings = server_settings(limits, network, store, api_key=api_key, admin_key=admin_key, page=ui)
    start_log()
    LOG.info("loading the model", extra={"facts": {"model": model or endpoint.model_name, "head": head}})
    if not sys.stderr.isatty():
        terminal.verbosity = Verbosity.QUIET  # the log is for programs, which read JSON
    classifier = load(model, head=head, options=options, outputs=endpoint)
    run(classifier, head, settings, sockets, network.keep_alive, network.forwarded_allow_ips)


def _check_without_model(head: str | None, options: ModelOptions, store: StoreOptions, ui: bool) -> None:
    """Refuse options that need a model.

    Raises:
        BadParameter: there is no head, or an option needs a model.
    """
    if head is None:
        raise typer.BadParameter("give MODEL, --endpoint URL, or --head HEAD with a head that was fitted on outputs.")
    if options != ModelOptions():
        raise typer.BadParameter(f"--head {head} without MODEL: leave the options of the model out, or name MODEL.")
    if ui:
        raise typer.BadParameter("--ui needs MODEL: the page takes texts, and without a model there is none for them.")
    if store.place is not None:
        option = "--store" if store.feedback is None else f"--feedback {store.feedback}"
        raise typer.BadParameter(
            f"{option} needs MODEL: keep outputs and labels in a file, for alien refit --outputs FILE."
        )


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
    text_pair_column: TextPairColumn = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Write model and head as one ONNX graph, with the tokenizer: token ids in, logits and uncertainty out.

    Graph and tokenizer are compared with the model before they are saved. They need only ONNX Runtime and the library
    tokenizers, not this library; see docs/onnx-export.md.
    """
    from ..data import load_data, plain_texts
    from ..export import check_exportable_head, export_onnx

    for option, name in (("text-column", text_column), ("text-pair-column", text_pair_column)):
        if name is not None and int8 is None:
            raise typer.BadParameter(f"--{option} {name} names a column of the texts of --int8: give both.")
    check_folder(output, [int8], content="graph")
    if head is not None:
        check_exportable_head(head)
    rows = None if int8 is None else load_data(int8, delimiter=delimiter, encoding=encoding)
    texts = None if rows is None else plain_texts(rows, text_column, text_pair_column)
    options = ModelOptions(max_length, "cpu", classification_module=classification_module, task=task)
    classifier = load(model, head=head, options=options)
    with quiet_warnings():
        exported = export_onnx(classifier, output, texts, stage)
    if as_json:
        facts = {"inputs": exported.inputs, "outputs": exported.outputs, "difference": exported.difference}
        facts |= {} if exported.int8 is None else {"int8": exported.int8.to_dict()}
        print(json.dumps(facts | {"saved": str(output)}))
    else:
        _print_export(exported)


def _print_export(exported: Export) -> None:
    print(f"inputs:  {', '.join(exported.inputs)}")
    print(f"outputs: {', '.join(exported.outputs)}")
    effect = exported.int8
    if effect is not None:
        print(
            f"8 bits change {effect.changed_share:.2%} of {effect.predictions} predictions; the rank correlation of "
            f"the uncertainty is {effect.rank_correlation:.4f}."
        )
        print("The graph has no threshold, because the threshold was certified in float32.")
    print(
        f"saved: {exported.folder / 'model.onnx'} ({exported.size / 1e6:,.1f} MB) and its tokenizer. In float32, the "
        f"outputs differ from those of the model by at most {exported.difference:.1e}. Run the graph with the code in "
        "docs/onnx-export.md."
    )


@with_option_groups
def refit(
    model: OptionalModel = None,
    feedback: Annotated[
        str | None,
        typer.Argument(help="Store with true labels, of alien serve or alien review import: SQLite file or URL."),
    ] = None,
    *,
    outputs: ElsewhereOptions,
    head: Annotated[str, typer.Option(help="Path or hub id of the current head.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new head, if it is better.")],
    calibration: Annotated[
        str | None,
        typer.Option(help="More labeled texts to fit on, as DATA of fit; usually those of the current head."),
    ] = None,
    reference: Reference = None,
    share: FitShare = 0.5,
    options: ModelOptions,
    columns: ColumnOptions,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a new head on feedback, and save it if it is better than the current one on held-out feedback.

    Better means a lower Brier score of the error probability (one-sided p < .05) and no worse ranking. The new head
    gets a threshold for the goal of the current one. If it is not better, nothing is saved and the exit code is 1.
    Labels whose texts were drawn with known probabilities are weighted, so that the new head fits all texts that they
    were drawn from; labels of texts that people chose describe only texts like these. With --outputs FILE, labeled
    outputs are the feedback, and --calibration and --reference also name files of outputs.
    """
    from ..refit import refit as fit_again
    from ..store import is_feedback, read_feedback

    if not 0 < share < 1:
        raise typer.BadParameter(f"--share {share} is not between 0 and 1.")
    model, data = outputs.source(model, feedback, options)
    check_folder(output, [data, calibration, reference], force=True)  # a head that is better may replace the old one
    more_table, training_table = (read_table(name, columns) for name in (calibration, reference))
    rows = read_feedback(data) if model is not None or (outputs.endpoint and is_feedback(data)) else {}
    inclusion = rows.pop("inclusion", None)
    table = None if rows else read_table(data, columns)
    classifier = load(model, head=head, options=options, outputs=outputs)
    arguments: dict[str, Any] = {"columns": columns, "views": True}
    if table is None:
        labeled = _stored_feedback(classifier, rows)
    else:
        labeled = features(classifier, table, description="feedback", **arguments)
    sets = {"calibration": None, "reference": training_features(classifier, training_table, **arguments)}
    if more_table is not None:
        sets["calibration"] = features(classifier, more_table, description="calibration features", **arguments)
    with stage("fitting and comparing the heads"):
        result = fit_again(classifier, labeled, inclusion=inclusion, **sets, share=share, seed=seed)
    if result.comparison.better:
        result.classifier.save_pretrained(output)
    _print_refit(result, output, as_json, calibration)  # exits if the new head is not better
    if not as_json:
        new = ["serve", model] if model is not None else ["predict", *outputs.words(model, "NEW.csv")]
        labels = ["threshold", *outputs.words_beside(model, calibration or data, "more-held-out")]
        words = ["--head", output, *option_words(of_head(options))]
        text_words = option_words(columns.of_texts) if model is None else []
        show_use(result.rule, output, [*new, *words, *text_words], [*labels, *words, *option_words(columns)])


def _print_refit(result: Refit, output: Path, as_json: bool, calibration: str | None) -> None:
    better, rule = result.comparison.better, result.rule
    if as_json:
        facts = {"saved": str(output) if better else None, "rule": None if rule is None else rule.to_dict()}
        print(json.dumps(result.comparison.to_dict() | facts))
    else:
        print(result.comparison)
    if not better:
        typer.echo(f"alien: the new head is {result.comparison.verdict}, nothing was saved", err=True)
        note(wrapped(f"The current head stays in use. {MORE_TEXTS if calibration is None else MORE_LABELS}"))
        raise typer.Exit(1)
    if as_json:
        return
    print(f"saved: {output}")
    if rule is not None:
        print(f"\n{rule}")
    if rule is not None and result.equal_texts is not None:
        print(f"chosen on {result.equal_texts} texts, a subsample in which all texts count alike")


def _stored_feedback(classifier: UncertainClassifier, rows: dict[str, list[Any]]) -> Features:
    """Features of the texts with true labels that the server has stored."""
    with progress_bar("feedback", len(rows["text"])) as progress:
        return classifier.features(rows, progress, views=True, **{f"{name}_column": name for name in rows})
