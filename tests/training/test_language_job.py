"""The language job: every term reaches the student, stages come in their order, a resume repeats the run."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stillhouse.cache.content import Content
from stillhouse.cache.queries import write_cache
from stillhouse.cache.stored import StoredTeacher
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.core.types import Batch, OutputSpec, Progress
from stillhouse.curricula import ByTime, Curriculum, CurriculumConfig
from stillhouse.losses import forward_kl
from stillhouse.losses.tail import Scores
from stillhouse.signals import DynamicsConfig, HiddenConfig, LogitsConfig, student_features, teacher_features
from stillhouse.tasks.lm.align import MixerAlignment, attention_paths, inherit_embedding
from stillhouse.tasks.lm.data.corpus import Split, Windows
from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule, window_difficulty
from stillhouse.tasks.lm.loss import LanguageLossConfig
from stillhouse.tasks.lm.losses import FullLogits, language_losses
from stillhouse.tasks.lm.plan import LanguageTrainingConfig
from stillhouse.tasks.lm.students import NGramConfig, SpikeConfig, SpikingLMConfig
from stillhouse.tasks.lm.students.network import rounded_rows
from stillhouse.tasks.lm.students.prior import NGramPrior, held_out_priors
from stillhouse.tasks.lm.students.trie import count_trie
from stillhouse.tasks.lm.teachers import SmallTransformerConfig
from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher, teacher_queries_of
from stillhouse.tasks.lm.teachers.group import AssistantTeacher, TeacherGroup
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher
from stillhouse.tasks.lm.through_head import student_head, teacher_head
from stillhouse.tasks.lm.tokens import build_token_signals
from stillhouse.temperature import FixedTemperature, LearnedTemperature
from stillhouse.training.distillation import SignalSet
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


def stage_context(**changes):
    return LanguageLossConfig(**{"window": L, "epoch_steps": 3, "validation_tokens": 64, "source": "live", **changes})


def job(plan, teacher=None, model=None, *, total=12, cache=None, signals=(), curriculum=None):
    """A job as the task makes it."""
    model = student() if model is None else model
    stage_teacher, align, signal_set = None, None, SignalSet(curriculum=curriculum)
    if teacher is not None:
        align = MixerAlignment(model, teacher.network) if plan.align else None
        example = Windows(split().ids, plan.window)(np.arange(2))[0]
        paths = (*teacher_features(signals), *(align.paths if align else ()))
        stage_teacher = LanguageStageTeacher(teacher, cache).with_features(paths, example, scores=True)
        shapes = dict.fromkeys(student_features(signals), (plan.window, 16))
        parts = build_token_signals(
            signals,
            OutputSpec(V, shapes),
            stage_teacher.spec,
            heads=lambda: (student_head(model), teacher_head(teacher)),
        )
        signal_set = SignalSet(stage_teacher, parts, student_features(signals), curriculum=curriculum)
    return LanguageJob(
        model,
        (split(), split("valid", 100)),
        plan,
        TrainSchedule(batch_size=4, total_steps=total, seed=0),
        stage_teacher=stage_teacher,
        signal_set=signal_set,
        align=align,
    )


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
    model, ids = student(ngram=config), split().ids
    rows = len(Windows(ids, L))
    priors = held_out_priors(ids, V, config, rows, L)
    work = LanguageJob(
        model,
        (split(), split("valid", 100)),
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


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("kind", ["kept", "later", "live", "learned", "reverse-kl", "none"])
def test_pieces_change_neither_value_nor_gradient(kind, chunk):
    """Chunks exist for memory; a mean of means of unlike pieces would be another loss."""
    torch.manual_seed(0)
    h, w, y = torch.randn(7, 5), torch.randn(V, 5), torch.randint(0, V, (7,))
    teacher = torch.randn(7, V).log_softmax(-1)
    hot = torch.tensor(1.7, requires_grad=True) if kind in ("learned", "later") else 1.0
    logs, ids = teacher.topk(4)
    rest = teacher.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    answers = {
        "kept": Scores(ids, logs - logs[:, :1], rest - logs[:, :1], (1.0,), V - 4),
        "none": None,
        "reverse-kl": FullLogits(lambda rows: teacher[rows], "reverse-kl"),
    }.get(kind.replace("later", "kept"), FullLogits(lambda rows: teacher[rows]))

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
    work = job(stage_context(kd_weight=0.7, label_weight=0.3), told, student(spikes=None, ternary_weights=()))
    rows = torch.tensor([3, 0])
    terms = work.terms(rows, at(0))
    inputs, targets = work.windows(rows)
    logits = work.network(inputs).logits.flatten(0, 1)
    torch.testing.assert_close(terms["labels"][1], torch.nn.functional.cross_entropy(logits, targets.flatten()))
    torch.testing.assert_close(terms["kd"][1], forward_kl(logits, told(inputs).logits.flatten(0, 1)).mean())
    assert (terms["labels"][0], terms["kd"][0]) == (0.3, 0.7)


def test_without_a_teacher_the_text_is_all(told):
    """A control arm at half the weight, or with a teacher by mistake, is no control."""
    terms = job(stage_context(label_weight=0.3)).terms(torch.tensor([0]), at(0))
    assert set(terms) == {"labels"}
    assert terms["labels"][0] == 1.0


def cached(told, folder, k=V, **changes):
    content = Content(False, k, **changes)
    teacher_queries = teacher_queries_of(told, Windows(split().ids, L), content, data_sha256="train")
    write_cache(teacher_queries, folder, content, wait=True)
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
        found.append((value, work.learned.temperature.weight.grad, work.network.embedding.weight.grad))
    assert found[0][1].abs() > 1e-4
    for live, later in zip(*found):
        torch.testing.assert_close(live, later, atol=2e-3, rtol=2e-2)


def test_a_scheduled_temperature_moves_over_a_cache(told, tmp_path):
    """Between two temperatures that are exact, a student sees the one of its step."""
    moving = {"kind": "scheduled", "schedule": {"kind": "linear", "start": 1.0, "end": 3.0}}
    plan = parse(LanguageLossConfig, {"window": L, "epoch_steps": 3, "validation_tokens": 64, "temperature": moving})
    work = job(plan, told, cache=cached(told, tmp_path, k=6))
    rows = torch.tensor([5, 2, 9])
    logits = work.network(work.windows(rows)[0]).logits.flatten(0, 1)
    teacher = told(work.windows(rows)[0]).logits.flatten(0, 1)
    for step, temperature in ((0, 1.0), (6, 2.0), (12, 3.0)):
        value = work.terms(rows, at(step))["kd"][1]
        live = forward_kl(logits, teacher, temperature=temperature).mean()
        assert 0 < value < live * 1.01  # a bucket hides what differs inside it
        assert work.figures()["temperature"] == pytest.approx(temperature)


def test_a_learned_temperature_gets_a_gradient_against_the_student(told):
    """CTKD with a dead temperature is a fixed one; with strength 0 it is frozen."""
    hot = LearnedTemperature(initial=2.0, strength={"kind": "constant", "value": 1.0})
    work = job(stage_context(temperature=hot), told)
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
    work = job(stage_context(kd_weight=0.0), told, signals=(config,))
    terms = work.terms(torch.tensor([0, 1]), at(0))
    name = next(name for name in terms if name.startswith(kind))
    terms[name][1].backward()
    assert work.network.blocks[1].ffn.up.weight.grad.abs().sum() > 0
    assert any(p.grad is not None for p in work.extras.parameters())
    assert all(p.grad is None for p in told.network.parameters())


def test_alignment_comes_first_and_alone_and_teaches_mixers_only(told):
    """Stage 1 must not touch the vocabulary, and must end."""
    work = job(stage_context(align=0.5), told)
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
    work = job(stage_context(align=0.9), told, total=40)
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
    work = job(stage_context(weights_ramp=(0.25, 0.5), spikes_ramp=(0.5, 0.75)), total=12)
    tokens = torch.arange(V).unsqueeze(0)
    dense = work.network(tokens).logits
    unit = next(iter(work.network.spike_units().values()))
    shares = []
    for step in range(13):
        work.on_train_batch_end(step)
        shares.append((round(work.loss.shares(step / 12)[0], 3), unit.share.item() / 1_000_000))
    assert shares[3] == (0.0, 0.0)
    assert shares[6] == (1.0, 0.0)
    assert shares[9] == (1.0, 1.0) == shares[12]
    assert work.calibrated
    assert not torch.allclose(work.network(tokens).logits, dense)
    assert work.validate(work.network).rank[0] == 1.0


def test_a_dense_student_has_no_ramp():
    """The dense arm must not be told apart by anything but its network."""
    work = job(stage_context(), None, student(spikes=None, ternary_weights=()))
    work.on_train_batch_end(6)
    assert "spike_share" not in work.figures()
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
    difficulty = window_difficulty(told, Windows(split().ids, L), ("loss", "margin"))
    assert difficulty.shape == (24,)
    inputs, targets = Windows(split().ids, L)(np.arange(24))
    loss = torch.nn.functional.cross_entropy(told(inputs).logits.transpose(1, 2), targets, reduction="none").mean(1)
    alone = window_difficulty(told, Windows(split().ids, L), ("loss",))
    assert np.array_equal(alone.argsort(), loss.numpy().argsort())
    work = job(stage_context(), told, curriculum=Curriculum(plan, difficulty, None, seed=0))
    assert set(work.order(0).tolist()) <= set(np.argsort(difficulty)[:6].tolist())
    assert len(work.order(0)) == 12
    work.on_validation_end(Validation({"nll": 1.0}, (0.0,)), at(8))
    assert work.stage == (1, 2)


def test_a_second_stage_goes_on_along_the_ramp(told):
    """Begun anew, each stage would be dense first and fit its thresholds again."""
    plan = stage_context(weights_ramp=(0.0, 0.25), spikes_ramp=(0.25, 0.5))
    first = job(plan)
    course = TrainSchedule(batch_size=4, total_steps=12, seed=0, first_step=6)
    work = LanguageJob(first.network, (split(), split("valid", 100)), plan, course)
    assert work.calibrated
    assert work.figures()["spike_share"] == 1.0
    work.on_train_batch_end(1)
    assert work.state_dict()["done"] == 7
    late = stage_context(align=0.25)
    assert "align" in job(late, told).terms(torch.tensor([0]), at(2))
    later = job(late, told)
    later.first_step = 6
    assert "align" not in later.terms(torch.tensor([0]), at(2))


# ------------------------------------------------------------------------------------------------------ teachers and tokens


def test_tokens_are_the_rows_of_class_scores(told):
    """A signal of class scores over windows would average a window's tokens away."""
    work = job(stage_context(kd_weight=0.0), told, signals=(LogitsConfig(temperature=1.0),))
    rows = torch.tensor([3, 0])
    terms = work.terms(rows, at(0))
    inputs, _ = work.windows(rows)
    logits = work.network(inputs).logits.flatten(0, 1)
    torch.testing.assert_close(terms["logits"][1], forward_kl(logits, told(inputs).logits.flatten(0, 1)).mean())


