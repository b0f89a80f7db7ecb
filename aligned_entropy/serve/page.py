"""The page at ``/ui``: texts or a file in, answers with their doubt out, and what a target of errors would cost."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..classifier import UncertainClassifier
from ..errors import AlignedEntropyError
from ..metrics import risk_coverage
from ..report.figures import risk_figure, score_styles
from ..report.html import load_template
from ..selective import Goal, Rule, SelectionUnits, choose_threshold
from .attribution import occlusion
from .server import Server
from .upload import QueuedClassifier, UploadedTable, read_file, read_lines

PATH = "/ui"
HOUR = 3600  # seconds that a visitor's texts and files are kept, at most
SHOWN = 100  # rows
LEAST = 0.02  # doubt that a darkest word is about
SYSTEM_FONTS = ["system-ui", "sans-serif"]  # the usual ones are loaded from elsewhere
VISITORS = 4  # whose texts are answered at a time, a batch of each in turn
EXPLAINED = 3  # of the most doubtful texts
STYLE = Path(__file__).parents[1] / "assets" / "ui.css"
# Whatever the page's libraries may come to ask for, a browser will not fetch it from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'"
)


def mount_page(app: FastAPI, server: Server) -> None:
    """Add the page to an application.

    With an API key the page asks for it, as the password of any user. Texts and files of visitors are gone after an
    hour at most.
    """
    page, settings = Page(server), server.settings
    os.environ["GRADIO_TEMP_DIR"] = page.folder.name
    blocks = page.blocks().queue(max_size=settings.queue, api_open=False)
    gr.mount_gradio_app(
        app,
        blocks,
        PATH,
        auth=None if settings.api_key is None else _password(settings.api_key),
        auth_message="Any user name; the password is the server's API key.",
        footer_links=[],
        run_history=False,
        max_file_size=settings.body,
        ssr_mode=False,
        theme=gr.themes.Default(font=SYSTEM_FONTS, font_mono=["monospace"]),
        css_paths=[STYLE],
    )
    mounted: Any = app.routes[-1]
    server.leaving.append(mounted.app.stop_event.set)  # else open pages keep the server from going down
    app.add_middleware(Guarded)


def _password(key: str) -> Callable[[str, str], bool]:
    return lambda user, password: hmac.compare_digest(password.encode(), key.encode())


class Guarded:
    """Sends the page with a policy that forbids to load anything from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        ours = scope["type"] == "http" and scope["path"].startswith(PATH)
        await self.app(scope, receive, guarded if ours else send)


