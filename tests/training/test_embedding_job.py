"""The embedding stage: every term does what it says, batches hold neighbours, and training ends no worse than it began."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from stillhouse.core.checks import InputError
from stillhouse.core.types import Progress
from stillhouse.losses.relations import pearson_of_distances
from stillhouse.tasks.embed import material
from stillhouse.tasks.embed.config import EmbeddingLossConfig, EmbeddingStudentConfig
from stillhouse.tasks.embed.data import open_vectors
from stillhouse.tasks.embed.job import GUARD, EmbeddingJob
from stillhouse.tasks.embed.material import VectorRows, neighbor_graph
from stillhouse.tasks.embed.network import EmbeddingStudent
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Validation
from stillhouse.training.loop import fit

WIDTH, ROWS, HELD = 24, 400, 120
TRAINING = {
    "batch_size": 64,
    "learning_rate": 5e-3,
    "warmup_epochs": 1.0,
    "weight_decay": 0.0,
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Clusters in two levels, of unequal sizes."""
    rng = np.random.default_rng(0)
    centers = (rng.normal(size=(12, 1, WIDTH)) + 0.6 * rng.normal(size=(12, 4, WIDTH))).reshape(-1, WIDTH)
    x = centers[rng.integers(48, size=ROWS + HELD)] + 0.35 * rng.normal(size=(ROWS + HELD, WIDTH))
    path = tmp_path_factory.mktemp("store") / "x.npy"
    np.save(path, x.astype(np.float32))
    return open_vectors(path)


def job(store, loss=None, student=None, *, seed=0, poles=None, parts=1):
    torch.manual_seed(seed)
    train = VectorRows(store, np.arange(ROWS), normalize=True)
    validation = VectorRows(store, np.arange(ROWS, ROWS + HELD), normalize=True)
    data = SimpleNamespace(train=train, validation=validation, graph=neighbor_graph(train, 6), poles=poles)
    config = EmbeddingStudentConfig(**{"hidden": (32, 16), **(student or {})})
    loss = EmbeddingLossConfig(**{"perplexity": 5.0, "epoch_steps": 8, "anchors": 8, **(loss or {})})
    model = EmbeddingStudent.from_vectors(config, train.held)
    return EmbeddingJob(model, data, loss, batch_size=64, seed=seed, parts=parts)


def terms(made, step=0, total=100):
    made.model.train()
    return made.terms(made.order(0)[:64], Progress(step, total))


def gradient(made, **progress):
    """Of the whole loss on the first batch."""
    made.model.zero_grad()
    sum(weight * value for weight, value in terms(made, **progress).values()).backward()
    return torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None])


def test_training_beats_the_principal_axes_near_and_far(store, tmp_path):
    """On rows that were held out: the reason for all of this."""
    made = job(store, {"epoch_steps": 40})
    made.mix = 0.0
    begun = made.validate(made.model).metrics
    done = fit(made, TrainingConfig(epochs=4, **TRAINING), seed=0, folder=tmp_path)
    assert done.best["knn_overlap"] > begun["knn_overlap"] + 0.01
    assert done.best["spearman"] > begun["spearman"] + 0.01
    assert made.validate(made.model).metrics == done.best


def test_a_training_that_harms_is_undone(store, tmp_path):
    """What is shipped is never worse than PCA on the validation rows."""
    made = job(store)
    start = {name: x.clone() for name, x in made.model.state_dict().items()}
    training = TrainingConfig(epochs=1, **{**TRAINING, "learning_rate": 30.0, "warmup_epochs": 0.0})
    done = fit(made, training, seed=0, folder=tmp_path)
    assert done.best_epoch == 0
    assert all(torch.equal(x, start[name]) for name, x in made.model.state_dict().items())


@pytest.mark.parametrize("killed", [3, 13])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(killed, store, tmp_path):
    """To the last bit: rows, noise and neighbours are functions of seed and step. Before step 8 the start is the best so far."""
    training = TrainingConfig(epochs=3, checkpoint_seconds=0.0, **TRAINING)
    whole = job(store)
    fit(whole, training, seed=0, folder=tmp_path / "whole")

    def stop(progress, news):
        if progress.step == killed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(job(store), training, seed=0, folder=tmp_path / "torn", on_progress=stop)
    torn = job(store)
    fit(torn, training, seed=0, folder=tmp_path / "torn", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), torn.model.parameters()))


