"""Views of multi-label heads: class models of the labels, their map to logits, signals, and their part in a fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn
from torch.nn import functional as F

from aligned_entropy import ArgumentError
from aligned_entropy.head.class_models import Choice, NgramModel, VectorModel, platt_map
from aligned_entropy.head.fit_config import MultiLabelConfig
from aligned_entropy.head.fit_multilabel import fit_multilabel, multilabel_set
from aligned_entropy.head.multilabel_head import MultiLabelHead
from aligned_entropy.head.view_features import ViewFeatures, accuracy_hint, fit_views
from aligned_entropy.head.views import MAX_LOG_ODDS, LayersView, log_probabilities
from aligned_entropy.metrics import roc_auc

LABELS = 4
WITH_VIEWS = MultiLabelConfig(folds=3)


def population(count: int, seed: int) -> dict[str, torch.Tensor]:
    """A model that is right on 75% of the labels, and layers and tokens that know the labels otherwise."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy((rng.random((count, LABELS)) < [0.5, 0.4, 0.2, 0.1]).astype(np.int64))
    seen = labels ^ torch.from_numpy((rng.random((count, LABELS)) < 0.25).astype(np.int64))
    hidden = 4.0 * seen - 2 + torch.from_numpy(rng.normal(size=(count, LABELS))).float()
    layers = torch.from_numpy(rng.normal(size=(count, 2, 6))).float()
    layers[:, :, :LABELS] += 2 * labels.unsqueeze(1)
    tokens = torch.from_numpy(rng.integers(20, 40, (count, LABELS + 3)))
    tokens[:, :LABELS] = torch.arange(LABELS) + 1 + 10 * labels
    return {"hidden": hidden, "labels": labels, "layers": layers.half(), "tokens": tokens.int()}


def module() -> nn.Linear:
    linear = nn.Linear(LABELS, LABELS, bias=False)
    nn.init.eye_(linear.weight)
    return linear.requires_grad_(False)


def checked(rows):
    return multilabel_set(MultiLabelHead(module()), rows["hidden"], rows["labels"], None, 3, 0)


def inputs(rows):
    return {name: rows[name] for name in ("layers", "tokens")}


def fitted(rows, config=WITH_VIEWS):
    return fit_multilabel(module(), rows["hidden"], rows["labels"], views=inputs(rows), config=config)


@pytest.fixture(scope="module")
def rows():
    return population(400, 0)


@pytest.fixture(scope="module")
def result(rows):
    return fitted(rows)


def test_class_models_are_ridge_regressions_on_the_label_matrix(rows):
    fold = torch.arange(400) % 5
    outside = ((fold != 1) & (fold != 3)).numpy()
    vectors = rows["layers"][:, 0].float()
    standardized = ((vectors - vectors.mean(0)) / vectors.std(0, correction=0)).numpy()
    ridge = Ridge(100.0).fit(standardized[outside], rows["labels"].numpy()[outside])
    solution = VectorModel(vectors, rows["labels"], LABELS, fold).solve({1, 3}, 100.0)
    np.testing.assert_allclose(vectors @ solution.weights + solution.biases, ridge.predict(standardized), atol=1e-4)
    model = NgramModel(rows["tokens"], rows["labels"], LABELS, fold)
    outputs = model.outputs(model.solve({1, 3}, 1.0), torch.arange(400))
    assert outputs.shape == (400, LABELS)
    assert ((outputs > 0.5) == (rows["labels"] == 1)).float().mean() > 0.95


