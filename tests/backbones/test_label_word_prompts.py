"""Templates, examples and lengths of prompts with label words."""

import json

import numpy as np
import pytest
import torch

from aligned_entropy.backbones.prompts import LabelPrompts
from aligned_entropy.errors import DataError, UnsupportedModelError
from fixtures import tiny
from fixtures.label_words import CHAT, CLOSE, EXAMPLES, SEVERAL, label_backbone, prompts


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("review: sentiment:", r"holds \{text\} 0 times"),
        ("{text} or {text}?", r"holds \{text\} 2 times"),
        ("review: {text}", r"ends in \{text\}, so the tokens of a label would depend on the text"),
    ],
)
def test_templates_that_cannot_be_used(template, message):
    with pytest.raises(DataError, match=message):
        prompts(template=template)


def test_other_braces_in_the_template_and_slots_in_a_text_are_literal():
    label_prompts = prompts(template='{"review": "{text}", "n": {0}, "label":')
    assert label_prompts.render("{text} {0} %s") == '{"review": "{text} {0} %s", "n": {0}, "label":'


def test_examples_come_before_the_text_in_the_same_template():
    label_prompts = prompts(examples=EXAMPLES, labels={"negative": ["bad", "dull"], "positive": "good"})
    assert label_prompts.render("it is") == (
        "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\nreview: it is sentiment:"
    )
    assert prompts(examples=EXAMPLES[:1], template="{text}\n:\n").render("x") == "a dull plot\n:\nbad\n\nx\n:\n"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (("what", "sad"), "the example 'what' is of the class 'sad'; there are negative, positive"),
        ("what", "the example 'what' is no pair of a text and a class: pass"),
        (("what", "positive", 1), "is no pair"),
        ((3, "positive"), "is no pair"),
    ],
)
def test_examples_that_cannot_be_read(example, message):
    with pytest.raises(DataError, match=message):
        prompts(examples=[example])


def test_prompts_are_made_again_from_their_settings():
    tokenizer = tiny.subwords(chat_template=CHAT)
    label_prompts = prompts(tokenizer, labels=SEVERAL, examples=EXAMPLES, chat=True)
    restored = LabelPrompts(tokenizer, max_length=128, **json.loads(json.dumps(label_prompts.settings)))
    assert (restored.describe(), restored.render("x")) == (label_prompts.describe(), label_prompts.render("x"))


def test_a_chat():
    tokenizer = tiny.subwords(start=True, chat_template=CHAT)
    label_prompts = prompts(tokenizer, template="is it good? {text}", chat=True, examples=EXAMPLES[:1])
    assert label_prompts.render("a film") == (
        "[CLS]user: is it good? a dull plot[SEP][CLS]assistant: bad[SEP][CLS]user: is it good? a film[SEP]"
        "[CLS]assistant: now\n"
    )
    (ids,) = label_prompts.encode(["a film"])
    assert ids == tokenizer(label_prompts.render("a film"), add_special_tokens=False)["input_ids"]
    assert ids.count(tiny.CLS) == 4, "the chat template adds them, and the tokenizer no further ones"
    assert label_prompts.tokens[1] == tokenizer("good", add_special_tokens=False)["input_ids"][:1]
    with pytest.raises(UnsupportedModelError, match="the tokenizer has no chat template: leave out chat, or set"):
        prompts(chat=True)


def test_a_chat_gives_logits():
    tokenizer = tiny.subwords(chat_template=CHAT)
    backbone = label_backbone("Qwen3", tokenizer=tokenizer, template="{text}", chat=True, labels={"a": "A", "b": "B"})
    model = tiny.language_model("Qwen3")
    with torch.inference_mode():
        ids = tokenizer(backbone.prompts.render("a film"), return_tensors="pt")["input_ids"]
        expected = model(input_ids=ids).logits[0, -1, tokenizer.convert_tokens_to_ids(["A", "B"])]
    torch.testing.assert_close(torch.tensor(backbone.extract(["a film"])[1][0]), expected, **CLOSE)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("options", [{}, {"examples": EXAMPLES}, {"chat": True}], ids=["plain", "examples", "chat"])
def test_the_text_of_a_long_prompt_is_cut_at_its_end(start, options):
    tokenizer = tiny.subwords(start, chat_template=CHAT)
    long = " ".join(tiny.WORDS * 4)
    uncut, cut = (prompts(tokenizer, max_length=length, **options).encode([long])[0] for length in (9999, 60))
    (empty,) = prompts(tokenizer, **options).encode([""])
    assert len(cut) == 60
    equal = next(i for i, (a, b) in enumerate(zip(uncut, cut, strict=False)) if a != b)
    equal_end = next(i for i, (a, b) in enumerate(zip(uncut[::-1], cut[::-1], strict=False)) if a != b)
    assert equal + equal_end >= len(cut) - 3, "only letters of the last word may differ"
    assert equal_end >= 2, "the prompt has the end of the template"
    assert equal > 60 - len(empty), "the prompt has as much of the text as fits"
    short = ["bad", long, ""]
    assert [len(ids) for ids in prompts(tokenizer, max_length=60, **options).encode(short)][1] == 60


def test_a_text_that_is_cut_keeps_the_tokens_that_all_words_share():
    label_prompts = prompts(labels={"a": "Q1", "b": "Q2"}, max_length=20)
    (ids,) = label_prompts.encode(["good " * 50])
    assert len(ids) == 20
    assert ids[-2:] == label_prompts.tail


def test_a_template_that_leaves_no_room():
    shortest = len(prompts().encode(["a"])[0])
    assert len(prompts(max_length=shortest).encode(["good " * 9])[0]) <= shortest
    with pytest.raises(DataError, match=f"takes {shortest} tokens, so that max_length={shortest - 1} leaves no room"):
        prompts(max_length=shortest - 1)


@pytest.mark.parametrize(
    ("kind", "limit", "options", "expected"),
    [
        ("Llama", 128, {}, 128),
        ("Llama", 10**30, {}, 200),
        ("GPT2", 10**30, {}, 200),
        ("Mamba", 10**30, {}, 200),
        ("Llama", 10**30, {"max_length": 90}, 90),
    ],
)
def test_the_length_of_a_prompt(kind, limit, options, expected):
    backbone = label_backbone(kind, tokenizer=tiny.subwords(model_max_length=limit), **options)
    assert backbone.max_length == expected
    assert len(backbone.tokenize(["good " * 300])["input_ids"][0]) == expected
    assert np.isfinite(backbone.extract(["good " * 300, "bad"])[1]).all()
