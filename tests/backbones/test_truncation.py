"""Every prediction reports whether the model read its whole text."""

from pathlib import Path

import numpy as np
import pytest
from transformers import CanineTokenizer

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import Backbone, LabelWordBackbone, TokenBackbone
from aligned_entropy.data import Words
from fixtures import tiny

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
FITS, LONG = "good " * 6, "good " * 7  # a text of six words and two special tokens fits into eight tokens
TEXTS = [FITS, LONG, "good", "bad", "good " * 99]
TRUNCATED = [False, True, False, False, True]
LABELS = {"no": "bad", "yes": "good"}


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_fast_tokenizer_reports_truncated_texts(side: str) -> None:
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer(truncation_side=side), max_length=8)
    encoded = backbone.encode(TEXTS)
    assert encoded.truncated.tolist() == TRUNCATED
    assert encoded.inputs == backbone.tokenize(TEXTS)
    assert [len(ids) for ids in encoded.inputs["input_ids"]] == [8, 8, 3, 3, 8]
    assert backbone.encode(TEXTS).truncated.sum() == 2


def test_a_tokenizer_in_python_reports_truncated_texts() -> None:
    backbone = Backbone(tiny.model("Bert"), CanineTokenizer(), max_length=8)
    assert not backbone.tokenizer.is_fast
    assert backbone.encode(["six...", "seven..", "", "8 letter"]).truncated.tolist() == [False, True, False, True]


@pytest.mark.parametrize("kind", ["decoder", "eos"])
def test_a_text_of_exactly_the_maximum_length_is_not_truncated(kind: str) -> None:
    special = kind == "eos"
    backbone = Backbone(tiny.model("Llama"), tiny.tokenizer(kind), max_length=8)
    texts = ["good " * (8 - special), "good " * (9 - special)]
    assert backbone.encode(texts).truncated.tolist() == [False, True]


def test_no_texts_are_not_truncated() -> None:
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer())
    assert (len(backbone.encode([])), backbone.encode([]).truncated.sum()) == (0, 0)
    assert list(backbone.batches([])) == []


@pytest.mark.parametrize("chat", [False, True])
def test_prompts_report_texts_that_were_cut(chat: bool) -> None:
    template = "{% for turn in messages %}[CLS]{{ turn['content'] }}{% endfor %}[SEP]"
    tokenizer = tiny.subwords(chat_template=template if chat else None)
    options = {"labels": LABELS, "template": "review: {text} sentiment:", "chat": chat, "max_length": 30}
    backbone = LabelWordBackbone(tiny.language_model("Llama"), tokenizer, **options)
    empty = len(backbone.tokenize([""])["input_ids"][0])
    texts = ["good" + " good" * k for k in range(40)]
    lengths = [len(ids) for ids in backbone.prompts._tokenize(texts)]
    expected = [length > 30 for length in lengths]
    assert 0 < sum(expected) < 40
    assert empty < 30
    assert backbone.encode(texts).truncated.tolist() == expected
    assert backbone.encode(texts).truncated.sum() == sum(expected)


def test_long_sentences_are_read_in_windows_and_not_truncated() -> None:
    words = Words([["good"] * 100, ["bad"]])
    backbone = TokenBackbone(tiny.token_classifier("Bert"), tiny.tokenizer(), max_length=8)
    assert backbone.encode(words).truncated.tolist() == [False] * 101
    assert backbone.encode(words).truncated.sum() == 0


@pytest.mark.parametrize("kind", ["texts", "labels"])
def test_predictions_and_their_rows_report_truncated_texts(kind: str) -> None:
    classifier = UncertainClassifier.from_pretrained(STORED / kind / "model", max_length=8)
    predictions = classifier.predict(TEXTS)
    assert predictions.truncated is not None
    assert predictions.truncated.tolist() == TRUNCATED
    assert [row.truncated for row in predictions] == TRUNCATED
    assert [row.truncated for row in predictions[1:3]] == TRUNCATED[1:3]
    assert predictions.to_pandas()["truncated"].tolist() == TRUNCATED
    assert "truncated" not in predictions[1].columns()
    assert "truncated=True" in repr(predictions[1])
    cut = classifier.predict([FITS])
    np.testing.assert_allclose(predictions.probabilities[1], cut.probabilities[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["texts", "labels"])
def test_predictions_from_features_do_not_know_their_texts(kind: str) -> None:
    classifier = UncertainClassifier.from_pretrained(STORED / kind / "model")
    predictions = classifier.predict_features(classifier.backbone.features(TEXTS))
    assert predictions.truncated is None
    assert "truncated" not in predictions.to_dict()
    assert predictions[:2].truncated is None
    assert predictions[0].truncated is None


def test_predictions_of_tokens_are_never_truncated() -> None:
    predictions = UncertainClassifier.from_pretrained(STORED / "tokens" / "model", max_length=8).predict([*TEXTS, "?"])
    assert predictions.truncated.tolist() == [False] * 6
    assert [row.truncated for row in predictions] == [False] * 6
