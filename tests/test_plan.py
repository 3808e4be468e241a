"""The stages of a run: what the control is spared of."""

from stillhouse.core.plan import RunPlan, StageConfig
from stillhouse.signals import LogitsConfig


def test_an_untaught_arm_has_every_stage_and_no_signal_in_any():
    """A control that keeps one signal hears the teacher, and the difference shown is too small."""
    signals = (LogitsConfig(weight=0.5),)
    plan = RunPlan(
        signals=signals, stages=(StageConfig(name="first", epochs=2), StageConfig(name="second", signals=signals))
    )
    taught, untaught = plan.stages_of(True), plan.stages_of(False)
    assert [stage.signals for stage in taught] == [signals, signals]
    assert [(stage.name, stage.signals, stage.teacher) for stage in untaught] == [
        ("first", (), None),
        ("second", (), None),
    ]
    assert [stage.training for stage in untaught] == [stage.training for stage in taught]
