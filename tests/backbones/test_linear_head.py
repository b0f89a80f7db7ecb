"""Heads of SetFit: what is read as linear, which pickles may be loaded, and models that SetFit itself trained."""

import os
import pickle
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier

from aligned_entropy import MissingExtraError, UncertainClassifier, UncertainMultiLabelClassifier, UnsupportedModelError
from aligned_entropy.backbones.linear_head import LinearHead
from fixtures import sentiment
from fixtures.embedding import save_body

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(60, 4)).astype(np.float32)
CLASSES = np.argmax(VECTORS[:, :3], 1)
INDICATORS = (VECTORS[:, :3] > 0).astype(int)
CLOSE = {"rtol": 0, "atol": 1e-6}


def read(folder: Path, head: object, labels: list[str] | None = None, trusted: bool = False) -> LinearHead:
    joblib.dump(head, folder / "model_head.pkl")
    return LinearHead.read(folder / "model_head.pkl", labels, trusted=trusted)


def probabilities(head: LinearHead) -> np.ndarray:
    logits = head.module()(torch.tensor(VECTORS)).double()
    return (logits.sigmoid() if head.multi_label else logits.softmax(-1)).numpy()


@pytest.mark.parametrize("labels", [CLASSES, CLASSES % 2, np.array(["no", "yes"])[CLASSES % 2]])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"C": 100.0, "max_iter": 1000}])
def test_a_logistic_regression_is_a_softmax(tmp_path, labels, options):
    estimator = LogisticRegression(**options).fit(VECTORS, labels)
    head = read(tmp_path, estimator)
    np.testing.assert_allclose(probabilities(head), estimator.predict_proba(VECTORS), **CLOSE)
    assert head.names == [str(label) for label in estimator.classes_]


@pytest.mark.parametrize("strategy", [OneVsRestClassifier, MultiOutputClassifier])
def test_a_head_of_several_labels_is_made_of_sigmoids(tmp_path, strategy):
    estimator = strategy(LogisticRegression()).fit(VECTORS, INDICATORS)
    expected = np.array(estimator.predict_proba(VECTORS))
    expected = expected if expected.ndim == 2 else expected[:, :, 1].T
    head = read(tmp_path, estimator, ["a", "b", "c"])
    assert head.multi_label
    np.testing.assert_allclose(probabilities(head), expected, **CLOSE)


def test_the_classes_of_old_versions_of_scikit_learn_are_not_guessed(tmp_path):
    three, two = (LogisticRegression().fit(VECTORS, labels) for labels in (CLASSES, CLASSES % 2))
    three.multi_class, two.multi_class = "ovr", "multinomial"
    for head in (three, two):
        with pytest.raises(UnsupportedModelError, match="older versions of scikit-learn do not read as a softmax"):
            read(tmp_path, head)
    three.multi_class, two.multi_class = "auto", "ovr"
    assert len(read(tmp_path, three).names) == 3
    assert len(read(tmp_path, two).names) == 2
    three.solver = "liblinear"
    with pytest.raises(UnsupportedModelError, match="solver='liblinear'"):
        read(tmp_path, three)


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        (LogisticRegression(), None, "a head that was not trained"),
        (OneVsRestClassifier(LogisticRegression()), None, "a head that was not trained"),
        (OneVsRestClassifier(LogisticRegression()), CLASSES, "one-vs-rest classifier of one label a text"),
        (ClassifierChain(LogisticRegression()), INDICATORS, "ClassifierChain, .*: each label depends on the labels"),
        (RidgeClassifier(), CLASSES, "RidgeClassifier"),
        (OneVsRestClassifier(RidgeClassifier()), INDICATORS, "RidgeClassifier"),
        (MultiOutputClassifier(LogisticRegression()), np.stack([CLASSES, CLASSES], 1), "label 0 .* classes 0, 1, 2"),
    ],
)
@pytest.mark.parametrize("trusted", [False, True])
def test_a_head_that_is_not_linear_is_refused(tmp_path, head, labels, message, trusted):
    fitted = head if labels is None else head.fit(VECTORS, labels)
    needs_trust = "RidgeClassifier" in message and not trusted
    with pytest.raises(UnsupportedModelError, match="may run code" if needs_trust else message):
        read(tmp_path, fitted, trusted=trusted)


def test_a_label_without_two_values_is_refused(tmp_path):
    always = INDICATORS.copy()
    always[:, 1] = 1
    with pytest.warns(UserWarning, match="Label 1 is present in all training examples"):
        head = OneVsRestClassifier(LogisticRegression()).fit(VECTORS, always)
    with pytest.raises(UnsupportedModelError, match="has the same value in all training texts"):
        read(tmp_path, head)


