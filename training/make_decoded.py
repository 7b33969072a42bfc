"""Makes the samples that `train_filter.py` learns from: decoded frames of clips (docs/starts.md).

    python training/make_decoded.py CLIPS... -o FOLDER

Each sample is a few frames of a clip, coded by preset `instant` without post-filter for a random
lambda, and decoded; packed, in 8-bit code values.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from innvc.bitstream.header import HeaderRecord
from innvc.decoder import SegmentDecoder, layout_of
from innvc.encoder import EncodeSettings, SegmentEncoder
from innvc.model.model import step_base_of
from innvc.presets import Clip, make
from innvc.switches import Switches
from innvc.video.packing import pack
from innvc.video.source import open_source


def decoded(path: Path, first: int, count: int, lambda_: float) -> tuple[np.ndarray, np.ndarray]:
    """Decoded and original packed frames [count, C, h, w] of a run of frames."""
    with open_source(str(path), frames=(first, first + count)) as source:
        info, frames = source.info, list(source)
    layout = layout_of(info.format.name)
    facts = Clip(layout, info.width, info.height, count)
    config, fit = make("instant", facts, Switches(post_filter=False))
    header = HeaderRecord(
        width=info.width,
        height=info.height,
        pix_fmt=info.format.name,
        frames=count,
        model=config,
        step_base=step_base_of(lambda_, layout),
    )
    device = torch.device("cpu")
    encoder = SegmentEncoder(header, frames, 0, EncodeSettings(fit, lambda_), device)
    record = encoder.fit(lambda progress: None, lambda: False)
    decoder = SegmentDecoder(header, encoder.segment, record, device)
    before, parts = None, []
    for packet in encoder.packets(record):
        picture, before = decoder.decode(packet, before)
        parts.append(picture.frames)
    originals = np.stack([pack(frame.planes, info.format, 2) for frame in frames])
    rows, columns = originals.shape[2:]
    return torch.cat(parts)[:, :, :rows, :columns].numpy(), originals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=9, help="of a sample")
    parser.add_argument("--runs", type=int, default=3, help="samples of a clip")
    parser.add_argument("--lambdas", type=float, nargs=2, default=(0.012, 2.5), help="range")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    for run in range(arguments.runs):
        for path in arguments.clips:
            lambda_ = float(np.exp(rng.uniform(*np.log(arguments.lambdas))))
            with open_source(str(path)) as source:
                length = sum(1 for _ in source)
            first = int(rng.integers(max(0, length - arguments.frames) + 1))
            count = min(arguments.frames, length)
            after, before = decoded(path, first, count, lambda_)
            target = arguments.output / f"{path.stem}-{run}.npz"
            scratch = target.with_suffix(".tmp")
            with scratch.open("wb") as file:
                np.savez(file, lambda_=lambda_, decoded=after, original=before)
            scratch.rename(target)
            print(target.name, f"{lambda_:.3f}", flush=True)


if __name__ == "__main__":
    main()
