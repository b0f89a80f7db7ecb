"""Pairs of texts: read together as by the tokenizer, with the entropy of the model as the untrained score."""

import itertools

import numpy as np
import pytest
import torch
from transformers import CanineTokenizer

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import MULTI_LABEL, Backbone, MultiLabelBackbone, TokenBackbone
from aligned_entropy.data import Words
from aligned_entropy.errors import DataError, NotApplicableError
from aligned_entropy.features.store import texts_key
from aligned_entropy.features.texts import TextPair, are_pairs, two_lists
from fixtures import tiny
from fixtures.backbones import entropy

PAIRS = [TextPair(first, second) for first, second in zip(tiny.TEXTS, reversed(tiny.TEXTS), strict=True)]
FIRSTS, SECONDS = tiny.TEXTS, tiny.TEXTS[::-1]
MODELS = [("Bert", "encoder"), ("Roberta", "encoder"), ("DebertaV2", "encoder"), ("Llama", "decoder"), ("GPT2", "eos")]
EVERY_MODEL = pytest.mark.parametrize(("kind", "tokens"), MODELS)
SIDES = pytest.mark.parametrize("side", ["right", "left"])
CLOSE = {"rtol": 0, "atol": 1e-5}


def backbone_of(kind, tokens, **options):
    if kind in ("Bert", "DebertaV2"):  # these read which text a token is of
        options = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"], **options}
    return Backbone(tiny.model(kind), tiny.tokenizer(tokens, **options))


def logits_alone(backbone, pairs):
    """Logits of the model itself, pair by pair, from what its tokenizer makes of two arguments."""
    rows = []
    for pair in pairs:
        inputs = backbone.tokenizer(pair.text, pair.text_pair, return_tensors="pt")
        with torch.inference_mode():
            rows.append(backbone.model(**inputs).logits[0])
    return torch.stack(rows)


@EVERY_MODEL
@SIDES
def test_the_untrained_score_is_the_entropy_of_the_model_itself(kind, tokens, side):
    backbone = backbone_of(kind, tokens, padding_side=side)
    logits = logits_alone(backbone, PAIRS)
    classifier = UncertainClassifier(backbone)
    features = backbone.features(PAIRS)
    np.testing.assert_allclose(features.logits, logits, **CLOSE)
    np.testing.assert_allclose(classifier.predict_features(features).uncertainty, entropy(logits), **CLOSE)
    swapped = [TextPair(pair.text_pair, pair.text) for pair in PAIRS]
    assert not np.allclose(backbone.extract(swapped)[1], logits, atol=1e-3)


@EVERY_MODEL
def test_a_batch_does_not_change_its_pairs(kind, tokens):
    backbone = backbone_of(kind, tokens)
    together = backbone.extract_encoded(backbone.encode(PAIRS), views=True)
    for row, pair in enumerate(PAIRS):
        alone = backbone.extract_encoded(backbone.encode([pair]), views=True)
        np.testing.assert_allclose(alone.hidden[0], together.hidden[row], **CLOSE)
        np.testing.assert_allclose(alone.views["layers"][0], together.views["layers"][row], rtol=0, atol=2e-3)
        ids = alone.views["tokens"][0]
        assert together.views["tokens"][row, : len(ids)].tolist() == ids.tolist()


@EVERY_MODEL
def test_the_store_and_an_attached_head_have_the_features_of_predict(kind, tokens):
    backbone = backbone_of(kind, tokens)
    direct = backbone.extract_encoded(backbone.encode(PAIRS), views=True)
    for _ in ("computed", "read"):
        stored = backbone.features(PAIRS, views=True)
        for name in ("hidden", "logits"):
            np.testing.assert_allclose(getattr(stored, name), getattr(direct, name), **CLOSE)
        np.testing.assert_array_equal(
            stored.views["tokens"][:, : direct.views["tokens"].shape[1]], direct.views["tokens"]
        )
        np.testing.assert_allclose(stored.views["layers"], direct.views["layers"], rtol=0, atol=2e-3)
    classifier = UncertainClassifier(backbone).attach()
    inputs = backbone.tokenizer(FIRSTS, SECONDS, padding=True, return_tensors="pt", padding_side=backbone.padding_side)
    with torch.no_grad():
        attached = backbone.model(**inputs).uncertainty
    classifier.detach()
    np.testing.assert_allclose(classifier.predict_features(stored).uncertainty, attached, **CLOSE)


