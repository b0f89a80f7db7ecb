"""A language model that answers by label words: the same numbers as by hand, or an error that says why not."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from torch import nn
from transformers import BertForMaskedLM, BertLMHeadModel, T5Config, T5ForConditionalGeneration

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.backbones import Backbone, LabelWordBackbone
from aligned_entropy.backbones.extras import content_free_logits, dropout_passes, token_states
from aligned_entropy.backbones.output_embedding import LabelWords
from aligned_entropy.backbones.prompts import LabelPrompts
from aligned_entropy.data import LabeledTexts
from aligned_entropy.errors import DataError, NotApplicableError, UnsupportedModelError
from aligned_entropy.features.arrays import Features
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.scores import SCORES
from fixtures import tiny

LABELS = {"negative": "bad", "positive": "good"}
SEVERAL = {"negative": ["bad", "dull", "cold"], "neutral": "fine", "positive": ["good", "great"]}
TEMPLATE = "review: {text} sentiment:"
EXAMPLES = [("a dull plot", "negative"), ("the film is warm", "positive")]
CHAT = (
    "{% for m in messages %}[CLS]{{ m['role'] }}: {{ m['content'] | trim }}[SEP]{% endfor %}"
    "{% if add_generation_prompt %}[CLS]assistant:{% if enable_thinking is false %} now{% endif %}{{ '\n' }}{% endif %}"
)
TEXTS = [*tiny.TEXTS, "", "the film is good and the plot is fine"]
CLOSE = {"rtol": 0, "atol": 1e-4}
EVERY_KIND = pytest.mark.parametrize("kind", tiny.LANGUAGE_MODELS)


def backbone(kind="Llama", model=None, tokenizer=None, **options):
    options = {"labels": LABELS, "template": TEMPLATE, **options}
    return LabelWordBackbone(model or tiny.language_model(kind), tokenizer or tiny.subwords(), **options)


def prompts(tokenizer=None, **options):
    options = {"labels": LABELS, "template": TEMPLATE, "max_length": 128, **options}
    return LabelPrompts(tokenizer or tiny.subwords(), **options)


def by_hand(model, labels, template, texts, shots=""):
    """Log of the labels' summed probabilities after every prompt, ``[N, C]``, a prompt at a time."""
    tokenizer, rows = tiny.subwords(), []
    for text in texts:
        ids = tokenizer(shots + template.replace("{text}", text), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            log_p = model(input_ids=ids).logits[0, -1].double().log_softmax(-1)
        words = [[word] if isinstance(word, str) else word for word in labels.values()]
        tokens = [[tokenizer(f" {word}")["input_ids"][0] for word in each] for each in words]
        rows.append(torch.stack([log_p[each].logsumexp(-1) for each in tokens]))
    return torch.stack(rows)


def entropy(log_p):
    p = log_p.double().softmax(-1)
    return torch.special.entr(p).sum(-1) / np.log(p.shape[-1])


def without_cache(found):
    found._shared_start = lambda prompts: (0, None)
    return found


# --- The same numbers as by hand.


@EVERY_KIND
@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_the_untrained_head_is_the_entropy_of_the_models_own_label_words(kind, labels):
    found = backbone(kind, labels=labels)
    hidden, logits = found.extract(TEXTS)
    expected = by_hand(tiny.language_model(kind), labels, TEMPLATE, TEXTS)
    assert hidden.shape == (len(TEXTS), found.width)
    assert logits.dtype == hidden.dtype == np.float32
    assert np.ptp(logits, axis=0).max() > 0.05, "the texts are told apart"
    torch.testing.assert_close(torch.tensor(logits).double().log_softmax(-1), expected.log_softmax(-1), **CLOSE)
    score = AlignedEntropyHead(found.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(expected), **CLOSE)


@pytest.mark.parametrize(
    ("kind", "scale", "cap", "bias"),
    [
        ("Llama", 1.0, None, False),
        ("Gemma2", 1.0, 3.0, False),
        ("Gemma3-short", 1.0, 2.0, False),
        ("Cohere", 0.125, None, False),
        ("Granite", 0.25, None, False),
        ("Phi", 1.0, None, True),
    ],
)
def test_what_the_model_does_to_its_logits_is_kept(kind, scale, cap, bias):
    found, model = backbone(kind), tiny.language_model(kind)
    assert (found.scale, found.cap) == (scale, cap)
    module = found.copy_classification_module()
    linear = module if cap is None else module.linear
    tokens = tiny.subwords()(" bad good")["input_ids"]
    torch.testing.assert_close(linear.weight, scale * model.get_output_embeddings().weight[tokens])
    assert (linear.bias is not None) == bias
    assert isinstance(module, nn.Linear if cap is None else LabelWords)
    assert not any(weights.requires_grad for weights in module.parameters())


@EVERY_KIND
def test_what_all_prompts_begin_with_is_run_once_and_changes_nothing(kind, monkeypatch):
    found, options = backbone(kind, examples=EXAMPLES), {"examples": EXAMPLES}
    monkeypatch.setattr("aligned_entropy.backbones.batching.BATCH_ROWS", 3)  # the cache is used again and again
    shared, past = found._shared_start(found.tokenize(TEXTS)["input_ids"])
    plain = kind not in ("Mistral", "Gemma3-short", "Mamba")
    assert (shared > 15 and past is not None) if plain else (shared, past) == (0, None)
    for got, expected in zip(
        found.extract(TEXTS), without_cache(backbone(kind, **options)).extract(TEXTS), strict=True
    ):
        np.testing.assert_allclose(got, expected, **CLOSE)
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    expected = by_hand(tiny.language_model(kind), LABELS, TEMPLATE, TEXTS, shots).log_softmax(-1)
    torch.testing.assert_close(torch.tensor(found.extract(TEXTS)[1]).double().log_softmax(-1), expected, **CLOSE)


def test_a_cache_as_long_as_the_window_is_not_used():
    model = tiny.language_model("Gemma2", sliding_window=40)
    found = backbone(model=model, examples=EXAMPLES)
    ids = found.tokenize(["good", "bad"])["input_ids"]
    assert max(map(len, ids)) < 40
    assert found._shared_start(ids)[0] > 15
    assert found._shared_start([*ids, found.tokenize(["good " * 20])["input_ids"][0]]) == (0, None)


def test_equal_prompts_keep_a_token_of_their_own():
    found = backbone(examples=EXAMPLES)
    one, two = found.extract(["good"])[1], found.extract(["good"] * 2)[1]
    np.testing.assert_allclose(two, np.repeat(one, 2, 0), **CLOSE)
    ids = found.tokenize(["good"] * 2)["input_ids"]
    assert found._shared_start(ids)[0] == len(ids[0]) - 1


def test_the_cache_is_not_changed_by_its_use():
    found = backbone(examples=EXAMPLES)
    shared, past = found._shared_start(found.tokenize(TEXTS)["input_ids"])
    found._shared_start = lambda prompts: (shared, past)
    first, again = found.extract(TEXTS)[1], found.extract(TEXTS)[1]
    assert np.array_equal(first, again)
    assert past.get_seq_length() == shared
    assert len(past.layers[0].keys) == 1


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_the_tokenizers_padding_does_not_matter(kind):
    found = [
        backbone(kind, tokenizer=tiny.subwords(**options)).extract(TEXTS)[1]
        for options in (
            {"padding_side": "left"},
            {"padding_side": "right"},
            {"pad_token": "[PAD]"},
            {"eos_token": None},
        )
    ]
    for logits in found[1:]:
        np.testing.assert_array_equal(logits, found[0])


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Gemma2"])
def test_neither_order_nor_neighbors_move_an_answer(kind):
    found = backbone(kind, examples=EXAMPLES)
    logits = found.extract(TEXTS)[1]
    np.testing.assert_allclose(np.concatenate([found.extract([text])[1] for text in TEXTS]), logits, **CLOSE)
    np.testing.assert_allclose(found.extract(TEXTS[::-1])[1], logits[::-1], **CLOSE)
    assert [len(array) for array in found.extract([])] == [0, 0]


def test_special_tokens_before_a_text_are_kept_and_those_behind_it_left_out():
    start = tiny.subwords(start=True)
    plain, kept = prompts().encode(["good"])[0], prompts(start).encode(["good"])[0]
    assert kept == [tiny.CLS, *plain]
    words = tiny.tokenizer("eos")
    assert prompts(words, template="the {text} is").encode(["film"])[0] == words("the film is")["input_ids"][:-1]


def test_half_precision():
    found = backbone(model=tiny.language_model("Llama").bfloat16())
    hidden, logits = found.extract(TEXTS)
    assert np.array_equal(torch.tensor(logits).bfloat16().float().numpy(), logits), "they are the model's own"
    assert {weights.dtype for weights in found.copy_classification_module().parameters()} == {torch.float32}
    score = AlignedEntropyHead(found.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(torch.tensor(logits)), rtol=0, atol=0.02)


def test_the_model_is_left_as_it_was():
    model = tiny.language_model("Llama")
    found = backbone(model=model, examples=EXAMPLES)
    found.extract(TEXTS)
    layer = model.get_output_embeddings()
    assert not layer._forward_pre_hooks
    assert not layer._forward_hooks
    inputs = tiny.subwords()("the film is good", return_tensors="pt")
    with torch.inference_mode():
        expected = tiny.language_model("Llama")(input_ids=inputs["input_ids"]).logits
        assert torch.equal(model(input_ids=inputs["input_ids"]).logits, expected)
        with found.capture.at_positions(torch.tensor([0]), 4):
            assert torch.equal(in_a_thread(lambda: model(input_ids=inputs["input_ids"]).logits), expected)


def in_a_thread(work):
    def without_gradient():
        with torch.inference_mode():
            return work()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(without_gradient).result()


def test_threads_get_their_own_rows():
    found = backbone("Llama", examples=EXAMPLES)
    expected = {text: found.extract([text, "bad"])[1] for text in TEXTS}
    with ThreadPoolExecutor(4) as threads:
        turns = TEXTS * 8
        for text, logits in zip(turns, threads.map(lambda text: found.extract([text, "bad"])[1], turns), strict=True):
            np.testing.assert_allclose(logits, expected[text], **CLOSE)


def test_a_forward_pass_of_a_batch_from_elsewhere():
    found, tokenizer = backbone("Llama"), tiny.subwords(pad_token="[PAD]")
    whole = [found.prompts.render(text) for text in TEXTS]
    batch = tokenizer(whole, padding=True, padding_side="right", return_tensors="pt")
    np.testing.assert_allclose(found.forward(**batch)[1], found.extract(TEXTS)[1], **CLOSE)
    ids = tokenizer(whole[:1], return_tensors="pt")["input_ids"]
    np.testing.assert_allclose(found.forward(input_ids=ids)[1], found.extract(TEXTS[:1])[1], **CLOSE)


# --- Models that have no label words.


def test_scaled_in_a_way_that_no_configuration_names():
    model = tiny.language_model("Cohere")
    model.logit_scale = 0.3
    with pytest.raises(UnsupportedModelError, match=r"nor these scaled or capped by .* \(logit_scale, .* differ by up to"):
        backbone(model=model)


def test_logits_that_are_not_the_rows():
    found = backbone("Llama")
    found.scale = 2.0
    with pytest.raises(UnsupportedModelError, match=r"rows of 'lm_head' in LlamaForCausalLM .* differ by up to \d"):
        found.extract(TEXTS)


def tiny_t5():
    sizes = {"vocab_size": 370, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: BertLMHeadModel(tiny.config("Bert", vocab_size=370)), "BertLMHeadModel is not causal"),
        (lambda: BertForMaskedLM(tiny.config("Bert", vocab_size=370)), "BertForMaskedLM is not causal"),
        (lambda: tiny.model("Llama"), "LlamaForSequenceClassification is not a causal language model"),
        (
            lambda: tiny_t5(),
            "T5ForConditionalGeneration is not a causal language model",
        ),
        (lambda: tiny.language_model("Llama", vocab_size=300), r"tokens up to 3\d\d, but the model has only tokens below 300"),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        backbone(model=tiny.stir(model()))


def test_an_output_embedding_without_plain_weights():
    model = tiny.language_model("Llama")
    model.lm_head.weight = nn.Parameter(torch.ones(370, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedModelError, match="'lm_head' of LlamaForCausalLM is a Linear without plain weights"):
        backbone(model=model)


def test_an_output_embedding_that_is_not_called(monkeypatch):
    model = tiny.language_model("Llama")
    head = model.lm_head
    model.lm_head = nn.Identity()
    model.spare = head
    monkeypatch.setattr(model, "get_output_embeddings", lambda: head)
    with pytest.raises(UnsupportedModelError, match="makes its logits without calling 'spare'"):
        backbone(model=model)


# --- Labels.


def test_label_tokens():
    tokenizer = tiny.subwords()
    found = prompts(labels=SEVERAL)
    assert [tokenizer.decode([token]) for token in itertools.chain(*found.tokens)] == [
        " bad",
        " dull",
        " cold",
        " fine",
        " good",
        " great",
    ]
    assert (found.names, found.tail) == (["negative", "neutral", "positive"], [])
    for template, word in (("{text}\nis it good?\n", "good"), ("{text} =", " good"), ("{text} =", "good")):
        found = prompts(template=template, labels={"no": "bad", "yes": word})
        wanted = tokenizer(word if template.endswith("\n") else f" {word.strip()}")["input_ids"]
        assert found.tokens[1] == wanted[:1]


def test_a_word_of_several_tokens_is_known_by_the_first_that_differs():
    tokenizer = tiny.subwords()
    found = prompts(labels={"no": "xy", "yes": "good"})
    assert found.tail == tokenizer(" xy")["input_ids"][:0]
    assert tokenizer.convert_ids_to_tokens([token for label in found.tokens for token in label]) == ["Ġ", "Ġgood"]


def test_tokens_that_all_words_share_go_on_with_the_prompt():
    model, tokenizer = tiny.language_model("Llama"), tiny.subwords()
    labels = {"first": "Q1", "second": ["Q2", "Q3"]}
    assert [tokenizer.tokenize(f" {word}") for word in ("Q1", "Q2")] == [["Ġ", "Q", "1"], ["Ġ", "Q", "2"]]
    found = backbone(model=model, labels=labels)
    assert found.tokenize(["bad"])["input_ids"][0] == tokenizer("review: bad sentiment: Q")["input_ids"]
    digits = [tokenizer(digit)["input_ids"][0] for digit in "123"]
    assert found.prompts.tokens == [digits[:1], digits[1:]]
    with torch.inference_mode():
        log_p = model(**tokenizer("review: bad sentiment: Q", return_tensors="pt")).logits[0, -1].log_softmax(-1)
    expected = torch.stack([log_p[digits[0]], log_p[digits[1:]].logsumexp(-1)])
    found = torch.tensor(found.extract(["bad"])[1][0]).log_softmax(-1)
    torch.testing.assert_close(found, expected.log_softmax(-1), **CLOSE)


def test_words_of_one_label_that_begin_alike_count_once():
    found = prompts(labels={"no": ["Q1", "Q2"], "yes": "good"})
    assert [len(label) for label in found.tokens] == [1, 1]


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
    """Subwords that a space before a word is part of, wherever the prompt was cut."""
    tokenizer = tiny.subwords()
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def test_a_label_whose_tokens_depend_on_the_text():
    class Odd:
        chat_template, unk_token_id = None, None

        def __call__(self, strings, **_):
            one = [strings] if isinstance(strings, str) else strings
            ids = [[ord(c) + 1000 * (c == "g" and "1" in text) for c in text] for text in one]
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
        ({0: "bad", 1: "good"}, r"class 0 is named by a int, not a string"),
        ({"no": "bad", "yes": []}, r"class 'yes' has the label words \[\]"),
        ({"no": "bad", "yes": " "}, r"class 'yes' has the label words \[' '\]"),
        ({"no": "bad", "yes": ["good", 3]}, r"class 'yes' has the label words \['good', 3\]"),
    ],
)
def test_labels_that_cannot_be_read(labels, message):
    with pytest.raises(DataError, match=message):
        prompts(labels=labels)


