"""Every prediction call looks up the nearest neighbors once, also where it gives several values."""

import numpy as np
import onnx
import pytest
import torch

from aligned_entropy import FitConfig, GainPrior, UncertainClassifier
from aligned_entropy.backbones import MultiLabelBackbone
from aligned_entropy.classifier import UncertainMultiLabelClassifier
from aligned_entropy.export import export_onnx
from aligned_entropy.head import selection
from aligned_entropy.head.reference import LabelReference, Reference
from fixtures import multilabel_models, sentiment, tiny


@pytest.fixture(scope="module")
def single_label(tmp_path_factory):
    classifier = UncertainClassifier.from_pretrained(sentiment.save(tmp_path_factory.mktemp("sentiment") / "model"))
    classifier.fit(sentiment.named(400, 2), config=FitConfig(folds=3, betas=(), gain_prior=GainPrior(0.5, 0.5)))
    assert len(classifier.head.error_model.references) == 1
    return classifier


@pytest.fixture(scope="module")
def multi_label():
    names = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(multilabel_models.NAMES))}
    classifier = UncertainMultiLabelClassifier(MultiLabelBackbone(tiny.model("Bert", **names), tiny.tokenizer()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_finds_errors", lambda *_: True)  # an untrained model's errors are noise
        with pytest.warns(UserWarning, match="less than by guessing"):
            classifier.fit(multilabel_models.texts(300, 2))
    assert len(classifier.head.error_model.references) == 1
    return classifier


@pytest.fixture(params=["single_label", "multi_label"])
def classifier(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def look_ups(monkeypatch):
    """Number of rows of every look-up."""
    rows = []
    for reference in (Reference, LabelReference):
        compute = reference._features

        def counted(self, hidden, predicted, compute=compute):
            rows.append(len(hidden))
            return compute(self, hidden, predicted)

        monkeypatch.setattr(reference, "_features", counted)
    return rows


def test_predict(classifier, look_ups):
    predictions = classifier.predict(tiny.TEXTS)
    assert look_ups == [len(tiny.TEXTS)]
    assert np.isfinite(predictions.uncertainty).all()


def test_attached(classifier, look_ups):
    output = tiny.attached_output(classifier, tiny.TEXTS)
    assert look_ups == [len(tiny.TEXTS)]
    assert torch.equal(output.uncertainty, output.error_probability)


@pytest.mark.exhaustive
def test_an_exported_graph_of_labels_and_texts_whose_head_stays_in_float32(multi_label, tmp_path):
    exported = export_onnx(multi_label, tmp_path, int8=multilabel_models.texts(20, 5)["text"])
    assert exported.outputs == ["logits", "uncertainty", "error_probability", "label_uncertainty"]
    operations = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert operations.count("TopK") == 1
    assert operations.count("MatMulInteger") > 0  # the model is in 8 bits
    head_products = 3  # projection of the vector, similarity to the points, weights of the error model
    assert operations.count("MatMul") >= head_products
