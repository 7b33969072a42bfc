"""Step offsets of low-pass frames: their code, and what the encoder makes of them."""

import json

import numpy as np
import pytest
import torch
from helpers import DATA, read_frames, write_clip
from msgspec.structs import replace
from test_format_document import STEPS, read_step_offsets
from test_motion import LAYOUTS, random_motion

from innvc.bitstream import step_offsets
from innvc.bitstream.coder import Encoder
from innvc.bitstream.reader import Reader
from innvc.errors import CorruptError
from innvc.fit.importance import importance, offsets_for
from innvc.fit.low_pass import Lifted, LowPass
from innvc.model import lifting
from innvc.model.motion import NONE, MotionLifting, zero
from innvc.model.planes import planes_of


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (18, 22)])
def test_code(size):
    random = np.random.default_rng(1)
    rough = random.integers(-4, 9, size)
    for offsets in (rough, np.sort(rough, axis=1), np.full(size, 3), np.zeros(size, int)):
        data = step_offsets.encode(offsets)
        assert np.array_equal(step_offsets.decode(data, size), offsets)
        assert np.array_equal(read_step_offsets(data, *size), offsets)
        assert bool(data) == offsets.any()
    assert step_offsets.steps_of(np.arange(-4, 9)).tolist() == list(STEPS.values())


@pytest.mark.parametrize("offset", [-5, 9, 20000])
def test_out_of_range(offset):
    coder = Encoder()
    coder.integers(6, np.array([40, 40]))
    coder.code(np.array([40], np.uint8), np.array([offset], np.int32))
    with pytest.raises(CorruptError, match="step offset"):
        step_offsets.decode(coder.finish(), (1, 1))


@pytest.mark.parametrize("group", [2, 5, 8])
@pytest.mark.parametrize("name", LAYOUTS)
def test_transposes(name, group):
    """<S x, y> = <x, S^T y> for the low-pass frame's synthesis S, and for a prediction."""
    generator = torch.Generator().manual_seed(group)
    planes = LAYOUTS[name]
    rows, columns = 2, 3
    moving = MotionLifting(random_motion(group, rows, columns, seed=group), planes_of(planes))
    for lifter in (moving, lifting.Haar()):
        shape = (group, len(planes), 8 * rows, 8 * columns)
        low = torch.randn(1, *shape[1:], generator=generator, dtype=torch.float64)
        frames = torch.randn(shape, generator=generator, dtype=torch.float64)
        silence = torch.zeros(group - 1, *shape[1:], dtype=torch.float64)
        gain = lifter.gains(frames)[0].flatten()[0]
        there = lifting.inverse(torch.cat([low * gain, silence]), lifter)
        back = lifting.low_pass_transpose(frames, lifter)
        assert torch.allclose((there * frames).sum(), (low * back).sum(), rtol=1e-9)


def still(count, key, lifter, copied=None, size=(32, 48)):
    frame = torch.zeros(1, 6, *size)
    gain = float(lifter.gains(frame.expand(count, -1, -1, -1))[0].flatten()[0])
    prediction = None if copied is None else b""
    low = LowPass(copied is None, prediction, frame, copied)
    return Lifted(frame, gain, frame, key, count, lifter), low


def test_importance():
    """What no other frame is made of matters less, what the next packet copies more."""
    planes = planes_of([0, 0, 0, 0, 1, 2])
    motion = zero(8, 4, 6)
    for level in motion:
        level.mode[:, :, 3:] = NONE  # the right half of each frame stands alone

    def of(*packets):
        lifters = lambda found: MotionLifting(found, planes)  # noqa: E731
        lifted, low = zip(*packets, strict=True)
        return [i.numpy() for i in importance(lifted, low, lifters, stride=8, seed=1)]

    alone = of(still(8, True, lifting.Haar()))
    assert np.allclose(alone, 1, atol=1e-5) and not offsets_for(torch.from_numpy(alone[0])).any()
    halves = of(still(8, True, MotionLifting(motion, planes)))[0]
    assert np.allclose(halves[:, :2] / halves[:, 4:], 8, rtol=0.01)
    copied = torch.zeros(4, 6)
    copied[:2] = 1
    first, second = of(still(4, True, lifting.Haar()), still(4, False, lifting.Haar(), copied))
    assert np.allclose(second, 1, atol=1e-5)
    # Overlapping prediction blends the rows beside the border.
    assert np.allclose(first[0], 2, atol=0.01) and np.allclose(first[3], 1, atol=0.01)
    assert offsets_for(torch.from_numpy(first), 1)[[0, 3]].tolist() == [[1] * 6, [0] * 6]
    assert offsets_for(torch.from_numpy(first))[[0, 3]].tolist() == [[2] * 6, [0] * 6]


def test_files_with_and_without(tmp_path, call):
    """Bits and distortion of a moving clip are less with them."""
    frames = list(read_frames(DATA / "street_cif.mkv", frames=(0, 4)))
    source, costs = write_clip(tmp_path / "in.mkv", frames), []
    for name, options in (("with", ()), ("without", ("--no-step-offsets",))):
        file = tmp_path / f"{name}.innv"
        line = "encode", source, "-o", file, "-l", "0.3", "-p", "instant", "--json"
        code, out, err = call(*line, *options)
        assert code == 0, err
        result = json.loads(out)
        error = 255**2 / 10 ** (result["psnr_611"] / 10)
        costs.append(8 * result["bytes"] + 0.3 * error * 352 * 288 * 4)
        with Reader(file) as reader:
            header, segment = reader.header, reader.segment(0)
            packet = reader.packet(0, 0)
        assert bool(packet.step_offsets) == (name == "with")
        if packet.step_offsets:
            plain = replace(header, model=replace(header.model, step_offsets=False))
            with pytest.raises(ValueError, match="step offsets"):
                packet.validate_in(0, segment, plain)
        info = json.loads(call("info", file, "--json")[1])
        assert info["model"]["step_offsets"] == (name == "with")
        assert call("verify", file)[0] == 0
    assert costs[0] < 0.995 * costs[1]
