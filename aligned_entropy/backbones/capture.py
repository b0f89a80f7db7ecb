"""The input of a classification module, taken by a hook in the model's one normal forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..head.modules import plain_copy

# The name of the last module before the logits, in the order in which it is looked for. Where a model has several
# modules between encoder and logits (DistilBERT, DeBERTa, ModernBERT, BERT's pooler) the last one alone is taken:
# its input is the vector that everything else in the literature is computed on, and its output is the logits.
MODULE_NAMES = ("classifier", "score")
MULTI_LABEL = "multi_label_classification"  # problem_type of such models
SUPPORTED = (
    "BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT, ALBERT, DeBERTa-v2/3, MPNet, ModernBERT (`classifier`); "
    "LLaMA, Mistral, Qwen2, Qwen3, Gemma, GPT-2 … (`score`)"
)


def base_model(model: nn.Module) -> Any:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    peft: Any = model
    return peft.get_base_model() if hasattr(model, "get_base_model") else model


def find_classification_module(
    model: nn.Module, name: str | None = None, *, multi_label: bool = False
) -> tuple[str, nn.Module]:
    """Name and module that turns the hidden vector into the logits of a classifier.

    Under PEFT the module may be a wrapper; :func:`aligned_entropy.head.modules.plain_copy` copies what is active in it.

    Args:
        model: a transformers model, or a PEFT model around one.
        name: dotted path of the module inside the transformers model; found by its usual name when left out.
        multi_label: whether a text may have any number of labels.

    Raises:
        UnsupportedModelError: no such module, or the model is no classifier of this kind.
    """
    inner = base_model(model)
    kind = type(inner).__name__
    problem, classes = getattr(inner.config, "problem_type", None), getattr(inner.config, "num_labels", 0)
    needed = "of any number of labels a text" if multi_label else "of one label a text with at least two classes"
    if problem == "regression" or (problem == MULTI_LABEL) != multi_label or classes < 2 - multi_label:
        raise UnsupportedModelError(
            f"{kind} is configured for problem_type={problem!r} with {classes} label(s); a classifier {needed} is "
            "needed here: UncertainClassifier.from_pretrained(…, task=…) takes either kind."
        )
    for candidate in [name] if name else MODULE_NAMES:
        try:
            return candidate, inner.get_submodule(candidate)
        except AttributeError:
            continue
    wanted = f"no module named {name!r}" if name else f"none of the modules {', '.join(MODULE_NAMES)}"
    children = ", ".join(child for child, _ in inner.named_children())
    raise UnsupportedModelError(
        f"{kind} has {wanted}; its top modules are {children}. Supported without more: {SUPPORTED}. For any other "
        "model pass classification_module='path.to.module', the module whose output is the logits."
    )


_HOOKS = threading.Lock()  # held while hooks are put on or taken off; a lock of its own could not be copied


class _Calls(threading.local):
    """What is under way in a thread; a copy of the model, or a pickled one, starts with nothing."""

    watched = begun = False
    input_ids: Tensor | None = None
    hidden: Tensor | None = None
    module_logits: Tensor | None = None

    def __reduce__(self) -> tuple[type[_Calls], tuple[()]]:
        return _Calls, ()


class HiddenCapture:
    """Hooks that put the classification module's input on the output of the model, as ``output.hidden``.

    They are on the model while it is run inside of :meth:`watching`, and from :meth:`listen` to :meth:`ignore`; at any
    other time there are none. What other threads do with the model in the meantime is not looked at.

    ``hidden`` is a plain attribute of the output, no key of it: code that walks over the output's items, as
    ``Trainer.predict`` does, sees what it always saw. The state between the hooks lives in the calling thread, so
    that concurrent callers do not mix their rows.

    Args:
        model: a transformers classifier, PEFT-wrapped or not.
        name: the module's dotted path, see :func:`find_classification_module`.
        multi_label: a text may have any number of labels.
        every_token: the classifier labels tokens: ``hidden`` is ``[N, T, D]``, of every one of them; otherwise it is
            ``[N, D]``, of the text.

    Attributes:
        name: the module's dotted path.
    """

    def __init__(
        self, model: nn.Module, name: str | None = None, *, every_token: bool = False, multi_label: bool = False
    ) -> None:
        self._inner, self._every_token = base_model(model), every_token
        self._model_class = type(self._inner).__name__
        self.name, self._module = find_classification_module(model, name, multi_label=multi_label)
        self._listener: Callable[[Any], None] | None = None
        self._calls = _Calls()
        self._first_vector_checked = False
        self._holds = 0
        self._handles: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What this thread runs of the model in here has ``output.hidden``."""
        self._hold(1)
        self._calls.watched = True
        try:
            yield
        finally:
            self._calls.watched = False
            self._hold(-1)

    def set_listener(self, listener: Callable[[Any], None]) -> None:
        """Call ``listener(output)`` after every forward pass that is not :meth:`watching`'s."""
        self._hold(self._listener is None)
        self._listener = listener

    def remove_listener(self) -> None:
        """The end of :meth:`listen`."""
        listening, self._listener = self._listener is not None, None
        self._hold(-listening)

    def _hold(self, change: int) -> None:
        """Count who needs the hooks; put them on for the first, take them off after the last."""
        with _HOOKS:
            self._holds += change
            if self._holds and not self._handles:
                self._handles = [
                    self._inner.register_forward_pre_hook(self._before_model, with_kwargs=True),
                    self._inner.register_forward_hook(self._after_model),
                ]
                self._hook_module()
            elif not self._holds:
                while self._handles:
                    self._handles.pop().remove()

    def _hook_module(self) -> None:
        module = self._inner.get_submodule(self.name)
        self._first_vector_checked &= module is self._module
        self._module = module
        self._handles.append(module.register_forward_hook(self._after_module, with_kwargs=True))

    def _before_model(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        calls = self._calls
        calls.begun = (calls.watched or self._listener is not None) and kwargs is not None
        if not calls.begun or kwargs is None:
            return
        return_dict = kwargs.get("return_dict")
        if not calls.watched and not (self._inner.config.return_dict if return_dict is None else return_dict):
            raise ValueError(
                "return_dict=False: a tuple has no place for `.uncertainty`. Call the model with return_dict=True, "
                "or detach() the uncertainty first."
            )
        with _HOOKS:  # the module may have been exchanged for another since the hooks were put on
            if self._handles and self._inner.get_submodule(self.name) is not self._module:
                self._handles.pop().remove()
                self._hook_module()
        calls.input_ids = kwargs["input_ids"] if "input_ids" in kwargs else (args[0] if args else None)
        calls.hidden = calls.module_logits = None

    def _after_module(self, module: nn.Module, args: tuple[Tensor, ...], *rest: Any) -> None:
        if not self._calls.begun or len(rest) < 2:  # torch leaves out the keywords where a hook was just taken off
            return
        kwargs, output = rest
        hidden = args[0] if args else next(iter(kwargs.values()))
        if hidden.dim() == 3 and output.dim() == 3 and not self._every_token:  # a decoder's `score` sees every token
            rows = torch.arange(hidden.shape[0], device=hidden.device)
            position = self._last_token(hidden)
            hidden, output = hidden[rows, position], output[rows, position]
        elif hidden.dim() == 3 and output.dim() == 2:  # RoBERTa's kind of module reads the first token itself
            checked = self._first_vector_checked or module.training or torch.compiler.is_compiling()
            if not checked and hidden.shape[1] > 1:
                self._check_first_vector(module, hidden, output)
            hidden = hidden[:, 0]
        self._calls.hidden, self._calls.module_logits = hidden.detach(), output.detach()

    def _check_first_vector(self, module: nn.Module, hidden: Tensor, output: Tensor) -> None:
        tolerance = 1e-3 if output.dtype == torch.float32 else 0.1
        with torch.no_grad():
            again = plain_copy(module)(hidden[:, :1].float())
        if not torch.allclose(again, output.float(), rtol=tolerance, atol=tolerance, equal_nan=True):
            raise UnsupportedModelError(
                f"{self.name!r} in {self._model_class} makes its logits of more than the first vector of a text, so a "
                "head copied from it would be silently wrong; pass classification_module='path.to.module', the module "
                "that maps one vector to the logits."
            )
        self._first_vector_checked = True

    def _last_token(self, hidden: Tensor) -> Tensor:
        """The position that transformers takes: the rightmost token that is not the padding token."""
        input_ids = self._calls.input_ids
        pad = getattr(self._inner.config.get_text_config(), "pad_token_id", None)
        if input_ids is None or pad is None:
            return torch.full((hidden.shape[0],), hidden.shape[1] - 1, device=hidden.device)
        steps = torch.arange(input_ids.shape[1], device=hidden.device)
        return (steps * (input_ids != pad).to(hidden.device)).argmax(-1)

    def _after_model(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        calls = self._calls
        begun, hidden, module_logits = calls.begun, calls.hidden, calls.module_logits
        calls.begun, calls.hidden, calls.module_logits, calls.input_ids = False, None, None, None
        if not begun or isinstance(output, tuple):
            return
        logits = getattr(output, "logits", None)
        if (
            hidden is None
            or module_logits is None
            or logits is None
            or module_logits.shape != logits.shape
            or not (
                torch.compiler.is_compiling()  # a graph that is traced has no values to compare
                or torch.allclose(module_logits.to(logits), logits, rtol=1e-3, atol=1e-3, equal_nan=True)
            )
        ):
            raise UnsupportedModelError(
                f"the output of {self.name!r} in {self._model_class} is not the model's logits, so a head copied from "
                "it would be silently wrong; pass classification_module='path.to.module', the module whose output "
                "is the logits."
            )
        output.hidden = hidden
        listener = self._listener
        if listener is not None and not calls.watched:
            listener(output)
