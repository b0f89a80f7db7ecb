"""Log-probabilities of label words from an endpoint: equal to those of the same model in this process, or refused."""

import json

import numpy as np
import pytest
import torch

from aligned_entropy import DataError, EndpointError, NotApplicableError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import LabelWordBackbone
from aligned_entropy.backbones.endpoint.client import EndpointClient
from aligned_entropy.backbones.endpoint.label_tokens import LabelTokens, WordToken, first_token
from aligned_entropy.backbones.endpoint.model import EndpointModel
from aligned_entropy.backbones.endpoint.replies import TopTokens
from aligned_entropy.backbones.extras import content_free_logits, dropout_passes, token_states
from aligned_entropy.backbones.templates import PromptTemplate
from aligned_entropy.features.files import cache_folder
from aligned_entropy.features.texts import TextPair
from fixtures import tiny
from fixtures.endpoint import CHAT, EVERY_TOKEN, LABELS, TEMPLATE, serving

TEXTS = ["the film is good", "not bad", "a dull plot", "", "x (1)"]
SEVERAL = {"negative": ["bad", "dull", "cold"], "neutral": "fine", "positive": ["good", "great"]}
EXAMPLES = [("a dull plot", "negative"), ("the film is warm", "positive")]
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def server():
    with serving() as state:
        yield state


def endpoint(server, **options):
    options = {"labels": LABELS, "template": TEMPLATE, "top_logprobs": EVERY_TOKEN, "model": "tiny", **options}
    return UncertainClassifier.from_endpoint(server.url, **options).backbone


def in_process(server, **options):
    options = {"labels": LABELS, "template": TEMPLATE, **options}
    return LabelWordBackbone(server.model, tiny.subwords(chat_template=CHAT), **options)


def template():
    return PromptTemplate(labels=LABELS, template=TEMPLATE)


def log_softmax(logits):
    return torch.tensor(np.asarray(logits)).double().log_softmax(-1).numpy()


@pytest.mark.parametrize("shape", ["content", "older"])
@pytest.mark.parametrize(
    "prompt", [{}, {"labels": SEVERAL}, {"examples": EXAMPLES}], ids=["plain", "several words", "examples"]
)
def test_the_log_probabilities_are_those_of_the_model_in_this_process(server, shape, prompt):
    server.shape = shape
    hidden, logits = endpoint(server, **prompt).extract(TEXTS)
    expected = in_process(server, **prompt).extract(TEXTS)[1]
    np.testing.assert_allclose(log_softmax(logits), log_softmax(expected), **CLOSE)
    assert {path for path, _, _ in server.requests} == {"/v1/completions"}
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    prompt_of_text = (shots if "examples" in prompt else "") + TEMPLATE.replace("{text}", TEXTS[0])
    p = server.log_probabilities(prompt_of_text).exp()
    ids = {
        word: tiny.subwords()(f" {word}")["input_ids"][0] for word in ("bad", "dull", "cold", "fine", "good", "great")
    }
    words = [[each] if isinstance(each, str) else each for each in prompt.get("labels", LABELS).values()]
    masses = [sum(float(p[ids[word]]) for word in each) for each in words]
    np.testing.assert_allclose(np.exp(hidden[0]), [*masses, 1 - sum(masses)], rtol=1e-4)
    assert np.ptp(logits, axis=0).max() > 0.05, "the logits differ from text to text"


@pytest.mark.parametrize("examples", [(), EXAMPLES], ids=["zero-shot", "few-shot"])
def test_a_chat_is_that_of_the_model_in_this_process(server, examples):
    # The tokenizer has its words after a space alone, so that the template ends the chat without one.
    prompt = {"template": "{text} fine?", "chat": True, "examples": examples}
    logits = endpoint(server, **prompt).extract(TEXTS)[1]
    path, _, body = server.requests[-1]
    assert path == "/v1/chat/completions"
    assert body["messages"][-1] == {"role": "user", "content": f"{server.prompts()[-1]}"}
    assert [turn["role"] for turn in body["messages"]] == [*["user", "assistant"] * len(examples), "user"]
    for row, text in enumerate(TEXTS):
        turns = [*body["messages"][:-1], {"role": "user", "content": f"{text} fine?"}]
        rendered = server.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        p = server.log_probabilities(rendered)
        expected = [float(p[tiny.subwords()(f" {word}")["input_ids"][0]]) for word in ("bad", "good")]
        np.testing.assert_allclose(log_softmax(logits[row]), log_softmax(expected), **CLOSE)


