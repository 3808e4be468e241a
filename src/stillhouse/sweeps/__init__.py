"""Many runs of one recipe with other settings, chosen by optuna, judged on the validation split.

space.py   which settings: lists, ranges, and what a fault in them is
study.py   where trials are written down: SQLite, or another database; who takes which
trial.py   one trial: the arm that ships, trained and validated in a run folder of its own; the test split is never scored
work.py    a worker: takes trials until none is left
page.py    what came of it: table, Pareto front, the command to go on with
"""

from stillhouse.core.checks import InputError

try:
    import optuna
except ModuleNotFoundError:
    raise InputError(
        "sweeps need the package optuna, which is not installed: pip install 'stillhouse[sweeps]'"
    ) from None
