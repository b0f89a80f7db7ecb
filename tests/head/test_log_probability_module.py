"""Heads for outputs from elsewhere: the copy reads log-probabilities, and the hidden vectors are for neighbors."""

import numpy as np
import pytest
import torch

from aligned_entropy import ArgumentError, CalibrationError, FitConfig, fit_head
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.modules import LogProbabilityModule
from fixtures.outputs import CLASSES, outputs


def test_an_untrained_head_is_the_normalized_entropy():
    _, logits, _ = outputs(50, 0)
    head = AlignedEntropyHead(LogProbabilityModule(CLASSES))
    log_p = logits.double().log_softmax(-1)
    expected = -(log_p.exp() * log_p).sum(-1) / np.log(CLASSES)
    for hidden in (torch.zeros(50, 7), logits):
        torch.testing.assert_close(head(hidden, logits).double(), expected, rtol=0, atol=1e-6)
    shifted = head(torch.zeros(50, 7), logits + 3.0)
    torch.testing.assert_close(shifted.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [FitConfig(folds=3), FitConfig.paper()])
def test_a_fit_is_that_of_an_identity_on_the_log_probabilities(config):
    _, logits, labels = outputs(500, 1)
    log_p = logits.log_softmax(-1)
    identity = torch.nn.Linear(CLASSES, CLASSES)
    torch.nn.init.eye_(identity.weight)
    torch.nn.init.zeros_(identity.bias)
    test = outputs(200, 2)[1]
    test_log_p = test.log_softmax(-1)
    expected = fit_head(identity, log_p, labels, logits=logits, config=config)
    result = fit_head(LogProbabilityModule(CLASSES), log_p, labels, logits=logits, config=config)
    assert result.summary.chosen.name == expected.summary.chosen.name
    uncertainty = result.head(test_log_p, test)
    torch.testing.assert_close(uncertainty, expected.head(test_log_p, test), rtol=0, atol=1e-6)


def test_neighbors_are_those_of_the_hidden_vectors():
    """Errors depend on the vector alone, which neither the logits nor the copy contain."""
    hidden, logits, labels = outputs(1500, 3)
    test_hidden, test_logits, test_labels = outputs(800, 4)
    errors = test_logits.argmax(1) != test_labels
    aucs = []
    for vectors, test_vectors in ((hidden, test_hidden), (logits, test_logits)):
        result = fit_head(LogProbabilityModule(CLASSES), vectors, labels, logits=logits)
        uncertainty = result.head(test_vectors, test_logits)
        aucs.append(float((uncertainty[errors].unsqueeze(1) > uncertainty[~errors]).double().mean()))
    assert aucs[0] > aucs[1] + 0.1


def test_a_restored_head_computes_the_same():
    hidden, logits, labels = outputs(500, 5)
    head = fit_head(LogProbabilityModule(CLASSES), hidden, labels, logits=logits).head
    options = {"base": head.base, "is_calibrated": head.is_calibrated}
    restored = AlignedEntropyHead.from_state(LogProbabilityModule(CLASSES), head.state_dict(), **options)
    assert torch.equal(restored(hidden, logits), head(hidden, logits))


def test_missing_or_other_logits_are_errors_that_name_them():
    hidden, logits, labels = outputs(300, 6)
    with pytest.raises(CalibrationError, match=r"logits are missing: pass the model's logits \[N, C\]"):
        fit_head(LogProbabilityModule(CLASSES), hidden, labels)
    head = AlignedEntropyHead(LogProbabilityModule(CLASSES))
    with pytest.raises(ArgumentError, match=r"logits must be \[N, 4\], not None"):
        head(hidden)
    with pytest.raises(ArgumentError, match=r"logits must be \[N, 4\], not \[300, 3\]"):
        head(hidden, logits[:, :3])
