"""Directions of the blocks of low-pass frames."""

import numpy as np
import pytest
from helpers import DATA, crop, psnr, read_frames, write_clip
from test_intra import LAYOUTS, model_of

import innvc as package
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.directions import NONE, DirectionCoder
from innvc.bitstream.intra import ExactIntra
from innvc.bitstream.reader import Reader
from innvc.bitstream.wavefront import wavefront
from innvc.model.contexts import VALUE_LIMIT
from innvc.model.directions import ANGLES, DIRECTIONS, Directions, Square, exact_matrix, matrix


def blocks_of(samples: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Coefficients [C, rows, columns] of a picture."""
    n = waves.shape[-1]
    cut = samples.reshape(samples.shape[0] // n, n, -1, n)
    return np.einsum("cyx,iyjx->cij", waves, cut)


def waves_of(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies and waves [n^2, n, n] of a block."""
    k, place = np.arange(n), np.arange(n)
    cosines = np.cos(np.pi * (2 * place + 1) * k[:, None] / (2 * n)) * np.sqrt(2 / n)
    cosines[0] /= np.sqrt(2)
    v, h = (part.ravel() for part in np.indices((n, n)))
    return v, h, cosines[v][:, :, None] * cosines[h][:, None, :]


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_a_picture_of_stripes_is_predicted_in_their_direction(direction):
    """A ramp across the direction is what every sample beside a block tells."""
    v, h, waves = waves_of(8)
    # Along the direction, a step away from the main side moves by the angle.
    y, x = np.indices((24, 24)).astype(float)
    away, along = (x, y) if direction < 15 else (y, x)
    picture = along * 32 + away * ANGLES[direction]
    blocks = blocks_of(picture, waves)
    near = [blocks[:, 1, 0], blocks[:, 0, 1], blocks[:, 0, 0], blocks[:, 0, 2]]
    square = Square(tuple(v.tolist()), tuple(h.tolist()))
    predicted = exact_matrix(square, direction) @ np.concatenate(near)
    error = np.einsum("c,cyx->yx", predicted - blocks[:, 1, 1], waves)
    # Samples below the block on the left are not known; the side's are taken to the nearest.
    known = error[:4] if direction < 7 else error
    scale = np.ptp(picture[8:16, 8:16])
    assert np.median(abs(known)) < 0.02 * scale and abs(known).max() < 0.3 * scale


@pytest.mark.parametrize("layout", LAYOUTS)
def test_matrices_are_integers_that_no_machine_rounds_otherwise(layout):
    frequencies = model_of(layout).intra.frequencies
    directions = Directions(frequencies)
    assert len(directions.planes) == {"gray": 1, "rgb": 3}.get(
        layout[0], 3 if layout[1] == layout[2] else 1
    )
    for _, square in directions.planes:
        integers = np.stack([matrix(square, k) for k in range(DIRECTIONS)])
        assert np.array_equal(integers, np.floor(integers)) and abs(integers).max() < 2048
        exact = np.stack([1024 * exact_matrix(square, k) for k in range(DIRECTIONS)])
        near_half = exact + 0.5 + 2.0**-20
        assert abs(near_half - np.round(near_half)).min() > 1e-9
        # Every sum stays far from 2^53.
        assert abs(integers).sum(2).max() * VALUE_LIMIT < 2**40


def random_directions(rows: int, columns: int, seed: int) -> np.ndarray:
    """Fields in which neighbours are often alike."""
    random = np.random.default_rng(seed)
    found = np.full((rows, columns), NONE)
    for i, j in np.ndindex(rows - 1, columns - 1):
        near = [found[i + 1, j], found[i, j + 1], NONE, int(random.integers(DIRECTIONS))]
        chosen = int(random.choice(near))
        if chosen != NONE and random.random() < 0.3:
            chosen = (chosen + int(random.choice([-1, 1]))) % DIRECTIONS
        found[i + 1, j + 1] = chosen
    return found


def coded(found: np.ndarray) -> tuple[bytes, float]:
    """The string of a field of directions, and the bits that were told before."""
    coder, directions, told = Encoder(), DirectionCoder(*found.shape), 0.0
    for i, j in wavefront(*found.shape):
        told += directions.bits(i, j)[1 + found[i, j], np.arange(len(i))].sum()
        directions.code(coder, i, j, found[i, j])
    return coder.finish(), told


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 6), (6, 1), (2, 2), (20, 31)])
def test_directions_that_are_coded_are_decoded(rows, columns):
    found = random_directions(rows, columns, 5)
    data, told = coded(found)
    directions, again = DirectionCoder(rows, columns), np.full_like(found, NONE)
    coder = Decoder(data)
    for i, j in wavefront(rows, columns):
        again[i, j] = directions.code(coder, i, j, None)
    assert np.array_equal(again, found)
    if found.size > 100:
        assert len(np.unique(found)) == 1 + DIRECTIONS
        assert 8 * len(data) == pytest.approx(told, rel=0.05)


def test_blocks_with_directions_are_decoded_as_they_were_coded():
    exact = ExactIntra(model_of().intra, directions=True)
    random = np.random.default_rng(7)
    offsets = random.integers(-4, 9, (3, 5))
    field = random_directions(6, 10, 11)

    class Choice:
        def directions(self, blocks, bits):
            assert bits.shape == (1 + DIRECTIONS, len(blocks.i))
            return field[blocks.i, blocks.j]

        def symbols(self, rows, i, j, scale, mean):
            return np.round(random.laplace(0, 2 ** (scale / 4 - 5))).astype(np.int32)

    coder = Encoder()
    value, order = exact.code(coder, offsets, Choice())
    decoded, again = exact.code(Decoder(coder.finish()), offsets, None)
    assert np.array_equal(decoded, value) and np.array_equal(again, order)
    assert abs(order).max() > 3


def test_a_picture_is_smaller_with_directions(tmp_path, call):
    """A part of a real frame that nothing was trained on."""
    original = [crop(*read_frames(DATA / "street_cif.mkv", frames=(0, 1)), 144, 176)]
    clip, costs = write_clip(tmp_path / "in.mkv", original), []
    for options, there in (([], True), (["--no-directions"], False)):
        file, decoded = tmp_path / "a.innv", tmp_path / "a.mkv"
        line = "encode", clip, "-o", file, "-l", "0.05", "-y", "-p", "instant"
        code, _, err = call(*line, *options)
        assert code == 0, err
        with Reader(file) as reader:
            assert reader.header.model.prior.directions == there
        package.decode(file, decoded, overwrite=True)
        error = 255**2 / 10 ** (psnr(original, read_frames(decoded), 0, 255) / 10)
        costs.append(8 * file.stat().st_size / (144 * 176) + 0.05 * error)
    assert costs[0] < 0.985 * costs[1], costs
