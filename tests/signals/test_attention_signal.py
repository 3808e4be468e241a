"""The signal of attention against what timm and transformers themselves attend to, layer and head by layer and head."""

import numpy as np
import pytest
import timm
import torch
from scipy.special import rel_entr

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse, to_mapping
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress, TextSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses.attention import relation_kl
from stillhouse.signals.attention import AttentionConfig
from stillhouse.tasks.classification.students.text import TextTransformer
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

NOW = Progress(0, 10)
QKV = "blocks.0.attn.qkv"
WHATS = ["scores", "probabilities", "values", "qkv-relations"]
every = pytest.mark.parametrize("what", WHATS)


def batch(inputs=None):
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(torch.zeros(0) if inputs is None else inputs, nothing, nothing)


def vit(seed, **settings):
    torch.manual_seed(seed)
    settings = {
        "img_size": 16,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "num_classes": 3,
    } | settings
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, **settings).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.4)
        torch.nn.init.normal_(block.attn.qkv.bias, std=0.4)
    return model


def attended(model, pixels):
    """What timm itself attends to, seen where it drops attention out: fused attention has to be off for that."""
    seen = []
    attention = model.blocks[0].attn
    attention.fused_attn = False
    handle = attention.attn_drop.register_forward_hook(lambda module, args, out: seen.append(out.detach().numpy()))
    with torch.no_grad():
        model(pixels)
    handle.remove()
    attention.fused_attn = True
    return seen[0]


def compare(config, student, teacher, inputs):
    ours, theirs = FeatureExtractor(student, config.student_paths), FeatureExtractor(teacher, config.teacher_paths)
    signal = config.build(ours.spec(inputs), theirs.spec(inputs))
    student.eval()
    with torch.no_grad():
        told = theirs(inputs)
    return signal(ours(inputs), told, batch(inputs), NOW)


def test_probabilities_are_those_of_timms_own_attention():
    """q, k and v unpacked in another order, or a scale forgotten, is the attention of no network."""
    student, teacher, pixels = vit(0), vit(1, embed_dim=48), torch.randn(2, 3, 16, 16)
    config = AttentionConfig(student=QKV, teacher=QKV, what="probabilities", student_heads=3, teacher_heads=3)
    expected = rel_entr(attended(teacher, pixels), attended(student, pixels)).sum(3).mean((1, 2))
    got = compare(config, student, teacher, pixels)
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-4)
    wrong = AttentionConfig(student=QKV, teacher=QKV, what="probabilities", student_heads=6, teacher_heads=6)
    assert not np.allclose(compare(wrong, student, teacher, pixels).detach().numpy(), expected, rtol=1e-2)


def test_scores_are_the_logarithms_of_what_timm_attends_to():
    """Up to a constant a row, which a softmax removes: taken off here, and no scale may be left over."""
    student, teacher, pixels = vit(0), vit(1), torch.randn(2, 3, 16, 16)
    config = AttentionConfig(student=QKV, teacher=QKV, what="scores", student_heads=3, teacher_heads=3)
    scores = []
    for model in (student, teacher):
        block = model.blocks[0]
        with torch.no_grad():
            q, k, _ = block.attn.qkv(block.norm1(_tokens(model, pixels))).reshape(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)
        scores.append((q @ k.transpose(2, 3) / 8**0.5).numpy())
        probabilities = np.exp(scores[-1]) / np.exp(scores[-1]).sum(3, keepdims=True)
        np.testing.assert_allclose(probabilities, attended(model, pixels), rtol=1e-3, atol=1e-6)
    expected = np.square(scores[0] - scores[1]).mean((1, 2, 3))
    np.testing.assert_allclose(compare(config, student, teacher, pixels).detach().numpy(), expected, rtol=1e-4)


def _tokens(model, pixels):
    seen = []
    handle = model.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(pixels)
    handle.remove()
    return seen[0]


