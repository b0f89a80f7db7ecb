"""Tests of the page of an evaluation, which is read back with an HTML parser."""

import platform
import re
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from aligned_entropy.evaluation.evaluation import Evaluation, Separation, lower_is_better
from aligned_entropy.metrics import CALIBRATION, RANKING, errors_found, risk_at_coverage
from aligned_entropy.report import Rows, write_report
from aligned_entropy.report.score_tables import MEASURES
from aligned_entropy.scores import HEAD
from aligned_entropy.stats import Interval, share_interval
from fixtures.evaluations import evaluated, evaluation_with, simulated
from fixtures.html_page import HOSTILE, Page

CLASSES = ["sport", "politics", "science", HOSTILE]


def rows_behind(evaluation: Evaluation, **changes) -> Rows:
    """Predictions with a threshold at .3 and with texts that name their place."""
    rng, count = np.random.default_rng(1), len(evaluation.errors)
    predicted = rng.choice(CLASSES, count).tolist()
    true = [f"not {name}" if error else name for name, error in zip(predicted, evaluation.errors, strict=True)]
    probability = evaluation.scores[HEAD]
    return replace(
        Rows(predicted, predicted, true, probability, probability < 0.3, "a goal", lambda row: f"text {row} {HOSTILE}"),
        **changes,
    )


def write(folder: Path, evaluation: Evaluation, **changes) -> Page:
    arguments = {"title": "A page", "settings": {"model": "m"}} | changes
    path = write_report(folder / "new" / "page.html", evaluation=evaluation, **arguments)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    evaluation = simulated()
    settings = {HOSTILE: HOSTILE, "head": "h"}
    return write(
        tmp_path_factory.mktemp("report"), evaluation, title=HOSTILE, settings=settings, rows=rows_behind(evaluation)
    )


def table_of(page: Page, corner: str) -> list[list[str]]:
    """Cells of the first table whose first heading is ``corner``."""
    tables = [[[cell.strip() for cell in row] for row in table] for table in page.tables]
    return next(table for table in tables if table[0][0] == corner)


def test_the_page_has_no_script_and_loads_nothing(page: Page, tmp_path: Path) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object", "base")]
    assert not [values for _, values in page.tags if {"src", "href", "srcset"} & set(values)]
    policy = next(values["content"] for tag, values in page.tags if values.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"@import|@font-face|url\(", "".join(text for tag, text in page.text if tag == "style"))
    evaluation = simulated(20_000)
    path = write_report(tmp_path / "large.html", "Large", evaluation, {}, rows_behind(evaluation))
    assert path.stat().st_size < 150_000


def test_everything_is_escaped(page: Page, tmp_path: Path) -> None:
    assert page.texts_in("h1") == page.texts_in("title")[:1] == [HOSTILE]
    assert any(text.endswith(f" {HOSTILE}") for text in page.texts_in("p"))
    assert HOSTILE in page.texts_in("th")
    assert [f"{HOSTILE} ", f"{HOSTILE} "] in [row for table in page.tables for row in table]
    errors = np.array([0, 1.0, 0, 1])
    named = write(tmp_path, evaluated(errors, {HOSTILE: np.array([0.1, 0.9, 0.3, 0.2])}))
    assert f"{HOSTILE} " in [row[0] for table in named.tables for row in table]
    assert not [tag for tag, _ in named.tags if tag == "script"]


def test_the_summary_leads_with_what_a_review_finds(page: Page) -> None:
    evaluation = simulated()
    review, accuracy, expected, threshold = page.texts_in("p")[:4]
    errors, head = evaluation.errors, evaluation.scores[HEAD]
    top = np.argsort(-head)[:80]
    found, rest = errors[top].sum() / errors.sum(), np.delete(errors, top).mean()
    assert review.startswith(f"Review the most uncertain 20% of the texts and you find {found:.0%} of the errors (95%")
    by_entropy, by_energy = (errors_found(errors, evaluation.scores[name], share=0.2) for name in ("entropy", "energy"))
    assert by_energy > by_entropy
    assert (
        f"the best other score, energy, finds {by_energy:.0%}, a random choice 20%, and the best possible order "
        in review
    )
    assert f"and the best possible order {80 / errors.sum():.0%}. Of the other 80%, {rest:.1%} are wrong." in review
    assert accuracy.startswith(f"The model is right on {1 - errors.mean():.1%} of 400 texts")
    assert f"{int(errors.sum())} predictions are wrong" in accuracy
    assert expected == f"The head expects {head.mean():.1%} of the predictions to be wrong; {errors.mean():.1%} are."
    accepted = head < 0.3
    assert threshold == (
        f"The threshold (a goal) accepts {accepted.mean():.1%} of the predictions; {errors[accepted].mean():.1%} of "
        "these are wrong."
    )


