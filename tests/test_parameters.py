"""Coded parameters: exact round trips, choices by real cost, damage, speed."""

import numpy as np
import pytest
import torch

from innvc.bitstream import parameters
from innvc.bitstream.coder import Encoder
from innvc.bitstream.grids import WEIGHTS, CodedGrid
from innvc.bitstream.vectors import code_vector, symbol_costs, vector_bits
from innvc.bitstream.weights import Axes, CodedTensor
from innvc.errors import CorruptError
from innvc.fit.grid_code import choose_grids, fit_priors
from innvc.fit.parameter_code import choose
from innvc.model.grid_prior import GridPrior, activity, gather, turn_slices
from innvc.model.parameter_layout import (
    STEP_UNIT_BITS,
    block_counts,
    matrix_of,
    step_index,
    step_sizes,
)


def laplace(shape, spread, seed=0):
    random = np.random.default_rng(seed)
    return (random.laplace(0, 1, shape) * spread).round().astype(np.int32)


def test_steps_are_quarter_octaves():
    sizes = step_sizes() * 2.0**-STEP_UNIT_BITS
    assert sizes == pytest.approx(2.0 ** (np.arange(64) / 4 - 15), rel=0.02)
    for exponent in range(16):
        assert sizes[step_index(exponent)] == 2.0**-exponent


