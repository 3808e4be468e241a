"""The static text student: texts -> codes without teacher; what training adds, and that numpy says what torch says."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import write_json
from stillhouse.families.embed.export.numpy_text import NumpyTextEmbedder
from stillhouse.families.embed.students.text import StaticTextStudent
from stillhouse.families.embed.students.text_config import TextStudentConfig
from stillhouse.families.embed.students.words import Bags, HashTokenizer, PieceTokenizer, WordFeatures, input_table
from stillhouse.families.embed.text import (
    TextLesson,
    distill_text_student,
    feature_shares,
    feature_weights,
    ridge_of_both,
    split_texts,
    token_weights,
)
from stillhouse.training.config import TrainingConfig

WORDS = [a + b for a in ("ka", "lo", "mi", "nu", "re", "so") for b in ("dan", "fel", "gim", "hop", "jut", "pex", "tav")]
HASH = TextStudentConfig(tokens="hash", start="random", buckets=512, width=16, hidden=8, token_dropout=0.0, votes=False)
SHORT = TrainingConfig(
    epochs=6,
    batch_size=64,
    learning_rate=2e-2,
    final_learning_rate=1e-4,
    weight_decay=0.0,
    warmup_epochs=0.5,
    device="cpu",
)


def made(n=500, d=5, seed=0):
    """Texts of a few words; the code of a text is a curved function of the mean of hidden word vectors."""
    rng = np.random.default_rng(seed)
    meaning = np.random.default_rng(7).normal(size=(len(WORDS), 6))
    rows = [rng.choice(len(WORDS), size=rng.integers(3, 9), replace=False) for _ in range(n)]
    means = np.stack([meaning[row].sum(0) for row in rows])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    codes = np.tanh(means @ np.random.default_rng(8).normal(size=(6, d)))
    return [" ".join(WORDS[i] for i in row) for row in rows], codes.astype(np.float32)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A folder as transformers writes it: a tokenizer of whole words with a special token, and a table of embeddings."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("teacher")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(folder / "tokenizer.json"))
    meaning = np.random.default_rng(7).normal(size=(len(WORDS), 6))
    mixed = (
        np.concatenate([np.zeros((3, 6)), meaning]) @ np.linalg.qr(np.random.default_rng(9).normal(size=(24, 6)))[0].T
    )
    table = {
        "embeddings.word_embeddings.weight": (mixed + 0.3).astype(np.float32),
        "pooler.weight": np.zeros((2, 2), np.float32),
    }
    save_file(table, folder / "model.safetensors")
    return folder


def distil(texts, codes, **given):
    """`distill_text_student` of a lesson whose settings stand among the others."""
    known = [one.name for one in fields(TextLesson) if one.name in given]
    lesson = TextLesson(texts, codes, **{name: given.pop(name) for name in known})
    return distill_text_student(lesson, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    texts, codes = made()
    folder = tmp_path_factory.mktemp("student")
    return folder, distil(texts, codes, folder=folder, config=HASH, training=SHORT), texts, codes


def torch_codes(student, texts):
    return student.encode(texts)


def validations(folder):
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return [record for record in records if record["split"] == "validation"]


# ----------------------------------------------------------------------------------------------------------- tokens


def test_hashed_words_are_the_same_in_every_process():
    """Python salts its own `hash`: a table trained in one process would be noise in the next."""
    code = (
        "from stillhouse.families.embed.students.words import HashTokenizer as H\n"
        "print(H().bags(['Ein Wörterbuch']).ids.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == HashTokenizer().bags(["ein  wörterbuch"]).ids.tolist()


def test_letter_groups_bring_a_misspelt_word_near_the_right_one():
    """Without them a word that was never seen says nothing."""

    def alike(a, b, letters):
        tokens = HashTokenizer(1 << 20, letters)
        x, y = (set(tokens.bags([text]).ids.tolist()) for text in (a, b))
        return len(x & y) / len(x | y)

    assert alike("wonderful", "wonderfull", letters=True) > 0.5
    assert alike("wonderful", "wonderfull", letters=False) == 0.0
    assert alike("wonderful", "mechanical", letters=True) < 0.1


def test_bags_are_cut_where_the_texts_end():
    """One token too far is a word of the next text."""
    bags = Bags.of([[1, 2], [], [3], []])
    assert (bags.ids.tolist(), bags.starts.tolist(), len(bags)) == ([1, 2, 3], [0, 2, 2, 3, 3], 4)
    some = bags.take(np.array([2, 0, 3, 0]))
    assert (some.ids.tolist(), some.starts.tolist()) == ([3, 1, 2, 1, 2], [0, 1, 3, 3, 5])
    assert bags.take(np.array([], np.int64)).starts.tolist() == [0]


def test_pieces_come_without_special_tokens_cut_or_padding(teacher):
    """A tokenizer.json often cuts at 128 pieces and pads: all long texts would end alike."""
    tokens = PieceTokenizer.from_folder(teacher)
    bags = tokens.bags([" ".join(WORDS[:9]).upper(), "", "kadan what"])
    assert np.diff(bags.starts).tolist() == [9, 0, 2]
    assert bags.ids.tolist() == [*range(3, 12), 3, 1]
    assert tokens.vocabulary == len(WORDS) + 3
    assert tokens.pieces()[:5] == ["", "", "", WORDS[0], WORDS[1]]


def test_a_sentence_transformers_folder_may_keep_its_transformer_inside(teacher, tmp_path):
    """`modules.json` says where; looking on top only would find nothing."""
    inner = tmp_path / "0_Transformer"
    inner.mkdir()
    for name in ("tokenizer.json", "model.safetensors"):
        (inner / name).write_bytes((teacher / name).read_bytes())
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "path": "0_Transformer"}]))
    assert PieceTokenizer.from_folder(tmp_path).vocabulary == 45
    assert np.array_equal(input_table(tmp_path), input_table(teacher))
    assert input_table(teacher).shape == (45, 24)


# ---------------------------------------------------------------------------------------------------------- network


def test_the_network_is_what_its_formula_says():
    """By hand: tokens 0 and 1 with weights 1 and 2 and orthogonal vectors; an empty text has the code of the bias."""
    student = StaticTextStudent(torch.eye(2), torch.tensor([1.0, 2.0]), levels=(2,), hidden=0)
    with torch.no_grad():
        student.skip.copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
        student.bias.fill_(0.5)
    said = student(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 3]))
    expected = torch.tensor([[1 / 5**0.5, 20 / 5**0.5], [1, 0], [0, 0]]) + 0.5
    torch.testing.assert_close(said, expected)


@pytest.mark.parametrize("output", ["euclidean", "sphere", "tanh"])
def test_output_conventions_hold_for_the_first_level_only(output):
    torch.manual_seed(0)
    student = StaticTextStudent(torch.randn(9, 4), torch.ones(9), levels=(5, 25), hidden=3, output=output, scale=0.5)
    plain = StaticTextStudent(torch.randn(9, 4), torch.ones(9), levels=(5, 25), hidden=3)
    torch.nn.init.normal_(student.w2)
    torch.nn.init.normal_(student.skip, std=3)
    plain.load_state_dict(student.state_dict())
    ids, starts = torch.arange(9), torch.tensor([0, 3, 4])
    said, raw = student(ids, starts), plain(ids, starts)
    placed = {"euclidean": raw[:, :5], "sphere": F.normalize(raw[:, :5], dim=1), "tanh": torch.tanh(raw[:, :5] / 0.5)}
    torch.testing.assert_close(said, torch.cat([placed[output], raw[:, 5:]], 1))


def test_the_linear_start_is_ridge_regression():
    """Against the closed form with a column of ones that is not penalized (scikit-learn's Ridge)."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    y = x @ rng.normal(size=(4, 5)) + rng.normal(size=(60, 5)) + 3
    student = StaticTextStudent(torch.eye(4), torch.ones(4), levels=(5,), hidden=2)
    student.fit_linear(torch.tensor(x), torch.tensor(y), ridge=0.1)
    alpha = 0.1 * np.square(x - x.mean(0)).sum(0).mean()
    fitted = Ridge(alpha=alpha).fit(x, y)
    np.testing.assert_allclose(student.skip.detach(), fitted.coef_, atol=1e-5)
    np.testing.assert_allclose(student.bias.detach(), fitted.intercept_, atol=1e-5)


def test_ridge_of_sparse_and_dense_features_is_scikit_learns():
    """Both at once, with a constant that is not penalized; a method that dropped either side would be far off."""
    from scipy.sparse import csr_array
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    counts, dense = rng.random((80, 30)) * (rng.random((80, 30)) < 0.2), rng.normal(size=(80, 4))
    y = counts @ rng.normal(size=(30, 5)) + dense @ rng.normal(size=(4, 5)) + 3
    votes, skip, constant = ridge_of_both(csr_array(counts), dense, y, 0.5)
    fitted = Ridge(alpha=0.5).fit(np.hstack([counts, dense]), y)
    np.testing.assert_allclose(np.vstack([votes, skip]).T, fitted.coef_, atol=1e-3)
    np.testing.assert_allclose(constant, fitted.intercept_, atol=1e-3)


def test_votes_keep_what_a_narrow_table_blurs(tmp_path):
    """42 words on 3 axes are one another's neighbours; a vote a word is not, is exported, and is not trained away."""
    texts, codes = made(400)
    still = TrainingConfig(epochs=2, batch_size=64, learning_rate=1e-5, final_learning_rate=0, device="cpu")
    narrow = {
        "tokens": "hash",
        "start": "random",
        "letters": False,
        "width": 3,
        "hidden": 0,
        "buckets": 4096,
        "vote_buckets": 1 << 14,
        "half": False,
    }
    found = {}
    for votes in (False, True):
        folder = tmp_path / str(votes)
        config = TextStudentConfig(votes=votes, **narrow)
        found[votes] = distil(texts, codes, folder=folder, config=config, training=still)
        told = NumpyTextEmbedder.load(folder).encode(texts)
        np.testing.assert_allclose(told, torch_codes(found[votes], texts), atol=1e-4)
    assert found[True].network.table.shape[1] == 3
    assert found[True].fit.best["r2"] > found[False].fit.best["r2"] + 0.3


def test_word_features_are_what_their_names_say():
    """Case, order and spelling count; a word that comes twice counts once; halves of the table keep kinds apart."""
    features = WordFeatures(1 << 20)

    def of(text):
        return set(features.bags([text]).ids.tolist())

    assert len(of("Plane") ^ of("plane")) == 2  # the words as written
    assert len(of("red plane") ^ of("plane red")) == 2  # the pairs
    assert of("plane plane plane") == of("plane plane")
    groups = {place for place in of("plane") if place >= 1 << 19}
    assert (len(groups), len(groups & of("planes"))) == (12, 9)
    assert features.bags(["", "a", " "]).starts.tolist() == [0, 0, 3, 3]
    with pytest.raises(InputError, match="expected an even number of at least 2, got 7"):
        WordFeatures(7)


def test_votes_are_a_ridge_regression_on_tf_idf():
    """scikit-learn's TF-IDF and Ridge on the same words: equal codes, so weights, lengths and the constant are right."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    texts, codes = made(200)
    features = WordFeatures(1 << 20)
    bags = features.bags(texts)
    weights = feature_weights(bags.ids, len(texts), features.buckets)
    votes, _, constant = ridge_of_both(
        feature_shares(bags, weights.astype(np.float64)), np.zeros((200, 1)), codes.astype(np.float64), 0.3
    )
    student = StaticTextStudent(torch.eye(2), torch.ones(2), levels=(5,), hidden=0, features=features.buckets)
    student.votes.copy_(torch.from_numpy(votes))
    student.rarity.copy_(torch.from_numpy(weights))
    voted = student.voted(torch.from_numpy(bags.ids), torch.from_numpy(bags.starts[:-1])).numpy() + constant

    def analyzer(text):  # the same features by their names
        words = text.split()
        names = [*words, *(f"lower {word}" for word in words), *map(" ".join, pairwise(words))]
        groups = [f"<{w}>"[i : i + n] for w in words for n in (3, 4, 5) for i in range(len(w) + 3 - n)]
        return [*dict.fromkeys(names), *dict.fromkeys(f"letters {group}" for group in groups)]

    tf_idf = TfidfVectorizer(analyzer=analyzer, norm=None).fit(texts)
    light = np.where([name.startswith("letters") for name in tf_idf.get_feature_names_out()], 0.35, 1.0)
    x = tf_idf.transform(texts).toarray() * light
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(voted, Ridge(alpha=0.3).fit(x, codes).predict(x), atol=2e-3)


# --------------------------------------------------------------------------------------------------------- training


def test_training_beats_its_linear_start_and_no_text_is_on_both_sides(trained):
    """A student that learns nothing would end where its ridge regression began."""
    folder, student, texts, codes = trained
    train, held = split_texts(texts, 0.1, 0)
    assert not {texts[i] for i in train} & {texts[i] for i in held}
    scores = validations(folder)
    start = distil(
        texts, codes, folder=folder.parent / "start", config=HASH,
        training=TrainingConfig(epochs=1, batch_size=1000, learning_rate=1e-12, final_learning_rate=0, device="cpu"),
    )  # fmt: skip
    assert student.fit.best["r2"] > start.fit.best["r2"] + 0.1
    assert student.fit.best["knn_overlap@10"] > start.fit.best["knn_overlap@10"]
    assert student.fit.best["knn_overlap@10"] == max(score["knn_overlap@10"] for score in scores)
    said = torch_codes(student, [texts[i] for i in held])
    r2 = 1 - np.square(said - codes[held]).sum() / np.square(codes[held] - codes[held].mean(0)).sum()
    assert r2 == pytest.approx(student.fit.best["r2"], abs=1e-5)  # the best epoch's weights, not the last's


def test_the_start_from_the_teacher_helps(teacher, tmp_path):
    """The teacher's table holds what words mean; a start that ignores it would be no better than a random one."""
    texts, codes = made(120)
    shared = {"width": 6, "hidden": 0, "rarity": 10.0, "votes": False}
    still = TrainingConfig(epochs=1, batch_size=64, learning_rate=1e-12, final_learning_rate=0, device="cpu")
    taught, blank = (
        distil(
            texts,
            codes,
            folder=tmp_path / start,
            config=TextStudentConfig(start=start, **shared),
            training=still,
            teacher=teacher,
        )
        for start in ("teacher", "random")
    )
    assert taught.fit.best["r2"] > blank.fit.best["r2"] + 0.2
    given = distil(
        texts, codes, folder=tmp_path / "given", config=TextStudentConfig(**shared), training=still, teacher=teacher,
        table=input_table(teacher),
    )  # fmt: skip
    assert given.fit.best == taught.fit.best


def test_terms_can_be_turned_off_and_change_the_result(tmp_path):
    """A weight without effect is a setting that lies."""
    from dataclasses import replace

    texts, codes = made(120)
    short = replace(SHORT, epochs=1)
    ends = []
    for name, change in [("a", {}), ("b", {}), ("c", {"neighbor_weight": 0.0}), ("d", {"token_dropout": 0.5})]:
        student = distil(texts, codes, folder=tmp_path / name, config=replace(HASH, **change), training=short)
        ends.append(torch_codes(student, texts[:9]))
    assert np.array_equal(ends[0], ends[1])
    assert not np.allclose(ends[0], ends[2])
    assert not np.allclose(ends[0], ends[3])
    terms = [json.loads(line)["terms"] for line in (tmp_path / "c/records.jsonl").read_text().splitlines()[:1]]
    assert set(terms[0]) == {"error"}


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    """Token dropout drawn from a running generator would start anew."""
    from dataclasses import replace

    from stillhouse.training.interrupt import Interrupted

    texts, codes = made(120)
    config, steps = replace(HASH, token_dropout=0.3), []
    whole = distil(texts, codes, folder=tmp_path / "whole", config=config, training=replace(SHORT, epochs=2))

    def stop(progress, news):
        steps.append(progress.step)
        if progress.step == 3:
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        distil(
            texts, codes, folder=tmp_path / "cut", config=config, training=replace(SHORT, epochs=2), on_progress=stop
        )
    resumed = distil(
        texts, codes, folder=tmp_path / "cut", config=config, training=replace(SHORT, epochs=2), resume=True
    )
    assert np.array_equal(torch_codes(whole, texts), torch_codes(resumed, texts))


def test_split_keeps_equal_texts_together_and_is_a_partition():
    """A text in both halves makes memory look like understanding."""
    texts = [f"text {i % 40}" + " " * (i % 3) for i in range(200)]
    texts = [text.upper() if i % 2 else text for i, text in enumerate(texts)]
    train, held = split_texts(texts, 0.25, seed=1)
    assert sorted([*train, *held]) == list(range(200))
    same = lambda rows: {" ".join(texts[i].lower().split()) for i in rows}  # noqa: E731
    assert not same(train) & same(held)
    assert len(same(held)) == 10
    assert split_texts(texts, 0.25, seed=1)[1].tolist() == held.tolist()
    assert split_texts(texts, 0.25, seed=2)[1].tolist() != held.tolist()


def test_rare_tokens_weigh_more():
    """The formula a / (a + p), and 1 for what was never seen."""
    weights = token_weights(np.repeat([0, 1], [99, 1]), 3, rarity=0.01)
    np.testing.assert_allclose(weights, [0.01 / 1.0, 0.5, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codes": np.zeros((499, 5))}, "expected a row for each of 500 texts"),
        ({"levels": (5, 25)}, "30 numbers"),
        ({"codes": np.full((500, 5), np.nan)}, "codes: expected finite"),
        ({"config": TextStudentConfig()}, "teacher: expected the teacher's folder"),
        ({"texts": ["one"] * 500}, "enough different ones to hold out"),
        ({"output": "tanh"}, "tanh with a scale above 0"),
        ({"output": "box"}, "output: expected euclidean, sphere"),
        ({"table": np.zeros((3, 4))}, "table: expected a row for each of 512 tokens, got 3"),
        (
            {"config": TextStudentConfig(start="random"), "teacher": "nowhere"},
            "expected a model folder with tokenizer.json",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, words):
    texts, codes = made()
    given = {"texts": texts, "codes": codes, "config": HASH, "training": SHORT, **change}
    with pytest.raises(InputError, match=words):
        distil(given.pop("texts"), given.pop("codes"), folder=tmp_path, **given)
    with pytest.raises(ValueError, match="no place in the teacher's table"):
        TextStudentConfig(tokens="hash")


# ------------------------------------------------------------------------------------------------ without torch


def test_numpy_says_what_torch_says(trained):
    """Folded weights, an empty text, one text alone: all within what float16 of the table costs."""
    folder, student, texts, _ = trained
    embedder = NumpyTextEmbedder.load(folder)
    some = [*texts[:50], "", "   ", "kadan", "WORDS that were never seen"]
    np.testing.assert_allclose(embedder.encode(some), torch_codes(student, some), atol=5e-3)
    whole = embedder.encode(some)
    assert np.array_equal(whole, np.concatenate([embedder.encode([text]) for text in some]))
    assert np.array_equal(whole, embedder.encode(some, batch_size=7))
    assert embedder.encode([]).shape == (0, 5)
    assert np.array_equal(embedder.encode([""]), embedder.encode([" "]))


@pytest.mark.parametrize("output", ["euclidean", "sphere", "tanh"])
def test_a_full_table_is_equal_to_1e_5(tmp_path, teacher, output):
    """The exactness that the vector student has, in every output convention and with two levels."""
    texts, codes = made(150, d=30)
    codes[:, :5] = {"sphere": codes[:, :5] / np.linalg.norm(codes[:, :5], axis=1, keepdims=True)}.get(
        output, codes[:, :5]
    )
    config = TextStudentConfig(width=8, hidden=4, half=False)
    student = distil(
        texts, codes, folder=tmp_path / "s", config=config, training=SHORT, teacher=teacher, levels=(5, 25),
        output=output, scale=1.0,
    )  # fmt: skip
    embedder = NumpyTextEmbedder.load(tmp_path / "s")
    np.testing.assert_allclose(embedder.encode(texts), torch_codes(student, texts), atol=1e-5)
    assert np.array_equal(embedder.encode(texts, level=1), embedder.encode(texts)[:, :5])
    assert student.fit.best["r2"] > 0.5


def test_inference_needs_no_torch(trained):
    folder, _, texts, _ = trained
    code = (
        "import sys; sys.modules['torch'] = None\nfrom stillhouse.families.embed.export.numpy_text import NumpyTextEmbedder\n"
        f"print(NumpyTextEmbedder.load({str(folder)!r}).encode({texts[:2]!r}).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 5)"


def test_a_damaged_folder_and_bad_texts_are_named(trained, tmp_path):
    folder = trained[0]
    for name in ("card.json", "text_student.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    embedder = NumpyTextEmbedder.load(tmp_path)
    for texts, words in [("one text", "expected a list of texts"), (["a", None], "got NoneType in row 1")]:
        with pytest.raises(InputError, match=words):
            embedder.encode(texts)
    with pytest.raises(InputError, match="level: expected 1 to 1, got 2"):
        embedder.encode(["a"], level=2)
    card = json.loads((tmp_path / "card.json").read_text())

    def write(changed):
        write_json(tmp_path / "card.json", with_hashes(changed, tmp_path, ["text_student.safetensors"]))

    faults = [
        ({"format": "stillhouse-embedder-1"}, "expected format 'stillhouse-text-embedder-1'"),
        ({"tokenizer": {"kind": "hash", "buckets": 511, "letters": True}}, "table: expected .511, 16., got .512, 16."),
        ({"tokenizer": {"kind": "bytes"}}, "tokenizer: expected kind 'pieces', or 'hash'"),
        ({"tokenizer": {"kind": "pieces"}}, "expected a model folder with tokenizer.json"),
        ({"tokenizer": None}, "tokenizer: expected a mapping"),
        ({"levels": [4]}, "skip: expected .4, 16., got .5, 16."),
        ({"vote_buckets": 7}, "vote_buckets: expected an even whole number, got 7"),
        ({"vote_buckets": 8}, "missing: votes, rarity"),
        ({"output": "box"}, "output: expected one of"),
        ({"output": "tanh", "scale": 0}, "scale: expected"),
    ]
    for change, words in faults:
        write(card | change)
        with pytest.raises(InputError, match=words):
            NumpyTextEmbedder.load(tmp_path)
    (tmp_path / "text_student.safetensors").write_bytes((folder / "text_student.safetensors").read_bytes()[:-8])
    write(card)
    with pytest.raises(InputError, match="truncated or not safetensors"):
        NumpyTextEmbedder.load(tmp_path)
