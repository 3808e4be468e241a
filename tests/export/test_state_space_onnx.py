"""The step form in onnxruntime against the training form in torch."""

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.students import StateSpaceConfig

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from stillhouse.tasks.sar.onnx import OnnxStream, export_step

KINDS = {
    "causal": {"look_ahead": 0},
    "gate": {"look_ahead": 10, "use_selectivity": True, "activation_function": "relu"},
    "positions": {"look_ahead": 10, "input_dim": 3, "use_pos_encoding": True, "output_dim": 2},
}


def network(**settings):
    torch.manual_seed(0)
    model = StateSpaceConfig(**{"model_dim": 4, "state_dim": 12, "num_layers": 2, **settings}).build().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


def scene(model, length, batch):
    lines = torch.randn(batch, length, model.config.input_dim, dtype=torch.complex64)
    if model.config.use_pos_encoding:
        across = torch.tensor(0.4)
        lines[..., -1] = torch.complex(*torch.broadcast_tensors(across, torch.arange(length) / 100))
    return lines


def streamed(stream, lines):
    said = [stream.step(lines[:, t]) for t in range(lines.shape[1])]
    assert [x is None for x in said] == [t < stream.latency for t in range(len(said))]
    return np.stack([*(x for x in said if x is not None), *stream.finish()], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_says_what_torch_says(kind, tmp_path):
    """A graph of another formula, or that forgets its latency at either end of the scene, is another network."""
    model = network(**KINDS[kind])
    path = export_step(model, tmp_path / "step.onnx")
    for batch, length in ((1, 40), (3, 2)):  # the batch is free; a scene may be shorter than the latency
        lines = scene(model, length, batch)
        with torch.no_grad():
            expected = model(lines).numpy()
        got = streamed(OnnxStream(path, batch), lines.numpy())
        assert got.shape == expected.shape
        assert np.linalg.norm(got - expected) < 1e-5 * np.linalg.norm(expected)


def test_what_cannot_be_exported_says_so(tmp_path):
    """A bidirectional network has no step."""
    with pytest.raises(InputError, match="got a bidirectional one"):
        export_step(network(), tmp_path / "step.onnx")
