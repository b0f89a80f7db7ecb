"""Tables of measures, printed alike on a page, in Markdown and in LaTeX."""

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
    """Value of a measure in one row and column of a table.

    Attributes:
        value: mean over the seeds.
        standard_deviation: standard deviation over the seeds; None for a single seed.
        rank: 1 for the best of its column, 2 for the second best, otherwise 0.
        sign: 1 or -1 if the value is significantly better or worse than that of softmax response, otherwise 0.
        interval: bounds of the 95% bootstrap interval over test texts, averaged over the seeds; printed in place of
            the standard deviation.
        remark: words that are printed in place of the standard deviation.
    """

    value: float
    standard_deviation: float | None = None
    rank: int = 0
    sign: int = 0
    interval: tuple[float, float] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Column:
    """Heading of a column and the format of its values.

    Attributes:
        heading: text above the column.
        scale: factor that printed values are multiplied with.
        digits: number of decimals of printed values.
        lower_is_better: True if the lowest value is the best.
        is_p_value: True if a value that would be printed as zero is printed as less than the smallest printed one.
    """

    heading: str
    scale: float = 100.0
    digits: int = 2
    lower_is_better: bool = False
    is_p_value: bool = False

    def format(self, value: float) -> str:
        """Format a value for printing."""
        printed = f"{value * self.scale:.{self.digits}f}"
        if self.is_p_value and float(printed) == 0:
            return f"<{10**-self.digits:.{self.digits}f}"
        return printed

    def spread(self, entry: Entry) -> str:
        """Format the remark, the interval or the standard deviation of an entry; an empty string without them."""
        if entry.remark:
            return entry.remark
        if entry.interval is not None:
            return f"[{', '.join(map(self.format, entry.interval))}]"
        return "" if entry.standard_deviation is None else f"±{self.format(entry.standard_deviation)}"


# Columns of a comparison: the p-value of Wilcoxon's test, and that after Holm's adjustment.
P_VALUES = (Column("p, Wilcoxon", 1, 3, is_p_value=True), Column("p, Holm", 1, 3, is_p_value=True))


@dataclass(frozen=True)
class Table:
    """Entries by row and column; None is an empty cell.

    Attributes:
        title: name of the measure, the model and the data.
        note: sentence on units, direction and marks.
        columns: C columns.
        rows: C entries of every row, by row name.
    """

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: dict[str, list[Entry | None]]

    def markdown(self) -> str:
        """Format as a Markdown table; the best value of a column is bold."""
        marks, signs = {1: "**{}**", 2: "{}", 0: "{}"}, {1: " ▲", -1: " ▼", 0: ""}
        return "\n".join(
            [
                f"### {self.title}\n\n{self.note}\n".translate(MARKDOWN),
                "| | " + " | ".join(column.heading.translate(MARKDOWN) for column in self.columns) + " |",
                "|---|" + "---:|" * len(self.columns),
                *(
                    f"| {' | '.join([name.translate(MARKDOWN), *self._marked(name, marks, signs, MARKDOWN, ' {}')])} |"
                    for name in self.rows
                ),
                "",
            ]
        )

    def latex(self) -> str:
        """Format as a LaTeX table for booktabs; the best value of a column is bold, the second best underlined."""
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
                " & ".join([name.translate(LATEX), *self._marked(name, marks, signs, LATEX, spread, "--")]) + r" \\"
                for name in self.rows
            ),
            r"\bottomrule",
            r"\end{tabular}\end{table}",
        ]
        return "\n".join(lines).replace("±", r"$\pm$") + "\n"

    def _marked(
        self,
        name: str,
        marks: dict[int, str],
        signs: dict[int, str],
        escapes: dict[int, str],
        small: str,
        gap: str = "–",
    ) -> list[str]:
        """Printed cells of a row, with the marks of an output format."""
        cells = []
        for entry, column in zip(self.rows[name], self.columns, strict=True):
            if entry is None:
                cells.append(gap)
                continue
            spread = entry.remark.translate(escapes) or column.spread(entry)
            value = marks[entry.rank].format(column.format(entry.value).translate(escapes))
            cells.append(value + (small.format(spread) if spread else "") + signs[entry.sign])
        return cells


def mark_best(table: Table) -> Table:
    """Mark the best and the second best value of every column; values that print the same share a rank."""
    rows = {name: list(row) for name, row in table.rows.items()}
    for i, column in enumerate(table.columns):
        printed = {name: float(column.format(entry.value)) for name, row in rows.items() if (entry := row[i])}
        best = sorted(set(printed.values()), reverse=not column.lower_is_better)[:2]
        for name, value in printed.items():
            entry = rows[name][i]
            if entry is not None and value in best:
                rows[name][i] = replace(entry, rank=1 + best.index(value))
    return replace(table, rows=rows)


def add_mean_ranks(table: Table) -> Table:
    """Add a column with the mean rank over the columns and sort the rows by it.

    Only complete rows are ranked; the others follow. A single column gets no ranks and is sorted by its values.
    """
    complete = {name: row for name, row in table.rows.items() if all(entry is not None for entry in row)}
    if len(table.columns) == 1:
        sign = 1 if table.columns[0].lower_is_better else -1
        order = sorted(complete, key=lambda name: sign * entry.value if (entry := complete[name][0]) else np.inf)
        return replace(table, rows={name: complete[name] for name in order})
    if not table.columns or len(complete) < 2:
        return table
    values = [[row[i].value for row in complete.values() if row[i]] for i in range(len(table.columns))]  # type: ignore[union-attr]
    mean = mean_ranks(values, lower_is_better=table.columns[0].lower_is_better).tolist()
    ranks = dict(zip(complete, mean, strict=True))
    order = sorted(table.rows, key=lambda name: ranks.get(name, np.inf))
    heading = Column("mean rank", 1.0, lower_is_better=True)
    rank_rows = mark_best(Table("", "", (heading,), {name: [Entry(ranks[name])] for name in complete})).rows
    rows = {name: [*table.rows[name], *rank_rows.get(name, [None])] for name in order}
    return replace(table, columns=(*table.columns, heading), rows=rows)
