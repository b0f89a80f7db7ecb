"""Probabilities of classes at a field of a JSON object; what the tokens do not tell apart is refused."""

import itertools
import math

import numpy as np
import pytest

from aligned_entropy.data.json_field import JsonField
from aligned_entropy.errors import DataError
from fixtures.objects import completion, entry, label_object

NAMES = ["negative", "positive"]
THREE = ["negative", "neutral", "positive"]


def masses(reply, names=NAMES, field="label"):
    return JsonField(field, names, [[name] for name in names]).masses(reply)


def values(reply, names=NAMES, field="label"):
    return masses(reply, names, field).values.tolist()


@pytest.mark.parametrize("older", [False, True])
def test_the_classes_have_the_probabilities_of_the_first_token_of_the_value(older):
    alternatives = {"positive": 0.6, "negative": 0.3, "maybe": 0.06, "Positive": 0.04}
    reply = completion('{"', "label", '":', ' "', ("positive", alternatives), '"}', older=older)
    assert values(reply) == pytest.approx([0.3, 0.6])


@pytest.mark.parametrize(
    "tokens",
    [
        ['{"label', '":"', "@", '"}'],
        ["{\n", '  "', "label", '" ', ":\n ", '"', "@", '"\n', "}", "\n"],
        ['{"reason": "label: \\"negative\\"", ', '"scores": {"label": "negative"}, "', 'label": "', "@", '", "n": 1}'],
        ["<think>", '{"label": "positive"}', "</think>", '{"label": "', "@", '"}', "<|end|>"],
    ],
    ids=["one token", "white space", "other fields", "more around it"],
)
def test_the_field_is_found_in_the_joined_tokens(tokens):
    pairs = [("negative", {"negative": 0.7, "positive": 0.2}) if token == "@" else token for token in tokens]
    strings = [token.replace("@", "negative") for token in tokens]
    start, end = (3, -1) if "<think>" in strings else (0, None)
    reply = completion(*pairs, text="".join(strings[start:end]))
    assert values(reply) == pytest.approx([0.7, 0.2])


def test_a_label_may_share_its_token_with_the_quotes():
    assert values(completion('{"label":', (' "positive"}', {' "positive"}': 0.5, ' "negative"}': 0.25}))) == [0.25, 0.5]
    numbers = {'"1': 0.5, '"2': 0.3, '"10': 0.1}
    reply = completion('{"label":', ('"1', numbers), ('"}', {'"}': 0.8, '0"}': 0.1, "0": 0.05}))
    assert values(reply, ["1", "2", "10"]) == pytest.approx([0.5 * 0.8, 0.3, 0.1 + 0.5 * 0.15])


def test_numbers_without_quotes_are_label_words_too():
    reply = completion('{"stars": ', ("1", {"1": 0.6, "2": 0.3, "10": 0.05}), (",", {",": 0.7, "0": 0.2}), '"n": 3}')
    assert values(reply, ["1", "2", "10"], "stars") == pytest.approx([0.6 * 0.7, 0.3, 0.05 + 0.6 * 0.2])
    assert values(completion('{"stars": ', ("2", {"2": 0.9, "1": 0.1}), "}"), ["1", "2"], "stars") == pytest.approx(
        [0.1, 0.9]
    )


def test_words_with_a_common_beginning_are_followed_along_the_tokens():
    first, second = {"ne": 0.7, "positive": 0.2, "x": 0.1}, {"utral": 0.6, "gative": 0.3, "x": 0.1}
    reply = completion('{"label": "', ("ne", first), ("utral", second), '"}')
    assert values(reply, THREE) == pytest.approx([0.7 * 0.3, 0.7 * 0.6, 0.2])
    longer = completion('{"label": "', ("good", {"good": 0.8, "bad": 0.1}), ('"', {'"': 0.5, "ness": 0.25}), "}")
    assert values(longer, ["bad", "good", "goodness"]) == pytest.approx([0.1, 0.4, 0.2])


def test_any_division_of_the_words_into_tokens_gives_their_probabilities():
    """The probability of a word is the product along its tokens, whatever word was written, or two share a token."""
    p, refused = {"art": 0.1, "sport": 0.3, "sports": 0.35, "trade": 0.15}, 0
    for written, size in itertools.product(p, (1, 2, 3)):
        tokens, path, is_shared = ['{"label": "'], "", False
        while path != f'{written}"':
            after = {f'{word}"': share for word, share in p.items() if f'{word}"'.startswith(path)}
            total = sum(after.values()) + (0 if path else 0.1)  # a tenth is on no word
            pieces = {word: word[len(path) : len(path) + size] for word in after}
            shares = {piece: sum(after[w] for w in after if pieces[w] == piece) / total for piece in pieces.values()}
            piece = f'{written}"'[len(path) : len(path) + size]
            is_shared |= any(list(pieces.values()).count(other) > 1 for other in shares if other != piece)
            tokens.append((piece, shares))
            path += piece
        reply, refused = completion(*tokens, "}"), refused + is_shared
        if is_shared:
            with pytest.raises(DataError, match="are not told apart"):
                masses(reply, list(p))
        else:
            assert values(reply, list(p)) == pytest.approx(list(p.values())), (written, size)
    assert refused == 6, "sport and sports, if neither was written"


def test_a_mask_before_the_log_probabilities_gives_the_same():
    """Pieces of one word add up; tokens that the grammar forbids have the log-probability -9999."""
    quote = {' "': 0.7, '"': 0.2, "\n": 0.1, "x": 0.0}
    pieces = {"positive": 0.5, "pos": 0.04, "p": 0.02, "negative": 0.4, "ne": 0.04, "x": 0.0}
    assert values(completion('{"label":', (' "', quote), ("positive", pieces), '"}')) == pytest.approx([0.44, 0.56])


