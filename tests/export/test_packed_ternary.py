"""Packing and the packed generator: every code comes back, and the generator says what the fake-quantized network says."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.packed import load_packed, pack, pack_student, unpack
from stillhouse.tasks.lm.students import NGramConfig, SpikeConfig, SpikingLMConfig
from stillhouse.tasks.lm.students.trie import count_trie

pytest.importorskip("numba")
from stillhouse.tasks.lm.generator import SpikingGenerator

SMALL = SpikingLMConfig(vocab_size=23, width=16, layers=2, heads=2, ffn=2.5, chunk=8)
VARIANTS = {
    "delta": SMALL,
    "levels": replace(SMALL, spikes=SpikeConfig(levels=3, hidden_levels=4)),
    "everything": replace(
        SMALL,
        spikes=SpikeConfig(parts=("mixer", "output", "gates", "ffn")),
        ternary_weights=("mixer", "output", "gates", "ffn"),
    ),
    "dense": SMALL.without_special_part(),
    "inside": replace(
        SMALL, activation="signed-square", embedding_width=6, ngram=NGramConfig(order=3, entries=90), floats="compact"
    ),
    "weights only": replace(SMALL, spikes=None, ternary_weights=("ffn",)),
}


def model(config, seed=0):
    torch.manual_seed(seed)
    made = config.build().double().eval()
    for name, parameter in made.named_parameters():
        if name.endswith((".up", ".bias", ".bonus", "lower.weight", "norm_gain", "rate_share", "removal_gain")):
            parameter.data += 0.3 * torch.randn_like(parameter)
    if made.prior is not None:
        made.prior.fill(count_trie(np.array(tokens(400)), 23, config.ngram))
    made.float().round_weights()
    return made.double()


def tokens(count=40):
    return torch.randint(0, 23, (count,), generator=torch.Generator().manual_seed(3)).tolist()


def test_every_group_of_codes_comes_back():
    """All 243 groups of five, and every length of a last group."""
    codes = np.array(list(itertools.product((-1, 0, 1), repeat=5)), np.int8)
    np.testing.assert_array_equal(unpack(pack(codes), 5), codes)
    for length in range(1, 18):
        row = np.random.default_rng(length).integers(-1, 2, (3, length)).astype(np.int8)
        packed = pack(row)
        np.testing.assert_array_equal(unpack(packed, length), row)
        assert packed.nbytes == 3 * -(-length // 5)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_generator_equals_the_network(name, tmp_path):
    """Packed, saved, loaded and run a token at a time in numpy: the logits of one torch pass, in float64 to 1e-9."""
    made, ids = model(VARIANTS[name]), tokens()
    with torch.no_grad():
        expected = made(torch.tensor([ids])).logits[0].numpy()
    pack_student(made).save(tmp_path / "student.safetensors")
    generator = SpikingGenerator(load_packed(tmp_path / "student.safetensors"), dtype=np.float64)
    got = np.stack([generator.step(token) for token in ids])
    close = 1e-9 if made.prior is None else 1e-6  # its log-probabilities are float32 in the network
    np.testing.assert_allclose(got, expected, atol=close, rtol=close)


def test_memory_is_small_and_does_not_grow():
    """The state of 300 tokens is that of 3; packed weights take less than two bits a weight."""
    packed = pack_student(model(SMALL).float())
    generator, sizes = SpikingGenerator(packed), []
    for count in (3, 300):
        generator.generate([1, 2], count)
        sizes.append(sum(array.nbytes for layer in generator.state for array in layer))
    size = SMALL.width // SMALL.heads
    assert sizes == 2 * [SMALL.layers * 4 * (2 * SMALL.width + SMALL.heads * size * size)]
    codes = sum(a.nbytes for n, a in packed.arrays.items() if n.endswith(".codes"))
    weights = sum(layer.weight.numel() for layer in model(SMALL).linear_layers().values() if layer.ternary)
    assert 8 * codes / weights < 2.0


def test_generation_goes_on_from_the_state():
    """A prompt given in two parts is one prompt."""
    packed = pack_student(model(SMALL))
    whole, parts = (SpikingGenerator(packed, dtype=np.float64) for _ in range(2))
    ids = tokens(12)
    expected = whole.generate(ids, 5)
    for token in ids[:7]:
        parts.step(token)
    assert parts.generate(ids[7:], 5) == expected


def test_what_cannot_be_packed_or_read_is_refused(tmp_path):
    """A network on its ramp packs to another one; a cut file must not give random weights."""
    made = model(SMALL)
    made.quantize(0.9)
    with pytest.raises(InputError, match="at share 1, got one on its ramp"):
        pack_student(made)
    made.quantize(1.0)
    made.blocks[0].ffn.up.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite weights"):
        pack_student(made)
    file = tmp_path / "x.safetensors"
    pack_student(model(SMALL)).save(file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="expected a safetensors file"):
        load_packed(file)
    with pytest.raises(InputError, match="expected a safetensors file"):
        load_packed(tmp_path / "nothing")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, str(file))
    with pytest.raises(InputError, match="stillhouse-packed-ternary 1 of trits, got None None of None"):
        load_packed(file)
