"""Scores: the contract of all scores, and each score compared with an independent computation of its formula."""

import functools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import chi2, multivariate_normal, percentileofscore
from scipy.stats import entropy as shannon
from sklearn.covariance import MinCovDet
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from aligned_entropy import FitConfig, fit_head
from aligned_entropy.errors import NotApplicableError
from aligned_entropy.evaluation.evaluation import evaluate
from aligned_entropy.evaluation.fitted_scores import fit_scores
from aligned_entropy.features.arrays import Features
from aligned_entropy.metrics import aurc, roc_auc
from aligned_entropy.scores import SCORES, Score, density
from aligned_entropy.scores.aligned import linear_module
from aligned_entropy.scores.hybrid import AMBIGUOUS, IN_DISTRIBUTION, SHARES
from fixtures.scenarios import Scenario, blind_spot, calibrated, worn

ALIGNED = ["AdUE", "aligned entropy (paper)", "aligned entropy", "aligned entropy + reference"]
HUQ = {
    "HUQ entropy + Mahalanobis": ("entropy", "Mahalanobis"),
    "HUQ softmax response + relative Mahalanobis": ("softmax response", "relative Mahalanobis"),
}
DISTANCES = ["Mahalanobis", "relative Mahalanobis", "marginal Mahalanobis", "RDE", "DDU"]
SUPERVISED = [name for name, kind in SCORES.items() if kind.supervised]
every_score = pytest.mark.parametrize("name", SCORES)


def frozen(features: Features) -> Features:
    """Make the arrays of features read-only, so that a write raises an error."""
    for values in vars(features).values():
        if isinstance(values, np.ndarray):
            values.flags.writeable = False
    return features


def made(rows: int, seed: int, width: int = 8) -> Features:
    """Draw features of three normal classes with a linear classifier that is wrong on a third, and all other arrays."""
    rng = np.random.default_rng(seed)
    module = linear(width)
    labels = rng.integers(0, 3, rows)
    hidden = (rng.normal(size=(rows, width)) + module.weight.numpy()[labels]).astype(np.float32)
    logits = module(torch.tensor(hidden)).numpy()
    passes, members = ((logits[:, None] + 0.5 * rng.normal(size=(rows, t, 3))).astype(np.float32) for t in (6, 3))
    states = rng.normal(size=(rows, 5, 4)).astype(np.float16)
    states[rng.random((rows, 5)) < 0.3] = 0
    content_free = np.broadcast_to(log_softmax([0.5, 0.0, -0.5]).astype(np.float32), (rows, 3))
    return frozen(Features(hidden, logits, labels, passes, members, states, content_free))


def linear(width: int = 8) -> nn.Linear:
    module = nn.Linear(width, 3).requires_grad_(False)
    module.weight.copy_(0.6 * torch.randn(3, width, generator=torch.Generator().manual_seed(0)))
    module.bias.zero_()
    return module


def of(scenario: Scenario) -> Features:
    return Features(scenario.hidden.numpy(), scenario.logits.numpy(), scenario.labels.numpy())


MODULE, TRAIN, CALIBRATION, TEST = linear(), made(120, 0), made(120, 1), made(60, 2)


@functools.cache
def fitted(name: str, module: nn.Module | None = MODULE) -> Score:
    return SCORES[name](module, seed=1).fit(TRAIN, CALIBRATION)


# --- Contract of all scores.


def test_there_are_33_scores_under_their_names():
    assert len(SCORES) == 33
    assert all(kind.name == name for name, kind in SCORES.items())


