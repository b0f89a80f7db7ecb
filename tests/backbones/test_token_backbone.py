"""Token classifiers: a hidden vector and logits of every word, with any tokenizer and length."""

import numpy as np
import pytest
import torch

from aligned_entropy import AlignedEntropyHead, NotApplicableError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, TokenBackbone
from aligned_entropy.backbones.extras import dropout_passes, token_states
from aligned_entropy.data import LabeledTokens, Words
from aligned_entropy.features.arrays import Features
from aligned_entropy.finetune import TrainConfig, train_classifier
from aligned_entropy.tasks import task_of_model
from fixtures import tiny

KINDS = [
    "Bert", "Roberta", "XLMRoberta", "Electra", "DistilBert", "DebertaV2", "ModernBert", "Albert", "MPNet", "Llama",
    "Mistral", "Qwen2", "Qwen3", "Gemma", "GPT2",
]  # fmt: skip
SENTENCES = [text.split() for text in tiny.TEXTS] + [[]]


def token_backbone(kind="Bert", **options):
    tokenizer = tiny.tokenizer("decoder" if kind in tiny.DECODERS else "encoder")
    return TokenBackbone(tiny.token_classifier(kind), tokenizer, **options)


def by_bytes(max_length=16, **options):
    model = tiny.token_classifier("Bert", vocab_size=300)
    return TokenBackbone(model, tiny.byte_tokenizer(**options), max_length=max_length)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_has_the_logits_of_its_first_token_and_the_untrained_head_their_entropy(kind):
    backbone = token_backbone(kind)
    words = Words(SENTENCES)
    features = backbone.features(words)
    start = 0 if kind in tiny.DECODERS else 1  # after [CLS]
    for sentence, first in zip(SENTENCES, words.starts, strict=False):
        if not sentence:
            continue
        with torch.no_grad():
            batch = backbone.tokenizer([sentence], is_split_into_words=True, return_tensors="pt")
            expected = backbone.model(**batch).logits[0, start : start + len(sentence)]
        rows = slice(first, first + len(sentence))
        np.testing.assert_allclose(features.logits[rows], expected.numpy(), atol=1e-4)
        head = AlignedEntropyHead(backbone.copy_classification_module())
        entropy = torch.distributions.Categorical(logits=expected).entropy() / np.log(3)
        uncertainty = head(torch.tensor(features.hidden[rows]))
        torch.testing.assert_close(uncertainty, entropy, atol=1e-5, rtol=0)
    assert features.clusters.tolist() == [row for row, words in enumerate(SENTENCES) for _ in words]
    assert len(features) == sum(map(len, SENTENCES))


