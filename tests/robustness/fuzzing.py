"""Files that are wrong in a few places and signed anew, and how far a decoder comes with them.

What is changed is drawn from a `random.Random`, which may read its numbers from a fuzzer.
"""

import copy
import faulthandler
import functools
import types
import zlib
from unittest import mock

from helpers import make_clip
from mutation import assemble, mutate, records

import innvc
from innvc.bitstream import latent
from innvc.bitstream.header import Limits
from innvc.bitstream.statistics import statistics
from innvc.errors import InnvcError, VerificationError
from innvc.reader import VideoReader

HANG_SECONDS = 120  # of one file, after which the traceback is shown and the process ends
LIMITS = Limits(
    dimension=96, frame_samples=1 << 13, frames=64, parameters=1 << 23, memory_bytes=2 << 30
)
KINDS = {
    "default": ("yuv420p", 2, {"preset": "instant"}),
    "ten bits": ("yuv422p10le", 3, {"preset": "instant", "gop": 1}),
    "rgb": ("gbrp", 1, {"preset": "instant"}),
    "grid": ("gray", 2, {"preset": "compact", "grid_context": True, "intra": False}),
    "residual": ("yuv420p", 1, {"preset": "compact", "residual": True}),
    "nvrc": ("yuv420p", 2, {"preset": "fast", "model": "nvrc"}),
}


def originals(folder):
    """Real files of 16x16 samples, of different models, by name."""
    found = {}
    for number, (name, (pix_fmt, count, options)) in enumerate(KINDS.items()):
        clip = make_clip(folder / f"{number}.mkv", pix_fmt, 16, 16, count)
        innvc.encode(clip, folder / "a.innv", steps=1, overwrite=True, **options)
        found[name] = (folder / "a.innv").read_bytes()
        with VideoReader(folder / "a.innv", limits=LIMITS) as video:
            assert len(video[:]) == count
    return found


class Decoders:
    """Decoders of segments by what they are made of: they are the slowest to make.

    Args:
        most: How many are made; a negative number is no limit.
        kept: How many are kept.
    """

    def __init__(self, most, kept=40):
        self.known, self.left, self.kept = {}, most, kept

    def open(self, path):
        video = VideoReader(path, limits=LIMITS)
        packets = video._packets
        for name in ("_open_segment", "_open_picture"):
            make = getattr(packets, name)
            setattr(packets, name, functools.partial(self.get, packets._parts, make))
        return video

    def get(self, parts, make, segment):
        key = repr(parts(segment))
        if key not in self.known:
            if self.left == 0:
                raise Enough("No more models are made.")
            self.left -= 1
            while len(self.known) >= self.kept:
                del self.known[next(iter(self.known))]
            self.known[key] = make(segment)
        else:
            self.known[key] = self.known.pop(key)  # used last
        return self.known[key]


class Enough(InnvcError):
    """What is left of a case is left out."""


class Bench:
    """Makes, opens, reads and decodes files; counts how far they came.

    Args:
        originals: Real files.
        path: Where to put the changed ones.
    """

    def __init__(self, originals, path):
        parts = [records(data) for data in originals]
        self.signed, self.any = parts, [_with_zero_checksums(p) for p in parts]
        self.path = path
        self.reached = {"refused": 0, "read": 0, "decoded": 0}

    def run(self, choice, decoders, share=1.0):
        """Tries one file.

        Args:
            choice: Of all that is changed.
            decoders: To decode with.
            share: Of the files that can be read, decoded.
        """
        # Of every other file symbols pass for right: what is made of any symbols is tried, too.
        checked = choice.random() < 0.5
        parts = copy.deepcopy(choice.choice(self.signed if checked else self.any))
        for _ in range(choice.choice((1, 1, 1, 2, 3))):
            if parts:
                mutate(parts, choice)
        self.path.write_bytes(assemble(parts, choice.random() < 0.85))
        crc = zlib.crc32 if checked else lambda data, start=0: 0
        stage = "refused"
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            with mock.patch.object(latent, "zlib", types.SimpleNamespace(crc32=crc)):
                statistics(self.path, LIMITS)
                stage = "read"
                if choice.random() > share:
                    raise Enough("No more files are decoded.")
                with decoders.open(self.path) as video:
                    for index in range(min(len(video), 4)):
                        for plane in video[index].planes:
                            assert plane.size
                stage = "decoded"
        except VerificationError:
            stage = "decoded"
        except InnvcError:
            pass
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.reached[stage] += 1


def _with_zero_checksums(parts):
    parts = copy.deepcopy(parts)
    for name, record in parts:
        if name == b"PACK":
            record[1] = [0] * len(record[1])
    return parts