VECTORS = {
    "one": [-7],
    "zeros": [0] * 30,
    "far": [3, 1 << 20, -(1 << 20), 0],
    "shifted": [8, -16, 0, 24] * 20,
    "around a mean": [40, 41, 39, 40, 40, 42] * 20,
    "running": list(range(-90, 300)),
    "empty": [],
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_round_trip_at_the_bits_they_say(name):
    values = np.array(VECTORS[name], dtype=np.int64)
    coder = Encoder()
    for _ in range(20):
        code_vector(coder, len(values), values)
    data = coder.finish()
    decoder = parameters.Decoder(data)
    for _ in range(20):
        assert np.array_equal(code_vector(decoder, len(values), None), values)
    assert 8 * len(data) / 20 == pytest.approx(vector_bits(values), rel=0.02, abs=3)


def matrices_of(kind):
    return {
        "one": matrix_of("field.x", (1,)),
        "none": matrix_of("field.x", (0,)),
        "row": matrix_of("field.x", (300,)),
        "conv": matrix_of("field.x", (20, 5, 3, 3)),
        "prior": matrix_of("prior.temporal", (5, 4, 40)),
        "skew": matrix_of("backbone.mixing.0.skew", (24 * 23 // 2,)),
        "mask": matrix_of("prior.spectral", (30, 30), np.tri(30, k=-1).ravel() > 0),
    }[kind]


KINDS = ("one", "none", "row", "conv", "prior", "skew", "mask")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [0, 0.3, 5, 3000])
def test_tensors_round_trip(kind, spread):
    matrix = matrices_of(kind)
    random = np.random.default_rng(3)
    values = laplace(len(matrix), spread)
    huge = np.resize([1 << 22, -(1 << 22), 0, 1, -1], len(matrix)).astype(np.int32)
    axes = Axes(random.integers(-9, 9, matrix.rows), random.integers(-9, 9, matrix.columns))
    tensors = [choose(values, matrix, 20, steps) for steps in (Axes(), axes)]
    tensors += [choose(huge, matrix, 63, Axes()), CodedTensor(values, 3, (2, 60), axes, axes)]
    data = parameters.encode(tensors, [matrix] * len(tensors))
    for coded, decoded in zip(
        tensors, parameters.decode(data, [matrix] * len(tensors)), strict=True
    ):
        assert np.array_equal(coded.values, decoded.values)
        assert np.array_equal(coded.differences(matrix), decoded.differences(matrix))


def test_unchanged_parameters_cost_a_bit_each():
    matrix = matrix_of("field.x", (100,))
    tensors = [CodedTensor(np.zeros(100, np.int32))] * 64
    assert len(parameters.encode(tensors, [matrix] * 64)) <= 8
    grids = [CodedGrid(np.zeros((1, 2, 3, 4), np.int64))] * 4
    assert len(parameters.encode_grids(grids)) <= 1


def bits_of(tensor, matrix):
    return 8 * len(parameters.encode([tensor], [matrix]))


def test_rows_and_columns_are_found_and_pay():
    """The best code of a tensor whose scales are products comes near to the true distribution's."""
    random = np.random.default_rng(6)
    rows, columns = 8 * random.random((150, 1)), 8 * random.random((1, 200))
    index = np.floor(16 + rows + columns).astype(int)
    values = random.normal(0, 2.0 ** (index / 4 - 5)).round().astype(np.int32)
    matrix = matrix_of("field.x", values.shape)
    ideal = symbol_costs(np.abs(values).ravel())[index.ravel(), np.arange(values.size)].sum()
    flat = values.ravel()
    found = choose(flat, matrix, 20, Axes())
    single = min(bits_of(CodedTensor(flat, 20, (t,)), matrix) for t in range(64))
    assert found.scale_axes.rows.any() and found.scale_axes.columns.any()
    assert bits_of(found, matrix) < 0.97 * single
    assert bits_of(found, matrix) < 1.02 * ideal + 8 * (150 + 200)
    # and not where there is nothing to find
    flat = laplace(flat.size, 2)
    single = min(bits_of(CodedTensor(flat, 20, (t,)), matrix) for t in range(64))
    assert 0.995 * single < bits_of(choose(flat, matrix, 20, Axes()), matrix) <= single


def test_steps_of_rows_keep_the_scales_of_the_parameter():
    """Coarser steps in a row do not change what its scale offsets mean."""
    matrix = matrix_of("field.x", (40, 200))
    shift = 4 * (np.arange(40) % 3)
    values = np.random.default_rng(7).normal(0, 6, (40, 200)) * 2.0 ** (-shift[:, None] / 4)
    tensor = CodedTensor(values.round().astype(np.int32).ravel(), 20, (30,), Axes(rows=shift))
    unaware = CodedTensor(tensor.values, 20, (30,))
    assert bits_of(tensor, matrix) < bits_of(unaware, matrix)
    found = choose(tensor.values, matrix, 20, tensor.step_axes)
    assert bits_of(found, matrix) <= bits_of(tensor, matrix)
    assert not found.scale_axes


def smooth_grid(shape, seed=0, spread=6.0):
    """A field that changes slowly, but not everywhere."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 1, (shape[0], *(-(-n // 4) + 1 for n in shape[1:])))
    coarse *= np.exp(random.normal(0, 1, coarse.shape[2:]))
    tensor = torch.from_numpy(coarse)[None]
    fine = torch.nn.functional.interpolate(tensor, size=shape[1:], mode="trilinear")[0]
    return (spread * fine.numpy() + random.normal(0, 0.3, shape)).round().astype(np.int64)


SHAPES = [(1, 1, 1, 1), (2, 3, 1, 5), (3, 17, 9, 8), (1, 40, 12, 20)]


def levels_of(shape):
    return [(shape[0] << k, *(max(1, n >> k) for n in shape[1:])) for k in range(3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_grids_round_trip(shape):
    random = np.random.default_rng(8)
    shapes = levels_of(shape)
    grids = []
    for size in shapes:
        blocks = (size[0], *block_counts(size[1:]))
        values = laplace(size, 3, 9).astype(np.int64)
        values.flat[0] = -(1 << 22)
        weights = random.integers(-2000, 2000, WEIGHTS)
        steps, scales = random.integers(-9, 9, blocks), random.integers(-5, 5, size[0])
        grids.append(CodedGrid(values, 40, 25, (None, -9, 20)[len(grids)], steps, scales, weights))
    for coded in (grids, choose_grids(grids), [CodedGrid(g.values) for g in grids]):
        data = parameters.encode_grids(coded)
        for a, b in zip(coded, parameters.decode_grids(data, shapes), strict=True):
            assert np.array_equal(a.values, b.values)
            assert np.array_equal(a.differences(), b.differences())


def test_contexts_of_grids_pay():
    """Neighbours in time and space make a smooth grid cheaper than any single table."""
    shape = (2, 20, 16, 16)
    grid = CodedGrid(smooth_grid(shape), 40)
    priors = [GridPrior()]
    fit_priors([grid], priors)
    chosen = choose_grids([grid], priors)
    assert chosen[0].weights.any()
    coded = len(parameters.encode_grids(chosen))
    matrix = matrix_of("field.x", shape)
    plain = choose(grid.values.astype(np.int32).ravel(), matrix, 40, Axes())
    assert 8 * coded < 0.9 * bits_of(plain, matrix)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 31])
def test_turns_cover_time_and_see_only_earlier_ones(count):
    order = [t for turn in range(4) for t in turn_slices(turn, count)]
    assert sorted(order) == list(range(count))
    grid = torch.arange(1.0, count + 1).view(1, count, 1, 1)
    known = set()
    for turn in range(4):
        where = turn_slices(turn, count)
        if len(where):
            slices = gather(turn, grid, activity(None, (count, 1, 1)), torch.ones_like(grid))
            assert slices.current.flatten().tolist() == [t + 1 for t in where]
            seen = {*slices.before.flatten().tolist(), *slices.after.flatten().tolist()} - {0}
            assert seen <= known
        known |= {t + 1 for t in where}


@torch.no_grad()
def test_the_grid_prior_is_exact_for_the_largest_weights():
    """Integers in float64, with all weights and values at their limits and in any order."""
    prior = GridPrior().double()
    for parameter in prior.parameters():
        parameter.fill_(2.0**10)
    grid = torch.full((2, 9, 4, 4), 2.0**40, dtype=torch.float64)
    slices = gather(3, grid, activity(grid, (9, 4, 4)), torch.full_like(grid, 32.0))
    for result in prior.contexts(3, slices):
        assert torch.equal(result, result.floor()) and result.abs().max() < 2**53
    sums = 128 * 4 * 2**20 + 2**15 * 2**20 * 8, 2**19 * 2**20 * 3
    assert max(sums) < 2**53


def test_random_bytes_decode_or_are_corrupt():
    random = np.random.default_rng(2)
    matrix = matrix_of("field.x", (30, 40))
    outcomes = set()
    for length in (0, 1, 3, 20, 60, 400):
        for _ in range(20):
            data = random.bytes(length)
            for read, shapes in (
                (parameters.decode, [matrix] * 3),
                (parameters.decode_grids, levels_of((2, 9, 5, 4))),
            ):
                try:
                    outcomes.add(len(read(data, shapes)))
                except CorruptError:
                    outcomes.add("corrupt")
    assert outcomes == {3, "corrupt"}


@torch.no_grad()
def test_context_models_are_fitted_whatever_the_callers_gradient_mode():
    priors = [GridPrior()]
    fit_priors([CodedGrid(smooth_grid((1, 16, 16, 16)), 40)], priors, steps=2)
    assert any(p.grad is not None for p in priors[0].parameters())
