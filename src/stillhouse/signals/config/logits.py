"""How class scores are matched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args

from pydantic import Discriminator, Field, Tag

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.temperature import TemperatureConfig

if TYPE_CHECKING:
    from stillhouse.signals.logits import LogitSignal

Loss = Literal[
    "forward-kl",
    "reverse-kl",
    "symmetric-kl",
    "js",
    "skew-forward-kl",
    "skew-reverse-kl",
    "total-variation",
    "mse",
    "centered-mse",
    "cosine",
    "dkd",
    "dist",
]


# beyond it T^2 times the rounding of float32 is percents of the loss, which is centered-mse in that limit anyway
HOTTEST = 1000.0


def _form(value: Any) -> str:
    """A number, or the `kind` of a temperature: one of them is validated, so that an error speaks of what was meant."""
    if isinstance(value, Mapping):
        return str(value.get("kind", "no kind"))
    return str(getattr(value, "kind", "number"))


if TYPE_CHECKING:
    Softness = float | TemperatureConfig
else:
    _CONFIGS = get_args(get_args(TemperatureConfig)[0])
    Softness = Annotated[
        Union[  # noqa: UP007 - its members are computed
            tuple(
                [Annotated[float, Field(gt=0, le=HOTTEST), Tag("number")]]
                + [Annotated[config, Tag(config.__dataclass_fields__["kind"].default)] for config in _CONFIGS]
            )
        ],
        Discriminator(_form),
    ]

# which losses read a setting: elsewhere it would be believed and do nothing
USED_BY: dict[str, tuple[str, ...]] = {
    "temperature": tuple(loss for loss in get_args(Loss) if loss not in ("mse", "centered-mse", "cosine")),
    "beta": ("js",),
    "normalized": ("js",),
    "mix": ("symmetric-kl",),
    "skew": ("skew-forward-kl", "skew-reverse-kl"),
    "target_weight": ("dkd",),
    "nontarget_weight": ("dkd",),
    "inter_weight": ("dist",),
    "intra_weight": ("dist",),
}


@configclass
class LogitsConfig:
    """Match the teacher's class scores.

    `forward-kl` is the default. `dist` follows relations only and `dkd` gives wrong classes their own weight: both are for
    teachers much stronger or surer than the student. `dkd` reads the labels; `dist` needs batches of at least 3.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531; for each loss see its function in `stillhouse.losses`.
    """

    kind: Literal["logits"] = "logits"
    name: str | None = Field(
        default=None,
        min_length=1,
        pattern=r"^[\w-]+$",
        description="name in the record of terms, where two of this kind stand side by side [logits]",
    )
    loss: Loss = Field(default="forward-kl", description="how scores are compared")
    temperature: Softness | None = Field(
        default=None,
        description="softens both sides; the loss is multiplied by T^2 (but total-variation and dist) [2; there 1]",
    )
    standardize: bool = Field(
        default=False, description="bring each row of scores to mean 0 and deviation 1 first, on both sides"
    )
    beta: float | None = Field(default=None, gt=0, lt=1, description="js: weight of the teacher in the mixture [0.5]")
    normalized: bool = Field(default=False, description="js: divide by beta (1 - beta), so that beta sets no weight")
    mix: float | None = Field(default=None, ge=0, le=1, description="symmetric-kl: share of the reverse KL [0.5]")
    skew: float | None = Field(
        default=None, ge=0, lt=1, description="skewed KL: share of the first side in the mixture [0.1]"
    )
    target_weight: float | None = Field(default=None, ge=0, description="dkd: weight of the label's class [1]")
    nontarget_weight: float | None = Field(default=None, ge=0, description="dkd: weight of the other classes [8]")
    inter_weight: float | None = Field(
        default=None, ge=0, description="dist: weight of the relations between classes [1]"
    )
    intra_weight: float | None = Field(
        default=None, ge=0, description="dist: weight of the relations within a class over the batch [1]"
    )
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        for setting, losses in USED_BY.items():
            value = getattr(self, setting)
            if value is not None and value is not False and self.loss not in losses:
                raise ValueError(
                    f"{setting}: does nothing under loss {self.loss!r}; leave it out, or take {' or '.join(map(repr, losses))}"
                )
        for pair in (("target_weight", "nontarget_weight"), ("inter_weight", "intra_weight")):
            if all(getattr(self, weight) == 0 for weight in pair):
                raise ValueError(f"{pair[0]} and {pair[1]}: expected at least one above 0, got 0 and 0")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LogitSignal:
        """The signal, for a student and a teacher of equal class counts."""
        from stillhouse.signals.logits import LogitSignal

        return LogitSignal(self, student, teacher)