class Texts(torch.nn.Module):
    """A tiny BERT with a head, as transformers builds it: queries, keys and values apart."""

    def __init__(self, seed, width=24, heads=3):
        from transformers import BertConfig, BertModel

        super().__init__()
        torch.manual_seed(seed)
        config = BertConfig(
            hidden_size=width,
            num_hidden_layers=1,
            num_attention_heads=heads,
            intermediate_size=32,
            vocab_size=50,
            initializer_range=0.5,
            attn_implementation="eager",
        )
        self.bert = BertModel(config)
        self.eval()

    def forward(self, ids):
        return self.bert(ids, attention_mask=(ids != 0).long()).pooler_output[:, :3]

    def attended(self, ids):
        with torch.no_grad():
            said = self.bert(ids, attention_mask=(ids != 0).long(), output_attentions=True)
        return said.attentions[0].numpy()


SELF = "bert.encoder.layer.0.attention.self."
APART = (SELF + "query", SELF + "key", SELF + "value")
IDS = torch.tensor([[5, 6, 7, 8, 9], [3, 4, 0, 0, 0], [1, 2, 3, 4, 0]])


def test_separate_projections_and_padding_are_those_of_transformers():
    """Padding as key or as query is noise of the same size as the signal."""
    student, teacher = Texts(0), Texts(1, width=48)
    config = AttentionConfig(
        student=APART[:2], teacher=APART, what="probabilities", student_heads=3, teacher_heads=3, padding=0
    )
    assert config.teacher_paths == APART[:2]
    p, q = teacher.attended(IDS), student.attended(IDS)
    expected = [rel_entr(p[b, :, :n, :n], q[b, :, :n, :n]).sum(2).mean() for b, n in enumerate((5, 2, 4))]
    got = compare(config, student, teacher, IDS)
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-3)
    everywhere = parse(AttentionConfig, to_mapping(config) | {"padding": None})
    assert not np.allclose(compare(everywhere, student, teacher, IDS).detach().numpy()[1:], expected[1:], rtol=1e-2)


@pytest.mark.parametrize("teacher", [QKV, APART])
def test_relations_join_any_two_kinds(teacher):
    """Packed against apart, widths and heads unlike, only the length is the same."""
    size = (5, 72) if teacher is QKV else (5, 24)
    features = {path: torch.randn(4, *size) for path in ((teacher,) if teacher is QKV else teacher)}
    said = Outputs(torch.zeros(4, 3), {"s": torch.randn(4, 5, 3 * 40)})
    told = Outputs(torch.zeros(4, 3), features)
    shapes = [OutputSpec(3, {n: tuple(x.shape[1:]) for n, x in o.features.items()}) for o in (said, told)]
    ours = said.features["s"].split(40, dim=2)
    theirs = features[QKV].split(24, dim=2) if teacher is QKV else [features[path] for path in APART]
    parts = [relation_kl(a, b, heads=4) for a, b in zip(ours, theirs)]
    for what, expected in (("qkv-relations", torch.stack(parts).mean(0)), ("values", parts[2])):
        config = AttentionConfig(student="s", teacher=teacher, what=what, relation_heads=4)
        torch.testing.assert_close(config.build(*shapes)(said, told, batch(), NOW), expected)


def test_keys_that_query_heads_share_have_relations_but_no_scores():
    """Grouped queries: keys are narrower; broadcasting them would be a guess."""
    shapes = {"q": (5, 16), "k": (5, 8), "v": (5, 8)}
    features = {name: torch.randn(4, *shape) for name, shape in shapes.items()}
    said, spec = Outputs(torch.zeros(4, 3), features), OutputSpec(3, shapes)
    paths = ("q", "k", "v")
    config = AttentionConfig(student=paths, teacher=paths, relation_heads=2)
    assert config.build(spec, spec)(said, said, batch(), NOW).abs().max() < 1e-6
    with pytest.raises(InputError, match="one length and one width"):
        AttentionConfig(student=paths, teacher=paths, what="scores", student_heads=2, teacher_heads=2).build(spec, spec)