def test_a_probable_token_that_begins_two_words_and_was_not_written_is_refused():
    alternatives = {"positive": 0.6, "ne": 0.3, "negative": 0.1}
    with pytest.raises(DataError, match=r"token 'ne', .* 0\.3, begins the label words 'negative' and 'neutral', but"):
        masses(completion('{"label": "', ("positive", alternatives), '"}'), THREE)
    rare = {"positive": 0.6, "ne": 2e-4, "negative": 0.1, "neutral": 0.2}
    assert values(completion('{"label": "', ("positive", rare), '"}'), THREE) == pytest.approx([0.1, 0.2, 0.6])


def test_a_missing_class_has_the_largest_probability_that_it_can_have():
    few = masses(completion('{"label": "', ("positive", {"positive": 0.9, "x": 0.06}), '"}'))
    assert few.values == pytest.approx([0.04, 0.9])
    assert few.is_missing.tolist() == [True, False]
    assert not few.is_complete
    sure = masses(completion('{"label": "', ("positive", {"positive": 0.999, "x": 1e-4}), '"}'))
    assert sure.is_complete
    alone = completion('{"label": "', "positive", '"}')
    alone["choices"][0]["logprobs"]["content"][1] |= {"logprob": math.log(0.6), "top_logprobs": []}
    assert values(alone) == pytest.approx([0.4, 0.6]), "no alternatives are given"


def test_a_token_that_the_grammar_has_chosen_has_its_probability():
    """The written token is not among the most probable ones of a server that reports them before the mask."""
    alternatives = {"The": 0.9, "negative": 0.04}
    reply = completion('{"label": "', ("positive", alternatives), '"}')
    reply["choices"][0]["logprobs"]["content"][1]["logprob"] = math.log(0.01)
    assert values(reply) == pytest.approx([0.04, 0.01])


def test_escapes_and_other_scripts_are_read_by_their_bytes():
    names = ['so "so"', "très bon", "否定"]
    plain = completion('{"label": "', ('so \\"so\\"', {'so \\"so\\"': 0.5, "très bon": 0.2, "tr\\u00e8s": 0.1}), '"}')
    assert values(plain, names)[:2] == pytest.approx([0.5, 0.3])
    parts = "否定".encode()
    content = completion('{"label": "', "?", "?", '"}', text='{"label": "否定"}')
    for row, part, others in ((1, parts[:1], ["t"]), (2, parts[1:], [])):
        rows = [{"token": "?", "bytes": list(part), "logprob": math.log(0.6)}]
        rows += [{"token": other, "bytes": list(other.encode()), "logprob": math.log(0.2)} for other in others]
        content["choices"][0]["logprobs"]["content"][row] = rows[0] | {"top_logprobs": rows}
    assert values(content, names)[1:] == pytest.approx([0.2, 0.6])
    escaped = completion('{"label": "tr', ("\\u00E8", {"\\u00E8": 0.9}), 's bon"}')
    assert np.argmax(values(escaped, names)) == 1


def test_several_words_of_a_class_add_up():
    field = JsonField("label", NAMES, [["bad", "dull"], ["good", "great"]])
    reply = completion('{"label": "', ("g", {"g": 0.5, "bad": 0.2, "dull": 0.1, "good": 0.1}), 'reat"}')
    assert field.masses(reply).values == pytest.approx([0.3, 0.6])
    with pytest.raises(DataError, match="the label word 'bad' stands for 'negative' and for 'positive'"):
        JsonField("label", NAMES, [["bad"], ["good", "bad"]])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            completion("The", " label", " is", " positive"),
            "no JSON object but 'The label is positive': the server must",
        ),
        (completion('["positive"]'), "no JSON object but"),
        (completion("```json\n", '{"label": "', "positive", '"}', "\n```"), "no JSON object but '```json"),
        (completion('{"label": "', "pos"), "no JSON object but"),
        (completion('{"topic": "', "positive", '"}'), "has 'topic': the field 'label' is needed once"),
        (completion('{"label": "positive", "label": "', "negative", '"}'), "has 'label', 'label': the field"),
        (completion("{}"), "has no fields"),
        (completion('{"label": "', "unsure", '"}'), "is 'unsure', which is no label word .*'negative', 'positive'"),
        (completion('{"label": ', "null", "}"), "is None, which is no label word"),
        (completion('{"label": ', '["positive"]', "}"), "which is no label word"),
        (completion('{"label": "', "positive", '"}', text='{"label": "negative"}'), "are not those of its text"),
        (completion('{"label": "', "positive", '"}', text=" "), "the reply has no text"),
        (completion('{"label": "', ("positive", {"positive": 0.0}), '"}'), "its tokens have no probability"),
        ({"choices": [{"text": "{}", "logprobs": None}]}, "holds no log-probabilities"),
        ({"choices": []}, "holds no log-probabilities"),
    ],
)
def test_a_reply_that_cannot_be_read_is_refused(reply, message):
    with pytest.raises(DataError, match=message):
        masses(reply)


def test_a_reply_that_is_cut_off_says_so():
    reply = completion('{"reason": "it is')
    reply["choices"][0]["finish_reason"] = "length"
    with pytest.raises(DataError, match="which is cut off: ask for more tokens with max_tokens"):
        masses(reply)


def test_wrong_log_probabilities_are_refused():
    reply = label_object("label", {"positive": 0.6, "negative": 0.4})
    reply["choices"][0]["logprobs"]["content"][4] = entry("positive", {"positive": 0.6, "negative": 0.6})
    with pytest.raises(DataError, match=r"the token 'positive' of the reply has probabilities that add up to 1\.2"):
        masses(reply)
