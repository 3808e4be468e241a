"""What a user can get wrong with `stillhouse lm`: one line that says what was expected and what came, status 2, no traceback."""

import shutil

import numpy as np
import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.records import CARD, STUDENT, read_json, write_json
from stillhouse.tasks.lm.data import CorpusConfig
from stillhouse.tasks.lm.data.tokenizer import byte_tokenizer, load_tokenizer
from stillhouse.tasks.lm.saved import load_lm, save_lm
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig

pytest.importorskip("numba")
from stillhouse.tasks.lm.export.packed_ternary import load_packed, pack_student
from stillhouse.tasks.lm.export.spiking_generator import SpikingGenerator, _draw


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    model = SpikingLMConfig(vocab_size=256, width=16, layers=1, heads=2, chunk=8).build()
    model.quantize(1)
    save_lm(folder, model, byte_tokenizer(), window=16)
    return folder


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "text.txt"
    file.write_text("the river ran over a stone\n" * 200)
    return file


def refused(capsys, *words):
    """The message of a command that must be refused."""
    assert main(["lm", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_the_same_folder_is_taken_when_nothing_is_wrong(student, text, capsys):
    """Refusals that refuse everything would pass all tests below."""
    how = ["--source", text, "--tokens", "200", "--window", "16"]
    assert main(["lm", "evaluate", *map(str, [student, *how])]) == 0
    assert "sliding_nll" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--tokens", "-5", "tokens: expected greater than 1, got -5"),
        ("--window", "1", "window: expected greater than 1, got 1"),
        ("--source", "", "source: "),
    ],
)
def test_a_number_out_of_its_range_is_named(student, capsys, flag, value, said):
    """A flag past the schema ended in a traceback of pydantic's."""
    assert said in refused(capsys, "evaluate", student, f"{flag}={value}")


def test_a_folder_of_neither_kind_is_called_so(tmp_path, capsys):
    """A run's folder is near, and the message was about its text."""
    for folder in (tmp_path, tmp_path / "absent"):
        said = refused(capsys, "evaluate", folder)
        assert "(card.json in it) or a finished run, got neither" in said


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--temperature", "nan"), ("--temperature", "inf"), ("--temperature", "-1"), ("--seed", "-1"), ("--seed", 2**64)],
)
def test_draws_that_cannot_be_made_are_refused(student, capsys, flag, value):
    """NaN is not below 0: it passed."""
    words = ["generate", student, "--prompt", "x", "--tokens", "2", "--temperature", "1", f"{flag}={value}"]
    said = refused(capsys, *words)
    assert flag in said
    assert str(value) in said


def test_the_generator_refuses_them_too(student):
    """It is called without the command line as well."""
    generator = SpikingGenerator(pack_student(load_lm(student)[0]))
    for temperature in (float("nan"), float("inf"), -1.0):
        with pytest.raises(InputError, match="finite temperature"):
            generator.generate([1], 1, temperature=temperature)
    with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
        generator.generate([1], 1, temperature=1.0, seed=-1)


def test_a_tiny_temperature_is_its_limit(student, capsys):
    """Logits divided by 1e-320 are infinities, and their difference is no number."""
    logits, generator = np.array([1.0, 3.0, 2.0], np.float32), np.random.default_rng(0)
    assert _draw(logits, 1e-320, generator) == 1
    drawn = [_draw(np.log([0.2, 0.8]), 1.0, generator) for _ in range(2000)]
    assert abs(np.mean(drawn) - 0.8) < 4 * np.sqrt(0.16 / 2000)
    outs = []
    for value in ("1e-320", "0"):
        assert main(["lm", "generate", str(student), "--prompt", "x", "--tokens", "3", "--temperature", value]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]


