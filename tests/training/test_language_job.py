"""The language job: every term reaches the student, stages come in their order, a resume repeats the run."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stillhouse.core.checks import InputError
from stillhouse.core.types import Progress
from stillhouse.curricula import ByTime, CurriculumConfig
from stillhouse.families.lm.align import attention_paths, inherit_embedding
from stillhouse.families.lm.data.corpus import Split
from stillhouse.families.lm.data.windows import Windows
from stillhouse.families.lm.job import LanguageJob, window_difficulty
from stillhouse.families.lm.lesson import LanguageLessonConfig, complete
from stillhouse.families.lm.losses import Kept, Live, language_losses
from stillhouse.families.lm.students import SpikeConfig, SpikingLMConfig
from stillhouse.families.lm.teachers import SmallTransformerConfig
from stillhouse.families.lm.teachers.cache import CacheKey, write_cache
from stillhouse.families.lm.teachers.teacher import LanguageTeacher
from stillhouse.losses import forward_kl
from stillhouse.signals import DynamicsConfig, HiddenConfig
from stillhouse.temperature import FixedTemperature, LearnedTemperature
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Validation
from stillhouse.training.loop import fit

V, L = 11, 8


def split(name="train", tokens=200, seed=0):
    return Split(name, np.random.default_rng(seed).integers(0, V, tokens).astype(np.uint16), tokens, name)


def student(**changes):
    torch.manual_seed(0)
    return SpikingLMConfig(**{"vocab_size": V, "width": 16, "layers": 2, "heads": 2, "chunk": 4, **changes}).build()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return SmallTransformerConfig(width=24, layers=4, heads=2, context=32).build(V).network


@pytest.fixture
def told(network):
    return LanguageTeacher(network, "small")


def lesson(**changes):
    return LanguageLessonConfig(**{"window": L, "epoch_steps": 3, "validation_tokens": 64, "source": "live", **changes})


def job(plan, told=None, model=None, *, total=12, **changes):
    return LanguageJob(
        student() if model is None else model,
        split(),
        split("valid", 100),
        plan,
        batch_size=4,
        total_steps=total,
        seed=0,
        teacher=told,
        **changes,
    )


def at(step, total=12):
    return Progress(step, total)


# ------------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("kind", ["kept", "live", "learned", "reverse-kl", "none"])
def test_pieces_change_neither_value_nor_gradient(kind, chunk):
    """Chunks exist for memory; a mean of means of unlike pieces would be another loss."""
    torch.manual_seed(0)
    h, w, y = torch.randn(7, 5), torch.randn(V, 5), torch.randint(0, V, (7,))
    teacher = torch.randn(7, V).log_softmax(-1)
    hot = torch.tensor(1.7, requires_grad=True) if kind == "learned" else 1.0
    logs, ids = teacher.topk(4)
    answers = {
        "kept": Kept(ids, logs),
        "none": None,
        "reverse-kl": Live(lambda rows: teacher[rows], "reverse-kl"),
    }.get(kind, Live(lambda rows: teacher[rows]))

    def run(size):
        a, b = h.clone().requires_grad_(), w.clone().requires_grad_()
        found = language_losses(a, b, y, answers, temperature=hot, chunk=size)
        sum(found.values()).backward()
        return found, a.grad, b.grad

    whole, *grads = run(None)
    parts, *others = run(chunk)
    assert set(whole) == {"labels"} | ({"kd"} if kind != "none" else set())
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name])
    for a, b in zip(grads, others):
        torch.testing.assert_close(a, b)
    if kind in ("live", "learned"):
        torch.testing.assert_close(whole["kd"], forward_kl(h @ w.T, teacher, temperature=hot).mean())


# ------------------------------------------------------------------------------------------------------ terms


def test_labels_are_the_next_token_and_kd_is_the_teachers(told):
    """Targets off by one, or a teacher asked about other rows, still gives a falling loss."""
    work = job(lesson(kd_weight=0.7, label_weight=0.3), told, student(spikes=None, ternary_weights=()))
    rows = torch.tensor([3, 0])
    terms = work.terms(rows, at(0))
    inputs, targets = work.windows(rows)
    logits = work.network(inputs).logits.flatten(0, 1)
    torch.testing.assert_close(terms["labels"][1], torch.nn.functional.cross_entropy(logits, targets.flatten()))
    torch.testing.assert_close(terms["kd"][1], forward_kl(logits, told(inputs).logits.flatten(0, 1)).mean())
    assert (terms["labels"][0], terms["kd"][0]) == (0.3, 0.7)


def test_without_a_teacher_the_text_is_all(told):
    """A control arm at half the weight, or with a teacher by mistake, is no control."""
    terms = job(lesson(label_weight=0.3)).terms(torch.tensor([0]), at(0))
    assert set(terms) == {"labels"}
    assert terms["labels"][0] == 1.0


def test_the_cache_answers_for_the_same_rows(told, tmp_path):
    """With all logits kept, cached and live distillation are one loss."""
    windows = Windows(split().ids, L)
    key = CacheKey(told.identity, "train", len(windows), L, V)
    cache = write_cache(told, windows, key, tmp_path)
    rows = torch.tensor([5, 2, 9])
    live = job(lesson(), told).terms(rows, at(0))["kd"][1]
    kept = job(lesson(source="cache"), None, cache=cache).terms(rows, at(0))["kd"][1]
    torch.testing.assert_close(live, kept, atol=5e-3, rtol=5e-3)
    with pytest.raises(InputError, match=r"expected 16 rows of 12"):
        job(lesson(source="cache", window=12), None, cache=cache)
    with pytest.raises(InputError, match=r"needs a cache"):
        job(lesson(source="cache"), told)


def test_a_learned_temperature_gets_a_gradient_against_the_student(told):
    """CTKD with a dead temperature is a fixed one; with strength 0 it is frozen."""
    hot = LearnedTemperature(initial=2.0, strength={"kind": "constant", "value": 1.0})
    work = job(lesson(temperature=hot), told)
    terms = work.terms(torch.tensor([0, 1]), at(0))
    sum(w * v for w, v in terms.values()).backward()
    assert work.learned.temperature.weight.grad.abs() > 0
    assert work.figures()["temperature"] == pytest.approx(2.0)
    assert "temperature-anchor" in terms


@pytest.mark.parametrize("kind", ["hidden", "dynamics"])
def test_signals_reach_the_student(told, kind):
    """A hidden layer matched nowhere is a term that never moves."""
    where = {
        "student": "blocks.{}", "student_layers": 2, "teacher": "model.layers.{}", "teacher_layers": 4, "pool": "none",
        "student_layout": "sequence", "teacher_layout": "sequence",
    }  # fmt: skip
    config = HiddenConfig(**where) if kind == "hidden" else DynamicsConfig(**where)
    work = job(lesson(signals=(config,), kd_weight=0.0), told)
    terms = work.terms(torch.tensor([0, 1]), at(0))
    name = next(name for name in terms if name.startswith(kind))
    terms[name][1].backward()
    assert work.network.blocks[1].ffn.up.weight.grad.abs().sum() > 0
    assert any(p.grad is not None for p in work.extras.parameters())
    assert all(p.grad is None for p in told.network.parameters())


def test_alignment_comes_first_and_alone_and_teaches_mixers_only(told):
    """Stage 1 must not touch the vocabulary, and must end."""
    work = job(lesson(align=0.5), told)
    terms = work.terms(torch.tensor([0, 1]), at(0))
    assert set(terms) == {"align"}
    terms["align"][1].backward()
    assert work.network.blocks[0].mixer.value.weight.grad.abs().sum() > 0
    assert work.network.embedding.weight.grad is None
    assert work.network.blocks[0].ffn.up.weight.grad is None
    assert {"labels", "kd"} <= set(work.terms(torch.tensor([0]), at(6)))
    assert attention_paths(told.network)[3] == ("model.layers.3.input_layernorm", "model.layers.3.self_attn")


def test_alignment_lowers_its_own_loss(told):
    """Share of variance: 1 is knowing nothing; a few steps must gain."""
    work = job(lesson(align=0.9), told, total=40)
    optimizer = torch.optim.AdamW([*work.model.parameters(), *work.extras.parameters()], 1e-2)
    values = []
    for step in range(30):
        value = work.terms(torch.arange(8), at(step, 40))["align"][1]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


def test_inherited_embeddings_keep_the_teachers_geometry():
    """Principal components keep distances as far as the width allows, at the student's own scale."""
    torch.manual_seed(0)
    table = torch.randn(V, 3) @ torch.randn(3, 24)
    own = torch.nn.Embedding(V, 6)
    scale = own.weight.std().item()
    inherit_embedding(own, table)
    assert own.weight.std().item() == pytest.approx(scale, rel=1e-3)
    ratio = torch.pdist(own.weight.detach()) / torch.pdist(table)
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=1e-5)
    with pytest.raises(InputError, match=r"at least 11 tokens"):
        inherit_embedding(own, table[:5])


