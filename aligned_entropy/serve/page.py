"""Page at ``/ui`` for texts and files: predictions, the words behind their uncertainty, and a slider for the risk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware

from ..data.files.rows import ENDINGS
from ..errors import AlignedEntropyError
from ..report.html import load_template
from ..selective import Rule, SelectionUnits, choose_threshold
from . import trade_off
from .attribution import Weights, attributions
from .middleware import ContentSecurityPolicy, PageLinks
from .server import PAGE_PATH, Server
from .upload import QueuedClassifier, UploadedTable, read_file, read_lines

STORAGE_SECONDS = 3600  # texts and files of a visitor are deleted after this time
MAX_SHOWN_ROWS = 100
MIN_FULL_WEIGHT = 0.02  # only a word of at least this weight gets the darkest shade
SYSTEM_FONTS = ["system-ui", "sans-serif"]  # the default fonts of gradio are loaded from another server
MAX_CONCURRENT_VISITORS = 4  # their texts are predicted in turn, a batch each
EXPLAINED_TEXTS = 3
STYLE = Path(__file__).parents[1] / "assets" / "ui.css"

ChosenRule = tuple[Rule | None, str]
"""Rule that the page applies, and the version of the head that it belongs to."""


def mount_page(app: FastAPI, server: Server) -> None:
    """Add the page to an application.

    Texts and files of visitors are deleted after ``STORAGE_SECONDS``, or when the server ends.
    """
    page, settings = Page(server), server.settings
    os.environ["GRADIO_TEMP_DIR"] = page.folder.name
    blocks = page.blocks().queue(max_size=settings.queue, api_open=False)
    gr.mount_gradio_app(
        app,
        blocks,
        PAGE_PATH,
        footer_links=[],
        run_history=False,
        max_file_size=settings.body,
        ssr_mode=False,
        theme=gr.themes.Default(font=SYSTEM_FONTS, font_mono=["monospace"]),
        css_paths=[STYLE],
    )
    mounted: Any = app.routes[-1]
    server.on_shutdown.append(mounted.app.stop_event.set)  # otherwise, open pages would delay the shutdown
    mounted.app.user_middleware.append(Middleware(PageLinks))  # the innermost, because gradio compresses its responses
    app.add_middleware(ContentSecurityPolicy)


@dataclass(frozen=True)
class Components:
    """Components of the page, from top to bottom, and the state of a visitor."""

    heading: gr.HTML
    lines: gr.Textbox
    file: gr.File
    predict: gr.Button
    target: gr.Slider
    statement: gr.HTML
    predictions: gr.HTML
    download: gr.DownloadButton
    words: gr.HTML
    curve_panel: gr.Accordion
    curve: gr.Plot
    rule: gr.State
    table: gr.State


def _components() -> Components:
    """Create the components of the page in their order."""
    heading = gr.HTML()
    with gr.Row():
        lines = gr.Textbox(
            label="Texts, one per line (Shift+Enter to predict)", lines=6, max_lines=12, elem_id="texts", scale=3
        )
        endings = list(ENDINGS)
        file = gr.File(label=f"or a file: {', '.join(endings)}", file_types=endings, height=180, scale=2)
    predict = gr.Button("Predict", variant="primary", elem_id="predict")
    target = gr.Slider(
        label="Maximum error rate among accepted predictions, in %",
        step=trade_off.STEP,
        visible=False,
        elem_id="target",
    )
    statement = gr.HTML(elem_id="statement")
    predictions = gr.HTML(elem_id="predictions", apply_default_css=False)
    download = gr.DownloadButton("Download the predictions (CSV)", visible=False, elem_id="download")
    words = gr.HTML(elem_id="words", apply_default_css=False)
    with gr.Accordion("Coverage and risk on labeled predictions", visible=False) as curve_panel:
        curve = gr.Plot(show_label=False, elem_id="curve")
    rule, table = gr.State(time_to_live=STORAGE_SECONDS), gr.State(time_to_live=STORAGE_SECONDS)
    return Components(
        heading, lines, file, predict, target, statement, predictions, download, words, curve_panel, curve, rule, table
    )


class Page:
    """Layout of the page, and the handlers of its events.

    Args:
        server: server whose classifier predicts the texts, in turn with other requests.

    Attributes:
        templates: macros of the HTML template.
        folder: temporary folder for uploads and downloads.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.templates: Any = load_template("ui.html.j2").module
        self.folder = TemporaryDirectory(prefix="aligned-entropy-")

    def blocks(self) -> gr.Blocks:
        """Create the layout, and connect its events with the handlers."""
        deletion = (STORAGE_SECONDS, STORAGE_SECONDS)
        blocks = gr.Blocks(title="aligned-entropy", analytics_enabled=False, delete_cache=deletion)
        with blocks:
            self._connect(blocks, _components())
        return blocks

    def _connect(self, blocks: gr.Blocks, page: Components) -> None:
        options: dict[str, Any] = {"api_visibility": "private"}
        predicting = options | {"concurrency_id": "predictions", "concurrency_limit": MAX_CONCURRENT_VISITORS}
        showing = options | {"concurrency_id": "shown", "concurrency_limit": 1}
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        trade_off_parts = [page.statement, page.curve, page.rule]
        shown_from, shown_in = [page.table, page.rule], [page.predictions, page.download]

        started = [page.heading, page.curve_panel, page.target, *trade_off_parts]
        blocks.load(self.start, None, started, **options)
        for event, handler, source in (
            (page.predict.click, self.predict, [page.lines, page.file]),
            (page.lines.submit, self.predict_lines, page.lines),
            (page.file.upload, self.predict_file, page.file),
        ):
            predicted = event(handler, source, page.table, **predicting)
            shown = predicted.success(self.show, shown_from, shown_in, **showing)
            shown.success(self.explain, page.table, page.words, **predicting)
        moved = page.target.input(
            self.choose, page.target, trade_off_parts, trigger_mode="always_last", **quiet, **options
        )
        moved.success(self.show, shown_from, shown_in, **quiet, **showing)

    def start(self) -> tuple[Any, ...]:
        """Show the head in use and its threshold; without a threshold, one is chosen for the first target."""
        classifier, version = self.server.head.current
        rule, units = classifier.saved.rule, trade_off.labeled_predictions(classifier)
        model, goal = Path(classifier.backbone.name).name, None if rule is None else str(rule.goal)
        heading = self.templates.heading(model, version, goal)
        if units is None:
            return heading, gr.Accordion(), gr.Slider(), "", None, (rule, version)
        maximum, value = trade_off.target_range(units, rule)
        slider = gr.Slider(minimum=trade_off.STEP, maximum=maximum, value=value, visible=True)
        if rule is None:
            rule = choose_threshold(units, trade_off.with_target(None, value), classifier.saved.fit_units)
        return heading, gr.Accordion(visible=True), slider, *self._trade_off(units, rule), (rule, version)

    def choose(self, percent: float) -> tuple[Any, ...]:
        """Choose a threshold for another target, and show its coverage and risk; the server keeps its threshold."""
        classifier, version = self.server.head.current
        units = trade_off.labeled_predictions(classifier)
        if units is None:
            raise gr.Error("The head has no labeled predictions to choose a threshold on: reload the page.")
        goal = trade_off.with_target(classifier.saved.rule, percent)
        rule = choose_threshold(units, goal, classifier.saved.fit_units)
        return *self._trade_off(units, rule), (rule, version)

    def _trade_off(self, units: SelectionUnits, rule: Rule) -> tuple[str, Any]:
        return self.templates.statement(trade_off.describe(units, rule)), trade_off.curve(units, rule)

    def predict(self, lines: str, path: str | None) -> UploadedTable:
        """Predict the entered texts or, if there are none, the rows of the uploaded file."""
        return self.predict_lines(lines) if path is None or (lines or "").strip() else self.predict_file(path)

    def predict_lines(self, lines: str) -> UploadedTable:
        """Predict the entered texts."""
        return _with_page_errors(lambda: read_lines(self.server, lines or ""))

    def predict_file(self, path: str) -> UploadedTable:
        """Predict the rows of an uploaded file."""
        return _with_page_errors(lambda: read_file(self.server, path), path)

    def show(self, table: UploadedTable | None, chosen: ChosenRule) -> tuple[str, gr.DownloadButton]:
        """Show predictions, accepted or deferred by a rule, and offer all of them as a file.

        A rule belongs to the head that it was chosen for. If another head made the predictions, they keep the decisions
        of that head.
        """
        if table is None:
            return "", gr.DownloadButton(visible=False)
        rule, version = chosen
        summary_end = ""
        if table.head == version:
            if table.loses_sets(rule):
                summary_end = " Sets of classes are shown only for the threshold of the head."
            table = table.with_rule(rule)
        else:
            summary_end = " The head was exchanged after the page was loaded: reload the page."
        path = Path(self.folder.name) / "predictions.csv"  # only one visitor at a time; gradio sends a copy
        table.write(path)
        measure = "P(wrong)" if table.added.error_probability in table.added.names else "Uncertainty"
        rows, summary = table.rows_to_show(MAX_SHOWN_ROWS), table.summary(MAX_SHOWN_ROWS) + summary_end
        return self.templates.predictions(rows, summary, measure), gr.DownloadButton(value=str(path), visible=True)

    def explain(self, table: UploadedTable) -> str:
        """Shade the words of the most uncertain texts by their share in the uncertainty."""
        classifier = QueuedClassifier(self.server)
        texts = [attributions(classifier, text) for text in table.most_uncertain(EXPLAINED_TEXTS)]
        texts = [weights for weights in texts if weights]
        if not texts:
            return ""
        note = "The darker a word, the more it adds to the uncertainty of the text."
        if table.task.per_word:
            note = "The darker a word, the more uncertain its tag."
        return str(self.templates.words([_shaded(weights) for weights in texts], note))


def _with_page_errors(read: Callable[[], UploadedTable], path: str = "") -> UploadedTable:
    """Show errors on the page; a temporary path is replaced by the name of the visitor's file."""
    try:
        return read()
    except (AlignedEntropyError, OSError) as error:
        raise gr.Error(str(error).replace(path, Path(path).name), print_exception=False) from error


def _shaded(weights: Weights) -> list[tuple[str, int, str]]:
    """Pieces of a text with their shade (percent of the darkest one) and the text of their tooltip."""
    maximum = max(MIN_FULL_WEIGHT, *(weight for _, weight in weights))
    shades = [round(90 * weight / maximum) if weight > 0.1 * maximum else 0 for _, weight in weights]
    return [(piece, shade, f"{weight:+.3f}") for (piece, weight), shade in zip(weights, shades, strict=True)]
