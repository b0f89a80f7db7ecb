"""Evaluations and entities do not depend on the tag scheme of the data, nor on that of the model."""

import numpy as np
import pytest
import transformers

from aligned_entropy import FitConfig, Goal, NotApplicableError, UncertainClassifier
from aligned_entropy.backbones import TokenBackbone
from aligned_entropy.classifier import UncertainTokenClassifier
from aligned_entropy.data import labeled_tokens
from aligned_entropy.data.tags import Scheme, TagSet
from aligned_entropy.features.arrays import Features
from fixtures import tiny, token_models

SCHEMES = {"IOB2": "BI", "IOB1": "BI", "IOE1": "IE", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
COUNT, TRUE, PREDICTED = 120, 1, 2


def names_of(scheme):
    return ["O", *(f"{letter}-{kind}" for kind in ("X", "Y") for letter in SCHEMES[scheme])]


def sentences(seed, tokens):
    """Well-formed IOB2 tags of sentences, in the order of the names."""
    rng = np.random.default_rng(seed)
    iob = TagSet(names_of("IOB2"))
    rows = []
    for words in tokens:
        drawn = rng.choice(iob.names, len(words), p=[0.4, 0.2, 0.2, 0.1, 0.1]).tolist()
        starts = [0, len(words)]
        rows.append([iob.tags[parts] for parts in iob.write(iob.spans(drawn, starts), starts)])
    return rows


def rewritten(rows, scheme):
    iob, tags = TagSet(names_of("IOB2")), TagSet(names_of(scheme))
    kind = Scheme(scheme) if scheme in list(Scheme) else Scheme.IOBES
    written = []
    for row in rows:
        starts = [0, len(row)]
        written.append([tags.tags[parts] for parts in tags.write(iob.spans(row, starts), starts, kind)])
    return written


TOKENS = [list(np.random.default_rng(row).choice(tiny.WORDS, 3 + row % 7)) for row in range(COUNT)]
TOKENS = [list(map(str, words)) for words in TOKENS]


class ModelOfScheme(TokenBackbone):
    """Backbone that predicts given entities in a given scheme."""

    def predicting(self, scheme):
        rows = rewritten(sentences(PREDICTED, TOKENS), scheme)
        true = rewritten(sentences(TRUE, TOKENS), scheme)
        flat, flat_true = ([tag for row in part for tag in row] for part in (rows, true))
        names = names_of(scheme)
        rng = np.random.default_rng(0)
        starts = np.cumsum([0, *map(len, TOKENS)])
        kept = np.repeat(rng.random(COUNT) < 0.6, np.diff(starts))  # sentences that are predicted without errors
        tags = np.where(kept, flat_true, flat).tolist()
        self.logits = np.full((len(tags), len(names)), -2.0, np.float32)
        self.logits[np.arange(len(tags)), [names.index(tag) for tag in tags]] = rng.random(len(tags)) + 1
        return self

    def features(self, texts, progress=lambda done: None, *, views=False):
        hidden = np.random.default_rng(3).normal(size=(len(self.logits), 16)).astype(np.float32)
        return Features(hidden, self.logits, clusters=texts.clusters)


def classifier_of(scheme):
    names = names_of(scheme)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: k for k, name in enumerate(names)}}
    model = tiny.token_classifier("Bert", num_labels=len(names), **labels)
    return UncertainTokenClassifier(ModelOfScheme(model, tiny.tokenizer()).predicting(scheme))


def entities_and_words(classifier, scheme):
    data = {"tokens": TOKENS, "tags": rewritten(sentences(TRUE, TOKENS), scheme)}
    features = classifier.features(data)
    groups = classifier.groups(features)
    found = classifier.evaluate_features(features, resamples=5, scores=["entropy"])
    return features.errors, groups["entities"].errors, groups["sentences"].errors, found.counts


@pytest.mark.parametrize("model", SCHEMES)
def test_an_evaluation_is_the_same_for_data_of_every_scheme(model):
    classifier = classifier_of(model)
    words, entities, whole, counts = entities_and_words(classifier, model)
    assert 0 < words.mean() < 0.5
    assert 0 < entities.mean() < 0.5
    for data in SCHEMES:
        others = entities_and_words(classifier, data)
        assert others[0].tolist() == words.tolist(), data
        assert others[1].tolist() == entities.tolist(), data
        assert others[2].tolist() == whole.tolist(), data
        assert others[3] == counts, data


