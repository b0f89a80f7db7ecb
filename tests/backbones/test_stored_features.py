"""Features of a backbone on disk: computed once, and anew for everything that they depend on."""

import numpy as np
import pytest
import torch

from aligned_entropy.backbones import Backbone
from aligned_entropy.errors import DataError
from fixtures import tiny
from fixtures.backbones import backbone_of, entropy, padded, untrained

CLOSE = {"rtol": 0, "atol": 1e-5}


def count_forwards(backbone, monkeypatch):
    rows, forward = [], backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda **x: (rows.append(len(x["input_ids"])), forward(**x))[1])
    return rows


def test_features_are_computed_once(monkeypatch):
    backbone = backbone_of("Bert")
    rows, ready = count_forwards(backbone, monkeypatch), []
    first = backbone.features(tiny.TEXTS, ready.append)
    again = backbone.features(list(tiny.TEXTS), ready.append)
    assert sum(rows) == len(tiny.TEXTS)
    assert sum(ready) == 2 * len(tiny.TEXTS)
    assert np.array_equal(first.hidden, again.hidden)
    np.testing.assert_allclose(first.logits, backbone.extract(tiny.TEXTS)[1], **CLOSE)
    with pytest.raises(DataError, match="no texts"):
        backbone.features([])


def test_a_model_that_was_saved_and_loaded_finds_its_features(tmp_path, monkeypatch):
    backbone = backbone_of("ModernBert")
    backbone.features(tiny.TEXTS)
    backbone.model(
        **padded("ModernBert", tiny.TEXTS[:1]), labels=torch.tensor([1])
    )  # sets the problem type of its configuration
    backbone.model.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    loaded = Backbone.from_pretrained(tmp_path / "model")
    rows = count_forwards(loaded, monkeypatch)
    loaded.extract(["a tokenizer stores settings of its last call"])
    rows.clear()
    loaded.features(tiny.TEXTS)
    assert not rows


def test_the_fingerprint_covers_everything_that_features_depend_on():
    def bert(**options):
        return Backbone(tiny.model("Bert", **options), tiny.tokenizer())

    expected = bert().model_fingerprint
    assert bert().model_fingerprint == expected
    names = {0: "a", 1: "b", 2: "c"}
    assert bert(id2label=names, label2id={name: i for i, name in names.items()}).model_fingerprint == expected
    changed = {
        "weights": bert(seed=1),
        "precision": Backbone(tiny.model("Bert").bfloat16(), tiny.tokenizer()),
        "configuration": bert(hidden_act="relu"),
        "length": Backbone(tiny.model("Bert"), tiny.tokenizer(), max_length=9),
        "tokenizer": Backbone(tiny.model("Bert"), tiny.tokenizer("eos")),
        "truncation side": Backbone(tiny.model("Bert"), tiny.tokenizer(truncation_side="left")),
    }
    fingerprints = {backbone.model_fingerprint for backbone in changed.values()}
    assert len({expected, *fingerprints}) == 1 + len(changed)
    pooling = [backbone_of("ModernBert", classifier_pooling=name).model_fingerprint for name in ("cls", "mean")]
    assert pooling[0] != pooling[1]


def test_changed_weights_have_other_features():
    backbone = backbone_of("Bert")
    before = backbone.features(tiny.TEXTS)
    for weights in backbone.model.parameters():
        weights.data.mul_(1.3)
    backbone.model.train()  # the mode after a training
    after, (hidden, logits) = backbone.features(tiny.TEXTS), backbone.extract(tiny.TEXTS)
    assert not np.allclose(after.logits, before.logits, atol=1e-2)
    np.testing.assert_array_equal(after.hidden, hidden)
    np.testing.assert_array_equal(after.logits, logits)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)
