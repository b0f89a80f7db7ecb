"""Draw the picture of the README, docs/overview.svg, from the predictions that ``make demo`` has written.

    python examples/overview.py [demo/predictions.csv]

Five predictions from the surest to the least sure, and the risk–coverage curve of all of them.
"""

import sys
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PICTURE = Path(__file__).parents[1] / "docs" / "overview.svg"
WIDTH, MARGIN, ROW = 640, 24, 62
SHARES = (0.02, 0.4, 0.62, 0.85, 0.99)  # places of the five predictions in the order of P(wrong)
STYLE = """
  svg { --page: #ffffff; --ink: #1f2328; --muted: #59636e; --line: #d1d9e0; --head: #0a5fd4; --wrong: #c0262d }
  @media (prefers-color-scheme: dark) {
    svg { --page: #14181d; --ink: #e8edf2; --muted: #a3adb8; --line: #3a424b; --head: #6cb0ff; --wrong: #ff8a80 }
  }
  text { font: 19px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink) }
  .muted { fill: var(--muted) } .wrong { fill: var(--wrong) } .head { fill: var(--head) } .bold { font-weight: 600 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .page { fill: var(--page); stroke: var(--line) } .track { fill: var(--line) } .bar { fill: var(--head) }
  path { fill: none; stroke-width: 3 } .rule { stroke: var(--line); stroke-width: 1 }
  .curve { stroke: var(--head) } .other { stroke: var(--muted); stroke-dasharray: 7 5 }
  .threshold { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 3 4 } .dot { fill: var(--ink) }
"""


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/predictions.csv")
    if not path.exists():
        sys.exit(f"{path} is missing: run `make demo` first.")
    PICTURE.write_text(picture(pd.read_csv(path)), encoding="utf-8")
    print(f"saved: {PICTURE}")


def picture(table: pd.DataFrame) -> str:
    """Picture as SVG, with a page of its own, so that it can be read on light and dark pages."""
    rows, middle = prediction_rows(table)
    curves, height = risk_coverage(table, middle + 50)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img"><title>Predictions with P(wrong), and a risk–coverage curve</title><style>{STYLE}</style>\n'
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>\n{rows}{curves}</svg>\n'
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(words)}</text>\n'


def prediction_rows(table: pd.DataFrame) -> tuple[str, int]:
    """Five predictions as rows with a bar for P(wrong), and the height at which they end."""
    right, bar = WIDTH - MARGIN, 96
    parts = [text(MARGIN, 38, "text and prediction", "muted"), text(right, 38, "P(wrong)", "muted end")]
    y = 52
    for _, row in examples(table).iterrows():
        wrong = row["predicted_label"] != row["true_label"]
        parts.append(f'<path class="rule" d="M{MARGIN} {y}H{right}"/>')
        parts.append(text(MARGIN, y + 26, shortened(row["text"], 46)))
        shown, kind = (f"{row['predicted_label']}  ✗ wrong", "wrong") if wrong else (row["predicted_label"], "muted")
        parts.append(text(MARGIN, y + 50, shown, kind))
        filled = row["error_probability"] * bar
        parts.append(text(right, y + 26, f"{row['error_probability']:.2f}", "end bold"))
        parts.append(f'<rect class="track" x="{right - bar}" y="{y + 40}" width="{bar}" height="8" rx="4"/>')
        parts.append(f'<rect class="bar" x="{right - bar}" y="{y + 40}" width="{filled:.1f}" height="8" rx="4"/>\n')
        y += ROW
    return "".join(parts), y


def examples(table: pd.DataFrame) -> pd.DataFrame:
    """Predictions near fixed places of the order of P(wrong), of texts that name nobody in their first words."""
    ordered = table.sort_values("error_probability", kind="stable").reset_index(drop=True)
    readable = ~ordered["text"].str[:60].str.contains(r"writes|wrote|article|\bre\b|edu|@", regex=True)
    places = ordered.index[readable].to_numpy()
    return ordered.loc[[places[np.abs(places - share * len(ordered)).argmin()] for share in SHARES]]


def shortened(words: str, length: int) -> str:
    words = " ".join(words.split())
    return words if len(words) <= length else words[:length].rsplit(" ", 1)[0] + " …"


def risk_coverage(table: pd.DataFrame, top: int) -> tuple[str, int]:
    """Curves of the head and of the model's entropy with the threshold, and the height of the picture."""
    left, right, height = MARGIN + 46, WIDTH - MARGIN, 220
    bottom = top + height
    errors = (table["predicted_label"] != table["true_label"]).to_numpy(float)
    probabilities = table.filter(like="probability_").to_numpy().clip(1e-12)
    entropy = -(probabilities * np.log(probabilities)).sum(1)
    head, other = risks(table["error_probability"].to_numpy(), errors), risks(entropy, errors)
    highest = 0.1 * np.ceil(10 * max(head.max(), other[len(other) // 20 :].max()))
    accepted = table["accepted"].to_numpy(bool)
    coverage, risk = accepted.mean(), errors[accepted].mean()

    def x(share: float) -> float:
        return left + share * (right - left)

    def y(share: float) -> float:
        return bottom - share / highest * height

    def curve(values: NDArray[np.float64], kind: str) -> str:
        count = len(values)
        points = [(i + 1, values[i]) for i in np.linspace(count // 20, count - 1, 150).astype(int)]
        return f'<path class="{kind}" d="M' + "L".join(f"{x(n / count):.1f} {y(v):.1f}" for n, v in points) + '"/>\n'

    parts = [text(MARGIN, top - 16, "errors among the accepted predictions", "muted")]
    for share in np.arange(0, highest + 0.05, 0.1):
        parts.append(f'<path class="rule" d="M{left} {y(share):.1f}H{right}"/>')
        parts.append(text(left - 8, y(share) + 6, f"{100 * share:.0f}%", "muted end"))
    for share in (0.25, 0.5, 0.75, 1):
        parts.append(text(x(share), bottom + 26, f"{100 * share:.0f}%", f"muted {'end' if share == 1 else 'middle'}"))
    parts += [curve(other, "other"), curve(head, "curve")]
    parts.append(f'<path class="threshold" d="M{x(coverage):.1f} {top}V{bottom}"/>')
    parts.append(f'<circle class="dot" cx="{x(coverage):.1f}" cy="{y(risk):.1f}" r="6"/>')
    parts.append(text(x(coverage) + 10, bottom - 38, "threshold"))
    parts.append(text(x(coverage) + 10, bottom - 12, f"{100 * risk:.0f}% wrong"))
    parts.append(text(left + 12, top + 24, "– – entropy of the model", "muted"))
    parts.append(text(left + 12, top + 50, "—— head", "head bold"))
    parts.append(text((left + right) / 2, bottom + 54, "accepted predictions", "muted middle"))
    return "".join(parts), bottom + 74


def risks(uncertainty: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Error rate among the n least uncertain predictions, for n from 1 to N."""
    return np.cumsum(errors[np.argsort(uncertainty, kind="stable")]) / np.arange(1, len(errors) + 1)


if __name__ == "__main__":
    main()
