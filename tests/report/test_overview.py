"""Tests of the overview of all pairs; the results are written by hand, with known numbers."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from aligned_entropy.metrics import errors_found_10, errors_found_20, risk_coverage
from aligned_entropy.report.overview import overview, planned_comparison, with_found_errors
from aligned_entropy.report.result_tables import REFERENCE_HEAD
from aligned_entropy.report.results_page import markdown, write_results
from aligned_entropy.report.sections import sections
from aligned_entropy.scores import HEAD
from fixtures.html_page import Page

SETS = ("a", "b", "c", "d", "e", "f")
GAINS = np.array([0.02, 0.01, -0.001, -0.004, 0.03, 0.0])  # of the head over the entropy


def result(score, data, value, *, model="m", seed=0, size=200, errors=40, curve=None, **measures):
    spec = {"name": model, "base": "b", "mode": "full", "learning_rate": None}
    cell = {"study": "scores", "score": score, "model": spec, "data": {"name": data}, "seed": seed}
    cell |= dict.fromkeys(("size", "calibration", "test"))
    return {
        "cell": cell,
        "versions": {"torch": "2"},
        "examples": {"calibration": 100, "test": size},
        "error_rate": {"calibration": 0.2, "test": errors / size},
        "accuracy": {"value": 1 - errors / size, "low": 0.7, "high": 0.9},
        "measures": {name: {"value": v, "low": v, "high": v} for name, v in {"roc_auc": value, **measures}.items()},
        "validation": {"roc_auc": value},
        "against": {name: {"roc_auc": 0.0, "deviation": 0.01} for name in ("entropy", "softmax response")},
        "risk_coverage": curve or [[0.5, 1.0], [errors / size, errors / size]],
        "reliability": {},
    }


def results(**measures):
    for i, data in enumerate(SETS):
        model = "n" if i % 2 else "m"
        for seed in (0, 1):
            values = {HEAD: 0.7 + GAINS[i], REFERENCE_HEAD: 0.75, "entropy": 0.7, "AdUE": 0.69, "energy": 0.6}
            for score, value in values.items():
                shift = 0.05 if seed else -0.05  # the mean over the seeds is the value
                yield result(score, data, value + shift, model=model, seed=seed, **measures)


FOUND = {"errors_found_10": 0.3, "errors_found_20": 0.5}


def test_the_planned_comparison_is_over_all_pairs_of_all_models():
    table = planned_comparison(list(results()))
    assert list(table.rows) == [
        f"{score}, against {baseline}" for score in (REFERENCE_HEAD, HEAD) for baseline in ("entropy", "AdUE")
    ]
    gain, pairs, behind, far_behind, worst, p, adjusted = table.rows[f"{HEAD}, against entropy"]
    assert gain.value == pytest.approx(GAINS.mean())
    assert (pairs.value, behind.value, far_behind.value) == (6, 2, 1)
    assert worst.value == pytest.approx(-0.004)
    assert worst.remark == "(d, n)"
    assert p.value == pytest.approx(wilcoxon(GAINS, zero_method="zsplit").pvalue)
    p_values = sorted(row[5].value for row in table.rows.values())
    assert adjusted.value == pytest.approx(max((4 - i) * p_values[i] for i in range(p_values.index(p.value) + 1)))
    assert "| -0.40 (d, n) |" in table.markdown()
    assert "over the 4 rows" in table.note


def test_a_score_is_compared_where_both_were_measured():
    kept = [r for r in results() if r["cell"]["score"] != "entropy" or r["cell"]["data"]["name"] != "d"]
    gain, pairs, behind, *_ = planned_comparison(kept).rows[f"{HEAD}, against entropy"]
    assert gain.value == pytest.approx(np.delete(GAINS, 3).mean())
    assert (pairs.value, behind.value) == (5, 1)


def test_means_and_ranks_are_of_scores_that_were_measured_on_every_pair_with_a_head():
    more = [result("margin", data, 0.9, seed=seed) for data in ("a", "c") for seed in (0, 1)]  # not on all pairs
    more += [result(score, "x", 0.1, model="without a head") for score in ("entropy", "AdUE", "energy")]
    means, ranks, _ = overview([*results(brier=0.2, **FOUND), *more])
    assert list(means.rows) == [REFERENCE_HEAD, HEAD, "entropy", "AdUE", "energy"]
    assert [c.heading for c in means.columns] == [
        "errors found in 10%", "errors found in 20%", "ROC-AUC", "Brier score",
    ]  # fmt: skip
    assert [entry.value for entry in means.rows[HEAD]] == pytest.approx([0.3, 0.5, 0.7 + GAINS.mean(), 0.2])
    assert means.rows[REFERENCE_HEAD][2].rank == 1
    assert "6 pairs" in means.title
    assert "would find 50% and 100%" in means.note  # 20 and 40 of 40 errors
    assert "curve" not in means.note
    # The reference is always first; the head is behind the entropy on two pairs and ties with it on one.
    assert ranks.rows[REFERENCE_HEAD][2].value == 1
    assert ranks.rows[HEAD][2].value == pytest.approx((2 + 2 + 3 + 3 + 2 + 2.5) / 6)
    assert ranks.rows["energy"][3].value == 3  # all Brier scores are the same


def test_smooth_ece_takes_the_place_of_ece_only_where_all_pairs_have_it():
    def headings(cells):
        return [column.heading for column in overview(cells)[0].columns]

    cells = list(results(ece=0.1, smooth_ece=0.1, **FOUND))
    assert headings(cells)[-1] == "SmoothECE"
    for cell in cells:
        if cell["cell"]["data"]["name"] == "b":
            del cell["measures"]["smooth_ece"]
    assert headings(cells)[-1] == "ECE"


def test_little_known_scores_are_shown_if_they_are_the_best():
    others = [result(f"score {i}", d, 0.5 + i / 100, model="n" if j % 2 else "m")
              for i in range(5) for j, d in enumerate(SETS)]  # fmt: skip
    means, ranks, _ = overview([*(r for r in results(**FOUND) if r["cell"]["score"] != "energy"), *others])
    assert list(means.rows) == [REFERENCE_HEAD, HEAD, "entropy", "AdUE", "score 4", "score 3", "score 2"]
    assert len(ranks.rows) == 9
    assert "2 further scores" in means.note


@pytest.mark.parametrize("seed", range(5))
def test_found_errors_of_an_old_result_are_read_from_its_curve(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(400, 3000))
    errors = np.r_[0, 1, rng.random(size - 2) < 0.2].astype(float)
    scores = rng.normal(size=size) + errors
    coverage, risk = risk_coverage(errors, scores)
    points = np.unique(np.linspace(1, size, 100).round().astype(int)) - 1
    curve = [coverage[points].round(5).tolist(), risk[points].round(5).tolist()]
    old = result(HEAD, "a", 0.7, size=size, errors=int(errors.sum()), curve=curve)
    added = with_found_errors(old)["measures"]
    for name, measure in (("errors_found_10", errors_found_10), ("errors_found_20", errors_found_20)):
        bound = added[name]["from_curve"]
        assert added[name]["value"] == pytest.approx(measure(errors, scores), abs=bound + 1e-4)
        assert 0 < bound < 0.05
    assert "errors_found_10" not in old["measures"]
    # All numbers of accepted predictions are points of this curve.
    full = result(HEAD, "a", 0.7, size=size, curve=[coverage.tolist(), risk.tolist()])
    exact = with_found_errors(full)["measures"]["errors_found_20"]
    assert (exact["value"], exact["from_curve"]) == (pytest.approx(errors_found_20(errors, scores)), 0)
    assert with_found_errors(result(HEAD, "a", 0.7, **FOUND))["measures"].keys() == {"roc_auc", *FOUND}


def test_the_doubt_of_a_curve_is_told():
    cells = [r | {"risk_coverage": [[0.5, 0.79, 0.9, 1.0], [0.1, 20 / 158, 30 / 180, 0.2]]} for r in results()]
    means, *_ = overview(cells)
    # 160 of 200 predictions lie between 158 and 180, with 20 and 30 of the 40 errors.
    assert means.rows[HEAD][1].value == pytest.approx(1 - (20 + 10 * 2 / 22) / 40)
    assert means.rows[HEAD][0].value == pytest.approx(0.25)
    assert f"at most {100 * (10 * 20 / 22) / 40:.1f} points" in means.note
    assert means.columns[1].digits == 0


def test_there_is_no_overview_of_one_pair_or_without_a_head():
    assert overview([r for r in results() if r["cell"]["data"]["name"] == "a"]) == []
    without = [r for r in results() if not r["cell"]["score"].startswith(HEAD)]
    assert overview(without) == []
    assert "All pairs" not in [part.title for part in sections(without)]
    assert markdown(list(results())).startswith("## All pairs\n\n### What a review finds, 6 pairs")


def test_pairs_without_a_reference_count_in_the_comparison_of_the_other_head():
    cells = [r for r in results() if r["cell"]["score"] != REFERENCE_HEAD or r["cell"]["data"]["name"] != "f"]
    means, _, compared = overview(cells)
    assert "5 pairs" in means.title
    assert [compared.rows[f"{score}, against entropy"][1].value for score in (REFERENCE_HEAD, HEAD)] == [5, 6]


def test_the_summary_compares_with_the_score_that_finds_most_errors(tmp_path):
    others = [result(f"score {i}", d, 0.5, model="n" if j % 2 else "m", **FOUND | {"errors_found_20": 0.4 + i / 100})
              for i in range(5) for j, d in enumerate(SETS)]  # fmt: skip
    cells = [*results(**FOUND), *others]
    assert "score 4" not in overview(cells)[0].rows, "its ROC-AUC is low"
    first = Page(write_results(tmp_path / "page.html", cells, "").read_text(encoding="utf-8")).texts_in("p")[0]
    assert first == (
        "Errors found in a review of the most uncertain 20% of the texts: aligned entropy 50%, aligned entropy + "
        "reference 50%; by the best other score, entropy, 50% (means over 6 pairs of a data set and a model)."
    )
    better = [r | {"measures": r["measures"] | {"errors_found_20": {"value": 0.6}}} for r in cells
              if r["cell"]["score"] == "score 4"]  # fmt: skip
    kept = [r for r in cells if r["cell"]["score"] != "score 4"]
    page = Page(write_results(tmp_path / "page.html", [*kept, *better], "").read_text(encoding="utf-8"))
    assert "by the best other score, score 4, 60%" in page.texts_in("p")[0]
    worse = [r | {"measures": r["measures"] | {"errors_found_20": {"value": 0.3}}} if r["cell"]["score"] == HEAD else r
             for r in cells]  # fmt: skip
    page = Page(write_results(tmp_path / "page.html", worse, "").read_text(encoding="utf-8"))
    assert f"texts: {REFERENCE_HEAD} 50%, {HEAD} 30%; by" in page.texts_in("p")[0], "the best head comes first"
