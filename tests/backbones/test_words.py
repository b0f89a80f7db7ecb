"""Texts are divided into words as in the usual corpora, and no character of a word is lost."""

import pytest

from aligned_entropy.backbones.words import word_offsets
from fixtures import tiny


def words(text, tokenizer=None):
    return [text[start:end] for start, end in word_offsets(text, tokenizer or tiny.tokenizer())]


def test_letters_keep_their_marks_and_clitics_are_words():
    assert words("नमस्ते दुनिया!") == ["नमस्ते", "दुनिया", "!"]
    assert words("cafe\u0301") == ["cafe\u0301"]
    assert words("Germany's O'Brien don't N'T (see https://x.org/a).") == [
        "Germany", "'s", "O'Brien", "don", "'t", "N", "'T", "(", "see", "https://x.org/a", ")", ".",
    ]  # fmt: skip
    assert words("U.S.A. e.g. Ph.D 1,234.5 1/2 @you #tag x_1 AT&T a.b@c.org Paris-based") == [
        "U.S.A.", "e.g.", "Ph.D", "1,234.5", "1/2", "@you", "#tag", "x_1", "AT&T", "a.b@c.org", "Paris-based",
    ]  # fmt: skip


@pytest.mark.parametrize("apostrophe", ["'", "’"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("le duc d'Orléans", ["le", "duc", "d'", "Orléans"]),
        ("L'Aquila, dell'Aquila", ["L'", "Aquila", ",", "dell'", "Aquila"]),
        ("jusqu'à Sant'Anna", ["jusqu'", "à", "Sant'", "Anna"]),
        ("aujourd'hui quelqu'un rock'n'roll", ["aujourd'hui", "quelqu'un", "rock'n'roll"]),
        ("D'Artagnan's Val-d'Oise", ["D'", "Artagnan", "'s", "Val-d'Oise"]),
    ],
)
def test_elided_words_are_words(text, expected, apostrophe):
    assert words(text.replace("'", apostrophe)) == [word.replace("'", apostrophe) for word in expected]


def test_names_without_a_space_between_them_are_divided():
    assert words("Amiens/Angers.Anna and/or") == ["Amiens", "/", "Angers", ".", "Anna", "and", "/", "or"]
    assert words("x.org Node.js St.Gallen") == ["x.org", "Node.js", "St.Gallen"]


def test_invisible_characters_and_marks_belong_to_the_word_around_them():
    assert words("Ber\u00adlin \u200bmi\u200cxa\ufeff \u202aa\u202c") == ["Ber\u00adlin", "mi\u200cxa", "a"]
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert words(f"\u2764\ufe0f ok{family}\U0001f44d\U0001f3fd 1\ufe0f\u20e3") == [
        "\u2764\ufe0f", "ok", family, "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3",
    ]  # fmt: skip
    assert words("12\u00a0500\u3000euros\x85x") == ["12", "500", "euros", "x"]


def test_scripts_without_spaces_are_divided_into_the_tokens_of_the_model():
    by_bytes = tiny.byte_tokenizer()
    assert words("iPhone手机2020年", by_bytes) == ["iPhone", "手", "机", "2020", "年"]
    assert words("東京タワーへ。", by_bytes) == ["東", "京", "タ", "ワ", "ー", "へ", "。"]
    assert words("กรุงเทพ", by_bytes) == ["ก", "รุ", "ง", "เ", "ท", "พ"]  # a vowel sign stays with its letter
    assert words("か\u3099す", by_bytes) == ["か\u3099", "す"]


def test_a_run_of_characters_that_is_one_unknown_token_is_divided_into_characters():
    assert words("中国x", tiny.tokenizer()) == ["中", "国", "x"]


@pytest.mark.parametrize("tokenizer", [tiny.tokenizer, tiny.byte_tokenizer])
def test_every_visible_character_is_in_one_word(tokenizer):
    text = "d'Orléans\u00a0/ 中国,กรุง\U0001f468\u200d\U0001f469 x\u00ady #名 @a 's U.S. ... -- (a)か\u3099\u0301"
    offsets = word_offsets(text, tokenizer())
    covered = [position for start, end in offsets for position in range(start, end)]
    assert covered == sorted(set(covered))
    assert {text[position] for position in set(range(len(text))) - set(covered)} == {" ", "\u00a0"}
