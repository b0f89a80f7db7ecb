"""A head for a language model behind an endpoint: fitted, saved, loaded and refused for another model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aligned_entropy import (
    ArgumentError,
    DataError,
    FitConfig,
    Goal,
    HeadMismatchError,
    UncertainClassifier,
    UnsupportedModelError,
)
from aligned_entropy.backbones.endpoint.encoder import TextEncoder
from fixtures import tiny
from fixtures.endpoint import CHAT, EVERY_TOKEN, LABELS, TEMPLATE, serving

QUICK = FitConfig(folds=3, betas=())
PROMPT = {"labels": LABELS, "template": TEMPLATE}


@pytest.fixture(scope="module")
def server():
    with serving() as state:
        yield state


def endpoint(server, **options):
    options = {"top_logprobs": EVERY_TOKEN, **options}
    if "head" not in options:
        options = {"model": "tiny", **PROMPT, **options}
    return UncertainClassifier.from_endpoint(server.url, **options)


def in_process(server, folder, **options):
    server.model.save_pretrained(folder)
    tiny.subwords(chat_template=CHAT).save_pretrained(folder)
    return UncertainClassifier.from_pretrained(folder, **options)


@pytest.fixture(scope="module")
def head(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(folder / "cache"))
        classifier = endpoint(server)
        classifier.fit(server.labeled(200, 0), config=QUICK)
    classifier.save_pretrained(folder / "head")
    return folder / "head"


def test_a_head_is_fitted_saved_and_loaded(server, tmp_path):
    classifier, head = endpoint(server), tmp_path / "head"
    result = classifier.fit(server.labeled(200, 0), config=QUICK)
    assert result.summary.examples == 200
    rule = classifier.choose_threshold(server.labeled(100, 1), Goal(coverage=0.5))
    assert rule.accepted
    classifier.save_pretrained(head)
    predictions = classifier.predict(server.labeled(50, 2)["text"])
    again = endpoint(server, head=head).predict(server.labeled(50, 2)["text"])
    np.testing.assert_allclose(again.error_probability, predictions.error_probability, atol=1e-6)
    np.testing.assert_array_equal(again.accepted, predictions.accepted)
    assert again.truncated is None, "the server tokenizes"
    evaluation = classifier.evaluate(
        server.labeled(100, 2), scores=["softmax response", "contextual calibration"], resamples=50
    )
    assert "contextual calibration" in str(evaluation)


def test_a_saved_head_holds_no_address(server, head):
    config = (head / "config.json").read_text()
    assert server.url not in config
    facts = json.loads(config)["backbone"]
    assert (facts["name"], facts["prompt"]["template"]) == ("tiny", TEMPLATE)
    assert 'UncertainClassifier.from_endpoint("http' in (head / "README.md").read_text()
    with serving(server.model) as another:
        assert endpoint(another, head=head).label_names == ["negative", "positive"]
        assert endpoint(another, head=head, **PROMPT).backbone.name == "tiny"


def test_the_mass_on_no_label_is_an_input_of_the_head(server, head):
    classifier = endpoint(server, head=head)
    features = classifier.features(server.labeled(50, 3), views=True)
    assert features.hidden.shape == (50, 3)
    assert features.logits.shape == (50, 2)
    np.testing.assert_allclose(np.exp(features.hidden).sum(1), 1, atol=1e-4)
    assert set(features.views) == {"tokens"}
    assert classifier.head.width == 3


def test_a_head_is_refused_for_another_model(server, head):
    with (
        serving(tiny.language_model("Llama", seed=3)) as another,
        pytest.raises(HeadMismatchError, match=r"the model 'tiny' at http.* is not the one .* \(tiny\): \d+% of its"),
    ):
        endpoint(another, head=head)
    with pytest.warns(UserWarning, match="fitted for the model 'tiny', not 'alias'"):
        endpoint(server, head=head, model="alias")


def test_a_head_is_refused_for_another_prompt(server, head):
    with pytest.raises(HeadMismatchError, match="was fitted for the prompt"):
        endpoint(server, head=head, labels=LABELS, template="the {text} is")


def test_heads_of_an_endpoint_and_of_a_model_refuse_each_other(server, head, tmp_path):
    remedy = "use the head with UncertainClassifier.from_endpoint or --endpoint URL"
    with pytest.raises(
        HeadMismatchError, match=rf"fitted for a language model behind an endpoint \(tiny\), but .*: {remedy}"
    ):
        in_process(server, tmp_path / "model", head=head)
    with pytest.raises(HeadMismatchError, match=rf"behind an endpoint \(tiny\), not on outputs .*: {remedy}"):
        UncertainClassifier.from_outputs(head=head)
    classifier = in_process(server, tmp_path / "model", **PROMPT)
    classifier.fit(server.labeled(200, 0), config=QUICK)
    classifier.save_pretrained(tmp_path / "head-of-model")
    with pytest.raises(HeadMismatchError, match="this model is a language model behind an endpoint"):
        endpoint(server, head=tmp_path / "head-of-model", model="tiny")


def test_the_untrained_head_ranks_like_the_model_in_this_process(server, tmp_path):
    local = in_process(server, tmp_path / "model", **PROMPT).predict(server.labeled(30, 4)["text"])
    remote = endpoint(server).predict(server.labeled(30, 4)["text"])
    np.testing.assert_allclose(remote.probabilities, local.probabilities, atol=1e-4)
    np.testing.assert_allclose(remote.uncertainty, local.uncertainty, atol=1e-4)


def test_a_fit_names_the_row_without_a_reply(server):
    classifier = endpoint(server, model="third")
    data = server.labeled(60, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "fault", lambda prompt, number: "nan" if data["text"][7] in prompt else None)
        with pytest.raises(
            DataError, match=r"1 of 60 texts have no usable reply\. Row 7, '.*log-probabilities are numbers"
        ):
            classifier.fit(data, config=QUICK)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": None, "template": None}, DataError, "labels and template are missing"),
        ({"labels": None}, DataError, "template without labels"),
        ({"model": None}, ArgumentError, "model is missing"),
        ({"concurrency": 0}, ArgumentError, "concurrency=0"),
    ],
)
def test_incomplete_arguments_are_refused(server, options, error, message):
    with pytest.raises(error, match=message):
        endpoint(server, **options)


def test_methods_that_need_the_model_are_refused(server):
    from aligned_entropy import NotApplicableError

    with pytest.raises(NotApplicableError, match="language models behind an endpoint have no capture"):
        endpoint(server).attach()


# --- Vectors of an encoder in this process.


@pytest.fixture
def encoder(tmp_path):
    """Folder with an encoder without a classification module."""
    tiny.model("Bert").bert.save_pretrained(tmp_path / "encoder")
    tiny.tokenizer().save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_an_encoder_gives_the_mean_state_of_each_text(encoder):
    texts = ["the film is good", "not bad", "a"]
    vectors, _ = TextEncoder(encoder).vectors(texts)
    model, tokenizer = tiny.model("Bert").bert, tiny.tokenizer()
    for vector, text in zip(vectors, texts, strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vector.astype(np.float32), states.mean(0).numpy(), atol=2e-3)


def test_a_text_is_cut_at_the_positions_of_the_encoder(encoder):
    tiny.tokenizer(model_max_length=10**30).save_pretrained(encoder)
    (long, longer), _ = TextEncoder(encoder).vectors([" ".join(["good"] * count) for count in (38, 500)])
    np.testing.assert_array_equal(long, longer)  # 40 positions, of which two are for the tokens at the ends


def test_a_head_reads_the_vectors_of_the_encoder(server, encoder, tmp_path):
    classifier = endpoint(server, embeddings=encoder)
    features = classifier.features(server.labeled(200, 0), views=True)
    assert features.views["layers"].shape == (200, 1, 16)
    rng = np.random.default_rng(0)  # the vectors show the true classes, which the model often misses
    shown = np.where(features.labels[:, None, None] == 1, 3, -3) + rng.normal(size=features.views["layers"].shape)
    features = replace(features, views={"layers": shown.astype(np.float16)})
    classifier.fit_features(features, config=QUICK)
    assert classifier.head.views == ["layers"]
    classifier.save_pretrained(tmp_path / "head")
    texts = server.labeled(20, 1)["text"]
    again = endpoint(server, head=tmp_path / "head")
    np.testing.assert_allclose(
        again.predict(texts).error_probability, classifier.predict(texts).error_probability, atol=1e-6
    )
    tiny.model("Bert", seed=1).bert.save_pretrained(tmp_path / "other")
    tiny.tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(HeadMismatchError, match=r"fitted with vectors of the encoder .*/encoder, not of .*/other"):
        endpoint(server, head=tmp_path / "head", embeddings=tmp_path / "other")


def test_an_encoder_without_its_weights_is_refused(server, tmp_path):
    model = tiny.model("Bert").bert
    state = {name: value for name, value in model.state_dict().items() if "layer.1" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"lacks weights of an encoder \(.*layer\.1"):
        endpoint(server, embeddings=tmp_path)
