"""Chats end where the assistant's reply begins, whatever the chat template does, or are refused with the reason."""

import pytest
import torch

from aligned_entropy import UnsupportedModelError
from aligned_entropy.backbones import LabelWordBackbone
from aligned_entropy.backbones.prompts import LabelPrompts
from fixtures import tiny

LABELS = {"negative": ["bad", "dull"], "positive": "good"}
EXAMPLES = [("a dull plot", "negative")]
USER, REPLY = "[CLS]user\nis it good? {}[SEP]\n", "[CLS]assistant\n"
CHATML = (
    "{% for m in messages %}{{ '[CLS]' + m['role'] + '\n' + m['content'] + '[SEP]\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[CLS]assistant\n' }}{% endif %}"
)
WITHOUT_PROMPT = CHATML.partition("{% if add")[0]
THOUGHT = CHATML.replace("'[CLS]assistant\n'", "'[CLS]assistant\n<think>\n'")
# Qwen3 renders an empty thought in the prompt, and before the last reply if thinking is switched off.
EMPTY_THOUGHT = CHATML.replace("'[CLS]assistant\n'", "'[CLS]assistant\n<think>\n\n</think>\n\n'")
EMPTY_THOUGHT_IN_REPLY = EMPTY_THOUGHT.replace(
    "+ m['content']", "+ ('<think>\n\n</think>\n\n' if m['role'] == 'assistant' and loop.last else '') + m['content']"
)
# GLM-4.5 has a line break between the thought and the reply, which its prompt lacks.
LINE_BREAK = EMPTY_THOUGHT_IN_REPLY.replace("\n\n</think>\n\n' }}", "\n\n</think>' }}")
CHANNEL = CHATML.replace(
    "+ '\n' + m['content']", "+ ('<final>' if m['role'] == 'assistant' else '\n') + m['content']"
).replace("'[CLS]assistant\n'", "'[CLS]assistant'")
# Llama 2 marks the user's turn only, and puts a space before the reply.
MARKED_USER = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[CLS]user\n{{ m['content'] | trim }}[SEP]"
    "{% else %}{{ ' ' + m['content'] | trim }}{% endif %}{% endfor %}"
)
SYSTEM = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('a system message is needed') }}{% endif %}"


def prompts(template: str, **options: object) -> LabelPrompts:
    settings = {"labels": LABELS, "template": "is it good? {text}", "chat": True, "max_length": 128, **options}
    return LabelPrompts(tiny.subwords(chat_template=template), **settings)


@pytest.mark.parametrize(
    ("template", "reply"),
    [
        (CHATML, REPLY),
        (WITHOUT_PROMPT, REPLY),
        (THOUGHT, REPLY),
        (EMPTY_THOUGHT, REPLY + "<think>\n\n</think>\n\n"),
        (EMPTY_THOUGHT_IN_REPLY, REPLY + "<think>\n\n</think>\n\n"),
        (LINE_BREAK, REPLY + "<think>\n\n</think>\n\n"),
        (CHANNEL, "[CLS]assistant<final>"),
        (CHATML.replace("m['content']", "m['content'] | trim"), REPLY),
    ],
    ids=["usual", "no prompt", "thought", "empty thought", "in the reply", "line break", "channel", "trim"],
)
@pytest.mark.parametrize("examples", [[], EXAMPLES], ids=["no examples", "an example"])
def test_a_chat_ends_before_the_reply(template: str, reply: str, examples: list[tuple[str, str]]) -> None:
    label_prompts = prompts(template, examples=examples)
    rendered = label_prompts.render("a film")
    assert rendered.endswith(USER.format("a film") + reply)
    assert rendered.startswith(USER.format("a dull plot") if examples else USER.format("a film"))
    tokenizer = label_prompts.tokenizer
    assert label_prompts.encode(["a film"])[0] == tokenizer(rendered, add_special_tokens=False)["input_ids"]
    words = [[tokenizer(word)["input_ids"][0] for word in words] for words in label_prompts.words]
    assert label_prompts.tokens == words, "the words follow no space"