def test_the_unit_of_the_noise_is_that_of_all_rows(tmp_path):
    """Of rows that lie cluster by cluster, the first thousand are hardly apart: the noise would be a tenth of what is meant."""
    x = 10 * np.repeat(np.random.default_rng(0).normal(size=(2, WIDTH)), 1500, axis=0)
    x += np.random.default_rng(1).normal(size=x.shape)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    made = SimpleNamespace(train=VectorRows(open_vectors(tmp_path / "x.npy"), np.arange(3000), normalize=False))
    spread = np.sqrt(np.square(x - x.mean(0)).sum(1).mean())
    assert EmbeddingJob._spread(made) == pytest.approx(spread, rel=0.02)


def test_each_term_is_there_when_it_has_a_weight_and_reaches_the_student(store):
    """A term of weight 0 is not computed; one with a weight has a gradient of its own."""
    assert set(terms(job(store))) == {"neighbors", "pearson"}
    alone = {"neighbor_weight": 0.0, "global_weight": 0.0, "noise": 0.0}
    for change, name in [
        ({"neighbor_weight": 1.0}, "neighbors"),
        ({"global_weight": 1.0}, "pearson"),
        ({"reconstruction_weight": 1.0}, "reconstruction"),
    ]:
        made = job(store, {**alone, **change})
        assert set(terms(made)) == {name}
        assert gradient(made).norm() > 0


def test_far_order_that_the_axes_have_is_guarded(store):
    """What is better than the axes by a margin is left alone; what is as good or worse costs 17 times as much."""
    guarded, plain = (job(store, {"guard_weight": weight, "noise": 0.0}) for weight in (16.0, 0.0))
    p = {made: float(terms(made)["pearson"][1].detach()) for made in (guarded, plain)}
    # an untrained student is the axes
    assert p[guarded] == pytest.approx(p[plain] * (1 + 16 * (1 - GUARD)), rel=1e-4)
    vectors = guarded.train.held[:60]
    assert guarded._far(vectors, vectors).item() == pytest.approx(0.0, abs=1e-5)
    bad = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    far, axes = pearson_of_distances(bad, vectors), pearson_of_distances(guarded.model(vectors), vectors)
    assert guarded._far(bad, vectors).item() == pytest.approx((17 * far - 16 * GUARD * axes).item(), rel=1e-4)
    with torch.no_grad():  # the guard is what the axes were, not what the student has made of them
        guarded.model.skip.mul_(torch.linspace(0, 1, 5)[:, None])
    assert guarded._far(bad, vectors).item() == pytest.approx((17 * far - 16 * GUARD * axes).item(), rel=1e-4)


def test_few_rows_take_fewer_steps(store):
    """More of them learn single neighbours by heart, and a minute is waited for nothing."""
    assert job(store, {"epoch_steps": None}).rows == 8 * 64
    assert EmbeddingLossConfig().steps(5001, 64) == 50
    assert EmbeddingLossConfig(neighbor_weight=0.0).steps(400, 64) == 50  # the autoencoder, which is a control


def test_a_weight_turns_the_gradient(store):
    """More weight on near rows must not only lengthen it."""
    near, far = (gradient(job(store, {"neighbor_weight": weight})) for weight in (10.0, 0.1))
    assert torch.cosine_similarity(near, far, dim=0) < 0.95


def test_temperatures_fall_stage_by_stage_and_turn_the_gradient(store):
    """The document's own loss was the same in every stage."""
    sphere = {"output": "sphere"}
    made = job(store, {"tau": (4.0, 2.0, 0.5), "global_weight": 0.0, "noise": 0.0}, sphere)
    losses, found = [], []
    for step in (0, 34, 67, 99):
        losses.append(float(terms(made, step=step)["neighbors"][1].detach()))
        found.append(made.figures()["tau"])
    assert found == [4.0, 2.0, 0.5, 0.5]
    assert abs(losses[0] - losses[2]) > 1e-3
    assert torch.cosine_similarity(gradient(made, step=0), gradient(made, step=99), dim=0) < 0.99


