"""Every flag of `stillhouse vision` changes the model or the run: the original had 229, many of which did nothing."""

import functools
from functools import cache
from pathlib import Path

import pytest
import torch
from flag_cases import CASES, ELSEWHERE
from flag_cases import DOCUMENTED as NAMES
from flag_outcomes import VIT, built, config, data

from stillhouse.compat import flags
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, to_mapping
from stillhouse.tasks.classification.vision.config import VisionConfig
from stillhouse.teachers.config import TeacherConfig

DOCUMENTED = flags("vision")
FLAGS = flags("vision", "vision-more")


@cache
def without_flag(outcome, base):
    """Of a line that many flags are held against; the same words, the same outcome."""
    found = outcome(*base)
    assert outcome(*base) == found, "not a function of the words"
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_flag_changes_something(name):
    """One that changed neither the network, nor a term, a rate, an image or the run's settings, would be decorative."""
    outcome, base, word = CASES[name]
    first = without_flag(outcome, tuple(base))
    before = [name, *(() if word is None else word.split())]
    without = [w for w in base if w != name.replace("--", "--no-", 1)] if word is None else base
    assert outcome(*without, *before) != first


def test_every_flag_is_shown_alive_somewhere():
    """A new row without a proof."""
    assert sorted(name for name in (*CASES, *ELSEWHERE) if name.startswith("--")) == sorted(FLAGS)
    tests = Path(__file__).parents[1]
    text = "".join(path.read_text() for folder in ("vision", "cli") for path in (tests / folder).glob("test_*.py"))
    for test in set(ELSEWHERE.values()):
        assert f"def {test}(" in text


def test_every_documented_name_is_there():
    """84 names that the documents use."""
    assert len(NAMES.split()) == 84
    assert sorted(DOCUMENTED) == sorted(NAMES.split())


def test_every_name_is_a_setting():
    """A row whose path has moved on would be refused only when someone uses it."""
    known = to_mapping(VisionConfig(teacher=TeacherConfig()))
    for row in FLAGS.values():
        for path in (row if isinstance(row, str) else row[0]).rstrip("?*+").split():
            functools.reduce(lambda here, key: here[key], path.split("."), known)


def test_underscores_are_taken_too():
    """One row of the documents spells a flag so."""
    line = [*VIT, "--transformer-ema-decay", "0.9", "--transformer-self-distill-weight", "1"]
    assert config(*line, "--transformer-self_distill-temp", "3").loss.self_temperature == 3
    assert config(*line, "--transformer_self_distill_temp=4").loss.self_temperature == 4


def test_fused_attention_is_demanded(monkeypatch):
    """Published, it fell back to the slow kernel silently."""
    import stillhouse.tasks.classification.students.attention as attention

    asked = []
    kernel = attention.sdpa_kernel
    monkeypatch.setattr(attention, "sdpa_kernel", lambda backends: asked.append(backends) or kernel(backends))
    for line, expected in ((VIT, 0), ([*VIT, "--transformer-use-flash-attn"], 2)):
        chosen = config(*line)
        asked.clear()
        built(chosen).eval()(data(chosen).input_spec.example(2))
        assert len(asked) == expected


def test_checkpointing_runs_blocks_twice():
    """Memory for time: the same gradient, each block run again on the way back."""
    gradients = []
    for line in (VIT, [*VIT, "--transformer-grad-checkpoint"]):
        chosen = config(*line)
        model, calls = built(chosen).train(), []
        model.blocks[0].norm1.register_forward_hook(lambda *args, calls=calls: calls.append(1))
        model(data(chosen).input_spec.example(4)).square().sum().backward()
        assert len(calls) == (2 if "--transformer-grad-checkpoint" in line else 1)
        gradients.append(model.blocks[0].attention.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_tau_is_that_of_flat_and_hybrid_machines_too():
    """One documented flag, three models."""
    for model in ("tm", "hybrid"):
        assert config("--models", model, "--tm-tau", "0.4").run_config(model).student.rule.tau == 0.4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--transformer-clauses 7", "even"),
        (
            "--transformer-arch swin --transformer-patch 1 --transformer-depths 1,1 --transformer-embed-dims 8,16,32",
            "list of 2",
        ),
        ("--transformer-d-model 50 --transformer-heads 3", "multiple of num_heads"),
        ("--transformer-arch swin --transformer-window 7", "window_size"),
        ("--tm-tau 1.0", "tau"),
        ("--tm-tau 0", "tau"),
        ("--transformer-tau-ema 1.5", "tau_ema_beta"),
        ("--num-classes 1", "num_classes"),
        ("--mixup-alpha 0.2 --batch-size 1", "at least 2 images to mix"),
        ("--transformer-d-model 64 --transformer-embed-dims 64", "mean the same"),
        ("--transformer-heads 4 --transformer-stage-heads 4", "mean the same"),
        ("--tm-target-size 28 32", "square"),
        ("--tm-feature-mode conv", "tm and deep_tm"),
        ("--transformer-deepness 3", "unknown flag"),
        ("--transformer-pool cls --no-transformer-use-cls", "class token"),
    ],
)
def test_what_cannot_be_is_told(line, said):
    """Before anything is trained, by the name of the setting."""
    with pytest.raises((ConfigError, InputError), match=said):
        config("--dataset", "digits", "--transformer-patch", "4", *line.split())
