"""Flags of positions without symbols."""

import math

import numpy as np
import pytest
from helpers import innvc, make_frames, write_clip

from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.range_coder import odds_index
from innvc.bitstream.skips import SkipCoder


def test_odds_are_those_of_the_counts():
    """Within a quarter of an octave, and bounded."""
    for zeros in (1, 2, 7, 100, 3000):
        for ones in (1, 3, 50, 900, 20_000):
            k = odds_index(zeros, ones)
            wanted = 2 * math.log2(ones / zeros) + 31.5
            assert abs(k - min(max(wanted, 0), 63)) <= 0.5 + 1e-9
    assert odds_index(10**9, 1) == 0 and odds_index(1, 10**9) == 63


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.98, 1.0])
def test_flags_come_back_at_about_their_entropy(share):
    random = np.random.default_rng(3)
    flags = random.random((6, 18, 22)) < share
    none = np.zeros((18, 22), bool)
    coder, coding = Encoder(), SkipCoder()
    for j, frame in enumerate(flags):
        coding.code(coder, flags[j // 2] if j else none, flags[j - 1] if j > 1 else none, frame)
    data = coder.finish()
    decoder, coding = Decoder(data), SkipCoder()
    for j, frame in enumerate(flags):
        parent, sibling = flags[j // 2] if j else none, flags[j - 1] if j > 1 else none
        assert np.array_equal(coding.code(decoder, parent, sibling, None), frame)
    entropy = -sum(p * math.log2(p) for p in (share, 1 - share) if p)
    assert 8 * len(data) < 1.05 * entropy * flags.size + 130


def test_a_still_video_costs_next_to_nothing(tmp_path):
    """Fifteen details of the same picture: flags, and few of them."""
    frames = 16 * make_frames("yuv420p", 176, 144, 1)
    source, file = write_clip(tmp_path / "in.mkv", frames), tmp_path / "a.innv"
    encode = innvc("encode", source, "-o", file, "-p", "instant", "-l", "0.3")
    assert encode.returncode == 0, encode.stderr
    from innvc.bitstream.reader import Reader

    with Reader(file) as reader:
        packet = reader.packet(0, 0)
    low, *details = (sum(row) for row in packet.lengths)
    assert len(details) == 4 and sum(details) < 40 < low
