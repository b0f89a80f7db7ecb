"""Heads in a few lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..display.card import Card

if TYPE_CHECKING:
    from .format import SavedHead


def saved_head_card(saved: SavedHead) -> Card:
    """Card with the model that a head is for, its fit, its threshold and its sets."""
    name, classes = saved.backbone.get("name") or "an unnamed model", f"{saved.head.classes} classes"
    return Card(f"{type(saved).__name__} for {name}, {classes}", head_lines(saved))


def head_lines(saved: SavedHead) -> list[str]:
    """Lines on the fit of a head, its threshold and its sets."""
    if saved.head.error_model is None:
        return ["head: untrained; fit() gives the probability that a prediction is wrong"]
    fit, rule = saved.fit, saved.rule
    counts = f"; fitted on {fit['examples']:,} examples with {fit['errors']:,} errors" if "examples" in fit else ""
    lines = [f"head: {fit.get('chosen', saved.head.base)}{counts}"]
    lines.append("threshold: none" if rule is None else f"threshold: {rule.goal}; coverage {rule.coverage:.1%}")
    return lines if saved.sets is None else [*lines, f"sets: {saved.sets.goal}"]
