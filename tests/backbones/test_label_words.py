"""Language models with label words: their logits equal those computed by hand, or an error gives the reason."""

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
from fixtures.backbones import entropy

LABELS = {"negative": "bad", "positive": "good"}
SEVERAL = {"negative": ["bad", "dull", "cold"], "neutral": "fine", "positive": ["good", "great"]}
TEMPLATE = "review: {text} sentiment:"
EXAMPLES = [("a dull plot", "negative"), ("the film is warm", "positive")]
CHAT = (
    "{% for m in messages %}[CLS]{{ m['role'] }}:{{ ' now\n' if m['role'] == 'assistant' and loop.last else ' ' }}"
    "{{ m['content'] | trim }}[SEP]{% endfor %}"
    "{% if add_generation_prompt %}[CLS]assistant:{% if enable_thinking is false %} now{% endif %}{{ '\n' }}{% endif %}"
)
TEXTS = [*tiny.TEXTS, "", "the film is good and the plot is fine"]
NOT_BLANK = [text for text in TEXTS if text]  # `predict` refuses blank texts
CLOSE = {"rtol": 0, "atol": 1e-4}
EVERY_KIND = pytest.mark.parametrize("kind", tiny.LANGUAGE_MODELS)


def label_backbone(kind="Llama", model=None, tokenizer=None, **options):
    options = {"labels": LABELS, "template": TEMPLATE, **options}
    return LabelWordBackbone(model or tiny.language_model(kind), tokenizer or tiny.subwords(), **options)


def prompts(tokenizer=None, **options):
    options = {"labels": LABELS, "template": TEMPLATE, "max_length": 128, **options}
    return LabelPrompts(tokenizer or tiny.subwords(), **options)


