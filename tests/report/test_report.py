"""Tests of the page of an evaluation, which is read back with an HTML parser."""

from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest

from aligned_entropy.display.figures import score_styles
from aligned_entropy.evaluation.evaluation import Evaluation, Separation, lower_is_better
from aligned_entropy.metrics import CALIBRATION, RANKING
from aligned_entropy.report import write_report
from aligned_entropy.report.evaluation_page import CURVE_POINTS, MEASURES, _reliability_figure, _risk_figure
from aligned_entropy.scores import HEAD
from aligned_entropy.stats import Interval, bootstrap, share_interval
from fixtures.html_page import HOSTILE, Page


def evaluated(errors: np.ndarray, scores: dict[str, np.ndarray]) -> Evaluation:
    table = {}
    for name, score in scores.items():
        is_probability = score.min() >= 0 and score.max() <= 1
        measures = RANKING | (CALIBRATION if is_probability else {})
        table[name] = bootstrap(measures, errors, score, resamples=20)
    return evaluation_with(table, errors, scores)


def evaluation_with(
    table: dict[str, dict[str, Interval]], errors: np.ndarray, scores: dict[str, np.ndarray]
) -> Evaluation:
    accuracy = share_interval(int((1 - errors).sum()), len(errors))
    return Evaluation(accuracy, table, errors, scores, dict.fromkeys(table, 1.0), skipped={})


def simulated(rows: int = 400) -> Evaluation:
    rng = np.random.default_rng(0)
    uniform = rng.random(rows)
    errors = (rng.random(rows) < uniform**2).astype(float)
    return evaluated(errors, {"entropy": rng.random(rows), "energy": 9 * uniform - 5, HEAD: uniform**2})