def test_the_likelihood_of_other_folds_chooses_penalty_scale_and_shift(rows):
    model = VectorModel(rows["layers"][:, 0], rows["labels"], LABELS, torch.arange(400) % 5)
    chosen = model.choose()

    def loss(choice: Choice) -> float:
        losses = [
            F.binary_cross_entropy_with_logits(
                choice.scale * model.outputs(model.solve({k}, choice.penalty), model.rows(k)) + choice.shift,
                rows["labels"][model.rows(k)].float(),
                reduction="sum",
            )
            for k in range(5)
        ]
        return float(sum(losses))

    best = loss(chosen)
    assert all(best <= loss(chosen._replace(penalty=other)) + 1e-3 for other in model.penalties)
    assert best < min(loss(chosen._replace(scale=factor * chosen.scale)) for factor in (0.9, 1.1))
    assert best < min(loss(chosen._replace(shift=factor * chosen.shift)) for factor in (0.9, 1.1))


def test_one_map_serves_all_labels_and_never_falls():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(500, 3, generator=generator)
    labels = (torch.rand(500, 3, generator=generator) < (2 * outputs - 1).sigmoid()).long()
    loss, scale, shift = platt_map(outputs, labels)
    logistic = LogisticRegression(C=1e6).fit(outputs.reshape(-1, 1), labels.flatten())
    assert (scale, shift) == pytest.approx((logistic.coef_[0, 0], logistic.intercept_[0]), abs=1e-3)
    assert loss == pytest.approx(float(F.binary_cross_entropy_with_logits(scale * outputs + shift, labels.float())))
    loss, scale, shift = platt_map(-outputs, labels)
    rate = labels.float().mean()
    assert (scale, shift) == pytest.approx((0.0, float(rate.log() - (1 - rate).log())), abs=1e-4)


def test_the_signal_is_the_mean_log_odds_against_the_label_prediction(rows):
    view = fit_views({"layers": rows["layers"]}, checked(rows), {}, None, 0)[0].view
    logits = view.class_logits(rows["layers"]).mean(1)
    predicted = torch.randint(2, logits.shape, generator=torch.Generator().manual_seed(0))
    expected = torch.where(predicted == 1, -logits, logits)
    torch.testing.assert_close(view(inputs(rows), predicted), expected.unsqueeze(-1))
    certain = LayersView({"weights": torch.eye(2).unsqueeze(0).half(), "biases": torch.zeros(1, 2)})
    signal = certain({"layers": torch.tensor([[[50.0, -50.0]]])}, torch.tensor([[1, 1]]))
    assert signal.flatten().tolist() == [-MAX_LOG_ODDS, MAX_LOG_ODDS]
    assert log_probabilities(logits, per_label=True).exp().sum(-1).allclose(torch.ones(400, LABELS))


@pytest.mark.parametrize("name", ["layers", "tokens"])
def test_no_label_of_a_row_or_of_a_test_fold_enters_a_signal(rows, name):
    data = checked(rows)
    j, k = 0, 2
    changed = ((data.fold == j) | (data.fold == k)).unsqueeze(1)
    other = replace(data, labels=torch.where(changed, 1 - data.labels, data.labels))
    with pytest.MonkeyPatch.context() as patch:  # numbers that all labels choose; their effect is not tested here
        for model in (VectorModel, NgramModel):
            patch.setattr(model, "choose", lambda self: Choice(self.penalties[0], 5.0, -2.0))
        first, second = (fit_views({name: rows[name]}, part, {}, None, 0)[0].values for part in (data, other))
    assert first.shape == (3, 400, LABELS, 1)
    assert torch.equal(first[k, data.fold == j], second[k, data.fold == j])
    assert not torch.equal(first[1, data.fold == j], second[1, data.fold == j])


