"""Teachers: pretrained networks, frozen, checked before anything is learned from them. The configuration needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillhouse.teachers.config import BY_ROW, NETWORKS, SELF, SOURCES, TeacherConfig

if TYPE_CHECKING:
    from stillhouse.teachers.average import AverageTeacher
    from stillhouse.teachers.cached import CachedTeacher
    from stillhouse.teachers.check import TeacherReport, check_teacher
    from stillhouse.teachers.checkpoint import save_teacher
    from stillhouse.teachers.ensemble import EnsembleTeacher
    from stillhouse.teachers.probe import fit_head
    from stillhouse.teachers.teacher import NetworkTeacher, Teacher

_HOMES = {
    "AverageTeacher": "average",
    "CachedTeacher": "cached",
    "EnsembleTeacher": "ensemble",
    "NetworkTeacher": "teacher",
    "Teacher": "teacher",
    "TeacherReport": "check",
    "check_teacher": "check",
    "fit_head": "probe",
    "save_teacher": "checkpoint",
}


def __getattr__(name: str) -> Any:
    # these need torch; reading a configuration does not
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"stillhouse.teachers.{_HOMES[name]}"), name)
