"""What a table is, and how it is printed: the same for the page, Markdown and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..stats import mean_ranks

MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|*<`["})
LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"} | {mark: f"${mark}$" for mark in "<>|"} | {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$",
        "×": r"$\times$", "▲": "$^{+}$", "▼": "$^{-}$",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A measure of one score in one column.

    Attributes:
        value: mean over the seeds.
        deviation: standard deviation over them; None of a single one.
        interval: bounds of the 95 % bootstrap interval over test texts, means over the seeds; given in place of that.
        place: 1 for the best of its column, 2 for the second best, otherwise 0.
        sign: 1 or -1 where it is significantly better or worse than softmax response, otherwise 0.
    """

    value: float
    deviation: float | None = None
    place: int = 0
    sign: int = 0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Column:
    """A heading, and how the values below it are printed: what they are multiplied with, and their decimals.

    Attributes:
        lower: whether the lowest value is the best.
    """

    heading: str
    scale: float = 100.0
    digits: int = 2
    lower: bool = False

    def text(self, value: float) -> str:
        """A value as it is printed."""
        return f"{value * self.scale:.{self.digits}f}"

    def spread(self, entry: Entry) -> str:
        """How sure it is: bounds, or the deviation, or nothing."""
        if entry.interval is not None:
            return f"[{', '.join(map(self.text, entry.interval))}]"
        return "" if entry.deviation is None else f"±{self.text(entry.deviation)}"


@dataclass(frozen=True)
class Table:
    """Entries by row and column, None where there is nothing.

    Attributes:
        title: what is measured.
        note: how to read it.
        columns: C of them.
        rows: name of the row to its C entries.
    """

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: dict[str, list[Entry | None]]

    def markdown(self) -> str:
        """As a Markdown table; the best of a column in bold."""
        marks, signs = {1: "**{}**", 2: "{}", 0: "{}"}, {1: " ▲", -1: " ▼", 0: ""}
        return "\n".join(
            [
                f"### {self.title}\n\n{self.note}\n".translate(MARKDOWN),
                "| | " + " | ".join(column.heading.translate(MARKDOWN) for column in self.columns) + " |",
                "|---|" + "---:|" * len(self.columns),
                *(
                    f"| {' | '.join([name.translate(MARKDOWN), *self._marked(name, marks, signs, ' {}')])} |"
                    for name in self.rows
                ),
                "",
            ]
        )

    def latex(self) -> str:
        """As a LaTeX table for booktabs; the best of a column in bold, the second best underlined."""
        marks = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}", 0: "{}"}
        signs, spread = {1: "$^{+}$", -1: "$^{-}$", 0: ""}, r"\,{{\scriptsize {}}}"
        lines = [
            r"\begin{table}[t]\centering\small",
            rf"\caption{{{f'{self.title}. {self.note}'.translate(LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
            r"\toprule",
            " & ".join(["", *(column.heading.translate(LATEX) for column in self.columns)]) + r" \\",
            r"\midrule",
            *(
                " & ".join([name.translate(LATEX), *self._marked(name, marks, signs, spread, "--")]) + r" \\"
                for name in self.rows
            ),
            r"\bottomrule",
            r"\end{tabular}\end{table}",
        ]
        return "\n".join(lines).replace("±", r"$\pm$") + "\n"

    def _marked(
        self, name: str, places: dict[int, str], signs: dict[int, str], small: str, gap: str = "–"
    ) -> list[str]:
        cells = []
        for entry, column in zip(self.rows[name], self.columns, strict=True):
            if entry is None:
                cells.append(gap)
                continue
            spread = column.spread(entry)
            value = places[entry.place].format(column.text(entry.value))
            cells.append(value + (small.format(spread) if spread else "") + signs[entry.sign])
        return cells


def placed(table: Table) -> Table:
    """The same with the best and the second best of every column marked, also those that print the same."""
    rows = {name: list(row) for name, row in table.rows.items()}
    for i, column in enumerate(table.columns):
        printed = {name: float(column.text(entry.value)) for name, row in rows.items() if (entry := row[i])}
        best = sorted(set(printed.values()), reverse=not column.lower)[:2]
        for name, value in printed.items():
            entry = rows[name][i]
            if entry is not None and value in best:
                rows[name][i] = replace(entry, place=1 + best.index(value))
    return replace(table, rows=rows)


def ranked(table: Table) -> Table:
    """The same with the mean rank over the columns as one column more, sorted by it.

    Only rows without a gap are ranked; the others follow. A single column is sorted by its values.
    """
    whole = {name: row for name, row in table.rows.items() if all(entry is not None for entry in row)}
    if len(table.columns) == 1:
        sign = 1 if table.columns[0].lower else -1
        order = sorted(whole, key=lambda name: sign * entry.value if (entry := whole[name][0]) else np.inf)
        return replace(table, rows={name: whole[name] for name in order})
    if not table.columns or len(whole) < 2:
        return table
    values = [[row[i].value for row in whole.values() if row[i]] for i in range(len(table.columns))]  # type: ignore[union-attr]
    ranks = dict(zip(whole, mean_ranks(values, lower_is_better=table.columns[0].lower).tolist(), strict=True))
    order = sorted(table.rows, key=lambda name: ranks.get(name, np.inf))
    heading = Column("mean rank", 1.0, lower=True)
    places = placed(Table("", "", (heading,), {name: [Entry(ranks[name])] for name in whole})).rows
    rows = {name: [*table.rows[name], *places.get(name, [None])] for name in order}
    return replace(table, columns=(*table.columns, heading), rows=rows)
