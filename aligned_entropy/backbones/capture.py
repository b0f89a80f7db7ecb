"""Capture of the input of a classification module, by a hook in the model's normal forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, UnsupportedModelError
from ..head.modules import plain_copy
from ..head.views import MAX_TOKENS, PADDING
from .wrappers import Uncompiled, base_model, unwrapped, with_weights

# Names of the last module before the logits, in the order of the search. Some models have several modules between the
# encoder and the logits (DistilBERT, DeBERTa, ModernBERT, BERT's pooler). Only the last one is taken: other work
# computes its scores on the input of that module, and its output is the logits.
MODULE_NAMES = ("classifier", "score", "logits_proj")
LAYER_VALUES = 16_384  # values of all layers of a text that views read: 32 KiB in half precision
MULTI_LABEL = "multi_label_classification"  # problem_type of multi-label models
SUPPORTED = (
    "BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT, ALBERT, DeBERTa-v2/3, MPNet, ModernBERT (`classifier`); "
    "LLaMA, Mistral, Qwen2, Qwen3, Gemma, GPT-2 … (`score`); XLNet (`logits_proj`)"
)


class CapturedOutput(Protocol):
    """Output of a transformers model together with the captured hidden vectors.

    Attributes:
        hidden: hidden vectors ``[N, D]``, or ``[N, T, D]`` of a token classifier.
        logits: logits ``[N, C]``, or ``[N, T, C]`` of a token classifier.
        views: inputs of views by name, see :class:`aligned_entropy.features.arrays.Features`; empty for a token
            classifier, and where the model does not allow to read them.
    """

    hidden: Tensor
    logits: Tensor
    views: dict[str, Tensor]


class Capture(Protocol):
    """Hooks that capture the hidden vectors of a model.

    Attributes:
        name: dotted path of the module whose input is captured.
    """

    name: str

    def set_listener(self, listener: Callable[[Any], None]) -> None:
        """Call ``listener(output)`` after every forward pass that the user of the model starts."""

    def remove_listener(self) -> None:
        """Stop calling the listener."""


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


# The lock is held while hooks are registered or removed. It is global, since an object with a lock cannot be copied.
_HOOKS = threading.Lock()


class _Calls(threading.local):
    """State of the forward pass in each thread; a copied or unpickled object starts without one."""

    watched = begun = False
    input_ids: Tensor | None = None
    mask: Tensor | None = None
    layers: list[Tensor | None] | None = None
    hidden: Tensor | None = None
    module_logits: Tensor | None = None

    def __reduce__(self) -> tuple[type[_Calls], tuple[()]]:
        return _Calls, ()


class HiddenCapture:
    """Hooks that add the input of the classification module to the output of the model, as ``output.hidden``.

    The hooks are on the model inside :meth:`watching`, and between :meth:`set_listener` and :meth:`remove_listener`.
    At other times the model has no hooks. :meth:`watching` ignores the forward passes of other threads.

    ``hidden`` is a plain attribute of the output and not one of its keys. Code that iterates over the keys, such as
    ``Trainer.predict``, is therefore unaffected. The state between the hooks is local to the calling thread, so that
    concurrent calls do not mix their rows.

    Args:
        model: transformers classifier, or a PEFT model around one.
        name: dotted path of the classification module, see :func:`find_classification_module`.
        multi_label: True if the model must be a multi-label classifier, False if it must predict one label a text.
        every_token: True for a token classifier: ``hidden`` is then ``[N, T, D]``, one vector per token. Otherwise it
            is ``[N, D]``, one vector per text.

    Attributes:
        name: dotted path of the classification module.

    Raises:
        UnsupportedModelError: the model has no such module, or is a classifier of another kind. A forward pass raises
            it if the output of the module is not the model's logits, or depends on several vectors of a text.
    """

    def __init__(
        self, model: nn.Module, name: str | None = None, *, every_token: bool = False, multi_label: bool = False
    ) -> None:
        self._inner, self._every_token = base_model(model), every_token
        # An adapter may call the `forward` of the model inside, past its hooks (AdaLoRA), or never call it.
        self._models = list({id(part): part for part in (unwrapped(model), self._inner)}.values())
        self._model_class = type(self._inner).__name__
        self.name, self._module = find_classification_module(model, name, multi_label=multi_label)
        self._layers = [] if every_token else chosen_layers(self._inner)
        self._listener: Callable[[Any], None] | None = None
        self._calls = _Calls()
        self._hooks = [Uncompiled(hook) for hook in (self._before_model, self._after_model, self._after_module)]
        self._layer_hook = Uncompiled(self._after_layer)
        self._first_vector_checked = False
        self._holds = 0
        self._handles: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Add ``output.hidden`` to the forward passes of this thread while the block runs."""
        self._hold(1)
        self._calls.watched = True
        try:
            yield
        finally:
            self._calls.watched = False
            self._hold(-1)

    def set_listener(self, listener: Callable[[Any], None]) -> None:
        """Call ``listener(output)`` after every forward pass outside :meth:`watching`."""
        self._hold(self._listener is None)
        self._listener = listener

    def remove_listener(self) -> None:
        """Stop calling the listener."""
        listening, self._listener = self._listener is not None, None
        self._hold(-listening)

    def _hold(self, change: int) -> None:
        """Change the number of users of the hooks; the first one registers them, the last one removes them."""
        with _HOOKS:
            self._holds += change
            if self._holds and not self._handles:
                for model in self._models:
                    self._handles.append(model.register_forward_pre_hook(self._hooks[0], with_kwargs=True))
                    self._handles.append(model.register_forward_hook(self._hooks[1]))
                for layer in self._layers:
                    self._handles.append(layer.register_forward_hook(self._layer_hook))
                self._hook_module()
            elif not self._holds:
                while self._handles:
                    self._handles.pop().remove()

    def _hook_module(self) -> None:
        module = self._inner.get_submodule(self.name)
        self._first_vector_checked &= module is self._module
        self._module = module
        self._handles.append(module.register_forward_hook(self._hooks[2], with_kwargs=True))

    def _before_model(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        calls = self._calls
        if getattr(model, "_is_replica", False):
            raise ArgumentError(
                "nn.DataParallel runs replicas of the model, whose outputs lose `.uncertainty`: call backbone.model "
                "instead, or detach() the uncertainty first."
            )
        calls.begun = (calls.watched or self._listener is not None) and kwargs is not None
        if not calls.begun or kwargs is None:
            return
        return_dict = kwargs.get("return_dict")
        if not calls.watched and not (self._inner.config.return_dict if return_dict is None else return_dict):
            raise ArgumentError(
                "return_dict=False: a tuple cannot carry `.uncertainty`. Call the model with return_dict=True, or "
                "detach() the uncertainty first."
            )
        with _HOOKS:  # the module may have been replaced since the hooks were registered
            if self._handles and self._inner.get_submodule(self.name) is not self._module:
                self._handles.pop().remove()
                self._hook_module()
        calls.input_ids = kwargs["input_ids"] if "input_ids" in kwargs else (args[0] if args else None)
        calls.mask = _token_mask(calls.input_ids, kwargs.get("attention_mask"))
        calls.layers, calls.hidden, calls.module_logits = [], None, None

    def _after_module(self, module: nn.Module, args: tuple[Tensor, ...], *rest: Any) -> None:
        if not self._calls.begun or len(rest) < 2:  # torch omits the keywords if a hook was removed during the call
            return
        kwargs, output = rest
        hidden = args[0] if args else next(iter(kwargs.values()))
        if hidden.dim() == 3 and output.dim() == 3 and not self._every_token:  # a decoder's `score` reads every token
            rows = torch.arange(hidden.shape[0], device=hidden.device)
            position = self._last_token(hidden)
            hidden, output = hidden[rows, position], output[rows, position]
        elif hidden.dim() == 3 and output.dim() == 2:  # RoBERTa's module selects the first token itself
            checked = self._first_vector_checked or module.training or torch.compiler.is_compiling()
            if not checked and hidden.shape[1] > 1:
                self._check_first_vector(module, hidden, output)
            hidden = hidden[:, 0]
        self._calls.hidden, self._calls.module_logits = hidden.detach(), output.detach()

    def _after_layer(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        calls = self._calls
        if calls.begun and calls.layers is not None:
            calls.layers.append(mean_vectors(output[0] if isinstance(output, tuple) else output, calls.mask))

    def _views(self) -> dict[str, Tensor]:
        """Inputs of views, by name; empty where the model does not allow to read them."""
        input_ids, mask, layers = self._calls.input_ids, self._calls.mask, self._calls.layers or []
        if input_ids is None or mask is None:
            return {}
        vectors = [layer for layer in layers if layer is not None]
        views = {"tokens": input_ids.masked_fill(~mask, PADDING)[:, :MAX_TOKENS]}
        complete = len(vectors) == len(self._layers) == len(layers) and vectors
        return views | ({"layers": torch.stack(vectors, 1)} if complete else {})

    def _check_first_vector(self, module: nn.Module, hidden: Tensor, output: Tensor) -> None:
        tolerance = 1e-3 if output.dtype == torch.float32 else 0.1
        with torch.no_grad(), with_weights(module):
            expected = plain_copy(module)(hidden[:, :1].float())
        if not torch.allclose(expected, output.float(), rtol=tolerance, atol=tolerance, equal_nan=True):
            raise UnsupportedModelError(
                f"{self.name!r} in {self._model_class} computes its logits from more than the first vector of a text, "
                "so a head copied from it would be silently wrong: pass classification_module='path.to.module', the "
                "module that maps one vector to the logits."
            )
        self._first_vector_checked = True

    def _last_token(self, hidden: Tensor) -> Tensor:
        """Return the position that transformers reads in each row ``[N]``: its last token that is not padding.

        Without token ids or without a padding token, it is the last position.
        """
        input_ids = self._calls.input_ids
        pad = getattr(self._inner.config.get_text_config(), "pad_token_id", None)
        if input_ids is None or pad is None:
            return torch.full((hidden.shape[0],), hidden.shape[1] - 1, device=hidden.device)
        steps = torch.arange(input_ids.shape[1], device=hidden.device)
        last: Tensor = (steps * (input_ids != pad).to(hidden.device)).argmax(-1)
        return last

    def _after_model(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        calls = self._calls
        begun, hidden, module_logits = calls.begun, calls.hidden, calls.module_logits
        views = self._views() if begun else {}
        calls.begun, calls.hidden, calls.module_logits, calls.input_ids = False, None, None, None
        calls.mask = calls.layers = None
        if not begun or isinstance(output, tuple):
            return
        logits = getattr(output, "logits", None)
        if hidden is None or module_logits is None:
            raise UnsupportedModelError(
                f"{self._model_class} makes its logits without a call of {self.name!r}, so its hidden vectors cannot "
                "be captured: pass classification_module='path.to.module', the module whose output is the logits. If "
                "the model was compiled and run before attach(), call torch.compiler.reset() after attach()."
            )
        if (
            logits is None
            or module_logits.shape != logits.shape
            or not (
                torch.compiler.is_compiling()  # a traced graph has no values to compare
                or torch.allclose(module_logits.to(logits), logits, rtol=1e-3, atol=1e-3, equal_nan=True)
            )
        ):
            raise UnsupportedModelError(
                f"the output of {self.name!r} in {self._model_class} is not the model's logits, so a head copied from "
                "it would be silently wrong: pass classification_module='path.to.module', the module whose output "
                "is the logits."
            )
        output.hidden, output.views = hidden, views
        listener = self._listener
        if listener is not None and not calls.watched:
            listener(output)


def chosen_layers(model: Any) -> list[nn.Module]:
    """Layers of a transformers model whose outputs views read, the last one included; empty if they are not found.

    They are evenly spaced if all layers together have more than :data:`LAYER_VALUES` values a text.
    """
    config: Any = model.config.get_text_config()
    count, width = getattr(config, "num_hidden_layers", 0) or 0, getattr(config, "hidden_size", 0) or 0
    if not count or not width or getattr(config, "is_encoder_decoder", False):
        return []
    stacks = [part for part in base_model(model).modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if len(stacks) != 1:
        return []
    chosen = min(count, max(1, LAYER_VALUES // width))
    return [stacks[0][(k + 1) * count // chosen - 1] for k in range(chosen)]


def mean_vectors(states: Any, mask: Tensor | None) -> Tensor | None:
    """Mean over the real tokens of states ``[N, T, D]``, ``[N, D]`` float32; None if the states have another shape."""
    if mask is None or not isinstance(states, Tensor) or states.dim() != 3 or states.shape[:2] != mask.shape:
        return None
    sums = states.detach().masked_fill(~mask.unsqueeze(-1), 0.0).sum(1, dtype=torch.float32)
    return sums / mask.sum(1, keepdim=True).clamp(min=1)


def _token_mask(input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor | None:
    """True for real tokens, ``[N, T]``; None without token ids, or with an attention mask of another shape."""
    if input_ids is None or input_ids.dim() != 2:
        return None
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    return attention_mask.bool() if attention_mask.shape == input_ids.shape else None
