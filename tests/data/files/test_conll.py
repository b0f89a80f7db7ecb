"""CoNLL files: words keep all their characters, and lines that are neither words nor comments are refused."""

import pytest

from aligned_entropy.data import has_token_labels, labeled_tokens, load_data
from aligned_entropy.data.files.reading import read_table
from aligned_entropy.errors import DataError

CONLL = """-DOCSTART- -X- -X- O

# id 7, a comment of CoNLL-U
EU NNP B-NP B-ORG
# SYM O O
rejects VBZ B-VP O


Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER"""


def read(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return dict(read_table(path).columns)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "words.conll"


@pytest.mark.parametrize("ending", ["conll", "bio", "iob2"])
def test_a_conll_file_is_read(tmp_path, ending):
    path = tmp_path / f"train.{ending}"
    path.write_text(CONLL)
    data = load_data(path)
    assert data["tokens"][:] == [["EU", "#", "rejects"], ["Peter", "Blackburn"]]
    assert data["tags"][:] == [["B-ORG", "O", "O"], ["B-PER", "I-PER"]]
    assert has_token_labels(data)
    assert len(labeled_tokens(load_data(f"{tmp_path}:train"))) == 2


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\x85", "\u2028", "\u2009", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("separator", [" ", "\t", "   "])
def test_only_spaces_and_tabs_divide_columns_and_only_line_feeds_lines(path, space, separator):
    words = [f"12{space}500", f"{space}a", f"b{space}", space]
    content = "".join(f"{word}{separator}B-X\n" for word in words)
    assert read(path, content) == {"tokens": [words], "tags": [["B-X"] * 4]}


def test_a_file_with_tabs_has_words_with_spaces(path):
    assert read(path, "a b\tO\n\u00a0\tO\n\t\nc \tB-X\r\n") == {
        "tokens": [["a b", "\u00a0"], ["c"]],
        "tags": [["O", "O"], ["B-X"]],
    }


@pytest.mark.parametrize(
    ("comment", "separator"),
    [
        ("#\thttp://x.org/a [2010-01-01]", "\t"),
        ("# ::snt Anna laughs .", " "),
        ("# ::snt Anna", "\t"),
        ("# sent_id = 7", " "),
        ("#begin document (nw/x); part 000", " "),
        ("# newdoc", " "),
        ("# a note of several words", " "),
        ("word tag", " "),
        ("Token\tNER", "\t"),
    ],
)
def test_headers_and_comments_are_no_words(path, comment, separator):
    content = f"{comment}\nAnna{separator}B-PER\nlaughs{separator}O\n\n#end document\n"
    assert read(path, content) == {"tokens": [["Anna", "laughs"]], "tags": [["B-PER", "O"]]}


def test_hashes_that_are_words_stay(path):
    content = "Anna\tB-PER\n#\tO\n\n#\tO\n1\tO\n\n#win\tB-EVENT\n"
    assert read(path, content)["tokens"] == [["Anna", "#"], ["#", "1"], ["#win"]]


@pytest.mark.parametrize(
    "line", ["-DOCSTART- -X- O O", "-DOCSTART- O", "-DOCSTART-\tO", "-DOCSTART- (1)", "-DOCSTART-"]
)
def test_a_document_line_ends_a_sentence(path, line):
    separator = "\t" if "\t" in line else " "
    content = f"{line}\na{separator}O\n{line}\nb{separator}O\n"
    assert read(path, content)["tokens"] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("EU B-ORG\nrejects\n", r"words\.conll, line 2: there is no tag after the word: 'rejects'"),
        ("B-ORG\nO\n", "line 1: there is no tag after the word"),
        ("a\tO\n\tO\n", "line 2: there is no word before the tag"),
        ("a\tO\nb\t\n", "line 2: there is no tag after the word"),
        ("a O\nNew York B-LOC\n", "line 2: 3 columns, but line 1 has 2: 'New York B-LOC'"),
        ("a\tO\nb O\n", "line 2: there is no tag after the word"),
        ("# sent_id = 1\n1\tPeter\tB-PER\t-\n2\tsleeps\tO\t-\n", "the first column holds the numbers of the words"),
        ("#\thttp://x.org\n1\tAnna\tB-PER\tO\n2\tlacht\tO\tO\n", "as in CoNLL-U or GermEval"),
        ("1-2\tvom\tO\n1\tvon\tO\n2\tdem\tO\n", "the first column holds the numbers"),
        ("#begin document (nw/x); part 000\nx 0 0 EU NNP B-ORG\n\n#end document\n", "as in CoNLL-2012"),
        ("x 0 0 EU NNP B-ORG\nx 0 1 is VBZ O\n", "the first column holds the name of the document"),
        ("EU NNP (ORG*\nis VBZ *)\nbig JJ *\n", "entities in parentheses, such as '"),
        ("EU B-ORG 0.9\nis O 0.8\n", r"the last column, 0\.8, 0\.9, …, does not hold tags as column 2 does"),
    ],
)
def test_columns_that_are_not_clear_are_refused(path, content, message):
    with pytest.raises(DataError, match=message):
        read(path, content)