def by_hand(model, labels, template, texts, shots=""):
    """Compute the log of each label's summed probabilities after every prompt, ``[N, C]``, one prompt at a time."""
    tokenizer, rows = tiny.subwords(), []
    for text in texts:
        ids = tokenizer(shots + template.replace("{text}", text), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            log_p = model(input_ids=ids).logits[0, -1].double().log_softmax(-1)
        words = [[word] if isinstance(word, str) else word for word in labels.values()]
        tokens = [[tokenizer(f" {word}")["input_ids"][0] for word in each] for each in words]
        rows.append(torch.stack([log_p[each].logsumexp(-1) for each in tokens]))
    return torch.stack(rows)


def without_cache(backbone):
    backbone._shared_start = lambda prompts: (0, None)
    return backbone


# --- Logits equal to those computed by hand.


@EVERY_KIND
@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_the_untrained_head_is_the_entropy_of_the_models_own_label_words(kind, labels):
    backbone = label_backbone(kind, labels=labels)
    hidden, logits = backbone.extract(TEXTS)
    expected = by_hand(tiny.language_model(kind), labels, TEMPLATE, TEXTS)
    assert hidden.shape == (len(TEXTS), backbone.width)
    assert logits.dtype == hidden.dtype == np.float32
    assert np.ptp(logits, axis=0).max() > 0.05, "the logits differ from text to text"
    torch.testing.assert_close(torch.tensor(logits).double().log_softmax(-1), expected.log_softmax(-1), **CLOSE)
    score = AlignedEntropyHead(backbone.copy_classification_module())(torch.tensor(hidden)).double()
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
def test_scale_and_cap_of_the_models_logits_are_copied(kind, scale, cap, bias):
    backbone, model = label_backbone(kind), tiny.language_model(kind)
    assert (backbone.scale, backbone.cap) == (scale, cap)
    module = backbone.copy_classification_module()
    linear = module if cap is None else module.linear
    tokens = tiny.subwords()(" bad good")["input_ids"]
    torch.testing.assert_close(linear.weight, scale * model.get_output_embeddings().weight[tokens])
    assert (linear.bias is not None) == bias
    assert isinstance(module, nn.Linear if cap is None else LabelWords)
    assert not any(weights.requires_grad for weights in module.parameters())


@EVERY_KIND
def test_a_shared_start_of_all_prompts_is_run_once_and_changes_nothing(kind, monkeypatch):
    backbone, options = label_backbone(kind, examples=EXAMPLES), {"examples": EXAMPLES}
    monkeypatch.setattr("aligned_entropy.backbones.batching.BATCH_ROWS", 3)  # the cache is used several times
    shared, cache = backbone._shared_start(backbone.tokenize(TEXTS)["input_ids"])
    plain = kind not in ("Mistral", "Gemma3-short", "Mamba")
    assert (shared > 15 and cache is not None) if plain else (shared, cache) == (0, None)
    for values, expected in zip(
        backbone.extract(TEXTS), without_cache(label_backbone(kind, **options)).extract(TEXTS), strict=True
    ):
        np.testing.assert_allclose(values, expected, **CLOSE)
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    expected = by_hand(tiny.language_model(kind), LABELS, TEMPLATE, TEXTS, shots).log_softmax(-1)
    torch.testing.assert_close(torch.tensor(backbone.extract(TEXTS)[1]).double().log_softmax(-1), expected, **CLOSE)


def test_a_cache_as_long_as_the_window_is_not_used():
    model = tiny.language_model("Gemma2", sliding_window=40)
    backbone = label_backbone(model=model, examples=EXAMPLES)
    ids = backbone.tokenize(["good", "bad"])["input_ids"]
    assert max(map(len, ids)) < 40
    assert backbone._shared_start(ids)[0] > 15
    assert backbone._shared_start([*ids, backbone.tokenize(["good " * 20])["input_ids"][0]]) == (0, None)


def test_equal_prompts_keep_one_token_outside_the_shared_start():
    backbone = label_backbone(examples=EXAMPLES)
    single, pair = backbone.extract(["good"])[1], backbone.extract(["good"] * 2)[1]
    np.testing.assert_allclose(pair, np.repeat(single, 2, 0), **CLOSE)
    ids = backbone.tokenize(["good"] * 2)["input_ids"]
    assert backbone._shared_start(ids)[0] == len(ids[0]) - 1


def test_the_cache_is_not_changed_by_its_use():
    backbone = label_backbone(examples=EXAMPLES)
    shared, cache = backbone._shared_start(backbone.tokenize(TEXTS)["input_ids"])
    backbone._shared_start = lambda prompts: (shared, cache)
    first, again = backbone.extract(TEXTS)[1], backbone.extract(TEXTS)[1]
    assert np.array_equal(first, again)
    assert cache.get_seq_length() == shared
    assert len(cache.layers[0].keys) == 1


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_the_tokenizers_padding_does_not_matter(kind):
    variants = [
        label_backbone(kind, tokenizer=tiny.subwords(**options)).extract(TEXTS)[1]
        for options in (
            {"padding_side": "left"},
            {"padding_side": "right"},
            {"pad_token": "[PAD]"},
            {"eos_token": None},
        )
    ]
    for logits in variants[1:]:
        np.testing.assert_array_equal(logits, variants[0])


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Gemma2"])
def test_logits_depend_neither_on_order_nor_on_the_batch(kind):
    backbone = label_backbone(kind, examples=EXAMPLES)
    logits = backbone.extract(TEXTS)[1]
    np.testing.assert_allclose(np.concatenate([backbone.extract([text])[1] for text in TEXTS]), logits, **CLOSE)
    np.testing.assert_allclose(backbone.extract(TEXTS[::-1])[1], logits[::-1], **CLOSE)
    assert [len(array) for array in backbone.extract([])] == [0, 0]


def test_special_tokens_before_a_text_are_kept_and_those_behind_it_left_out():
    start = tiny.subwords(start=True)
    plain, with_start = prompts().encode(["good"])[0], prompts(start).encode(["good"])[0]
    assert with_start == [tiny.CLS, *plain]
    words = tiny.tokenizer("eos")
    assert prompts(words, template="the {text} is").encode(["film"])[0] == words("the film is")["input_ids"][:-1]


def test_half_precision():
    backbone = label_backbone(model=tiny.language_model("Llama").bfloat16())
    hidden, logits = backbone.extract(TEXTS)
    assert np.array_equal(torch.tensor(logits).bfloat16().float().numpy(), logits), (
        "logits keep the precision of the model"
    )
    assert {weights.dtype for weights in backbone.copy_classification_module().parameters()} == {torch.float32}
    score = AlignedEntropyHead(backbone.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(torch.tensor(logits)), rtol=0, atol=0.02)


def test_the_model_is_left_as_it_was():
    model = tiny.language_model("Llama")
    backbone = label_backbone(model=model, examples=EXAMPLES)
    backbone.extract(TEXTS)
    layer = model.get_output_embeddings()
    assert not layer._forward_pre_hooks
    assert not layer._forward_hooks
    inputs = tiny.subwords()("the film is good", return_tensors="pt")
    with torch.inference_mode():
        expected = tiny.language_model("Llama")(input_ids=inputs["input_ids"]).logits
        assert torch.equal(model(input_ids=inputs["input_ids"]).logits, expected)
        with backbone.capture.at_positions(torch.tensor([0]), 4):
            assert torch.equal(in_a_thread(lambda: model(input_ids=inputs["input_ids"]).logits), expected)


def in_a_thread(function):
    def without_gradient():
        with torch.inference_mode():
            return function()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(without_gradient).result()


def test_threads_get_their_own_rows():
    backbone = label_backbone("Llama", examples=EXAMPLES)
    expected = {text: backbone.extract([text, "bad"])[1] for text in TEXTS}
    with ThreadPoolExecutor(4) as threads:
        turns = TEXTS * 8
        for text, logits in zip(
            turns, threads.map(lambda text: backbone.extract([text, "bad"])[1], turns), strict=True
        ):
            np.testing.assert_allclose(logits, expected[text], **CLOSE)


def test_a_forward_pass_of_a_batch_from_the_tokenizer():
    backbone, tokenizer = label_backbone("Llama"), tiny.subwords(pad_token="[PAD]")
    rendered = [backbone.prompts.render(text) for text in TEXTS]
    batch = tokenizer(rendered, padding=True, padding_side="right", return_tensors="pt")
    np.testing.assert_allclose(backbone.forward(**batch)[1], backbone.extract(TEXTS)[1], **CLOSE)
    ids = tokenizer(rendered[:1], return_tensors="pt")["input_ids"]
    np.testing.assert_allclose(backbone.forward(input_ids=ids)[1], backbone.extract(TEXTS[:1])[1], **CLOSE)


# --- Models that cannot be used with label words.


def test_a_scale_that_the_configuration_does_not_name():
    model = tiny.language_model("Cohere")
    model.logit_scale = 0.3
    with pytest.raises(UnsupportedModelError, match=r"nor these scaled or .* \(logit_scale, .* differ by up to"):
        label_backbone(model=model)


def test_logits_that_are_not_the_rows():
    backbone = label_backbone("Llama")
    backbone.scale = 2.0
    with pytest.raises(UnsupportedModelError, match=r"rows of 'lm_head' in LlamaForCausalLM .* differ by up to \d"):
        backbone.extract(TEXTS)


def tiny_t5():
    sizes = {"vocab_size": 370, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: BertLMHeadModel(tiny.config("Bert", vocab_size=370)), "BertLMHeadModel is not causal"),
        (lambda: BertForMaskedLM(tiny.config("Bert", vocab_size=370)), "BertForMaskedLM is not causal"),
        (lambda: tiny.model("Llama"), "LlamaForSequenceClassification is not a causal language model"),
        (lambda: tiny_t5(), "T5ForConditionalGeneration is not a causal language model"),
        (
            lambda: tiny.language_model("Llama", vocab_size=300),
            r"tokens up to 3\d\d, but the model has only tokens below 300",
        ),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        label_backbone(model=tiny.stir(model()))


def test_an_output_embedding_without_plain_weights():
    model = tiny.language_model("Llama")
    model.lm_head.weight = nn.Parameter(torch.ones(370, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedModelError, match="'lm_head' of LlamaForCausalLM is a Linear without plain weights"):
        label_backbone(model=model)


def test_an_output_embedding_that_is_not_called(monkeypatch):
    model = tiny.language_model("Llama")
    head = model.lm_head
    model.lm_head = nn.Identity()
    model.spare = head
    monkeypatch.setattr(model, "get_output_embeddings", lambda: head)
    with pytest.raises(UnsupportedModelError, match="makes its logits without calling 'spare'"):
        label_backbone(model=model)


# --- Labels.


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


# --- Length.


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


# --- As a backbone.


def test_a_classifier_with_label_words():
    backbone = label_backbone("Llama", labels=SEVERAL, name="a model")
    assert (backbone.classes, backbone.width, backbone.label_names) == (3, 16, list(SEVERAL))
    classifier = UncertainClassifier(backbone)
    predictions = classifier.predict(NOT_BLANK)
    expected = by_hand(backbone.model, SEVERAL, TEMPLATE, NOT_BLANK)
    assert [row.label for row in predictions] == [list(SEVERAL)[index] for index in expected.argmax(-1)]
    np.testing.assert_allclose(predictions.uncertainty, entropy(expected), atol=1e-4)
    with pytest.raises(NotApplicableError, match=r"use predict\(texts\)"):
        classifier.attach()
    classifier.detach()


@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_a_head_is_fitted_saved_and_loaded(labels, tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, 5)) for _ in range(150)]
    backbone = label_backbone("Qwen2", labels=labels)
    predictions, noise = backbone.extract(texts)[1].argmax(-1), rng.integers(0, len(labels), 150)
    data = LabeledTexts(texts, np.where(rng.random(150) < 0.5, predictions, noise), list(labels))
    classifier = UncertainClassifier(backbone)
    classifier.fit(data, config=FitConfig(folds=3, betas=(300.0,)))
    classifier.save_pretrained(tmp_path / "head")
    loaded = UncertainClassifier(label_backbone("Qwen2", labels=labels)).load_head(tmp_path / "head")
    np.testing.assert_allclose(
        loaded.predict(NOT_BLANK).uncertainty, classifier.predict(NOT_BLANK).uncertainty, atol=1e-6
    )
    features = classifier.features(data, extras=("content_free", "states", "passes"))
    assert features.content_free.shape == (150, len(labels))
    assert features.states.shape[0] == 150
    assert "no dropout" in features.absent["passes"]
    assert SCORES["contextual calibration"]().score(features).shape == (150,)