def test_the_best_other_score_is_the_one_that_finds_most_errors(tmp_path: Path) -> None:
    errors = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0.0])
    low_first = np.array([9, 0, 1, 2, 3, 4, 5, 6, 7, 8.0])  # finds one of two errors in two predictions
    better_ranking = np.array([7, 7, 9, 8, 1, 1, 1, 1, 1, 1.0])  # a higher ROC-AUC, but finds none
    scores = {HEAD: errors, "ranks well": better_ranking, "finds errors": low_first}
    evaluation = evaluated(errors, scores)
    ranking = {name: row["roc_auc"].value for name, row in evaluation.table.items()}
    assert ranking["ranks well"] > ranking["finds errors"]
    assert "the best other score, finds errors, finds 50%" in write(tmp_path, evaluation).texts_in("p")[0]


def test_reviews_and_risks_of_other_sizes(page: Page) -> None:
    evaluation = simulated()
    header, *rows = table_of(page, "Size of the review")
    assert header[1:] == ["5%", "10%", "20%", "30%", "50%"]
    found = {row[0]: row[1:] for row in rows}
    expected = [errors_found(evaluation.errors, evaluation.scores[HEAD], share=share) for share in (0.05, 0.1)]
    assert found[HEAD][:2] == [f"{share:.0%}" for share in expected]
    assert found["random choice"] == header[1:]
    assert found["best possible"][0] == f"{20 / evaluation.errors.sum():.0%}"
    header, *rows = table_of(page, "Coverage")
    assert header[1:] == ["50%", "70%", "80%", "90%", "100%"]
    assert [row[0] for row in rows] == list(evaluation.scores)
    assert rows[0][1] == f"{risk_at_coverage(evaluation.errors, evaluation.scores['entropy'], coverage=0.5):.1%}"
    assert {row[-1] for row in rows} == {f"{evaluation.errors.mean():.1%}"}


def test_labels_that_are_never_predicted_are_told(tmp_path: Path) -> None:
    evaluation = simulated()
    true = ["sport"] * 393 + ["<b>"] * 7
    page = write(tmp_path, evaluation, rows=rows_behind(evaluation, true=true))
    sentence = "True labels that are never predicted, with their numbers of texts: <b> (7)."
    assert sentence in page.texts_in("p")


def test_a_threshold_that_accepts_nothing_is_told(tmp_path: Path) -> None:
    evaluation = simulated()
    page = write(tmp_path, evaluation, rows=rows_behind(evaluation, accepted=np.zeros(400, bool)))
    assert "The threshold (a goal) accepts none of the predictions." in page.texts_in("p")
    assert "mark" not in {values.get("class") for tag, values in page.tags if tag == "circle"}


def test_only_scores_in_the_unit_interval_have_a_reliability_diagram(page: Page, tmp_path: Path) -> None:
    labels = [values["aria-label"] for tag, values in page.tags if tag == "svg" and values.get("role") == "img"]
    assert [label for label in labels if label.startswith("Reliability")] == [
        "Reliability diagram: observed error rate by P(wrong), with 95% intervals", "Reliability diagram: entropy",
    ]  # fmt: skip
    errors = np.array([0, 1.0, 0, 1])
    without = write(tmp_path, evaluated(errors, {"energy": np.array([-3.0, 2, 1, 0])}))
    assert "Can P(wrong) be believed?" not in without.texts_in("h2")
    assert "Can P(wrong) be believed?" in page.texts_in("h2")


def test_the_bins_have_counts_and_intervals(page: Page) -> None:
    evaluation = simulated()
    errors, head = evaluation.errors, evaluation.scores[HEAD]
    header, *rows = table_of(page, "Mean P(wrong)")
    assert header[1:] == ["Predictions", "Wrong", "Error rate", "95% interval"]
    assert len(rows) == 10
    part = (head >= 0.1) & (head < 0.2)
    interval = share_interval(int(errors[part].sum()), int(part.sum()))
    assert rows[1] == [
        f"{head[part].mean():.1%}", str(part.sum()), str(int(errors[part].sum())), f"{errors[part].mean():.1%}",
        f"{interval.low:.1%} to {interval.high:.1%}",
    ]  # fmt: skip


def test_the_table_marks_the_best_of_every_column(tmp_path: Path) -> None:
    def row(value: float, *missing: str) -> dict[str, Interval]:
        measures = ("roc_auc", "aurc", "ece", "ece_platt")
        return {measure: Interval(value, value - 0.1, value + 0.1) for measure in measures if measure not in missing}

    table = {"a": row(0.3), "b": row(0.61, "ece"), HEAD: row(0.61) | {"aurc": Interval(*[float("nan")] * 3)}}
    errors = np.array([0, 1.0, 0, 1])
    page = write(tmp_path, evaluation_with(table, errors, {name: errors / 2 for name in table}))
    assert page.texts_in("strong") == ["0.3000", "0.6100", "0.6100", "0.3000", "0.3000"]  # a tie marks both
    ranking, calibration, mapped = (t for t in page.tables if t[0][0].strip() == "Score")
    assert [cell.split()[0] for cell in ranking[0]] == ["Score", "ROC-AUC", "AURC"]
    assert ["lower" in cell for cell in ranking[0]] == [False, False, True]
    assert ranking[1][1] == "0.3000 0.2000–0.4000 "
    assert ranking[3][2].split() == ["–", "not", "defined"]
    assert [line[0].strip() for line in calibration[1:]] == ["a", HEAD], "b has no ECE"
    assert mapped[0][1].split()[:2] == ["ECE,", "Platt"]