def test_views_find_errors_that_the_score_cannot(rows, result):
    test = population(1000, 1)
    errors = ((test["hidden"] > 0) != test["labels"]).float()
    assert {candidate.name for candidate in result.summary.candidates} == {
        "entropy, untrained", "entropy, untrained + neighbors", "entropy, untrained + neighbors and views",
    }  # fmt: skip
    assert result.summary.chosen.name.endswith("neighbors and views")
    assert result.head.views == ["layers", "tokens"]
    aucs = []
    for head, views in ((fitted(rows, replace(WITH_VIEWS, views=False)).head, None), (result.head, inputs(test))):
        labels, texts = head.label_and_text_uncertainty(test["hidden"], test["hidden"], views)
        assert torch.equal(head(test["hidden"], test["hidden"], views), labels)
        assert torch.equal(head.text_error_probability(test["hidden"], test["hidden"], views), texts)
        assert torch.equal(head.text_uncertainty(test["hidden"], test["hidden"], views), texts)
        aucs.append((roc_auc(errors.flatten(), labels.flatten()), roc_auc(errors.amax(1), texts)))
    assert aucs[1][0] > aucs[0][0] + 0.2
    assert aucs[1][1] > aucs[0][1] + 0.1


def test_no_views_are_fitted_without_a_use_for_them(rows):
    for result in (
        fitted(rows, MultiLabelConfig(folds=3, views=False)),
        fitted(rows, MultiLabelConfig(folds=3, error_model=False)),
        fit_multilabel(module(), rows["hidden"], rows["labels"], config=WITH_VIEWS),
    ):
        assert result.head.views == []
        assert not any("views" in candidate.name for candidate in result.summary.candidates)
        assert result.summary.hint == ""


def test_a_missing_input_is_an_error_that_names_it(rows, result):
    head = result.head
    for method in (head, head.label_and_text_uncertainty, head.text_uncertainty):
        with pytest.raises(
            ArgumentError, match=r"this head reads the tokens of a text, which are missing: pass views="
        ):
            method(rows["hidden"], rows["hidden"], {"layers": rows["layers"]})


def test_a_state_in_any_order_gives_the_same_uncertainty(rows, result):
    head = result.head
    arguments = rows["hidden"], rows["hidden"], inputs(rows)
    state = head.state_dict()
    for names in (sorted(state), sorted(state, reverse=True)):
        restored = MultiLabelHead.from_state(module(), {name: state[name] for name in names})
        assert restored.views == head.views
        for before, after in zip(
            head.label_and_text_uncertainty(*arguments), restored.label_and_text_uncertainty(*arguments), strict=True
        ):
            assert torch.equal(before, after)


def test_a_view_that_is_more_accurate_than_the_model_is_named(rows, result):
    data, summary = checked(rows), result.summary
    views = fit_views(inputs(rows), data, {}, None, 0)
    model, layers, tokens = (part.double().mean() for part in (data.errors == 0, views[0].correct, views[1].correct))
    assert model < layers < tokens
    assert accuracy_hint(views, data) == summary.hint == summary.facts()["hint"]
    assert summary.hint == (
        f"The model is right on {model:.1%} of the label predictions for the calibration texts, but a linear class "
        f"model of the layers is right on {layers:.1%} and one of the tokens is right on {tokens:.1%} of them: train "
        "the model, or train it otherwise (all layers, more or fewer epochs), or replace it."
    )
    assert summary.hint in " ".join(str(summary).split())
    useless = fit_views({"layers": torch.randn(400, 1, 4)}, data, {}, None, 0)
    assert accuracy_hint(useless, data) == ""


@pytest.mark.parametrize(("better", "worse", "is_named"), [(20, 4, True), (3, 0, False), (20, 6, False)])
def test_a_text_counts_once_in_the_sign_test(rows, better, worse, is_named):
    """A view that is right on one label more in some texts and on all labels fewer in others."""
    data = checked(rows)
    model_correct = torch.ones(400, LABELS, dtype=torch.bool)
    model_correct[:better, 0] = False
    correct = torch.ones_like(model_correct)
    correct[200 : 200 + worse] = False
    view = LayersView({"weights": torch.zeros(1, 6, LABELS).half(), "biases": torch.zeros(1, LABELS)})
    features = ViewFeatures(view, torch.zeros(3, 400, LABELS, 1), correct)
    assert bool(accuracy_hint([features], replace(data, errors=(~model_correct).float()))) == is_named
