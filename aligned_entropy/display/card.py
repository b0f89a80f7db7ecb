"""Cards: how a result shows itself, in a few lines of text and as HTML for a notebook."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from .text_tables import WIDTH, text_table, wrapped

LINES = 10  # of a card as text
NOTE_LINES = 5  # of these, for the notes
TEXT_CELL, HTML_CELL = 34, 160  # characters of a cell that are shown

# Characters that would move the cursor, or the text around them; a browser and a terminal never get them.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")

STYLE = (
    ".alien-card{font:13px/1.5 system-ui,sans-serif;color:inherit;max-width:60em;overflow-x:auto}"
    ".alien-card p{margin:.4em 0}.alien-card table{border-collapse:collapse;border:0;margin:.4em 0;font-size:inherit}"
    ".alien-card th,.alien-card td{padding:.15em .7em;border:0;border-bottom:1px solid rgba(128,128,128,.4);"
    "text-align:left;color:inherit;background-color:transparent}"
    ".alien-card .number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".alien-card svg{display:block;max-width:100%;height:auto}"
)
BAR = "rgba(213,94,0,.45)"  # readable behind dark and behind light text


class Share(float):
    """Share from 0 to 1, behind which HTML draws a bar; NaN is shown as a dash."""

    def __str__(self) -> str:
        return "–" if self != self else f"{float(self):.3f}"


@dataclass(frozen=True)
class Card:
    """Title, sentences, table and figure by which a result shows itself.

    Attributes:
        title: line with the kind of the result and its main numbers.
        notes: sentences, the most important ones first; a short text shows their first lines alone.
        header: headings of the columns of a table; empty without a table.
        count: number of rows of the table.
        row: function that gives the cells of a row by its number. A :class:`Share` has a bar in HTML.
        shown: number of rows that HTML shows at most, the first and the last ones.
        figure: function that draws a figure as SVG, for HTML alone; None without one.
        parts: cards that HTML shows below.
    """

    title: str
    notes: Sequence[str] = ()
    header: Sequence[str] = ()
    count: int = 0
    row: Callable[[int], Sequence[object]] = lambda row: ()
    shown: int = 10
    figure: Callable[[], str] | None = None
    parts: Sequence[Card] = ()

    def text(self, is_whole: bool = False) -> str:
        """Card as text with 80 columns: of at most 10 lines, or with all notes and as many rows as HTML shows."""
        lines = wrapped(one_line(self.title, 3 * WIDTH), "  ").splitlines()
        notes = [line for note in self.notes for line in wrapped(one_line(note), "  ").splitlines()]
        most = NOTE_LINES if self.header else LINES - len(lines)
        lines += notes if is_whole or len(notes) <= most else [*notes[: most - 1], "…"]
        room = self.shown if is_whole else LINES - 1 - len(lines)
        if self.header and room > 0:
            rows = [[one_line(cell, TEXT_CELL) for cell in row] for row in self._rows(room)]
            lines += text_table(self.header, rows, cut=True).splitlines()
        return "\n".join(lines)

    def html(self) -> str:
        """Card as HTML that loads nothing and runs nothing, with the colors of the page around it."""
        return f'<div class="alien-card"><style>{STYLE}</style>{self._html()}</div>'

    def _html(self) -> str:
        title, notes = (f"<p><b>{escape(one_line(self.title))}</b></p>", "".join(map(_paragraph, self.notes)))
        table = ""
        if self.header:
            rows = list(self._rows(self.shown))
            numbers = [any(type(row[i]) in (int, float, Share) for row in rows) for i in range(len(self.header))]
            classes = [' class="number"' if is_number else "" for is_number in numbers]
            head = "".join(f"<th{c}>{escape(name)}</th>" for name, c in zip(self.header, classes, strict=True))
            body = "".join(
                f"<tr>{''.join(_cell(cell, c) for cell, c in zip(row, classes, strict=True))}</tr>" for row in rows
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        figure = "" if self.figure is None else self.figure()
        return title + notes + table + figure + "".join(part._html() for part in self.parts)

    def _rows(self, room: int) -> list[Sequence[object]]:
        """Cells of all rows, or of the first and last ones around a row with the number of the others."""
        if self.count <= room:
            return [self.row(number) for number in range(self.count)]
        first, last = room // 2, (room - 1) // 2
        rest = f"… {self.count - first - last:,} more"
        between = [rest, *[""] * (len(self.header) - 1)]
        ends = (range(first), range(self.count - last, self.count))
        before, after = ([self.row(number) for number in part] for part in ends)
        return [*before, between, *after]


class Displayed(ABC):
    """Base of results that show themselves: :func:`repr` gives a few lines, ``print`` all notes, a notebook a table."""

    @abstractmethod
    def _card(self) -> Card:
        """Card of the result."""

    def __repr__(self) -> str:
        return self._card().text()

    def __str__(self) -> str:
        return self._card().text(is_whole=True)

    def _repr_html_(self) -> str:
        return self._card().html()


def one_line(value: object, length: int | None = None) -> str:
    """Value as text without line ends and control characters, cut to a length; None is a dash, True is "yes"."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    text = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else str(value)
    text = " ".join(UNSEEN.sub(" ", text[: 4 * (length or len(text))]).split())
    return text if length is None or len(text) <= length else text[: length - 1].rstrip() + "…"


def _paragraph(text: str) -> str:
    return f"<p>{escape(one_line(text))}</p>"


def _cell(cell: object, css_class: str) -> str:
    bar = ""
    if isinstance(cell, Share) and 0 <= cell <= 1:
        bar = f' style="background-image:linear-gradient(90deg,{BAR} {100 * cell:.1f}%,transparent 0);min-width:4em"'
    return f"<td{css_class}{bar}>{escape(one_line(cell, HTML_CELL))}</td>"
