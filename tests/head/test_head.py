"""The untrained head gives the score of the model; its copy is independent of the model and has plain weights."""

import copy
import functools
import math
import types

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn
from transformers import ElectraConfig, RobertaConfig
from transformers.models.electra.modeling_electra import ElectraClassificationHead
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

from aligned_entropy import AlignedEntropyHead, NotFittedError, UnsupportedModelError
from aligned_entropy.errors import ArgumentError
from aligned_entropy.head.modules import module_shape, plain_copy

WIDTH, CLASSES = 12, 5
SHAPE = {"hidden_size": WIDTH, "num_attention_heads": 2, "num_labels": CLASSES}


def linear():
    return nn.Linear(WIDTH, CLASSES)


def roberta():
    return RobertaClassificationHead(RobertaConfig(**SHAPE, classifier_dropout=0.5))


def electra():
    return ElectraClassificationHead(ElectraConfig(**SHAPE, classifier_dropout=0.5))


def distilbert():
    return nn.Sequential(nn.Linear(WIDTH, 9), nn.ReLU(), nn.Linear(9, CLASSES))


MODULES = {"linear": linear, "roberta": roberta, "electra": electra, "distilbert": distilbert}


@pytest.fixture(params=list(MODULES))
def classifier(request):
    torch.manual_seed(0)
    module = MODULES[request.param]()
    with torch.no_grad():
        for weights in module.parameters():
            weights.normal_(0, 0.7)
    return module


@pytest.fixture
def hidden():
    return torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1)) * 2


def exact_logits(module, hidden):
    """Logits of a module in double precision; vectors become sequences of one where the module takes sequences."""
    module = copy.deepcopy(module).double().eval()
    sequence = isinstance(module, (RobertaClassificationHead, ElectraClassificationHead))
    with torch.no_grad():
        return module(hidden.double().unsqueeze(1) if sequence else hidden.double())


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_untrained_it_is_the_score_of_the_model(classifier, hidden):
    p = exact_logits(classifier, hidden).softmax(-1)
    top = p.topk(2, -1).values
    expected = {
        "entropy": torch.special.entr(p).sum(-1) / math.log(CLASSES),
        "smoothmax": (1 - torch.logsumexp(100 * p, -1) / 100) / (1 - 1 / CLASSES),
        "margin": 1 - top[:, 0] + top[:, 1],
    }
    for base, score in expected.items():
        head = AlignedEntropyHead(classifier, base)
        uncertainty = head(hidden)
        assert uncertainty.dtype == torch.float32
        assert uncertainty.shape == (50,)
        assert ((uncertainty >= 0) & (uncertainty <= 1)).all()
        torch.testing.assert_close(uncertainty.double(), score, atol=1e-6, rtol=0)


def test_logits_change_nothing_before_a_fit(classifier, hidden):
    head = AlignedEntropyHead(classifier)
    assert torch.equal(head(hidden), head(hidden, torch.zeros(50, CLASSES)))


def test_shape_of_the_module(classifier):
    sequence = isinstance(classifier, (RobertaClassificationHead, ElectraClassificationHead))
    assert module_shape(classifier) == (WIDTH, CLASSES, sequence)


def test_the_copy_is_in_evaluation_without_gradient_and_leaves_the_original_as_it_was(classifier, hidden):
    classifier.train()
    head = AlignedEntropyHead(classifier)
    assert torch.equal(head(hidden), head(hidden))  # no dropout
    assert not any(weights.requires_grad for weights in head.parameters())
    assert classifier.training
    assert all(weights.requires_grad for weights in classifier.parameters())


def test_training_the_copy_never_changes_the_original(classifier, hidden):
    before = weights_of(classifier)
    head = AlignedEntropyHead(classifier)
    head.classifier.requires_grad_(True)
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    head.log_uncertainty(hidden).sum().backward()
    optimizer.step()
    assert not equal(before, weights_of(head.classifier))
    assert equal(before, weights_of(classifier))
    assert all(weights.grad is None for weights in classifier.parameters())


def test_changing_the_original_never_changes_the_copy(classifier, hidden):
    head = AlignedEntropyHead(classifier)
    before = head(hidden)
    with torch.no_grad():
        for weights in classifier.parameters():
            weights.zero_()
    assert torch.equal(head(hidden), before)


class Uncopyable:
    """Stand-in for a model that a hook refers to."""

    def __deepcopy__(self, memo):
        raise AssertionError("an object of the hook was copied")


def test_the_copy_has_no_hooks(classifier, hidden):
    called, model = [], Uncopyable()
    expected = AlignedEntropyHead(classifier)(hidden)

    def hook(model, *args):
        called.append(model)

    for part in classifier.modules():
        part.register_forward_hook(functools.partial(hook, model))
        part.register_forward_pre_hook(functools.partial(hook, model))
        part.register_full_backward_hook(functools.partial(hook, model))
        part.register_state_dict_post_hook(functools.partial(hook, model))
    head = AlignedEntropyHead(classifier)
    assert torch.equal(head(hidden), expected)
    head.state_dict()
    assert not called
    hooks = [
        hook
        for part in head.modules()
        for name, value in vars(part).items()
        if name.endswith("_hooks") and isinstance(value, dict)
        for hook in value
    ]
    assert hooks == []
    assert all(part._forward_hooks for part in classifier.modules())  # the original keeps its hooks


