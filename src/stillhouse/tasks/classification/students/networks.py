"""Students without clauses by their kinds: of timm, convolutions that spike, transformers of texts, students of words and tables.

No torch until one is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass
from stillhouse.core.types import FeatureSpec, InputSpec, TextSpec
from stillhouse.tasks.classification.students.config import IMAGES, PLACE, images_for

if TYPE_CHECKING:
    from torch import nn


def built(config: Any, spec: InputSpec, wanted: type, rows: str) -> Any:
    """The network that a configuration names, of its fields, with weights from torch's global generator.

    Raises:
        InputError: the task has rows of another kind.
    """
    if not isinstance(spec, wanted):
        raise InputError(f"student {config.kind!r}: expected {rows}, got {spec.rows}")
    fields = {name: value for name, value in vars(config).items() if name != "kind"}
    return resolve_name(f"{PLACE}.{config.network}")(spec, **fields)


@configclass
class TimmStudentConfig:
    """Any timm architecture, from random weights, at the size of the data."""

    usual: ClassVar[Mapping[str, Any]] = IMAGES
    kind: Literal["timm"] = "timm"
    architecture: str = Field(default="test_resnet", min_length=1, description="name of the architecture in timm")
    arguments: dict[str, int | float | bool | str | tuple[int, ...]] = Field(
        default_factory=dict, description="more keyword arguments of the architecture, as channels or embed_dim"
    )

    def build(self, input_spec: InputSpec) -> nn.Module:
        """The network, with weights from torch's global generator; it normalizes raw pixels itself.

        Raises:
            InputError: timm has no such architecture, or it does not take an argument or the size of the images.
        """
        import timm
        import torch

        from stillhouse.layers.norms import Normalized
        from stillhouse.teachers.networks import own_arguments

        spec = images_for(self, input_spec)
        if not timm.is_model(self.architecture):
            near = nearest(self.architecture, timm.list_models())
            raise InputError(f"timm has no model {self.architecture!r}; {near}")
        own_arguments(self.arguments, f"student timm:{self.architecture}")
        settings: dict[str, Any] = {"num_classes": spec.num_classes, "in_chans": spec.shape[0], **self.arguments}
        try:
            try:
                network: nn.Module = timm.create_model(self.architecture, img_size=spec.shape[1:], **settings)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
                network = timm.create_model(self.architecture, **settings)
            student = Normalized(network, spec.pixel_mean, spec.pixel_std)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                student.eval()(torch.zeros(1, *spec.shape))
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            shape = " x ".join(map(str, spec.shape))
            raise InputError(f"student timm:{self.architecture} cannot be built for {shape}: {error}") from None
        return student.train()


@configclass
class SpikingStudentConfig:
    """Convolutions of stride 2 whose neurons add up what comes and spike; `head` puts out class scores at every time step."""

    usual: ClassVar[Mapping[str, Any]] = {"training": {**IMAGES["training"], "learning_rate": 2e-2}}
    kind: Literal["spiking"] = "spiking"
    width: int = Field(default=16, gt=0, description="channels of the first convolution; doubles three times")
    depth: int | None = Field(default=None, gt=0, description="convolutions; none: three, or till 2 pixels are left")
    steps: int = Field(default=4, gt=0, description="T, time steps that an image is shown; the answer is their mean")
    decay: float = Field(default=0.5, ge=0, lt=1, description="share of a neuron's charge left after a time step")

    def build(self, input_spec: InputSpec) -> nn.Module:
        """The network, with weights from torch's global generator; it normalizes raw pixels itself.

        Raises:
            InputError: texts, or more convolutions of stride 2 than the image has room for.
        """
        from stillhouse.layers.norms import Normalized
        from stillhouse.layers.spikes.neurons import SpikingNetwork

        spec = images_for(self, input_spec)
        side = min(spec.shape[1:])
        depth = self.depth or max(1, min(side.bit_length() - 1, max(3, (side - 1).bit_length() - 1)))
        if side < 2**depth:
            raise InputError(f"{self.kind}: expected images of {2**depth} pixels a side, got {spec.shape[1:]}")
        widths = [spec.shape[0], *(self.width * 2 ** min(i, 3) for i in range(depth))]
        network = SpikingNetwork(widths, spec.num_classes, steps=self.steps, decay=self.decay)
        return Normalized(network, spec.pixel_mean, spec.pixel_std)


@configclass
class TextConfig:
    """What transformers over token ids have in common; not a student itself."""

    reads: ClassVar[str] = "texts"
    network: ClassVar[str]  # module:class beside this one
    width: int = Field(default=64, gt=0, description="width of a token, a multiple of heads")
    depth: int = Field(default=2, gt=0, description="number of blocks")
    heads: int = Field(default=2, gt=0, description="attention heads")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")

    def build(self, input_spec: InputSpec) -> Any:
        """The network, with weights from torch's global generator.

        Raises:
            InputError: the task is not one of texts.
        """
        return built(self, input_spec, TextSpec, "labelled texts")


@configclass
class TextTransformerConfig(TextConfig):
    """A small transformer encoder over token ids, mean-pooled over the tokens that are there."""

    kind: Literal["text-transformer"] = "text-transformer"
    network: ClassVar[str] = "text:TextTransformer"
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout on embeddings and branches")


@configclass
class SpikingTextConfig(TextConfig):
    """A transformer of spiking neurons over token ids; `head` puts out class scores at every time step."""

    kind: Literal["spiking-text"] = "spiking-text"
    network: ClassVar[str] = "text:SpikingTextTransformer"
    steps: int = Field(default=4, gt=0, description="T, time steps that a text is shown; the answer is their mean")
    decay: float = Field(default=0.5, ge=0, lt=1, description="share of a neuron's charge left after a time step")


# What a run of these students takes where it names nothing else. The teacher knows the labels, so that a taught student needs few
# of them beside it; TF-IDF has a weight for every word and is held back by their decay. Chosen on rows that no test has.
BASIC = {"epochs": 20, "learning_rate": 5e-2, "warmup_epochs": 0, "keep": "last", "threads": 1}
LABELS = {**BASIC, "weight_decay": 0.5, "label_weight": 0.1}
# of TF-IDF: not Adam, whose steps are alike for rare words and common ones: 4 points less without a teacher
PLAIN_DESCENT = {"optimizer": "sgd", "learning_rate": 3e-2, "clip_norm": 0, "weight_decay": 0, "epochs": 40}
USUAL: dict[str, Any] = {"signals": [{"kind": "logits", "temperature": 1.0}], "training": LABELS}


@configclass
class FeatureConfig:
    """What students of words and tables have in common; not a student itself."""

    # what logistic regression was ahead by, see benchmarks/results/few-labels.md
    behind: ClassVar[Mapping[str, str]] = {
        "texts": "was up to 11 points behind it, with 100 labels and no teacher; with one from 8 behind to 12 ahead",
        "tables": "was up to 4 points behind it, with 100 labels and no teacher; with one up to 5 ahead",
    }
    reads: ClassVar[str] = "words or a table"
    usual: ClassVar[Mapping[str, Any]] = USUAL
    network: ClassVar[str]  # module:class beside this one

    def build(self, input_spec: InputSpec) -> Any:
        """The network; those of rules and trees begin without any.

        Raises:
            InputError: the task is of images or of token ids.
        """
        return built(self, input_spec, FeatureSpec, "words or a table (data.name=words)")


@configclass
class TfidfConfig(FeatureConfig):
    """Logistic regression on TF-IDF of all words: the strongest student of texts here, and the hardest to read."""

    behind: ClassVar[Mapping[str, str]] = {}
    usual: ClassVar[Mapping[str, Any]] = USUAL | {"training": {**LABELS, **PLAIN_DESCENT}}
    kind: Literal["tf-idf"] = "tf-idf"
    network: ClassVar[str] = "linear_features:TfidfClassifier"


@configclass
class ScorecardConfig(FeatureConfig):
    """Points for each of a few words (or thresholds, or categories) of a class."""

    usual: ClassVar[Mapping[str, Any]] = USUAL | {"training": {**LABELS, "learning_rate": 0.2}}
    kind: Literal["scorecard"] = "scorecard"
    network: ClassVar[str] = "linear_features:Scorecard"
    words: int = Field(default=40, gt=0, description="features of a class that have points")
    penalty: float = Field(default=3e-3, ge=0, description="weight of the L1 norm, until features are cut")


@configclass
class TreeConfig(FeatureConfig):
    """A decision tree of words or thresholds, read as a list: the first line whose words are all there decides."""

    behind: ClassVar[Mapping[str, str]] = {
        "texts": "was up to 20 points behind it, with 100 labels and no teacher; student.kind=scorecard is nearer",
        "tables": "was up to 7 points behind it, with 100 labels and no teacher; student.kind=rules is nearer",
    }
    kind: Literal["tree"] = "tree"
    network: ClassVar[str] = "tree:TreeClassifier"
    leaves: int = Field(default=32, ge=2, le=10_000, description="leaves at most; 32 fill a screen")


@configclass
class RulesConfig(FeatureConfig):
    """Rules such as `pin and not transfer`, each with points for one class; the class with most points is the answer."""

    usual: ClassVar[Mapping[str, Any]] = USUAL | {"training": {**BASIC, "epochs": 30}}
    kind: Literal["rules"] = "rules"
    network: ClassVar[str] = "rule_network:RuleNetwork"
    rules: int = Field(default=40, ge=1, le=1000, description="rules of a class at most")
    literals: int = Field(default=8, ge=1, le=64, description="words of a rule at most")
    penalty: float = Field(default=3e-3, ge=0, description="weight of the L1 norm of single words, until rules begin")
    evidence: float = Field(
        default=5.0, gt=0, description="z of the score test that a word must reach to be added to a rule"
    )