# --- Templates.


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


def test_other_braces_and_what_a_text_says_of_the_template_are_literal():
    found = prompts(template='{"review": "{text}", "n": {0}, "label":')
    assert found.render("{text} {0} %s") == '{"review": "{text} {0} %s", "n": {0}, "label":'


def test_examples_come_before_the_text_in_the_same_template():
    found = prompts(examples=EXAMPLES, labels={"negative": ["bad", "dull"], "positive": "good"})
    assert found.render("it is") == (
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
    found = prompts(tokenizer, labels=SEVERAL, examples=EXAMPLES, chat=True)
    again = LabelPrompts(tokenizer, max_length=128, **json.loads(json.dumps(found.settings)))
    assert (again.describe(), again.render("x")) == (found.describe(), found.render("x"))


def test_a_chat():
    tokenizer = tiny.subwords(start=True, chat_template=CHAT)
    found = prompts(tokenizer, template="is it good? {text}", chat=True, examples=EXAMPLES[:1])
    assert found.render("a film") == (
        "[CLS]user: is it good? a dull plot[SEP][CLS]assistant: bad[SEP][CLS]user: is it good? a film[SEP]"
        "[CLS]assistant: now\n"
    )
    (ids,) = found.encode(["a film"])
    assert ids == tokenizer(found.render("a film"), add_special_tokens=False)["input_ids"]
    assert ids.count(tiny.CLS) == 4, "those of the template alone"
    assert found.tokens[1] == tokenizer("good", add_special_tokens=False)["input_ids"][:1]
    with pytest.raises(UnsupportedModelError, match="the tokenizer has no chat template: leave out chat, or set"):
        prompts(chat=True)
    with pytest.raises(DataError, match="ends in"):
        prompts(tiny.subwords(chat_template="{{ messages[-1]['content'] }}"), template="{text}", chat=True)


def test_a_chat_gives_answers():
    tokenizer = tiny.subwords(chat_template=CHAT)
    found = backbone("Qwen3", tokenizer=tokenizer, template="{text}", chat=True, labels={"a": "A", "b": "B"})
    model = tiny.language_model("Qwen3")
    with torch.inference_mode():
        ids = tokenizer(found.prompts.render("a film"), return_tensors="pt")["input_ids"]
        expected = model(input_ids=ids).logits[0, -1, tokenizer.convert_tokens_to_ids(["A", "B"])]
    torch.testing.assert_close(torch.tensor(found.extract(["a film"])[1][0]), expected, **CLOSE)


# --- Length.


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("options", [{}, {"examples": EXAMPLES}, {"chat": True}], ids=["plain", "examples", "chat"])
def test_of_a_long_prompt_the_text_is_cut_from_its_end(start, options):
    tokenizer = tiny.subwords(start, chat_template=CHAT)
    long = " ".join(tiny.WORDS * 4)
    whole, cut = (prompts(tokenizer, max_length=length, **options).encode([long])[0] for length in (9999, 60))
    (empty,) = prompts(tokenizer, **options).encode([""])
    assert len(cut) == 60
    alike = next(i for i, (a, b) in enumerate(zip(whole, cut, strict=False)) if a != b)
    behind = next(i for i, (a, b) in enumerate(zip(whole[::-1], cut[::-1], strict=False)) if a != b)
    assert alike + behind >= len(cut) - 3, "but for the letters of the last word"
    assert behind >= 2, "the template's end is there"
    assert alike > 60 - len(empty), "and as much of the text as there is room for"
    short = ["bad", long, ""]
    assert [len(ids) for ids in prompts(tokenizer, max_length=60, **options).encode(short)][1] == 60


def test_a_text_that_is_cut_keeps_the_tokens_that_all_words_share():
    found = prompts(labels={"a": "Q1", "b": "Q2"}, max_length=20)
    (ids,) = found.encode(["good " * 50])
    assert len(ids) == 20
    assert ids[-2:] == found.tail


def test_a_template_that_leaves_no_room():
    least = len(prompts().encode(["a"])[0])
    assert len(prompts(max_length=least).encode(["good " * 9])[0]) <= least
    with pytest.raises(DataError, match=f"takes {least} tokens, so that max_length={least - 1} leaves no room"):
        prompts(max_length=least - 1)


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
    found = backbone(kind, tokenizer=tiny.subwords(model_max_length=limit), **options)
    assert found.max_length == expected
    assert len(found.tokenize(["good " * 300])["input_ids"][0]) == expected
    assert np.isfinite(found.extract(["good " * 300, "bad"])[1]).all()


# --- As a backbone.


def test_it_is_a_classifier_with_everything_around_it():
    found = backbone("Llama", labels=SEVERAL, name="a model")
    assert (found.classes, found.width, found.label_names) == (3, 16, list(SEVERAL))
    classifier = UncertainClassifier(found)
    predictions = classifier.predict(TEXTS)
    expected = by_hand(found.model, SEVERAL, TEMPLATE, TEXTS)
    assert [row.label for row in predictions] == [list(SEVERAL)[index] for index in expected.argmax(-1)]
    np.testing.assert_allclose(predictions.uncertainty, entropy(expected), atol=1e-4)
    with pytest.raises(NotApplicableError, match=r"use predict\(texts\)"):
        classifier.attach()
    classifier.detach()


@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_a_head_is_fitted_saved_and_loaded(labels, tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, 5)) for _ in range(150)]
    found = backbone("Qwen2", labels=labels)
    answers, noise = found.extract(texts)[1].argmax(-1), rng.integers(0, len(labels), 150)
    data = LabeledTexts(texts, np.where(rng.random(150) < 0.5, answers, noise), list(labels))
    classifier = UncertainClassifier(found)
    classifier.fit(data, config=FitConfig(folds=3, betas=(300.0,)))
    classifier.save_pretrained(tmp_path / "head")
    again = UncertainClassifier(backbone("Qwen2", labels=labels)).load_head(tmp_path / "head")
    np.testing.assert_allclose(again.predict(TEXTS).uncertainty, classifier.predict(TEXTS).uncertainty, atol=1e-6)
    features = classifier.features(data, extras=("content_free", "states", "passes"))
    assert features.content_free.shape == (150, len(labels))
    assert features.states.shape[0] == 150
    assert "no dropout" in features.absent["passes"]
    assert SCORES["contextual calibration"]().score(features).shape == (150,)


