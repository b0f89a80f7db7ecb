"""Multi-label heads: closed forms, order, and state."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy import NotFittedError
from aligned_entropy.errors import ArgumentError
from aligned_entropy.head.multilabel_head import LabelErrorModel, MultiLabelHead, TextMap, any_log_odds, pair_logits
from aligned_entropy.head.reference import K_NEAR, MAX_POINTS, LabelReference
from aligned_entropy.head.scoring import log_entropy
from fixtures.multilabel_scenarios import FAST, blind, fitted, independent, uncertainties
from fixtures.scenarios import DenseHead


@pytest.mark.parametrize("module", [nn.Linear(12, 4), DenseHead(), nn.Linear(12, 1)])
def test_untrained_it_is_the_entropy_of_every_sigmoid(module):
    torch.manual_seed(0)
    hidden = 3 * torch.randn(200, 12)
    with torch.no_grad():
        p = module(hidden).double().sigmoid()
        head = MultiLabelHead(module)
        entropy = -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)) / np.log(2)
        torch.testing.assert_close(head(hidden, module(hidden)).double(), entropy, atol=1e-6, rtol=1e-5)
        text = 1 - torch.maximum(p, 1 - p).prod(1)
        torch.testing.assert_close(head.text_uncertainty(hidden).double(), text, atol=1e-6, rtol=1e-5)


def test_confident_predictions_and_texts_keep_their_order():
    head = MultiLabelHead(nn.Linear(3, 3))
    with torch.no_grad():
        head.classifier.weight.copy_(torch.eye(3))
        head.classifier.bias.zero_()
    hidden = -torch.tensor([1.0, 2.0, 3.0]) * torch.linspace(10, 29, 50).unsqueeze(1)  # log p from -10 to -87
    log_u = head.log_uncertainty(hidden)
    assert (log_u.diff(dim=0) < 0).all()
    assert torch.equal(log_u, log_entropy(torch.stack([torch.zeros(50, 3), hidden], -1)))
    assert (head.text_uncertainty(hidden).diff() < 0).all()


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_any_of_independent_events(scale):
    odds = scale * torch.randn(500, 6, generator=torch.Generator().manual_seed(0)).double() - scale
    log_none = (1 - odds.sigmoid()).prod(1).log()
    torch.testing.assert_close(any_log_odds(odds), torch.expm1(-log_none).log(), rtol=1e-4, atol=1e-5)
    certain = torch.tensor([[-200.0, -201.0], [-16.0, -17.0], [90.0, 3.0]])
    expected = torch.logsumexp(certain[:2], 1).tolist()
    assert any_log_odds(certain).tolist() == pytest.approx([*expected, 93.049], rel=1e-4)


def test_logit_features_against_direct_computation():
    z = 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    features = LabelErrorModel(4).logit_features(pair_logits(z))
    p = z.double().sigmoid()
    wrong = torch.minimum(p, 1 - p)
    for label in range(4):
        others = [index for index in range(4) if index != label]
        any_other = 1 - (1 - p[:, others]).prod(1)
        columns = [
            wrong[:, others].sum(1).log(),
            torch.where(z[:, label] > 0, 1, -1) * (any_other.log() - (1 - any_other).log()),
        ]
        torch.testing.assert_close(features[:, label].double(), torch.stack(columns, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("labels", [1, 2, 7])
def test_logit_features_are_finite_at_extremes(labels):
    z = torch.cat([torch.tensor([0.0, 300.0, -300.0]).unsqueeze(1).expand(3, labels), torch.eye(labels)])
    model = LabelErrorModel(labels)
    features = model.logit_features(pair_logits(z))
    assert features.isfinite().all()
    assert features.shape == (len(z), labels, len(model.logit_feature_prior))


def test_neighbors_against_direct_computation():
    generator = torch.Generator().manual_seed(0)
    hidden, labels = torch.randn(300, 8, generator=generator), torch.randint(2, (300, 3), generator=generator)
    errors = torch.randint(2, (300, 3), generator=generator)
    probe, predicted = torch.randn(40, 8, generator=generator), torch.randint(2, (40, 3), generator=generator)
    features = LabelReference.fit(hidden, labels, 3, errors)(probe, predicted)
    unit = [nn.functional.normalize(values.double(), dim=1) for values in (probe, hidden)]
    index = (unit[0] @ unit[1].T).topk(K_NEAR, 1).indices
    other_label = (labels[index] != predicted.unsqueeze(1)).float().mean(1)
    for column, expected in ((0, other_label), (1, errors[index].float().mean(1))):
        # half precision may exchange the last neighbor and the next one
        torch.testing.assert_close(features[..., column], expected, atol=1 / K_NEAR + 1e-6, rtol=0)


def test_a_reference_is_bounded():
    hidden = torch.randn(MAX_POINTS + 500, 200, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(len(hidden), 28, dtype=torch.long)
    reference = LabelReference.fit(hidden, labels, 28, labels)
    assert reference.points.shape == (MAX_POINTS, 128)
    assert sum(value.nbytes for value in reference.state_dict().values()) < 3.5e6


def test_a_text_map_never_falls():
    generator = torch.Generator().manual_seed(0)
    odds, predicted = torch.randn(300, 3, generator=generator), torch.randint(2, (300, 3), generator=generator)
    upside_down = (any_log_odds(odds) < any_log_odds(odds).median()).float()
    text_map = TextMap().fit(odds, predicted, upside_down.unsqueeze(1).expand(-1, 3))
    assert text_map.line[1] == 0
    assert text_map(odds, predicted).sigmoid().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("error_model", [True, False])
def test_state_round_trip_gives_the_same_uncertainty(error_model):
    scenario = blind(600)
    result = fitted(scenario, replace(FAST, error_model=error_model))
    restored = MultiLabelHead.from_state(scenario.classifier, result.head.state_dict())
    assert restored.is_calibrated
    assert restored.state_dict().keys() == result.head.state_dict().keys()
    for before, after in zip(
        uncertainties(result, scenario), uncertainties(replace(result, head=restored), scenario), strict=True
    ):
        assert torch.equal(before, after)


@pytest.mark.parametrize("error_model", [True, False])
def test_one_pass_gives_the_uncertainty_of_labels_and_texts(error_model):
    scenario = blind(600)
    logits = scenario.logits.index_fill(0, torch.tensor([3]), torch.nan)
    for head in (MultiLabelHead(scenario.classifier), fitted(scenario, replace(FAST, error_model=error_model)).head):
        with torch.no_grad():
            labels, texts = head.label_and_text_uncertainty(scenario.hidden, logits)
            torch.testing.assert_close(labels, head(scenario.hidden, logits), rtol=0, atol=0, equal_nan=True)
            text_uncertainty = head.text_uncertainty(scenario.hidden, logits)
        torch.testing.assert_close(texts, text_uncertainty, rtol=0, atol=0, equal_nan=True)
        assert texts.isnan().nonzero().flatten().tolist() == [3]
        assert labels.isnan().all(1).nonzero().flatten().tolist() == [3]


def test_state_of_an_untrained_head():
    module = DenseHead()
    head = MultiLabelHead.from_state(module, MultiLabelHead(module).state_dict())
    assert not head.is_calibrated
    with pytest.raises(NotFittedError, match="fit it on labeled texts first"):
        head.error_probability(torch.zeros(2, 12), torch.zeros(2, 4))


@pytest.mark.parametrize("logits", [None, torch.zeros(3, 5), torch.zeros(2, 4)])
def test_a_fitted_head_needs_the_logits_of_its_rows(logits):
    head = fitted(independent(300)).head
    for method in (head, head.text_uncertainty, head.label_and_text_uncertainty):
        with pytest.raises(ArgumentError, match=r"needs the model's logits \[2, 5\]"):
            method(torch.zeros(2, 10), logits)
