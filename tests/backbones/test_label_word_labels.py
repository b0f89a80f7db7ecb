"""Tokens of label words, or an error that gives the reason."""

import itertools

import pytest
import torch

from aligned_entropy.errors import DataError, UnsupportedModelError
from fixtures import tiny
from fixtures.label_words import CLOSE, SEVERAL, label_backbone, prompts


def test_label_tokens():
    tokenizer = tiny.subwords()
    several = prompts(labels=SEVERAL)
    assert [tokenizer.decode([token]) for token in itertools.chain(*several.tokens)] == [
        " bad",
        " dull",
        " cold",
        " fine",
        " good",
        " great",
    ]
    assert (several.names, several.tail) == (["negative", "neutral", "positive"], [])
    for template, word in (("{text}\nis it good?\n", "good"), ("{text} =", " good"), ("{text} =", "good")):
        label_prompts = prompts(template=template, labels={"no": "bad", "yes": word})
        expected = tokenizer(word if template.endswith("\n") else f" {word.strip()}")["input_ids"]
        assert label_prompts.tokens[1] == expected[:1]


def test_a_word_of_several_tokens_is_identified_by_the_first_that_differs():
    tokenizer = tiny.subwords()
    label_prompts = prompts(labels={"no": "xy", "yes": "good"})
    assert label_prompts.tail == tokenizer(" xy")["input_ids"][:0]
    assert tokenizer.convert_ids_to_tokens([token for label in label_prompts.tokens for token in label]) == [
        "Ġ",
        "Ġgood",
    ]


def test_tokens_that_all_words_share_are_appended_to_the_prompt():
    model, tokenizer = tiny.language_model("Llama"), tiny.subwords()
    labels = {"first": "Q1", "second": ["Q2", "Q3"]}
    assert [tokenizer.tokenize(f" {word}") for word in ("Q1", "Q2")] == [["Ġ", "Q", "1"], ["Ġ", "Q", "2"]]
    backbone = label_backbone(model=model, labels=labels)
    assert backbone.tokenize(["bad"])["input_ids"][0] == tokenizer("review: bad sentiment: Q")["input_ids"]
    digits = [tokenizer(digit)["input_ids"][0] for digit in "123"]
    assert backbone.prompts.tokens == [digits[:1], digits[1:]]
    with torch.inference_mode():
        log_p = model(**tokenizer("review: bad sentiment: Q", return_tensors="pt")).logits[0, -1].log_softmax(-1)
    expected = torch.stack([log_p[digits[0]], log_p[digits[1:]].logsumexp(-1)])
    log_labels = torch.tensor(backbone.extract(["bad"])[1][0]).log_softmax(-1)
    torch.testing.assert_close(log_labels, expected.log_softmax(-1), **CLOSE)


def test_words_of_one_label_that_begin_alike_count_once():
    label_prompts = prompts(labels={"no": ["Q1", "Q2"], "yes": "good"})
    assert [len(label) for label in label_prompts.tokens] == [1, 1]


@pytest.mark.parametrize(
    "labels", [{"no": "xa", "yes": ["good", "xb"]}, {"no": "Q", "yes": "Q1"}, {"a": "good", "b": "good"}]
)
def test_words_that_the_next_token_does_not_tell_apart(labels):
    first, second = (words if isinstance(words, str) else words[-1] for words in labels.values())
    names = list(labels)
    message = f"{first!r} of {names[0]!r} and {second!r} of {names[1]!r} both begin with the token '"
    with pytest.raises(UnsupportedModelError, match=message):
        prompts(labels=labels)


@pytest.mark.parametrize("template", ["{text} sentiment: ", "{text} is\t "])
def test_a_word_that_merges_with_the_prompt(template):
    with pytest.raises(UnsupportedModelError, match=r"label word '.*' merges with the end of the prompt .*whitespace"):
        prompts(template=template, labels={"no": "bad", "yes": "good"}, tokenizer=merging())


def merging():
    """Make a tokenizer that joins trailing whitespace of a prompt with the word behind it."""
    tokenizer = tiny.subwords()
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def test_a_label_whose_tokens_depend_on_the_text():
    class Odd:
        chat_template, unk_token_id = None, None

        def __call__(self, strings, **_):
            texts = [strings] if isinstance(strings, str) else strings
            ids = [[ord(c) + 1000 * (c == "g" and "1" in text) for c in text] for text in texts]
            return {"input_ids": ids[0] if isinstance(strings, str) else ids}

        def convert_ids_to_tokens(self, ids):
            return [chr(i % 1000) for i in ids]

    with pytest.raises(
        UnsupportedModelError, match=r"'good' is the tokens .* after an empty text and .* after 'It is 1.'"
    ):
        prompts(Odd())


def test_a_word_that_the_tokenizer_does_not_know():
    with pytest.raises(UnsupportedModelError, match="does not know the label word 'splendid' of 'yes'"):
        prompts(tiny.tokenizer("decoder"), labels={"no": "bad", "yes": "splendid"}, template="{text} is")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"yes": "good"}, r"names 1 class\(es\), \['yes'\]"),
        ({}, r"names 0 class\(es\)"),
        ({0: "bad", 1: "good"}, r"class 0 is named by an int, not a string"),
        ({"no": "bad", "yes": []}, r"class 'yes' has the label words \[\]"),
        ({"no": "bad", "yes": " "}, r"class 'yes' has the label words \[' '\]"),
        ({"no": "bad", "yes": ["good", 3]}, r"class 'yes' has the label words \['good', 3\]"),
    ],
)
def test_labels_that_cannot_be_read(labels, message):
    with pytest.raises(DataError, match=message):
        prompts(labels=labels)