def test_dropout_passes_and_states_read_whole_prompts():
    found = backbone("GPT2", examples=EXAMPLES)
    passes = dropout_passes(found, TEXTS, 3)
    assert passes.shape == (len(TEXTS), 3, 2)
    assert (passes[:, 0] != passes[:, 1]).all()
    states = token_states(found, TEXTS)
    last = len(found.tokenize(TEXTS[:1])["input_ids"][0]) - 1
    np.testing.assert_allclose(states[0, last], found.extract(TEXTS[:1])[0][0], atol=0.01)


def test_the_fingerprint_covers_whatever_decides_an_answer():
    tokenizer = tiny.subwords(chat_template=CHAT)
    model = tiny.language_model("Llama")
    variants = [
        {},
        {"template": "review: {text} opinion:"},
        {"template": "review: {text}\nsentiment:"},
        {"labels": {"negative": "dull", "positive": "good"}},
        {"labels": {"negative": ["bad", "dull"], "positive": "good"}},
        {"labels": {"positive": "bad", "negative": "good"}},
        {"examples": EXAMPLES},
        {"examples": EXAMPLES[::-1]},
        {"examples": [("a dull plot", "positive")]},
        {"chat": True},
        {"max_length": 40},
    ]
    found = [backbone(model=model, tokenizer=tokenizer, **options).model_fingerprint for options in variants]
    assert len(set(found)) == len(variants)
    assert backbone(model=tiny.language_model("Llama"), tokenizer=tokenizer).model_fingerprint == found[0]
    assert backbone(model=tiny.language_model("Llama", 1), tokenizer=tokenizer).model_fingerprint not in found


