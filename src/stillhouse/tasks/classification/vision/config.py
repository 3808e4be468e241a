"""A command of `stillhouse vision` as one value; `run_config` turns it into an ordinary run for each model. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, configclass, parse
from stillhouse.core.lock import missing_folders, remove_empty
from stillhouse.signals import (
    ContrastiveConfig,
    EnsembleConfig,
    LogitsConfig,
    ProbesConfig,
    SignalConfig,
)
from stillhouse.signals.logits import ForwardKL
from stillhouse.tasks.classification.data import DataConfig
from stillhouse.tasks.classification.data.config import FeaturesMode
from stillhouse.tasks.classification.plan import ArmName, ClassificationRunConfig, RunTrainingConfig
from stillhouse.tasks.classification.training import MixingConfig
from stillhouse.tasks.classification.vision.models import MODELS, ModelName, ModelsConfig, student_of
from stillhouse.teachers import TeacherConfig

RATES = {"transformer": 2e-3, "tm": 3e-2}  # what a model is trained with without --lr
OTHER_RATE = 5e-3
MUON_RATE = 3e-3
USUAL_BATCH = 64
SELF_DECAY = 0.999  # of the average that teaches, where the scored weights are not averaged
SIDES = {"digits": 8, "mnist": 28, "fashion-mnist": 28, "cifar10": 32, "cifar100": 32}
DATASETS = {"fashionmnist": "fashion-mnist"}  # another spelling
IMAGENET = "data/imagenet"


def imagenet(data: Mapping[str, Any]) -> dict[str, Any]:
    """`imagenet` as the data that it is: class folders, streamed, at 224 pixels, random parts of them.

    Example:
        >>> imagenet({"root": "no-such-folder"})["name"]
        'folder'
    """
    augment = data.get("augment", "none")
    return {
        "name": "folder",
        "root": str(data.get("root") or IMAGENET),
        "stream": True,
        "image_size": data.get("image_size") or 224,
        "augment": "resized-crop" if augment == "none" else augment,
    }


@configclass
class VisionLossConfig:
    """What is learned beside the labels, by the terms of the total loss."""

    teacher_weight: float = Field(default=0.5, ge=0, description="weight of the KL to the external teacher")
    teacher_temperature: float = Field(default=2.0, gt=0, description="softens teacher and student in it")
    self_weight: float = Field(default=0.0, ge=0, description="weight of the KL to the student's own moving average")
    self_temperature: float = Field(default=1.0, gt=0, description="softens both in it")
    aux_weight: float = Field(default=0.0, ge=0, description="weight of the read-outs' cross-entropy on the student")
    contrastive_weight: float = Field(default=0.0, ge=0, description="weight of the supervised contrastive loss")
    contrastive_temperature: float = Field(default=0.1, gt=0, description="divides the cosines in it")
    probes: bool = Field(
        default=True, description="measure what each part knows by linear read-outs (component accuracy)"
    )
    head_probes: bool | None = Field(
        default=None,
        description="measure what each attention head knows too; none: where a TensorBoard folder is given",
    )


@configclass
class ClauseConfig:
    """How clauses start, how many each block gets, and whether heads are weighed by the clauses they feed."""

    auto: bool = Field(
        default=False,
        description="share out the clauses over the blocks by what they are worth to a briefly trained model",
    )
    target: int = Field(default=0, ge=0, description="of auto: total of all blocks; 0 keeps the sum")
    auto_batches: int = Field(default=16, gt=0, description="of auto: training batches by which blocks are weighed")
    auto_steps: int = Field(default=100, gt=0, description="of auto: optimizer steps of the brief training before")
    specialize: bool = Field(
        default=False, description="weigh attention heads by the clauses they feed, after each epoch"
    )
    specialize_strength: float = Field(
        default=0.5, gt=0, le=1, description="of specialize: from equal heads to all of it"
    )


@configclass
class OutputConfig:
    """Files beside the run folder."""

    save_path: str | None = Field(
        default=None, description="checkpoint with model_kwargs and model_state, for torch.load"
    )
    bitpack: bool = Field(
        default=False, description="of tm: evaluate with packed bits too; seconds and answers beside dense"
    )
    log_dir: str | None = Field(
        default=None, description="TensorBoard folder with a curve per epoch under Transformer-*"
    )
    overlays: str | None = Field(default=None, description="folder of pictures: image, attention, clauses, top classes")
    overlay_samples: int = Field(
        default=8, ge=0, description="of overlays: how many images of the test split, drawn by class"
    )
    overlay_topk: int = Field(default=3, gt=0, description="of overlays: classes in the bars")

    def check(self) -> None:
        """Refuse places that cannot be written, before hours of training and not after.

        Raises:
            InputError: a folder where a file is wanted, or a file where a folder is.
        """
        if self.save_path is not None and Path(self.save_path).is_dir():
            raise InputError(f"output.save_path: expected a file, {self.save_path} is a folder")
        folders = {"overlays": self.overlays, "log_dir": self.log_dir}
        if self.save_path is not None:
            folders["save_path"] = str(Path(self.save_path).parent)
        for name, folder in folders.items():
            if folder is None:
                continue
            made = missing_folders(Path(folder))
            try:
                Path(folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"output.{name}: cannot make the folder {folder}: {error.strerror}") from None
            finally:
                remove_empty(made)  # whoever writes there makes it anew; a run that is refused leaves none


@configclass
class VisionConfig:
    """One or several clause networks on one image data set."""

    name: str = Field(default="vision", min_length=1, description="the folder is runs/NAME unless --out is given")
    models: tuple[ModelName, ...] = Field(
        default=("transformer",), min_length=1, description="trained one after another"
    )
    data: DataConfig = Field(default_factory=lambda: DataConfig(name="mnist"))
    features: FeaturesMode = Field(default_factory=FeaturesMode, description="boolean features in place of pixels")
    model: ModelsConfig = Field(default_factory=ModelsConfig, description="settings of each model")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="peak; none: transformer 3e-3 x sqrt(batch size / 64) (2e-3 without muon), tm 3e-2, others 5e-3",
    )
    training: RunTrainingConfig = Field(
        default_factory=lambda: RunTrainingConfig(
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
    teacher: TeacherConfig | None = Field(default=None, description="the external teacher; null: labels alone")
    more_teachers: tuple[TeacherConfig, ...] = Field(
        default=(), description="further teachers: the KL is to the mean of all their probabilities"
    )
    signals: tuple[SignalConfig, ...] = Field(default=(), description="learned from the teacher beside its scores")
    loss: VisionLossConfig = Field(default_factory=VisionLossConfig)
    clauses: ClauseConfig = Field(default_factory=ClauseConfig)
    prior: Literal["none", "symmetric", "zero"] = Field(
        default="none",
        description="how include logits start: drawn; clauses in complementary pairs; all close to the threshold",
    )
    output: OutputConfig = Field(default_factory=OutputConfig)
    arms: tuple[ArmName, ...] = Field(default=(), description="controls too; none: kd with a teacher, no-kd without")
    seeds: int = Field(default=1, gt=0, le=10_000, description="how many seeds each arm is trained with")

    def __post_init__(self) -> None:
        if self.training.learning_rate != RunTrainingConfig().learning_rate:
            raise ValueError(
                "training.learning_rate: set learning_rate (--lr), which each model has its own default of"
            )
        if self.learning_rate is None and self.training.optimizer in {"sgd", "dot"}:
            raise ValueError(
                f"learning_rate: the usual ones are AdamW's and far too small for {self.training.optimizer}; give --lr"
            )
        self._check_arms()
        if (self.signals or self.more_teachers) and not self.taught:
            raise ValueError("signals, more_teachers: need a teacher whose weight is above 0")
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models: expected each model once, got {', '.join(self.models)}")
        if self.data.num_classes == 1:
            raise ValueError("data.num_classes: expected at least 2 classes, got 1")
        if self.features.mode != "raw":
            pixels = [model for model in self.models if model not in {"tm", "deep_tm"}]
            if pixels:
                raise ValueError(
                    f"features.mode: {', '.join(pixels)} reads pixels; boolean features are for tm and deep_tm"
                )
            if self.training.mixing.on:
                raise ValueError("training.mixing: boolean features cannot be blended; take features.mode raw")
        if self.output.bitpack and "tm" not in self.models:
            raise ValueError("output.bitpack: evaluates flat machines, and no model is tm")
        if "transformer" not in self.models:
            for what in ("save_path", "overlays"):
                if getattr(self.output, what) is not None:
                    raise ValueError(f"output.{what}: is made of a transformer, and no model is one")
        if self.clauses.target and not self.clauses.auto:
            raise ValueError("clauses.target: shares out nothing without clauses.auto (--transformer-auto-clause)")
        if self.clauses.auto and "transformer" not in self.models:
            raise ValueError("clauses.auto: shares out the clauses of a transformer's blocks, and no model is one")

    @property
    def taught(self) -> bool:
        """Whether the reference arm has an external teacher."""
        return self.teacher is not None and self.loss.teacher_weight > 0

    def _check_arms(self) -> None:
        if "kd" in self.arms and not self.taught:
            raise ValueError(
                "arms: 'kd' needs a teacher (--distill-teacher-checkpoint FILE, or another --distill-teacher-... of a weight "
                "above 0); take 'no-kd' to train on labels alone"
            )

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> VisionConfig:
        """From plain data: other spellings of data sets are taken, and sizes are checked against the data's image.

        Raises:
            ConfigError: what the schema does not take.
        """
        for name in ("data", "model"):
            if not isinstance(mapping.get(name, {}), Mapping):
                raise ConfigError(
                    f"{name}: expected settings under it (as data: {{name: mnist}}), got {mapping[name]!r}"
                )
        data, model = dict(mapping.get("data", {})), dict(mapping.get("model", {}))
        data["name"] = DATASETS.get(data.get("name", "mnist"), data.get("name", "mnist"))
        if data["name"] == "imagenet":
            data |= imagenet(data)
        side = data.get("image_size") or SIDES.get(data["name"], 224)
        # sizes that hang on the image (windows, pools) are checked against the data's, not against a default; a model that
        # is not trained keeps its default, which fits its own other defaults
        named = mapping.get("models", ("transformer",))
        for name in (one for one in MODELS if one in named):  # others have an error of their own
            documented = {"levels": 1} if name == "tm" else {}  # one bit a pixel, and boolean features are bits
            model[name] = {**documented, **model.get(name, {}), "image_size": side}
        return parse(cls, {**mapping, "data": data, "model": model})

    @property
    def measures_heads(self) -> bool:
        """Whether each attention head has a read-out."""
        given = self.loss.head_probes
        return self.output.log_dir is not None if given is None else given

    def run_config(
        self, model: ModelName, places: tuple[str, ...] = (), heads: Mapping[str, int] | None = None
    ) -> ClassificationRunConfig:
        """The run of one model.

        Args:
            model: one of `models`.
            places: paths of its sub-modules that read-outs stand at, the last of them the vector before the head.
            heads: paths at which the contexts of attention heads can be read, and how many heads each has.
        """
        loss, training = self.loss, self.training
        strength = self.clauses.specialize_strength if self.clauses.specialize else 0.0
        rate = self.learning_rate or self._usual_rate(model)
        plain = training.optimizer == "muon" and model != "transformer"  # the others have hardly a matrix to move
        training = replace(
            training,
            optimizer="adamw" if plain else training.optimizer,
            learning_rate=rate,
            final_learning_rate=min(rate, training.final_learning_rate),
            clause_specialize=strength if model == "transformer" else 0.0,
        )
        kl: SignalConfig = LogitsConfig(
            name="teacher_kd_loss",
            weight=loss.teacher_weight,
            loss=ForwardKL(temperature=loss.teacher_temperature),
        )
        if self.more_teachers:
            kl = EnsembleConfig(
                name="teacher_kd_loss", weight=loss.teacher_weight, temperature=loss.teacher_temperature
            )
        try:
            signals = (kl, *self.signals) if self.taught else ()
            return self._run_config(model, training, signals, places, heads or {})
        except ValidationError as error:
            raise ConfigError("\n".join(e["msg"].removeprefix("Value error, ") for e in error.errors())) from None

    def _run_config(
        self,
        model: ModelName,
        training: RunTrainingConfig,
        signals: tuple[SignalConfig, ...],
        places: tuple[str, ...],
        heads: Mapping[str, int],
    ) -> ClassificationRunConfig:
        loss = self.loss
        return ClassificationRunConfig(
            name=f"{self.name}-{model}",
            data=self.data,
            teacher=self.teacher,
            student=student_of(self.model, model),
            more_teachers=self.more_teachers,
            signals=signals,
            auxiliary_losses=self._own(places, heads),
            auxiliary_decay=(training.ema_decay or SELF_DECAY) if loss.self_weight > 0 else None,
            prior=self.prior,
            training=training,
            arms=self.arms or (("kd",) if self.taught else ("no-kd",)),
            seeds=self.seeds,
        )

    def _usual_rate(self, model: ModelName) -> float:
        """Without --lr; a transformer's grows with the root of the batch (Malladi et al. 2022, arXiv:2205.10287)."""
        rate = RATES.get(model, OTHER_RATE)
        if model == "transformer" and self.training.optimizer == "muon":
            rate = MUON_RATE
        return rate * math.sqrt(self.training.batch_size / USUAL_BATCH) if model == "transformer" else rate

    def _own(self, places: tuple[str, ...], heads: Mapping[str, int]) -> tuple[Any, ...]:
        loss = self.loss
        own: list[Any] = []
        if loss.self_weight > 0:
            own.append(
                LogitsConfig(
                    name="ema_kd_loss", weight=loss.self_weight, loss=ForwardKL(temperature=loss.self_temperature)
                )
            )
        if places and (loss.probes or loss.aux_weight > 0):
            smoothing = self.training.label_smoothing
            own.append(ProbesConfig(places=places, weight=loss.aux_weight, smoothing=smoothing))
        if heads and self.measures_heads:
            own.append(ProbesConfig(name="head_probes", places=tuple(heads), heads=tuple(heads.values())))
        if places and loss.contrastive_weight > 0:
            own.append(
                ContrastiveConfig(
                    place=places[-1], weight=loss.contrastive_weight, temperature=loss.contrastive_temperature
                )
            )
        return tuple(own)