@pytest.mark.parametrize("template", [CHATML, EMPTY_THOUGHT, EMPTY_THOUGHT_IN_REPLY])
def test_a_usual_template_makes_its_own_prompt(template: str) -> None:
    label_prompts = prompts(template)
    turns = [{"role": "user", "content": "is it good? a film"}]
    options = {"add_generation_prompt": True, "enable_thinking": False, "tokenize": False}
    assert label_prompts.render("a film") == label_prompts.tokenizer.apply_chat_template(turns, **options)


@pytest.mark.parametrize(
    "template", [MARKED_USER, CHATML.replace("assistant\n", "assistant: ").replace("'\n' +", "': ' +")]
)
def test_a_space_before_the_reply_belongs_to_the_word(template: str) -> None:
    label_prompts = prompts(template)
    tokenizer = label_prompts.tokenizer
    rendered = label_prompts.render("a film")
    assert not rendered.endswith(" ")
    chat = [{"role": "user", "content": "is it good? a film"}, {"role": "assistant", "content": "good"}]
    ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), add_special_tokens=False)["input_ids"]
    (prompt,) = label_prompts.encode(["a film"])
    assert ids[: len(prompt) + 1] == [*prompt, label_prompts.tokens[1][0]]
    assert tokenizer.convert_ids_to_tokens(label_prompts.tokens[1]) == ["Ġgood"]


def test_logits_are_those_of_the_reply_in_the_chat() -> None:
    tokenizer, model = tiny.subwords(chat_template=THOUGHT), tiny.language_model("Llama")
    options = {"labels": {"a": "A", "b": "B"}, "template": "{text}", "chat": True}
    backbone = LabelWordBackbone(model, tokenizer, **options)
    chat = "[CLS]user\na film[SEP]\n[CLS]assistant\nA[SEP]\n"
    ids = tokenizer(chat, return_tensors="pt", add_special_tokens=False)["input_ids"]
    reply = tokenizer.convert_tokens_to_ids(["A", "B"])
    position = ids[0].tolist().index(reply[0])
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0, position - 1, reply]
    torch.testing.assert_close(torch.tensor(backbone.extract(["a film"])[1][0]), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (SYSTEM + CHATML, "fails for the turns user: a system message is needed. Instead leave out chat"),
        ("{{ messages[0]['content'] + missing }}", "the chat template of the tokenizer fails"),
        ("{% if", "the chat template of the tokenizer fails"),
        ("{% for m in messages %}[CLS]{{ m['role'] }}[SEP]{% endfor %}[CLS]assistant", "leaves out or changes"),
        (CHATML.replace("m['content']", "m['content'] | lower"), "leaves out or changes the user's message"),
        (WITHOUT_PROMPT.replace("m['content']", "m['content'] | upper"), "changes the label word 'bad': .*'BAD"),
        ("{{ messages[-1]['content'] }}", "leaves out or changes the user's message before the reply: ''"),
        ("{% for m in messages | reverse %}[CLS]{{ m['content'] }}{% endfor %}", "before the reply"),
        ("{{ '[CLS]' + messages[0]['content'] + '[SEP]' }}", "leaves out or changes the label word 'bad'"),
        (THOUGHT.replace("m['role'] + '\n'", "m['role'] + '\n<think>\n'"), "opens a thought before the reply"),
    ],
)
def test_a_template_without_a_place_for_the_reply_is_refused(template: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        prompts(template)


def test_a_label_word_that_the_template_strips_is_refused() -> None:
    stripped = CHATML.replace("m['content']", "m['content'] | trim")
    with pytest.raises(UnsupportedModelError, match="changes the label word ' good': the reply is rendered as 'good"):
        prompts(stripped, labels={"no": "bad", "yes": " good"})
    assert prompts(CHATML, labels={"no": " bad", "yes": " good"}).tail == []


def test_a_text_that_the_template_refuses_is_named() -> None:
    picky = "{% if 'red' in messages[0]['content'] %}{{ raise_exception('no colors') }}{% endif %}" + CHATML
    label_prompts = prompts(picky)
    with pytest.raises(UnsupportedModelError, match="no colors"):
        label_prompts.encode(["a film", "a red film"])
