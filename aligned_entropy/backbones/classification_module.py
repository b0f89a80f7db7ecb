"""Search for the classification module of a model, whose input is the hidden vector and whose output are the logits."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UnsupportedModelError
from ..head.last_layer import last_linear
from ..head.modules import module_shape
from .wrappers import base_model

# Names of the last module before the logits, in the order of the search. Some models have several modules between the
# encoder and the logits (DistilBERT, DeBERTa, ModernBERT, BERT's pooler). Only the last one is taken: other work
# computes its scores on the input of that module, and its output is the logits.
MODULE_NAMES = ("classifier", "score", "logits_proj")
MULTI_LABEL, REGRESSION = "multi_label_classification", "regression"  # values of problem_type
SUPPORTED = (
    "BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT, ALBERT, DeBERTa-v2/3, MPNet, ModernBERT (`classifier`); "
    "LLaMA, Mistral, Qwen2, Qwen3, Gemma, GPT-2 … (`score`); XLNet (`logits_proj`)"
)


def find_classification_module(
    model: nn.Module, name: str | None = None, *, multi_label: bool = False, every_token: bool = False
) -> tuple[str, nn.Module]:
    """Find the module that maps the hidden vector to the logits; return its name and the module.

    Under PEFT the module may be a wrapper; :func:`aligned_entropy.head.modules.plain_copy` copies its active module.

    Args:
        model: transformers model, or a PEFT model around one.
        name: dotted path of the module inside the transformers model; searched under the usual names by default.
        multi_label: True if the model must be a multi-label classifier, False if it must predict one label a text.
        every_token: True if the model must predict one label a token. A text classifier may have one logit, the
            log-odds of the second of two classes.

    Raises:
        UnsupportedModelError: there is no such module, or the model is a classifier of another kind.
    """
    inner = base_model(model)
    kind = type(inner).__name__
    problem, classes = getattr(inner.config, "problem_type", None), getattr(inner.config, "num_labels", 0)
    required = "multi-label classifier" if multi_label else "classifier of one label a text or token"
    if classes == 1 and problem == REGRESSION and not every_token:
        raise _no_classes(kind)
    if problem == REGRESSION or (problem == MULTI_LABEL) != multi_label or classes < 1 + every_token:
        raise UnsupportedModelError(
            f"{kind} is configured for problem_type={problem!r} with {classes} label(s), but a {required} is needed "
            "here: UncertainClassifier.from_pretrained(…, task=…) takes either kind."
        )
    for candidate in [name] if name else MODULE_NAMES:
        try:
            return candidate, inner.get_submodule(candidate)
        except AttributeError:
            continue
    missing = f"no module named {name!r}" if name else f"none of the modules {', '.join(MODULE_NAMES)}"
    children = ", ".join(child for child, _ in inner.named_children())
    raise UnsupportedModelError(
        f"{kind} has {missing}; its top modules are {children}. Supported without this argument: {SUPPORTED}. For any "
        "other model pass classification_module='path.to.module', the module whose output is the logits."
    )


def check_activation(model: nn.Module) -> None:
    """Check that a cross-encoder of sentence-transformers with one logit makes a probability of it.

    Its configuration states the activation: a sigmoid, or the identity for scores that may be anything. What
    ``problem_type`` says is checked in :func:`find_classification_module`.

    Raises:
        UnsupportedModelError: the activation is no sigmoid.
    """
    config = base_model(model).config
    settings = getattr(config, "sentence_transformers", None) or {}
    activation = settings.get("activation_fn") or getattr(config, "sbert_ce_default_activation_function", None)
    if config.num_labels == 1 and activation is not None and not str(activation).endswith("Sigmoid"):
        raise _no_classes(type(base_model(model)).__name__)


def _no_classes(kind: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{kind} has one logit and is configured as a regression model, whose numbers have no classes. If its logit is "
        "the log-odds of yes, pass task='text-classification' (in the shell --task). Otherwise train a classifier with "
        "at least two labels, for example with `alien train`."
    )


def class_logits(logits: Tensor) -> Tensor:
    """Logits ``[…, C]`` of the classes: (0, z) for the one logit z of a model, otherwise the logits themselves."""
    return F.pad(logits, (1, 0)) if logits.shape[-1] == 1 else logits


def with_two_logits(module: nn.Module) -> nn.Module:
    """Give a classification module of one logit z the logits (0, z), by a row of zeros in its last layer.

    Args:
        module: plain copy of a classification module; it is changed in place if the last layer is a part of it.

    Raises:
        UnsupportedModelError: no linear layer of the module gives its logit.
    """
    width, _, is_sequence = module_shape(module)
    weight = next(module.parameters())
    layer_and_input = last_linear(module, weight.new_zeros((1, 1, width) if is_sequence else (1, width)))
    if layer_and_input is None:
        raise UnsupportedModelError(
            f"no linear layer of {type(module).__name__} gives its one logit: pass classification_module="
            "'path.to.module', the module whose output is the logit."
        )
    last, _ = layer_and_input
    layer = nn.Linear(last.in_features, 2, bias=last.bias is not None, device=weight.device)
    layer.weight = nn.Parameter(F.pad(last.weight, (0, 0, 1, 0)), requires_grad=False)
    if last.bias is not None:
        layer.bias = nn.Parameter(F.pad(last.bias, (1, 0)), requires_grad=False)
    if last is module:
        return layer
    parts = ((part, *child) for part in module.modules() for child in part.named_children())
    parent, name = next((part, name) for part, name, child in parts if child is last)
    setattr(parent, name, layer)
    return module
