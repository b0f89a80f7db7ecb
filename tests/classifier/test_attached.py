"""A head that is attached to its model: outputs carry the uncertainty, and other users of the model see no change."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments, pipeline

from aligned_entropy import (
    UncertainClassifier,
)
from aligned_entropy.head.scoring import log_entropy
from fixtures import sentiment


def batch(classifier, texts):
    return classifier.backbone.pad(classifier.backbone.tokenize(texts))


def test_attached_the_output_carries_the_uncertainty(fitted):
    texts = ["a great film", "it was dull and cold"]
    model, inputs = fitted.backbone.model, batch(fitted, texts)
    assert not hasattr(model(**inputs), "uncertainty")
    fitted.attach()
    output = model(**inputs)
    expected = fitted.predict(texts)
    np.testing.assert_allclose(output.uncertainty.numpy(), expected.uncertainty, atol=1e-6)
    np.testing.assert_allclose(output.error_probability.numpy(), expected.error_probability, atol=1e-6)
    assert "uncertainty" not in output.keys()  # noqa: SIM118
    fitted.detach()
    assert not hasattr(model(**inputs), "uncertainty")


def test_attached_an_untrained_head_gives_the_entropy_of_the_logits(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder).attach()
    output = classifier.backbone.model(**batch(classifier, ["a great film", "a story"]))
    torch.testing.assert_close(output.uncertainty, log_entropy(output.logits).exp(), atol=1e-6, rtol=1e-5)
    assert not hasattr(output, "error_probability")


def test_attached_a_tuple_is_refused_with_the_reason(fitted):
    model, inputs = fitted.backbone.model, batch(fitted, ["a film"])
    assert isinstance(model(**inputs, return_dict=False), tuple)
    fitted.attach()
    with pytest.raises(ValueError, match=r"return_dict=False.*cannot carry"):
        model(**inputs, return_dict=False)
    fitted.detach()


def test_attached_concurrent_callers_get_their_own_rows(fitted):
    texts, _ = sentiment.texts(64, 9)
    expected = fitted.predict(texts).uncertainty
    fitted.attach()

    def call(row):
        with torch.no_grad():
            return float(fitted.backbone.model(**batch(fitted, [texts[row]])).uncertainty)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            np.testing.assert_allclose(list(pool.map(call, range(64))), expected, atol=1e-5)
    fitted.detach()


def test_attached_the_trainer_sees_what_it_always_saw(fitted, tmp_path):
    texts, labels = sentiment.texts(20, 4)
    encoded = fitted.backbone.tokenize(texts)
    rows = [{k: v[i] for k, v in encoded.items()} | {"labels": int(labels[i])} for i in range(20)]
    seen = []

    def metrics(prediction):
        seen.append(prediction.predictions)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    def predict():
        arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], disable_tqdm=True, use_cpu=True)
        trainer = Trainer(
            fitted.backbone.model, arguments, processing_class=fitted.backbone.tokenizer, compute_metrics=metrics
        )
        return trainer.predict(rows)

    plain = predict()
    fitted.attach()
    attached = predict()
    fitted.detach()
    assert isinstance(attached.predictions, np.ndarray)
    assert np.array_equal(plain.predictions, attached.predictions)
    assert np.array_equal(seen[0], seen[1])
    assert plain.metrics["test_accuracy"] == attached.metrics["test_accuracy"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_attached_a_plain_pipeline_answers_as_before(fitted, batch_size):
    texts, _ = sentiment.texts(10, 5)
    pipe = pipeline("text-classification", model=fitted.backbone.model, tokenizer=fitted.backbone.tokenizer)
    plain = pipe(texts, batch_size=batch_size)
    fitted.attach()
    assert pipe(texts, batch_size=batch_size) == plain
    fitted.detach()


def test_under_autocast_a_head_computes_in_float32(fitted, labeled):
    """A trainer that evaluates in half precision calls the model there, and what is attached with it."""
    classifier, texts = copy.copy(fitted), labeled["text"][:64]
    features = classifier.features({name: values[:64] for name, values in labeled.items()})
    expected = classifier.predict_features(features).uncertainty
    inputs = batch(classifier, texts)
    classifier.attach()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            again = classifier.predict_features(features).uncertainty
            output = classifier.backbone.model(**inputs)
    finally:
        classifier.detach()
    assert np.array_equal(again, expected)
    with torch.no_grad():
        views = {name: values.clone() for name, values in output.views.items()}
        own = fitted.head(output.hidden.float(), output.logits.float(), views)
    torch.testing.assert_close(output.uncertainty, own, atol=1e-6, rtol=0)
