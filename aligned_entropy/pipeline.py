"""Pipeline of transformers whose predictions carry their uncertainty: ``uncertain-text-classification``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification, TextClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .backbones import Backbone
from .backbones.sentence_embedding import SetFitFiles
from .classifier import UncertainClassifier
from .classifier.selection import with_sets
from .data.objects import as_texts
from .data.pairs import FORM
from .display.wording import type_name
from .errors import DataError, HeadMismatchError, UnsupportedModelError
from .features.texts import TextPair, are_pairs
from .predictions import Predictions
from .saved.format import read_config
from .saved.hub import resolve_head

TASK = "uncertain-text-classification"


class UncertainTextClassificationPipeline(TextClassificationPipeline):  # type: ignore[misc]
    """Text classification with ``uncertainty``, after a fit ``error_probability``, and with a threshold ``accepted``.

    If the head has sets, a deferred text also has ``label_set``, the classes among which the right one is.

    Texts are cut at the same length as the calibration texts of the head; without a head at the model's limit, but at
    most 512 tokens. ``truncation`` and ``max_length`` in a call override this.

    Args:
        head: path or hub id of a saved head, see :meth:`UncertainClassifier.save_pretrained`; the untrained entropy by
            default. A head that does not fit the model is refused here, not at the first text.
        args: positional arguments of the pipeline of transformers.
        kwargs: keyword arguments of the pipeline of transformers.

    Attributes:
        uncertain: classifier with its head, attached to the model of the pipeline.

    Raises:
        HeadMismatchError: ``head`` is not a path or hub id of a head, or the head was fitted for another model.
        UnsupportedModelError: there is no tokenizer, or the model is no classifier of transformers.
    """

    def __init__(self, *args: Any, head: str | Path | None = None, **kwargs: Any) -> None:
        if head is not None and not isinstance(head, (str, Path)):
            raise HeadMismatchError(
                f"head is {type_name(head)}, a path or hub id is needed: call save_pretrained(folder) and pass "
                "the folder."
            )
        super().__init__(*args, **kwargs)
        if self.tokenizer is None:
            raise UnsupportedModelError("an uncertain-text-classification pipeline needs a tokenizer: pass tokenizer=…")
        facts = {} if head is None else read_config(resolve_head(head))["backbone"]
        name, max_length = self.model.name_or_path, facts.get("max_length")
        if name and SetFitFiles.find(name) is not None:
            raise UnsupportedModelError(
                f"{name} is a model of SetFit, whose head a pipeline of transformers does not load: use "
                "UncertainClassifier.from_pretrained."
            )
        self.uncertain = UncertainClassifier(Backbone(self.model, self.tokenizer, max_length=max_length, name=name))
        if head is not None:
            self.uncertain.load_head(head)
        self.uncertain.attach()

    def preprocess(self, inputs: Any, **tokenizer_kwargs: Any) -> dict[str, Any]:
        """Tokenize a text or a pair of texts, cut at the same length as the calibration texts of the head.

        A pair is a dict with ``text`` and ``text_pair``, or a tuple of two strings. Its longer text is cut first.

        Raises:
            ArgumentTypeError: an object of this type holds no text.
            DataError: the text is blank, there are several, or the head was fitted on pairs of texts and this is a
                single one, or the reverse.
        """
        texts = as_texts(inputs, self.uncertain.task.find_text_columns)
        if len(texts) != 1:
            raise DataError(
                f"an input of the pipeline is one text, not {len(texts)}: pass a list with one string for each text; "
                f"{FORM}."
            )
        self.uncertain.saved.check_kind(are_pairs(texts))
        length = {"truncation": True, "max_length": self.uncertain.backbone.max_length}
        text = texts[0]
        if isinstance(text, TextPair):
            text = {"text": text.text, "text_pair": text.text_pair}
        batch: dict[str, Any] = super().preprocess(text, **(length | tokenizer_kwargs))
        return batch

    def _forward(self, model_inputs: Any) -> dict[str, Any]:
        output = super()._forward(model_inputs)
        tensors = {"logits": output.class_logits, "uncertainty": output.uncertainty}
        if hasattr(output, "error_probability"):
            tensors["error_probability"] = output.error_probability
        return tensors  # a plain dict, since the pipeline divides a batch into texts by the keys

    def postprocess(
        self, model_outputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Add the uncertainty of the text to each label that the pipeline of transformers returns."""
        named = self._labels_of_one_logit if self.model.config.num_labels == 1 else super().postprocess
        labels: dict[str, Any] | list[dict[str, Any]] = named(model_outputs, *args, **kwargs)
        names = [name for name in ("uncertainty", "error_probability") if name in model_outputs]
        added: dict[str, Any] = {name: float(model_outputs[name].reshape(-1)[0]) for name in names}
        rule = self.uncertain.saved.rule
        if rule is not None:
            predicted = self.uncertain.label_names[int(model_outputs["logits"].reshape(-1).argmax())]
            added["accepted"] = bool(rule.accepts([added["uncertainty"]], [predicted])[0])
        label_set = None if added.get("accepted") else self._label_set(model_outputs)
        added |= {} if label_set is None else {"label_set": label_set}
        return labels | added if isinstance(labels, dict) else [label | added for label in labels]

    def _labels_of_one_logit(
        self, model_outputs: dict[str, Any], function_to_apply: Any = None, top_k: int | None = 1, _legacy: bool = True
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Name both classes of a model with one logit, for which transformers has one name."""
        logits = model_outputs["logits"].float().reshape(-1)
        is_raw = getattr(function_to_apply, "value", function_to_apply) == "none"
        scores = (logits if is_raw else logits.softmax(-1)).tolist()
        rows = [
            {"label": label, "score": score} for label, score in zip(self.uncertain.label_names, scores, strict=True)
        ]
        rows.sort(key=lambda row: -row["score"])
        return rows[0] if top_k == 1 and _legacy else rows[:top_k]

    def _label_set(self, model_outputs: dict[str, Any]) -> list[str] | None:
        """Names of the classes in the set of a text that is not accepted; None if the head has no sets."""
        sets = self.uncertain.saved.sets
        if sets is None:
            return None
        logits = model_outputs["logits"].float().reshape(1, -1)
        predictions = Predictions(
            logits.argmax(-1).numpy(),
            self.uncertain.label_names,
            logits.softmax(-1).numpy(),
            model_outputs["uncertainty"].reshape(-1).numpy(),
            model_outputs["error_probability"].reshape(-1).numpy(),
        )
        names = with_sets(predictions, logits.numpy(), sets)[0].label_set
        return None if names is None else list(names)


def register() -> None:
    """Register the task with ``transformers.pipeline``."""
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=UncertainTextClassificationPipeline, pt_model=AutoModelForSequenceClassification
    )