def test_numbers_may_be_words(path):
    assert read(path, "1 O\n2 O\n\n1 O\n")["tokens"] == [["1", "2"], ["1"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_in_its_encoding(path, encoding):
    assert read(path, "café O\r\n\r\nb B-X\r\n".encode(encoding))["tokens"] == [["café"], ["b"]]


def test_bytes_of_another_encoding_are_refused(path):
    path.write_bytes(b"caf\xe9 O\n")
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        load_data(path)
    assert read_table(path, encoding="cp1252")["tokens"] == [["café"]]


def test_words_alone_are_read_to_predict(path):
    assert read(path, "EU\nrejects\n\nPeter\n") == {"tokens": [["EU", "rejects"], ["Peter"]]}
    with pytest.raises(DataError, match=r"no column of lists with .*tags"):
        labeled_tokens(load_data(path))
    assert read(path, "-DOCSTART-\n\ntoken\nEU\n") == {"tokens": [["token", "EU"]]}
    assert read(path, "token\n# sent_id = 1\nEU\n") == {"tokens": [["EU"]]}
    with pytest.raises(DataError, match="line 1: there is no tag after the word"):
        read(path, "O\nO\n")


def test_a_file_without_blank_lines_is_refused(path):
    read(path, "word O\n" * 1000)
    read(path, "word O\n\n" + "word O\n" * 1001)
    with pytest.raises(DataError, match=r"words\.conll: all 1001 words are one sentence: put a blank line after every"):
        read(path, "word O\n" * 1001)


def test_a_tag_that_the_model_lacks_is_named_with_the_line_of_its_sentence(path):
    path.write_text("Peter B-PER\nsleeps O\n\n# a comment\n\nin O\nParis B-PLACE\n")
    message = r"B-PLACE, the first in the sentence of row 1 of column 'tags' \(line 6\); the model has"
    with pytest.raises(DataError, match=message):
        labeled_tokens(load_data(path), ["O", "B-PER", "I-PER"])


def test_a_text_file_with_tags_and_a_file_of_one_line_are_refused(tmp_path):
    """Otherwise every line of the first would be a text, and all words of the second the columns of one word."""
    words = ["Peter B-PER", "Blackburn I-PER", "sleeps O"] * 20
    text, line = tmp_path / "words.txt", tmp_path / "line.conll"
    text.write_text("\n".join(words))
    with pytest.raises(
        DataError, match=r"words\.txt: the lines hold words with tags, such as 'Peter B-PER', .*\.conll"
    ):
        load_data(text)
    for count in (20, 60):
        line.write_text(" ".join(words[:count]))
        with pytest.raises(DataError, match=r"all words are on one line\. Write one word with its tag"):
            load_data(line)
    line.write_text("\n".join([" ".join(words[:60])] * 2))
    with pytest.raises(DataError, match=r"line\.conll, line 1: 120 columns\. Write one word with its tag on each line"):
        load_data(line)
    for texts in (["my blood type is O"] * 20, ["grade: B-1"] * 20, ["group O", "we took B-12", *"abcdefghi"]):
        text.write_text("\n".join(texts))
        assert len(load_data(text)) == len(texts)