def adapted(config):
    torch.manual_seed(1)
    model = get_peft_model(tiny.language_model("Llama"), config)
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = torch.randn(weights.shape) * 0.3
    return model.eval()


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "v_proj"]),
        LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "lm_head"]),
        LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3),
    ],
    ids=["lora", "lora of the output", "output saved", "prompt tuning"],
)
def test_adapters(config, tmp_path):
    plain = backbone("Llama", examples=EXAMPLES)
    model = adapted(config)
    found = backbone(model=model, examples=EXAMPLES)
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    expected = by_hand(model, LABELS, TEMPLATE, TEXTS, shots).log_softmax(-1)
    hidden, logits = found.extract(TEXTS)
    torch.testing.assert_close(torch.tensor(logits).double().log_softmax(-1), expected, **CLOSE)
    assert np.abs(logits - plain.extract(TEXTS)[1]).max() > 0.01
    score = AlignedEntropyHead(found.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(expected), **CLOSE)
    assert found.model_fingerprint != plain.model_fingerprint
    tiny.language_model("Llama").save_pretrained(tmp_path / "base")
    tiny.subwords().save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    options = {"labels": LABELS, "template": TEMPLATE, "examples": EXAMPLES}
    loaded = LabelWordBackbone.from_pretrained(tmp_path / "adapter", device="cpu", **options)
    np.testing.assert_allclose(loaded.extract(TEXTS)[1], logits, **CLOSE)


