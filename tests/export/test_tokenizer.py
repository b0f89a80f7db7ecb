"""Tokenizer of an exported folder: the code of the guide makes the token ids of the backbone in every setting."""

import json

import numpy as np
import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer, ByT5Tokenizer

from aligned_entropy import UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, TokenBackbone
from aligned_entropy.data import Words
from aligned_entropy.export import export_onnx
from aligned_entropy.export.tokenizer import ExportedTokenizer, check_tokenizer, write_tokenizer
from fixtures import tiny
from fixtures.onnx_consumer import echo_consumer

pytest.importorskip("onnxruntime", reason="needs the extra onnx")

LONG = " ".join(tiny.WORDS * 4)
TEXTS = [
    "the film is good", "", "  ", "bad 😀 film \u00ad", LONG, "The [SEP] FILM", "great<new>film",
    "a\u200bb \n é ﬁ 東京",
]  # fmt: skip
TYPES = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}


def lower_case(tokenizer):
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)


def added_tokens(tokenizer):
    tokenizer.add_tokens(["😀", "<new>"])


def changed(name, value):
    return lambda tokenizer: setattr(tokenizer, name, value)


SETTINGS = {
    "encoder": (tiny.tokenizer, {}, None),
    "end of text": (tiny.tokenizer, {"kind": "eos"}, None),
    "decoder": (tiny.tokenizer, {"kind": "decoder"}, None),
    "decoder with left padding": (tiny.tokenizer, {"kind": "decoder", "padding_side": "left"}, None),
    "decoder with lent padding": (tiny.tokenizer, {"kind": "decoder", "pad_token": None}, None),
    "byte-level": (tiny.byte_tokenizer, {}, None),
    "byte-level decoder": (tiny.subwords, {"start": True}, None),
    "token types": (tiny.tokenizer, TYPES | {"pad_token_type_id": 3}, None),
    "decoder without attention mask": (tiny.tokenizer, {"kind": "decoder", "model_input_names": ["input_ids"]}, None),
    "left truncation": (tiny.tokenizer, {"truncation_side": "left"}, None),
    "left padding": (tiny.tokenizer, {"padding_side": "left"}, None),
    "special tokens are text": (tiny.tokenizer, {"split_special_tokens": True}, None),
    "truncation changed": (tiny.tokenizer, {"kind": "eos"}, changed("truncation_side", "left")),
    "padding changed": (tiny.tokenizer, {}, changed("padding_side", "left")),
    "special tokens changed": (tiny.tokenizer, {}, changed("split_special_tokens", True)),
    "padding token changed": (tiny.tokenizer, {}, changed("pad_token", "[UNK]")),
    "length changed": (tiny.tokenizer, {}, changed("model_max_length", 9)),
    "lower case": (tiny.tokenizer, {}, lower_case),
    "added tokens": (tiny.tokenizer, {"kind": "decoder"}, added_tokens),
}


def write(backbone, folder, monkeypatch):
    """Write the files of a tokenizer without a graph; return the functions of the guide, whose outputs are inputs."""
    check_tokenizer(backbone)
    settings, names = write_tokenizer(backbone, folder), list(backbone.tokenize(["a"]))
    (folder / "config.json").write_text(json.dumps(settings | {"inputs": names, "outputs": names}))
    ExportedTokenizer(folder, settings).checked_inputs(backbone, TEXTS)  # the check of the export passes
    return echo_consumer(folder, monkeypatch)


@pytest.mark.parametrize("max_length", [None, 7])
@pytest.mark.parametrize("name", SETTINGS)
def test_token_ids_of_texts(name, max_length, tmp_path, monkeypatch):
    make, options, change = SETTINGS[name]
    kind = "Qwen3" if "decoder" in name or options.get("kind") == "decoder" else "Bert"
    backbone = Backbone(tiny.model(kind, vocab_size=1000), make(**options), max_length=max_length)
    if change is not None:  # after the classifier was made
        change(backbone.tokenizer)
    predict = write(backbone, tmp_path, monkeypatch)["predict"]
    for batch in (TEXTS, *([text] for text in TEXTS)):
        inputs, expected = predict(batch), backbone.pad(backbone.tokenize(batch))
        assert inputs.keys() == expected.keys()
        for key, values in expected.items():
            assert inputs[key].tolist() == values.tolist()


def test_transformers_read_the_same_folder(tmp_path, monkeypatch):
    tokenizer = tiny.tokenizer("eos", truncation_side="left", padding_side="left")
    backbone = Backbone(tiny.model("Bert"), tokenizer, max_length=7)
    write(backbone, tmp_path, monkeypatch)
    batch = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, truncation=True, padding=True)
    expected = backbone.pad(backbone.tokenize(TEXTS))
    assert {key: np.array(values).tolist() for key, values in batch.items()} == {
        key: values.tolist() for key, values in expected.items()
    }


@pytest.mark.parametrize("max_length", [None, 9])
@pytest.mark.parametrize(
    "name", ["encoder", "byte-level", "byte-level decoder", "decoder", "left truncation", "lower case", "token types"]
)
def test_token_ids_of_words(name, max_length, tmp_path, monkeypatch):
    make, options, change = SETTINGS[name]
    backbone = TokenBackbone(tiny.token_classifier("Bert", vocab_size=1000), make(**options), max_length=max_length)
    if change is not None:
        change(backbone.tokenizer)
    predict_words = write(backbone, tmp_path, monkeypatch)["predict_words"]
    sentences = [text.split(" ") for text in TEXTS]  # with empty words
    words = Words(sentences)
    encoded, places = backbone.windows(words)
    expected = np.full(len(words), -1)
    for ids, window in zip(encoded["input_ids"], places, strict=True):
        for row, position in window:
            expected[row] = ids[position]
    assert np.concatenate([row["input_ids"] for row in predict_words(sentences)]).tolist() == expected.tolist()


def test_a_slow_tokenizer_is_refused(tmp_path):
    classifier = UncertainClassifier(Backbone(tiny.model("Bert", vocab_size=400), ByT5Tokenizer()))
    with pytest.raises(UnsupportedModelError, match="ByT5Tokenizer cannot be exported, because it has no tokenizer"):
        export_onnx(classifier, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_a_tokenizer_that_changes_texts_in_python_is_refused(tmp_path):
    tokenizer = tiny.tokenizer()
    backbone = Backbone(tiny.model("Bert"), tokenizer)
    encode = type(tokenizer)._encode_plus
    tokenizer._encode_plus = lambda text, **options: encode(tokenizer, [f"the {row}" for row in text], **options)
    settings = write_tokenizer(backbone, tmp_path)
    with pytest.raises(UnsupportedModelError, match="makes other input_ids than the tokenizer itself"):
        ExportedTokenizer(tmp_path, settings).checked_inputs(backbone, TEXTS)


def test_an_input_of_another_kind_is_refused():
    tokenizer = tiny.tokenizer()
    backbone = Backbone(tiny.model("Bert"), tokenizer)
    encode = type(tokenizer)._encode_plus
    tokenizer._encode_plus = lambda text, **options: encode(tokenizer, text, **options) | {"boxes": [[0]]}
    with pytest.raises(UnsupportedModelError, match="makes the input 'boxes'"):
        check_tokenizer(backbone)
