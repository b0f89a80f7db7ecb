"""Tables of benchmark results; the results are written by hand, with known numbers."""

import json
import re

import pytest

from aligned_entropy.report.result_files import data_and_model, measured, model_names, partly_measured
from aligned_entropy.report.result_tables import best_on_validation, comparisons, pivot, score_table
from aligned_entropy.report.sections import sections
from aligned_entropy.report.tables import P_VALUES, Column, Entry, Table
from aligned_entropy.scores import HEAD
from fixtures.bench_results import ENTROPY, RESPONSE, cells, result, rows
from fixtures.command_line import in_process

# Means, standard deviations, ranks and marks


def test_a_table_has_means_and_standard_deviations_over_the_seeds():
    results = [
        *(result(ENTROPY, "alpha", seed, roc_auc=value) for seed, value in enumerate((0.7, 0.8, 0.75))),
        result(ENTROPY, "beta", roc_auc=0.6),
        result("energy", "beta", roc_auc=0.65),
    ]
    table = pivot(results, "roc_auc", "A title")
    assert [column.heading for column in table.columns] == ["alpha", "beta"]
    alpha, beta = table.rows[ENTROPY]
    assert alpha.value == pytest.approx(0.75)
    assert alpha.standard_deviation == pytest.approx(0.05)  # of 0.7, 0.8 and 0.75, with N - 1
    assert beta == Entry(0.6, None, rank=2)
    assert table.rows["energy"] == [None, Entry(0.65, None, rank=1)]
    assert "higher is better; mean ± standard deviation over seeds" in table.note
    assert "± standard" not in pivot(results[-2:], "roc_auc", "").note


@pytest.mark.parametrize(("measure", "ranks"), [("roc_auc", [0, 2, 1, 1, 0]), ("ece", [1, 0, 0, 0, 2])])
def test_the_best_are_those_that_print_the_same(measure, ranks):
    values = dict(zip("abcde", (0.6, 0.7, 0.80001, 0.80004, 0.65), strict=True))
    table = pivot([result(name, **{measure: value}) for name, value in values.items()], measure, "")
    assert [row[0].rank for row in table.rows.values()] == ranks
    assert ("lower" in table.note) == (measure == "ece")


@pytest.mark.parametrize(
    ("gains", "standard_errors", "sign"),
    [
        ((0.03,), (0.01,), 1),
        ((-0.03,), (0.01,), -1),
        ((0.019,), (0.01,), 0),
        ((0.03, 0.005), (0.01, 0.01), 0),  # 0.0175 on average
        ((0.03, 0.005), (0.01, 0.005), 1),
        ((0.0,), (0.0,), 0),  # the same score
        ((0.5, 0.5), (0.01, None), 0),  # one seed has no standard error
    ],
)
def test_a_mark_is_a_mean_gain_beyond_its_error(gains, standard_errors, sign):
    pairs = enumerate(zip(gains, standard_errors, strict=True))
    results = [
        result("x", seed=seed, gain=gain, standard_error=error, roc_auc=0.7, ece=0.1) for seed, (gain, error) in pairs
    ]
    table = pivot(results, "roc_auc", "")
    assert table.rows["x"][0].sign == sign
    assert pivot(results, "ece", "").rows["x"][0].sign == 0
    assert [mark in table.markdown().split("|---|")[1] for mark in "▲▼"] == [sign == 1, sign == -1]


def test_measures_that_are_not_defined_are_left_out():
    results = [result("a", roc_auc=0.7), result("b", roc_auc=None), result("b", "beta", ece=0.1)]
    assert rows(pivot(results, "roc_auc", "")) == {"a": ["70.00"]}


def test_only_scores_that_were_measured_everywhere_have_a_rank():
    values = {"a": (0.7, 0.6, 0.9), "b": (0.8, 0.6, 0.7), "c": (0.9, None, 0.9), "d": (0.6, 0.5, 0.6)}
    results = [
        result(name, data, roc_auc=measured)
        for name, row in values.items()
        for data, measured in zip(("alpha", "beta", "gamma"), row, strict=True)
        if measured is not None
    ]
    table = score_table(results, "scores", "m", "roc_auc")
    # Ranks among a, b and d: 2, 1.5, 1 and 1, 1.5, 2 and 3, 3, 3
    assert {name: row[-1] for name, row in rows(table).items()} == {"a": "1.50", "b": "1.50", "d": "3.00", "c": None}
    assert list(table.rows)[-1] == "c"
    assert [table.rows[name][-1].rank for name in "abd"] == [1, 1, 2]
    assert table.title == "Scores, m: ROC-AUC"
    lower = score_table([result(**{**score_and_data(r), "ece": 1 - value(r)}) for r in results], "scores", "m", "ece")
    assert {name: row[-1] for name, row in rows(lower).items()} == {"a": "1.50", "b": "1.50", "d": "3.00", "c": None}