def test_hooks_of_accelerate_are_not_copied(classifier, hidden):
    expected = AlignedEntropyHead(classifier)(hidden)
    for part in classifier.modules():
        hook = AlignDevicesHook(io_same_device=True)
        hook.weights_map = Uncopyable()
        add_hook_to_module(part, hook)
    head = AlignedEntropyHead(classifier)
    for part in head.modules():
        assert not {"forward", "_old_forward", "_hf_hook"} & vars(part).keys()
    assert torch.equal(head(hidden), expected)
    assert all(hasattr(part, "_hf_hook") for part in classifier.modules())


def test_a_forward_patched_on_the_instance_is_not_copied(hidden):
    class Owner(Uncopyable):
        def forward(self, hidden):
            raise AssertionError("the patched forward was called")

    classifier = linear()
    expected = AlignedEntropyHead(classifier)(hidden)
    classifier.forward = types.MethodType(Owner.forward, Owner())
    assert torch.equal(AlignedEntropyHead(classifier)(hidden), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_modules_are_copied_to_single(classifier, hidden, dtype):
    classifier.to(dtype)
    head = AlignedEntropyHead(classifier)
    assert {weights.dtype for weights in head.parameters()} == {torch.float32}
    assert {weights.dtype for weights in classifier.parameters()} == {dtype}
    p = exact_logits(classifier, hidden.to(dtype)).softmax(-1)
    expected = torch.special.entr(p).sum(-1) / math.log(CLASSES)
    torch.testing.assert_close(head(hidden.to(dtype)).double(), expected, atol=1e-6, rtol=0)


def test_double_precision_modules_are_copied_to_single(hidden):
    classifier = linear()
    assert torch.equal(
        AlignedEntropyHead(copy.deepcopy(classifier).double())(hidden), AlignedEntropyHead(classifier)(hidden)
    )


def test_a_copy_of_a_copy_is_the_same(classifier):
    once = plain_copy(classifier)
    assert equal(weights_of(once), weights_of(plain_copy(once)))


def test_no_rows():
    head = AlignedEntropyHead(linear())
    assert head(torch.zeros(0, WIDTH)).shape == (0,)


def test_extreme_vectors_stay_in_range(classifier, hidden):
    head = AlignedEntropyHead(classifier)
    for scale in (0.0, 1e3, 1e6):
        uncertainty = head(hidden * scale)
        assert uncertainty.isfinite().all()
        assert ((uncertainty >= 0) & (uncertainty <= 1)).all()


class ManyTokens(nn.Module):
    """Gives logits of every token for inputs of any shape."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, WIDTH))

    def forward(self, hidden):
        return hidden.reshape(-1, 1, WIDTH) @ self.weight.T


@pytest.mark.parametrize("module", [nn.ReLU(), nn.LayerNorm(WIDTH)])
def test_a_module_without_a_matrix_is_refused(module):
    with pytest.raises(UnsupportedModelError, match=f"{type(module).__name__} has no weight matrix"):
        AlignedEntropyHead(module)


def test_a_module_that_gives_no_row_of_logits_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"ManyTokens gives logits \[N, C\] neither for \[N, 12\]"):
        AlignedEntropyHead(ManyTokens())


def test_a_module_that_raises_is_quoted():
    with pytest.raises(UnsupportedModelError, match=r"MultiheadAttention.*missing 2 required"):
        AlignedEntropyHead(nn.MultiheadAttention(WIDTH, 2))


@pytest.mark.parametrize("shape", [(4, WIDTH + 1), (4, 1, WIDTH), (WIDTH,)])
def test_hidden_vectors_of_the_wrong_shape(classifier, shape):
    with pytest.raises(ArgumentError, match=r"hidden must be \[N, 12\], not"):
        AlignedEntropyHead(classifier)(torch.zeros(shape))


def test_an_unknown_base_names_the_available_ones():
    with pytest.raises(ArgumentError, match="'energy': choose one of entropy, smoothmax, margin"):
        AlignedEntropyHead(linear(), base="energy")


def test_no_error_probability_before_a_fit(hidden):
    with pytest.raises(NotFittedError, match="fit it on labeled texts"):
        AlignedEntropyHead(linear()).error_probability(hidden, torch.zeros(50, CLASSES))


@pytest.mark.parametrize("norm", ["spectral_norm", "weight_norm", "orthogonal"])
def test_a_copy_has_plain_weights_where_the_module_computes_them(norm):
    """Training a computed weight would have no effect."""
    torch.manual_seed(0)
    module = getattr(nn.utils.parametrizations, norm)(nn.Linear(8, 3)).eval()
    hidden, state = torch.randn(5, 8), copy.deepcopy(module.state_dict())
    expected = module(hidden)
    plain = plain_copy(module)
    assert type(plain) is nn.Linear
    torch.testing.assert_close(plain(hidden), expected)
    plain.weight.zero_()
    torch.testing.assert_close(plain(hidden), plain.bias.expand(5, 3))
    torch.testing.assert_close(module(hidden), expected)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert module_shape(plain) == (8, 3, False)
