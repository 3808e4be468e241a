"""`get_model_from_configs`: each documented key is honoured or refused, none is swallowed."""

import pytest
import torch

from stillhouse.core.checks import StillhouseError
from stillhouse.tasks.sar.compare import documented_parameters
from stillhouse.tasks.sar.documented import REFUSED, get_model_from_configs
from stillhouse.tasks.sar.saved import save_documented
from stillhouse.tasks.sar.students import SIZES, StateSpaceConfig

SMALL = {
    "name": "s4_ssm",
    "dim_head": 1,
    "input_dim": 2,
    "model_dim": 4,
    "state_dim": 8,
    "output_dim": 1,
    "num_layers": 2,
}
DOCUMENTED = {**SMALL, "dropout": 0.2, "use_pos_encoding": True, "complex_valued": True, "activation_function": "gelu"}


def count(**config):
    return sum(p.numel() for p in get_model_from_configs(**config).parameters())


def test_the_documented_teacher_and_student_are_not_the_same_network():
    """In the public factory they were: `use_selectivity` was swallowed."""
    teacher = get_model_from_configs(**DOCUMENTED, use_selectivity=True)
    student = get_model_from_configs(**DOCUMENTED, use_selectivity=False)
    assert (teacher.config.use_selectivity, student.config.use_selectivity) == (True, False)
    assert teacher.config.activation_function == "gelu"
    assert teacher.config.dropout == 0.2
    gates = sum(p.numel() for n, p in teacher.named_parameters() if "gate" in n)
    assert gates > 0
    assert count(**DOCUMENTED, use_selectivity=True) - count(**DOCUMENTED, use_selectivity=False) == gates


def test_the_integration_example_runs(tmp_path):
    """The document's own lines: model from a dict, weights from a .pth file, output of complex lines.

    What is put out is checked by what it must be: another network's without the weights, that of the same lines without the
    loader's axis, and turned by the phase that the signal is turned by.
    """
    model = get_model_from_configs(**DOCUMENTED, use_selectivity=False).eval()
    save_documented(tmp_path / "best_model.pth", model)
    again = get_model_from_configs(**DOCUMENTED, use_selectivity=False).eval()
    lines = torch.randn(2, 10, 1, 2, dtype=torch.complex64)
    turned = lines * torch.tensor([1j, 1])  # the second channel is the position code
    with torch.no_grad():
        assert not torch.allclose(again(lines), model(lines))
        again.load_state_dict(torch.load(tmp_path / "best_model.pth", weights_only=True))
        focused = again(lines)
        assert focused.shape == (2, 10, 1)
        assert focused.dtype == torch.complex64
        assert focused.abs().min() > 0
        torch.testing.assert_close(focused, model(lines))
        torch.testing.assert_close(focused, again(lines.squeeze(2)))
        torch.testing.assert_close(again(turned), 1j * focused, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_selectivty": True}, "did you mean 'use_selectivity'"),
        ({"name": "mamba_ssm"}, "expected s4_ssm, got 'mamba_ssm'"),
        ({"complex_valued": False}, "complex_valued: expected true"),
        ({"dim_head": 2}, "dim_head: expected 1"),
        ({"mode": "recurrent"}, r"Stream\(model\)"),
        ({"use_pos_encoding": True, "input_dim": 1}, "got 1"),
        ({"activation_function": "glu"}, "activation_function"),
        *(
            ({key.removeprefix("model."): 3}, f"{key}: is not honoured: {why[:20]}")
            for key, why in REFUSED.items()
            if key.startswith("model.")
        ),
    ],
)
def test_what_is_refused_says_why(change, words):
    """Keys that are swallowed are the public code's worst habit: `wraper: false` was obeyed by nothing."""
    with pytest.raises(StillhouseError, match=words):
        get_model_from_configs(**{**SMALL, **change})


def test_parameter_counts_of_the_document():
    """The public code's true counts (the document's percentages do not follow from them), and ours beside them."""
    sizes = [dict(zip(("model_dim", "state_dim", "num_layers"), SIZES[n])) for n in ("standard", "compressed", "tiny")]
    standard, compressed, tiny = (documented_parameters(StateSpaceConfig(input_dim=2, **size)) for size in sizes)
    teacher = documented_parameters(StateSpaceConfig(input_dim=2, use_selectivity=True, **sizes[0]))
    assert (teacher, teacher - standard, compressed, tiny) == (320_299, 8_321, 51_330, 17_234)
    assert [round(1 - x / teacher, 3) for x in (standard, compressed, tiny)] == [0.026, 0.84, 0.946]


@pytest.mark.parametrize("size", ["standard", "compressed", "tiny"])
def test_parameter_counts_of_ours(size):
    """Of a causal one: as the public one, less biases and the second map, and with a complex feedthrough."""
    width, states, layers = SIZES[size]
    config = {"input_dim": 1, "model_dim": width, "state_dim": states, "num_layers": layers, "look_ahead": 0}
    modes = states // 2
    filters = width + 2 * modes + 2 * width * modes + 2 * width
    assert count(**config) == layers * (filters + 2 * width * width) + 2 * width + 2 * width
