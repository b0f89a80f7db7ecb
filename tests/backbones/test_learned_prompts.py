"""PEFT's learned prompts: virtual tokens before a text, which models, batches and caches must account for."""

import numpy as np
import pytest
import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

from aligned_entropy import FitConfig, HeadMismatchError, UncertainClassifier
from aligned_entropy.backbones import Backbone, LabelWordBackbone, TokenBackbone
from aligned_entropy.data import Words
from fixtures import tiny

TOKENS = {"num_virtual_tokens": 3}


def test_words_are_read_behind_a_learned_prompt():
    model = get_peft_model(tiny.token_classifier("Bert"), PromptTuningConfig(task_type="TOKEN_CLS", **TOKENS)).eval()
    tokenizer, text = tiny.tokenizer(), ["the", "film", "is", "good"]
    with torch.no_grad():
        expected = model(**tokenizer([text], is_split_into_words=True, return_tensors="pt")).logits[0]
    assert len(expected) == 3 + 6
    _, logits = TokenBackbone(model, tokenizer).extract(Words([text]))
    np.testing.assert_allclose(logits, expected[4:8].numpy(), atol=1e-5)


@pytest.mark.parametrize("config", [PromptTuningConfig, PromptEncoderConfig, PrefixTuningConfig])
def test_a_decoder_with_a_learned_prompt_gives_the_same_features_in_any_batch(config):
    model = get_peft_model(tiny.model("Llama"), config(task_type="SEQ_CLS", **TOKENS)).eval()
    backbone = Backbone(model, tiny.tokenizer("decoder"))
    alone = [backbone.extract([text]) for text in tiny.TEXTS]
    for together, single in zip(backbone.extract(tiny.TEXTS), zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(together, np.concatenate(single), atol=1e-5)


def test_a_head_belongs_to_the_active_learned_prompt():
    """A learned prompt belongs to no module, and the language model under it stays the same."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", **TOKENS)
    model = get_peft_model(tiny.language_model("Llama"), config).eval()
    model.add_adapter("other", config)
    options = {"labels": {"negative": "bad", "positive": "good"}, "template": "review: {text} sentiment:"}
    classifier = UncertainClassifier(LabelWordBackbone(model, tiny.subwords(), **options))
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, 5)) for _ in range(60)]
    labels = [str(label) for label in rng.choice(list(options["labels"]), 60)]
    classifier.fit({"text": texts, "label": labels}, config=FitConfig(folds=3, betas=()))
    before, fingerprint = classifier.backbone.features(texts).logits, classifier.backbone.model_fingerprint
    with model.disable_adapter():
        assert classifier.backbone.model_fingerprint != fingerprint
        with pytest.raises(
            HeadMismatchError, match="made for another classification module 'lm_head' or other adapters"
        ):
            classifier.predict(texts[:2])
    assert classifier.backbone.model_fingerprint == fingerprint
    assert len(classifier.predict(texts[:2])) == 2
    model.set_adapter("other")
    assert np.abs(classifier.backbone.features(texts).logits - before).max() > 1e-3, "features are computed again"
    with pytest.raises(HeadMismatchError, match="made for another classification module 'lm_head' or other adapters"):
        classifier.predict(texts[:2])