def test_dropout_passes_and_states_read_whole_prompts():
    backbone = label_backbone("GPT2", examples=EXAMPLES)
    passes = dropout_passes(backbone, TEXTS, 3)
    assert passes.shape == (len(TEXTS), 3, 2)
    assert (passes[:, 0] != passes[:, 1]).all()
    states = token_states(backbone, TEXTS)
    last = len(backbone.tokenize(TEXTS[:1])["input_ids"][0]) - 1
    np.testing.assert_allclose(states[0, last], backbone.extract(TEXTS[:1])[0][0], atol=0.01)


def test_the_fingerprint_covers_everything_that_features_depend_on():
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
    fingerprints = [
        label_backbone(model=model, tokenizer=tokenizer, **options).model_fingerprint for options in variants
    ]
    assert len(set(fingerprints)) == len(variants)
    assert label_backbone(model=tiny.language_model("Llama"), tokenizer=tokenizer).model_fingerprint == fingerprints[0]
    assert (
        label_backbone(model=tiny.language_model("Llama", 1), tokenizer=tokenizer).model_fingerprint not in fingerprints
    )


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
    plain = label_backbone("Llama", examples=EXAMPLES)
    model = adapted(config)
    backbone = label_backbone(model=model, examples=EXAMPLES)
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    expected = by_hand(model, LABELS, TEMPLATE, TEXTS, shots).log_softmax(-1)
    hidden, logits = backbone.extract(TEXTS)
    torch.testing.assert_close(torch.tensor(logits).double().log_softmax(-1), expected, **CLOSE)
    assert np.abs(logits - plain.extract(TEXTS)[1]).max() > 0.01
    score = AlignedEntropyHead(backbone.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(expected), **CLOSE)
    assert backbone.model_fingerprint != plain.model_fingerprint
    tiny.language_model("Llama").save_pretrained(tmp_path / "base")
    tiny.subwords().save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    options = {"labels": LABELS, "template": TEMPLATE, "examples": EXAMPLES}
    loaded = LabelWordBackbone.from_pretrained(tmp_path / "adapter", device="cpu", **options)
    np.testing.assert_allclose(loaded.extract(TEXTS)[1], logits, **CLOSE)


