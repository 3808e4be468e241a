"""A command of `stillhouse vision` as one value; `run_config` turns it into an ordinary run for each model. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from stillhouse.core.config import ConfigError, configclass, parse
from stillhouse.signals import ContrastiveConfig, EnsembleConfig, LogitsConfig, ProbesConfig, SignalConfig
from stillhouse.tasks.classification.data.config import DataConfig, FeaturesMode
from stillhouse.tasks.classification.plan import (
    ArmName,
    ClassificationRunConfig,
    ClassificationTrainingConfig,
    MixingConfig,
)
from stillhouse.tasks.classification.students.config import (
    DeepTMConfig,
    FlatTMConfig,
    HybridTMConfig,
    PyramidTMConfig,
    ResNetTMConfig,
)
from stillhouse.tasks.classification.students.transformer_config import SwinTMConfig, UnifiedTMConfig
from stillhouse.teachers.config import TeacherConfig
from stillhouse.temperature import FixedTemperature

ModelName = Literal["transformer", "tm", "deep_tm", "hybrid", "resnet_tm", "swin_tm", "pyramid_tm"]
VIT_DEPTH = 2  # of the command line; the class itself has 4
SELF_DECAY = 0.999  # of the average that teaches, where the scored weights are not averaged
SIDES = {"digits": 8, "mnist": 28, "fashion-mnist": 28, "cifar10": 32, "cifar100": 32}
OTHERS: dict[str, dict[str, Any]] = {  # data sets by names of the documents
    "fashionmnist": {"name": "fashion-mnist"},
    "imagenet": {
        "name": "folder",
        "root": "data/imagenet",
        "stream": True,
        "image_size": 224,
        "augment": "resized-crop",
    },
}


@configclass
class ModelsConfig:
    """Settings of every model; only those of the models that are trained are read."""

    transformer: UnifiedTMConfig = Field(default_factory=lambda: UnifiedTMConfig(tm_clauses=192, drop_path_rate=0.0))
    tm: FlatTMConfig = Field(default_factory=lambda: FlatTMConfig(levels=1))  # one bit a pixel, as boolean features are
    deep_tm: DeepTMConfig = Field(default_factory=lambda: DeepTMConfig(levels=1))
    hybrid: HybridTMConfig = Field(default_factory=HybridTMConfig)
    resnet_tm: ResNetTMConfig = Field(default_factory=ResNetTMConfig)
    swin_tm: SwinTMConfig = Field(default_factory=SwinTMConfig)
    pyramid_tm: PyramidTMConfig = Field(default_factory=PyramidTMConfig)


@configclass
class VisionLossConfig:
    """The terms of the total loss beside the labels; a weight of 0 leaves a term out."""

    teacher_weight: float = 0.5  # of the KL to the external teacher
    teacher_temperature: float = 2.0
    self_weight: float = 0.0  # of the KL to the student's own moving average
    self_temperature: float = 1.0
    aux_weight: float = 0.0  # of the read-outs' cross-entropy on the student; they are trained and measured anyway
    contrastive_weight: float = 0.0  # of the supervised contrastive loss
    contrastive_temperature: float = 0.1


@configclass
class ClauseConfig:
    """How many clauses each block gets, and whether heads are weighed by the clauses they feed."""

    auto: bool = False  # share out the clauses over the blocks by what they are worth to a briefly trained model
    target: int = Field(default=0, ge=0)  # of auto: total of all blocks; 0 keeps the sum
    auto_batches: int = Field(default=16, gt=0)  # of auto: training batches by which blocks are weighed
    auto_steps: int = Field(default=100, gt=0)  # of auto: optimizer steps of the brief training before
    specialize: bool = False  # weigh attention heads by the clauses they feed, after each epoch
    specialize_strength: float = 0.5  # of specialize: from 0, equal heads, to 1


@configclass
class OutputConfig:
    """Files beside the run folder."""

    save_path: str | None = None  # checkpoint with model_kwargs and model_state, for torch.load
    bitpack: bool = False  # of tm: evaluate with packed bits too; seconds and answers beside dense
    log_dir: str | None = None  # TensorBoard folder with a curve per epoch under Transformer-*
    overlays: str | None = None  # folder of pictures: image, attention, clauses, top classes
    overlay_samples: int = Field(default=8, ge=0)  # images of the test split, drawn by class
    overlay_topk: int = Field(default=3, gt=0)  # classes in the bars


@configclass
class VisionConfig:
    """One or several clause networks on one image data set."""

    may_grow: ClassVar[tuple[str, ...]] = ("models", "seeds", "arms")
    may_change: ClassVar[tuple[str, ...]] = ("features.cache", "features.force")  # decide no result

    name: str = "vision"
    models: tuple[ModelName, ...] = Field(default=("transformer",), min_length=1)  # trained one after another
    data: DataConfig = Field(default_factory=lambda: DataConfig(name="mnist"))
    features: FeaturesMode = Field(default_factory=FeaturesMode)  # boolean features in place of pixels
    model: ModelsConfig = Field(default_factory=ModelsConfig)
    learning_rate: float | None = None  # peak; none: the usual one of each model
    training: ClassificationTrainingConfig = Field(
        default_factory=lambda: ClassificationTrainingConfig(
            epochs=25,
            batch_size=128,
            warmup_epochs=0.1,
            optimizer="muon",
            clause_learning_rate_factor=1.0,  # the documents have one rate for all
            evaluation_batch_size=512,
            mixing=MixingConfig(mixup_schedule="cosine", cutmix_schedule="cosine"),
            report_train=True,
        )
    )
    teacher: TeacherConfig | None = None
    more_teachers: tuple[TeacherConfig, ...] = ()  # the KL is to the mean of all their probabilities
    signals: tuple[SignalConfig, ...] = ()  # learned from the teacher beside its scores
    loss: VisionLossConfig = Field(default_factory=VisionLossConfig)
    clauses: ClauseConfig = Field(default_factory=ClauseConfig)
    prior: Literal["none", "symmetric", "zero"] = "none"
    output: OutputConfig = Field(default_factory=OutputConfig)
    arms: tuple[ArmName, ...] = ()  # none: kd with a teacher, no-kd without
    seeds: int = Field(default=1, gt=0, le=10_000)

    def __post_init__(self) -> None:
        if self.training.learning_rate != ClassificationTrainingConfig().learning_rate:
            raise ValueError(
                "training.learning_rate: set learning_rate (--lr), which each model has its own default of"
            )
        if self.features.mode != "raw":
            if pixels := [model for model in self.models if model not in {"tm", "deep_tm"}]:
                raise ValueError(f"features.mode: {pixels[0]} reads pixels; boolean features are for tm and deep_tm")
            if self.training.mixing.on:
                raise ValueError("training.mixing: boolean features cannot be blended; take features.mode raw")

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> VisionConfig:
        """From plain data: other spellings of data sets are taken, and sizes are checked against the data's image.

        Raises:
            ConfigError: what the schema does not take.
        """
        data, model = (mapping.get(name) or {} for name in ("data", "model"))
        if not isinstance(data, Mapping) or not isinstance(model, Mapping):
            raise ConfigError("data, model: expected settings under them (as data: {name: mnist})")
        known = OTHERS.get(data.get("name", ""), {})
        given = {key: value for key, value in data.items() if value and value != "none" and key != "name"}
        data = {"name": "mnist", **data, **known, **(given if known else {})}
        # windows and pools are checked against the data's image; a model that is not trained keeps its default
        side = data.get("image_size") or SIDES.get(data["name"], 224)
        trained = [name for name in get_args(ModelName) if name in mapping.get("models", ("transformer",))]
        usual = {"hybrid": {"depth": 2}}  # as documented
        sized = {name: {**usual.get(name, {}), **model.get(name, {}), "image_size": side} for name in trained}
        return parse(cls, {**mapping, "data": data, "model": {**model, **sized}})

    def run_config(
        self, model: ModelName, places: tuple[str, ...] = (), heads: Mapping[str, int] | None = None
    ) -> ClassificationRunConfig:
        """The run of one model.

        Args:
            model: one of `models`.
            places: paths of its sub-modules that read-outs stand at, the last of them the vector before the head.
            heads: paths at which the contexts of attention heads can be read, and how many heads each has.
        """
        loss, transformer = self.loss, model == "transformer"
        taught = self.teacher is not None and loss.teacher_weight > 0
        rate = self._learning_rate(model)
        training = replace(
            self.training,
            optimizer="adamw" if self.training.optimizer == "muon" and not transformer else self.training.optimizer,
            learning_rate=rate,
            final_learning_rate=min(rate, self.training.final_learning_rate),
            clause_specialize=self.clauses.specialize_strength if self.clauses.specialize and transformer else 0.0,
        )
        kl: SignalConfig = _kl("teacher_kd_loss", loss.teacher_weight, loss.teacher_temperature)
        if self.more_teachers:
            kl = EnsembleConfig(name=kl.name, weight=kl.weight, temperature=loss.teacher_temperature)
        student: Any = getattr(self.model, model)
        if transformer and student.depths is None and student.architecture == "vit":
            student = replace(student, depths=VIT_DEPTH)
        return ClassificationRunConfig(
            name=f"{self.name}-{model}",
            data=self.data,
            teacher=self.teacher,
            student=student,
            more_teachers=self.more_teachers,
            signals=(kl, *self.signals) if taught else (),
            auxiliary_losses=self._auxiliary(places, heads or {}),
            auxiliary_decay=(training.ema_decay or SELF_DECAY) if loss.self_weight > 0 else None,
            prior=self.prior,
            training=training,
            arms=self.arms or (("kd",) if taught else ("no-kd",)),
            seeds=self.seeds,
        )

    def _learning_rate(self, model: ModelName) -> float:
        """Without --lr; a transformer's grows with the root of the batch (Malladi et al. 2022, arXiv:2205.10287)."""
        if self.learning_rate is not None:
            return self.learning_rate
        if model != "transformer":
            return 3e-2 if model == "tm" else 5e-3
        return (3e-3 if self.training.optimizer == "muon" else 2e-3) * math.sqrt(self.training.batch_size / 64)

    def _auxiliary(self, places: tuple[str, ...], heads: Mapping[str, int]) -> tuple[SignalConfig, ...]:
        """Losses without a teacher: the student's own average, read-outs of blocks and of heads, contrast."""
        loss, found = self.loss, list[SignalConfig]()
        if loss.self_weight > 0:
            found.append(_kl("ema_kd_loss", loss.self_weight, loss.self_temperature))
        if places:
            smoothing = self.training.label_smoothing
            found.append(ProbesConfig(places=places, weight=loss.aux_weight, smoothing=smoothing))
        if heads:
            found.append(ProbesConfig(name="head_probes", places=tuple(heads), heads=tuple(heads.values())))
        if places and loss.contrastive_weight > 0:
            temperature = loss.contrastive_temperature
            found.append(ContrastiveConfig(place=places[-1], weight=loss.contrastive_weight, temperature=temperature))
        return tuple(found)


def _kl(name: str, weight: float, temperature: float) -> LogitsConfig:
    return LogitsConfig(name=name, weight=weight, temperature=FixedTemperature(value=temperature))