def test_levels_are_weighed_prefix_by_prefix(store):
    """The later numbers of a code must not change what is asked of the first."""
    made = job(store, student={"levels": (3, 6)})
    said = terms(made)
    assert {name: weight for name, (weight, _) in said.items()} == {
        "neighbors/3": 1.0,
        "pearson/3": 1.0,
        "neighbors/9": 0.5,
        "pearson/9": 0.5,
    }
    first = job(store, {"level_weights": (1.0, 0.0)}, {"levels": (3, 6)})
    assert set(terms(first)) == {"neighbors/3", "pearson/3"}
    assert torch.equal(terms(first)["neighbors/3"][1], said["neighbors/3"][1])


def test_codes_on_the_sphere_learn_their_unit(store):
    """It has no room for the kernel's unit; the factor is learnt along and not kept."""
    made = job(store, student={"output": "sphere"})
    gradient(made)
    assert made.learned.log_stretch.grad.abs() > 0
    assert made.learned.log_stretch > 0


def test_every_row_comes_as_often_as_any_other(store):
    """Across the border of two epochs too, and the same for the same seed."""
    made = job(store)
    epochs = torch.cat([made.order(epoch) for epoch in range(25)])
    counts = epochs.bincount(minlength=ROWS)
    assert len(epochs) == 25 * 8 * 64
    assert counts.max() - counts.min() <= 1
    assert torch.equal(made.order(3), job(store).order(3))
    assert not torch.equal(made.order(3), job(store, seed=1).order(3))


def test_batches_bring_neighbours_along(store):
    """A random batch of a large corpus holds next to none of them."""
    made = job(store)
    rows = made.order(0)[:64]
    positions, random = made._batch(rows, torch.Generator().manual_seed(0))
    assert len(positions.unique()) == len(positions) <= 64
    brought = positions[random:]
    near = made.graph[positions[:random]].flatten()
    assert len(brought) > 0
    assert torch.isin(brought, near).all()
    alone, count = job(store, {"anchors": 0})._batch(rows, torch.Generator())
    assert count == len(alone)


def test_noise_changes_what_the_student_sees_alone(store):
    """And is the same again for the same step."""
    still, noisy = (job(store, {"noise": noise, "neighbor_weight": 0.0}) for noise in (0.0, 0.5))
    a, b, c = (float(terms(made)["pearson"][1].detach()) for made in (still, noisy, noisy))
    assert a != b == c


def test_the_graph_is_scikit_learns_and_blocks_come_near(store, monkeypatch):
    """Within blocks a neighbour is one of a sample; still far nearer than chance."""
    rows = VectorRows(store, np.arange(ROWS), normalize=True)
    expected = NearestNeighbors(n_neighbors=6).fit(rows.held).kneighbors(return_distance=False)
    exact = neighbor_graph(rows, 6)
    assert (np.sort(exact) == np.sort(expected)).mean() > 0.999
    monkeypatch.setattr(material, "EXACT_ROWS", 100)
    monkeypatch.setattr(material, "BLOCK_ROWS", 100)
    blocks = neighbor_graph(rows, 6)
    assert (blocks != np.arange(ROWS)[:, None]).all()

    def distance(graph):
        return float((rows.held[:, None] - rows.held[torch.from_numpy(graph)]).norm(dim=2).mean())

    chance = distance(np.random.default_rng(0).integers(ROWS, size=(ROWS, 6)))
    assert distance(exact) < distance(blocks) < 0.7 * chance


def test_rows_are_the_same_from_memory_and_from_disk(store, monkeypatch):
    """What is larger than memory must not be another stage."""
    held = VectorRows(store, np.arange(50, 90), normalize=True)
    monkeypatch.setattr(material, "MEMORY_BYTES", 0)
    read = VectorRows(store, np.arange(50, 90), normalize=True)
    at = torch.tensor([7, 3, 3, 39])
    assert torch.equal(held(at), read(at))
    assert read.held is None


def test_batches_that_are_too_small_are_refused(store):
    """One row, two rows: no relation."""
    made = job(store, {"anchors": 0})
    made.model.train()
    for count in (1, 2):
        with pytest.raises(InputError, match=f"at least 3 samples, got {count}"):
            made.terms(torch.arange(count), Progress(0, 10))