def test_an_export_that_cannot_be_written_is_said(student, tmp_path, capsys):
    """A place that is a file, in a file, or of the system's ended in a traceback."""
    (tmp_path / "t.txt").write_text("mine")
    for out in (tmp_path / "t.txt" / "sub", tmp_path / "t.txt"):
        assert str(tmp_path / "t.txt") in refused(capsys, "export", student, "--to", "packed", "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]
    assert (tmp_path / "t.txt").read_text() == "mine"


def test_exports_are_whole_or_not_there(student, tmp_path):
    """A killed export must not leave half a file under the name of a whole one; what is written can be read."""
    model = load_lm(student)[0]
    size = pack_student(model).save(tmp_path / "new" / "p.safetensors")
    assert size == (tmp_path / "new" / "p.safetensors").stat().st_size
    np.testing.assert_array_equal(
        load_packed(tmp_path / "new" / "p.safetensors").weight("blocks.0.ffn.up"),
        pack_student(model).weight("blocks.0.ffn.up"),
    )
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["p.safetensors"]


def test_a_card_without_its_parts_names_them(student, tmp_path):
    """KeyError: 'model' is no message."""
    folder = shutil.copytree(student, tmp_path / "s")
    card = read_json(folder / CARD)
    card.pop("sha256")  # of a card that was changed by hand nothing is believed
    write_json(folder / CARD, {"format": card["format"]})
    with pytest.raises(InputError, match=r"card\.json: expected model .*, got a card without model and window"):
        load_lm(folder)
    write_json(folder / CARD, {**card, "window": None})
    with pytest.raises(InputError, match="got a card without window"):
        load_lm(folder)
    write_json(folder / CARD, {**card, "model": {**card["model"], "width": -1}})
    with pytest.raises(InputError, match=r"card\.json: model: width: expected greater than 1, got -1"):
        load_lm(folder)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(student, tmp_path, wrong):
    """A score of NaN says nothing about why."""
    model, tokenizer, card = load_lm(student)
    with torch.no_grad():
        model.get_parameter("blocks.0.ffn.up.weight")[0, 0] = wrong
    folder = tmp_path / "s"
    save_lm(folder, model, tokenizer, window=card["window"])
    with pytest.raises(InputError, match=r"blocks\.0\.ffn\.up\.weight: expected finite weights"):
        load_lm(folder)


@pytest.mark.parametrize("name", [STUDENT, "tokenizer.json"])
def test_changed_files_are_named(student, tmp_path, name):
    """Weights of one student beside the card of another; a card of an earlier version has no hashes and is read."""
    folder = shutil.copytree(student, tmp_path / "s")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + b"\n" + content[-1:])
    with pytest.raises(InputError, match=rf"{name} was changed after it was written"):
        load_lm(folder)
    (folder / name).write_bytes(content)
    card = read_json(folder / CARD)
    assert (card["format"], card["task"]) == ("stillhouse-lm-1", "lm")
    write_json(folder / CARD, {key: value for key, value in card.items() if key not in ("sha256", "task")})
    assert load_lm(folder)[2]["window"] == 16


@pytest.mark.parametrize("size", ["²", "٣٠٠", "", "-300"])
def test_a_vocabulary_is_counted_in_plain_digits(text, size):
    """A superscript two is a digit, and int does not read it."""
    with pytest.raises(InputError, match="expected bpe:N with a whole number N"):
        CorpusConfig(source=str(text), tokenizer=f"bpe:{size}").build()


def test_hints_name_an_extra_that_there_is(tmp_path, monkeypatch):
    """`pip install` of an extra without the missing package leaves the user where they were."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def absent(*words, **options):
        raise ImportError("No module named 'gguf'")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", absent)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", absent)
    with pytest.raises(InputError, match=r"stillhouse\[lm\]"):
        load_tokenizer(str(file))
    with pytest.raises(InputError, match=r"stillhouse\[lm\]"):
        LanguageTeacherConfig(source=str(file)).build()


def test_exports_name_that_extra_too(monkeypatch):
    """numba comes with `lm`; there is no extra `spiking`."""
    import importlib
    import sys

    monkeypatch.delitem(sys.modules, "stillhouse.tasks.lm.export.spiking_generator")
    monkeypatch.delattr("stillhouse.tasks.lm.export.spiking_kernels")
    monkeypatch.setitem(sys.modules, "stillhouse.tasks.lm.export.spiking_kernels", None)
    with pytest.raises(InputError, match=r"stillhouse\[lm\]"):
        importlib.import_module("stillhouse.tasks.lm.export.spiking_generator")
