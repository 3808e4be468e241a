"""Which epoch's weights a training ended with, in words: a teacher that got worse by its last epochs must not go unnoticed."""

from __future__ import annotations

from stillhouse.training.loop import Fit


def kept_in_words(done: Fit, metric: str) -> str:
    """One line: the epoch whose weights are kept, its validation score, and whether what came after was worse.

    Args:
        done: a training that is finished.
        metric: a key of `done.best`.

    Example:
        >>> done = Fit(epochs=6, best_epoch=4, best={"nll": 3.6}, best_rank=(-3.6,),
        ...            ranks=[(-4.1,), (-3.7,), (-3.65,), (-3.6,), (-3.8,), (-3.9,)])
        >>> kept_in_words(done, "nll")
        'kept: epoch 4 of 6 (validation nll 3.6000); the 2 after it got worse'
        >>> kept_in_words(Fit(epochs=1, best_epoch=1, best={"nll": 4.0}, best_rank=(-4.0,), ranks=[(-4.0,)]), "nll")
        'kept: the last epoch, 1 (validation nll 4.0000)'
    """
    score = done.best.get(metric)
    shown = "" if score is None else f" (validation {metric} {score:.4f})"
    later = done.epochs - done.best_epoch
    if later == 0:
        better = any(rank > done.best_rank for rank in done.ranks)
        return f"kept: the last epoch, {done.epochs}{shown}{'; an earlier one was better' * better}"
    worse = done.ranks[-1] < done.best_rank
    after = f"the {later} after it" if later > 1 else "the one after it"
    return (
        f"kept: epoch {done.best_epoch} of {done.epochs}{shown}; {after} {'got worse' if worse else 'gained nothing'}"
    )
