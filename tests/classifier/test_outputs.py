"""Outputs of any model in place of a model and texts: the same numbers, and no silent guess."""

import copy
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import log_softmax, softmax

from aligned_entropy import (
    ArgumentError,
    ArgumentTypeError,
    CalibrationError,
    DataError,
    FitConfig,
    Goal,
    HeadMismatchError,
    NotApplicableError,
    SetGoal,
    UncertainClassifier,
    fit_head,
)
from aligned_entropy.head.modules import LogProbabilityModule
from aligned_entropy.metrics import roc_auc
from aligned_entropy.refit import refit
from fixtures import sentiment
from fixtures.outputs import outputs

NAMES = ["sports", "trade", "art", "law"]
QUICK = FitConfig(folds=3, betas=(), views=False)


def table(count, seed, *without):
    """Columns of outputs with true labels by name."""
    hidden, logits, labels = outputs(count, seed)
    columns = {"logits": logits.numpy(), "hidden": hidden.numpy(), "label": [NAMES[i] for i in labels]}
    return {name: values for name, values in columns.items() if name not in without}


@pytest.fixture(scope="module", params=["hidden", "no hidden"])
def fitted(request):
    without = () if request.param == "hidden" else ("hidden",)
    classifier = UncertainClassifier.from_outputs(NAMES)
    classifier.fit(table(800, 1, *without), config=QUICK)
    return classifier, without


def test_untrained_uncertainty_is_the_entropy():
    columns = table(50, 0)
    log_p = log_softmax(columns["logits"].astype(np.float64), axis=1)
    expected = -(np.exp(log_p) * log_p).sum(1) / np.log(4)
    for form in ({"logits": columns["logits"]}, {"probabilities": softmax(columns["logits"], axis=1)}):
        predictions = UncertainClassifier.from_outputs(NAMES).predict(form)
        np.testing.assert_allclose(predictions.uncertainty, expected, atol=1e-6)
        assert [row.label for row in predictions] == [NAMES[i] for i in columns["logits"].argmax(1)]


@pytest.mark.parametrize("without", [(), ("hidden",)])
def test_a_fit_from_a_file_is_that_of_an_identity_module_on_the_same_arrays(tmp_path, without):
    for name, seed in (("held-out", 1), ("test", 2)):
        columns = table(900, seed, *without)
        pq.write_table(pa.table({key: list(values) for key, values in columns.items()}), tmp_path / f"{name}.parquet")
    classifier = UncertainClassifier.from_outputs(NAMES)
    classifier.fit(str(tmp_path / "held-out.parquet"), config=QUICK)
    evaluation = classifier.evaluate(tmp_path / "test.parquet", resamples=10)
    (hidden, logits, labels), (test_hidden, test_logits, test_labels) = outputs(900, 1), outputs(900, 2)
    if without:
        identity = torch.nn.Linear(4, 4)
        torch.nn.init.eye_(identity.weight)
        torch.nn.init.zeros_(identity.bias)
        hidden, test_hidden = logits.log_softmax(-1), test_logits.log_softmax(-1)
    else:
        identity = LogProbabilityModule(4)
    head = fit_head(identity, hidden, labels, logits=logits, config=QUICK).head
    expected, errors = head(test_hidden, test_logits).numpy(), (test_logits.argmax(1) != test_labels).double().numpy()
    uncertainty = classifier.predict(tmp_path / "test.parquet").uncertainty
    np.testing.assert_allclose(uncertainty, expected, atol=1e-6)
    assert evaluation.table["aligned entropy"]["roc_auc"].value == pytest.approx(roc_auc(errors, expected), abs=1e-6)
    assert (roc_auc(errors, expected) > 0.75) == (not without)  # the vectors show what the log-probabilities do not


def test_a_saved_head_needs_no_model(fitted, tmp_path):
    classifier, without = fitted
    classifier = copy.copy(classifier)
    rule = classifier.choose_threshold(table(800, 2, *without), Goal(coverage=0.7))
    classifier.choose_sets(table(800, 2, *without), SetGoal(alpha=0.2))
    classifier.save_pretrained(tmp_path / "head")
    restored = UncertainClassifier.from_outputs(head=tmp_path / "head")
    assert (restored.label_names, restored.saved.rule, restored.saved.sets.goal) == (NAMES, rule, SetGoal(alpha=0.2))
    new = table(300, 3, "label", *without)
    for values in ("uncertainty", "accepted", "optional_sets"):
        np.testing.assert_array_equal(getattr(restored.predict(new), values), getattr(classifier.predict(new), values))
    assert 0.5 < restored.predict(new).accepted.mean() < 0.9
    assert "UncertainClassifier.from_outputs" in (tmp_path / "head" / "README.md").read_text()