def test_all_shown_measures_have_a_column_and_a_meaning(tmp_path: Path) -> None:
    errors = np.array([0, 1.0, 0, 1])
    row = dict.fromkeys([*RANKING, *CALIBRATION, *Evaluation.shown], Interval(0.5, 0.4, 0.6))
    page = write(tmp_path, evaluation_with({HEAD: row}, errors, {HEAD: errors}))
    columns = {cell.strip() for t in page.tables if t[0][0].strip() == "Score" for cell in t[0][1:]}
    shown = {MEASURES[m][0]: "lower" if lower_is_better(m) else "higher" for m in Evaluation.shown}
    assert columns == {f"{label} {direction} is better" for label, direction in shown.items()}
    assert set(page.texts_in("dt")) == set(shown)
    assert set(page.texts_in("dd")) == {MEASURES[measure][1] for measure in Evaluation.shown}


@pytest.mark.parametrize("error", [0.0, 1.0])
@pytest.mark.parametrize("rows", [1, 5])
def test_predictions_that_are_all_right_or_all_wrong_have_no_ranking(error: float, rows: int, tmp_path: Path) -> None:
    evaluation = evaluated(np.full(rows, error), {"entropy": np.linspace(0, 1, rows), HEAD: np.zeros(rows)})
    page = write(tmp_path, evaluation, rows=rows_behind(evaluation))
    assert "so there is no ranking" in page.all_text
    assert "nan" not in page.all_text
    assert page.texts_in("h2") == ["Comparison of the scores", "Settings and versions"]


def test_the_page_without_a_head_is_about_the_best_score(tmp_path: Path) -> None:
    evaluation = simulated()
    without = evaluated(evaluation.errors, {name: evaluation.scores[name] for name in ("energy", "entropy")})
    page = write(tmp_path, without, rows=rows_behind(evaluation, error_probability=None, accepted=None, text_of=None))
    review, accuracy, *_ = page.texts_in("p")
    assert f"find {errors_found(without.errors, without.scores['energy'], share=0.2):.0%} of the errors" in review
    assert "entropy, finds" in review
    assert accuracy.startswith("The model is right")
    assert "expects" not in page.all_text
    assert "Most uncertain texts" not in page.texts_in("h2")


def test_the_page_tells_sizes_date_and_versions(page: Page) -> None:
    settings = {name.strip(): value.strip() for name, value in page.tables[-1]}
    assert settings["texts"] == "400"
    assert settings["head"] == "h"
    assert settings["torch"] == version("torch")
    assert settings["Python"] == platform.python_version()
    written = datetime.strptime(settings["date"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - written).total_seconds()) < 600


def test_tables_and_charts_are_accessible(page: Page) -> None:
    assert [values for tag, values in page.tags if tag == "meta" and values.get("name") == "viewport"]
    assert [values for tag, values in page.tags if tag == "html" and values.get("lang") == "en"]
    assert all(values.get("scope") in ("col", "row") for tag, values in page.tags if tag == "th")
    pictures = [values for tag, values in page.tags if tag == "svg" and values.get("role") == "img"]
    assert len(pictures) == 5
    assert all(values["aria-label"] for values in pictures)
    identifiers = [values["id"] for _, values in page.tags if values.get("id")]
    assert len(identifiers) == len(set(identifiers))
    regions = [values for _, values in page.tags if values.get("role") == "region"]
    assert len(regions) == len(page.tables)
    assert {values["aria-labelledby"] for values in regions if "aria-label" not in values} <= set(identifiers)


def test_out_of_distribution_texts_have_a_table_of_measures(tmp_path: Path) -> None:
    evaluation = simulated()
    row = dict.fromkeys(Separation.shown, Interval(0.8, 0.7, 0.9))
    outside = np.repeat([0.0, 1.0], [400, 100])
    accuracy = share_interval(400, 500)
    ood = Separation(accuracy, {"entropy": row}, outside, {"entropy": outside}, {"entropy": 1.0}, skipped={})
    page = write(tmp_path, replace(evaluation, ood=ood))
    assert "Out-of-distribution texts" in page.texts_in("h2")
    assert any(ood.headline in text for text in page.texts_in("p"))
    header, entropy = page.tables[-2]
    assert [cell.strip() for cell in header[1:]] == [
        "ROC-AUC higher is better", "PR-AUC higher is better", "FPR at 95% TPR lower is better",
    ]  # fmt: skip
    assert entropy == ["entropy ", *["0.8000 0.7000–0.9000 "] * 3]