def test_pairs_of_texts(server):
    options = {"template": "{text}\nreview: {text_pair} sentiment:"}
    pairs = [TextPair("the film is old", "the film is new"), TextPair("a", "")]
    backbone = endpoint(server, **options)
    np.testing.assert_allclose(
        log_softmax(backbone.extract(pairs)[1]), log_softmax(in_process(server, **options).extract(pairs)[1]), **CLOSE
    )
    with pytest.raises(DataError, match="is for pairs of texts"):
        backbone.encode(["one"])


def test_the_untrained_head_is_the_entropy_of_the_label_words(server):
    backbone = endpoint(server)
    p = torch.tensor(log_softmax(backbone.extract(TEXTS)[1])).exp()
    uncertainty = UncertainClassifier(backbone).predict([text for text in TEXTS if text]).uncertainty
    entropy = torch.special.entr(p).sum(-1) / np.log(2)
    np.testing.assert_allclose(uncertainty, entropy[[0, 1, 2, 4]], atol=1e-5)


def test_contextual_calibration_is_that_of_the_model_in_this_process(server):
    np.testing.assert_allclose(
        content_free_logits(endpoint(server), TEXTS), content_free_logits(in_process(server), TEXTS), **CLOSE
    )


@pytest.mark.parametrize("extra", [dropout_passes, token_states])
def test_arrays_that_need_the_model_are_refused(server, extra):
    with pytest.raises(NotApplicableError, match=r"language models behind an endpoint have no|cannot be run through"):
        extra(endpoint(server), TEXTS)


# --- Labels that are not among the most probable tokens.


def test_a_missing_label_is_asked_for_with_a_bias(server):
    expected = endpoint(server).extract(TEXTS)
    few = endpoint(server, model="other")
    few._model._top_logprobs = 8
    hidden, _ = few.extract(TEXTS)
    np.testing.assert_allclose(hidden[:, :2], expected[0][:, :2], **CLOSE)
    biased = [body for _, _, body in server.requests if "logit_bias" in body]
    assert len(biased) > 1
    assert all(len(body["logit_bias"]) == 1 for body in biased)  # only one token can be generated
    assert {value for body in biased for value in body["logit_bias"].values()} == {100}


@pytest.mark.parametrize("settings", [{"bias": "biased"}, {"bias": "ignored"}, {"ids": False}])
def test_a_missing_label_fails_the_row_where_a_bias_does_not_help(settings):
    with serving(**settings) as server:
        backbone = endpoint(server)
        backbone._model._top_logprobs = 8
        features = backbone.extract_encoded(backbone.encode(TEXTS))
        assert features.row_errors is not None
        failed = [row for row, reason in enumerate(features.row_errors) if reason is not None]
        assert failed
        assert np.isnan(features.logits[failed]).all()
        assert np.isfinite(np.delete(features.logits, failed, axis=0)).all()
        assert "most probable tokens (the first are" in features.row_errors[failed[0]]
        with pytest.raises(DataError, match=rf"of 5 texts have no usable reply. Row {failed[0]}, .*ask for more"):
            backbone.features(TEXTS)


def test_a_missing_label_counts_with_its_largest_probability_where_it_cannot_matter():
    labels = LabelTokens(["a", "b"], [[WordToken(" good")], [WordToken(" bad"), WordToken(" dull")]])
    top = TopTokens({" good": 0.9, " bad": 0.05, " the": 2e-4}, {})
    assert labels.missing(top) == [WordToken(" dull")]
    assert labels.is_negligible(top)
    np.testing.assert_allclose(np.exp(labels.log_probabilities(top)), [0.9, 0.05, 0.05], rtol=1e-5)
    without = TopTokens({" good": 0.9, " the": 2e-4}, {})
    np.testing.assert_allclose(np.exp(labels.log_probabilities(without)), [0.9, 2e-4, 0.0998], rtol=1e-5)
    assert not labels.is_negligible(TopTokens({" good": 0.9, " the": 1e-3}, {}))
    assert not labels.is_negligible(TopTokens({" the": 0.2, " a": 1e-5}, {})), "no label is among the tokens"


def test_fewer_tokens_are_asked_for_where_the_server_refuses_the_number(server):
    server.most_tokens = 20
    with pytest.warns(UserWarning, match=r"refuses 500 tokens \(the server refuses the request with 400: at most 20"):
        model = EndpointModel(EndpointClient(server.url), "tiny", template(), 500, {})
    assert model._top_logprobs == 20
    assert [body["logprobs"] for _, _, body in server.requests] == [500, 20, 20, 20]


