"""References against direct computation, their bounds, and unusual references."""

import pytest
import torch
from torch.nn import functional as F

from aligned_entropy.head.neighbors import TIE
from aligned_entropy.head.reference import K_NEAR, K_WIDE, MAX_DIMENSIONS, MAX_POINTS, LabelReference, Reference


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


def test_features_against_direct_computation():
    hidden, labels = labeled()
    errors = (torch.arange(600) % 5 == 0).float()
    probe, predicted = hidden[:40] + 0.1, (labels[:40] + (torch.arange(40) % 4 == 0)) % 3
    features = Reference.fit(hidden, labels, 3, errors)(probe, predicted)
    assert features.shape == (40, 9)

    x, points = (F.normalize(values.double(), dim=1) for values in (probe, hidden))
    means = torch.stack([points[labels == c].mean(0) for c in range(3)])
    to_class = distances(x, means, points - means[labels])
    to_predicted = to_class.gather(1, predicted.unsqueeze(1)).squeeze(1)
    to_other = to_class.scatter(1, predicted.unsqueeze(1), torch.inf).amin(1)
    to_all = distances(x, points.mean(0, keepdim=True), points - points.mean(0)).squeeze(1)
    for column, squared in ((0, to_predicted), (1, to_predicted - to_other), (2, to_predicted - to_all)):
        expected = squared.sign() * squared.abs().sqrt()
        torch.testing.assert_close(features[:, column].double(), expected, rtol=1e-2, atol=2e-2)

    cosine = x @ points.T
    nearest = cosine.topk(K_WIDE, 1).values
    torch.testing.assert_close(features[:, 3].double(), 1 - nearest[:, 0], atol=2e-3, rtol=0)
    torch.testing.assert_close(features[:, 4].double(), 1 - nearest[:, :K_NEAR].mean(1), atol=2e-3, rtol=0)
    other_label, wrong = (labels != predicted.unsqueeze(1)).double(), errors.double().expand(40, 600)
    for column, count, values in (
        (5, K_NEAR, other_label),
        (6, K_WIDE, other_label),
        (7, K_NEAR, wrong),
        (8, K_WIDE, wrong),
    ):
        weights = (1 + (cosine - nearest[:, count - 1 : count]) / TIE).clamp(0, 1)
        expected = (weights * values).sum(1) / weights.sum(1)
        # half precision moves a cosine by some ten-thousandths, and so the weights near the last neighbor
        torch.testing.assert_close(features[:, column].double(), expected, atol=1 / count, rtol=0)


@pytest.mark.parametrize("errors", [None, torch.zeros(600)])
def test_every_feature_has_a_prior_weight_of_at_least_zero(errors):
    hidden, labels = labeled()
    reference = Reference.fit(hidden, labels, 3, errors)
    assert reference.prior.shape == reference(hidden[:2], labels[:2]).shape[1:]
    assert (reference.prior >= 0).all()


def test_a_wrong_prediction_raises_every_feature_that_depends_on_the_prediction():
    hidden, labels = labeled()
    reference = Reference.fit(hidden, labels, 3)
    right, wrong = (reference(hidden, predicted).mean(0) for predicted in (labels, (labels + 1) % 3))
    dependent = [0, 1, 2, 5, 6]
    assert (wrong[dependent] > right[dependent]).all()
    torch.testing.assert_close(wrong[3:5], right[3:5])  # cosine distances do not depend on the prediction


def test_the_length_of_a_vector_does_not_matter():
    hidden, labels = labeled()
    reference = Reference.fit(hidden * torch.linspace(0.1, 9, 600).unsqueeze(1), labels, 3)
    torch.testing.assert_close(
        reference(hidden[:9], labels[:9]), reference(7 * hidden[:9], labels[:9]), rtol=1e-3, atol=1e-3
    )


def test_a_reference_is_bounded_and_accepts_classes_without_vectors():
    hidden, labels = labeled(11_000, 200)
    reference = Reference.fit(hidden, labels, 5)
    assert reference.points.shape == (MAX_POINTS, MAX_DIMENSIONS)
    assert reference.points.dtype == torch.float16
    features = reference(hidden[:7], torch.tensor([0, 1, 2, 3, 4, 3, 4]))
    assert features.isfinite().all()
    assert (features[3:, 1] >= 0).all()  # a class without vectors is at least as far as any other


