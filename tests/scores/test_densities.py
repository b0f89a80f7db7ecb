"""Scores of densities and distances, compared with independent computations of their formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chi2, multivariate_normal
from sklearn.covariance import MinCovDet
from sklearn.decomposition import KernelPCA
from torch import nn

from aligned_entropy.features.arrays import Features
from aligned_entropy.scores import SCORES, density
from fixtures.scores import DISTANCES, TEST, TRAIN, by_class, fitted, made


def distances(train: Features, test: Features) -> dict[str, np.ndarray]:
    """Mahalanobis distances, also marginal and relative, row by row with 1/N covariances and pseudo-inverses."""

    def inverse(centered):
        return np.linalg.pinv(centered.T @ centered / len(centered), rcond=1e-10, hermitian=True)

    classes = by_class(train)
    shared = inverse(np.vstack([rows - rows.mean(0) for rows in classes.values()]))
    everything = train.hidden.astype(float)
    center, background = everything.mean(0), inverse(everything - everything.mean(0))
    near, far = [], []
    for x in test.hidden.astype(float):
        near.append(min((x - rows.mean(0)) @ shared @ (x - rows.mean(0)) for rows in classes.values()))
        far.append((x - center) @ background @ (x - center))
    near, far = np.array(near), np.array(far)
    return {"Mahalanobis": near, "marginal Mahalanobis": far, "relative Mahalanobis": near - far}


def repeated(features: Features) -> Features:
    """Repeat the first coordinate, so that covariances are singular."""
    return replace(features, hidden=np.c_[features.hidden, features.hidden[:, :1]])


@pytest.mark.parametrize("name", ["Mahalanobis", "marginal Mahalanobis", "relative Mahalanobis"])
@pytest.mark.parametrize("change", [lambda features: features, repeated], ids=["regular", "singular"])
def test_mahalanobis_distances_equal_their_formulas(name, change):
    train, test = change(TRAIN), change(TEST)
    expected = distances(train, test)[name]
    np.testing.assert_allclose(SCORES[name]().fit(train).score(test), expected, rtol=1e-6, atol=1e-8)


def test_ddu_is_the_density_of_a_mixture_of_normals():
    logs = [
        multivariate_normal(rows.mean(0), np.cov(rows, rowvar=False, bias=True)).logpdf(TEST.hidden.astype(float))
        for rows in by_class(TRAIN).values()
    ]
    np.testing.assert_allclose(SCORES["DDU"]().fit(TRAIN).score(TEST), -logsumexp(logs, axis=0), rtol=1e-8)


def test_ddu_supports_a_class_of_fewer_texts_than_dimensions():
    few = np.r_[np.flatnonzero(TRAIN.labels == 0)[:5], np.flatnonzero(TRAIN.labels != 0)]
    score = SCORES["DDU"]().fit(TRAIN[few])
    values = score.score(TEST)
    assert np.isfinite(values).all()
    distant = score.score(replace(TEST, hidden=TEST.hidden + 50))
    assert (distant > values).all()


def kernel_pca(train: Features, test: Features, components: int) -> tuple[np.ndarray, np.ndarray]:
    x = train.hidden.astype(float)
    pca = KernelPCA(components, kernel="rbf", gamma=1 / (x.shape[1] * x.var()), eigen_solver="dense").fit(x)
    return pca.transform(x), pca.transform(test.hidden.astype(float))


def test_rde_is_a_robust_distance_to_the_predicted_class_in_kernel_pca(monkeypatch):
    monkeypatch.setattr(SCORES["RDE"], "components", 5)
    train, seed = made(300, 5), 3
    z, z_test = kernel_pca(train, TEST, 5)
    by_label = {c: MinCovDet(random_state=seed).fit(z[train.labels == c]).mahalanobis(z_test) for c in range(3)}
    expected = [by_label[c][row] for row, c in enumerate(TEST.predictions)]
    np.testing.assert_allclose(SCORES["RDE"](seed=seed).fit(train).score(TEST), expected, rtol=1e-4)


def test_rde_gives_a_class_of_few_texts_the_shared_covariance_on_a_chi_square_scale(monkeypatch):
    monkeypatch.setattr(SCORES["RDE"], "components", 5)
    full = made(300, 5)
    train = full[np.r_[np.flatnonzero(full.labels == 0)[:9], np.flatnonzero(full.labels != 0)]]
    z, z_test = kernel_pca(train, TEST, 5)
    means = np.stack([z[train.labels == c].mean(0) for c in range(3)])
    centered = z - means[train.labels]
    shared = np.linalg.inv(centered.T @ centered / len(z))

    def distance(rows):
        return np.einsum("nd,de,ne->n", rows - means[0], shared, rows - means[0])

    scale = chi2.median(5) / np.median(distance(z[train.labels == 0]))
    predicted = TEST.predictions == 0
    values = SCORES["RDE"]().fit(train).score(TEST)
    np.testing.assert_allclose(values[predicted], scale * distance(z_test[predicted]), rtol=1e-4)


def test_rde_of_256_components_is_rde_with_more_components_where_there_are_so_many_texts(monkeypatch):
    train = made(300, 5)
    few, many = (SCORES[name](seed=3).fit(train).state["axes_"] for name in ("RDE", "RDE (256 components)"))
    assert (few.shape[1], many.shape[1]) == (100, 256)
    monkeypatch.setattr(SCORES["RDE"], "components", 256)
    np.testing.assert_array_equal(SCORES["RDE"](seed=3).fit(train).state["axes_"], many)
    assert SCORES["RDE (256 components)"]().fit(train[:40]).state["axes_"].shape[1] == 39


def test_rde_takes_the_farthest_class_for_a_prediction_that_is_no_training_label():
    train = TRAIN[TRAIN.labels != 2]
    score = SCORES["RDE"]().fit(train)
    logits = np.eye(3, dtype=np.float32)
    by_label = [score.score(replace(TEST, logits=np.repeat(logits[c : c + 1], 60, axis=0))) for c in range(3)]
    np.testing.assert_allclose(by_label[2], np.maximum(by_label[0], by_label[1]))


def test_rde_samples_large_training_sets_class_by_class(monkeypatch):
    monkeypatch.setattr(density, "SUBSAMPLE", 60)
    labels = np.repeat([0, 1, 2], [200, 99, 1])
    train = made(300, 5).with_labels(labels)
    points = SCORES["RDE"](seed=1).fit(train).state["points_"]
    label_of_row = {tuple(row): label for row, label in zip(train.hidden.astype(float), labels, strict=True)}
    assert np.bincount([label_of_row[tuple(point)] for point in points]).tolist() == [40, 20, 1]


@pytest.mark.parametrize("name", DISTANCES)
def test_a_normalized_distance_is_the_distance_of_normalized_vectors(name):
    def unit(features):
        hidden = features.hidden.astype(float)
        return replace(features, hidden=hidden / np.linalg.norm(hidden, axis=1, keepdims=True))

    expected = SCORES[name]().fit(unit(TRAIN)).score(unit(TEST))
    np.testing.assert_allclose(SCORES[f"normalised {name}"]().fit(TRAIN).score(TEST), expected, rtol=1e-8, atol=1e-8)
    scaled = replace(TEST, hidden=8 * TEST.hidden)  # exact in float32
    np.testing.assert_allclose(fitted(f"normalised {name}").score(scaled), fitted(f"normalised {name}").score(TEST))


@pytest.mark.parametrize(
    ("kind", "activation"), [("Roberta", torch.tanh), ("Electra", nn.functional.gelu)], ids=["tanh", "gelu"]
)
def test_distances_read_what_the_last_layer_reads(kind, activation):
    from fixtures import tiny

    module = tiny.model(kind).classifier
    dense = tiny.stir(module.dense).float()
    rng = np.random.default_rng(0)
    train, test = (
        Features(rng.normal(size=(n, 16)).astype(np.float32), TRAIN.logits[:n], TRAIN.labels[:n]) for n in (120, 40)
    )
    with torch.no_grad():
        read_train, read_test = (
            replace(features, hidden=activation(dense(torch.tensor(features.hidden))).numpy())
            for features in (train, test)
        )
    expected = SCORES["Mahalanobis"]().fit(read_train).score(read_test)
    np.testing.assert_allclose(SCORES["Mahalanobis"](module).fit(train).score(test), expected, rtol=1e-3)


def test_all_classes_of_ddu_get_the_same_jitter():
    """Six classes that are alike, of fewer texts than dimensions, are equally dense."""
    rng = np.random.default_rng(0)
    spread = np.exp(-np.arange(384) / 384 * 3)

    def drawn(count):
        labels = np.repeat(np.arange(6), count)
        x = rng.normal(size=(len(labels), 384)) * spread + np.eye(6, 384)[labels] * 6
        return Features(x.astype(np.float32), np.zeros((len(labels), 6), np.float32), labels)

    test = drawn(100)
    density = SCORES["DDU"]().fit(drawn(120)).score(test)
    medians = [np.median(density[test.labels == label]) for label in range(6)]
    assert max(medians) < 1.1 * min(medians)


def test_a_large_offset_of_the_vectors_does_not_hide_their_distances():
    """Vectors of eight dimensions in a space of 256, far from zero."""
    rng = np.random.default_rng(0)
    axes, labels = rng.normal(size=(8, 256)), rng.integers(0, 3, 2000)
    train, test = (
        Features((x @ axes + 300).astype(np.float32), np.zeros((len(x), 3), np.float32))
        for x in (rng.normal(size=(2000, 8)) + np.eye(8)[labels] * 2, 2 * rng.normal(size=(300, 8)))
    )
    score = SCORES["Mahalanobis"]().fit(train.with_labels(labels))
    means, precision = score.state["means_"], score.state["precision_"]
    differences = test.hidden.astype(float)[:, None] - means
    expected = np.einsum("nkd,de,nke->nk", differences, precision, differences).min(1)
    np.testing.assert_allclose(score.score(test), expected, rtol=1e-3)  # 0 for a third of them if not centered
