"""A label that is a field of a JSON object: asked of an endpoint, and read from stored responses."""

import json

import numpy as np
import pytest

from aligned_entropy import (
    ArgumentTypeError,
    DataError,
    EndpointError,
    FitConfig,
    HeadMismatchError,
    UncertainClassifier,
)
from fixtures.endpoint import EVERY_TOKEN, LABELS, TEMPLATE, serving
from fixtures.objects import batch_line, failed_line, label_object, labeled_lines, write_lines

QUICK = FitConfig(folds=3, betas=())
TEXTS = ["the film is good", "not bad", "a dull plot"]
WORDS = list(LABELS.values())
THREE = {"negative": "bad", "neutral": "bland", "positive": "good"}


@pytest.fixture
def server():
    with serving() as state:
        yield state


def endpoint(server, **options):
    options = {"labels": LABELS, "template": TEMPLATE, "model": "tiny", "field": "label", **options}
    return UncertainClassifier.from_endpoint(server.url, top_logprobs=EVERY_TOKEN, **options)


def of_endpoint(server):
    """Bodies of the requests for an object."""
    return [(path, body) for path, _, body in server.requests if "response_format" in body]


# --- Asked of an endpoint.


@pytest.mark.parametrize("is_masked", [False, True], ids=["before the mask", "after the mask"])
@pytest.mark.parametrize("options", [{}, {"shape": "older"}, {"chat": True}], ids=["new", "older", "chat"])
def test_the_log_probabilities_are_those_of_the_tokens_that_begin_a_label_word(server, options, is_masked):
    server.is_masked, server.shape = is_masked, options.get("shape", "content")
    chat = options.get("chat", False)
    hidden, logits = endpoint(server, chat=chat).backbone.extract(TEXTS)
    for row, text in enumerate(TEXTS):
        prompt = TEMPLATE.replace("{text}", text)
        if chat:
            turns = [{"role": "user", "content": prompt}]
            prompt = server.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        p = server.value_probabilities(server.log_probabilities(prompt), WORDS)
        masses = [sum(p[string] for string in p if word.startswith(string)) for word in WORDS]
        np.testing.assert_allclose(np.exp(logits[row]), masses, rtol=1e-4)
        np.testing.assert_allclose(np.exp(hidden[row, 2]), max(1 - sum(masses), 1e-6), rtol=1e-3)
    assert np.ptp(logits, axis=0).max() > 0.05, "the logits differ from text to text"


def test_a_request_has_the_schema_and_enough_tokens(server):
    examples = [("a dull plot", "negative")]
    endpoint(server, chat=True, examples=examples).predict(["one"])
    endpoint(server, labels={"a": ["good", " great"], "b": "bad"}).predict(["two"])
    (path, chat), (other_path, plain) = of_endpoint(server)
    assert (path, other_path) == ("/v1/chat/completions", "/v1/completions")
    form = chat["response_format"]["json_schema"]
    assert (chat["response_format"]["type"], form["strict"]) == ("json_schema", True)
    assert form["schema"] == {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": WORDS}},
        "required": ["label"],
        "additionalProperties": False,
    }
    assert (chat["logprobs"], chat["top_logprobs"], "json_schema" in chat) == (True, EVERY_TOKEN, False)
    assert chat["messages"][1] == {"role": "assistant", "content": '{"label": "bad"}'}
    assert chat["max_tokens"] >= len('{ "label" : "good" }')
    assert plain["json_schema"]["properties"]["label"]["enum"] == ["good", "great", "bad"]
    trials = [body for _, _, body in server.requests if "response_format" not in body]
    assert len(trials) == 6, "three for each prompt, which ask for one token"
    assert {body["max_tokens"] for body in trials} == {1}


def test_parameters_of_the_user_have_the_last_word(server):
    body = {"response_format": {"json_schema": {"schema": {"properties": {"label": {"enum": [*WORDS, "none"]}}}}}}
    classifier = endpoint(server, extra_body=body | {"max_tokens": None, "max_completion_tokens": 99})
    classifier.predict(["one"])
    ((_, sent),) = of_endpoint(server)
    assert sent["response_format"] == body["response_format"]
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (99, False)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            "no object",
            "the reply is no JSON object but 'The label is (good|bad)': the server must take response_format",
        ),
        ("no field", "the object of the reply has 'other': the field 'label' is needed once"),
        ("no label", "the field 'label' is 'maybe', which is no label word"),
        ((400, {}, "no schema"), "the server refuses the request with 400: no schema"),
    ],
)
def test_a_reply_without_a_label_is_the_reason_of_the_row(server, fault, reason):
    classifier = endpoint(server)
    server.fault = lambda prompt, number: fault if TEXTS[1] in prompt else None
    with pytest.warns(UserWarning, match="1 of 3 texts have no usable reply"):
        predictions = classifier.predict(TEXTS)
    assert [row is None for row in predictions.row_errors] == [True, False, True]
    with pytest.raises(DataError, match=rf"1 of 3 texts have no usable reply\. Row 1, 'not bad': {reason}"):
        classifier.backbone.features(TEXTS)


