"""Results show themselves: every public object in a few lines, as safe HTML, as a figure and as a data frame."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aligned_entropy import (
    ArgumentError,
    ArgumentTypeError,
    FitConfig,
    Goal,
    MissingExtraError,
    MultiLabelConfig,
    NotApplicableError,
    SetGoal,
    UncertainClassifier,
    audited_accuracy,
    labeled_texts,
    labeled_tokens,
    load_data,
    multilabel_texts,
    select_for_audit,
)
from aligned_entropy.accuracy.drift import DriftTest
from aligned_entropy.display.card import Card
from aligned_entropy.head.fit_summary import Candidate, FitSummary
from aligned_entropy.metrics import risk_coverage
from aligned_entropy.selective import SelectionUnits, choose_threshold
from fixtures import sentiment
from fixtures.html_page import HOSTILE, Page
from fixtures.sentiment import named
from fixtures.token_models import sentences

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
TEXTS = ["the film is good", "bad", "a great story"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path_factory.mktemp("model")))
    classifier.result = classifier.fit(pd.DataFrame(named(400, 3)), config=FitConfig(folds=3, betas=()))
    classifier.choose_threshold(pd.DataFrame(named(400, 9)), Goal(risk=0.2))
    classifier.choose_sets(pd.DataFrame(named(400, 9)), SetGoal())
    return classifier


@pytest.fixture(scope="module")
def evaluation(classifier):
    return classifier.evaluate(pd.DataFrame(named(300, 7)), ood=pd.DataFrame({"text": TEXTS * 5}), resamples=20)


@pytest.fixture(scope="module")
def predictions(classifier):
    return classifier.predict(pd.DataFrame(named(300, 5)))


def audit(predictions):
    table = predictions.to_pandas()
    sample = select_for_audit(table["error_probability"], 60, strata=table["predicted_label"])
    errors = pd.Series(np.arange(60) % 5 == 0, index=sample.rows)
    return audited_accuracy(
        table["error_probability"], sample, errors, accepted=table["accepted"], predicted=table["predicted_label"]
    )


def stored(kind, with_head=True):
    head = STORED / kind / "head" if with_head else None
    return UncertainClassifier.from_pretrained(STORED / kind / "model", head=head)


def shown(classifier, evaluation, predictions):
    """Public objects by name."""
    many = replace(
        predictions.rows(np.tile(np.arange(300), 100)),
        label_names=["a very long name of a class " * 4, HOSTILE],
    )
    tokens = {"tokens": [["a", "b"]], "tags": [["O", "B-X"]]}
    unlabeled = {kind: stored(kind, with_head=False).predict(TEXTS) for kind in ("texts", "labels", "tokens")}
    fitted = {f"{kind} with head": stored(kind).predict(TEXTS) for kind in ("texts", "labels", "tokens")}
    units = classifier.saved.selection_units
    return unlabeled | fitted | {
        "classifier": classifier, "untrained classifier": stored("tokens", with_head=False),
        "saved head": classifier.saved, "fit": classifier.result, "summary": classifier.result.summary,
        "candidate": classifier.result.summary.chosen, "evaluation": evaluation, "separation": evaluation.ood,
        "predictions": predictions, "many predictions": many, "row": predictions[0], "no rows": predictions[:0],
        "token row": fitted["tokens with head"][0], "label row": fitted["labels with head"][0],
        "rule": classifier.saved.rule, "threshold": classifier.saved.rule.thresholds[""],
        "rules": choose_threshold(units, Goal(coverage=0.5, per_class=True)), "sets": classifier.saved.sets,
        "units": units, "audit": audit(predictions), "class audit": audit(predictions).classes["negative"],
        "sample": select_for_audit(predictions.error_probability, 50), "estimate": predictions.estimated_accuracy,
        "basis": predictions.basis, "drift": DriftTest([0.1, 0.5]), "features": classifier.features(named(30, 7)),
        "texts": labeled_texts(named(300, 7)), "table": load_data(named(300, 7)), "tagged": labeled_tokens(tokens),
        "pairs": labeled_texts([(("a", "b"), "x"), (("c", "d"), "y")]),
        "labeled": multilabel_texts({"text": ["a", "b"], "labels": [["x", "y"], []]}),
        "config": FitConfig.paper(), "multi-label config": MultiLabelConfig(folds=4), "goal": Goal(risk=0.02),
        "set goal": SetGoal(0.2),
        "backbone": classifier.backbone,
        "fitted head": classifier.head,
    }  # fmt: skip


def test_every_object_is_short_and_safe(classifier, evaluation, predictions):
    objects = shown(classifier, evaluation, predictions)
    for name, value in objects.items():
        lines = repr(value).splitlines()
        assert len(lines) <= 10, name
        assert max(map(len, lines)) <= 80, name
        assert " object at 0x" not in repr(value), name
        assert type(value).__name__ in lines[0], name
        if hasattr(value, "_repr_html_"):
            page = Page(value._repr_html_())
            assert page.scripts == [], name
            assert not any(tag in ("img", "link", "iframe") for tag, _ in page.tags), name
    assert sum(hasattr(value, "_repr_html_") for value in objects.values()) > 20
    assert repr(objects["goal"]) == "Goal(risk=0.02)"
    assert repr(objects["set goal"]) == "SetGoal(alpha=0.2)"
    assert re.search(r"model\d', 2 classes\)$", repr(objects["backbone"]))
    assert repr(objects["fitted head"]).startswith("AlignedEntropyHead(smoothmax, 24 → 2, fitted")
    assert repr(objects["drift"]) == "DriftTest(labeled=2, predictions=0, e_value=1)"


def test_predictions_show_texts_with_their_probabilities(predictions):
    (table,) = Page(predictions._repr_html_()).tables
    heading, *rows = [[cell.strip() for cell in row] for row in table]
    assert heading == ["text", "predicted", "P(wrong)", "accepted", "set"]
    texts, labels = named(300, 5)["text"], predictions.labels
    for row, i in [(rows[0], 0), (rows[4], 4), (rows[6], 296), (rows[9], 299)]:
        assert row[:4] == [
            texts[i], labels[i], f"{predictions.error_probability[i]:.3f}", "yes" if predictions.accepted[i] else "no",
        ]  # fmt: skip
    assert rows[5][0] == "… 291 more"
    accepted, mean = predictions.accepted.mean(), predictions.error_probability.mean()
    assert repr(predictions).splitlines()[0] == (
        f"Predictions: 300 texts, 2 classes, {accepted:.1%} accepted; mean P(wrong) {mean:.3f}"
    )
    assert predictions[3:5].texts == texts[3:5]
    assert predictions.rows(np.array([7, 2])).texts == [texts[7], texts[2]]


def test_a_row_without_a_prediction_shows_the_reason_and_no_label(predictions):
    errors = np.array([None, "no reply", None, None], object)
    values = {name: getattr(predictions, name)[:4].copy() for name in ("uncertainty", "optional_error_probability")}
    for array in values.values():
        array[1] = np.nan
    values["optional_accepted"] = np.array([True, False, True, True])
    part = replace(predictions[:4], row_errors=errors, optional_sets=None, **values)
    assert "4 texts, 2 classes, 1 without a prediction" in repr(part)
    (table,) = Page(part._repr_html_()).tables
    assert [cell.strip() for cell in table[2]][1:] == ["–", "–", "no", "no reply"]


def test_some_predictions_are_taken_by_numbers_or_booleans(predictions):
    certain = predictions.accepted
    assert predictions[certain].texts == [
        t for t, is_accepted in zip(predictions.texts, certain, strict=True) if is_accepted
    ]
    assert predictions[~certain].to_pandas().equals(predictions.rows(np.flatnonzero(~certain)).to_pandas())
    assert predictions[[7, 2]].labels.tolist() == [predictions[7].label, predictions[np.int64(2)].label]
    assert len(predictions[[]]) == 0
    with pytest.raises(IndexError):
        predictions[[300]]
    series = pd.Series(certain)  # the order of its index may be another one
    for wrong in ("label", 1.5, [True, False], [0.5], [[1], [1, 2]], [True, 0, 1], series):
        with pytest.raises(ArgumentTypeError, match=r"is no index of 300 predictions: .* Columns are"):
            predictions[wrong]


def test_truncated_texts_are_counted(classifier, predictions):
    long = " ".join(["good film"] * 400)
    assert "Truncated texts, of which the model did not read all: 2." in repr(classifier.predict([long, "bad", long]))
    assert "runcated" not in repr(predictions)


def test_pairs_show_both_texts():
    pairs = repr(labeled_texts([(("a", "b"), "x"), (("c", "d"), "y")]))
    assert "a ‖ b" in pairs


def test_a_data_frame_of_predictions_joins_the_one_that_was_predicted(classifier):
    rows = pd.DataFrame(named(40, 8)).rename(columns={"label": "true"}).iloc[10:30:2]
    result = classifier.predict(rows)
    joined = rows.join(result.to_pandas())
    assert joined.equals(rows.join(result.to_pandas(rows.index)))
    assert result[3:5].to_pandas().index.equals(rows.index[3:5])
    assert classifier.predict(rows["text"]).to_pandas().index.equals(rows.index)
    assert classifier.predict(rows["text"].tolist()).to_pandas().index.tolist() == list(range(len(rows)))
    assert joined.index.tolist() == rows.index.tolist()
    assert joined["error_probability"].tolist() == result.error_probability.tolist()
    assert joined["text"].tolist() == result.texts
    with pytest.raises(ValueError, match="10"):
        result.to_pandas(range(9))


def test_data_frames_hold_the_figures(classifier, evaluation, predictions):
    table = evaluation.to_pandas().set_index(["score", "measure"])
    assert table.loc[("entropy", "roc_auc"), "low"] == evaluation.table["entropy"]["roc_auc"].low
    assert ("entropy", "ood_roc_auc") in table.index
    candidates = classifier.result.to_pandas()
    chosen = classifier.result.summary.chosen
    assert candidates.loc[candidates["chosen"], ["candidate", "roc_auc"]].values.tolist() == [
        [chosen.name, chosen.roc_auc.value]
    ]
    rule, (row,) = classifier.saved.rule, classifier.saved.rule.to_pandas().to_dict("records")
    assert (row["class"], row["coverage"], row["accepted"]) == ("all", rule.coverage, rule.accepted)
    report, estimate = audit(predictions), predictions.estimated_accuracy
    figures = report.to_pandas().set_index(["predictions", "measure"])
    assert figures.loc[("all predictions", "accuracy"), "value"] == report.accuracy.value
    assert figures.loc[("accepted predictions", "accuracy"), "low"] == pytest.approx(1 - report.risk.high)
    assert figures.loc[("negative", "precision"), "labeled"] == report.classes["negative"].labeled
    figures = estimate.to_pandas().set_index(["predictions", "measure"])
    assert figures.loc[("all predictions", "accuracy"), "high"] == estimate.overall.high
    assert figures.loc[("positive", "recall"), "value"] == estimate.classes["positive"].recall.value


def traces(figure):
    return {trace.name: trace for trace in figure.data}


def test_an_evaluation_plots_its_curves(evaluation):
    drawn = traces(evaluation.plot())
    assert set(drawn) == {"perfect ranking", *evaluation.scores}
    coverage, risk = risk_coverage(evaluation.errors, evaluation.scores["entropy"])
    assert drawn["entropy"].x == pytest.approx(coverage, abs=1e-5)
    assert drawn["entropy"].y == pytest.approx(risk, abs=1e-5)
    assert set(traces(evaluation.plot(scores=["margin"]))) == {"perfect ranking", "margin"}
    assert set(traces(evaluation.plot("reliability"))) == {"perfect calibration", "aligned entropy"}
    with pytest.raises(ArgumentError, match=r"'histogram'.*'risk' or 'reliability'"):
        evaluation.plot("histogram")
    with pytest.raises(ArgumentError, match="no score 'nonsense'"):
        evaluation.plot(scores=["nonsense"])
    unbounded = replace(evaluation, scores={"entropy": evaluation.scores["entropy"] + 1})
    with pytest.raises(ArgumentError, match="none of these scores is a probability"):
        unbounded.plot("reliability")


def test_a_plot_without_plotly_names_the_extra(evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtraError, match=r"a figure needs .* pip install 'aligned-entropy\[plot\]'"):
        evaluation.plot()


def test_a_rule_plots_its_threshold_on_the_curve(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    for rule in (classifier.saved.rule, stored_rule(classifier, tmp_path)):
        drawn = traces(rule.plot())
        assert drawn["threshold"].x == pytest.approx([rule.coverage], abs=1e-5)
        assert drawn["threshold"].y == pytest.approx([rule.risk], abs=1e-5)
        i = np.abs(np.asarray(drawn["labeled predictions"].x) - rule.coverage).argmin()
        assert drawn["labeled predictions"].y[i] == pytest.approx(rule.risk, abs=1e-4)
        assert rule.plot().layout.shapes[0].y0 == 0.2
        assert "<circle" in rule._repr_html_()
    with pytest.raises(NotApplicableError, match="choose the threshold again"):
        replace(rule, units=None).plot()


def stored_rule(classifier, folder):
    return UncertainClassifier(classifier.backbone).load_head(folder).saved.rule


def test_a_rule_by_class_plots_seven_classes_and_leaves_out_nan():
    rng = np.random.default_rng(0)
    uncertainty = rng.random(900).astype(np.float32)
    uncertainty[:90] = np.nan
    labels = np.array([f"class {i % 9}" for i in range(900)])
    units = SelectionUnits(uncertainty, (rng.random(900) < uncertainty).astype(float), labels)
    drawn = traces(choose_threshold(units, Goal(coverage=0.5, per_class=True)).plot())
    assert sum(name.startswith("class") for name in drawn) == 7
    assert max(drawn["class 1"].x) == pytest.approx(0.9)
    assert drawn["threshold, class 1"].x[0] == pytest.approx(0.5)


def test_audits_and_estimates_and_fits_plot_intervals(classifier, predictions):
    report, estimate = audit(predictions), predictions.estimated_accuracy
    intervals, expected = report.plot().data
    assert list(intervals.y) == ["all predictions", "accepted predictions", "negative", "positive"]
    assert intervals.x[0] == report.accuracy.value
    assert intervals.x[0] + intervals.error_x.array[0] == pytest.approx(report.accuracy.high)
    assert intervals.x[0] - intervals.error_x.arrayminus[0] == pytest.approx(report.accuracy.low)
    assert list(expected.x) == [report.expected]
    assert estimate.plot().data[0].x[0] == estimate.overall.value
    (fits,) = classifier.result.plot().data
    assert list(fits.x) == [candidate.roc_auc.value for candidate in classifier.result.summary.candidates]


def test_an_estimate_shows_why_it_must_not_be_believed(predictions):
    estimate = replace(predictions, basis=None).estimated_accuracy
    assert "Do not rely on this estimate" in repr(estimate)
    assert "Do not rely on this estimate" in estimate._repr_html_()


def test_a_fit_shows_its_advice_and_both_candidates_that_it_compares(classifier):
    interval = classifier.result.summary.chosen.roc_auc
    parts = [Candidate(f"candidate {number}", "entropy", number > 1, interval) for number in range(9)]
    reason, hint = "The gain over candidate 1 is +8.4. " * 9, "Train the model otherwise, or replace it."
    summary = FitSummary(1600, 900, tuple(parts), parts[5], parts[1], reason, hint=hint)
    result = replace(classifier.result, summary=summary)
    lines = repr(result).splitlines()
    assert len(lines) <= 10
    assert hint in repr(result)
    assert any(line.startswith("* candidate 5") for line in lines)
    short = repr(replace(result, summary=replace(summary, reason="It gains.", hint=""))).splitlines()
    assert [line.split("  ")[0] for line in short[4:]] == [
        "* candidate 5", "candidate 0", "candidate 2", "… 4 more", "candidate 8", "candidate 1",
    ]  # fmt: skip
    assert str(result) == str(summary)
    assert hint in str(result)
    assert " ".join(reason.split()) in " ".join(str(result).split())
    assert str(summary).startswith("1,600 examples, 900 errors")


def test_a_printed_result_shows_all_of_its_notes(predictions):
    notes = [f"Note {number}: {'word ' * 30}end {number}." for number in range(8)]
    card = Card("A result", notes, ["row"], 40, lambda row: [row], shown=20)
    assert "end 7." not in card.text()
    whole = card.text(is_whole=True)
    assert all(f"end {number}." in whole for number in range(8))
    assert whole.endswith("39")
    assert "… 21 more" in whole
    assert str(predictions).splitlines()[0] == repr(predictions).splitlines()[0]


def test_a_grouped_evaluation_shows_all_its_levels():
    tagger = stored("tokens")
    rows = sentences(tagger, 5, 40)
    report = tagger.evaluate(rows, scores=["entropy"], resamples=10)
    assert repr(report).startswith(f"GroupedEvaluation: {sum(map(len, rows['tokens']))} words, ")
    assert len(repr(report).splitlines()) <= 10
    page = Page(report._repr_html_())
    assert len(page.tables) == 2 + len(report.groups)
    table = report.to_pandas()
    assert set(table["level"]) == {"words", *report.groups}
    assert list(table.columns) == ["level", "score", "measure", "value", "low", "high"]
