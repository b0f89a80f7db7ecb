"""Views of a multi-label classifier: equal uncertainty from every way of running it, and a fit in one pass."""

import json

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from aligned_entropy import NotApplicableError, UncertainClassifier
from aligned_entropy.backbones import MultiLabelBackbone
from aligned_entropy.head.fit_config import MultiLabelConfig
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.refit import refit
from aligned_entropy.saved.format import read_config
from aligned_entropy.scores import HEAD
from aligned_entropy.selective import Goal
from aligned_entropy.serve.app import create_app
from fixtures import tiny
from fixtures.command_line import in_process
from fixtures.multilabel_models import NAMES, texts
from fixtures.onnx_consumer import consumer

QUICK = MultiLabelConfig(folds=3, gain_prior=GainPrior(0.5, 0.5))  # error models are expected to be better


def changed(count, seed):
    """Labeled texts whose label for numbers is the opposite if the text has an article, which the tokens show."""
    rows = texts(count, seed)
    for text, labels in zip(rows["text"], rows["labels"], strict=True):
        if {"the", "a"} & set(text.split()):
            labels[:] = sorted(set(labels) ^ {NAMES[1]})
    return rows


TEXTS = changed(60, 9)["text"]


@pytest.fixture(scope="module")
def classifier(multilabel_model_folder, tmp_path_factory):
    """Classifier whose head has views."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
        classifier.fit(changed(500, 2), config=QUICK)
    assert classifier.head.views == ["layers", "tokens"]
    return classifier


def same(predictions, expected, tolerance=0.0):
    """Check the uncertainty of labels and of texts."""
    np.testing.assert_allclose(predictions.label_uncertainty, expected.label_uncertainty, rtol=0, atol=tolerance)
    np.testing.assert_allclose(predictions.uncertainty, expected.uncertainty, rtol=0, atol=tolerance)


def test_features_give_the_predictions_of_texts(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    features, expected = classifier.backbone.features(TEXTS, views=True), classifier.predict(TEXTS)
    assert set(features.views) == {"layers", "tokens"}
    same(classifier.predict_features(features), expected)
    rows = np.array([3, 50])
    predictions = classifier.predict_features(features[rows])
    np.testing.assert_allclose(predictions.label_uncertainty, expected.label_uncertainty[rows], atol=1e-6)
    np.testing.assert_allclose(
        classifier.predict(TEXTS[7]).label_uncertainty[0], expected.label_uncertainty[7], atol=1e-5
    )


def test_an_older_store_is_filled_up(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    classifier.features(changed(60, 9), views=False)
    (hidden,) = tmp_path.rglob("hidden.npy")
    written = hidden.stat().st_mtime_ns
    filled = classifier.features(changed(60, 9))
    assert hidden.stat().st_mtime_ns == written
    same(classifier.predict_features(filled), classifier.predict(TEXTS))

    def refuse(*_, **__):
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(MultiLabelBackbone, "extract_encoded", refuse)
    assert set(classifier.features(changed(60, 9)).views) == {"layers", "tokens"}


def test_an_attached_model_gives_the_same_uncertainty(classifier):
    output = tiny.attached_output(classifier, TEXTS)
    np.testing.assert_allclose(output.uncertainty, classifier.predict(TEXTS).label_uncertainty, atol=1e-5)
    assert torch.equal(output.error_probability, output.uncertainty)


def test_a_saved_head_gives_the_same_uncertainty(classifier, multilabel_model_folder, tmp_path):
    classifier.save_pretrained(tmp_path)
    assert read_config(tmp_path)["format"] == 2, "former versions would leave the views out"
    again = UncertainClassifier.from_pretrained(multilabel_model_folder, head=tmp_path)
    same(again.predict(TEXTS), classifier.predict(TEXTS))


def test_a_head_without_views_has_the_former_format(multilabel_model_folder, tmp_path):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    classifier.fit(changed(300, 2), config=MultiLabelConfig(folds=3, views=False))
    classifier.save_pretrained(tmp_path)
    assert read_config(tmp_path)["format"] == 1


@pytest.mark.exhaustive  # an export takes seconds
def test_an_exported_graph_gives_the_same_uncertainty(classifier, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from aligned_entropy.export import export_onnx

    export_onnx(classifier, tmp_path)
    outputs, expected = consumer(tmp_path)["predict"](TEXTS), classifier.predict(TEXTS)
    np.testing.assert_allclose(outputs["label_uncertainty"], expected.label_uncertainty, atol=1e-5)
    np.testing.assert_allclose(outputs["uncertainty"], expected.uncertainty, atol=1e-5)


def test_commands_and_server_give_the_same_uncertainty(classifier, multilabel_model_folder, tmp_path):
    classifier.save_pretrained(tmp_path / "head")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    done = in_process(
        "predict", multilabel_model_folder, tmp_path / "texts.jsonl", "--head", tmp_path / "head", "-o",
        tmp_path / "o.jsonl",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    expected = classifier.predict(TEXTS).uncertainty
    np.testing.assert_allclose([row["uncertainty"] for row in rows], expected, atol=1e-5)
    again = UncertainClassifier.from_pretrained(multilabel_model_folder, head=tmp_path / "head")
    with TestClient(create_app(again, tmp_path / "head")) as client:
        predictions = client.post("/v1/predict", json={"texts": TEXTS[:8]}).json()["predictions"]
    np.testing.assert_allclose([row["uncertainty"] for row in predictions], expected[:8], atol=1e-5)


def test_an_evaluation_reads_the_views(classifier):
    rows = changed(200, 5)
    evaluation = classifier.evaluate(rows, resamples=5)
    expected = classifier.predict(rows["text"])
    np.testing.assert_allclose(
        evaluation.single_predictions.scores[HEAD].reshape(200, 3), expected.label_uncertainty, atol=1e-6
    )
    np.testing.assert_allclose(evaluation.groups["texts"].scores[f"{HEAD}, product"], expected.uncertainty, atol=1e-6)
    aucs = evaluation.single_predictions.table
    assert aucs[HEAD]["roc_auc"].value > aucs["softmax response"]["roc_auc"].value + 0.05


def test_a_refit_keeps_views_and_threshold(classifier, multilabel_model_folder, tmp_path):
    classifier.save_pretrained(tmp_path)
    again = UncertainClassifier.from_pretrained(multilabel_model_folder, head=tmp_path)
    again.choose_threshold(changed(300, 4), Goal(coverage=0.7))
    result = refit(again, again.features(changed(500, 11)), calibration=again.features(changed(500, 2)))
    assert any("views" in candidate for candidate in result.classifier.saved.fit["candidates"])
    assert result.classifier.head.views == ["layers", "tokens"]
    assert result.rule.goal == Goal(coverage=0.7)


def test_a_fit_computes_the_inputs_of_views_in_its_only_pass(multilabel_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path))
    classifier, rows = UncertainClassifier.from_pretrained(multilabel_model_folder), []
    extract = MultiLabelBackbone.extract_encoded

    def counted(self, encoded, *arguments, **options):
        rows.append((len(encoded), options.get("views", False)))
        return extract(self, encoded, *arguments, **options)

    monkeypatch.setattr(MultiLabelBackbone, "extract_encoded", counted)
    classifier.fit(changed(300, 2), config=QUICK)
    assert sum(count for count, views in rows if views) == sum(count for count, _ in rows) == 300


def test_a_training_set_is_no_reference_for_views_either(classifier):
    features = classifier.features(changed(60, 9))
    with pytest.raises(NotApplicableError, match="no use of training texts as reference"):
        classifier.fit_features(features, reference=features, config=QUICK)
