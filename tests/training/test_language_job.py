"""The language job: every term reaches the student, stages come in their order, a resume repeats the run."""

import numpy as np
import pytest
import torch

from stillhouse.cache.content import Content
from stillhouse.cache.queries import write_cache
from stillhouse.cache.stored import StoredTeacher
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, OutputSpec, Progress
from stillhouse.curricula import ByTime, Curriculum, CurriculumConfig
from stillhouse.losses.divergence import forward_kl
from stillhouse.signals import LogitsConfig, student_features, teacher_features
from stillhouse.tasks.lm.corpus import Windows
from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule
from stillhouse.tasks.lm.plan import LanguageLossConfig, LanguageTrainingConfig
from stillhouse.tasks.lm.score import window_difficulty
from stillhouse.tasks.lm.signals import build_language_signals
from stillhouse.tasks.lm.students import NGramConfig, SpikeConfig, SpikingLMConfig
from stillhouse.tasks.lm.students.network import rounded_rows
from stillhouse.tasks.lm.students.prior import NGramPrior, held_out_priors
from stillhouse.tasks.lm.students.trie import count_trie
from stillhouse.tasks.lm.teachers import SmallTransformerConfig
from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher, teacher_queries_of
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher, small_transformer, tapped
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.temperature import LearnedTemperature
from stillhouse.training.distillation import SignalSet
from stillhouse.training.job import Validation
from stillhouse.training.loop import fit

V, L = 11, 8


def split(tokens=200, seed=0):
    return np.random.default_rng(seed).integers(0, V, tokens).astype(np.uint16)


def student(**changes):
    torch.manual_seed(0)
    return SpikingLMConfig(**{"vocab_size": V, "width": 16, "layers": 2, "heads": 2, "chunk": 4, **changes}).build()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return small_transformer(SmallTransformerConfig(width=24, layers=4, heads=2, context=32), V).network


@pytest.fixture
def told(network):
    return LanguageTeacher(network, "small", vocab_size=V)


def stage_context(**changes):
    return LanguageLossConfig(**{"window": L, "epoch_steps": 3, "validation_tokens": 64, "source": "live", **changes})


def job(plan, teacher=None, model=None, *, total=12, cache=None, signals=(), curriculum=None):
    """A job as the task makes it."""
    model = student() if model is None else model
    stage_teacher, signal_set = None, SignalSet(curriculum=curriculum)
    if teacher is not None:
        stage_teacher = LanguageStageTeacher(teacher.with_features(teacher_features(signals), plan.window), cache)
        shapes = dict.fromkeys(student_features(signals), (plan.window, 16))
        parts = build_language_signals(
            signals, OutputSpec(V, shapes), stage_teacher.spec, networks=(model, teacher.module)
        )
        signal_set = SignalSet(stage_teacher, parts, student_features(signals), curriculum=curriculum)
    return LanguageJob(
        model,
        (split(), split(100)),
        plan,
        TrainSchedule(batch_size=4, total_steps=total, seed=0),
        stage_teacher=stage_teacher,
        signal_set=signal_set,
    )


def as_batch(tokens):
    return Batch(tokens, tokens, torch.arange(len(tokens)))


def at(step, total=12):
    return Progress(step, total)


def test_a_network_is_rounded_when_the_run_ends():
    """Before that, rounding would lose small steps; without it another network is shipped than was scored."""
    model = student(floats="compact")
    work = job(stage_context(), model=model, total=2)
    work.on_train_batch_end(1)
    assert not is_settled(model)
    work.on_train_batch_end(2)
    assert is_settled(model)