def test_token_types_are_those_of_the_tokenizer():
    backbone = backbone_of("Bert", "encoder")
    inputs = backbone.tokenize([TextPair("the film", "bad")])
    assert inputs["token_type_ids"] == [[0, 0, 0, 0, 1, 1]]
    bad, film, the = (backbone.tokenizer.convert_tokens_to_ids(word) for word in ("bad", "film", "the"))
    assert inputs["input_ids"] == [[tiny.CLS, the, film, tiny.SEP, bad, tiny.SEP]]
    assert "token_type_ids" not in backbone_of("Roberta", "encoder").tokenize(PAIRS)


def longest_first(first, second, room):
    """Numbers of tokens that are left of two texts when tokens are taken from the longer one, one by one."""
    while first + second > room:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return first, second


@SIDES
def test_the_longer_text_is_cut_first(side):
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer(truncation_side=side), max_length=13)
    lengths = [*itertools.product(range(1, 14), repeat=2)]
    encoded = backbone.encode([TextPair("good " * first, "bad " * second) for first, second in lengths])
    assert encoded.truncated.tolist() == [first + second > 10 for first, second in lengths]
    good, bad = (backbone.tokenizer.convert_tokens_to_ids(word) for word in ("good", "bad"))
    for (first, second), ids in zip(lengths, encoded.inputs["input_ids"], strict=True):
        left, right = longest_first(first, second, 10)
        assert (ids.count(good) + ids.count(bad)) == left + right
        assert abs(ids.count(good) - left) <= 1  # of two texts of one length, either may lose the odd token


def test_a_tokenizer_in_python_reports_truncated_pairs():
    backbone = Backbone(tiny.model("Bert"), CanineTokenizer(), max_length=10)
    pairs = [TextPair("four", "3.."), TextPair("four", "four"), TextPair("1", "six..."), TextPair("1", "seven..")]
    assert backbone.encode(pairs).truncated.tolist() == [False, True, False, True]


@pytest.mark.parametrize("max_length", [1, 2])
def test_a_length_without_room_for_a_pair_is_refused(max_length):
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer(), max_length=max_length)
    with pytest.raises(DataError, match=f"max_length={max_length} leaves no room for .* a pair"):
        backbone.encode(PAIRS)


def test_pairs_and_single_texts_in_one_call_are_refused():
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer())
    with pytest.raises(DataError, match="text 2 is a single text, but text 0 is a pair"):
        backbone.encode([*PAIRS[:2], "good"])
    with pytest.raises(DataError, match="text 1 is a pair of texts, but text 0 is a single text"):
        backbone.encode(["good", *PAIRS])
    with pytest.raises(DataError, match="text 8 is a single text, but text 0 is a pair"):
        backbone.features([*PAIRS, "good"])


def test_a_token_classifier_refuses_pairs_with_the_reason():
    backbone = TokenBackbone(tiny.token_classifier("Bert"), tiny.tokenizer())
    with pytest.raises(NotApplicableError, match="a tag to each word of one text, so it takes no pairs"):
        backbone.encode(PAIRS)
    assert len(backbone.encode(Words([["good"]]))) == 1


def test_multi_label_models_read_pairs():
    backbone = MultiLabelBackbone(tiny.model("Bert", problem_type=MULTI_LABEL), tiny.tokenizer())
    np.testing.assert_allclose(backbone.extract(PAIRS)[1], logits_alone(backbone, PAIRS), **CLOSE)


def test_no_two_lists_of_texts_and_pairs_share_a_key():
    lists = [
        ["a b", "c"], ["a", "b c"], ["a b c"], [TextPair("a b", "c")], [TextPair("a", "b c")], [TextPair("a b c", "")],
        [TextPair("", "a b c")], [TextPair("c", "a b")], ["a b", "c", "a"], [TextPair("a b", "c"), TextPair("a", "")],
    ]  # fmt: skip
    assert len({texts_key(texts) for texts in lists}) == len(lists)
    # The key of single texts is that of former versions, so that stored features are read again.
    assert texts_key(["a b", "c"]) == "40921ad96938228180bfca0690874e8b8a066132b855665e1dcd2122a23d303b"


def test_texts_that_a_head_was_fitted_on_are_recognized_by_pair():
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer())
    pairs = [TextPair("good film", "bad"), TextPair("good", "film bad"), TextPair("bad", "good film"), PAIRS[0]]
    hashes = backbone.features(pairs).text_hashes
    assert len(set(hashes.tolist())) == len(pairs)
    assert backbone.features(pairs[::-1]).text_hashes.tolist() == hashes[::-1].tolist()
    assert not set(hashes.tolist()) & set(backbone.features(["good film bad", "good film"]).text_hashes.tolist())


def test_the_kind_of_texts_and_their_parts():
    assert not are_pairs([])
    assert not are_pairs(["a"])
    assert are_pairs(PAIRS)
    assert two_lists(PAIRS) == (FIRSTS, SECONDS)
    assert two_lists(FIRSTS) == (FIRSTS, None)