class Page:
    """What the page shows, and what happens when it is used.

    Args:
        server: whose classifier answers, in turn with requests of programs.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parts: Any = load_template("ui.html.j2").module
        self.folder = TemporaryDirectory(prefix="aligned-entropy-")

    def blocks(self) -> gr.Blocks:
        """The layout, with its events."""
        endings = [".csv", ".tsv", ".jsonl", ".parquet", ".txt"]
        with gr.Blocks(title="aligned-entropy", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as blocks:
            rule, sheet = gr.State(time_to_live=HOUR), gr.State(time_to_live=HOUR)
            heading = gr.HTML()
            with gr.Row():
                lines = gr.Textbox(
                    label="Texts, one a line; Shift+Enter answers", lines=6, max_lines=12, elem_id="texts", scale=3
                )
                file = gr.File(label=f"or a file: {', '.join(endings)}", file_types=endings, height=180, scale=2)
            ask = gr.Button("Answer", variant="primary", elem_id="ask")
            target = gr.Slider(
                label="Errors among accepted answers, at most, in %", step=0.5, visible=False, elem_id="target"
            )
            statement = gr.HTML(elem_id="statement")
            answers = gr.HTML(elem_id="answers", apply_default_css=False)
            download = gr.DownloadButton("Download the answers (CSV)", visible=False, elem_id="download")
            words = gr.HTML(elem_id="words", apply_default_css=False)
            with gr.Accordion("What a target costs, seen on labeled answers", visible=False) as costs:
                curve = gr.Plot(show_label=False, elem_id="curve")

            options: dict[str, Any] = {"api_visibility": "private"}
            working = options | {"concurrency_id": "answers", "concurrency_limit": VISITORS}
            showing = options | {"concurrency_id": "shown", "concurrency_limit": 1}
            shown = [answers, download]
            blocks.load(self.start, None, [heading, costs, target, statement, curve, rule], **options)
            events = ((ask.click, self.answer_lines, lines), (lines.submit, self.answer_lines, lines))
            for event, handler, given in (*events, (file.upload, self.answer_file, file)):
                asked = event(handler, given, sheet, **working).success(self.show, [sheet, rule], shown, **showing)
                asked.success(self.explain, sheet, words, **working)
            quiet: dict[str, Any] = {"show_progress": "hidden"}
            trade = [statement, curve, rule]
            moved = target.input(self.choose, target, trade, trigger_mode="always_last", **quiet, **options)
            moved.success(self.show, [sheet, rule], shown, **quiet, **showing)
        return blocks

    def start(self) -> tuple[Any, ...]:
        """The head in use, with its own threshold."""
        classifier, version = self.server.served.current
        rule, answers = classifier.saved.rule, _known(classifier)
        heading = self.parts.heading(
            Path(classifier.backbone.name).name, version, None if rule is None else str(rule.goal)
        )
        if answers is None:
            return heading, gr.Accordion(), gr.Slider(), "", None, (rule, version)
        overall = 100 * float(answers.errors.mean())
        most = min(50.0, max(5.0, np.ceil(1.5 * overall)))
        goal = rule.goal.risk if rule is not None and rule.goal.risk is not None else None
        value = round(2 * min(most, max(0.5, overall / 2 if goal is None else 100 * goal))) / 2
        slider = gr.Slider(minimum=0.5, maximum=most, value=value, visible=True)
        rule = rule if rule is not None else choose_threshold(answers, Goal(risk=value / 100))
        return heading, gr.Accordion(visible=True), slider, *self._trade(answers, rule), (rule, version)

    def choose(self, percent: float) -> tuple[Any, ...]:
        """Another target of errors, with what it would cost; the server's own threshold stays."""
        classifier, version = self.server.served.current
        answers = _known(classifier)
        if answers is None:
            raise gr.Error("the head has no labeled answers: read the page again.")
        goal = Goal(risk=percent / 100)
        if classifier.saved.rule is not None:
            own = classifier.saved.rule.goal
            goal = Goal(risk=percent / 100, delta=own.delta, method=own.method, per_class=own.per_class)
        rule = choose_threshold(answers, goal)
        return *self._trade(answers, rule), (rule, version)

    def _trade(self, answers: SelectionUnits, rule: Rule) -> tuple[str, Any]:
        """In words and as a curve: what a rule accepts of the labeled answers, and how many of these are wrong."""
        accepted = rule.accepts(answers.uncertainty, answers.labels)
        sentences = [str(rule.goal)[:1].upper() + f"{str(rule.goal)[1:]}."]
        if accepted.any():
            risk = float(answers.errors[accepted].mean())
            sentences.append(
                f"Of {len(answers)} labeled answers {accepted.mean():.1%} are accepted, and {risk:.1%} of these are "
                f"wrong; of all answers it is {answers.errors.mean():.1%}."
            )
        else:
            sentences.append(f"Of {len(answers)} labeled answers none is accepted.")
        sentences += [own.reason for own in rule.thresholds.values() if not own.accepted][:1]
        if not rule.held_out or not answers.held_out:
            sentences.append("The head was fitted on these answers: an estimate, nothing is guaranteed.")
        name = "labeled answers"
        coverage, risks = risk_coverage(answers.errors, answers.uncertainty)
        figure = risk_figure({"": {name: (coverage, risks)}}, score_styles([name], name))
        figure.update_layout(height=300, showlegend=False, font_size=12)
        if accepted.any():
            figure.add_scatter(
                x=[accepted.mean()], y=[risk], mode="markers", marker={"size": 13, "color": "#d55e00"}, name="accepted"
            )
        if rule.goal.risk is not None:
            figure.add_hline(rule.goal.risk, line={"color": "#d55e00", "dash": "dot"})
        return self.parts.statement(sentences), figure

    def answer_lines(self, lines: str) -> UploadedTable:
        """Predictions for pasted texts."""
        return _told(lambda: read_lines(self.server, lines or ""))

    def answer_file(self, path: str) -> UploadedTable:
        """Predictions for the rows of a file."""
        return _told(lambda: read_file(self.server, path), path)

    def show(self, sheet: UploadedTable | None, chosen: tuple[Rule | None, str]) -> tuple[Any, Any]:
        """The answers with what a rule accepts, and the file with all of them.

        A rule is of the head that it was chosen with; answers of another head keep what that one says of them.
        """
        if sheet is None:
            return "", gr.DownloadButton(visible=False)
        rule, version = chosen
        same = sheet.head == version
        sheet = sheet.decided(rule) if same else sheet
        path = Path(self.folder.name) / "answers.csv"  # one visitor's at a time; what is sent is a copy
        sheet.write(path)
        rows, summary = sheet.look(SHOWN)
        summary += "" if same else " The head has been exchanged since: read the page again."
        measure = "P(wrong)" if sheet.name("error_probability") in sheet.added else "Uncertainty"
        return self.parts.answers(rows, summary, measure), gr.DownloadButton(value=str(path), visible=True)

    def explain(self, sheet: UploadedTable) -> str:
        """Words of the most doubtful texts."""
        texts = sheet.most_doubtful(EXPLAINED)
        classifier = QueuedClassifier(self.server)
        found = [occlusion(classifier, text) for text in texts]
        note = "The darker a word, the less doubt without it."
        if sheet.task.per_word:
            note = "The darker a word, the more doubtful its tag."
        return str(self.parts.words([_shaded(pieces) for pieces in found if pieces], note)) if any(found) else ""


def _known(classifier: UncertainClassifier) -> SelectionUnits | None:
    """The labeled answers of a head, as far as their doubt is known; None where there are none."""
    answers = classifier.saved.selection_units
    known = None if answers is None else answers[~np.isnan(answers.uncertainty)]
    return known if known is not None and len(known) else None


def _told(work: Callable[[], UploadedTable], path: str = "") -> UploadedTable:
    """What is wrong with texts or a file is said on the page; a file has the name that the visitor knows."""
    try:
        return work()
    except (AlignedEntropyError, OSError) as error:
        raise gr.Error(str(error).replace(path, Path(path).name), print_exception=False) from error


def _shaded(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, int, str]]:
    """Pieces with how dark they are, in per cent of the page's mark, and what the pointer says."""
    most = max(LEAST, *(weight for _, weight in pieces))
    shades = [round(90 * weight / most) if weight > 0.1 * most else 0 for _, weight in pieces]
    return [(piece, shade, f"{weight:+.3f}") for (piece, weight), shade in zip(pieces, shades, strict=True)]
