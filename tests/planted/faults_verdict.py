"""Faults of settings, verdicts, baselines and refusals; see `faults.py`."""

from __future__ import annotations

from plant import Fault, edited

SETTINGS = (
    Fault(
        "a flag is judged by the last part that has its name",
        "stillhouse.cli.stored_settings:check_flags",
        edited("for _, one in settings_of(name, roots)", "for one in dict(settings_of(name, roots)).values()"),
        "tests/cli/test_every_setting.py::test_every_data_set_can_be_named_over_a_recipe",
    ),
    Fault(
        "one word of a flag is a list of one",
        "stillhouse.cli.options:_value",
        edited("len(words) == 1 and", "False and"),
        "tests/cli/test_every_setting.py::test_one_word_is_no_list_of_one",
    ),
)

VERDICTS = SETTINGS