def test_fewer_vectors_than_neighbors_and_a_single_class_are_enough():
    hidden, labels = labeled(30)
    for point_labels in (labels, torch.zeros_like(labels)):
        assert Reference.fit(hidden, point_labels, 3, torch.zeros(30))(hidden[:5], labels[:5]).isfinite().all()


@pytest.mark.parametrize("spelling", ["centre", "center"])
def test_a_saved_reference_is_restored_under_either_spelling_of_the_center(spelling):
    hidden, labels = labeled()
    reference = Reference.fit(hidden, labels, 3, torch.zeros(600))
    state = reference.state_dict()
    assert list(state) == [
        *("axes", "means", "seen", "centre", "whiten_within", "whiten_global", "points", "point_labels"),
        *("point_errors", "tie"),
    ]
    renamed = {spelling if name == "centre" else name: value for name, value in state.items()}
    restored = Reference(renamed)
    assert list(restored.state_dict()) == list(state)  # stored names and fingerprints of heads stay
    assert torch.equal(restored(hidden[:9], labels[:9]), reference(hidden[:9], labels[:9]))


def test_a_saved_label_reference_is_restored():
    hidden, _ = labeled()
    labels = torch.randint(2, (600, 4), generator=torch.Generator().manual_seed(0))
    reference = LabelReference.fit(hidden, labels, 4, 1 - labels)
    assert list(reference.state_dict()) == ["axes", "points", "point_labels", "point_errors", "tie"]
    restored = LabelReference(reference.state_dict())
    assert torch.equal(restored(hidden[:9], labels[:9]), reference(hidden[:9], labels[:9]))


def test_a_reference_that_was_saved_without_ties_keeps_its_neighbors_and_names():
    hidden, labels = labeled()
    for reference in (
        Reference.fit(hidden, labels, 3, (labels == 1).float()),
        LabelReference.fit(hidden, F.one_hot(labels), 3, F.one_hot(labels) == 0),
    ):
        before = {name: value for name, value in reference.state_dict().items() if name != "tie"}
        restored = type(reference)(before)
        assert list(restored.state_dict()) == list(before)
        predicted = labels[:9] if isinstance(reference, Reference) else F.one_hot(labels[:9], 3)
        torch.testing.assert_close(restored(hidden[:9], predicted), reference(hidden[:9], predicted), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [Reference, LabelReference])
def test_equal_vectors_with_other_labels_give_a_text_the_same_features_alone_and_in_a_batch(kind):
    hidden, labels = labeled(600, 3)
    hidden[:120] = hidden[0] * (1 + 1e-7 * torch.randn(120, 1, generator=torch.Generator().manual_seed(3)))
    probes = hidden[:64] * (1 + 2e-7 * torch.randn(64, 3, generator=torch.Generator().manual_seed(4)))
    labels[:120] = torch.arange(120) // 60  # any twenty in a row have one label
    wrong = (torch.arange(600) % 7 == 0).float()
    if kind is Reference:
        reference, predicted = kind.fit(hidden, labels, 3, wrong), torch.zeros(64, dtype=torch.long)
    else:
        one_hot = F.one_hot(labels)
        reference, predicted = kind.fit(hidden, one_hot, 3, one_hot * wrong[:, None]), torch.zeros(64, 3)
    together = reference(probes, predicted)
    alone = torch.cat([reference(probes[[row]], predicted[[row]]) for row in range(64)])
    neighbors = slice(5, None) if kind is Reference else slice(None)  # rounding moves distances near zero
    torch.testing.assert_close(alone[..., neighbors], together[..., neighbors], rtol=0, atol=2e-3)
    other_label = together[:, 5] if kind is Reference else together[:, 0, 0]
    torch.testing.assert_close(other_label, torch.full((64,), 0.5), rtol=0, atol=2e-2)
