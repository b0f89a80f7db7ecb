"""Search for the classification module of a model, whose input is the hidden vector and whose output are the logits."""

from __future__ import annotations

from torch import nn

from ..errors import UnsupportedModelError
from .wrappers import base_model

# Names of the last module before the logits, in the order of the search. Some models have several modules between the
# encoder and the logits (DistilBERT, DeBERTa, ModernBERT, BERT's pooler). Only the last one is taken: other work
# computes its scores on the input of that module, and its output is the logits.
MODULE_NAMES = ("classifier", "score", "logits_proj")
MULTI_LABEL = "multi_label_classification"  # problem_type of multi-label models
SUPPORTED = (
    "BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT, ALBERT, DeBERTa-v2/3, MPNet, ModernBERT (`classifier`); "
    "LLaMA, Mistral, Qwen2, Qwen3, Gemma, GPT-2 … (`score`); XLNet (`logits_proj`)"
)


def find_classification_module(
    model: nn.Module, name: str | None = None, *, multi_label: bool = False
) -> tuple[str, nn.Module]:
    """Find the module that maps the hidden vector to the logits; return its name and the module.

    Under PEFT the module may be a wrapper; :func:`aligned_entropy.head.modules.plain_copy` copies its active module.

    Args:
        model: transformers model, or a PEFT model around one.
        name: dotted path of the module inside the transformers model; searched under the usual names by default.
        multi_label: True if the model must be a multi-label classifier, False if it must predict one label a text.

    Raises:
        UnsupportedModelError: there is no such module, or the model is a classifier of another kind.
    """
    inner = base_model(model)
    kind = type(inner).__name__
    problem, classes = getattr(inner.config, "problem_type", None), getattr(inner.config, "num_labels", 0)
    required = "multi-label classifier" if multi_label else "classifier of one label a text with at least two classes"
    if classes == 1 and not multi_label:
        raise UnsupportedModelError(
            f"{kind} has one logit, so it is a regression model, a reranker or a binary classifier with a sigmoid. If "
            "its logit is above 0 for yes, pass task='multi-label-classification' (in the shell --task) to predict the "
            "yes or no of its one label. A number has no classes, so a regression model is not supported: train a "
            "classifier with at least two labels, for example with `alien train`."
        )
    if problem == "regression" or (problem == MULTI_LABEL) != multi_label or classes < 2 - multi_label:
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
