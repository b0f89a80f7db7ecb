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
from .classification_module import class_logits, find_classification_module
from .layers import LayerCapture
from .wrappers import Uncompiled, base_model, unwrapped, with_weights


class CapturedOutput(Protocol):
    """Output of a transformers model together with the captured hidden vectors.

    Attributes:
        hidden: hidden vectors ``[N, D]``, or ``[N, T, D]`` of a token classifier.
        logits: logits of the model, ``[N, C]``, or ``[N, T, C]`` of a token classifier.
        class_logits: logits of the classes: (0, z) for the one logit z of a text classifier, otherwise ``logits``.
        views: inputs of views by name, see :class:`aligned_entropy.features.arrays.Features`, with a row for each text,
            or ``[N, T, …]`` of a token classifier; empty where they are not requested or cannot be read.
    """

    hidden: Tensor
    logits: Tensor
    class_logits: Tensor
    views: dict[str, Tensor]


class Capture(Protocol):
    """Hooks that capture the hidden vectors of a model.

    Attributes:
        name: dotted path of the module whose input is captured.
    """

    name: str

    def set_listener(self, listener: Callable[[Any], None], *, views: bool = False) -> None:
        """Call ``listener(output)`` after every forward pass that the user of the model starts.

        Args:
            listener: function of the output.
            views: True if the listener reads the inputs of views.
        """

    def remove_listener(self) -> None:
        """Stop calling the listener."""


# The lock is held while hooks are registered or removed. It is global, since an object with a lock cannot be copied.
_HOOKS = threading.Lock()


class _Calls(threading.local):
    """State of the forward pass in each thread; a copied or unpickled object starts without one."""

    watched = begun = views = False
    input_ids: Tensor | None = None
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
        self._inner, self._every_token, self._multi_label = base_model(model), every_token, multi_label
        # An adapter may call the `forward` of the model inside, past its hooks (AdaLoRA), or never call it.
        self._models = list({id(part): part for part in (unwrapped(model), self._inner)}.values())
        self._model_class = type(self._inner).__name__
        self.name, self._module = find_classification_module(
            model, name, multi_label=multi_label, every_token=every_token
        )
        self._layers = LayerCapture(self._inner, every_token=every_token)
        self._listener: Callable[[Any], None] | None = None
        self._listener_views = False
        self._calls = _Calls()
        self._hooks = [Uncompiled(hook) for hook in (self._before_model, self._after_model, self._after_module)]
        self._first_vector_checked = False
        self._holds = 0
        self._handles: list[Any] = []

    @contextmanager
    def watching(self, *, views: bool = False) -> Iterator[None]:
        """Add ``output.hidden`` to the forward passes of this thread while the block runs.

        Args:
            views: True to read the inputs of views, too, as ``output.views``; they are empty otherwise.
        """
        self._hold(1)
        self._calls.watched, self._calls.views = True, views
        try:
            yield
        finally:
            self._calls.watched = self._calls.views = False
            self._hold(-1)

    def set_listener(self, listener: Callable[[Any], None], *, views: bool = False) -> None:
        """Call ``listener(output)`` after every forward pass outside :meth:`watching`.

        Args:
            listener: function of the output.
            views: True if the listener reads the inputs of views.
        """
        self._hold(1)
        self.remove_listener()
        self._listener, self._listener_views = listener, views

    def remove_listener(self) -> None:
        """Stop calling the listener."""
        listening, self._listener = self._listener is not None, None
        self._hold(-listening)

    def _hold(self, change: int) -> None:
        """Change the number of users of the hooks; the first one registers them, the last one removes them.

        Those on the layers are there even if nobody reads views: a graph of torch.compile has the hooks of its first
        pass, and a later pass may read views.
        """
        with _HOOKS:
            self._holds += change
            if self._holds and not self._handles:
                self._handles = self._layers.register()
                for model in self._models:
                    self._handles.append(model.register_forward_pre_hook(self._hooks[0], with_kwargs=True))
                    self._handles.append(model.register_forward_hook(self._hooks[1]))
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
        calls.hidden = calls.module_logits = None
        if calls.views or (not calls.watched and self._listener_views):
            self._layers.begin(calls.input_ids, kwargs.get("attention_mask"))

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
        calls.begun, calls.hidden, calls.module_logits, calls.input_ids = False, None, None, None
        views = self._layers.end()
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
        output.class_logits = logits if self._multi_label or self._every_token else class_logits(logits)
        listener = self._listener
        if listener is not None and not calls.watched:
            listener(output)
