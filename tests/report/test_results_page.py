"""The page of benchmark results; the results are written by hand, with known numbers."""

import re

import numpy as np
import pytest

from aligned_entropy.report.result_tables import comparisons, detail_table, score_table
from aligned_entropy.report.results_page import latex, markdown, write_results
from aligned_entropy.report.sections import sections
from aligned_entropy.scores import HEAD
from fixtures.bench_results import ENTROPY, cells, everything, result, rows, transfer
from fixtures.html_page import HOSTILE, Page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = write_results(tmp_path_factory.mktemp("page") / "new" / "page.html", list(everything()), f"Title {HOSTILE}")
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_loads_nothing(page):
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "object", "base")]
    assert not [values for _, values in page.tags if {"src", "href", "srcset"} & set(values)]
    policy = next(values["content"] for tag, values in page.tags if values.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert not re.search(r"@import|@font-face|url\(", "".join(text for tag, text in page.text if tag == "style"))
    assert page.scripts == []


def test_names_are_escaped_everywhere(page):
    assert page.texts_in("h1") == [f"Title {HOSTILE}"]
    assert page.scripts == []
    assert not [tag for tag, _ in page.tags if tag == "b"]
    assert f"Scores, n{HOSTILE}" in page.texts_in("h2")
    assert any(HOSTILE in cell for cell in page.texts_in("th"))


def test_the_page_has_a_section_for_everything(page):
    assert page.texts_in("h2") == [
        "All pairs", "Scores, m", f"Scores, n{HOSTILE}", "Scores, all models", "In detail, m", f"In detail, n{HOSTILE}",
        "Risk and coverage, m", "Reliability, m", "Transfer, m, trained on alpha",
        "Ablation, m", "Outlook, m", "Label efficiency, m", "Data", "Not measured",
        "Settings and versions",
    ]  # fmt: skip
    assert len([tag for tag, _ in page.tags if tag == "figure"]) == 3  # the heat map is a table
    identifiers = [values["id"] for _, values in page.tags if values.get("id")]
    assert len(identifiers) == len(set(identifiers))
    regions = [values for _, values in page.tags if values.get("role") == "region"]
    assert len(regions) == len(page.tables)
    assert {values["aria-labelledby"] for values in regions} <= set(identifiers)


def test_the_page_gives_the_reason_for_every_cell_without_measures(page):
    notes = {name.strip(): reason.strip() for name, reason in page.tables[-2]}
    assert notes == {
        "scores, probe: m on alpha; scores, probe: m on beta": f"no probe: {HOSTILE}",
        "scores, entropy: m on gone": "DataError: gone is gone",
    }


def test_the_page_has_settings_and_versions(page):
    settings = {name.strip(): value.strip() for name, value in page.tables[-1]}
    assert settings["torch"] == "2.0, 2.1"
    assert settings["model m"] == "base b, mode freeze"
    assert {"data alpha", f"data {HOSTILE}", f"model n{HOSTILE}"} <= set(settings)


def test_the_summary_counts_and_ranks(page):
    cell_count = sum("measures" in cell for cell in everything())
    review, second, third, last = page.texts_in("p")[:4]
    assert review.startswith("Errors found in a review of the most uncertain 20% of the texts: aligned entropy")
    assert last.startswith(f"{cell_count} cells: 2 models (m, n{HOSTILE}), 2 data sets (")
    assert "m, ROC-AUC: energy has the best mean rank of 5 scores on 2 data sets; energy 1.0" in second
    assert second.endswith("aligned entropy + reference 2.0, aligned entropy 3.0.")
    assert third.startswith("m, ECE after Platt's map")


def test_one_of_a_kind_is_counted_in_the_singular(tmp_path):
    path = write_results(tmp_path / "page.html", [result(HEAD, "alpha", roc_auc=0.8)], "One")
    assert "1 cell: 1 model (m), 1 data set (alpha)." in Page(path.read_text(encoding="utf-8")).texts_in("p")


def test_paths_of_data_sets_are_shortened_if_that_is_unique():
    names = ("/somewhere/reviews", "/elsewhere/films", "/another/films", "org/tickets")
    text = markdown([result(ENTROPY, name, roc_auc=0.8) for name in names])
    assert "| reviews | /elsewhere/films | /another/films | org/tickets |" in text
    assert "somewhere" not in text


def test_the_page_shows_the_values_of_the_tables(page):
    table = score_table(list(everything()), "scores", "m", "roc_auc")
    lines = next(lines for lines in page.tables if len(lines) == 6 and lines[0][-1].strip() == "mean rank")
    printed = {line[0].strip(): [cell.split()[0] for cell in line[1:]] for line in lines[1:]}
    assert printed == rows(table)
    assert "78.00" in page.texts_in("strong")


def test_all_models_together_have_a_column_for_every_pair():
    results = [
        result(name, data, model=model, roc_auc=value + gain)
        for name, value in (("entropy", 0.7), ("softmax response", 0.71), (HEAD, 0.73))
        for model, data, gain in (("m", "alpha", 0.0), ("m", "beta", 0.1), ("n", "alpha", 0.05))
    ]
    table = score_table(results, "scores", None, "roc_auc")
    assert [column.heading for column in table.columns] == ["alpha, m", "beta, m", "alpha, n", "mean rank"]
    assert rows(table)[HEAD] == ["73.00", "83.00", "78.00", "1.00"]
    against = comparisons(results, None).rows["ROC-AUC, against entropy"]
    assert [round(entry.value, 6) for entry in against[:4]] == [0.03, 3, 3, 0]
    assert not [part for part in sections(results[:1]) if part.title.endswith("all models")]


def test_a_detail_table_has_intervals_and_marks_the_best_of_every_column():
    def with_bounds(cell, width):
        for measure in cell["measures"].values():
            measure |= {"low": measure["value"] - width, "high": measure["value"] + width}
        return cell

    results = [
        *(with_bounds(result("a", seed=seed, roc_auc=0.7 + seed / 10, ece=0.1), 0.02) for seed in (0, 1)),
        *(with_bounds(result("b", seed=seed, roc_auc=0.8, ece=0.2, smooth_ece=0.2), 0.01) for seed in (0, 1)),
        result("c", "beta", roc_auc=0.9, aurc=0.1),
    ]
    table = detail_table(results, "m", "alpha", ("roc_auc", "aurc", "ece", "smooth_ece"))
    assert [column.heading for column in table.columns] == ["ROC-AUC", "ECE", "SmoothECE"]  # no AURC on this data set
    assert list(table.rows) == ["b", "a"]
    assert [entry.rank for entry in table.rows["a"][:2]] == [2, 1]
    assert table.rows["a"][2] is None
    assert "| a | 75.00 [73.00, 77.00] | **10.00** [8.00, 12.00] | – |" in table.markdown()
    assert r"\underline{75.00}\,{\scriptsize [73.00, 77.00]}" in table.latex()
    assert "means of 2 seeds" in table.note


def section(title, results):
    return next(part for part in sections(list(results)) if part.title.startswith(title))


def test_curves_are_means_over_the_seeds():
    panels = section("Risk", everything()).chart.panels
    head = [curve for panel in panels for curve in panel.curves if curve.name == HEAD]
    assert len(head) == 2  # a panel for every data set
    expected = [np.interp(head[0].x, [0.01, 0.5, 1], [0, middle, 0.2]) for middle in (0.1, 0.2)]
    np.testing.assert_allclose(head[0].y, np.mean(expected, 0))
    assert "energy" not in {curve.name for panel in panels for curve in panel.curves}


def test_reliability_pools_the_texts_of_the_seeds():
    panel = section("Reliability", everything()).chart.panels[0]
    head = next(curve for curve in panel.curves if curve.name == HEAD)
    assert head.x.tolist() == pytest.approx([0.1, 0.9])
    assert head.y.tolist() == pytest.approx([0.1, 1.0])  # of 0 and 0.2
    assert [hint.split(", ")[-1] for hint in head.hints] == ["150 predictions", "50 predictions"]
    assert not [part for part in sections([result("energy", roc_auc=0.7)]) if part.title.startswith("Reliability")]


def test_the_heat_map_shows_the_gain_of_the_head_over_the_entropy():
    part = section("Transfer", transfer())
    assert part.chart.rows == part.chart.columns == ["alpha", "beta"]
    np.testing.assert_allclose(part.chart.values, [[5, -2], [-2, 5]])
    assert rows(part.tables[0]) == {
        "entropy": ["70.00", "70.00"],
        "aligned entropy, fitted on alpha": ["75.00", "68.00"],
        "aligned entropy, fitted on beta": ["68.00", "75.00"],
    }


def test_a_domain_without_a_head_is_a_gap():
    part = section("Transfer", transfer(heads=("alpha",)))
    assert part.chart.values == [[pytest.approx(5), pytest.approx(-2)], [None, None]]
    alone = section("Transfer", (cell for cell in transfer() if cell["cell"]["score"] == HEAD))
    assert alone.chart.values == [[None, None]] * 2


def test_every_training_set_has_a_separate_heat_map():
    results = [*transfer("alpha"), *transfer("beta", heads=("beta",))]
    titles = [part.title for part in sections(results) if part.title.startswith("Transfer")]
    assert titles == ["Transfer, m, trained on alpha", "Transfer, m, trained on beta"]
    assert not any(entry.standard_deviation for entry in section(titles[0], results).tables[0].rows[ENTROPY])


def test_label_efficiency_is_sorted_by_size():
    part = section("Label", everything())
    assert [column.heading for column in part.tables[0].columns] == ["50", "100", "200"]
    curve = part.chart.panels[0].curves[0]
    assert curve.x.tolist() == [50, 100, 200]
    assert curve.y.tolist() == pytest.approx([0.75, 0.8, 0.9])


def test_the_data_table_describes_complete_sets():
    table = section("Data", everything()).tables[0]
    assert rows(table)["alpha"] == ["200", "100", "2", "81.0", "25.0"]
    assert table.rows["alpha"][3].standard_deviation == pytest.approx(np.std([0.8, 0.82], ddof=1))


@pytest.mark.parametrize(
    "results",
    [
        [result(why={"error": "ValueError: everything"})],
        [result(roc_auc=None, aurc=0.0)],
        [result(score, data, aurc=0.1) for score in (ENTROPY, HEAD) for data in ("alpha", "beta")],
        list(transfer(heads=())),
    ],
    ids=["all failed", "no error to find", "no ROC-AUC", "no head"],
)
def test_few_results_make_a_page_too(results, tmp_path):
    page = Page(write_results(tmp_path / "page.html", results, "Little").read_text(encoding="utf-8"))
    assert page.texts_in("h1") == ["Little"]
    assert "nan" not in page.all_text.lower().split()
    assert ("ValueError: everything" in page.all_text) == ("error" in results[0])


def test_markdown_and_latex_hold_every_table_of_the_page():
    results = list(everything())
    tables = [table for part in sections(results) for table in part.tables]
    text, tex = markdown(results), latex(results)
    assert all(table.columns for table in tables)
    titles = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert [re.sub(r"\\(.)", r"\1", title) for title in titles] == [table.title for table in tables]
    blocks = [block for block in re.split(r"\n\n+", text) if block.startswith("| ")]
    assert len(blocks) == len(tables) == tex.count(r"\toprule")
    for block, table in zip(blocks, tables, strict=True):
        assert {len(cells(line)) for line in block.splitlines() if line.startswith("| ")} == {1 + len(table.columns)}
        assert len(block.splitlines()) == 2 + len(table.rows)
    lines = [line for line in tex.splitlines() if line.endswith(r" \\")]
    widths = [1 + len(table.columns) for table in tables for _ in range(1 + len(table.rows))]
    assert [len(re.split(r"(?<!\\)&", line)) for line in lines] == widths