def test_the_teacher_is_asked_once_a_step(told, monkeypatch):
    """The divergence and a signal of hidden layers read the same answer."""
    calls, original = [], told.hidden
    monkeypatch.setattr(told, "hidden", lambda tokens: calls.append(len(tokens)) or original(tokens))
    work = job(stage_context(), told, signals=(LogitsConfig(),))
    calls.clear()
    assert {"kd", "logits"} <= set(work.terms(torch.tensor([0, 1]), at(0)))
    assert calls == [2]


def test_a_group_is_the_mean_of_its_members(told):
    """Hidden states of members lie side by side: cut wrongly, one reads the other's."""
    torch.manual_seed(5)
    other = LanguageTeacher(SmallTransformerConfig(width=8, layers=1, heads=2, context=32).build(V).network, "other")
    assistant = AssistantTeacher(student())
    group = TeacherGroup([told, other, assistant])
    tokens = split().ids[:8].astype(np.int64)
    tokens = torch.from_numpy(tokens).unsqueeze(0)
    members = [told(tokens).logits, other(tokens).logits, assistant.network(tokens).logits]
    mean = torch.stack([x.softmax(-1) for x in members]).mean(0)
    torch.testing.assert_close(group(tokens).logits.exp(), mean)
    group.tap(("1:model.layers.0",))
    assert group.spec(tokens).features == {"1:model.layers.0": (8, 8)}
    stage_teacher = LanguageStageTeacher(group).with_features((), tokens, scores=True)
    found = stage_teacher(Batch(tokens, tokens, torch.zeros(1)))
    for member, expected in zip(found.members, members, strict=True):
        torch.testing.assert_close(member.logits, expected)
    with pytest.raises(InputError, match="expected the number of a teacher before it, as 0:model"):
        group.tap(("model.layers.0",))
    with pytest.raises(InputError, match="two or more"):
        TeacherGroup([told])


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


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"source": "cache", "divergence": "js"}, "needs all logits"),
        ({"weights_ramp": (0.5, 0.2)}, "a later end"),
        ({"label_weight": 0.0, "kd_weight": 0.0}, "one above 0"),
        ({"temperature": LearnedTemperature(per_sample=True)}, "one a token"),
    ],
)
def test_losses_that_cannot_be_are_refused(change, expected):
    """A setting that does nothing is worse than an error."""
    with pytest.raises(ValidationError, match=expected):
        stage_context(**change)


