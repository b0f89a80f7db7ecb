"""Views: class models, hashed n-grams, signals that no label of the same fold enters, and their part in a fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn
from torch.nn import functional as F

from aligned_entropy import ArgumentError, FitConfig, fit_head
from aligned_entropy.head.calibration_set import CalibrationSet, calibration_set
from aligned_entropy.head.class_models import Choice, NgramModel, Solution, VectorModel
from aligned_entropy.head.error_model import ErrorModel
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.view_features import accuracy_hint, fit_view, fit_views
from aligned_entropy.head.views import MAX_LOG_ODDS, PADDING, LayersView, TokensView, View, ngram_buckets

CLASSES = 3


def population(count: int, seed: int) -> dict[str, torch.Tensor]:
    """A model that is right on 60% of the texts, and layers and tokens that know the classes otherwise."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, CLASSES, count))
    wrong = torch.from_numpy(rng.random(count) < 0.4)
    seen = torch.where(wrong, (labels + 1) % CLASSES, labels)
    hidden = F.one_hot(seen, CLASSES).float() * 2 + torch.from_numpy(rng.normal(size=(count, CLASSES))).float()
    layers = torch.from_numpy(rng.normal(size=(count, 2, 4))).float()
    layers[:, :, :CLASSES] += F.one_hot(labels, CLASSES).unsqueeze(1)
    tokens = torch.from_numpy(rng.integers(10, 30, (count, 6)))
    tokens[:, 0] = labels + 1
    tokens[::3, 4:] = PADDING
    return {"hidden": hidden, "labels": labels, "layers": layers.half(), "tokens": tokens.int()}


def module() -> nn.Linear:
    linear = nn.Linear(CLASSES, CLASSES, bias=False)
    nn.init.eye_(linear.weight)
    return linear


def checked(rows: dict[str, torch.Tensor]) -> CalibrationSet:
    return calibration_set(AlignedEntropyHead(module()), rows["hidden"], rows["labels"], None, 5, 0)


def inputs(rows: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: rows[name] for name in ("layers", "tokens")}


@pytest.fixture(scope="module")
def rows() -> dict[str, torch.Tensor]:
    return population(300, 0)


def test_a_vector_model_is_a_ridge_regression_on_standardized_vectors(rows):
    vectors, fold = rows["layers"][:, 0].float(), torch.arange(300) % 5
    solution = VectorModel(vectors, rows["labels"], CLASSES, fold).solve({1, 3}, 100.0)
    standardized = (vectors - vectors.mean(0)) / vectors.std(0, correction=0)
    kept = ((fold != 1) & (fold != 3)).numpy()
    ridge = Ridge(100.0).fit(standardized.numpy()[kept], np.eye(CLASSES)[rows["labels"].numpy()[kept]])
    expected = ridge.predict(standardized.numpy())
    np.testing.assert_allclose(vectors @ solution.weights + solution.biases, expected, atol=1e-4)


def test_the_table_of_a_view_gives_the_outputs_of_the_regression(rows):
    model = NgramModel(rows["tokens"], rows["labels"], CLASSES, torch.arange(300) % 5)
    solution = model.solve((), 1.0)
    table = torch.cat([solution.weights, model.frequency.float().unsqueeze(1)], 1).half()
    view = TokensView({"table": table, "biases": solution.biases})
    outputs = model.outputs(solution, torch.arange(300))
    torch.testing.assert_close(view.class_logits(rows["tokens"])[:, 0], outputs, rtol=0, atol=2e-3)
    assert (outputs.argmax(1) == rows["labels"]).float().mean() > 0.95


def test_the_likelihood_of_other_folds_chooses_penalty_and_temperature(rows):
    model = VectorModel(rows["layers"][:, 0], rows["labels"], CLASSES, torch.arange(300) % 5)
    penalty, temperature, shift = model.choose()
    assert shift == 0

    def loss(penalty: float, temperature: float) -> float:
        parts = [(model.outputs(model.solve({k}, penalty), model.rows(k)), model.rows(k)) for k in range(5)]
        losses = [F.cross_entropy(temperature * out, rows["labels"][r], reduction="sum") for out, r in parts]
        return float(sum(losses))

    best = loss(penalty, temperature)
    assert all(best <= loss(other, temperature) + 1e-3 for other in model.penalties)
    assert best <= min(loss(penalty, temperature * factor) for factor in (0.8, 1.25))


@pytest.mark.parametrize(("count", "tested"), [(1000, {0, 1, 2, 3, 4}), (5000, {0, 1}), (20_000, {0})])
def test_of_many_rows_few_folds_choose_the_settings(count, tested, monkeypatch):
    labels = torch.arange(count) % 2
    model = VectorModel(torch.randn(count, 4) + labels.unsqueeze(1), labels, 2, torch.arange(count) % 5)
    left_out, solve = set(), model.solve
    monkeypatch.setattr(model, "solve", lambda excluded, penalty: left_out.update(excluded) or solve(excluded, penalty))
    model.choose()
    assert left_out == tested