# --- First tokens of label words.


def test_a_complete_word_is_preferred_with_the_space_of_the_template():
    top = TopTokens({"bad": 0.02, " bad": 0.01, " b": 0.9}, {"bad": 7, " bad": 8})
    assert first_token("bad", top, " ") == WordToken(" bad", 8)
    assert first_token(" bad", top, "") == WordToken("bad", 7)
    assert first_token("bad", top, None) == WordToken("bad", 7)
    assert first_token("bad", TopTokens({"bad": 0.6, " bad": 0.2}, {}), None) == WordToken("bad", None, " bad")


def test_words_of_several_tokens_are_found_by_the_token_that_begins_them():
    top = TopTokens({" un": 0.6, " u": 0.2, "x": 0.1, "un": 0.01, " ": 0.05}, {" un": 7})
    assert first_token("unfriendly", top, " ") == WordToken(" un", 7)
    with pytest.raises(UnsupportedModelError, match=r"the label word 'xylem' has no token .* the first are ' un' 0.6"):
        first_token("xylem", TopTokens({" un": 0.6, "x": 0.01}, {}), " ")


def test_labels_with_one_first_token_are_refused(server):
    with pytest.raises(UnsupportedModelError, match="label words of 'a' and 'b' both begin with the token ' bad'"):
        endpoint(server, labels={"a": "bad", "b": ["good", " bad"]})


def test_a_template_must_not_end_in_the_text(server):
    with pytest.raises(DataError, match=r"ends in \{text\}"):
        endpoint(server, template="review: {text}")


# --- The store.


def asked(server, first):
    return [prompt for prompt in server.prompts()[first:] if "N/A" not in prompt and "MASK" not in prompt]


def test_no_text_is_sent_twice(server):
    texts = [*TEXTS[:3], *TEXTS[:2]]
    first = endpoint(server).features(texts)
    assert sorted(asked(server, 0)[-3:]) == sorted(TEMPLATE.replace("{text}", text) for text in TEXTS[:3])
    before = len(server.requests)
    again = endpoint(server)
    second = again.features([*texts, "new"])
    assert asked(server, before) == ["review:  sentiment:", "review: new sentiment:"], "a trial and the new text"
    np.testing.assert_array_equal(second.hidden[:5], first.hidden)
    np.testing.assert_array_equal(second.text_hashes[:5], first.text_hashes)
    assert "5 texts from the store" in again.report


def test_a_run_continues_after_the_bound_on_requests(server):
    texts = [f"the film {number}" for number in range(40)]
    with pytest.raises(EndpointError, match=r"the bound of 25 requests is reached .* run again to continue"):
        endpoint(server, max_requests=25).features(texts)
    assert len(server.requests) == 25
    features = endpoint(server).features(texts)
    assert np.isfinite(features.logits).all()
    sent = [prompt for prompt in server.prompts() if "film" in prompt]
    assert len(sent) == len(set(sent)) == 40


def test_replies_of_another_model_under_the_same_name_are_not_used(server):
    endpoint(server).features(TEXTS)
    server.model = tiny.language_model("Llama", seed=1)
    logits = endpoint(server).features(TEXTS).logits
    np.testing.assert_allclose(log_softmax(logits), log_softmax(in_process(server).extract(TEXTS)[1]), **CLOSE)


def test_a_damaged_store_is_named(server):
    endpoint(server)
    (path,) = (cache_folder() / "endpoints").glob("*.sqlite")
    for part in path.parent.iterdir():
        part.unlink()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(OSError, match=r"\.sqlite cannot be used to store replies: .*Delete it"):
        endpoint(server)


def test_another_prompt_has_replies_of_its_own(server):
    first = endpoint(server).features(TEXTS)
    second = endpoint(server, labels={"negative": "cold", "positive": "warm"}).features(TEXTS)
    assert np.abs(first.logits - second.logits).max() > 0.05


def test_further_parameters_are_sent(server):
    backbone = endpoint(server, extra_body={"chat_template_kwargs": {"enable_thinking": False}, "temperature": None})
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for _, _, body in server.requests)
    assert not any("temperature" in body for _, _, body in server.requests)
    stored = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": None}
    assert backbone.facts["prompt"]["extra_body"] == stored
    assert json.dumps(backbone.facts), "facts are saved as JSON"