def test_a_class_without_a_label_is_refused(tmp_path):
    head = LogisticRegression().fit(VECTORS, CLASSES)
    with pytest.raises(UnsupportedModelError, match=r"the class 2, but config_setfit.json names 2 labels: no, yes"):
        read(tmp_path, head, ["no", "yes"])


class Code:
    """Object whose pickle runs a command when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("place", ["head", "attribute", "array"])
def test_code_in_a_pickle_runs_only_if_it_is_trusted(tmp_path, place):
    ran = tmp_path / "ran"
    head = LogisticRegression().fit(VECTORS, CLASSES)
    if place == "attribute":
        head.random_state = Code(ran)
    elif place == "array":
        head.classes_ = np.array([Code(ran), "b", "c"], object)
    with pytest.raises(UnsupportedModelError, match=r"names posix\.mkdir, .* pass trust_remote_code=True \(in the she"):
        read(tmp_path, Code(ran) if place == "head" else head)
    assert not ran.exists()
    if place == "attribute":
        assert len(read(tmp_path, head, trusted=True).names) == 3
        assert ran.exists()


def test_a_damaged_pickle_is_refused(tmp_path):
    (tmp_path / "model_head.pkl").write_bytes(b"no pickle")
    for trusted in (False, True):
        with pytest.raises(UnsupportedModelError, match=r"model_head.pkl is no head that SetFit saved"):
            LinearHead.read(tmp_path / "model_head.pkl", None, trusted=trusted)


def test_a_library_that_is_missing_is_named(tmp_path):
    (tmp_path / "model_head.pkl").write_bytes(b"cgone_library.heads\nHead\n.")
    with pytest.raises(MissingExtraError, match="was written by gone_library, which is missing: pip install gone_lib"):
        LinearHead.read(tmp_path / "model_head.pkl", None, trusted=True)
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(b"no pickle")


@pytest.fixture(scope="module")
def setfit():
    pytest.importorskip("sentence_transformers", reason="needs the extra setfit")
    return pytest.importorskip("setfit", reason="needs setfit")


@pytest.fixture(scope="module")
def body(setfit, tmp_path_factory):
    return save_body(tmp_path_factory.mktemp("bodies") / "body")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:'pin_memory'")
@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_model_that_setfit_trained(setfit, body, tmp_path, differentiable, normalize):
    import datasets

    load = partial(setfit.SetFitModel.from_pretrained, device="cpu", labels=sentiment.NAMES)
    model = load(str(body), use_differentiable_head=differentiable, normalize_embeddings=normalize)
    texts, labels = sentiment.texts(16, 1)
    settings = setfit.TrainingArguments(
        batch_size=8, num_epochs=1, num_iterations=1, report_to="none", save_strategy="no", output_dir=str(tmp_path)
    )
    data = datasets.Dataset.from_dict({"text": texts, "label": labels.tolist()})
    setfit.Trainer(model=model, args=settings, train_dataset=data).train()
    folder = tmp_path / "model"
    model.save_pretrained(str(folder))
    if differentiable:
        with pytest.raises(
            UnsupportedModelError, match=r"names setfit\.modeling\.SetFitHead, .* trust_remote_code=True"
        ):
            UncertainClassifier.from_pretrained(folder)
    classifier = UncertainClassifier.from_pretrained(folder, trust_remote_code=differentiable)
    texts = sentiment.texts(30, 2)[0]
    predictions = classifier.predict(texts)
    np.testing.assert_allclose(predictions.probabilities, model.predict_proba(texts, as_numpy=True), atol=1e-5)
    assert list(predictions.labels) == model.predict(texts)
    assert classifier.label_names == sentiment.NAMES


def test_a_torch_head_of_several_labels(setfit, body, tmp_path):
    torch.manual_seed(0)
    head = setfit.SetFitHead(24, 3, temperature=0.5, multitarget=True, device="cpu")
    model = setfit.SetFitModel.from_pretrained(str(body), device="cpu", labels=["a", "b", "c"])
    model.model_head = head
    model.save_pretrained(str(tmp_path))
    classifier = UncertainClassifier.from_pretrained(tmp_path, trust_remote_code=True)
    assert isinstance(classifier, UncertainMultiLabelClassifier)
    texts = sentiment.texts(30, 2)[0]
    expected = model.predict_proba(texts, as_numpy=True)
    np.testing.assert_allclose(classifier.predict(texts).probabilities, expected, atol=1e-5)
