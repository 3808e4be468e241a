"""Many runs of one recipe with other settings, chosen by optuna, judged on the validation split."""

from stillhouse.core.checks import InputError

try:
    import optuna
except ModuleNotFoundError:
    raise InputError(
        "sweeps need the package optuna, which is not installed: pip install 'stillhouse[sweeps]'"
    ) from None