def test_rows_of_other_columns_and_forms_give_the_same(fitted, tmp_path):
    classifier, without = fitted
    columns = table(60, 4, *without)
    expected = classifier.predict(columns).uncertainty
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    renamed = {"embedding" if name == "hidden" else name: values for name, values in columns.items()}
    for form in (rows, renamed, columns | {"id": range(60), "label": ["unknown"] * 60}):
        np.testing.assert_array_equal(classifier.predict(form).uncertainty, expected)


def test_hidden_vectors_are_all_or_none(fitted):
    classifier, without = fitted
    if without:  # the head was fitted without them, so they are not read
        np.testing.assert_array_equal(
            classifier.predict(table(60, 4)).uncertainty, classifier.predict(table(60, 4, "hidden")).uncertainty
        )
        return
    with pytest.raises(DataError, match=r"the head has vectors of 6 numbers .* but these rows have none"):
        classifier.predict(table(60, 4, "hidden"))
    shorter = table(60, 4) | {"hidden": table(60, 4)["hidden"][:, :4]}
    with pytest.raises(DataError, match="these rows have 4"):
        classifier.evaluate(shorter, resamples=10)
    with pytest.raises(DataError, match="the calibration set has vectors of 6 numbers"):
        UncertainClassifier.from_outputs(NAMES).fit(table(300, 1), reference=table(300, 2, "hidden"), config=QUICK)


def test_rows_of_the_fit_are_recognized(fitted):
    classifier, without = fitted
    with pytest.raises(CalibrationError, match="was fitted on 100% of these texts"):
        classifier.choose_threshold(table(800, 1, *without), Goal(coverage=0.7))
    with pytest.warns(UserWarning, match="was fitted on 100%"):
        classifier.evaluate(table(800, 1, *without), resamples=10)


def test_rounded_outputs_do_not_identify_a_text_but_texts_do():
    def rounded(seed):
        p = np.random.default_rng(seed).integers(1, 99, 600) / 100
        labels = (np.random.default_rng(seed + 10).random(600) < p).astype(int)
        return {"probabilities": np.stack([1 - p, p], 1), "label": [["no", "yes"][label] for label in labels]}

    classifier = UncertainClassifier.from_outputs(["no", "yes"])
    classifier.fit(rounded(0), config=QUICK)
    classifier.choose_threshold(rounded(1), Goal(coverage=0.7))
    texts = {"text": [f"text {number}" for number in range(600)]}
    classifier.fit(rounded(0) | texts, config=QUICK)
    with pytest.raises(CalibrationError, match="100% of these texts"):
        classifier.choose_threshold(rounded(1) | texts, Goal(coverage=0.7))


def test_texts_give_a_lexical_view():
    """Errors depend on a word alone, which neither the logits nor the vectors contain."""

    def with_texts(seed, count=1500):
        random = np.random.default_rng(seed)
        columns = table(count, seed, "label", "hidden")
        hard = random.random(count) < 0.4
        wrong = random.random(count) < np.where(hard, 0.7, 0.05)
        predicted = columns["logits"].argmax(1)
        labels = [NAMES[i] for i in np.where(wrong, (predicted + 1) % 4, predicted)]
        words = [NAMES[(label + is_hard) % 4] for label, is_hard in zip(predicted, hard, strict=True)]
        texts = [f"Text {seed * count + row} is about {word}!" for row, word in enumerate(words)]
        return columns | {"label": labels, "text": texts}

    classifier = UncertainClassifier.from_outputs(NAMES)
    classifier.fit(with_texts(1), config=FitConfig(folds=3, betas=()))
    assert classifier.head.views == ["tokens"]
    test = with_texts(2)
    measured = classifier.evaluate(test, resamples=10).table["aligned entropy"]["roc_auc"]
    assert measured.value > 0.7
    with pytest.raises(DataError, match="the head reads the words of a text, but the table has no column 'text'"):
        classifier.predict({"logits": test["logits"]})


def test_refit_on_outputs(fitted):
    classifier, without = fitted
    feedback, more = (classifier.features(table(600, seed, *without)) for seed in (5, 6))
    result = refit(classifier, feedback, calibration=more)
    assert result.comparison.predictions == 300
    assert result.classifier.saved.backbone == classifier.saved.backbone