@every_score
def test_fit_returns_the_score_and_a_score_is_a_finite_number_a_text(name):
    module = linear()
    score = SCORES[name](module, seed=1)
    assert score.fit(TRAIN, CALIBRATION) is score
    values = score.score(TEST)
    assert values.shape == (60,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert not score.is_probability or (values.min() >= 0 and values.max() <= 1)
    assert torch.equal(module.weight, MODULE.weight)


@every_score
def test_a_text_is_scored_for_itself_without_its_label(name):
    values = fitted(name).score(TEST)
    order = np.random.default_rng(0).permutation(60)
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(fitted(name).score(TEST[order]), values[order], **tolerance)
    np.testing.assert_allclose(fitted(name).score(TEST[3:4]), values[3:4], **tolerance)
    np.testing.assert_array_equal(fitted(name).score(replace(TEST, labels=None)), values)
    np.testing.assert_array_equal(fitted(name).score(TEST.with_labels(np.zeros(60))), values)


@every_score
def test_no_text_has_no_score(name):
    assert fitted(name).score(TEST[:0]).shape == (0,)


@every_score
def test_one_seed_gives_one_score_whatever_else_was_drawn(name):
    torch.manual_seed(99)
    np.random.seed(99)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    repeated = SCORES[name](MODULE, seed=1).fit(TRAIN, CALIBRATION)
    np.testing.assert_array_equal(repeated.score(TEST), fitted(name).score(TEST))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@every_score
def test_a_saved_score_loads_as_it_was(name, tmp_path):
    fitted(name).save(tmp_path / "score.npz")
    loaded = SCORES[name](MODULE).load(tmp_path / "score.npz")
    np.testing.assert_array_equal(loaded.score(TEST), fitted(name).score(TEST))


@pytest.mark.parametrize("name", ["RDE", "normalised RDE"])
def test_a_saved_rde_has_the_array_names_of_earlier_versions(name, tmp_path):
    fitted(name).save(tmp_path / "score.npz")
    assert set(np.load(tmp_path / "score.npz").files) == {
        "points_", "gamma_", "axes_", "column_means_", "seen_", "centres_", "precisions_",
    }  # fmt: skip


@pytest.mark.parametrize("name", ALIGNED)
def test_a_saved_head_has_the_array_names_of_earlier_versions(name):
    arrays = {key for key in fitted(name).state if not key.startswith("tensor ")}
    assert arrays == {"base_", "calibrated_", "held_out_", "reads_"}


@pytest.mark.parametrize("name", ALIGNED)
def test_a_head_without_a_module_loads_for_a_single_text(name, tmp_path):
    fitted(name, None).save(tmp_path / "score.npz")
    loaded = SCORES[name]().load(tmp_path / "score.npz")
    np.testing.assert_allclose(loaded.score(TEST[:1]), fitted(name, None).score(TEST[:1]), atol=1e-6)


@every_score
def test_a_second_fit_forgets_the_first(name):
    score = SCORES[name](seed=1).fit(made(60, 3, width=5), made(60, 4, width=5)).fit(TRAIN, CALIBRATION)
    assert score.state.keys() == fitted(name, None).state.keys()
    np.testing.assert_array_equal(score.score(TEST), fitted(name, None).score(TEST))


@pytest.mark.parametrize(
    ("name", "set_name"), [(name, set_name) for name, kind in SCORES.items() for set_name in kind.uses]
)
@pytest.mark.parametrize("lacking", [None, replace(TRAIN, labels=None)], ids=["no set", "no labels"])
def test_a_set_that_is_missing_is_named(name, set_name, lacking):
    sets = {"train": TRAIN, "calibration": CALIBRATION} | {set_name: lacking}
    with pytest.raises(NotApplicableError, match=f"{re.escape(name)} needs labeled {set_name} features"):
        SCORES[name](MODULE).fit(**sets)


@pytest.mark.parametrize(("name", "array"), [(name, array) for name, kind in SCORES.items() for array in kind.needs])
def test_an_array_that_is_missing_is_named_or_its_reason_given(name, array):
    missing = {array: np.empty((120, 0), np.float32) if array == "hidden" else None}
    plain, explained = (replace(TRAIN, **missing, absent=why) for why in ({}, {array: "the cat sat on it"}))
    for features, message in ((plain, f"no {array}"), (explained, "the cat sat on it")):
        with pytest.raises(NotApplicableError, match=message):
            fitted(name).score(features)
        if SCORES[name].uses:
            with pytest.raises(NotApplicableError, match=message):
                SCORES[name](MODULE).fit(features, features)


@pytest.mark.parametrize("name", [name for name in SUPERVISED if name not in ALIGNED])
def test_a_held_out_score_does_not_know_the_error_of_its_row(name, monkeypatch):
    folds = np.arange(120) % 5  # fixed, because folds otherwise depend on the errors
    monkeypatch.setattr("aligned_entropy.scores.base.stratified_folds", lambda *_: folds)
    score = SCORES[name](MODULE)
    values = score.held_out(TRAIN, CALIBRATION)
    fold = folds == 2
    predicted = CALIBRATION.predictions
    flipped = np.where(CALIBRATION.errors == 1, predicted, (predicted + 1) % 3)
    changed = score.held_out(TRAIN, CALIBRATION.with_labels(np.where(fold, flipped, CALIBRATION.labels)))
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(changed[fold], values[fold])
    assert (changed[~fold] != values[~fold]).any()


@pytest.mark.parametrize("name", [name for name in SCORES if name not in SUPERVISED])
def test_a_score_that_uses_no_errors_needs_no_folds(name):
    np.testing.assert_array_equal(fitted(name).held_out(TRAIN, CALIBRATION), fitted(name).score(CALIBRATION))


@pytest.mark.parametrize("wrong", [0, 1, 3])
@pytest.mark.parametrize("name", SUPERVISED)
def test_hardly_an_error_to_learn_from_is_no_crash(name, wrong):
    labels = CALIBRATION.predictions.copy()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    fitted_scores, skipped = fit_scores([name], MODULE, TRAIN, CALIBRATION.with_labels(labels))
    assert fitted_scores.keys() ^ skipped.keys() == {name}
    for fitted_score in fitted_scores.values():
        assert np.isfinite(fitted_score.score.score(TEST)).all()


def test_a_registered_subclass_is_one_more_row_in_a_table(monkeypatch):
    class Norm(Score):
        name = "norm"
        needs = ("hidden",)

        def _score(self, features):
            return np.linalg.norm(features.hidden, axis=1)

    monkeypatch.setitem(SCORES, "norm", Norm)
    fitted_scores, skipped = fit_scores(["norm", "entropy"], MODULE, None, CALIBRATION)
    evaluation = evaluate(TEST, fitted_scores, skipped=skipped, resamples=10)
    assert evaluation.table.keys() == {"norm", "entropy"}
    assert evaluation.table["norm"]["roc_auc"].value == roc_auc(TEST.errors, np.linalg.norm(TEST.hidden, axis=1))
    assert "ece_platt" in evaluation.table["norm"]


# --- Softmax.

LOGIT_SCORES = {
    "softmax response": lambda z: 1 - softmax(z, axis=1).max(1),
    "entropy": lambda z: shannon(softmax(z, axis=1), axis=1) / np.log(z.shape[1]),
    "margin": lambda z: 1 - np.diff(np.sort(softmax(z, axis=1))[:, -2:])[:, 0],
    "energy": lambda z: -logsumexp(z, axis=1),
    "max logit": lambda z: -np.sort(z)[:, -1],
}


@pytest.mark.parametrize("name", LOGIT_SCORES)
def test_scores_of_logits_equal_their_formulas(name):
    np.testing.assert_allclose(fitted(name).score(TEST), LOGIT_SCORES[name](TEST.logits.astype(float)), atol=2e-6)


@pytest.mark.parametrize("name", ["softmax response", "entropy", "margin"])
def test_near_certain_texts_keep_their_order(name):
    logits = np.array([[30, 0, 0], [40, 0, 0], [50, 0, 0]], np.float32)
    assert (np.diff(SCORES[name]().score(replace(TEST[:3], logits=logits))) < 0).all()


@pytest.mark.parametrize("base", ["softmax response", "entropy"])
def test_temperature_makes_the_labels_most_likely(base):
    name = f"temperature-scaled {base}"
    logits, rows = CALIBRATION.logits.astype(float), np.arange(120)

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[rows, CALIBRATION.labels].mean()

    temperature = minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    assert float(fitted(name).state["temperature_"]) == pytest.approx(temperature, rel=1e-2)
    expected = LOGIT_SCORES[base](TEST.logits.astype(float) / temperature)
    np.testing.assert_allclose(fitted(name).score(TEST), expected, atol=5e-3)


def test_temperature_takes_back_what_the_logits_were_blown_up_by():
    features = of(calibrated(4000))
    blown_up = replace(features, logits=3 * features.logits)
    score = SCORES["temperature-scaled softmax response"]().fit(calibration=blown_up)
    assert float(score.state["temperature_"]) == pytest.approx(3, rel=0.1)


# --- Several predictions for one text.


@pytest.mark.parametrize("measure", ["SMP", "PV", "BALD"])
@pytest.mark.parametrize("source", ["MC dropout", "deep ensemble"])
def test_scores_of_several_predictions_equal_their_formulas(source, measure):
    for row, value in enumerate(fitted(f"{source} {measure}").score(TEST)):
        drawn = TEST.passes[row] if source == "MC dropout" else np.vstack([TEST.logits[row], TEST.members[row]])
        p = [softmax(logits.astype(float)) for logits in drawn]
        mean = sum(p) / len(p)
        expected = {
            "SMP": 1 - max(mean),
            "PV": sum(sum((q[c] - mean[c]) ** 2 for q in p) / len(p) for c in range(3)),
            "BALD": shannon(mean) - sum(shannon(q) for q in p) / len(p),
        }
        assert value == pytest.approx(expected[measure], abs=1e-12)


@pytest.mark.parametrize("name", ["MC dropout PV", "MC dropout BALD"])
def test_passes_that_agree_have_no_uncertainty(name):
    agreed = replace(TEST, passes=np.repeat(TEST.logits[:, None], 4, axis=1))
    np.testing.assert_allclose(fitted(name).score(agreed), 0, atol=1e-12)


# --- Densities. Without a module the scores read the hidden vectors, so that a test can choose them.


def by_class(features: Features) -> dict[int, np.ndarray]:
    hidden = features.hidden.astype(float)
    return {int(c): hidden[features.labels == c] for c in np.unique(features.labels)}


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
    monkeypatch.setattr(density, "COMPONENTS", 5)
    train, seed = made(300, 5), 3
    z, z_test = kernel_pca(train, TEST, 5)
    by_label = {c: MinCovDet(random_state=seed).fit(z[train.labels == c]).mahalanobis(z_test) for c in range(3)}
    expected = [by_label[c][row] for row, c in enumerate(TEST.predictions)]
    np.testing.assert_allclose(SCORES["RDE"](seed=seed).fit(train).score(TEST), expected, rtol=1e-4)


def test_rde_gives_a_class_of_few_texts_the_shared_covariance_on_a_chi_square_scale(monkeypatch):
    monkeypatch.setattr(density, "COMPONENTS", 5)
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


# --- HUQ.


def huq(parts: tuple[str, str], near: float, ambiguous: float, share: float, features: Features) -> list[float]:
    aleatoric, epistemic = (fitted(part).score(CALIBRATION) for part in parts)

    def rank(value, population):
        return percentileofscore(population, value, kind="mean") / 100

    inside = [a for a, e in zip(aleatoric, epistemic, strict=True) if rank(e, epistemic) <= near]
    result = []
    for a, e in zip(*(fitted(part).score(features) for part in parts), strict=True):
        if rank(a, aleatoric) >= ambiguous:
            result.append(rank(a, aleatoric))
        elif inside and rank(e, epistemic) <= near:
            result.append(rank(a, inside))
        else:
            result.append((1 - share) * rank(e, epistemic) + share * rank(a, aleatoric))
    return result


@pytest.mark.parametrize("settings", [(0.6, 0.9, 0.25), (0.2, 1.0, 0.75), (0.8, 0.8, 0.0), (0.4, 0.95, 1.0)])
@pytest.mark.parametrize("name", HUQ)
def test_huq_ranks_among_calibration_texts(name, settings):
    score = SCORES[name](MODULE, seed=1).fit(TRAIN, CALIBRATION)
    score.settings_ = np.array(settings)
    np.testing.assert_allclose(score.score(TEST), huq(HUQ[name], *settings, TEST), atol=1e-12)


@pytest.mark.parametrize("name", HUQ)
def test_huq_takes_the_settings_with_the_least_aurc(name):
    losses = {
        settings: aurc(CALIBRATION.errors, huq(HUQ[name], *settings, CALIBRATION))
        for settings in ((n, a, s) for n in IN_DISTRIBUTION[::2] for a in AMBIGUOUS[::3] for s in SHARES[::2])
    }
    chosen = tuple(fitted(name).state["settings_"])
    loss = aurc(CALIBRATION.errors, huq(HUQ[name], *chosen, CALIBRATION))
    assert loss <= min(losses.values()) + 1e-12
    assert loss < max(losses.values())


def test_huq_without_an_inside_mixes_the_ranks_of_the_most_typical_text_too():
    score = SCORES["HUQ entropy + Mahalanobis"](MODULE, seed=1).fit(TRAIN, CALIBRATION)
    score.settings_ = np.array([0.0, 1.0, 0.5])
    at_the_mean = np.stack([rows.mean(0) for rows in by_class(TRAIN).values()])
    typical = replace(TEST[:3], hidden=at_the_mean.astype(np.float32))
    np.testing.assert_allclose(score.score(typical), huq(HUQ[score.name], 0.0, 1.0, 0.5, typical), atol=1e-12)


# --- Probes.


def test_the_linear_probe_is_a_logistic_regression_with_the_likeliest_penalty():
    x, errors = CALIBRATION.hidden.astype(float), CALIBRATION.errors
    z = StandardScaler().fit_transform(x)
    models = [LogisticRegression(C=c, max_iter=1000) for c in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)]
    best = max(models, key=lambda model: cross_val_score(model, z, errors, scoring="neg_log_loss", cv=5).mean())
    model = make_pipeline(StandardScaler(), best).fit(x, errors)
    expected = model.predict_proba(TEST.hidden.astype(float))[:, 1]
    np.testing.assert_allclose(fitted("linear probe").score(TEST), expected, atol=1e-8)