def test_hashed_n_grams():
    tokens = torch.tensor([[5, 6, 7, PADDING], [6, 5, PADDING, PADDING], [PADDING] * 4])
    index = ngram_buckets(tokens, 50_000)
    assert index.shape == (3, 7)
    assert index[0, 0] == index[1, 1]
    assert index[0, 4] != index[1, 4], "the order of two tokens counts"
    real = torch.tensor([[1, 1, 1, 0, 1, 1, 0], [1, 1, 0, 0, 1, 0, 0], [0] * 7]).bool()
    assert torch.equal(index < 50_000, real)
    assert len(ngram_buckets(torch.arange(2**18).unsqueeze(0), 2**16).unique()) > 0.98 * 2**16


def test_padding_does_not_change_a_view(rows):
    data = checked(rows)
    for features in fit_views(inputs(rows), data, {}, None, 0):
        if features.view.name == "tokens":
            wider = F.pad(rows["tokens"], (0, 9), value=PADDING)
            torch.testing.assert_close(features.view.class_logits(wider), features.view.class_logits(rows["tokens"]))


def test_a_text_without_tokens_has_the_frequencies_of_the_classes(rows):
    view = fit_views({"tokens": rows["tokens"]}, checked(rows), {}, None, 0)[0].view
    empty = view.class_logits(torch.full((1, 3), PADDING))[0, 0]
    torch.testing.assert_close(empty, view.biases)


def test_the_signal_is_the_log_odds_against_the_prediction():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    signal = View.against(probabilities.log(), torch.tensor([0, 2, 0]))
    torch.testing.assert_close(signal[:2, 0], torch.tensor([0.3 / 0.7, 0.9 / 0.1]).log())
    assert signal[2, 0] == -MAX_LOG_ODDS
    torch.testing.assert_close(View.against(probabilities.log() + 3.0, torch.tensor([0, 2, 0])), signal)


@pytest.mark.parametrize("name", ["layers", "tokens"])
def test_no_label_of_a_row_or_of_a_test_fold_enters_a_signal(rows, name):
    data = checked(rows)
    (before,) = fit_views({name: rows[name]}, data, {}, None, 0)
    j, k = 1, 3
    labels = data.labels.clone()
    changed = (data.fold == j) | (data.fold == k)
    labels[changed] = (labels[changed] + 1) % CLASSES
    other = CalibrationSet(data.hidden, data.logits, labels, data.predicted, data.errors, data.fold)
    with pytest.MonkeyPatch.context() as patch:  # two numbers that all labels choose; their effect is not tested here
        for model in (VectorModel, NgramModel):
            patch.setattr(model, "choose", lambda self: Choice(self.penalties[0], 1.0, 0.0))
        first, second = (fit_views({name: rows[name]}, part, {}, None, 0)[0].values for part in (data, other))
    assert torch.equal(first[k, data.fold == j], second[k, data.fold == j])
    assert not torch.equal(first[0, data.fold == 2], second[0, data.fold == 2])
    assert before.values.shape == (5, 300, 1)


def test_views_find_errors_that_the_score_cannot(rows):
    test = population(1000, 1)
    errors = test["hidden"].argmax(1) != test["labels"]
    aucs = {}
    for name, views in (("without", {}), ("with", inputs(rows))):
        head = fit_head(module(), rows["hidden"], rows["labels"], views=views).head
        uncertainty = head(test["hidden"], test["hidden"], inputs(test))
        pairs = uncertainty[errors].unsqueeze(1) > uncertainty[~errors]
        aucs[name] = float(pairs.double().mean())
    assert aucs["with"] > aucs["without"] + 0.2


def test_training_texts_with_views_are_the_texts_of_the_class_models(rows):
    training, test = population(2000, 2), population(500, 3)
    data = checked(rows)
    for features in fit_views(inputs(rows), data, inputs(training), training["labels"], 0):
        assert torch.equal(features.values[0], features.values[4]), "no calibration label is used"
        torch.testing.assert_close(features.view(inputs(rows), data.predicted), features.values[0])
        log_q = features.view.log_probabilities(inputs(test)[features.view.name])
        assert (log_q.argmax(1) == test["labels"]).float().mean() > 0.6


def training_folds(rows, clusters):
    """Folds of the training texts of a view."""
    folds = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VectorModel, "choose", lambda model: folds.append(model.fold) or (100.0, 1.0, 0.0))
        layers = {"layers": rows["layers"]}
        fit_views(layers, checked(rows), layers, rows["labels"], 0, clusters)
    assert torch.equal(folds[0], folds[1])
    return folds[0]


