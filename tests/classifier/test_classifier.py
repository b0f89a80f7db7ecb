"""UncertainClassifier from texts to predictions: what users do, on a classifier that takes a second to train."""

import copy
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from aligned_entropy import (
    DataError,
    HeadMismatchError,
    NotFittedError,
    UncertainClassifier,
)
from aligned_entropy.backbones import Backbone
from aligned_entropy.backbones.extras import token_states
from aligned_entropy.head.scoring import log_entropy
from aligned_entropy.selective import Goal, Rule, Threshold
from fixtures import sentiment, tiny
from fixtures.fitted import QUICK
from fixtures.sentiment import named

NEW = named(200, 11)["text"]


def test_before_a_fit_the_score_is_the_predictive_entropy(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    predictions = classifier.predict(["a great film", "it was dull and cold", "?"])
    p = predictions.probabilities
    np.testing.assert_allclose(predictions.uncertainty, -(p * np.log(p)).sum(1) / np.log(2), atol=1e-5)
    with pytest.raises(NotFittedError, match="fit"):
        _ = predictions.error_probability
    with pytest.raises(NotFittedError, match="untrained head cannot be saved"):
        classifier.save_pretrained("nowhere")
    assert not Path("nowhere").exists()


def test_predictions_are_arrays_and_rows(fitted):
    predictions = fitted.predict(["a great film", "it was dull and cold"])
    assert predictions.labels.tolist() == ["positive", "negative"]
    assert [row.label for row in predictions] == ["positive", "negative"]
    assert predictions[1].uncertainty == pytest.approx(float(predictions.uncertainty[1]))
    assert predictions.probabilities.shape == (2, 2)
    assert ((predictions.error_probability >= 0) & (predictions.error_probability <= 1)).all()
    columns = [
        "predicted_label",
        "uncertainty",
        "error_probability",
        "truncated",
        "probability_negative",
        "probability_positive",
    ]
    assert list(predictions.to_pandas().columns) == columns
    assert predictions.to_arrow().column_names == columns
    assert len(fitted.predict([])) == 0
    assert len(fitted.predict("a great film")) == 1


def test_fitting_never_changes_the_answers(model_folder, labeled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    before = copy.deepcopy(classifier.backbone.model.state_dict())
    probabilities = classifier.predict(NEW).probabilities
    classifier.fit(labeled, config=QUICK)
    assert np.array_equal(classifier.predict(NEW).probabilities, probabilities)
    assert all(torch.equal(v, before[k]) for k, v in classifier.backbone.model.state_dict().items())


def test_rows_of_predictions_are_predictions(fitted):
    texts = sentiment.texts(5, 7)[0]
    whole = fitted.predict(texts)
    for rows in (slice(0, 1), slice(None, None, -2), slice(9, None)):
        part = whole[rows]
        assert part.to_pandas().equals(whole.to_pandas().iloc[rows].reset_index(drop=True))
    assert replace(whole, optional_error_probability=None)[:2].optional_error_probability is None


def test_texts_may_come_one_by_one(fitted):
    texts = sentiment.texts(5, 7)[0]
    assert fitted.predict(text for text in texts).to_pandas().equals(fitted.predict(texts).to_pandas())


def test_of_a_model_that_overflows_nothing_is_known(fitted):
    bias = fitted.backbone.model.bert.pooler.dense.bias
    with torch.no_grad():
        kept = bias.clone()
        bias[0] = float("nan")
        said = fitted.predict(["a film"])
        bias.copy_(kept)
    assert np.isnan([said.uncertainty, said.error_probability]).all()


@pytest.mark.parametrize("change", ["scaled", "exchanged"])
def test_a_classification_module_that_was_changed(fitted, labeled, change):
    backbone, untrained = fitted.backbone, UncertainClassifier(fitted.backbone)
    if change == "scaled":
        backbone.model.classifier.weight.data.mul_(1.3)
    else:
        torch.manual_seed(0)  # some random modules exchange the classes, of which an evaluation warns
        backbone.model.classifier = torch.nn.Linear(backbone.width, 2)
    for use in (fitted.predict, lambda texts: fitted.evaluate(labeled), lambda texts: fitted.attach()):
        with pytest.raises(
            HeadMismatchError,
            match="the head was made for another classification module 'classifier' or other adapters",
        ):
            use(["a film"])
    said = untrained.predict(NEW)
    entropy = log_entropy(torch.tensor(said.probabilities).log()).exp()
    np.testing.assert_allclose(said.uncertainty, entropy, atol=1e-5)
    fitted.fit(labeled, config=QUICK)
    assert len(fitted.predict(NEW).error_probability) == len(NEW)


def test_something_that_is_no_text_is_refused(fitted):
    with pytest.raises(DataError, match="text 1 is an int"):
        fitted.predict(["fine", 5])


def test_features_carry_the_extras_that_are_asked_for(fitted, labeled):
    progress = []
    plain = fitted.features(labeled)
    assert plain.states is None
    assert plain.passes is None
    assert not plain.absent
    found = fitted.features(labeled, progress.append, extras=("states",))
    assert sum(progress) == 2 * len(labeled["text"])
    assert np.array_equal(found.states, token_states(fitted.backbone, labeled["text"]))
    assert np.array_equal(found.hidden, plain.hidden)
    assert np.array_equal(found.labels, plain.labels)


@pytest.mark.parametrize("head", ["fitted", "untrained"])
def test_an_answer_that_is_not_finite_has_no_uncertainty(fitted, model_folder, head):
    rule = Rule(Goal(coverage=0.5), {"": Threshold(1.0, 1, 1, 0, 1.0, 0.0, "")})  # accepts whatever has one
    own = copy.copy(fitted) if head == "fitted" else UncertainClassifier.from_pretrained(model_folder)
    own.saved = replace(own.saved, rule=rule) if head == "fitted" else own.saved
    features = own.features(named(300, 3))
    logits = features.logits.copy()
    logits[3, 0], logits[5, 1] = np.inf, np.nan
    said = own.predict_features(replace(features, logits=logits))
    assert np.flatnonzero(np.isnan(said.uncertainty)).tolist() == [3, 5]
    if head == "fitted":
        assert np.flatnonzero(np.isnan(said.error_probability)).tolist() == [3, 5]
        assert np.flatnonzero(~said.accepted).tolist() == [3, 5]
    with pytest.raises(DataError, match=r"not finite in 2 of \d+ rows \(3, 5\): remove these rows"):
        own.evaluate_features(replace(features, logits=logits), resamples=10)


def test_modules_with_whole_numbers_and_models_that_look_for_an_end(labeled, model_folder):
    from transformers import BartConfig, BartForSequenceClassification

    own = AutoModelForSequenceClassification.from_pretrained(model_folder)
    own.classifier = torch.nn.Sequential(torch.nn.BatchNorm1d(own.classifier.in_features), own.classifier).eval()
    classifier = UncertainClassifier(Backbone(own, sentiment.tokenizer()))
    classifier.fit(labeled, config=QUICK)
    assert np.isfinite(classifier.predict(labeled["text"][:3]).uncertainty).all()
    config = BartConfig(
        vocab_size=tiny.config("Bert").vocab_size, d_model=16, encoder_layers=1, decoder_layers=1, num_labels=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        pad_token_id=tiny.tokenizer().pad_token_id, eos_token_id=tiny.tokenizer().sep_token_id,
        id2label=dict(enumerate(sentiment.NAMES)),
    )  # fmt: skip
    torch.manual_seed(0)
    model = BartForSequenceClassification(config).eval()
    own = UncertainClassifier(Backbone(model, tiny.tokenizer(), classification_module="classification_head"))
    flipped = np.random.default_rng(0).random(400) < 0.3
    said = np.where(flipped, np.array(sentiment.NAMES)[::-1][own.predict(labeled["text"]).classes], "")
    said = np.where(flipped, said, own.predict(labeled["text"]).labels)
    own.fit({"text": labeled["text"], "label": said.tolist()}, config=QUICK)
    assert own.saved.probe["input_ids"].shape == (4, 9)
    assert np.isfinite(own.predict(labeled["text"][:3]).error_probability).all()


def test_label_columns_and_maps_reach_the_data(model_folder, labeled):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    data = datasets.Dataset.from_dict(
        {"review": labeled["text"], "stars": ["up" if label == "positive" else "down" for label in labeled["label"]]}
    )
    result = classifier.fit(
        data, text_column="review", label_column="stars", label_map={"up": "positive", "down": "negative"}, config=QUICK
    )
    assert result.summary.examples == 400


def test_features_are_reused(model_folder, labeled, monkeypatch):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(labeled, config=QUICK)

    def refuse(self, *_):
        raise AssertionError("the model ran again")

    again = UncertainClassifier.from_pretrained(model_folder)
    monkeypatch.setattr(Backbone, "extract", refuse)
    assert len(again.features(labeled)) == 400