@pytest.mark.parametrize("kind", ["Bert", "Llama"])
def test_words_of_a_chunk_have_the_same_features(kind, monkeypatch):
    words = Words(SENTENCES)
    complete = token_backbone(kind).extract(words)
    parts = [token_backbone(kind).extract(words[start : start + 5]) for start in range(0, len(words), 5)]
    for values, part_values in zip(complete, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(values, np.concatenate(part_values), atol=1e-4)


def test_features_are_stored_separately_for_the_same_words_in_other_sentences():
    backbone = token_backbone()
    words, divided = Words([["the", "film"], ["good"]]), Words([["the"], ["film", "good"]])
    first = backbone.features(words)
    np.testing.assert_array_equal(backbone.features(words).hidden, first.hidden)
    assert np.abs(backbone.features(divided).hidden - first.hidden).max() > 1e-3


@pytest.mark.parametrize("kind", ["Bert", "GPT2", "DebertaV2", "Llama"])
def test_padding_on_the_left_moves_no_word(kind):
    frame = "decoder" if kind in tiny.DECODERS else "encoder"
    backbone = TokenBackbone(tiny.token_classifier(kind), tiny.tokenizer(frame, padding_side="left"))
    alone = np.concatenate([backbone.extract(Words([words]))[1] for words in SENTENCES if words])
    np.testing.assert_allclose(backbone.extract(Words(SENTENCES))[1], alone, atol=1e-4)


def test_a_length_without_room_for_a_word_is_refused():
    with pytest.raises(UnsupportedModelError, match="max_length=2 leaves no room for a word"):
        token_backbone(max_length=2)


def test_a_long_sentence_loses_no_word_and_is_read_with_context():
    """Every window equals a separate call of the model, and a word is taken from the window with the most context."""
    words = [tiny.WORDS[i % len(tiny.WORDS)] for i in range(100)]
    backbone = token_backbone("Bert", max_length=12)  # ten words a window, two of them shared with the next
    _, logits = backbone.extract(Words([words]))
    assert np.isfinite(logits).all()
    with torch.no_grad():
        for row in (0, 4, 8, 9, 10, 50, 99):
            window = (
                0 if row < 9 else min((row - 1) // 8, 12)
            )  # the first half of an overlap belongs to the window before
            start = window * 8
            batch = backbone.tokenizer([words[start : start + 10]], is_split_into_words=True, return_tensors="pt")
            expected = backbone.model(**batch).logits[0, 1 + row - start].numpy()
            np.testing.assert_allclose(logits[row], expected, atol=1e-4)


def test_a_word_is_represented_by_its_first_sub_word_even_if_windows_cut_it():
    backbone = by_bytes(max_length=16)
    sentence = ["ab", "c" * 20_000, "de"]
    hidden, logits = backbone.extract(Words([sentence, ["f"]]))
    assert hidden.shape == (4, 16)
    assert np.isfinite(logits).all()
    with torch.no_grad():
        batch = backbone.tokenizer("ab" + " " + "c" * 11, return_tensors="pt")  # the first window: [CLS] a b Ġ c …
        expected = backbone.model(**batch).logits[0]
    np.testing.assert_allclose(logits[0], expected[1].numpy(), atol=1e-4)
    np.testing.assert_allclose(logits[1], expected[3].numpy(), atol=1e-4)


def test_byte_level_words_are_read_with_the_space_before_them():
    backbone = by_bytes(max_length=32)
    _, logits = backbone.extract(Words([["ab", "cd", "ef"]]))
    with torch.no_grad():
        expected = backbone.model(**backbone.tokenizer("ab cd ef", return_tensors="pt")).logits[0, [1, 3, 6]]
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


def test_a_word_without_tokens_is_read_as_unknown():
    backbone = by_bytes(max_length=32)
    _, logits = backbone.extract(Words([["a", "", "b"]]))
    assert np.isfinite(logits).all()
    with torch.no_grad():
        ids = torch.tensor([[tiny.CLS, backbone.tokenizer.convert_tokens_to_ids("a"), tiny.UNK]])
        end = backbone.tokenizer(" b", return_tensors="pt")["input_ids"][:, 1:]
        expected = backbone.model(input_ids=torch.cat([ids, end], 1)).logits[0, [1, 2, 3]]
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


def test_truncation_from_the_left_changes_nothing():
    words = Words([[tiny.WORDS[i % 20] for i in range(50)]])
    plain = token_backbone(max_length=12).extract(words)
    left = TokenBackbone(tiny.token_classifier("Bert"), tiny.tokenizer(truncation_side="left"), max_length=12).extract(
        words
    )
    np.testing.assert_array_equal(plain[1], left[1])


def test_dropout_passes_are_per_word_and_there_are_no_states_to_attend_to():
    backbone, words = token_backbone(), Words(SENTENCES)
    passes = dropout_passes(backbone, words, count=3)
    assert passes.shape == (len(words), 3, 3)
    assert np.ptp(passes, axis=1).max() > 0
    with pytest.raises(NotApplicableError, match="one hidden state a word"):
        token_states(backbone, words)


def test_plain_texts_and_slow_tokenizers_are_refused():
    with pytest.raises(TypeError, match="takes Words, not a list"):
        token_backbone().features(["a text"])

    class Slow:
        is_fast = False
        pad_token, pad_token_id, model_max_length = "[PAD]", tiny.PAD, 32

    with pytest.raises(UnsupportedModelError, match="a fast one is needed"):
        TokenBackbone(tiny.token_classifier("Bert"), Slow())


def test_a_sequence_classifier_is_no_token_classifier(tmp_path):
    tiny.model("Bert").save_pretrained(tmp_path / "texts")
    tiny.tokenizer().save_pretrained(tmp_path / "texts")
    tiny.token_classifier("Bert").save_pretrained(tmp_path / "words")
    tiny.tokenizer().save_pretrained(tmp_path / "words")
    with pytest.raises(UnsupportedModelError, match="classifies whole texts"):
        TokenBackbone.from_pretrained(tmp_path / "texts")
    with pytest.raises(UnsupportedModelError, match="classifies the words"):
        Backbone.from_pretrained(tmp_path / "words")
    assert TokenBackbone.from_pretrained(tmp_path / "words").label_names == ["O", "B-X", "I-X"]


LABELED = LabeledTokens(
    [text.split() for text in tiny.TEXTS],
    np.array([len(word) % 3 for text in tiny.TEXTS for word in text.split()]),
    ["O", "B-X", "I-X"],
)


@pytest.mark.filterwarnings("ignore:in the last epoch the classifier never predicted:UserWarning")  # rare tags
@pytest.mark.parametrize(
    ("kind", "mode"), [("Bert", "full"), ("Roberta", "lora"), ("Qwen3", "lora"), ("Llama", "full")]
)
def test_a_token_classifier_is_trained_saved_and_loaded_with_its_adapters(kind, mode, tmp_path):
    """Train on labels that are a function of the word, which can be learned completely."""
    torch.manual_seed(0)
    tiny.model(kind).base_model.save_pretrained(tmp_path / "base")
    tiny.tokenizer("decoder" if kind in tiny.DECODERS else "encoder").save_pretrained(tmp_path / "base")
    config = TrainConfig(mode, epochs=40, learning_rate=1e-2, batch_size=4, max_length=8)
    train_classifier(tmp_path / "base", LABELED, tmp_path / "token-classifier", config)
    assert (tmp_path / "token-classifier" / "adapter_config.json").exists() == (mode == "lora")
    assert task_of_model(tmp_path / "token-classifier").name == "token-classification"
    classifier = UncertainClassifier.from_pretrained(tmp_path / "token-classifier")
    assert classifier.task.name == "token-classification"
    assert classifier.backbone.max_length == 8  # some of the sentences are longer
    features = classifier.features(LABELED)
    assert features.errors.mean() < 0.35
    entropy = torch.distributions.Categorical(logits=torch.tensor(features.logits)).entropy() / np.log(3)
    torch.testing.assert_close(classifier.head(torch.tensor(features.hidden)), entropy, atol=1e-5, rtol=0)


def test_a_frozen_encoder_of_words_is_refused(tmp_path):
    with pytest.raises(UnsupportedModelError, match="mode 'full' or 'lora': leave out --freeze"):
        train_classifier(tmp_path, LABELED, tmp_path / "out", TrainConfig("freeze"))


def test_words_are_one_sequence_that_stores_its_sentences():
    words = Words([["a", "b"], [], ["c", "d", "e"]])
    assert list(words) == list("abcde")
    assert [words[i] for i in range(5)] == list("abcde")
    assert words.clusters.tolist() == [0, 0, 2, 2, 2]
    part = words[1:4]
    assert (len(part), list(part), part[2]) == (3, list("bcd"), "d")
    assert part.clusters.tolist() == [0, 2, 2]
    assert list(part.whole_sentences()) == [(-1, ["a", "b"]), (1, ["c", "d", "e"])]
    assert list(part[1:2]) == ["c"]
    assert list(words[5:].whole_sentences()) == []
    with pytest.raises(IndexError):
        words[5]
    with pytest.raises(ValueError, match="cannot have a step of 2"):
        words[::2]


def test_clusters_follow_the_rows():
    features = Features(np.zeros((3, 2)), np.zeros((3, 2)), clusters=np.array([0, 0, 1]))
    assert features[1:].clusters.tolist() == [0, 1]
