"""On a device of its own a model is fitted, asked, saved and loaded as on the CPU, and says the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aligned_entropy import FitConfig, UncertainClassifier, fit_head
from aligned_entropy.backbones.layers import LayerCapture
from aligned_entropy.head.fit_multilabel import fit_multilabel
from aligned_entropy.head.published import Schedule
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.scores import SCORES
from fixtures import scenarios, sentiment, tiny
from fixtures.cases import always
from fixtures.multilabel_models import texts as multi_label_texts
from fixtures.other_device import elsewhere
from fixtures.sentiment import named
from fixtures.token_models import contextual_sentences

pytestmark = pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")  # here it is none
CLOSE = {"rtol": 0, "atol": 1e-5}
QUICK = FitConfig(folds=3, betas=(300.0,))
PUBLISHED = FitConfig.paper(alphas=(0.1,), betas=(0.1,), schedule=Schedule(learning_rates=(1e-3,), epochs=2))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


def on_both(work):
    """What it gives for the CPU, and for elsewhere."""
    here = work("cpu")
    with elsewhere() as device:
        return here, work(str(device))


def test_a_tensor_elsewhere_is_not_mixed_with_one_here():
    with elsewhere() as device:
        there = torch.ones(2, 3).to(device)
        assert there.device == (there @ torch.ones(3, 1, device=device)).device == device
        assert (2 * there).sum().item() == 12
        assert torch.equal((there + 1).cpu(), torch.full((2, 3), 2.0))
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.nn.Linear(3, 1)(there)


@pytest.mark.parametrize("config", always(QUICK, of=[QUICK, PUBLISHED]), ids=["default", "published"])
def test_a_classifier(folder, tmp_path, config):
    def work(device):
        own = UncertainClassifier.from_pretrained(folder, device=device)
        before = own.predict(named(20, 9)["text"]).uncertainty
        reference = named(300, 4) if config is QUICK else None
        own.fit(named(400, 2), reference=reference, config=config)
        own.save_pretrained(tmp_path / device)
        again = UncertainClassifier.from_pretrained(folder, head=tmp_path / device, device=device)
        assert again.head.device == own.head.device == own.backbone.device == torch.device(device)
        said = again.predict(named(60, 3)["text"])
        scores = again.evaluate(named(300, 5), resamples=10).scores
        return before, said.uncertainty, said.error_probability, *scores.values()

    here, there = on_both(work)
    assert len(here) > 5
    for ours, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(theirs, ours, **CLOSE)


@pytest.mark.parametrize("views", always(True, of=[False, True]))
def test_words(token_model_folder, views):
    config = replace(QUICK, views=views, gain_prior=GainPrior(0.5, 0.5))

    def work(device):
        own = UncertainClassifier.from_pretrained(token_model_folder, device=device)
        own.fit(contextual_sentences(own, 1), config=config)
        assert bool(own.head.views) == views
        return [entity.uncertainty for found in own.predict(tiny.TEXTS) for entity in found.entities]

    here, there = on_both(work)
    assert here
    np.testing.assert_allclose(there, here, **CLOSE)


@pytest.mark.parametrize("every_token", [False, True])
def test_layers_on_several_devices(every_token):
    """A model that is spread over devices has the token ids on the first and the last layer on another."""
    model = tiny.token_classifier("Bert") if every_token else tiny.model("Bert")
    ids, states = torch.arange(8).view(2, 4), torch.randn(2, 4, 16)
    layers = LayerCapture(model, every_token=every_token)

    def taken(*outputs):
        layers.begin(ids, None)
        for output in outputs:
            layers._after_layer(model, (), output)
        return layers.end()["layers"]

    here = taken(states, 2 * states)
    with elsewhere() as device:
        there = taken(states, (2 * states).to(device))
    assert there.device == device
    torch.testing.assert_close(there.held, here)


def test_many_labels(multilabel_model_folder):
    def work(device):
        own = UncertainClassifier.from_pretrained(multilabel_model_folder, device=device)
        own.fit(multi_label_texts(300, 1))
        return own.predict(tiny.TEXTS).uncertainty

    here, there = on_both(work)
    np.testing.assert_allclose(there, here, **CLOSE)


def test_heads_come_back_to_the_device_of_the_module():
    one = scenarios.blind_spot(400)
    with elsewhere() as device:
        module = torch.nn.Linear(8, 2).to(device)
        module.weight.data.copy_(one.classifier.weight.data)
        head = fit_head(module, one.hidden, one.labels, config=QUICK).head
        labels = (one.logits > 0).long() ^ (torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) < 0.2).long()
        several = fit_multilabel(module, one.hidden, labels)
        assert {tensor.device for own in (head, several.head) for tensor in own.state_dict().values()} == {device}
        assert head(one.hidden.to(device), one.logits.to(device)).device == device


@pytest.mark.parametrize("name", SCORES)
def test_scores_read_what_is_stored_wherever_the_module_is(name):
    with elsewhere() as device:
        assert SCORES[name](torch.nn.Linear(8, 2).to(device)).module.weight.device.type == "cpu"


def test_an_attached_head_follows_a_model_that_is_moved(folder):
    own = UncertainClassifier.from_pretrained(folder, device="cpu")
    own.fit(named(400, 2), config=QUICK)
    own.attach()
    ids = own.backbone.tokenizer(named(6, 3)["text"], return_tensors="pt", padding=True)
    with elsewhere() as device, torch.no_grad():
        here = own.backbone.model(**ids).uncertainty
        own.backbone.model.to(device)
        there = own.backbone.model(**ids.to(device)).uncertainty
    assert there.device == device
    torch.testing.assert_close(there.held, here, **CLOSE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_says_what_the_cpu_says(folder):
    found = []
    for device in ("cpu", "cuda"):
        own = UncertainClassifier.from_pretrained(folder, device=device, dtype=torch.float32)
        own.fit(named(400, 2), reference=named(300, 4), config=QUICK)
        found.append(own.predict(named(60, 3)["text"]).uncertainty)
    np.testing.assert_allclose(*found, rtol=0, atol=1e-3)