# ------------------------------------------------------------------------------------------------------ stages


def test_the_ramp_goes_from_dense_to_quantized_weights_first():
    """A student that is never quantized, or from the first step, tests nothing of the ramp."""
    work = job(lesson(weights_ramp=(0.25, 0.5), spikes_ramp=(0.5, 0.75)), total=12)
    tokens = torch.arange(V).unsqueeze(0)
    dense = work.network(tokens).logits
    unit = next(iter(work.network.spike_units().values()))
    shares = []
    for step in range(13):
        work.stepped(step)
        shares.append((round(work.lesson.shares(step / 12)[0], 3), unit.share.item() / 1_000_000))
    assert shares[3] == (0.0, 0.0)
    assert shares[6] == (1.0, 0.0)
    assert shares[9] == (1.0, 1.0) == shares[12]
    assert work.calibrated
    assert not torch.allclose(work.network(tokens).logits, dense)
    assert work.validate(work.network).rank[0] == 1.0


def test_a_dense_student_has_no_ramp():
    """The dense arm must not be told apart by anything but its network."""
    work = job(lesson(), None, student(spikes=None, ternary_weights=()))
    work.stepped(6)
    assert "spike_share" not in work.figures()
    assert work.validate(work.network).rank[0] == 1.0


def test_rows_are_all_seen_before_one_comes_again():
    """Epochs of the loop are shorter than the text: rows must not be drawn from its beginning only."""
    work = job(lesson())
    rows = torch.cat([work.order(epoch) for epoch in range(4)])
    assert len(work.order(0)) == 12
    assert sorted(rows[:24].tolist()) == list(range(24))
    assert not torch.equal(work.order(0), work.order(1))


