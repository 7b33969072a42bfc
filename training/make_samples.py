"""Makes the samples that `train_start.py` learns from: subband latents of clips (docs/starts.md).

    python training/make_samples.py CLIPS... -o FOLDER

Groups and motion are chosen as an encoder chooses them, for one lambda after the other; the latents
are those of the analytic transform, in 8-bit code values.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace

from innvc.bitstream.header import HeaderRecord
from innvc.config import FitConfig
from innvc.decoder import layout_of
from innvc.encoder import EncodeSettings, SegmentEncoder
from innvc.model.model import step_base_of
from innvc.presets import Clip, make
from innvc.switches import Switches
from innvc.video.source import open_source


def packets_of(
    path: Path, first: int, count: int, lambda_: float, motion: bool, gop: int | None
) -> list[torch.Tensor]:
    """Latents [G, C, H, W] of the packets of a run of frames."""
    with open_source(str(path), frames=(first, first + count)) as source:
        info, frames = source.info, list(source)
    layout = layout_of(info.format.name)
    height, width = frames[0].planes[0].shape
    # Whole blocks everywhere, as the training takes them.
    config, _ = make("instant", Clip(layout, width, height, count), Switches(intra=False))
    header = HeaderRecord(
        width=width,
        height=height,
        pix_fmt=info.format.name,
        frames=count,
        model=replace(config, motion=motion),
        step_base=step_base_of(lambda_, layout),
    )
    settings = EncodeSettings(FitConfig(steps=1, learn=("prior",)), lambda_, gop)
    return SegmentEncoder(header, frames, 0, settings, torch.device("cpu")).data.packets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=16, help="of a sample")
    parser.add_argument("--runs", type=int, default=2, help="samples of a clip, one after another")
    parser.add_argument("--lambdas", type=float, nargs="+", default=[0.05, 0.4, 3.0])
    parser.add_argument("--gop", type=int, help="frames of every group; chosen if left out")
    parser.add_argument("--no-motion", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for run in range(arguments.runs):
        for number, path in enumerate(arguments.clips):
            lambda_ = arguments.lambdas[(number + run) % len(arguments.lambdas)]
            first = run * arguments.frames
            packets = packets_of(
                path, first, arguments.frames, lambda_, not arguments.no_motion, arguments.gop
            )
            arrays = {str(i): p.numpy().astype(np.float16) for i, p in enumerate(packets)}
            kind = f"{arguments.gop or 'auto'}{'-still' if arguments.no_motion else ''}"
            target = arguments.output / f"{path.stem}-{first}-{kind}.npz"
            scratch = target.with_suffix(".tmp")
            with scratch.open("wb") as file:
                np.savez(file, lambda_=lambda_, **arrays)
            scratch.rename(target)
            print(target.name, lambda_, [len(p) for p in packets], flush=True)


if __name__ == "__main__":
    main()
