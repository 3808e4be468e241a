"""Language teachers and the cache of what they said."""

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.cache.content import Content
from stillhouse.cache.queries import write_cache
from stillhouse.cache.stored import StoredTeacher, spot_check
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.losses.top_k import tail_bounds
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
from stillhouse.tasks.lm.teachers.cache import teacher_queries_of
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher, load_language_teacher, small_transformer
from stillhouse.teachers.teacher import Teacher

V, L, ROWS = 23, 6, 7


def network(seed=0):
    torch.manual_seed(seed)
    return small_transformer(SmallTransformerConfig(width=16, layers=2, heads=2, context=12), V)


def teacher(seed=0, vocab_size=V):
    model = network(seed)
    with torch.no_grad():  # far from uniform, or every top k is a draw
        model.network.get_input_embeddings().weight.mul_(40)
    return LanguageTeacher(model.network, "small", vocab_size=vocab_size)


def as_batch(tokens):
    return Batch(tokens, tokens, torch.arange(len(tokens)))


class Rows:
    length = L

    def __init__(self, rows=ROWS):
        self.ids = np.random.default_rng(1).integers(0, V, (rows, L + 1))

    def __len__(self):
        return len(self.ids)

    def __call__(self, rows):
        both = torch.from_numpy(self.ids[np.asarray(rows)])
        return both[:, :-1], both[:, 1:]


KEPT = Content(False, 5)


def teacher_queries(told, data="d", batch=16):
    return replace(teacher_queries_of(told, Rows(), KEPT, data_sha256=data), batch=batch)


def write(told, folder, content=KEPT, *, batch=16, **how):
    write_cache(teacher_queries(told, batch=batch), folder, content, **how)
    return StoredTeacher(folder)


def test_logits_are_the_networks_own():
    """A head applied to the wrong hidden states is a teacher of noise."""
    told = teacher(vocab_size=20)
    tokens = torch.randint(0, 20, (2, 7))
    own, found = told.module(input_ids=tokens).logits[..., :20], told(as_batch(tokens)).logits
    torch.testing.assert_close(found, own)
    assert not found.requires_grad
    assert not any(p.requires_grad for p in told.module.parameters())


def test_folder_round_trip_and_identity(tmp_path):
    """The identity names a cache: equal weights, equal name; one weight changed, another name."""
    model = network()
    model.save(tmp_path)
    loaded = load_language_teacher(LanguageTeacherConfig(source=str(tmp_path)), vocab_size=V)
    assert loaded.identity() == LanguageTeacher(model.network, "x", vocab_size=V).identity()
    assert loaded.context == 12
    with torch.no_grad():
        model.network.get_input_embeddings().weight[0, 0] += 1
    assert loaded.identity() != LanguageTeacher(model.network, "x", vocab_size=V).identity()


def test_wrong_sources_are_told(tmp_path):
    """transformers' own errors are pages long, or a request to the hub; fewer logits than tokens teach no last token."""
    (tmp_path / "x.gguf").write_bytes(b"GGUF nonsense")
    (tmp_path / "no-weights").mkdir()
    (tmp_path / "no-weights/config.json").write_text("{}")
    for name, said in (
        (".", "it is none of them"),
        ("x.gguf", "cannot read it|needs"),
        ("no-weights", "cannot read it"),
    ):
        with pytest.raises(InputError, match=said):
            load_language_teacher(LanguageTeacherConfig(source=str(tmp_path / name)), vocab_size=V)
    with pytest.raises(InputError, match=r"at least 30 logits"):
        teacher(vocab_size=30)


# ------------------------------------------------------------------------------------------------------ cache


def test_cache_holds_the_largest_and_the_mass_of_all(tmp_path):
    """Renormalized or shifted logits would teach a surer teacher."""
    told, rows = teacher(), torch.tensor([2, 6])
    cache = write(told, tmp_path / "c", Content(False, 5, (), (1.0, 3.0)), batch=3)
    inputs, targets = Rows()(rows)
    kept = cache.kept(Batch(inputs, targets, rows))
    for temperature in (1.0, 2.0, 3.0, 4.0):  # exact where it was asked for, and where all caches are
        log_p, rest = kept.log_probabilities(temperature)
        live = torch.log_softmax(told(as_batch(inputs)).logits / temperature, -1)
        best = live.topk(5)
        assert torch.equal(kept.ids, best.indices)
        torch.testing.assert_close(log_p, best.values, atol=5e-3, rtol=1e-3)
        others = live.scatter(-1, kept.ids, -torch.inf).logsumexp(-1)
        torch.testing.assert_close(rest, others, atol=5e-3, rtol=1e-3)
    assert "of the live teacher on 7 rows" in spot_check(cache, teacher_queries(told))