def planted(rows: int, seed: int) -> Features:
    """Draw features whose errors depend on the product of two coordinates, and on a token at a random position."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 6)).astype(np.float32)
    wrong = rng.random(rows) < np.where(hidden[:, 0] * hidden[:, 1] > 0, 0.6, 0.05)
    logits = rng.normal(size=(rows, 2)).astype(np.float32)
    states = 0.3 * rng.normal(size=(rows, 7, 4))
    states[np.arange(rows), rng.integers(0, 7, rows), 1] = np.where(wrong, 3, -3)
    labels = np.where(wrong, 1 - logits.argmax(1), logits.argmax(1))
    return Features(hidden, logits, labels, states=states.astype(np.float16))


@pytest.mark.parametrize(("name", "least"), [("MLP probe", 0.75), ("attention probe", 0.95)])
def test_a_probe_finds_what_was_planted_where_the_entropy_and_a_line_do_not(name, least):
    calibration, test = planted(1500, 0), planted(800, 1)
    auc = {
        score: roc_auc(test.errors, SCORES[score]().fit(calibration=calibration).score(test))
        for score in (name, "linear probe", "entropy")
    }
    assert auc[name] > least
    assert auc["linear probe"] < 0.6
    assert auc["entropy"] < 0.6


@pytest.mark.parametrize("name", ["linear probe", "MLP probe"])
def test_a_probe_finds_a_blind_spot(name):
    scenario = blind_spot(2400)
    calibration, test = of(scenario.half(0)), of(scenario.half(1))
    auc = roc_auc(test.errors, SCORES[name]().fit(calibration=calibration).score(test))
    assert auc > roc_auc(test.errors, SCORES["entropy"]().score(test)) + 0.15


def test_the_attention_probe_ignores_padding():
    padded = replace(TEST, states=np.concatenate([TEST.states, np.zeros((60, 3, 4), np.float16)], axis=1))
    values = fitted("attention probe").score(TEST)
    np.testing.assert_allclose(fitted("attention probe").score(padded), values, atol=1e-6)
    without_tokens = fitted("attention probe").score(replace(TEST, states=np.zeros_like(TEST.states)))
    assert np.unique(without_tokens).size == 1
    assert np.isfinite(without_tokens).all()


# --- Heads.


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("AdUE", FitConfig.paper(bases=("smoothmax",), seed=3)),
        ("aligned entropy (paper)", FitConfig.paper(seed=3)),
        ("aligned entropy", FitConfig(seed=3)),
        ("aligned entropy + reference", FitConfig(seed=3)),
    ],
)
def test_a_head_as_a_score_is_the_head_that_fit_head_fits(name, config):
    scenario = worn(560)
    calibration, rest = of(scenario.half(0)), of(scenario.half(1))
    train, test = rest[:180], rest[180:]
    reference = (train.hidden, train.labels) if name.endswith("reference") else None
    module = scenario.classifier
    result = fit_head(
        module, calibration.hidden, calibration.labels, logits=calibration.logits, reference=reference, config=config
    )
    score = SCORES[name](module, seed=3).fit(train, calibration)
    with torch.no_grad():
        expected, in_sample = (
            result.head(torch.tensor(features.hidden), torch.tensor(features.logits)).numpy()
            for features in (test, calibration)
        )
    np.testing.assert_allclose(score.score(test), expected, atol=1e-7)
    held_out = score.held_out(train, calibration)
    np.testing.assert_array_equal(held_out, result.held_out.double())
    trained_on = np.isnan(held_out)
    assert trained_on.any() == (config.schedule is not None)
    if trained_on.any():  # the published recipe holds one part out for validation
        np.testing.assert_allclose(held_out[~trained_on], in_sample[~trained_on], atol=1e-6)
        assert 0.1 < (~trained_on).mean() < 0.3
    else:
        assert np.abs(held_out - in_sample).max() > 1e-3


def test_held_out_scores_of_a_head_need_its_calibration_set():
    with pytest.raises(NotApplicableError, match="fitted on 120 texts, these are 60"):
        fitted("aligned entropy").held_out(TRAIN, TEST)


def test_a_score_that_takes_another_head_keeps_nothing_of_the_first():
    data = {"hidden": CALIBRATION.hidden, "labels": CALIBRATION.labels, "logits": CALIBRATION.logits}
    small = FitConfig(bases=("entropy",), betas=(), folds=3)
    scenario = blind_spot(600)
    wide = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=small)
    plain = fit_head(MODULE, **data, config=replace(small, error_model=False))
    score = SCORES["aligned entropy"](MODULE)
    score.use_head(wide)
    assert any("references.0" in name for name in score.state)
    score.use_head(plain)
    assert len(plain.head.state_dict()) == sum(name.startswith("tensor ") for name in score.state)
    with torch.no_grad():
        expected = plain.head(torch.tensor(TEST.hidden), torch.tensor(TEST.logits)).numpy()
    np.testing.assert_allclose(score.score(TEST), expected, atol=1e-7)


def test_the_module_of_outputs_computed_elsewhere_is_derived():
    module = nn.Linear(8, 3)
    features = replace(TRAIN, logits=module(torch.tensor(TRAIN.hidden)).detach().numpy())
    derived, reads = linear_module(features)
    assert reads == "hidden"
    torch.testing.assert_close(derived.weight, module.weight, atol=1e-4, rtol=1e-4, check_stride=False)
    torch.testing.assert_close(derived.bias, module.bias, atol=1e-4, rtol=1e-4)


@functools.cache
def read_from_logits(name: str) -> np.ndarray:
    """Scores of the test set by a head whose module is the identity on the logits."""
    identity = nn.Linear(3, 3)
    identity.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    train, calibration, test = (replace(features, hidden=features.logits) for features in (TRAIN, CALIBRATION, TEST))
    return SCORES[name](identity).fit(train, calibration).score(test)


@pytest.mark.parametrize("width", [0, 8, 3], ids=["no vectors", "other vectors", "vectors as wide as the logits"])
@pytest.mark.parametrize("name", ["AdUE", "aligned entropy + reference"])
def test_without_a_linear_map_a_head_reads_the_logits(name, width):
    """Hidden vectors that the logits do not depend on have no influence."""
    rng = np.random.default_rng(0)
    train, calibration, test = (
        replace(features, hidden=rng.normal(size=(len(features), width)).astype(np.float32))
        for features in (TRAIN, CALIBRATION, TEST)
    )
    values = SCORES[name]().fit(train, calibration).score(test)
    np.testing.assert_allclose(values, read_from_logits(name), atol=1e-6)