def test_entities_and_sentences_are_the_same_for_models_of_every_scheme():
    expected = entities_and_words(classifier_of("IOB2"), "IOB2")
    for model in SCHEMES:
        _, entities, whole, counts = entities_and_words(classifier_of(model), "IOB2")
        assert (entities.tolist(), counts) == (expected[1].tolist(), expected[3])
        assert whole.tolist() == expected[2].tolist()


@pytest.mark.parametrize("tags", [["O", "B-X", "E-X"], ["O", "U-X", "S-Y"], ["o", "X_B", "X_I"], ["O", "S-Bahn", "X"]])
def test_predicted_entities_are_read_with_all_tags_of_the_model(tags, token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.backbone.config.id2label = dict(enumerate(tags))
    (row,) = classifier.predict("the film is good one two three four")
    kinds = {"E-X": {"X"}, "S-Y": {"X", "Y"}, "X_I": {"X"}, "X": {"S-Bahn", "X"}}[tags[2]]
    assert row.entities
    assert {entity.entity_group for entity in row.entities} <= kinds


@pytest.mark.parametrize("prefix", ["LABEL_", ""])
def test_a_model_without_tag_names_has_no_entities_but_words(token_model_folder, prefix):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.backbone.config.id2label = {number: f"{prefix}{number}" for number in range(3)}
    with pytest.raises(
        NotApplicableError, match=r"no names but numbers \(LABEL_0, .* classifier\.backbone\.config\.id2label = "
    ):
        classifier.predict("the film")

    def numbered(seed):
        rows = token_models.sentences(classifier, seed)
        return rows | {"tags": [list(map(token_models.TAGS.index, tags)) for tags in rows["tags"]]}

    classifier.fit(numbered(1), config=FitConfig(folds=3, betas=(300.0,)))
    report = classifier.evaluate(numbered(2), resamples=5)
    assert set(report.groups) == {"sentences"}
    assert report.counts is None
    assert "sentences" in str(report)
    with pytest.raises(NotApplicableError, match="name the tags"):
        classifier.choose_threshold(numbered(2), Goal(coverage=0.5))
    classifier.backbone.config.id2label = {0: "O", 1: "B-X", 2: "I-X"}
    assert all(
        entity.entity_group == "X" for row in classifier.predict(["the film is good"]) for entity in row.entities
    )


def test_words_that_predict_divides_further_are_shown(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    with pytest.warns(
        UserWarning, match=r"predict\(\) divides 50% of the words of this data set, such as '中国', into"
    ):
        classifier.features({"tokens": [["中国", "x"], ["中国", "x"]], "tags": [["B-X", "O"], ["B-X", "O"]]})
    data = labeled_tokens({"tokens": [["中", "国", "x"]], "tags": [["B-X", "I-X", "O"]]}, ["O", "B-X", "I-X"])
    assert len(classifier.features(data)) == 3


def test_characters_of_a_text_without_spaces_have_entities_of_their_own(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    text = "在中国 film"
    (row,) = classifier.predict(text)
    assert [text[start:end] for start, end in row.offsets] == ["在", "中", "国", "film"]
    assert all(text[entity.start : entity.end] == entity.word for entity in row.entities)


WORDPIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *"abcdefgh在中国。,()-ü",
    *(f"##{letter}" for letter in "abcdefghü"),
    "bad",
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "text", ["a bad (gab) h, cafe", "在bad中国。 gab-", "fa\u00addeü\u3000bad\u00a0ab 国国 a\u200dc,"]
)
def test_entities_are_those_of_the_pipeline_where_it_has_the_same_words(text, seed, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDPIECES), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=64)
    model = tiny.token_classifier("Bert", seed=seed, vocab_size=len(WORDPIECES))
    pipeline = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first"
    )
    expected = pipeline(text)
    (row,) = UncertainTokenClassifier(TokenBackbone(model, tokenizer)).predict(text)
    fields = ("entity_group", "start", "end")
    assert [tuple(getattr(entity, name) for name in fields) for entity in row.entities] == [
        tuple(entity[name] for name in fields) for entity in expected
    ]
    assert [entity.score for entity in row.entities] == pytest.approx(
        [entity["score"] for entity in expected], abs=1e-5
    )
