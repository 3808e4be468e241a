"""Students: networks of another kind than their teacher. One sub-package per family; `StudentConfig` is the list."""

from stillhouse.students.tsetlin import TsetlinViTConfig

StudentConfig = TsetlinViTConfig

__all__ = ["StudentConfig", "TsetlinViTConfig"]