def test_an_adapter_that_is_switched_off():
    model = adapted(LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "lm_head"]))
    found = backbone(model=model)
    on, used = found.extract(TEXTS)[1], found.active_parts
    with model.disable_adapter():
        assert found.active_parts != used
        off = found.extract(TEXTS)[1]
    np.testing.assert_allclose(off, backbone("Llama").extract(TEXTS)[1], **CLOSE)
    assert np.abs(on - off).max() > 0.01


def test_loading(tmp_path):
    options = {"labels": LABELS, "template": TEMPLATE, "device": "cpu"}
    for folder, model in (("lm", tiny.language_model("Llama")), ("classifier", tiny.model("Llama", vocab_size=370))):
        model.save_pretrained(tmp_path / folder)
        tiny.subwords().save_pretrained(tmp_path / folder)
    found = LabelWordBackbone.from_pretrained(tmp_path / "lm", dtype=torch.float64, max_length=50, **options)
    assert (found.max_length, found.name) == (50, str(tmp_path / "lm"))
    assert {weights.dtype for weights in found.model.parameters()} == {torch.float64}
    np.testing.assert_allclose(found.extract(TEXTS)[1], backbone("Llama").extract(TEXTS)[1], **CLOSE)
    with pytest.raises(UnsupportedModelError, match=r"no trained language model \(lm_head.weight would be random"):
        LabelWordBackbone.from_pretrained(tmp_path / "classifier", **options)
    tiny_t5().save_pretrained(tmp_path / "t5")
    with pytest.raises(UnsupportedModelError, match="is not a causal language model"):
        LabelWordBackbone.from_pretrained(tmp_path / "t5", **options)


