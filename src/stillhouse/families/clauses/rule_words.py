"""What clauses decide, in one sentence: of rules as a text and as a page. No torch."""

from __future__ import annotations

NOTHING, LITTLE, PART = 0.1, 0.25, 0.75  # of what the whole network knows above chance


def what_clauses_decide(full: float, none: float, shown: float, rules: int, classes: int) -> str:
    """Accuracy with all clauses, with none and with the rules, and what follows from it.

    Args:
        full: accuracy of the whole network.
        none: where every clause always puts out its mean.
        shown: with the rules alone.
        rules: how many there are.
        classes: whose share is chance.

    Example:
        >>> print(what_clauses_decide(0.705, 0.669, 0.66, 100, 8).partition(". ")[2])
        Clauses decide almost nothing here (6 % of what the network knows above chance): the rest of the network does.
    """
    chance = 1 / max(1, classes)
    share = (full - none) / (full - chance) if full > chance else 0.0
    numbers = (
        f"Accuracy {full:.1%} with all clauses, {none:.1%} with none (each always puts out its mean), {shown:.1%} with these "
        f"{rules} rules alone"
    )
    known = f"({max(0.0, share):.0%} of what the network knows above chance)".replace("%", " %")
    if share < NOTHING:
        words = f"Clauses decide almost nothing here {known}: the rest of the network does"
    elif share < LITTLE:
        words = f"Clauses decide little here {known}"
    else:
        words = f"Clauses decide {'a part of it' if share < PART else 'most of it'} {known}"
    return f"{numbers}. {words}."


def left_out_words(count: int) -> str:
    """How many clauses are no rules, and why.

    Example:
        >>> left_out_words(1)
        '1 clause that adds much and fires on its class hardly more than on others'
    """
    one, s = count == 1, "s" * (count == 1)
    whose = "its" if one else "their"
    return (
        f"{count} clause{'' if one else 's'} that add{s} much and fire{s} on {whose} class hardly more than on others"
    )
