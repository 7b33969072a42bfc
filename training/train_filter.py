"""Trains the post-filter of a starting point (docs/starts.md).

    python training/make_decoded.py CLIPS... -o FOLDER
    python training/train_filter.py FOLDER --minutes 60 --start other.npz -o start.npz

The result holds 16-bit floats for each of the filter's tensors, beside the tensors of `--start`.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from innvc.model.model import STEP_UNIT, SampleLayout, step_base_of
from innvc.model.post_filter import CHROMA, LUMA, PostFilter

LAYOUT = SampleLayout("yuv", 1, 1)
SIDE = 56  # of a crop, in packed samples; a multiple of the tile
SHARES = ((LUMA, 0.8), (CHROMA[0], 0.1), (CHROMA[1], 0.1))
# Where the phases of luma go when a frame is mirrored across, mirrored down and transposed.
VIEWS = (([1, 0, 3, 2, 4, 5], 2), ([2, 3, 0, 1, 4, 5], 1), ([0, 2, 1, 3, 4, 5], 0))


class Frames:
    """Random crops of decoded frames and of their errors, in steps."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.rng = rng
        self.clips = []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as arrays:
                decoded = torch.from_numpy(arrays["decoded"])
                step = 2.0 ** (step_base_of(float(arrays["lambda_"]), LAYOUT) / STEP_UNIT)
                error = torch.from_numpy(arrays["original"]) - decoded
                self.clips.append((decoded / step, error / step))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Crops [count, 6, SIDE, SIDE] of frames and of what they lack."""
        views = [self._view() for _ in range(count)]
        return torch.stack([v[0] for v in views]), torch.stack([v[1] for v in views])

    def _view(self) -> Tensor:
        rng = self.rng
        clip = self.clips[rng.integers(len(self.clips))]
        frame = int(rng.integers(len(clip[0])))
        top, left = (8 * int(rng.integers((n - SIDE) // 8 + 1)) for n in clip[0].shape[2:])
        x = torch.stack([part[frame, :, top : top + SIDE, left : left + SIDE] for part in clip])
        for order, axis in VIEWS:
            if rng.random() < 0.5:
                x = x[:, order]
                x = x.flip(axis + 1) if axis else x.transpose(2, 3)
        return x


def solved(basis: Tensor, wanted: Tensor) -> Tensor:
    """Gains [N, K] of the sums of corrections [N, K, P] nearest to errors [N, P]."""
    gram = basis @ basis.mT
    ridge = 1e-4 * gram.diagonal(dim1=1, dim2=2).mean(1) + 1e-9
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[1])
    return torch.linalg.solve(gram, basis @ wanted[..., None])[..., 0]


def loss_of(corrections: Tensor, error: Tensor) -> Tensor:
    """Mean logarithm of the share of the error that the best sums of corrections leave."""
    total = torch.zeros(())
    for channels, share in SHARES:
        basis = corrections[:, :, channels].flatten(2).float()
        wanted = error[:, channels].flatten(1)
        left = wanted - (solved(basis, wanted)[:, None] @ basis)[:, 0]
        ratio = left.square().sum(1) / wanted.square().sum(1).clamp(min=1e-9)
        total = total + share * torch.log(ratio + 1e-3).mean()
    return total


@torch.no_grad()
def conditioned(values: dict[str, Tensor], frames: Frames, batches: int = 80) -> dict[str, Tensor]:
    """The same network with corrections of which the first is the usual one, the others small.

    The loss is the same for all sums of the corrections, so training leaves them of any size and
    all but parallel; gains of these could not be rounded.
    """
    network = PostFilter({name: value.numpy() for name, value in values.items()})
    drawn = [frames.draw(8) for _ in range(batches)]
    corrections = torch.cat([network(x) for x, _ in drawn])
    errors = torch.cat([error for _, error in drawn])
    leave = values["leave"].clone().unflatten(0, (-1, 6))
    for channels, _ in SHARES:
        basis = corrections[:, :, channels].flatten(2).double()
        size = basis.square().mean((0, 2)).sqrt()
        gains = solved(basis / size[:, None], errors[:, channels].flatten(1).double())
        spread, directions = torch.linalg.eigh(gains.T.cov())
        # The mean, and the directions in which gains vary most, at twice their deviation.
        others = 2 * spread.clamp(min=0).sqrt()[1:] * directions[:, 1:]
        sums = torch.cat([gains.mean(0)[None], others.T.flip(0)]) / size
        leave[:, channels] = torch.einsum("jk,kc...->jc...", sums.float(), leave[:, channels])
    return {**values, "leave": leave.flatten(0, 1)}


def initial(units: int, layers: int, corrections: int) -> dict[str, Tensor]:
    """Random start values."""

    def noise(*shape: int, gain: float = 1.0) -> Tensor:
        return torch.randn(shape) * gain / math.sqrt(math.prod(shape[-3:]))

    return {
        "enter": noise(units, 6, 3, 3),
        "tile": torch.zeros(units, 8, 8),
        "middle": noise(layers, units, units, 3, 3, gain=0.7),
        "middle_bias": torch.zeros(layers, units),
        "leave": noise(6 * corrections, units, 3, 3, gain=0.1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--count", type=int, default=8, help="crops of a step")
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--corrections", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, required=True, help="priors to go with it")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    frames = Frames(arguments.folder, np.random.default_rng(arguments.seed))
    values = initial(arguments.units, arguments.layers, arguments.corrections)
    network = PostFilter({name: value.numpy() for name, value in values.items()})
    trained = {name: value.clone().requires_grad_() for name, value in values.items()}
    optimiser = torch.optim.Adam(trained.values(), betas=(0.9, 0.99))
    began, step, losses = time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        x, error = frames.draw(arguments.count)
        loss = loss_of(functional_call(network, trained, (x,)), error)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * cosine)
        optimiser.step()
        step += 1
        for name, value in trained.items():  # the result is a running average
            values[name].lerp_(value.detach(), max(1 / step, 0.003))
        losses.append(loss.item())
        if step % 500 == 0:
            gain = -10 / math.log(10) * sum(losses[-500:]) / 500
            print(f"{step} {time.monotonic() - began:.0f}s gain {gain:.4f} dB", flush=True)
    save(conditioned(values, frames), arguments.start, arguments.output)


def save(values: dict[str, Tensor], other: Path, path: Path) -> None:
    """Writes parameters as 16-bit floats, beside those of another starting point."""
    with np.load(other) as arrays:
        result = {name: arrays[name] for name in arrays.files if not name.startswith("filter.")}
    result |= {f"filter.{name}": value.half().numpy() for name, value in values.items()}
    np.savez_compressed(path, **result)


if __name__ == "__main__":
    main()