def test_a_temperature_that_was_not_kept_comes_within_bounds(tmp_path):
    """Scores and the sums of the others take any temperature; how far they can be off is known."""
    told, rows = teacher(), torch.tensor([2, 6])
    inputs, targets = Rows()(rows)
    scores = write(told, tmp_path / "c").kept(Batch(inputs, targets, rows)).flat()
    live = told(as_batch(inputs)).logits.flatten(0, 1)
    for temperature in (0.6, 1.3, 1.7, 3.0, 9.0):
        kept, rest = scores.log_probabilities(temperature)
        log_p = torch.log_softmax(live / temperature, -1)
        low, high = tail_bounds(scores.rest, scores.temperatures, V - 5, scores.cap, temperature)
        widest = (high - low).amax() / 2 + 0.02  # half precision on top
        assert (kept - log_p.gather(1, scores.ids)).abs().amax() <= widest
        torch.testing.assert_close(torch.cat([kept, rest.unsqueeze(1)], 1).logsumexp(1), torch.zeros(2 * L))


@pytest.mark.parametrize("temperatures", [(1.0,), (1.0, 2.0, 4.0), (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("others", [1, 2, 50])
def test_the_mass_of_the_others_lies_within_its_bounds(temperatures, others):
    """An estimate without a bound is a guess; one that does not hold is a wrong teacher."""
    generator = torch.Generator().manual_seed(0)
    z = 4 * torch.randn(200, others, generator=generator, dtype=torch.float64)
    cap = z.amax(1) + torch.rand(200, generator=generator, dtype=torch.float64)
    known = torch.stack([(z / t).logsumexp(1) for t in temperatures], 1)
    for temperature in (0.3, 0.5, 0.8, 1.0, 1.4, 2.0, 2.5, 3.0, 6.0, 50.0):
        true = (z / temperature).logsumexp(1)
        low, high = tail_bounds(known, temperatures, others, cap, temperature)
        assert (low <= true + 1e-9).all()
        assert (true <= high + 1e-9).all()
        if temperature in temperatures:
            torch.testing.assert_close(low, high)


def test_a_cache_of_another_teacher_text_or_content_is_refused(tmp_path):
    """The same files, another network: by name, and by asking it. Rows of another text are other rows under the same numbers."""
    told, other = teacher(), teacher(1)
    cache = write(told, tmp_path / "c")
    for strange, content, said in (
        (teacher_queries(other), KEPT, "another teacher"),
        (teacher_queries(told, data="e"), KEPT, "other data"),
        (teacher_queries(told), Content(False, 4), "other content"),
        (teacher_queries(told), Content(False, 5, (), (1.5,)), "temperatures"),
    ):
        with pytest.raises(InputError, match=said):
            write_cache(strange, tmp_path / "c", content)
    with pytest.raises(InputError, match="another teacher"):
        cache.require(teacher_queries(other).key)
    with pytest.raises(InputError, match=r"differ from the live teacher's"):
        spot_check(cache, teacher_queries(other))


class Told(Teacher):
    """Speaks without transformers, whose import takes longer than the test."""

    name, spec = "told", OutputSpec(V)

    def __call__(self, batch):
        table = torch.randn(V, V, generator=torch.Generator().manual_seed(0)) * 3
        return Outputs(table[batch.inputs])


def write_and_be_killed(folder):
    kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 4 else None  # noqa: E731
    write(Told(), folder, batch=2, on_progress=kill)


def test_a_killed_caching_run_goes_on_bit_for_bit(tmp_path):
    """SIGKILL runs no cleanup: what the files hold must be on disk. A hole of zeros teaches that token 0 is certain."""
    process = multiprocessing.get_context("fork").Process(target=write_and_be_killed, args=(tmp_path / "cut",))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(InputError, match=r"4 of 7 rows are done"):
        StoredTeacher(tmp_path / "cut")
    asked = []
    again = write(Told(), tmp_path / "cut", batch=2, on_progress=lambda done, total: asked.append(done))
    assert asked == [4, 6, 7]  # rows 0 to 3 were not asked for again
    whole = write(Told(), tmp_path / "whole", batch=2)
    for name in ("ids", "scores", "rest"):
        a, b = (cache.arrays("train", (name,), np.arange(ROWS))[name] for cache in (whole, again))
        assert np.array_equal(a, b)
