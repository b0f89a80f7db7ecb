"""Models of SetFit: their probabilities, heads on them, and every way of running them."""

import json
import shutil
import sys
from itertools import product

import joblib
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from transformers import pipeline

from aligned_entropy import (
    FitConfig,
    GainPrior,
    Goal,
    HeadMismatchError,
    MissingExtraError,
    UncertainClassifier,
    UncertainMultiLabelClassifier,
    UnsupportedModelError,
    register_pipeline,
)
from aligned_entropy.backbones import EXTRAS, Backbone
from aligned_entropy.finetune import TrainConfig, train_classifier
from aligned_entropy.refit import refit
from aligned_entropy.serve.app import create_app
from fixtures import sentiment, tiny
from fixtures.cases import always
from fixtures.command_line import in_process
from fixtures.embedding import embeddings, flawed, save_body, save_head
from fixtures.onnx_consumer import consumer
from fixtures.sentiment import named

pytest.importorskip("sentence_transformers", reason="needs the extra setfit")

TRAINING, LABELS = sentiment.texts(200, 11)
TEXTS = [*sentiment.texts(40, 12)[0], "fine", "  Fine\n", "an unheard word"]
QUICK = FitConfig(folds=3, betas=(300.0,), gain_prior=GainPrior(0.5, 0.5))  # a gain by views is expected
CLOSE = {"rtol": 0, "atol": 1e-5}
KEPT = [(False, 2), (True, 3)]  # cases of normalized vectors and of classes


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """Folder of a sentence-transformers model."""
    return save_body(tmp_path_factory.mktemp("bodies") / "body")


@pytest.fixture(scope="module")
def model(body, tmp_path_factory):
    """Folder of a model of SetFit with two classes."""
    folder = shutil.copytree(body, tmp_path_factory.mktemp("setfit") / "model")
    save_head(folder, TRAINING, LABELS, names=sentiment.NAMES)
    return folder