@pytest.mark.parametrize(
    ("loss", "student", "name"),
    [
        ({}, {}, "neighbors"),
        ({}, {"levels": (3, 6)}, "neighbors/3"),
        ({"neighbor_weight": 0.0}, {}, "pearson"),
        ({"neighbor_weight": 0.0, "global_weight": 0.0, "reconstruction_weight": 1.0}, {}, "reconstruction"),
    ],
)
def test_the_task_is_a_term_that_is_there(loss, student, name, store):
    """What an optimizer holds the others against."""
    made = job(store, loss, student)
    assert made.task_term == name
    assert name in terms(made)


def test_mixed_rows_lie_between_a_row_and_a_neighbour_of_it_and_are_their_own_target(store):
    """The vectors are the teacher between two rows too: what the student sees is what it is compared with."""
    made = job(store, {"noise": 0.0})
    made.mix = 1.0
    batch = made.batch(torch.arange(40), Progress(0, 1))
    assert torch.equal(batch.inputs, made.vectors)
    rows = made.train(batch.index)
    moved = (batch.inputs - rows).norm(dim=1)
    reach = (made.train(made.graph[batch.index].flatten()).unflatten(0, (len(rows), -1)) - rows[:, None]).norm(dim=2)
    assert (moved > 0).float().mean() > 0.9
    assert (moved <= reach.max(1).values + 1e-5).all()


@pytest.mark.parametrize(
    ("scores", "score_stderr", "epoch"),
    [
        ([0.50, 0.62, 0.60, 0.61], 0.0, 1),  # many rows: the best is the best
        ([0.50, 0.62, 0.60, 0.61], 0.03, 3),  # few: the first was lucky, and the last is as good
        ([0.50, 0.62, 0.60, 0.58], 0.03, 2),  # a difference below it is none
        ([0.61, 0.62, 0.60, 0.60], 0.03, 1),  # never below the start
        ([0.61, 0.60, 0.60, 0.60], 0.03, 0),
    ],
)
def test_of_epochs_that_differ_by_luck_the_last_is_kept(scores, score_stderr, epoch, store, tmp_path):
    made, stream = job(store, {"epoch_steps": 1}), iter(scores)
    made.validate = lambda model: Validation({"score": 0.0}, (next(stream),), score_stderr)
    assert fit(made, TrainingConfig(epochs=3, **TRAINING), seed=0, folder=tmp_path).best_epoch == epoch


def test_luck_is_the_standard_error_of_few_rows_and_nothing_of_many(store, monkeypatch):
    """Drawn again and again, a mean over so few rows spreads as much as one draw of them foretells."""
    made = job(store)
    found = made.validate(made.model)
    x = made.judge.vectors
    near = [
        NearestNeighbors(n_neighbors=11).fit(side).kneighbors(side, return_distance=False)[:, 1:]
        for side in (x, made.model.encode(x))
    ]
    kept = np.array([len({*a} & {*b}) / 10 for a, b in zip(*near)])
    drawn = np.random.default_rng(0).choice(kept, size=(4000, HELD)).mean(1)
    assert found.score_stderr == pytest.approx(drawn.std(), rel=0.05)
    monkeypatch.setattr("stillhouse.tasks.embed.job.FEW_VALIDATION", HELD - 1)
    assert made.validate(made.model).score_stderr == 0.0


def test_a_step_in_micro_batches_is_the_mean_of_its_parts(store):
    """Each part draws its own noise and neighbors; a step of one part draws as before."""
    torch.manual_seed(0)
    whole, halves = job(store, {"noise": 0.5}), job(store, {"noise": 0.5}, parts=2)
    assert torch.equal(whole.order(0), halves.order(0))
    rows = whole.order(0)[:32]
    one, two = (halves.batch(rows, Progress(0, 100)).inputs for _ in range(2))
    assert one.shape != two.shape or not torch.equal(one, two)
    again = halves.batch(rows, Progress(1, 100)).inputs
    assert torch.equal(again, job(store, {"noise": 0.5}, parts=2).batch(rows, Progress(1, 100)).inputs)
    first, second = (whole.batch(rows, Progress(0, 100)).inputs for _ in range(2))
    assert torch.equal(first, second)
