"""Tests of the charts: what is drawn, and where."""

import re
from importlib.resources import files

import numpy as np
import pytest

from aligned_entropy.metrics import reliability, risk_coverage
from aligned_entropy.report.charts import (
    STYLES,
    HeatMap,
    Panel,
    histogram,
    percent_axis,
    reliability_chart,
    risk_chart,
    score_styles,
    size_chart,
)
from aligned_entropy.report.evaluation_page import CURVE_POINTS, _risk_chart
from aligned_entropy.report.findings import Findings
from aligned_entropy.scores import HEAD
from aligned_entropy.stats import share_interval
from fixtures.evaluations import simulated


def curves(panel: Panel) -> dict:
    return {curve.name: curve for curve in panel.curves}


def test_the_main_score_is_drawn_last_and_named_first():
    chart = risk_chart(
        {"": {name: ([0.5, 1], [0.1, 0.2]) for name in ("a", HEAD, "b")}}, score_styles(["a", HEAD, "b"], HEAD), ""
    )
    assert [curve.name for curve in chart.panels[0].curves] == ["a", "b", HEAD]
    assert chart.legend == ((HEAD, "s0"), ("a", "s1"), ("b", "s2"))
    alone = reliability_chart({"a": {"a": ([0.5], [0.1], [9])}}, {"a": "s0"}, "")
    assert alone.legend == (("perfect calibration", "reference"),), "the heading names the score"


def test_every_style_is_in_the_style_sheet():
    sheet = files("aligned_entropy").joinpath("assets/report.css").read_text(encoding="utf-8")
    used = set(score_styles([str(i) for i in range(20)] + [HEAD], HEAD).values()) | {"reference", "mark"}
    assert used == {f"s{i}" for i in range(STYLES)} | {"reference", "mark"}
    assert used <= set(re.findall(r"^\.(\w+) \{ --c:", sheet, re.MULTILINE))


def test_long_curves_are_thinned_and_keep_their_ends():
    evaluation = simulated(5000)
    findings = Findings.of(evaluation, None)
    panel = _risk_chart(findings, list(evaluation.scores)).panels[0]
    assert set(curves(panel)) == {"perfect ranking", *evaluation.scores}
    for curve in panel.curves:
        assert len(curve.x) <= CURVE_POINTS
        assert (curve.x[0], curve.x[-1]) == (1 / 5000, 1)
        assert curve.y[-1] == pytest.approx(evaluation.errors.mean())
    coverage, risk = risk_coverage(evaluation.errors, evaluation.scores[HEAD])
    drawn = curves(panel)[HEAD]
    np.testing.assert_allclose(drawn.y, np.interp(drawn.x, coverage, risk))


def test_a_threshold_is_marked_where_it_is():
    chart = risk_chart({"": {HEAD: ([0.1, 1], [0.0, 0.4])}}, {HEAD: "s0"}, "", threshold=(0.6, 0.22))
    mark = curves(chart.panels[0])["threshold"]
    assert (mark.x[0], mark.y[0], mark.style) == (0.6, 0.22, "mark")
    assert mark.hints == ("threshold: 60.0% accepted, 22.0% of these wrong",)
    assert chart.panels[0].x.position(0.6) == 60
    assert chart.panels[0].y.position(0.22) == pytest.approx(50)  # the axis ends at 1.1 times the highest risk
    assert ("threshold", "mark") in chart.legend


def test_jumps_at_the_lowest_coverages_do_not_stretch_the_axis():
    chart = risk_chart({"": {HEAD: ([0.01, 0.05, 1], [1.0, 0.1, 0.2])}}, {HEAD: "s0"}, "")
    assert chart.panels[0].y.high == pytest.approx(0.22)
    assert chart.panels[0].path(chart.panels[0].curves[0]) == "M10,-3545.5L50,545.5L1000,90.9"


def test_reliability_has_the_intervals_and_counts_of_its_bins():
    rng = np.random.default_rng(0)
    probability = rng.random(500)
    errors = (rng.random(500) < probability).astype(float)
    bins = reliability(errors, probability, bins=10)
    chart = reliability_chart({"": {HEAD: bins}}, {HEAD: "s0"}, "", intervals=True)
    curve = curves(chart.panels[0])[HEAD]
    part = probability < 0.1
    interval = share_interval(int(errors[part].sum()), int(part.sum()))
    assert curve.intervals[0].tolist() == [interval.low, interval.high]
    assert curve.hints[0].endswith(f"{part.sum()} predictions")
    assert len(curve.x) == len(curve.intervals) == 10
    assert curves(chart.panels[0])["perfect calibration"].style == "reference"


def test_the_histogram_counts_right_and_wrong_predictions():
    probability = np.array([0.0, 0.01, 0.06, 0.06, 0.999, 1.0, 1.0])
    errors = np.array([0, 1, 0, 0, 1, 1, 1.0])
    chart = histogram(probability, errors, "")
    bars = [(bar.style, bar.left, bar.right, bar.bottom, bar.top) for bar in chart.panels[0].bars]
    assert bars == [
        ("wrong", 0, 0.05, 0, 1), ("right", 0, 0.05, 1, 2), ("right", 0.05, 0.1, 0, 2), ("wrong", 0.95, 1, 0, 3),
    ]  # fmt: skip
    assert chart.panels[0].bars[0].hint == "P(wrong) 0% to 5%: 1 right, 1 wrong"
    assert sum(bar.top - bar.bottom for bar in chart.panels[0].bars) == len(errors)


def test_sizes_are_on_a_logarithmic_axis():
    chart = size_chart({"alpha": {HEAD: ([50, 100, 200], [0.75, 0.8, 0.9])}, "empty": {}}, {HEAD: "s0"}, "ROC-AUC", "")
    (panel,) = chart.panels
    assert [label for _, label in panel.x.ticks] == ["50", "100", "200"]
    places = [panel.x.position(size) for size in (50, 100, 200)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.02)
    assert panel.y.low <= 0.75 < 0.9 <= panel.y.high


@pytest.mark.parametrize(("high", "labels"), [
    (1.0, ["0%", "20%", "40%", "60%", "80%", "100%"]), (0.27, ["0%", "5%", "10%", "15%", "20%", "25%"]),
    (0.012, ["0%", "0.2%", "0.4%", "0.6%", "0.8%", "1%", "1.2%"]),
])  # fmt: skip
def test_ticks_are_round(high, labels):
    assert [label for _, label in percent_axis("", high).ticks] == labels


def test_a_heat_map_is_darkest_at_its_largest_value():
    heat = HeatMap(["a", "b"], ["a", "b"], [[5.0, -2.5], [None, 0.0]])
    assert (heat.shade(5.0), heat.shade(-2.5), heat.shade(0.0)) == (1, 0.5, 0)
    assert HeatMap(["a"], ["a"], [[0.0]]).shade(0.0) == 0
