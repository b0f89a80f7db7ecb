"""Evaluations: measures equal those of scikit-learn, and skipped scores have a reason."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from aligned_entropy import ArgumentError
from aligned_entropy.evaluation.calibration_maps import MAPPED, MAPS, CalibrationMaps
from aligned_entropy.evaluation.evaluation import evaluate, lower_is_better
from aligned_entropy.evaluation.fitted_scores import BASELINES, FittedScore, default_scores, fit_score, fit_scores
from aligned_entropy.features.arrays import Features
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.metrics import CALIBRATION, RANKING, ece, roc_auc, smooth_ece
from aligned_entropy.scores import SCORES, FittedHead
from fixtures.scenarios import blind_spot

NAMES = [*BASELINES, "energy", "Mahalanobis", "linear probe"]


@pytest.fixture(scope="module")
def sets():
    scenario = blind_spot(1200)
    features = Features(scenario.hidden.numpy(), scenario.logits.numpy(), scenario.labels.numpy())
    return {"module": scenario.classifier, "train": features[:300], "calibration": features[300:600]}, features[600:]


@pytest.fixture(scope="module")
def fitted_scores(sets):
    fitted, skipped = fit_scores(NAMES, **sets[0])
    assert not skipped
    return fitted


@pytest.fixture(scope="module")
def evaluation(sets, fitted_scores):
    return evaluate(sets[1], fitted_scores, skipped={"DDU": "it was too slow."}, resamples=40)


def single_class(features, error):
    """Replace labels so that every prediction is right (0) or wrong (1)."""
    return features.with_labels(np.abs(features.predictions - error))  # two classes


# --- The table.


def test_the_best_ranking_comes_first(evaluation):
    order = [row["roc_auc"].value for row in evaluation.table.values()]
    assert order == sorted(order, reverse=True)
    assert evaluation.table.keys() == evaluation.scores.keys() == evaluation.p_values.keys() == set(NAMES)
    assert next(iter(evaluation.table)) == next(iter(evaluation.p_values)) == "linear probe"


def test_values_are_those_of_scikit_learn_on_the_fitted_scores(sets, fitted_scores, evaluation):
    for name, row in evaluation.table.items():
        values = fitted_scores[name].score.score(sets[1])
        np.testing.assert_array_equal(evaluation.scores[name], values)
        assert row["roc_auc"].value == pytest.approx(roc_auc_score(sets[1].errors, values))
        assert row["pr_auc"].value == pytest.approx(average_precision_score(sets[1].errors, values))
        if fitted_scores[name].score.is_probability:
            assert row["brier"].value == pytest.approx(brier_score_loss(sets[1].errors, values))
    assert evaluation.accuracy.value == 1 - sets[1].errors.mean()


def test_every_value_lies_in_its_interval(evaluation):
    ranking = [row[measure] for row in evaluation.table.values() for measure in ("roc_auc", "pr_auc", "aurc")]
    for interval in [evaluation.accuracy, *ranking]:
        assert interval.low < interval.value < interval.high


def test_calibration_is_measured_of_probabilities_and_of_mapped_scores(sets, fitted_scores, evaluation):
    for name, row in evaluation.table.items():
        calibration = set(CALIBRATION) if fitted_scores[name].score.is_probability else set()
        mapped_measures = {f"{measure}_{map_name}" for measure in MAPPED for map_name in MAPS}
        assert set(row) == {*RANKING, *calibration, *mapped_measures}
        mapped = fitted_scores[name].maps.probabilities(evaluation.scores[name])
        for map_name, values in mapped.items():
            assert row[f"ece_{map_name}"].value == pytest.approx(ece(sets[1].errors, values))
            assert row[f"smooth_ece_{map_name}"].value == pytest.approx(smooth_ece(sets[1].errors, values))
    assert "ece" not in evaluation.table["Mahalanobis"]


def test_the_seed_decides_the_intervals_alone(sets, fitted_scores, evaluation):
    few = {name: fitted_scores[name] for name in ("entropy", "linear probe")}
    first, repeated, other_seed = (evaluate(sets[1], few, resamples=40, seed=seed) for seed in (0, 0, 1))
    assert first.table == repeated.table
    assert first.table["entropy"]["roc_auc"] == evaluation.table["entropy"]["roc_auc"]
    assert first.table["entropy"]["roc_auc"].value == other_seed.table["entropy"]["roc_auc"].value
    assert first.table["entropy"]["roc_auc"] != other_seed.table["entropy"]["roc_auc"]


# --- Differences from the best.


def delong(errors, first, second):
    """Two-sided p-value by the definition, with every pair of an error and a correct prediction."""

    def wins(scores):
        above = scores[errors == 1][:, None] - scores[errors == 0]
        return (np.sign(above) + 1) / 2

    difference = wins(first) - wins(second)
    rows, columns = difference.mean(1), difference.mean(0)
    standard_error = np.sqrt(rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns))
    return 2 * norm.sf(abs(difference.mean()) / standard_error)


def test_p_values_are_those_of_delong_adjusted_by_holm(sets, evaluation):
    best, *others = evaluation.table
    raw = {name: delong(sets[1].errors, evaluation.scores[best], evaluation.scores[name]) for name in others}
    expected, largest = {best: 1.0}, 0.0
    for rank, name in enumerate(sorted(raw, key=raw.get)):
        largest = max(largest, (len(raw) - rank) * raw[name])
        expected[name] = min(1.0, largest)
    assert evaluation.p_values == pytest.approx(expected, rel=1e-6)
    assert max(evaluation.p_values[name] for name in others) < 0.05


def test_a_score_next_to_itself_does_not_differ(sets, fitted_scores):
    twice = evaluate(sets[1], {"first": fitted_scores["entropy"], "copy": fitted_scores["entropy"]}, resamples=10)
    assert twice.p_values == {"first": 1.0, "copy": 1.0}
    assert "*" not in str(twice)


# --- Missing data.


def test_what_cannot_be_fitted_is_skipped_with_its_reason(sets):
    fitted, skipped = fit_scores(["entropy", "DDU", "linear probe", "HUQ entropy + Mahalanobis"], None, None, None)
    assert fitted.keys() == {"entropy"}
    assert skipped == {
        "DDU": "DDU needs labeled train features.",
        "linear probe": "linear probe needs labeled calibration features.",
        "HUQ entropy + Mahalanobis": "HUQ entropy + Mahalanobis needs labeled train features.",
    }
    _, skipped = fit_scores(["MC dropout SMP", "deep ensemble PV"], **sets[0])
    assert skipped.keys() == {"MC dropout SMP", "deep ensemble PV"}
    assert "hold no passes" in skipped["MC dropout SMP"]
    assert "hold no members" in skipped["deep ensemble PV"]


def test_a_calibration_set_that_no_head_can_be_fitted_on_is_a_reason_too(sets):
    calibration = single_class(sets[0]["calibration"], 0)
    _, skipped = fit_scores(["aligned entropy"], **(sets[0] | {"calibration": calibration}))
    assert "wrong on 0 of 300 calibration texts" in skipped["aligned entropy"]


def test_what_cannot_be_scored_is_skipped_with_its_reason(sets, fitted_scores):
    test = replace(sets[1], hidden=np.empty((600, 0), np.float32), absent={"passes": "a decoder has no dropout."})
    some = {name: fitted_scores[name] for name in ("entropy", "Mahalanobis")} | {
        "MC dropout SMP": FittedScore(SCORES["MC dropout SMP"]())
    }
    evaluated = evaluate(test, some, skipped={"DDU": "it was too slow."}, resamples=10)
    assert evaluated.table.keys() == evaluated.p_values.keys() == {"entropy"}
    assert evaluated.skipped.keys() == {"DDU", "Mahalanobis", "MC dropout SMP"}
    assert "hold no hidden" in evaluated.skipped["Mahalanobis"]
    assert evaluated.skipped["MC dropout SMP"] == "a decoder has no dropout."
    assert evaluated.skipped["DDU"] == "it was too slow."


def test_an_evaluation_of_nothing_still_says_why(sets):
    evaluated = evaluate(sets[1], {}, skipped={"DDU": "it was too slow."}, resamples=10)
    assert (evaluated.table, evaluated.p_values) == ({}, {})
    assert "skipped: DDU. it was too slow." in str(evaluated)
    assert json.loads(json.dumps(evaluated.to_dict()))["skipped"] == evaluated.skipped


def test_too_few_errors_are_said(sets, fitted_scores):
    """Nine errors that a score separates from all else have the interval [1, 1], whatever the score is worth."""
    right, wrong = np.flatnonzero(sets[1].errors == 0), np.flatnonzero(sets[1].errors)
    for errors in (1, 9, 10):
        test = sets[1][np.concatenate([right[:200], wrong[:errors]])]
        measured = evaluate(test, {"entropy": fitted_scores["entropy"]}, resamples=10)
        told = f"The model makes only {errors} error{'s' if errors > 1 else ''} on these texts: the intervals are too"
        assert (told in " ".join(str(measured).split())) == (errors < 10)
        assert (told in measured._repr_html_()) == (errors < 10)


@pytest.mark.parametrize(("right", "wrong"), [(40, 60), (60, 40)])
def test_a_model_that_is_mostly_wrong_is_named(sets, fitted_scores, right, wrong):
    rows = [np.flatnonzero(sets[1].errors == error)[:count] for error, count in ((0, right), (1, wrong))]
    measured = evaluate(sets[1][np.concatenate(rows)], {"entropy": fitted_scores["entropy"]}, resamples=10)
    told = "60% of the predictions are wrong: a better model helps more than a review."
    for shown in (" ".join(str(measured).split()), measured._repr_html_()):
        assert (told in shown) == (wrong > right)


@pytest.mark.parametrize("error", [0, 1])
def test_predictions_of_one_class_have_no_ranking_but_a_calibration(sets, fitted_scores, error):
    evaluated = evaluate(single_class(sets[1], error), fitted_scores, resamples=10)
    assert evaluated.accuracy.value == 1 - error
    assert set(evaluated.p_values.values()) == {1.0}
    for name, row in evaluated.table.items():
        assert np.isnan(row["roc_auc"].value)
        if fitted_scores[name].score.is_probability:
            assert row["brier"].value == pytest.approx(np.square(evaluated.scores[name] - error).mean())
    described = json.loads(json.dumps(evaluated.to_dict(), allow_nan=False))
    assert described["scores"]["entropy"]["roc_auc"]["value"] is None
    assert "entropy" in str(evaluated)
    assert "*" not in str(evaluated)


def test_without_a_calibration_set_of_both_kinds_there_are_no_maps(sets):
    for calibration in (None, single_class(sets[0]["calibration"], 0)):
        fitted_score = fit_score(SCORES["entropy"](), None, calibration)
        assert fitted_score.maps is None
        assert np.isnan(fitted_score.validation)
        row = evaluate(sets[1], {"entropy": fitted_score}, resamples=10).table["entropy"]
        assert set(row) == {*RANKING, *CALIBRATION}


# --- JSON, CSV and text.


def test_an_evaluation_is_json(evaluation):
    described = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert described["examples"] == 600
    assert described["errors"] == int(evaluation.errors.sum())
    assert list(described["scores"]) == list(evaluation.table)
    for name, row in evaluation.table.items():
        assert described["scores"][name] == {measure: vars(interval) for measure, interval in row.items()}
    assert described["accuracy"] == vars(evaluation.accuracy)
    assert described["p_values_against_the_best"] == evaluation.p_values
    assert described["skipped"] == {"DDU": "it was too slow."}


def test_a_csv_file_holds_every_number_to_its_last_digit(sets, fitted_scores, tmp_path):
    names = {"entropy, the plain one": fitted_scores["entropy"], "Mahalanobis": fitted_scores["Mahalanobis"]}
    evaluated = evaluate(sets[1], names, resamples=10)
    evaluated.write_csv(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["score"] for row in rows)) == list(evaluated.table)
    assert len(rows) == sum(map(len, evaluated.table.values()))
    for row in rows:
        interval = evaluated.table[row["score"]][row["measure"]]
        assert tuple(float(row[column]) for column in ("value", "low", "high")) == tuple(vars(interval).values())


@pytest.mark.parametrize("measure", [*RANKING, *CALIBRATION, "ece_platt", "smooth_ece_isotonic"])
def test_the_best_by_a_measure_is_the_lowest_or_the_highest(evaluation, measure):
    rising = measure in ("roc_auc", "pr_auc", "prr", "prr_50", "errors_found_10", "errors_found_20")
    assert lower_is_better(measure) is not rising
    values = {name: row[measure].value for name, row in evaluation.table.items() if measure in row}
    assert values[evaluation.best(measure)] == (max if rising else min)(values.values())
    assert min(values.values()) < max(values.values())


def test_an_unknown_measure_is_refused(evaluation):
    with pytest.raises(ArgumentError, match="no score was measured by 'auc'; the measures are roc_auc"):
        evaluation.best("auc")


def test_the_text_marks_what_differs_and_tells_what_is_skipped(evaluation):
    lines = str(evaluation).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Review the most uncertain 20% of the texts by ")
    lines = lines[lines.index("") + 1 :]
    rankings = lines[2 : lines.index("", 2)]
    shown = {line.split("  ")[0].rstrip(): line for line in rankings}
    assert lines[0].startswith(f"accuracy {evaluation.accuracy}, {int(evaluation.errors.sum())} errors in 600 texts")
    for name, p in evaluation.p_values.items():
        line = shown[f"{name} †" if p < 0.05 else name]
        assert str(evaluation.table[name]["roc_auc"]) in line
    assert "linear probe" in shown
    calibration = {line.split("  ")[0].rstrip(): line for line in lines[lines.index("", 2) :]}
    assert "–" in calibration["Mahalanobis †"]
    assert "† ROC-AUC differs from the best (DeLong, paired; Holm; p < .05)" in lines
    assert lines[-1] == "skipped: DDU. it was too slow."


# --- Fitted scores.


def test_maps_and_validation_are_of_values_that_were_held_out(sets):
    calibration = sets[0]["calibration"]
    score = SCORES["MLP probe"](seed=1)
    fitted_score = fit_score(score, None, calibration)
    held_out, in_sample = score.held_out(None, calibration), score.score(calibration)
    expected, overfitted = (
        CalibrationMaps.fit(values, calibration.errors, is_probability=True) for values in (held_out, in_sample)
    )
    np.testing.assert_array_equal(fitted_score.maps.platt, expected.platt)
    np.testing.assert_array_equal(fitted_score.maps.isotonic, expected.isotonic)
    assert not np.allclose(fitted_score.maps.platt, overfitted.platt)
    assert fitted_score.validation == roc_auc(calibration.errors, held_out) < roc_auc(calibration.errors, in_sample)


def test_maps_of_the_published_head_are_of_its_validation_texts(sets):
    calibration = sets[0]["calibration"]
    score = SCORES["aligned entropy (paper)"](sets[0]["module"])
    fitted_score = fit_score(score, None, calibration)
    held_out = score.held_out(None, calibration)
    rows = np.flatnonzero(~np.isnan(held_out))
    assert 0 < len(rows) < 100
    expected = CalibrationMaps.fit(held_out[rows], calibration.errors[rows], is_probability=True)
    np.testing.assert_array_equal(fitted_score.maps.platt, expected.platt)
    assert fitted_score.validation == roc_auc(calibration.errors[rows], held_out[rows])


def test_a_seed_reaches_the_score(sets):
    first, repeated, other_seed = (
        fit_scores(["MLP probe"], **sets[0], seed=seed)[0]["MLP probe"].score.score(sets[1]) for seed in (0, 0, 1)
    )
    assert (first == repeated).all()
    assert (first != other_seed).any()


def test_a_fitted_head_is_a_score(sets):
    head = AlignedEntropyHead(sets[0]["module"])
    values = FittedHead(head).score(sets[1])
    with torch.no_grad():
        np.testing.assert_array_equal(values, head(torch.tensor(sets[1].hidden)).double())
    np.testing.assert_allclose(values, SCORES["entropy"]().score(sets[1]), atol=1e-6)


def test_by_default_the_simple_scores_are_there_as_far_as_they_can(sets):
    assert default_scores(sets[0]["calibration"]) == list(BASELINES)
    without = default_scores(None)
    assert without == ["softmax response", "entropy", "margin"]
    assert not fit_scores(without, None, None, None)[1]


# --- Out-of-distribution texts.


def test_out_of_distribution_texts_are_separated_by_every_score(sets, fitted_scores, tmp_path):
    test = sets[1]
    outside = Features(test.hidden[:100] + 3, test.logits[:100] * 0.1)
    evaluated = evaluate(test, fitted_scores, resamples=20, ood=outside)
    assert list(evaluated.table) == list(evaluate(test, fitted_scores, resamples=20).table)
    is_outside = np.repeat([0, 1], [len(test), 100])
    for name, row in evaluated.ood.table.items():
        both = np.concatenate([fitted_scores[name].score.score(part) for part in (test, outside)])
        assert row["roc_auc"].value == pytest.approx(roc_auc_score(is_outside, both))
    assert set(evaluated.ood.table) == set(evaluated.table)
    assert evaluated.ood.table["Mahalanobis"]["roc_auc"].value > 0.9
    assert {"ece", "brier"}.isdisjoint(evaluated.ood.table["entropy"])
    assert evaluated.to_dict()["ood"]["out_of_distribution"] == 100
    assert f"out-of-distribution: 100 texts, separated from {len(test)} test texts" in str(evaluated)
    evaluated.write_csv(tmp_path / "all.csv")
    with open(tmp_path / "all.csv") as file:
        rows = [row for row in csv.reader(file) if row[:2] == ["entropy", "ood_roc_auc"]]
    assert float(rows[0][2]) == evaluated.ood.table["entropy"]["roc_auc"].value


def test_a_score_that_lacks_arrays_of_the_out_of_distribution_texts_is_skipped(sets, fitted_scores):
    test = sets[1]
    outside = Features(np.empty((50, 0), np.float32), test.logits[:50], absent={"hidden": "there are none."})
    evaluated = evaluate(test, fitted_scores, resamples=20, ood=outside).ood
    assert evaluated.skipped["Mahalanobis"] == "there are none."
    assert "entropy" in evaluated.table