def test_a_curriculum_begins_with_what_the_teacher_finds_easy(told):
    """High is easy: turned round, POCL is its own control."""
    plan = CurriculumConfig(by_class=False, measures=("loss",), shares=(0.25, 1.0), replay=0.0, transition=ByTime())
    difficulty = window_difficulty(told, Windows(split().ids, L), ("loss", "margin"))
    assert difficulty.shape == (24,)
    work = job(lesson(curriculum=plan), told, difficulty=difficulty)
    assert set(work.order(0).tolist()) <= set(np.argsort(difficulty)[:6].tolist())
    assert len(work.order(0)) == 12
    work.observe(Validation({"nll": 1.0}, (0.0,)), at(8))
    assert work.stage == (1, 2)
    with pytest.raises(InputError, match=r"difficulty of 24 rows, got none"):
        job(lesson(curriculum=plan), told)


# ------------------------------------------------------------------------------------------------------ whole runs


class Stop(Exception):
    pass


def train(folder, told, *, resume=False, stop=None):
    config = complete(TrainingConfig(epochs=4, batch_size=4, learning_rate=5e-3, keep="last", threads=1, log_every=1))

    def on_progress(progress, news):
        if stop is not None and progress.step == stop:
            raise Stop

    work = job(lesson(), told, student(spikes=SpikeConfig(density=0.3)))
    fit(work, config, seed=0, folder=folder, resume=resume, on_progress=on_progress)
    return work.model.state_dict()


def test_a_resumed_run_is_the_uninterrupted_one(told, tmp_path):
    """Shares, calibration and rows must come back, in the middle of the ramp too."""
    whole = train(tmp_path / "a", told)
    with pytest.raises(Stop):
        train(tmp_path / "b", told, stop=5)
    again = train(tmp_path / "b", told, resume=True)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "cache", "divergence": "js"}, "needs all logits"),
        ({"source": "cache", "temperature": LearnedTemperature()}, "moves"),
        ({"source": "cache", "align": 0.1}, "hidden layers"),
        ({"weights_ramp": (0.5, 0.2)}, "a later end"),
        ({"label_weight": 0.0, "kd_weight": 0.0}, "one above 0"),
        ({"curriculum": CurriculumConfig()}, "no classes"),
        ({"temperature": LearnedTemperature(per_sample=True)}, "one a token"),
    ],
)
def test_lessons_that_cannot_be_are_told(change, said):
    """A setting that does nothing is worse than an error."""
    with pytest.raises(ValidationError, match=said):
        lesson(**change)


def test_short_texts_and_missing_teachers_are_told(told):
    """An epoch over nothing trains nothing and reports a score."""
    with pytest.raises(InputError, match=r"at least 301 tokens"):
        job(lesson(window=300))
    with pytest.raises(ValueError, match=r"ema_decay: does nothing"):
        complete(TrainingConfig(ema_decay=0.9))
    assert lesson(temperature=FixedTemperature(value=1.5)).temperatures == (1.5,)
