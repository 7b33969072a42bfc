"""The field's grid as a context of the latent prior, beside a second one by docs/format.md."""

import numpy as np
import pytest
import torch
from helpers import DATA, psnr, read_frames, same, write_clip
from msgspec.structs import replace
from test_format_document import LIMIT, Prior

import innvc as package
from innvc import presets
from innvc.bitstream.reader import Reader
from innvc.decoder import SegmentDecoder
from innvc.model import subbands
from innvc.model.field import Window
from innvc.model.model import InnvcModel, SampleLayout
from innvc.model.prior import LatentPrior


def elements(grids, span, frames, size, shape):
    """a[f] of section 12 for the whole latent."""
    found = []
    for level, grid in enumerate(grids):
        values = np.clip(np.floor(1024 * grid.astype(np.float64) + 0.5), -LIMIT, LIMIT)
        t = min(sum(span) * size[0] // (2 * frames), size[0] - 1)
        for channel in values:
            map_ = np.zeros(shape, dtype=object)
            for r, k in np.ndindex(shape):
                i = (2 * r + 1) * size[1] // (2 * shape[0])
                j = (2 * k + 1) * size[2] // (2 * shape[1])
                place = [
                    min(n >> level, m - 1) for n, m in zip((t, i, j), channel.shape, strict=True)
                ]
                map_[r, k] = int(channel[tuple(place)])
            found.append(map_)
    return found


def test_a_second_prior_reads_the_same_grid():
    config, _ = presets.make("compact", presets.Clip(SampleLayout("gray", 0, 0), 112, 80, 21))
    prior = replace(config.prior, grid=True, intra=(0, 0), reach=0, halves=0)
    config = replace(config, prior=prior, start=0, post_filter=False, groups=(3, 5), layers=(2,))
    groups = presets.analytic_groups(SampleLayout("gray", 0, 0), 2, 4)
    config = replace(config, groups=groups, layers=(len(groups),))
    model = InnvcModel(config, SampleLayout("gray", 0, 0), 16).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for grid in model.field.grid:
        grid.copy_(torch.randn(grid.shape, generator=generator) * 0.7)
    for name in ("grid_scale", "grid_mean"):
        parameter = getattr(model.prior, name)
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    second = Prior(
        {n: p.numpy() for n, p in model.prior.named_parameters()}, groups, config.layers, 16
    )
    size, frames, start, group = (5, 7), 21, 5, 7
    exact = model.prior.double()
    empty = exact.context(torch.zeros(1, sum(groups), *size, dtype=torch.float64))
    grids = [grid.numpy() for grid in model.field.grid]
    seen = set()
    for j in range(group):
        first, last = subbands.span_of(j, group)
        place = subbands.slice_of(j, group, start, frames, config.field.grid_size[0])
        seen.add(place)
        level = subbands.level_of(j, group)
        where = torch.tensor([0.0]), torch.tensor([level])
        window = Window(*where, *size, 0, 0, *size, torch.tensor([place]))
        context = model.grid_context(window, torch.float64)
        span = start + first, start + last
        expected = elements(grids, span, frames, config.field.grid_size, size)
        assert np.array_equal(context[0].numpy(), np.array(expected).astype(float))
        rows = slice(0, groups[0])
        scale, mean = exact(
            exact.weights(), rows, torch.tensor([level]), empty, empty, empty, empty, context
        )
        for d in range(groups[0]):
            theirs = second(d, level, [], None, None, size, expected)
            assert np.array_equal(scale[0, d].numpy(), theirs[0].astype(float))
            assert np.array_equal(mean[0, d].numpy(), theirs[1].astype(float))
    assert len(seen) == 2


@pytest.fixture
def source(tmp_path):
    """4 real frames of 48x32 samples."""
    frames = []
    for frame in read_frames(DATA / "street_cif.mkv", frames=(0, 4)):
        parts = zip(frame.planes, ((32, 48), (16, 24), (16, 24)), strict=True)
        frames.append(type(frame)([plane[:h, :w].copy() for plane, (h, w) in parts]))
    return write_clip(tmp_path / "in.mkv", frames)


@pytest.mark.slow
def test_a_file_whose_prior_reads_the_grid(source, tmp_path, monkeypatch):
    """With weights on the grid from the start, on both sides: short fits leave them at zero."""
    plain = LatentPrior.__init__

    def weighted(self, *arguments):
        plain(self, *arguments)
        torch.nn.init.constant_(self.grid_scale, 0.1)
        torch.nn.init.constant_(self.grid_mean, -0.05)

    monkeypatch.setattr(LatentPrior, "__init__", weighted)
    file = tmp_path / "a.innv"
    package.encode(source, file, preset="compact", steps=20, gop=2, grid_context=True)
    package.verify(file)
    with Reader(file) as reader:
        segment, record = reader.segment(0), reader.parameters(0)
        decoder = SegmentDecoder(reader.header, segment, record, torch.device("cpu"))
    assert any(grid.any() for grid in decoder.model.field.grid)
    with package.open(file) as forward, package.open(file) as backward:
        shown = list(forward)
        assert same([backward[3], backward[0]], [shown[3], shown[0]])
        assert psnr(read_frames(source), shown, 0, 255) > 40


def test_the_switch(source, tmp_path, call):
    file = tmp_path / "a.innv"
    options = ("--preset", "compact", "--steps", "2", "--frames", "0:2", "--grid-context")
    code, _, err = call("encode", source, "-o", file, *options)
    assert code == 0, err
    assert call("verify", file)[0] == 0
    with Reader(file) as reader:
        header = reader.header
    assert header.model.prior.grid
    with pytest.raises(ValueError, match="need a field"):
        replace(header, model=replace(header.model, field=None)).validate()
    code, _, err = call("encode", source, "-o", file, "-y", "--preset", "fast", "--grid-context")
    assert code == 2 and "no field" in err
