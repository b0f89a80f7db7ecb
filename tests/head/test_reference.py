"""Where a vector stands among labeled ones, against direct computation; bounded; nothing breaks on odd references."""

import pytest
import torch
from torch.nn import functional as F

from aligned_entropy.head.reference import DIMENSIONS, FAR, NEAR, ROWS, Reference


def labeled(rows=600, width=20, classes=3):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % classes
    centers = 4 * torch.randn(classes, width, generator=generator)
    return centers[labels] + torch.randn(rows, width, generator=generator), labels


def distances(x, rows, centered):
    """Squared Mahalanobis distances of x to rows, the covariance shrunk as documented."""
    covariance = centered.T @ centered / len(centered)
    covariance += 1e-3 * covariance.trace() / len(covariance) * torch.eye(len(covariance), dtype=torch.float64)
    difference = x.unsqueeze(1) - rows
    return torch.einsum("ncd,de,nce->nc", difference, covariance.inverse(), difference)


def test_signals_against_direct_computation():
    hidden, labels = labeled()
    errors = (torch.arange(600) % 5 == 0).float()
    probe, predicted = hidden[:40] + 0.1, (labels[:40] + (torch.arange(40) % 4 == 0)) % 3
    signals = Reference.fit(hidden, labels, 3, errors)(probe, predicted)
    assert signals.shape == (40, 9)

    x, known = (F.normalize(values.double(), dim=1) for values in (probe, hidden))
    means = torch.stack([known[labels == c].mean(0) for c in range(3)])
    to_class = distances(x, means, known - means[labels])
    own = to_class.gather(1, predicted.unsqueeze(1)).squeeze(1)
    other = to_class.scatter(1, predicted.unsqueeze(1), torch.inf).amin(1)
    overall = distances(x, known.mean(0, keepdim=True), known - known.mean(0)).squeeze(1)
    for column, squared in ((0, own), (1, own - other), (2, own - overall)):
        expected = squared.sign() * squared.abs().sqrt()
        torch.testing.assert_close(signals[:, column].double(), expected, rtol=1e-2, atol=2e-2)

    cosine, index = (x @ known.T).topk(FAR, 1)
    torch.testing.assert_close(signals[:, 3].double(), 1 - cosine[:, 0], atol=2e-3, rtol=0)
    torch.testing.assert_close(signals[:, 4].double(), 1 - cosine[:, :NEAR].mean(1), atol=2e-3, rtol=0)
    others, wrong = (labels[index] != predicted.unsqueeze(1)).float(), errors[index]
    for column, values in ((5, others[:, :NEAR]), (6, others), (7, wrong[:, :NEAR]), (8, wrong)):
        # half precision may swap the last neighbor for the next
        torch.testing.assert_close(signals[:, column], values.mean(1), atol=1 / values.shape[1] + 1e-6, rtol=0)


@pytest.mark.parametrize("errors", [None, torch.zeros(600)])
def test_every_signal_has_a_prior_weight_and_doubt_never_counts_against_itself(errors):
    hidden, labels = labeled()
    reference = Reference.fit(hidden, labels, 3, errors)
    assert reference.prior.shape == reference(hidden[:2], labels[:2]).shape[1:]
    assert (reference.prior >= 0).all()


def test_a_wrong_answer_raises_every_signal_that_looks_at_the_answer():
    hidden, labels = labeled()
    reference = Reference.fit(hidden, labels, 3)
    right, wrong = (reference(hidden, answer).mean(0) for answer in (labels, (labels + 1) % 3))
    asked = [0, 1, 2, 5, 6]
    assert (wrong[asked] > right[asked]).all()
    torch.testing.assert_close(wrong[3:5], right[3:5])  # how far the texts are does not depend on it


def test_the_length_of_a_vector_does_not_matter():
    hidden, labels = labeled()
    reference = Reference.fit(hidden * torch.linspace(0.1, 9, 600).unsqueeze(1), labels, 3)
    torch.testing.assert_close(
        reference(hidden[:9], labels[:9]), reference(7 * hidden[:9], labels[:9]), rtol=1e-3, atol=1e-3
    )


def test_it_is_bounded_and_copes_with_unseen_classes():
    hidden, labels = labeled(11_000, 200)
    reference = Reference.fit(hidden, labels, 5)
    assert reference.points.shape == (ROWS, DIMENSIONS)
    assert reference.points.dtype == torch.float16
    signals = reference(hidden[:7], torch.tensor([0, 1, 2, 3, 4, 3, 4]))
    assert signals.isfinite().all()
    assert (signals[3:, 1] >= 0).all()  # a class never seen is at least as far as any


def test_fewer_vectors_than_neighbors_and_a_single_class_are_enough():
    hidden, labels = labeled(30)
    for own in (labels, torch.zeros_like(labels)):
        assert Reference.fit(hidden, own, 3, torch.zeros(30))(hidden[:5], labels[:5]).isfinite().all()