@every
def test_equal_networks_give_zero_and_gradient_reaches_the_students_layer(what):
    """A signal whose graph is cut trains nothing."""
    torch.manual_seed(0)
    student = UnifiedTMTransformer(3, image_size=16, patch_size=8, embed_dim=24, depths=1, num_heads=3)
    teacher, pixels = vit(1), torch.rand(4, 3, 16, 16)
    path = "blocks.0.attention.qkv"
    config = AttentionConfig(student=path, teacher=QKV, what=what, student_heads=3, teacher_heads=3)
    value = compare(config, student, teacher, pixels)
    assert value.shape == (4,)
    assert (value > 0).all()
    value.mean().backward()
    gradient = student.blocks[0].attention.qkv.weight.grad.unflatten(0, (3, 24)).abs().sum((1, 2))
    expected = {"scores": (1, 1, 0), "probabilities": (1, 1, 0), "values": (0, 0, 1), "qkv-relations": (1, 1, 1)}[what]
    assert (gradient > 0).int().tolist() == list(expected)
    assert student.patch_embed.weight.grad.abs().sum() > 0
    same = AttentionConfig(student=QKV, teacher=QKV, what=what, student_heads=3, teacher_heads=3)
    assert compare(same, teacher, teacher, pixels).abs().max() < 1e-6


def test_our_own_text_student_learns_from_a_bert():
    """With a whole row of padding, which must add nothing."""
    torch.manual_seed(0)
    student = TextTransformer(TextSpec(("no", "yes"), 5, 50), width=12, depth=1, heads=2, dropout=0.0)
    ids = torch.cat([IDS, torch.zeros(1, 5, dtype=torch.int64)])
    config = AttentionConfig(student="blocks.0.attention.qkv", teacher=APART, relation_heads=3, padding=0)
    value = compare(config, student, Texts(1), ids)
    assert value[3] == 0
    assert (value[:3] > 0).all()
    value.sum().backward()
    assert student.tokens.weight.grad.isfinite().all()
    assert student.tokens.weight.grad.abs().sum() > 0


def test_what_does_not_fit_says_so():
    """Before any training."""
    spec = OutputSpec(3, {"blocks.0.qkv": (5, 24), "map": (8, 4, 4), "odd": (5, 25), "long": (6, 8), "short": (5, 8)})

    def build(match, **settings):
        settings = {"student": "blocks.0.qkv", "teacher": "blocks.0.qkv", "relation_heads": 2} | settings
        with pytest.raises(InputError, match=match):
            AttentionConfig(**settings).build(spec, spec)

    build(
        "teacher feature 'blocks.1.qkv' is not among its outputs; did you mean 'blocks.0.qkv'", teacher="blocks.1.qkv"
    )
    build(r"student: expected \(L, D\) of each", student="map")
    build("student: expected at least 2 tokens after student_skip 4, got 1", student_skip=4)
    build(r"student: expected \(L, D\) of each", student="odd")
    build(r"heads that divide the widths \[8, 8, 8\], got 3", relation_heads=3)
    build("one length and one width", student=("long", "short", "blocks.0.qkv"))


def test_configurations_that_cannot_be_are_refused():
    """Each with what was expected; a setting without effect too."""
    base = {"student": "a", "teacher": "b"}
    heads = {"student_heads": 2, "teacher_heads": 2}
    for settings, message in (
        ({}, "take what: qkv-relations with relation_heads that divide both widths"),
        ({"student_heads": 2, "teacher_heads": 4}, "got 2 and 4"),
        ({"what": "scores"}, "student_heads and teacher_heads: expected both and the same, got None and None"),
        ({"what": "scores", "relation_heads": 2} | heads, "relation_heads: does nothing under what 'scores'"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse(AttentionConfig, base | settings)
    config = AttentionConfig(student="a", teacher=("q", "k", "v"), causal=True, **heads)
    assert parse(AttentionConfig, to_mapping(config)) == config
    assert (config.student_paths, config.teacher_paths) == (("a",), ("q", "k", "v"))