def test_a_run_stops_when_no_reply_can_be_used(server):
    texts = [f"text {number}" for number in range(200)]
    server.fault = lambda prompt, number: "no object" if "text" in prompt else None
    with pytest.raises(EndpointError, match=r"none of the first 20 replies of http.* can be used; .*no JSON object"):
        endpoint(server).predict(texts)
    assert len(of_endpoint(server)) < 60
    server.fault = lambda prompt, number: None
    endpoint(server).predict(["good"])
    server.fault = lambda prompt, number: "no object" if "text" in prompt else None
    with pytest.warns(UserWarning, match="200 of 201 texts have no usable reply"):
        endpoint(server).predict(["good", *texts])
    server.fault = lambda prompt, number: (400, {}, "too long") if "text" in prompt else None
    with pytest.warns(UserWarning, match="50 of 51 texts have no usable reply"):
        endpoint(server).predict([*texts[:50], "bad"])


def test_labels_that_are_not_told_apart_are_the_reason_of_the_row(server):
    classifier = endpoint(server, labels=THREE)
    server.fault = lambda prompt, number: "shared"
    with pytest.raises(DataError, match="begins the label words 'bad' and 'bland', but the reply goes on to"):
        classifier.backbone.features(TEXTS[:1])


def test_a_missing_label_is_the_reason_of_the_row(server):
    classifier = endpoint(server)
    classifier.backbone._model._top_logprobs = 1
    with pytest.raises(
        DataError, match=r"no token of '(negative|positive)' is among .* ask for more tokens with top_log"
    ):
        classifier.backbone.features(TEXTS)


def test_a_head_records_the_field_and_refuses_another(server, tmp_path):
    classifier = endpoint(server)
    classifier.fit(server.labeled(120, 0), config=QUICK)
    classifier.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["backbone"]["prompt"]["field"] == "label"
    expected = classifier.predict(TEXTS).error_probability
    sent = len(of_endpoint(server))
    again = UncertainClassifier.from_endpoint(server.url, head=tmp_path, top_logprobs=EVERY_TOKEN)
    np.testing.assert_allclose(again.predict(TEXTS).error_probability, expected, atol=1e-6)
    assert len(of_endpoint(server)) == sent, "the replies are stored"
    for options in ({"field": "topic"}, {"field": "topic", "labels": None, "template": None}, {"field": None}):
        with pytest.raises(HeadMismatchError, match=r"was fitted for the prompt .*'field': 'label'"):
            endpoint(server, head=tmp_path, **options)


def test_the_way_without_a_field_has_replies_of_its_own(server):
    with_field, without = endpoint(server), endpoint(server, field=None)
    assert "field" not in without.backbone.facts["prompt"]
    assert with_field.backbone.model_fingerprint != without.backbone.model_fingerprint
    without.predict(TEXTS)
    assert not of_endpoint(server)


def test_one_word_of_two_labels_is_refused(server):
    with pytest.raises(DataError, match="the label word 'bad' stands for 'a' and for 'b'"):
        endpoint(server, labels={"a": "bad", "b": ["good", " bad"]})


# --- Read from stored responses.


def stored(**options):
    return UncertainClassifier.from_outputs(
        options.pop("label_names", ["negative", "positive"]), field="label", **options
    )


def test_a_head_is_fitted_on_a_file_of_responses(tmp_path):
    write_lines(tmp_path / "held-out.jsonl", labeled_lines(200, 0))
    classifier = stored()
    result = classifier.fit(tmp_path / "held-out.jsonl", config=QUICK)
    assert result.summary.examples == 200
    classifier.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_outputs(head=tmp_path / "head")
    assert again.field == "label"
    new = list(labeled_lines(20, 1))
    np.testing.assert_allclose(again.predict(new).uncertainty, classifier.predict(new).uncertainty, atol=1e-6)
    np.testing.assert_allclose(
        again.predict([line["response"]["body"] for line in new]).uncertainty, again.predict(new).uncertainty
    )
    assert len(again.predict([{"logits": [0.5, -0.5]}])) == 1, "as a server without a model gets them"
    with pytest.raises(
        HeadMismatchError, match=r"was fitted on the field 'label' of .* are read with the field 'topic'"
    ):
        UncertainClassifier.from_outputs(head=tmp_path / "head", field="topic")
    with pytest.raises(HeadMismatchError, match="the field 'label' of responses, but these are read with no field"):
        UncertainClassifier.from_outputs(["negative", "positive"]).load_head(tmp_path / "head")


def test_a_failed_line_is_refused_by_a_fit_and_has_its_reason_in_predictions():
    lines = [*labeled_lines(3, 0), failed_line(3) | {"label": "positive"}]
    with pytest.raises(DataError, match=r"row 3 of column 'response' \(custom_id 'r3'\): the request failed with 429"):
        stored().fit(lines)
    with pytest.warns(UserWarning, match="1 of 4 texts have no usable reply.*failed with 429: rate limit"):
        predictions = stored().predict(lines)
    assert predictions.row_errors.tolist() == [None, None, None, "the request failed with 429: rate limit"]
    np.testing.assert_allclose(predictions.uncertainty[:3], stored().predict(lines[:3]).uncertainty)
    assert np.isnan(predictions.uncertainty[3])


def test_the_label_is_that_of_the_field():
    line = batch_line(0, label_object("label", {"positive": 0.2, "negative": 0.7}))
    (row,) = stored(label_names=["positive", "negative"]).predict([line])
    assert row.label == "negative"
    np.testing.assert_allclose(row.probabilities, [2 / 9, 7 / 9], rtol=1e-5)


@pytest.mark.parametrize("field", ["", 3])
def test_a_field_without_a_name_is_refused(field):
    with pytest.raises(ArgumentTypeError, match="pass the name of a field"):
        UncertainClassifier.from_outputs(["a", "b"], field=field)