def write(folder: Path, evaluation: Evaluation, **changes) -> Page:
    arguments = {"title": "A page", "settings": {"model": "m"}, "examples": {}} | changes
    path = write_report(folder / "new" / "page.html", evaluation=evaluation, **arguments)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    examples = {
        f"Wrong {HOSTILE}": [{"text": HOSTILE * 2, "predicted": HOSTILE, "true": "negative", "uncertainty": 0.87654}],
        "Right": [{"text": "x" * 5000, "predicted": 1, "true": 1, "uncertainty": np.float32(0.25)}],
        "Unknown": [{"text": "fine", "predicted": 1, "true": None, "uncertainty": 0.5}],
        "Empty": [],
    }
    folder = tmp_path_factory.mktemp("report")
    return write(folder, simulated(), title=HOSTILE, settings={HOSTILE: HOSTILE, "torch": "2"}, examples=examples)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "object", "base")]
    assert not [values for _, values in page.tags if {"src", "href", "srcset"} & set(values)]
    policy = next(values["content"] for tag, values in page.tags if values.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert sum("plotly.js v" in script for script in page.scripts) == 1


def test_texts_are_escaped(page: Page) -> None:
    assert "alert(" not in "".join(page.scripts[1:])
    assert "b" not in {tag for tag, _ in page.tags}
    assert page.texts_in("h1") == page.texts_in("title") == [HOSTILE]
    assert f"Wrong {HOSTILE}" in page.texts_in("h3")
    rows = [row for table in page.tables for row in table]
    assert [f"{HOSTILE * 2} ", f"{HOSTILE} ", "negative ", "wrong ", "0.877 "] in rows
    assert ["fine ", "1 ", "– ", "unknown ", "0.500 "] in rows
    assert [f"{'x' * 600} … ", "1 ", "1 ", "right ", "0.250 "] in rows
    assert [f"{HOSTILE} ", f"{HOSTILE} "] in rows


def test_names_of_scores_are_escaped(tmp_path: Path) -> None:
    errors = np.array([0, 1.0, 0, 1])
    evaluation = evaluated(errors, {HOSTILE: np.array([0.1, 0.9, 0.3, 0.2])})
    page = write(tmp_path, evaluation)
    assert f"{HOSTILE} " in page.tables[0][1]
    assert len(page.scripts) == 3  # the library and two figures; no name has opened another
    for draw in (_risk_figure, _reliability_figure):
        assert escape(HOSTILE) in [trace.name for trace in draw(evaluation, score_styles([HOSTILE], HEAD)).data]


def test_the_table_marks_the_best_of_every_column(tmp_path: Path) -> None:
    def row(value: float, *missing: str) -> dict[str, Interval]:
        measures = ("roc_auc", "aurc", "ece", "ece_platt")
        return {measure: Interval(value, value - 0.1, value + 0.1) for measure in measures if measure not in missing}

    table = {"a": row(0.3), "b": row(0.61, "ece"), HEAD: row(0.61) | {"aurc": Interval(*[float("nan")] * 3)}}
    errors = np.array([0, 1.0, 0, 1])
    page = write(tmp_path, evaluation_with(table, errors, {name: errors / 2 for name in table}))
    assert page.texts_in("strong") == ["0.3000", "0.3000", "0.3000", "0.6100", "0.6100"]  # row by row, a tie marks both
    header, a, b, head = page.tables[0]
    assert [cell.split()[0] for cell in header] == ["Score", "ROC-AUC", "AURC", "ECE", "ECE,"]
    assert ["lower" in cell for cell in header] == [False, False, True, True, True]
    assert a[1] == "0.3000 0.2000–0.4000 "
    assert b[3].strip() == head[2].strip() == "–"


def test_the_table_has_the_shown_measures_and_their_meaning(tmp_path: Path) -> None:
    errors = np.array([0, 1.0, 0, 1])
    row = dict.fromkeys([*RANKING, *CALIBRATION, *Evaluation.shown], Interval(0.5, 0.4, 0.6))
    page = write(tmp_path, evaluation_with({HEAD: row}, errors, {HEAD: errors}))
    header = [cell.strip() for cell in page.tables[0][0]]
    directions = ["lower" if lower_is_better(measure) else "higher" for measure in Evaluation.shown]
    labels = [MEASURES[measure][0] for measure in Evaluation.shown]
    assert header[1:] == [f"{label} {direction} is better" for label, direction in zip(labels, directions, strict=True)]
    assert page.texts_in("dt") == labels
    assert page.texts_in("dd") == [MEASURES[measure][1] for measure in Evaluation.shown]


def test_the_summary_counts(page: Page) -> None:
    evaluation = simulated()
    summary = " ".join(page.texts_in("p")[:3])
    assert f"{evaluation.accuracy.value:.1%} of 400 texts" in summary
    assert f"{int(evaluation.errors.sum())} predictions are wrong" in summary
    assert f"{evaluation.table[HEAD]['roc_auc'].value:.1%} of all pairs" in summary
    accepted = np.argsort(evaluation.scores[HEAD])[:320]
    assert f"{evaluation.errors[accepted].mean():.1%} are wrong, instead of {evaluation.errors.mean():.1%}" in summary


def test_the_risks_at_fixed_coverages(page: Page) -> None:
    evaluation = simulated()
    header, *rows = page.tables[1]
    assert [cell.strip() for cell in header[1:]] == ["50%", "70%", "80%", "90%", "100%"]
    assert [row[0].strip() for row in rows] == list(evaluation.scores)
    order = np.argsort(evaluation.scores["entropy"])
    assert rows[0][1].strip() == f"{evaluation.errors[order[:200]].mean():.1%}"
    assert {row[-1].strip() for row in rows} == {f"{evaluation.errors.mean():.1%}"}


def test_only_probabilities_are_in_the_reliability_diagram(page: Page, tmp_path: Path) -> None:
    risk, diagram = page.scripts[-2:]
    assert '"name":"energy"' in risk
    assert '"name":"energy"' not in diagram
    assert f'"name":"{HEAD}"' in diagram
    errors = np.array([0, 1.0, 0, 1])
    without = write(tmp_path, evaluated(errors, {"energy": np.array([-3.0, 2, 1, 0])}))
    assert not [values for _, values in without.tags if values.get("id") == "reliability"]


@pytest.mark.parametrize("error", [0.0, 1.0])
@pytest.mark.parametrize("rows", [1, 5])
def test_predictions_that_are_all_right_or_all_wrong_have_no_ranking(error: float, rows: int, tmp_path: Path) -> None:
    page = write(tmp_path, evaluated(np.full(rows, error), {"entropy": np.linspace(0, 1, rows), HEAD: np.zeros(rows)}))
    assert "ranking is not defined" in page.all_text
    assert "nan" not in page.all_text
    assert page.tables[0][1][1].strip() == "–"


def test_long_curves_are_thinned() -> None:
    evaluation = simulated(5000)
    figure = _risk_figure(evaluation, score_styles(list(evaluation.scores), HEAD))
    assert len(figure.data) == 4
    for trace in figure.data:
        assert len(trace.x) <= CURVE_POINTS
        assert trace.y[-1] == pytest.approx(evaluation.errors.mean(), abs=1e-4)
    *others, head = figure.data
    assert head.name == HEAD  # drawn last, above the others
    assert head.line.width > max(trace.line.width for trace in others)
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 4


def test_tables_are_accessible_and_can_be_scrolled(page: Page) -> None:
    assert [values for tag, values in page.tags if tag == "meta" and values.get("name") == "viewport"]
    assert [values for tag, values in page.tags if tag == "html" and values.get("lang") == "en"]
    assert all(values.get("scope") in ("col", "row") for tag, values in page.tags if tag == "th")
    assert all(values.get("aria-label") for tag, values in page.tags if tag == "figure")
    identifiers = [values["id"] for _, values in page.tags if values.get("id")]
    assert len(identifiers) == len(set(identifiers))
    regions = [values for _, values in page.tags if values.get("role") == "region"]
    assert len(regions) == len(page.tables)
    assert {values["aria-labelledby"] for values in regions} <= set(identifiers)


def test_out_of_distribution_texts_have_a_table_of_measures(tmp_path: Path) -> None:
    evaluation = simulated()
    row = dict.fromkeys(Separation.shown, Interval(0.8, 0.7, 0.9))
    outside = np.repeat([0.0, 1.0], [400, 100])
    accuracy = share_interval(400, 500)
    ood = Separation(accuracy, {"entropy": row}, outside, {"entropy": outside}, {"entropy": 1.0}, skipped={})
    page = write(tmp_path, replace(evaluation, ood=ood))
    assert "Out-of-distribution texts" in page.texts_in("h2")
    assert any(ood.headline in text for text in page.texts_in("p"))
    header, entropy = page.tables[1]
    assert [cell.strip() for cell in header[1:]] == [
        "ROC-AUC higher is better", "PR-AUC higher is better", "FPR at 95% TPR lower is better",
    ]  # fmt: skip
    assert entropy == ["entropy ", *["0.8000 0.7000–0.9000 "] * 3]
