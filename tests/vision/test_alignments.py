"""What documents 000 and 001 combine: alignments, several teachers and features in one run, read-outs of each head."""

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stillhouse.cli.main import main
from stillhouse.compat.vision import read
from stillhouse.core.types import Batch, ImageSpec, Outputs, OutputSpec, Progress
from stillhouse.signals.exits import ProbesConfig
from stillhouse.tasks.classification.students.transformer_config import UnifiedTMConfig
from stillhouse.tasks.classification.vision.run import places_of
from stillhouse.teachers.config import TeacherConfig

SMALL = [
    *("--dataset", "digits", "data.train_limit=96", "data.test_limit=40", "--device", "cpu", "--threads", "1", "--quiet"),
    *("--transformer-patch", "2", "--transformer-d-model", "12", "--transformer-heads", "3", "--transformer-layers", "2"),
    *("--transformer-clauses", "12", "--transformer-mlp-ratio", "2", "--batch-size", "32", "--epochs", "1"),
]  # fmt: skip
TAUGHT = [*SMALL, "teacher.source=builtin:digits"]
PLACES = "student: blocks.1, teacher: '0:layer2'"
BANK = "student: blocks.1.feed_forward.core.layers.0.bank, teacher: '0:layer2'"
SIGNALS = {
    "feature_loss": f"{{kind: features, name: feature_loss, weight: 0.1, pool: mean, {PLACES}}}",
    "relation_loss": f"{{kind: relations, name: relation_loss, weight: 0.2, relation: cka, {PLACES}}}",
    "clause_loss": f"{{kind: clause-targets, name: clause_loss, weight: 0.5, {BANK}}}",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two teachers, all three alignments, read-outs of heads, TensorBoard: one run of a few steps."""
    out = tmp_path_factory.mktemp("aligned")
    given = [f"signals=[{', '.join(SIGNALS.values())}]", "more_teachers=[{source: builtin:digits}]"]
    words = [*TAUGHT, *given, "training.log_every=1"]
    assert main(["vision", *words, "--transformer-log-dir", str(out / "board"), "--out", str(out / "run")]) == 0
    return out


def test_alignments_and_several_teachers_in_one_run(run):
    """Each signal is a term of its own, beside the KL to the mean of both teachers; layers are those of the first."""
    found = json.loads((run / "run" / "results.json").read_text())["models"]["transformer"]
    losses = found["losses"]
    for name in ("teacher_kd_loss", *SIGNALS):
        assert losses[name] > 0, name
    signals = {signal["name"]: signal for signal in found["config"]["signals"]}
    assert signals["teacher_kd_loss"]["kind"] == "ensemble"
    assert signals["feature_loss"]["teacher"] == "0:layer2"
    assert {name: signals[name]["weight"] for name in SIGNALS} == dict(zip(SIGNALS, (0.1, 0.2, 0.5)))
    assert len(found["config"]["more_teachers"]) == 1


def test_each_heads_accuracy_is_logged(run):
    """Document 001, section 8: component and head accuracies. They were read out by nothing that had learned."""
    found = json.loads((run / "run" / "results.json").read_text())["models"]["transformer"]
    heads = [name for name in found["epochs"][-1] if "#head" in name]
    assert heads == [f"component/blocks.{block}.contexts#head{head}" for block in (0, 1) for head in (1, 2, 3)]
    (folder,) = {path.parent for path in (run / "board").rglob("events*")}
    tags = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    assert "Transformer-VIT/components/blocks.1.contexts#head3" in tags


def test_a_heads_readout_learns_what_that_head_knows():
    """Head 2 of 3 holds the class and the others noise: its read-out answers, theirs guess; no gradient reaches the network."""
    torch.manual_seed(0)
    signal = ProbesConfig(places=("x",), heads=(3,)).build(OutputSpec(4, {"x": (5, 12)}))
    labels = torch.arange(200) % 4
    x = torch.randn(200, 5, 12)
    x[:, :, 4:8] = 3 * torch.nn.functional.one_hot(labels, 4).float()[:, None] + 0.1 * x[:, :, 4:8]
    x.requires_grad_()
    batch, optimizer = Batch(x, labels, torch.arange(200)), torch.optim.Adam(signal.parameters(), lr=0.1)
    for _ in range(40):
        out = Outputs(torch.zeros(200, 4), {"x": x})
        signal(out, None, batch, Progress(0, 1))
        optimizer.zero_grad()
        sum(value for _, value in signal.regularizers().values()).backward()
        optimizer.step()
    assert x.grad is None
    right = {name: float((z.argmax(1) == labels).float().mean()) for name, z in signal.exit_logits(out).items()}
    assert list(right) == ["x#head1", "x#head2", "x#head3"]
    assert right["x#head2"] > 0.95 > 0.6 > max(right["x#head1"], right["x#head3"])


@pytest.mark.parametrize("architecture", ["vit", "swin"])
def test_contexts_are_those_before_the_projection(architecture):
    """What the projection makes of the tapped contexts is the attention's output."""
    from stillhouse.layers.hooks import FeatureExtractor

    own = {"depths": 1} if architecture == "vit" else {"depths": (1, 1), "window_size": 2}
    config = UnifiedTMConfig(architecture=architecture, patch_size=2, embed_dim=12, num_heads=3, image_size=8, **own)
    input_spec = ImageSpec(("a", "b"), (1, 8, 8), (0.3,), (0.2,))
    model = config.build(input_spec).eval()
    heads = places_of(config, input_spec)[1]
    first = next(iter(heads))
    assert heads[first] == 3
    block = model.get_submodule(first.rpartition(".")[0])
    seen = []
    block.attention.register_forward_hook(lambda part, given, out: seen.append(out))
    context = FeatureExtractor(model, (first,))(input_spec.example(2)).features[first]
    torch.testing.assert_close(block.heads.projection(context), seen[0].out)


def test_imagenet_is_class_folders(tmp_path):
    """Streamed, random parts of images at 224 pixels; `--dataset imagenet` was refused."""
    data = read(["--dataset", "imagenet"])[1].data
    assert (data.name, data.root, data.stream, data.image_size, data.augment) == (
        "folder",
        "data/imagenet",
        True,
        224,
        "resized-crop",
    )
    data = read(["--dataset", "imagenet", "--dataset-root", str(tmp_path), "--tm-target-size", "64"])[1].data
    assert (data.name, data.stream, data.image_size) == ("folder", True, 64)


def test_a_teacher_at_the_datas_size():
    """Document 000: it honours the student's size. Native is the default: a ViT's 224; asked for, 40 pixels are 40."""
    input_spec = ImageSpec(("a", "b"), (3, 40, 40), (0.5,) * 3, (0.5,) * 3)
    source = {"source": "timm:vit_tiny_patch16_224", "pretrained": False, "architecture": {"depth": 1}}
    built = TeacherConfig(**source, data_size=True).build(input_spec)
    assert built.module.pos_embed.shape[1] == 1 + (40 // 16) ** 2
    assert TeacherConfig(**source).build(input_spec).module.pos_embed.shape[1] == 1 + 14**2
    assert read([*SMALL, "--distill-teacher-timm", "vit_tiny_patch16_224", "teacher.data_size=true"])[
        1
    ].teacher.data_size
    with pytest.raises(ValueError, match="expected one of the two"):
        TeacherConfig(**source, data_size=True, image_size=32)