def test_an_adapter_of_a_classifier_is_refused(tmp_path):
    model = get_peft_model(tiny.model("Llama"), LoraConfig(TaskType.SEQ_CLS, target_modules=["q_proj"]))
    tiny.config("Llama").save_pretrained(tmp_path)
    model.peft_config["default"].base_model_name_or_path = str(tmp_path)
    model.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="is an adapter of a classifier"):
        LabelWordBackbone.from_pretrained(tmp_path, labels=LABELS, template=TEMPLATE)


# --- Contextual calibration.


@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_contextual_calibration_is_what_the_paper_says(labels):
    found, model = backbone("Llama", labels=labels), tiny.language_model("Llama")
    done = []
    content_free = content_free_logits(found, TEXTS, progress=done.append)
    p_cf = by_hand(model, labels, TEMPLATE, ["N/A", "[MASK]", ""]).softmax(-1).mean(0).numpy()
    assert sum(done) == len(TEXTS)
    assert content_free.shape == (len(TEXTS), len(labels))
    assert content_free.strides[0] == 0, "one row, seen many times"
    np.testing.assert_allclose(np.exp(content_free), np.tile(p_cf, (len(TEXTS), 1)), atol=1e-5)
    p = by_hand(model, labels, TEMPLATE, TEXTS).softmax(-1).numpy()
    q = p / p_cf / (p / p_cf).sum(-1, keepdims=True)
    hidden, logits = found.extract(TEXTS)
    values = SCORES["contextual calibration"]().score(Features(hidden, logits, content_free=content_free))
    np.testing.assert_allclose(values, 1 - q[np.arange(len(q)), p.argmax(-1)], atol=1e-4)
    changed = q.argmax(-1) != p.argmax(-1)
    assert (values[changed] >= 0.5).all()


def test_contextual_calibration_of_certain_answers_keeps_their_order():
    logits = np.array([[60.0, 0, 0], [50.0, 0, 0], [0, 0, 700.0]], np.float32)
    prior = np.broadcast_to(np.log([0.5, 0.25, 0.25]).astype(np.float32), (3, 3))
    values = SCORES["contextual calibration"]().score(Features(logits, logits, content_free=prior))
    assert values[2] < values[0] < values[1] < 1e-15
    np.testing.assert_allclose(values[0], 4 * np.exp(-60.0), rtol=1e-5)


def test_other_backbones_have_no_label_words():
    found = Backbone(tiny.model("Bert"), tiny.tokenizer())
    with pytest.raises(NotApplicableError, match="BertForSequenceClassification predicts without label words"):
        content_free_logits(found, TEXTS)
    data = LabeledTexts(TEXTS, np.zeros(len(TEXTS), np.int64), found.label_names)
    features = UncertainClassifier(found).features(data, extras=("content_free",))
    with pytest.raises(NotApplicableError, match="predicts without label words"):
        SCORES["contextual calibration"]().score(features)
    with pytest.raises(DataError, match="there are no texts"):
        content_free_logits(backbone(), [])