def test_training_words_of_a_sentence_are_in_one_fold(rows):
    clusters = torch.arange(300) // 7 + 100
    fold = training_folds(rows, clusters.numpy())
    assert all(len(fold[clusters == cluster].unique()) == 1 for cluster in clusters.unique())
    assert sorted(fold.unique().tolist()) == [0, 1, 2, 3, 4]
    independent = training_folds(rows, None)
    assert independent.bincount().tolist() == [60] * 5
    few = training_folds(rows, torch.arange(300) // 100)
    assert torch.equal(few, independent), "three sentences cannot be divided into five folds"


@pytest.mark.parametrize("config", [FitConfig(views=False), FitConfig(error_model=False)])
def test_no_views_are_fitted_without_a_use_for_them(rows, config):
    result = fit_head(module(), rows["hidden"], rows["labels"], views=inputs(rows), config=config)
    assert result.head.views == []
    assert not any("views" in candidate.name for candidate in result.summary.candidates)
    assert result.summary.hint == ""


def test_a_missing_input_is_an_error_that_names_it(rows):
    head = fit_head(module(), rows["hidden"], rows["labels"], views=inputs(rows)).head
    assert head.views == ["layers", "tokens"]
    with pytest.raises(ArgumentError, match=r"this head reads the tokens of a text, which are missing: pass views="):
        head(rows["hidden"], rows["hidden"], {"layers": rows["layers"]})


def test_the_order_of_stored_tensors_does_not_matter(rows):
    model = fit_head(module(), rows["hidden"], rows["labels"], views=inputs(rows)).head.error_model
    state = model.state_dict()
    arguments = torch.zeros(300), rows["hidden"], rows["hidden"], inputs(rows)
    for names in (sorted(state), sorted(state, reverse=True)):
        restored = ErrorModel.from_state(CLASSES, {name: state[name] for name in names})
        assert torch.equal(restored(*arguments), model(*arguments))


def test_a_view_that_is_more_accurate_than_the_model_is_named(rows):
    data = checked(rows)
    views = fit_views(inputs(rows), data, {}, None, 0)
    model, layers, tokens = (part.double().mean() for part in (data.errors == 0, views[0].correct, views[1].correct))
    assert accuracy_hint(views, data) == (
        f"The model is right on {model:.1%} of the calibration texts, but a linear class model of the layers is right "
        f"on {layers:.1%} and one of the tokens is right on {tokens:.1%} of them: train the model, or train it "
        "otherwise (all layers, more or fewer epochs), or replace it."
    )
    assert model < layers < tokens
    summary = fit_head(module(), rows["hidden"], rows["labels"], views=inputs(rows)).summary
    assert accuracy_hint(views, data) == summary.hint == summary.facts()["hint"]
    assert summary.hint in " ".join(str(summary).split())
    useless = fit_views({"layers": torch.randn(300, 1, 4)}, data, {}, None, 0)
    assert accuracy_hint(useless, data) == ""
    many, few = (replace(data, clusters=(np.arange(300) // size)) for size in (5, 100))
    assert accuracy_hint(views, many).startswith(f"The model is right on {model:.1%} of the calibration rows, but")
    assert accuracy_hint(views, few) == "", "three sentences are no evidence"


def test_a_table_is_bounded_by_the_number_of_classes():
    labels = torch.arange(200) % 150
    model = NgramModel(torch.randint(0, 1000, (200, 5)), labels, 150, torch.arange(200) % 5)
    assert len(model.frequency) * 150 <= 2**22
    assert Solution(torch.ones(2, 3), torch.ones(3)).scaled(2.0).biases.tolist() == [2.0, 2.0, 2.0]


def test_layers_are_read_in_half_precision():
    view = LayersView({"weights": torch.ones(1, 2, 2).half(), "biases": torch.zeros(1, 2)})
    exact = torch.tensor([[[0.1, 1000.1]]])
    assert torch.equal(view.class_logits(exact), view.class_logits(exact.half()))


def test_a_component_that_hardly_varies_gives_the_same_numbers_in_the_head_as_in_the_fit():
    """Its weights exceed half precision; a layer norm with weights near zero, as in MPNet, makes such components."""
    rng = np.random.default_rng(0)
    labels = torch.tensor(rng.integers(0, 2, 2000))
    vectors = torch.tensor(rng.normal(size=(2000, 1, 4)), dtype=torch.float32)
    vectors[:, 0, 0] = 3e-6 * (labels + 0.5 * vectors[:, 0, 0])
    values, fold = vectors.half(), torch.arange(2000) % 5
    view = fit_view("layers", values, labels, 2, fold)
    assert view.weights.abs().max() > 65_504
    model = VectorModel(values[:, 0], labels, 2, fold)
    choice = model.choose()
    expected = choice.scale * model.outputs(model.solve((), choice.penalty), torch.arange(2000)) + choice.shift
    torch.testing.assert_close(view.class_logits(values)[:, 0], expected, rtol=1e-3, atol=1e-3)
    assert (expected.argmax(-1) == labels).double().mean() > 0.8
    restored = LayersView({name: tensor.clone() for name, tensor in view.state_dict().items()})
    torch.testing.assert_close(restored.class_logits(values), view.class_logits(values), rtol=0, atol=0)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_refused(value):
    weights, biases = torch.zeros(1, 3, 2), torch.zeros(1, 2)
    weights[0, 1, 1] = value
    with pytest.raises(ArgumentError, match="1 weights of the view of layers are not finite numbers"):
        LayersView({"weights": weights.half(), "biases": biases})
    with pytest.raises(ArgumentError, match="2 biases of the view of tokens are not finite numbers"):
        TokensView({"table": torch.zeros(4, 3).half(), "biases": torch.full((2,), value)})