def test_scores_are_compared_on_the_seeds_that_all_of_them_have():
    results = [result(ENTROPY, seed=seed, roc_auc=0.1 * seed) for seed in range(3)]
    results += [result(HEAD, seed=seed, roc_auc=0.5) for seed in (1, 2)]
    table = score_table(results, "scores", "m", "roc_auc")
    assert table.rows[ENTROPY][0].value == pytest.approx(0.15)
    assert len(measured(results, "scores")) == 4
    assert len(measured(results[:1] + results[4:], "scores")) == 2  # the scores share no seed, so every result stays
    assert partly_measured(results) == [data_and_model(results[0])]
    assert partly_measured(results[1:]) == []


def test_the_command_says_which_seeds_are_not_compared(tmp_path):
    results = [result(ENTROPY, seed=seed) for seed in range(3)] + [result(HEAD, seed=seed) for seed in (1, 2)]
    cells = ({"name": f"scores/{row}", "key": f"{row:064x}"} | cell for row, cell in enumerate(results))
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    done = in_process("report", tmp_path, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert f"warning: {data_and_model(results[0])}: not every score has a result with every seed" in done.stderr


@pytest.mark.parametrize("study", ["entities", "sentences", "texts"])
def test_groups_have_tables_with_intervals_and_are_no_rows_of_the_data_table(study):
    results = [result("entropy, max", roc_auc=0.8, study=study), result(ENTROPY, roc_auc=0.7)]
    (part,) = (part for part in sections(results) if part.title == f"{study.capitalize()}, m")
    assert [table.title for table in part.tables] == [
        f"{study.capitalize()}, m: ROC-AUC",
        f"{study.capitalize()}, m, alpha",
    ]
    assert "[80.00, 80.00]" in part.tables[1].markdown()
    assert len(sections(results)[-1].tables[0].rows) == 1
    assert not [part for part in sections(results[:1]) if part.title == "Data"]


def score_and_data(cell):
    return {"score": cell["cell"]["score"], "data": cell["cell"]["data"]["name"]}


def value(cell, measure="roc_auc"):
    return cell["measures"][measure]["value"]


@pytest.mark.parametrize("results", [[result("a", roc_auc=0.7), result("b", roc_auc=0.6)], [result("a", roc_auc=0.7)]])
def test_a_single_data_set_has_no_mean_rank(results):
    assert [column.heading for column in score_table(results, "scores", "m", "roc_auc").columns] == ["alpha"]


# Across data sets


SETS = ("a", "b", "c", "d", "e", "f")


def six_data_sets():
    """Results on six data sets: the head is better than the entropy on all, than softmax response on five."""
    for i, data in enumerate(SETS):
        yield result(HEAD, data, roc_auc=0.8, ece_platt=0.1, validation=0.99)
        yield result(ENTROPY, data, roc_auc=0.79 - i / 100, ece_platt=0.2, validation=0.7)
        yield result(RESPONSE, data, roc_auc=0.81 if i == 0 else 0.8 - 2 * i / 100, validation=0.6)
        yield result("energy", data, roc_auc=0.8, validation=0.75)
        if i:
            yield result("probe", data, roc_auc=0.9, validation=0.95)


def test_a_comparison_has_gains_wins_and_exact_p_values():
    table = comparisons(list(six_data_sets()), "m")
    assert table.title == "aligned entropy, m, across data sets"
    assert [column.heading for column in table.columns] == [
        "mean gain × 100", "data sets", "better", "worse", "p, Wilcoxon", "p, Holm",
    ]  # fmt: skip
    values = {name: [entry.value for entry in row] for name, row in table.rows.items()}
    # Six differences of one sign: p = 2 / 2⁶. One negative among them, the smallest: 4 / 2⁶. None at all: 1.
    assert values == {
        "ROC-AUC, against entropy": pytest.approx([0.035, 6, 6, 0, 2 / 64, 6 / 64]),
        "ROC-AUC, against softmax response": pytest.approx([(-0.01 + 0.02 * 15) / 6, 6, 5, 1, 4 / 64, 8 / 64]),
        "ROC-AUC, against energy (best on validation)": pytest.approx([0, 6, 0, 0, 1, 1], abs=1e-12),
        "ECE after Platt's map, against entropy": pytest.approx([0.1, 6, 6, 0, 2 / 64, 2 / 64]),
    }


def test_a_p_value_is_never_printed_as_zero():
    def printed(*values):
        table = Table("t", "n", P_VALUES, {"row": [Entry(value) for value in values]})
        return table.markdown().splitlines()[-1], table.latex().splitlines()[-3], P_VALUES[0].format(values[0])

    assert printed(2**-12, 0.0006) == (r"| row | \<0.001 | 0.001 |", r"row & $<$0.001 & 0.001 \\", "<0.001")
    assert printed(0.0312, 1.0) == ("| row | 0.031 | 1.000 |", r"row & 0.031 & 1.000 \\", "0.031")


def test_the_best_baseline_on_validation_is_complete_and_no_head():
    assert best_on_validation(list(six_data_sets())) == "energy"
    assert best_on_validation([r for r in six_data_sets() if r["cell"]["score"] != "energy"]) == ENTROPY
    assert best_on_validation([r for r in six_data_sets() if r["cell"]["score"] == HEAD]) is None
    without = [result(ENTROPY, validation=None), result(RESPONSE, validation=None)]
    assert best_on_validation(without) is None


def test_without_baselines_on_the_same_data_there_is_no_comparison():
    both = [result(score, "alpha", roc_auc=0.8) for score in (HEAD, ENTROPY)]
    assert comparisons(both, "m") is None, "one data set is no test across data sets"
    assert comparisons([result(HEAD, roc_auc=0.8)], "m") is None
    assert comparisons([result(ENTROPY, roc_auc=0.8)], "m") is None
    assert comparisons([result(HEAD, "alpha", roc_auc=0.8), result(ENTROPY, "beta", roc_auc=0.7)], "m") is None
    assert comparisons(list(six_data_sets()), "another model") is None


# Printing


AWKWARD = r"a|b & c_d 100% #1 $x$ {y} ~z ^w \v <u> *t* `s`"


@pytest.fixture
def awkward():
    columns = (Column(AWKWARD), Column("n", 1, 0))
    entries = {
        AWKWARD: [Entry(0.5, 0.01, rank=1, sign=1), Entry(7)],
        "plain": [Entry(0.25, rank=2, sign=-1), None],
    }
    return Table("100% of a|b", "Mean ± deviation – ▲ ▼.", columns, entries)


def test_markdown_is_escaped_and_has_every_column(awkward):
    title, _, note, _, head, rule, *lines = awkward.markdown().splitlines()
    assert title == r"### 100% of a\|b"
    assert note == "Mean ± deviation – ▲ ▼."
    assert [len(cells(line)) for line in (head, *lines)] == [3, 3, 3]
    assert rule == "|---|---:|---:|"
    assert cells(lines[0]) == [
        r"a\|b & c_d 100% #1 $x$ {y} ~z ^w \\v \<u> \*t\* \`s\`", "**50.00** ±1.00 ▲", "7",
    ]  # fmt: skip
    assert cells(lines[1]) == ["plain", "25.00 ▼", "–"]


def test_latex_is_escaped_and_has_every_column(awkward):
    text = awkward.latex()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    lines = text.splitlines()
    assert lines[1] == r"\caption{100\% of a$|$b. Mean $\pm$ deviation -- $^{+}$ $^{-}$.}"
    assert lines[2] == r"\begin{tabular}{lrr}"
    table = [line for line in lines if line.endswith(r" \\")]
    assert [len(re.split(r"(?<!\\)&", line)) for line in table] == [3, 3, 3]
    name = (
        r"a$|$b \& c\_d 100\% \#1 \$x\$ \{y\} \textasciitilde{}z \textasciicircum{}w \textbackslash{}v $<$u$>$ *t* `s`"
    )
    assert table[0] == rf" & {name} & n \\"
    assert table[1] == rf"{name} & \textbf{{50.00}}\,{{\scriptsize $\pm$1.00}}$^{{+}}$ & 7 \\"
    assert table[2] == r"plain & \underline{25.00}$^{-}$ & -- \\"
    assert text.isascii()


def test_models_with_the_most_data_sets_come_first():
    results = [result(model="a"), result(model="b"), result(model="b", data="beta"), result(model="c")]
    assert model_names(results) == ["b", "a", "c"]
    assert measured([*results, result(why={"error": "x"})], "scores") == results
    assert measured(results, "scores", "a") == results[:1]
