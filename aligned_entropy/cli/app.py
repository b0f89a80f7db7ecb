"""Application ``alien`` with all its commands, and the short commands ``inspect`` and ``demo``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from inspect import getdoc
from pathlib import Path
from typing import Annotated

import typer

from ..display.text_tables import wrapped
from .auditing import report_audit, select_audit
from .benchmarking import bench, report
from .caching import clear_caches, list_cache
from .dividing import EXAMPLE, divide
from .doctor import doctor
from .elsewhere_options import EndpointOptions
from .fitting import fit, threshold, train
from .loading import load, note_requests
from .measuring import evaluate
from .options import AsJson, Device, ModelOptions, Seed, with_option_groups
from .predicting import predict
from .reviewing import export_review, import_review
from .server_options import ENVIRONMENT_PREFIX
from .serving import export, refit, serve
from .terminal import Verbosity, next_step, progress_bar, quiet_libraries, settings
from .usage import Command

SHOWN_VALUES = 6  # of a list in the output of inspect
SHOWN_NAMES = {"before": "best untrained candidate", "chosen": "chosen candidate", "pairs": "fitted on pairs of texts"}

app = typer.Typer(
    help="Know when a Hugging Face classifier is wrong. ALIEN_TRACEBACK=1 shows the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@with_option_groups
def inspect(
    head: Annotated[str, typer.Argument(metavar="HEAD", help="Path or hub id of a head.")],
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Model to check the head against.")] = None,
    *,
    endpoint: EndpointOptions,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a head with its threshold and sets and, given a model, check that the head belongs to it.

    With --endpoint URL in place of MODEL, a few requests show if the model behind it is the one of the head.
    Long lists are shortened; --json prints them completely.
    """
    from ..accuracy.distances import DistanceLimit
    from ..saved.hub import describe_head, resolve_head
    from ..selective import Rule, SetRule

    options = ModelOptions(device=device)
    endpoint.check_place(model, options)
    facts = describe_head(resolve_head(head))
    is_compared = model is not None or endpoint.endpoint is not None
    if is_compared:
        # This raises an error if the head does not belong to the model.
        classifier = load(model, head=head, options=options, outputs=endpoint)
        evidence = "it reproduces the stored probe" if model is not None else "its model gives the stored replies"
        facts["fits"] = f"{model or endpoint.endpoint}: yes, {evidence}"
        note_requests(classifier)
    if as_json:
        print(json.dumps(facts))
        return
    rule, sets, candidates = facts.pop("rule"), facts.pop("sets", None), facts.pop("candidates", [])
    if rule is not None:
        facts["threshold"] = "as below"
    if "distance" in facts:
        facts["distance"] = DistanceLimit.from_dict(facts["distance"])
    for name, value in facts.items():
        shown = _shortened(value) if isinstance(value, list) else value
        print(wrapped(f"{SHOWN_NAMES.get(name, name)}: {shown}", "  "))
    if candidates:
        print("\n".join(["", *candidates]))
    if rule is not None:
        print(f"\n{Rule.from_dict(rule)}")
    if sets is not None:
        print(f"\n{SetRule.from_dict(sets)}")
    if is_compared and rule is None:
        next_step("threshold", *endpoint.words(model, "MORE-HELD-OUT.csv"), "--head", head, "--risk", "0.1")


def _shortened(values: Sequence[object]) -> str:
    """Number of values with the first of them; ``--json`` prints all."""
    rest = ", …" if len(values) > SHOWN_VALUES else ""
    return f"{len(values)} ({', '.join(map(str, values[:SHOWN_VALUES]))}{rest})"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all files of the demo.")] = Path("demo"),
    texts: Annotated[int, typer.Option(metavar="N", help="Number of texts of 20 Newsgroups.", min=400)] = 6400,
    seed: Seed = 0,
) -> None:
    """Train a classifier, fit a head, evaluate and report: 20 Newsgroups, MiniLM, about four minutes on two cores."""
    from ..demo import run_demo

    run_demo(output, texts, seed, progress_bar)


def show_version(requested: bool) -> None:
    """Print the version and exit, if requested."""
    if requested:
        from importlib.metadata import version

        print(f"aligned-entropy {version('aligned-entropy')}")
        raise typer.Exit


@app.callback()
def global_options(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print finished stages with times, and warnings of libraries.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet exclude each other.")
    settings.verbosity = Verbosity.VERBOSE if verbose else Verbosity.QUIET if quiet else Verbosity.NORMAL
    settings.warnings.clear()
    quiet_libraries()


# Commands by the heading of their group in the help, each with an example.
COMMANDS: dict[str, dict[Callable[..., None], str]] = {
    "Make a classifier, a head and a threshold": {
        divide: f"alien divide tickets.csv {EXAMPLE}",
        train: "alien train minilm train.csv -o classifier --freeze",
        fit: "alien fit classifier held-out.csv -o head",
        threshold: "alien threshold classifier more-held-out.csv --head head --risk .1",
    },
    "Use them": {
        predict: "alien predict classifier new.jsonl --head head -o predictions.jsonl",
        serve: "alien serve classifier --head head --ui --feedback feedback.sqlite",
        export: "alien export classifier --head head -o graph",
        refit: "alien refit classifier feedback.sqlite --head head -o new-head",
    },
    "Measure": {
        evaluate: "alien evaluate classifier test.csv --head head --report report.html",
        inspect: "alien inspect head classifier",
        bench: "alien bench benchmarks/configs/core.yaml --dry-run",
        report: "alien report benchmarks/configs/core.yaml -o report.html",
    },
    "Try and look after": {demo: "alien demo -o demo", doctor: "alien doctor"},
}

# Commands of two words: the purpose of each family, its commands by their second word, each with an example, and the
# heading of its group in the help.
FAMILIES: dict[str, tuple[str, dict[str, tuple[Callable[..., None], str]], str]] = {
    "audit": (
        "Measure the accuracy of predictions with a few labels, chosen well.",
        {
            "select": (select_audit, "alien audit select predictions.csv --budget 300 -o to-label.csv"),
            "report": (report_audit, "alien audit report predictions.csv to-label.csv"),
        },
        "After deployment",
    ),
    "review": (
        "Let people label predictions, in a spreadsheet, Label Studio or Argilla.",
        {
            "export": (export_review, "alien review export predictions.csv --head head -o review.csv"),
            "import": (import_review, "alien review import review.csv --head head --store feedback.sqlite"),
        },
        "After deployment",
    ),
    "cache": (
        "List or delete stored features, replies, embedded models and data sets.",
        {
            "list": (list_cache, "alien cache list"),
            "clear": (clear_caches, "alien cache clear features"),
        },
        "Try and look after",
    ),
}


def help_text(command: Callable[..., None]) -> str:
    """Docstring of a command with every paragraph on one line, because the help breaks lines itself."""
    paragraphs = getdoc(command) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))


for group, examples in COMMANDS.items():
    for command, example in examples.items():
        app.command(
            cls=Command,
            help=help_text(command),
            epilog=f"Example: {example}",
            rich_help_panel=group,
            # Only the server reads all its options from the environment: it often runs where nobody types a command.
            context_settings={"auto_envvar_prefix": ENVIRONMENT_PREFIX} if command is serve else None,
        )(command)
for family, (purpose, members, group) in FAMILIES.items():
    family_app = typer.Typer(help=purpose, no_args_is_help=True)
    for name, (command, example) in members.items():
        epilog = f"Example: {example}"
        family_app.command(name, cls=Command, help=help_text(command), epilog=epilog)(command)
    app.add_typer(family_app, name=family, rich_help_panel=group)
