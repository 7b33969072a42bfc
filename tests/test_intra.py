"""The prior of low-pass frames and their half-size blocks."""

import numpy as np
import pytest
import torch
from helpers import DATA, crop, psnr, read_frames, write_clip

import innvc as package
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.intra import ExactIntra
from innvc.bitstream.reader import Reader
from innvc.bitstream.step_offsets import steps_of
from innvc.bitstream.wavefront import wavefront
from innvc.errors import UnsupportedError
from innvc.fit.block_rounding import BlockRounding
from innvc.fit.symbol_costs import symbol_costs
from innvc.model.model import InnvcModel, SampleLayout
from innvc.model.motion import in_quarters
from innvc.model.quantisation import RateAwareRounding
from innvc.presets import Clip, make

LAYOUTS = [("gray", 0, 0), ("yuv", 1, 1), ("yuv", 1, 0), ("yuv", 0, 0), ("rgb", 0, 0)]


def model_of(layout: tuple[str, int, int] = ("yuv", 1, 1)) -> InnvcModel:
    form = SampleLayout(*layout)
    return InnvcModel(make("instant", Clip(form, 64, 48, 4))[0], form, 16).requires_grad_(False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_size_blocks_are_an_orthonormal_transform(layout):
    model = model_of(layout)
    random = torch.Generator().manual_seed(3)
    x = torch.randn(2, model.backbone.mixing[0].base.shape[0], 16, 24, generator=random)
    matrices = model.backbone.matrices()
    half = torch.tensor([True, False])
    latent = model.backbone(x, matrices, half=half)
    assert torch.allclose(latent.square().sum((1, 2, 3)), x.square().sum((1, 2, 3)))
    assert torch.allclose(model.backbone.inverse(latent, matrices, half=half), x, atol=1e-5)
    whole = model.backbone(x, matrices)
    assert torch.equal(whole[1], latent[1]) and not torch.allclose(whole[0], latent[0], atol=0.1)
    blocks = model.intra.layout.blocks(latent)
    assert blocks.shape[2:] == (4, 6)
    assert torch.equal(model.intra.layout.latent(blocks), latent)
    # In sixteenths, as a context: the latent of whole blocks, but for the rounding of the matrix.
    merged = model.intra.merged(1000 * latent[:1])
    assert (merged - 1000 * whole[:1]).abs().max() < 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_element_of_the_merging_matrix_is_near_a_half(layout):
    """So that no machine rounds one otherwise."""
    model = model_of(layout)
    exact = 1024 * model.backbone.mixing[-1].base[:, model.intra.layout.source].numpy()
    assert abs(exact - np.floor(exact) - 0.5).min() > 1e-9


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (4, 1), (5, 7)])
def test_a_wavefront_visits_each_cell_after_its_neighbours(rows, columns):
    seen = np.zeros((rows, columns), bool)
    for i, j in wavefront(rows, columns):
        for y, x in ((0, -1), (-1, 0), (-1, -1), (-1, 1)):
            inside = (i + y >= 0) & (j + x >= 0) & (j + x < columns)
            assert seen[i[inside] + y, j[inside] + x].all()
        assert not seen[i, j].any()
        seen[i, j] = True
    assert seen.all()


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (4, 10), (8, 6)])
def test_coding_block_by_block_is_the_prior_of_the_whole_frame(rows, columns):
    """The sums are the same integers, and what is coded is what is decoded."""
    model = model_of()
    exact = ExactIntra(model.intra)
    random = np.random.default_rng(5)
    shape = (exact.layout.channels, rows, columns)
    offsets = random.integers(-4, 9, (rows // 2, columns // 2))
    indexes, means, symbols = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int32)

    class Choice:
        def symbols(self, group, i, j, scale, mean):
            sigma = 2 ** (scale / 4 - 5)
            indexes[group, i, j], means[group, i, j] = scale, mean
            symbols[group, i, j] = np.round(random.laplace(0, sigma) - 0.3 * mean / 16)
            return symbols[group][:, i, j]

    coder = Encoder()
    value, order = exact.code(coder, offsets, Choice())
    steps = in_quarters(steps_of(offsets))
    assert np.array_equal(value, steps * symbols + means) and np.abs(symbols).max() > 5
    decoded, again = exact.code(Decoder(coder.finish()), offsets, None)
    assert np.array_equal(decoded, value) and np.array_equal(again, order)
    latent = model.intra.layout.latent(torch.from_numpy(value)[None])
    scale, mean = (model.intra.layout.blocks(x)[0].numpy() for x in model.intra.double()(latent))
    scale = (scale + in_quarters(offsets)).clip(0, 63)
    assert np.array_equal(scale, indexes) and np.array_equal(mean, means)
    assert len(np.unique(indexes)) > 8


def test_weights_that_are_not_exact_are_refused():
    model = model_of()
    model.intra.middle[0] = 2.0**20
    with pytest.raises(UnsupportedError, match="too large"):
        ExactIntra(model.intra)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    frames = [
        crop(frame, 144, 176) for frame in read_frames(DATA / "street_cif.mkv", frames=(0, 3))
    ]
    return write_clip(tmp_path_factory.mktemp("street") / "street.mkv", frames), frames


def test_a_picture_is_smaller_with_intra_prediction(street, tmp_path, call):
    """By more than a twentieth, for one frame of a real clip that was not trained on."""
    sizes, quality = [], []
    for options in ([], ["--no-intra"]):
        file, decoded = tmp_path / "a.innv", tmp_path / "a.mkv"
        line = (
            "encode",
            street[0],
            "-o",
            file,
            "--frames",
            "0:1",
            "-l",
            "0.2",
            "-y",
            "-p",
            "instant",
        )
        code, _, err = call(*line, *options)
        assert code == 0, err
        package.decode(file, decoded, overwrite=True)
        sizes.append(file.stat().st_size)
        quality.append(psnr(street[1][:1], read_frames(decoded), 0, 255))
    assert sizes[0] < 0.95 * sizes[1] and quality[0] > quality[1] - 0.1


def test_still_pictures_are_predicted_in_time_and_others_in_space(street, tmp_path):
    """Packets after a key packet; both kinds seek, cut and decode."""
    frames = [street[1][0]] * 4 + [cut(street[1][1])]
    source = write_clip(tmp_path / "in.mkv", [*frames, cut(street[1][2])])
    file = tmp_path / "a.innv"
    package.encode(source, file, preset="instant", gop=2)
    with Reader(file) as reader:
        packets = [packet for _, _, packet in reader.packets()]
    assert [packet.intra for packet in packets] == [True, False, True]
    assert all(row[1:] == [0, 0, 0] for p in packets if p.intra for row in p.lengths[:1])
    with package.open(file) as forward, package.open(file) as backward:
        shown = [list(forward)[i].planes[0] for i in range(6)]
        for i in (5, 3, 0):
            assert np.array_equal(backward[i].planes[0], shown[i])
    with package.open(file, layers=1) as first:
        assert len(list(first)) == 6


def cut(frame):
    """Another picture."""
    planes = [np.ascontiguousarray(plane[::-1, ::-1]) for plane in frame.planes]
    return type(frame)(planes)


def test_an_intra_packet_without_an_intra_prior_is_corrupt(street, tmp_path):
    from msgspec.structs import replace

    file = tmp_path / "a.innv"
    package.encode(street[0], file, preset="instant", intra=False, frames=(0, 1))
    with Reader(file) as reader:
        header, segment = reader.header, reader.segment(0)
        packet = reader.packet(0, 0)
    assert not packet.intra
    with pytest.raises(ValueError, match="intra prior"):
        replace(packet, intra=True).validate_in(0, segment, header)


def test_symbols_are_those_of_rate_aware_rounding():
    """And what they cost is their bits and weighted errors."""
    intra, rng = ExactIntra(model_of().intra), np.random.default_rng(5)
    latent, weight = rng.laplace(size=(384, 3, 4)) * 9, rng.exponential(size=(384, 3, 4))
    latent[::50] *= 500
    offsets = rng.integers(-4, 9, (3, 4))
    latent, weight = torch.from_numpy(latent).float(), torch.from_numpy(weight).float()
    chooser = BlockRounding(intra, latent, weight, offsets)
    rows, (i, j) = slice(20, 60), (rng.integers(0, n, 500) for n in (6, 8))
    scale = rng.integers(0, 64, (40, 500))
    mean = rng.integers(-200, 200, (40, 500)).astype(float)
    total = np.zeros(500)
    symbols = chooser._choose(rows, i, j, scale, mean, total)
    step = torch.from_numpy(in_quarters(steps_of(offsets) / 16))[i, j]
    wanted, worth = (intra.layout.blocks(x)[rows][:, i, j].double() for x in (latent, weight))
    wanted, worth = wanted / step - torch.from_numpy(mean) / (16 * step), worth * step**2
    limited = wanted.clamp(-30_000, 30_000)
    rounded = RateAwareRounding()(limited, torch.from_numpy(scale), worth).numpy()
    assert np.array_equal(symbols, rounded) and abs(symbols).max() == 30_000
    errors = worth.numpy() * (wanted.numpy() - rounded) ** 2
    cost = symbol_costs(abs(symbols), scale) + errors
    assert np.allclose(total, cost.sum(0), rtol=1e-12)
    assert np.array_equal(symbols, chooser.symbols(rows, i, j, scale, mean))