def test_short_texts_are_refused(told):
    """An epoch over nothing trains nothing and reports a score."""
    with pytest.raises(InputError, match=r"at least 301 tokens"):
        job(stage_context(window=300))
    assert LanguageTrainingConfig(precision="auto").precision == "32-true"
    with pytest.raises(ConfigError, match="windo: unknown key"):
        parse(LanguageLossConfig, {"windo": 9})
    assert stage_context(temperature=FixedTemperature(value=1.5)).temperatures == (1.5,)


def test_the_loss_is_of_scores_and_n_gram_together():
    """Also the teacher's divergence, and in pieces; an assistant with an n-gram answers with both."""
    model = student(ngram=NGramConfig(order=3, entries=100))
    model.prior.fill(count_trie(split().ids, V, model.config.ngram))
    assistant = AssistantTeacher(student(ngram=NGramConfig(order=2, entries=40)))
    work = job(stage_context(), assistant, model)
    batch = work.batch(torch.arange(4), at(0))
    terms = work.terms(torch.arange(4), at(0))
    logits, taught = model(batch.inputs).logits.flatten(0, 1), assistant.network(batch.inputs).logits.flatten(0, 1)
    wanted = torch.nn.functional.cross_entropy(logits, batch.labels.flatten())
    torch.testing.assert_close(terms["labels"][1], wanted)
    torch.testing.assert_close(terms["kd"][1], forward_kl(logits, taught).mean())
    hidden, offset = model.hidden(batch.inputs)[0].flatten(0, 1), model.offset(batch.inputs).flatten(0, 1)
    cut = language_losses(hidden, model.readout.weight, batch.labels.flatten(), offset=offset, chunk=5)
    torch.testing.assert_close(cut["labels"], wanted)