def test_rows_learn_beside_an_n_gram_of_the_other_rows():
    """Its own n-gram knows a text too well: a student that learns beside it trusts it too much."""
    config = NGramConfig(order=3, entries=400, held_out=3)
    model, ids = student(ngram=config), split()
    rows = len(Windows(ids, L))
    priors = held_out_priors(ids, V, config, rows, L)
    work = LanguageJob(
        model,
        (split(), split(100)),
        stage_context(),
        TrainSchedule(batch_size=4, total_steps=9, seed=0),
        priors=priors,
    )
    batch = work.batch(torch.tensor([0, rows // 2, rows - 1]), at(0))
    third = len(priors[0].tables()["keys"])
    assert len(priors) == 3
    assert third > 0
    for row, (prior, cut) in enumerate(zip(priors, ((0, rows // 3), None, (2 * rows // 3, rows)))):
        wanted = prior(batch.inputs[row : row + 1], prior.initial_state(1))[0][0]
        torch.testing.assert_close(work._offset(batch)[row], wanted)
        if cut is not None:
            others = np.concatenate([ids[: cut[0] * L], ids[cut[1] * L :]])
            assert np.array_equal(prior.trie.words, count_trie(others, V, config).words)
    own = NGramPrior(V, config)
    own.fill(count_trie(ids, V, config))
    scored = [
        p(batch.inputs, p.initial_state(3))[0].gather(-1, batch.labels[..., None])[0].mean() for p in (own, priors[0])
    ]
    assert scored[0] > scored[1] + 0.2


def is_settled(model):
    return torch.equal(rounded_rows(model.embedding.weight), model.embedding.weight)


# ------------------------------------------------------------------------------------------------------ losses


# ------------------------------------------------------------------------------------------------------ terms


def test_labels_are_the_next_token_and_kd_is_the_teachers(told):
    """Targets off by one, or a teacher asked about other rows, still gives a falling loss."""
    work = job(stage_context(kd_weight=0.7, label_weight=0.3), told, student(spikes=None, ternary_weights=()))
    rows = torch.tensor([3, 0])
    terms = work.terms(rows, at(0))
    inputs, targets = work.windows(rows)
    logits = work.network(inputs).logits.flatten(0, 1)
    torch.testing.assert_close(terms["labels"][1], torch.nn.functional.cross_entropy(logits, targets.flatten()))
    torch.testing.assert_close(terms["kd"][1], forward_kl(logits, told(as_batch(inputs)).logits.flatten(0, 1)).mean())
    assert (terms["labels"][0], terms["kd"][0]) == (0.3, 0.7)


def cached(told, folder, k=V, **changes):
    content = Content(False, k, **changes)
    teacher_queries = teacher_queries_of(told, Windows(split(), L), content, data_sha256="train")
    write_cache(teacher_queries, folder, content)
    return StoredTeacher(folder)


def test_the_cache_answers_for_the_same_rows(told, tmp_path):
    """With all logits kept, cached and live distillation are one loss."""
    cache = cached(told, tmp_path)
    rows = torch.tensor([5, 2, 9])
    live = job(stage_context(), told).terms(rows, at(0))["kd"][1]
    kept = job(stage_context(source="cache"), told, cache=cache).terms(rows, at(0))["kd"][1]
    torch.testing.assert_close(live, kept, atol=5e-3, rtol=5e-3)


def test_a_cache_of_other_windows_is_refused(told, tmp_path):
    """The same number of windows, of another text: each step would learn other windows' answers."""
    cache = cached(told, tmp_path)
    work = job(stage_context(source="cache"), told, cache=cache)
    work.windows.ids = np.roll(work.windows.ids, 1)
    with pytest.raises(InputError, match="expected inputs that its teacher was asked about"):
        work.terms(torch.tensor([5, 2, 9]), at(0))


def test_a_learned_temperature_is_applied_to_a_cache_later(told, tmp_path):
    """CTKD needed the live teacher: with all scores kept, loss and the temperature's gradient are those of the live one."""
    hot = LearnedTemperature(initial=2.5, strength={"kind": "constant", "value": 1.0})
    rows = torch.tensor([5, 2, 9])
    cache = cached(told, tmp_path)
    found = []
    for source, kept in (("live", None), ("cache", cache)):
        work = job(stage_context(source=source, temperature=hot), told, cache=kept)
        value = work.terms(rows, at(0))["kd"][1]
        value.backward()
        found.append((value, work.temperature.weight.grad, work.network.embedding.weight.grad))
    assert found[0][1].abs() > 1e-4
    for live, later in zip(*found):
        torch.testing.assert_close(live, later, atol=2e-3, rtol=2e-2)


# ------------------------------------------------------------------------------------------------------ stages


def test_the_ramp_goes_from_dense_to_quantized_weights_first():
    """A student that is never quantized, or from the first step, tests nothing of the ramp."""
    work = job(stage_context(weights_ramp=(0.25, 0.5), spikes_ramp=(0.5, 0.75)), total=12)
    tokens = torch.arange(V).unsqueeze(0)
    dense = work.network(tokens).logits
    unit = next(iter(work.network.spike_units().values()))
    shares = []
    for step in range(13):
        work.on_train_batch_end(step)
        shares.append((round(work._shares()[0], 3), unit.share.item() / 1_000_000))
    assert shares[3] == (0.0, 0.0)
    assert shares[6] == (1.0, 0.0)
    assert shares[9] == (1.0, 1.0) == shares[12]
    assert work.network.spike_units()["blocks.0.mixer.key"].raw_threshold.std() > 0  # fitted, channel by channel
    assert not torch.allclose(work.network(tokens).logits, dense)
    assert work.validate(work.network).rank[0] == 1.0


def test_rows_are_all_seen_before_one_comes_again():
    """Epochs of the loop are shorter than the text: rows must not be drawn from its beginning only."""
    work = job(stage_context())
    rows = torch.cat([work.order(epoch) for epoch in range(4)])
    assert len(work.order(0)) == 12
    assert sorted(rows[:24].tolist()) == list(range(24))
    assert not torch.equal(work.order(0), work.order(1))


def test_a_curriculum_begins_with_what_the_teacher_finds_easy(told):
    """High is hard: turned round, POCL is its own control."""
    plan = CurriculumConfig(by_class=False, measures=("loss",), shares=(0.25, 1.0), replay=0.0, transition=ByTime())
    difficulty = window_difficulty(told, Windows(split(), L), ("loss", "margin"))
    assert difficulty.shape == (24,)
    inputs, targets = Windows(split(), L)(np.arange(24))
    loss = torch.nn.functional.cross_entropy(
        told(as_batch(inputs)).logits.transpose(1, 2), targets, reduction="none"
    ).mean(1)
    alone = window_difficulty(told, Windows(split(), L), ("loss",))
    assert np.array_equal(alone.argsort(), loss.numpy().argsort())
    work = job(stage_context(), told, curriculum=Curriculum(plan, difficulty, None, seed=0))
    assert set(work.order(0).tolist()) <= set(np.argsort(difficulty)[:6].tolist())
    assert len(work.order(0)) == 12
    work.on_validation_end(Validation({"nll": 1.0}, (0.0,)), at(8))
    assert work.stage == (1, 2)


# ------------------------------------------------------------------------------------------------------ teachers and tokens


def test_tokens_are_the_rows_of_class_scores(told):
    """A signal of class scores over windows would average a window's tokens away."""
    work = job(stage_context(kd_weight=0.0), told, signals=(LogitsConfig(temperature=1.0),))
    rows = torch.tensor([3, 0])
    terms = work.terms(rows, at(0))
    inputs, _ = work.windows(rows)
    logits = work.network(inputs).logits.flatten(0, 1)
    torch.testing.assert_close(
        terms["logits"][1], forward_kl(logits, told(as_batch(inputs)).logits.flatten(0, 1)).mean()
    )


def test_a_group_is_the_mean_of_its_members(told):
    """Its features carry the number of their member."""
    torch.manual_seed(5)
    other = LanguageTeacher(
        small_transformer(SmallTransformerConfig(width=8, layers=1, heads=2), V).network, "b", vocab_size=V
    )
    assistant = LanguageTeacher(student(), "assistant", vocab_size=V)
    batch = as_batch(torch.from_numpy(split()[:8].astype(np.int64)).unsqueeze(0))
    group = tapped(EnsembleTeacher([told, other, assistant]), ("1:model.layers.0",), 8)
    members = [told(batch).logits, other(batch).logits, assistant.module(batch.inputs).logits]
    mean = torch.stack([x.softmax(-1) for x in members]).mean(0)
    torch.testing.assert_close(group(batch).logits.exp(), mean)
    assert group.spec.features == {"1:model.layers.0": (8, 8)}
    for member, expected in zip(group(batch).members, members, strict=True):
        torch.testing.assert_close(member.logits, expected)


# ------------------------------------------------------------------------------------------------------ whole runs


class Stop(Exception):
    pass


def train(folder, told, *, resume=False, stop=None):
    config = LanguageTrainingConfig(epochs=4, batch_size=4, learning_rate=5e-3, threads=1, log_every=1)

    def on_progress(progress, news):
        if stop is not None and progress.step == stop:
            raise Stop

    work = job(stage_context(), told, student(spikes=SpikeConfig(density=0.3)))
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


def test_the_loss_is_of_scores_and_n_gram_together():
    """Also the teacher's divergence; an assistant with an n-gram answers with both."""
    model = student(ngram=NGramConfig(order=3, entries=100))
    model.prior.fill(count_trie(split(), V, model.config.ngram))
    assistant = LanguageTeacher(student(ngram=NGramConfig(order=2, entries=40)), "assistant", vocab_size=V)
    work = job(stage_context(), assistant, model)
    batch = work.batch(torch.arange(4), at(0))
    terms = work.terms(torch.arange(4), at(0))
    logits, taught = model(batch.inputs).logits.flatten(0, 1), assistant.module(batch.inputs).logits.flatten(0, 1)
    torch.testing.assert_close(terms["labels"][1], torch.nn.functional.cross_entropy(logits, batch.labels.flatten()))
    torch.testing.assert_close(terms["kd"][1], forward_kl(logits, taught).mean())
