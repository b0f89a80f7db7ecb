"""Templates with ``{text}`` and ``{text_pair}``: prompts of pairs of texts, with the model's own label words."""

import json

import numpy as np
import pytest
import torch

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import LabelWordBackbone
from aligned_entropy.backbones.extras import CONTENT_FREE, content_free_logits
from aligned_entropy.data import LabeledTexts
from aligned_entropy.errors import DataError
from aligned_entropy.features.texts import TextPair
from fixtures import tiny

LABELS = {"no": "bad", "yes": "good"}
TEMPLATE = "one: {text}; two: {text_pair}; review:"
REVERSED = "two: {text_pair}; one: {text}; review:"
PAIRS = [TextPair(first, second) for first, second in zip(tiny.TEXTS, reversed(tiny.TEXTS), strict=True)]
EXAMPLES = [(("a dull plot", "bad film"), "no"), (["it is fine", "a great film"], "yes")]
CLOSE = {"rtol": 0, "atol": 1e-4}


def label_backbone(template=TEMPLATE, **options):
    model = tiny.language_model(options.pop("kind", "Llama"))
    tokenizer = tiny.subwords(padding_side=options.pop("side", "right"))
    return LabelWordBackbone(model, tokenizer, labels=LABELS, template=template, **options)


def filled(template, pair):
    before, between, after = template.replace("{text_pair}", "{text}").split("{text}")
    first, second = (pair.text_pair, pair.text) if template == REVERSED else (pair.text, pair.text_pair)
    return before + first + between + second + after


def by_hand(backbone, prompts):
    """Logits of the label words after every prompt, ``[N, C]``, one prompt at a time."""
    rows, words = [], [backbone.tokenizer(f" {word}")["input_ids"][0] for word in LABELS.values()]
    for prompt in prompts:
        ids = backbone.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            rows.append(backbone.model(input_ids=ids).logits[0, -1, words])
    return torch.stack(rows).double()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("template", [TEMPLATE, REVERSED])
@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Qwen2"])
def test_the_untrained_score_is_the_entropy_of_the_models_own_label_words(kind, template, side):
    backbone = label_backbone(template, kind=kind, side=side)
    logits = by_hand(backbone, [filled(template, pair) for pair in PAIRS])
    p = logits.softmax(-1)
    entropy = torch.special.entr(p).sum(-1) / np.log(2)
    features = backbone.features(PAIRS)
    np.testing.assert_allclose(features.logits - features.logits[:, :1], logits - logits[:, :1], **CLOSE)
    np.testing.assert_allclose(UncertainClassifier(backbone).predict_features(features).uncertainty, entropy, **CLOSE)


def test_slots_inside_texts_are_literal():
    prompts = label_backbone().prompts
    assert prompts.render(TextPair("{text_pair}", "{text}")) == "one: {text_pair}; two: {text}; review:"


def test_examples_are_pairs_and_are_saved_with_the_prompt():
    backbone = label_backbone(examples=EXAMPLES, max_length=190)
    shots = "one: a dull plot; two: bad film; review: bad\n\none: it is fine; two: a great film; review: good\n\n"
    assert backbone.prompts.render(PAIRS[1]) == shots + filled(TEMPLATE, PAIRS[1])
    settings = json.loads(json.dumps(backbone.facts["prompt"]))
    again = LabelWordBackbone(backbone.model, backbone.tokenizer, **settings, max_length=190)
    assert again.model_fingerprint == backbone.model_fingerprint
    assert again.tokenize(PAIRS) == backbone.tokenize(PAIRS)


def test_the_longer_text_of_a_long_prompt_is_cut():
    backbone = label_backbone(max_length=60)
    room = 60 - len(backbone.tokenize([TextPair("", "")])["input_ids"][0])
    long, short = "film " * 100, "plot " * 3
    encoded = backbone.encode([TextPair(long, short), TextPair(short, long), TextPair(long, long), TextPair("a", "a")])
    assert encoded.truncated.tolist() == [True, True, True, False]
    film, plot = (backbone.tokenizer(f" {word}")["input_ids"] for word in ("film", "plot"))
    first, second, both, _ = encoded.inputs["input_ids"]
    assert len(film) == len(plot) == 1
    assert first.count(plot[0]) == second.count(plot[0]) == 3
    assert min(len(first), len(second), len(both)) > 60 - 8
    assert room / 2 - 4 <= both.count(film[0]) / 2 <= room / 2


def test_the_token_view_holds_both_texts_apart():
    backbone = label_backbone()
    alone = [backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a film", "bad")]
    assert backbone.encode([TextPair("a film", "bad")]).text_ids == [[*alone[0], -1, *alone[1]]]
    views = backbone.features(PAIRS, views=True).views
    assert views["tokens"].shape[0] == views["layers"].shape[0] == len(PAIRS)


def test_texts_without_content_are_pairs_for_a_template_of_pairs():
    backbone = label_backbone()
    logits = by_hand(backbone, [filled(TEMPLATE, TextPair(text, text)) for text in CONTENT_FREE])
    expected = logits.softmax(-1).mean(0).log()
    np.testing.assert_allclose(content_free_logits(backbone, PAIRS)[3], expected, **CLOSE)


def test_a_fit_and_an_evaluation_of_pairs():
    backbone = label_backbone()
    generator = np.random.default_rng(0)
    pairs = [TextPair(*(" ".join(generator.choice(tiny.WORDS, 4)) for _ in range(2))) for _ in range(80)]
    swapped = [TextPair(pair.text_pair, pair.text) for pair in pairs]
    predicted = backbone.features(pairs).predictions
    labels = np.where(generator.random(80) < 0.3, 1 - predicted, predicted)
    classifier = UncertainClassifier(backbone)
    classifier.fit(LabeledTexts(pairs, labels, ["no", "yes"]))
    other = LabeledTexts(swapped, labels, ["no", "yes"])  # other pairs than those of the fit
    evaluation = classifier.evaluate(other, resamples=10)
    assert evaluation.errors.tolist() == (labels != backbone.features(swapped).predictions).tolist()
    with pytest.warns(UserWarning, match="the head was fitted on 100% of these texts"):
        classifier.evaluate(LabeledTexts(pairs, labels, ["no", "yes"]), resamples=10)


def test_texts_of_the_other_kind_are_refused():
    with pytest.raises(DataError, match=r"is for pairs of texts, since it holds \{text_pair\}: pass pairs"):
        label_backbone().encode(tiny.TEXTS)
    with pytest.raises(DataError, match=r"is for single texts, since it does not hold \{text_pair\}"):
        label_backbone("review: {text} sentiment:").encode(PAIRS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "one {text} {text_pair}"}, r"ends in \{text_pair\}, so the tokens of a label"),
        ({"template": "{text_pair} two:"}, r"holds \{text\} 0 times"),
        ({"template": "{text} {text_pair} {text_pair}:"}, r"holds \{text_pair\} 2 times"),
        ({"examples": [("good film", "yes")]}, r"pass \(\(text, text_pair\), class name\)"),
        ({"examples": [(("a", "b", "c"), "yes")]}, "is no pair of a text and a class"),
        ({"examples": [(("a", None), "yes")]}, "is no pair of a text and a class"),
        ({"template": "{text}:", "examples": [(("a", "b"), "yes")]}, r"pass \(text, class name\)"),
    ],
)
def test_prompts_that_cannot_be_used(options, message):
    with pytest.raises(DataError, match=message):
        label_backbone(**options)
