"""Notes on thresholds: on one that is replaced, on risks that can be certified, and on one that accepts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..display.text_tables import wrapped
from .goal_options import GoalOptions
from .terminal import next_step, note, option_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..selective import Goal, Rule

MOST_OWN = 0.5  # share of texts with an uncertainty that the threshold was chosen on, to the last bit
RUNNING_SERVER = (
    "A running server takes the new head by POST /v1/head, if it was started with ALIEN_ADMIN_KEY, or by SIGHUP, if "
    "the new head is in the folder of the one in use: see docs/serving.md."
)
TRIED = (
    "warning: both were chosen on the same texts. The bound holds for a risk that was named before any result was "
    "seen, and not for the best of several that were tried."
)


def note_replaced(before: Rule | None, rule: Rule) -> None:
    """Print that a threshold is replaced, and what a bound is worth if both were chosen on the same texts.

    Args:
        before: rule of the head until now; None, and nothing is printed, without one.
        rule: rule that replaces it.
    """
    import numpy as np

    if before is None:
        return
    note(wrapped(f"warning: this replaces the threshold for {before.goal}"))
    pairs = [part.units for part in (before, rule) if part.units is not None]
    is_repeated = len(pairs) == 2 and np.array_equal(pairs[0].uncertainty, pairs[1].uncertainty, equal_nan=True)
    if is_repeated and None not in (before.goal.risk, rule.goal.risk) and rule.goal != before.goal:
        note(wrapped(TRIED))


def note_low_coverage(rule: Rule) -> None:
    """Print what accepts more predictions if a certified threshold accepts less than half of them."""
    if rule.goal.risk is not None and rule.coverage < 0.5:
        note(
            wrapped(
                "Less than half of the predictions are accepted. With more of these labeled texts it can be more, and "
                "with a model that is wrong less often: all of its layers trained, for more epochs, or on more texts."
            )
        )


def note_own_texts(rule: Rule, uncertainty: NDArray[np.floating]) -> None:
    """Print that a threshold is measured on the texts that it was chosen on, if these are most of the texts.

    Args:
        rule: rule of the head.
        uncertainty: uncertainty of the texts, ``[N]``.
    """
    import numpy as np

    if rule.units is None:
        return
    values = np.unique(rule.units.uncertainty)
    is_telling = len(values) > MOST_OWN * len(rule.units.uncertainty)  # else other texts have the same values
    if is_telling and np.isin(uncertainty, values).mean() > MOST_OWN:
        note(
            wrapped(
                "warning: these are the texts that the threshold was chosen on, and on others more of the accepted "
                "predictions can be wrong: evaluate it on other labeled texts"
            )
        )


def show_reachable(rule: Rule, command: Sequence[object]) -> None:
    """Print the risks above that of a rule that can be certified, and the command that chooses the lowest of them.

    Args:
        rule: rule whose risk cannot be certified.
        command: words of the command without the options of the goal.
    """
    from ..evaluation.review import MOSTLY_WRONG
    from ..selective import reachable_table
    from ..selective.reachable import higher_risks

    rules = rule.reachable()
    if not rules:
        assert rule.units is not None, "the threshold has just been chosen"
        tried = ", ".join(f"{100 * risk:.4g}%" for risk in higher_risks(float(rule.goal.risk or 0)))
        error_rate = rule.units.errors.mean()
        is_mostly_wrong = error_rate > MOSTLY_WRONG
        wrong = f"The model is wrong on {error_rate:.0%} of these predictions"
        wrong += ": a better model helps more than a threshold." if is_mostly_wrong else "."
        note(wrapped(f"{tried} cannot be certified, either. {wrong}" if tried else wrong))
        if is_mostly_wrong:
            return
        note("A share of the predictions can be accepted without a guaranteed error rate:")
        next_step(*command, "--coverage", "0.8")
        return
    typer.echo(f"\n{reachable_table(rules)}", err=True)
    next_step(*command, *_goal_words(rules[0].goal))


def show_use(rule: Rule | None, head: Path, use: Sequence[object], labels: Sequence[object]) -> None:
    """Print the command that uses a new head, or where it accepts nothing, the one that chooses its threshold.

    Args:
        rule: rule of the head; None without a threshold.
        head: folder of the head.
        use: words of the command that uses it.
        labels: words of the command that chooses a threshold on other labels, without the options of the goal.
    """
    if rule is None or rule.accepted:
        note(wrapped(RUNNING_SERVER))
        next_step(*use)
        return
    note(
        wrapped(
            f"warning: the head in {head} accepts no prediction. Keep the current head in use until a threshold of the "
            "new one is chosen on other labeled texts:"
        )
    )
    next_step(*labels, *_goal_words(rule.goal))


def _goal_words(goal: Goal) -> list[str]:
    """Options of a command line that state a goal."""
    return option_words(GoalOptions(**vars(goal)))