def test_an_adapter_that_is_switched_off():
    model = adapted(LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "lm_head"]))
    backbone = label_backbone(model=model)
    on, active_parts = backbone.extract(TEXTS)[1], backbone.active_parts
    with model.disable_adapter():
        assert backbone.active_parts != active_parts
        off = backbone.extract(TEXTS)[1]
    np.testing.assert_allclose(off, label_backbone("Llama").extract(TEXTS)[1], **CLOSE)
    assert np.abs(on - off).max() > 0.01


def test_loading(tmp_path):
    options = {"labels": LABELS, "template": TEMPLATE, "device": "cpu"}
    for folder, model in (("lm", tiny.language_model("Llama")), ("classifier", tiny.model("Llama", vocab_size=370))):
        model.save_pretrained(tmp_path / folder)
        tiny.subwords().save_pretrained(tmp_path / folder)
    backbone = LabelWordBackbone.from_pretrained(tmp_path / "lm", dtype=torch.float64, max_length=50, **options)
    assert (backbone.max_length, backbone.name) == (50, str(tmp_path / "lm"))
    assert {weights.dtype for weights in backbone.model.parameters()} == {torch.float64}
    np.testing.assert_allclose(backbone.extract(TEXTS)[1], label_backbone("Llama").extract(TEXTS)[1], **CLOSE)
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
def test_contextual_calibration_equals_the_papers_formula(labels):
    backbone, model = label_backbone("Llama", labels=labels), tiny.language_model("Llama")
    done = []
    content_free = content_free_logits(backbone, TEXTS, progress=done.append)
    p_cf = by_hand(model, labels, TEMPLATE, ["N/A", "[MASK]", ""]).softmax(-1).mean(0).numpy()
    assert sum(done) == len(TEXTS)
    assert content_free.shape == (len(TEXTS), len(labels))
    assert content_free.strides[0] == 0, "all rows share one row in memory"
    np.testing.assert_allclose(np.exp(content_free), np.tile(p_cf, (len(TEXTS), 1)), atol=1e-5)
    p = by_hand(model, labels, TEMPLATE, TEXTS).softmax(-1).numpy()
    q = p / p_cf / (p / p_cf).sum(-1, keepdims=True)
    hidden, logits = backbone.extract(TEXTS)
    values = SCORES["contextual calibration"]().score(Features(hidden, logits, content_free=content_free))
    np.testing.assert_allclose(values, 1 - q[np.arange(len(q)), p.argmax(-1)], atol=1e-4)
    changed = q.argmax(-1) != p.argmax(-1)
    assert (values[changed] >= 0.5).all()


def test_contextual_calibration_keeps_the_order_of_certain_predictions():
    logits = np.array([[60.0, 0, 0], [50.0, 0, 0], [0, 0, 700.0]], np.float32)
    prior = np.broadcast_to(np.log([0.5, 0.25, 0.25]).astype(np.float32), (3, 3))
    values = SCORES["contextual calibration"]().score(Features(logits, logits, content_free=prior))
    assert values[2] < values[0] < values[1] < 1e-15
    np.testing.assert_allclose(values[0], 4 * np.exp(-60.0), rtol=1e-5)


def test_other_backbones_have_no_label_words():
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer())
    with pytest.raises(NotApplicableError, match="BertForSequenceClassification predicts without label words"):
        content_free_logits(backbone, TEXTS)
    data = LabeledTexts(TEXTS, np.zeros(len(TEXTS), np.int64), backbone.label_names)
    features = UncertainClassifier(backbone).features(data, extras=("content_free",))
    with pytest.raises(NotApplicableError, match="predicts without label words"):
        SCORES["contextual calibration"]().score(features)
    with pytest.raises(DataError, match="there are no texts"):
        content_free_logits(label_backbone(), [])