@pytest.fixture(scope="module")
def fitted(model, tmp_path_factory):
    """Model with a head, and a threshold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier = UncertainClassifier.from_pretrained(model)
        classifier.fit(flawed(800, 2), config=QUICK)
        classifier.choose_threshold(flawed(300, 5), Goal(coverage=0.7))
    return classifier


def entropy(probabilities):
    return -(probabilities * np.log(probabilities)).sum(1) / np.log(probabilities.shape[1])


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", ("mean", "max")])
@pytest.mark.parametrize(("normalize", "classes"), always(*KEPT, of=product([False, True], [2, 3])))
def test_probabilities_are_those_of_the_head(tmp_path, pooling, normalize, classes):
    folder = save_body(tmp_path / "body", pooling=pooling)
    labels = LABELS if classes == 2 else np.array(["c", "a", "b"])[np.arange(200) % 3]
    names = sentiment.NAMES if classes == 2 else None
    head = save_head(folder, TRAINING, labels, names=names, normalize=normalize)
    expected = head.predict_proba(embeddings(folder, TEXTS, normalize=normalize))
    classifier = UncertainClassifier.from_pretrained(folder)
    predictions = classifier.predict(TEXTS)
    np.testing.assert_allclose(predictions.probabilities, expected, **CLOSE)
    np.testing.assert_allclose(predictions.uncertainty, entropy(expected), **CLOSE)
    assert classifier.label_names == (sentiment.NAMES if classes == 2 else ["a", "b", "c"])
    alone = [classifier.predict(text).probabilities[0] for text in TEXTS]
    np.testing.assert_allclose(alone, expected, **CLOSE)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([0, 1], None, ["0", "1"]),
        ([0, 2], ["bad", "none", "good"], ["bad", "good"]),
        ([False, True], ["bad", "good"], ["bad", "good"]),
        (["bad", "good"], ["good", "bad"], ["bad", "good"]),
        (np.array(["bad", "good"], object), None, ["bad", "good"]),
    ],
)
def test_labels_are_those_that_setfit_predicts(body, tmp_path, labels, names, expected):
    folder = shutil.copytree(body, tmp_path / "model")
    save_head(folder, TRAINING, np.array(labels)[LABELS], names=names)
    assert UncertainClassifier.from_pretrained(folder).label_names == expected


@pytest.mark.parametrize("strategy", [OneVsRestClassifier, MultiOutputClassifier])
def test_several_labels_a_text(body, tmp_path, strategy):
    folder = shutil.copytree(body, tmp_path / "model")
    indicators = np.stack([LABELS, 1 - LABELS, ["film" in text for text in TRAINING]], 1)
    head = save_head(folder, TRAINING, indicators, head=strategy(LogisticRegression()), names=["good", "bad", "film"])
    expected = head.predict_proba(embeddings(folder, TEXTS))
    if isinstance(expected, list):
        expected = np.stack([label[:, 1] for label in expected], 1)
    classifier = UncertainClassifier.from_pretrained(folder)
    assert isinstance(classifier, UncertainMultiLabelClassifier)
    predictions = classifier.predict(TEXTS)
    np.testing.assert_allclose(predictions.probabilities, expected, **CLOSE)
    two = np.stack([expected, 1 - expected])
    np.testing.assert_allclose(predictions.label_uncertainty, -(two * np.log2(two)).sum(0), **CLOSE)
    assert predictions.label_names == ["good", "bad", "film"]
    with pytest.raises(UnsupportedModelError, match="a classifier of one label a text or token is needed here"):
        UncertainClassifier.from_pretrained(folder, task="text-classification")


@pytest.mark.parametrize(
    ("kind", "pooling", "options"),
    [
        ("MPNet", "mean", {}),
        ("ModernBert", "cls", {}),
        ("Qwen3", "lasttoken", {}),
        ("Qwen3", "weightedmean", {}),
        ("Bert", "lasttoken", {"padding_side": "left"}),
    ],
)
def test_bodies_of_other_architectures(tmp_path, kind, pooling, options):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    encoder = tiny.model(kind)
    getattr(encoder, encoder.base_model_prefix).save_pretrained(tmp_path / "encoder")
    tiny.tokenizer(**options).save_pretrained(tmp_path / "encoder")
    transformer = Transformer(str(tmp_path / "encoder"), do_lower_case=True)
    parts = [transformer, Pooling(16, pooling), Dense(16, 8), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "model"))
    head = save_head(tmp_path / "model", tiny.TEXTS, np.arange(len(tiny.TEXTS)) % 3)
    texts = [*tiny.TEXTS, " The FILM is Good "]
    alone = np.concatenate([embeddings(tmp_path / "model", [text]) for text in texts])  # padding may change them
    predictions = UncertainClassifier.from_pretrained(tmp_path / "model").predict(texts)
    np.testing.assert_allclose(predictions.probabilities, head.predict_proba(alone), **CLOSE)


def test_texts_are_cut_where_the_body_cuts_them(tmp_path):
    folder = save_body(tmp_path / "short", max_length=6)
    head = save_head(folder, TRAINING, LABELS)
    classifier = UncertainClassifier.from_pretrained(folder)
    assert classifier.backbone.max_length == 6
    texts = ["fine great lovely warm dull bad awful cold", "fine film"]
    predictions = classifier.predict(texts)
    np.testing.assert_allclose(predictions.probabilities, head.predict_proba(embeddings(folder, texts)), **CLOSE)
    assert predictions.truncated.tolist() == [True, False]


def test_a_body_may_read_more_than_the_usual_length(model):
    loaded = UncertainClassifier.from_pretrained(model).backbone
    loaded.inner.max_seq_length = loaded.tokenizer.model_max_length = 900
    loaded.config.max_position_embeddings = 1000
    assert Backbone(loaded.model, loaded.tokenizer).max_length == 900


def test_a_fit_gains_where_errors_can_be_learned(fitted):
    assert fitted.head.views
    evaluation = fitted.evaluate(flawed(400, 7), resamples=50)
    aucs = {name: measures["roc_auc"].value for name, measures in evaluation.table.items()}
    assert aucs["aligned entropy"] > aucs["entropy"] + 0.05
    assert 0.6 < fitted.predict(flawed(400, 8)["text"]).accepted.mean() < 0.8


def test_a_saved_head_knows_its_model(fitted, model, body, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model, head=tmp_path / "head")
    np.testing.assert_array_equal(again.predict(TEXTS).uncertainty, fitted.predict(TEXTS).uncertainty)
    other = shutil.copytree(body, tmp_path / "other")
    save_head(other, TRAINING, 1 - LABELS, names=sentiment.NAMES)
    with pytest.raises(HeadMismatchError, match=r"other is not the model .*its logits differ by"):
        UncertainClassifier.from_pretrained(other, head=tmp_path / "head")
    pooled = save_body(tmp_path / "pooled", pooling="cls")
    shutil.copy(model / "model_head.pkl", pooled)
    with pytest.raises(HeadMismatchError, match=r"pooled is not the model .*vectors .* differ"):
        UncertainClassifier.from_pretrained(pooled, head=tmp_path / "head")
    plain = sentiment.save(tmp_path / "plain")
    with pytest.raises(HeadMismatchError, match="fitted for a SentenceClassifier"):
        UncertainClassifier.from_pretrained(plain, head=tmp_path / "head")


def test_the_fingerprint_covers_body_pooling_normalization_and_head(model, tmp_path):
    def changed(name, change):
        folder = shutil.copytree(model, tmp_path / name)
        change(folder)
        return UncertainClassifier.from_pretrained(folder).backbone.model_fingerprint

    def set_value(file, key, value):
        def change(folder):
            content = json.loads((folder / file).read_text()) | {key: value}
            (folder / file).write_text(json.dumps(content))

        return change

    def shift_head(folder):
        head = joblib.load(folder / "model_head.pkl")
        head.intercept_ += 0.1
        joblib.dump(head, folder / "model_head.pkl")

    same = changed("same", lambda folder: None)
    assert same == UncertainClassifier.from_pretrained(model).backbone.model_fingerprint
    assert same == changed("names", set_value("config_setfit.json", "labels", ["no", "yes"]))
    others = [
        changed("normalized", set_value("config_setfit.json", "normalize_embeddings", True)),
        changed("pooled", set_value("1_Pooling/config.json", "pooling_mode", "cls")),
        changed("shifted", shift_head),
    ]
    assert len({same, *others}) == 4


def test_all_ways_of_running_the_model_give_the_same_uncertainty(fitted, tmp_path):
    expected = fitted.predict(TEXTS)
    attached = tiny.attached_output(fitted, TEXTS)
    np.testing.assert_allclose(attached.uncertainty, expected.uncertainty, **CLOSE)
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from aligned_entropy.export import export_onnx

    export_onnx(fitted, tmp_path)
    outputs = consumer(tmp_path)["predict"](TEXTS)
    np.testing.assert_allclose(outputs["uncertainty"], expected.uncertainty, **CLOSE)


def test_arrays_for_other_scores(fitted):
    states = EXTRAS["states"](fitted.backbone, TEXTS)
    encoder = fitted.backbone.model.body.transformers_model
    with torch.inference_mode():
        (first,) = encoder(**fitted.backbone.tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(states[0, : len(first)], first, rtol=0, atol=2e-3)


def test_the_commands_take_the_folder(model, tmp_path):
    for name, seed in (("held-out", 2), ("more", 5), ("new", 6)):
        rows = zip(*flawed(200, seed).values(), strict=True)
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    head, output = tmp_path / "head", tmp_path / "out.jsonl"
    for arguments in (
        ["fit", model, tmp_path / "held-out.jsonl", "-o", head],
        ["inspect", head, model],
        ["threshold", model, tmp_path / "more.jsonl", "--head", head, "--coverage", "0.5"],
        ["evaluate", model, tmp_path / "new.jsonl", "--head", head, "--resamples", "10"],
        ["predict", model, tmp_path / "new.jsonl", "--head", head, "-o", output],
    ):
        result = in_process(*arguments)
        assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    predictions = UncertainClassifier.from_pretrained(model, head=head).predict([row["text"] for row in rows])
    assert [row["predicted_label"] for row in rows] == list(predictions.labels)
    np.testing.assert_allclose([row["uncertainty"] for row in rows], predictions.uncertainty, **CLOSE)


def test_the_server_and_a_refit_take_the_model(fitted):
    with TestClient(create_app(fitted)) as client:
        (row,) = client.post("/v1/predict", json={"texts": TEXTS[:1]}).json()["predictions"]
    assert row["uncertainty"] == pytest.approx(fitted.predict(TEXTS[0]).uncertainty[0], abs=1e-5)
    result = refit(fitted, fitted.features(named(600, 9)))
    assert result.comparison.better, "the errors of the new texts are others"


def test_a_classifier_can_be_trained_on_the_body(body, tmp_path):
    train_classifier(body, named(60, 1), tmp_path / "trained", TrainConfig(mode="freeze", epochs=1))
    assert type(UncertainClassifier.from_pretrained(tmp_path / "trained").backbone.inner).__name__.startswith("Bert")


def test_sentence_transformers_is_an_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"model of SetFit: pip install 'aligned-entropy\[setfit\]'"):
        UncertainClassifier.from_pretrained(model)


def test_a_body_without_a_head_is_refused(body, model, tmp_path):
    with pytest.raises(
        UnsupportedModelError, match=r"holds no trained classifier: train one with `alien train`, or a model of SetFit"
    ):
        UncertainClassifier.from_pretrained(body)
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "model_head.pkl").unlink()
    with pytest.raises(UnsupportedModelError, match=r"without a head \(model_head.pkl\): train the model with SetFit"):
        UncertainClassifier.from_pretrained(folder)


def test_a_body_that_changes_its_texts_is_refused(model, tmp_path):
    prompted = save_body(tmp_path / "prompted", prompts={"task": "film"}, default_prompt_name="task")
    shutil.copy(model / "model_head.pkl", prompted)
    with pytest.raises(UnsupportedModelError, match=r"puts the prompt 'film' before every text .* to null"):
        UncertainClassifier.from_pretrained(prompted)


def test_a_head_for_another_width_is_refused(body, tmp_path):
    folder = shutil.copytree(body, tmp_path / "model")
    joblib.dump(LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0]], [0, 1]), folder / "model_head.pkl")
    with pytest.raises(UnsupportedModelError, match="embeddings of 2 values, but the body makes 24"):
        UncertainClassifier.from_pretrained(folder)


def test_other_tasks_and_the_pipeline_of_transformers_are_refused(model):
    with pytest.raises(UnsupportedModelError, match="multi-label classifier is needed here"):
        UncertainClassifier.from_pretrained(model, task="multi-label-classification")
    with pytest.raises(UnsupportedModelError, match="it classifies whole texts, which is another task"):
        UncertainClassifier.from_pretrained(model, task="token-classification")
    register_pipeline()
    with pytest.raises(
        UnsupportedModelError, match=r"is a model of SetFit, .* use UncertainClassifier.from_pretrained"
    ):
        pipeline("uncertain-text-classification", model=str(model), device="cpu")