def test_scores_that_need_hidden_vectors_are_left_out_without_them(fitted):
    classifier, without = fitted
    result = classifier.evaluate(
        table(300, 3, *without), scores=["entropy", "Mahalanobis", "aligned entropy"], train=table(400, 7, *without),
        resamples=10,
    )  # fmt: skip
    assert set(result.table) == {"entropy", "aligned entropy"} | (set() if without else {"Mahalanobis"})
    assert ("Mahalanobis" in result.skipped) == bool(without)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((40, 3))}, "has 3 classes in each row, but there are 4 label names"),
        ({"logits": np.full((40, 4), np.nan)}, "row 0 of column 'logits' holds NaN"),
        (
            {"label": ["music"] * 40},
            r"No class for 40 of 40 labels, music \(40\), the first in row 0 of column 'label': ",
        ),
        ({"label": [0] * 40}, "holds the numbers 0, but the classes of the model have names"),
        ({"label": [None] * 40}, "row 0 of column 'label' is None: the true class is needed"),
        ({"hidden": np.zeros((40, 2)), "embedding": np.zeros((40, 2))}, "leave out the one that is not meant"),
        ({"text": [None] * 40}, "row 0 of column 'text' has no text, and 39 more rows have none"),
        ({"target": ["art"] * 40}, "2 columns may be the label column"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        UncertainClassifier.from_outputs(NAMES).fit(table(40, 1) | change)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"probabilities": [[0.5, 0.5, 0.2, 0.1]]}, "probabilities must be in"),
        ({"text": ["a text"]}, "has the columns 'text'; needed are 'logits'"),
        ([{"logits": [1, 2, 3, 4]}, {"probabilities": [0.1, 0.2, 0.3, 0.4]}], "row 1 of column 'logits' is None"),
        ("nowhere.parquet", r"there is no file nowhere\.parquet"),
    ],
)
def test_outputs_that_cannot_be_predicted_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        UncertainClassifier.from_outputs(NAMES).predict(rows)


def test_numbers_are_classes_where_these_have_no_other_names():
    columns = table(300, 1) | {"label": outputs(300, 1)[2].numpy()}
    plain = UncertainClassifier.from_outputs([f"LABEL_{number}" for number in range(4)])
    expected = plain.features(columns).labels
    mapped = UncertainClassifier.from_outputs(NAMES).features(
        columns, label_map={str(number): name for number, name in enumerate(NAMES)}
    )
    assert expected.tolist() == mapped.labels.tolist() == outputs(300, 1)[2].tolist()


def test_labels_in_another_order_give_a_warning():
    hidden, logits, labels = outputs(300, 1)
    shifted = [NAMES[(label + 1) % 4] for label in labels]
    with pytest.warns(UserWarning, match="check that the labels of the data mean"):
        UncertainClassifier.from_outputs(NAMES).features({"logits": logits.numpy(), "label": shifted})


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (None, ArgumentError, "label_names are missing"),
        ("abc", ArgumentTypeError, "pass a list of strings"),
        ([0, 1], ArgumentTypeError, "pass a list of strings"),
        (["a"], ArgumentError, "has 1 class"),
        (["a", "b", "a"], DataError, "label_names has two classes of one name, 'a'"),
    ],
)
def test_label_names_that_cannot_be_meant_are_refused(names, error, message):
    with pytest.raises(error, match=message):
        UncertainClassifier.from_outputs(names)


def test_a_head_of_outputs_and_a_model_do_not_fit_together(fitted, tmp_path):
    classifier, _ = fitted
    classifier.save_pretrained(tmp_path / "head")
    sentiment.save(tmp_path / "model")
    with pytest.raises(HeadMismatchError, match="was fitted on outputs from elsewhere and belongs to no model"):
        UncertainClassifier.from_pretrained(tmp_path / "model", head=tmp_path / "head")
    model = UncertainClassifier.from_pretrained(tmp_path / "model")
    texts, labels = sentiment.texts(200, 2)
    model.fit({"text": texts, "label": [sentiment.NAMES[i] for i in labels]}, config=FitConfig(folds=3, betas=()))
    model.save_pretrained(tmp_path / "model-head")
    with pytest.raises(HeadMismatchError, match="not on outputs from elsewhere: load the model"):
        UncertainClassifier.from_outputs(head=tmp_path / "model-head")
    with pytest.raises(HeadMismatchError, match=r"fitted for the classes sports, trade, art, law, in this order"):
        UncertainClassifier.from_outputs(NAMES[::-1], head=tmp_path / "head")


def test_what_needs_a_model_is_refused(fitted):
    classifier, _ = fitted
    for call in (
        classifier.attach,
        classifier.detach,
        lambda: classifier.backbone.encode(["a"]),
        lambda: classifier.backbone.tokenizer,
        lambda: UncertainClassifier(classifier.backbone).predict(["a"]),
    ):
        with pytest.raises(NotApplicableError, match="since there is no model: pass logits, probabilities or"):
            call()
    restored = pickle.loads(pickle.dumps(classifier))
    new = table(20, 9, "label")
    np.testing.assert_array_equal(restored.predict(new).uncertainty, classifier.predict(new).uncertainty)


def test_refit_does_not_mix_rows_with_and_without_vectors(fitted):
    classifier, without = fitted
    feedback = classifier.features(table(600, 5, *without))
    more = classifier.features(table(600, 6) if without else table(600, 6, "hidden"))
    with pytest.raises(DataError, match="give all rows vectors of the same model, or none"):
        refit(classifier, feedback, calibration=more)
