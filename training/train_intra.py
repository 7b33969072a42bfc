"""Trains the intra prior of a starting point (docs/starts.md).

    python training/make_samples.py CLIPS... -o FOLDER
    python training/train_intra.py FOLDER CLIPS... --minutes 40 --prior prior.npz -o start.npz

It learns from the low-pass frames of the samples and from every fourth frame of the clips. The
result holds integers (multiples of 2^-10) for each of its tensors, beside those of `--prior`.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from innvc.model.contexts import VALUE_LIMIT
from innvc.model.intra import WEIGHT_BITS, IntraPrior
from innvc.model.model import InnvcModel, SampleLayout, step_base_of
from innvc.model.quantisation import ChosenBits, RateAwareRounding, dead_zone_round
from innvc.model.start import analytic_transform
from innvc.presets import Clip, make
from innvc.video.packing import pack, pad
from innvc.video.source import open_source

LAYOUT = SampleLayout("yuv", 1, 1)
# Learning rates relative to that of the networks' weights, in the units of `natural_units`.
RATES = {
    "leave": 0.5,
    "within": 3.0,
    "base": 60.0,
    "slope": 2.0,
    "absent": 20.0,
    "scale_within": 2.0,
}
INITIAL = {"enter": 1.0, "middle": 0.5, "scale_enter": 0.5}  # deviations x sqrt(inputs)


class Pictures:
    """Random views of low-pass frames and of single frames, as coefficients of half-size blocks.

    A view is a crop, perhaps mirrored, transposed, with another contrast or with grain.
    """

    def __init__(
        self, folder: Path, clips: list[Path], model: InnvcModel, rng: np.random.Generator
    ) -> None:
        self.model, self.rng = model, rng
        self.frequencies = analytic_transform("yuv", 1, 1, 2, 3)[1]
        self.matrices = [m.detach() for m in model.backbone.matrices()]
        self.lows: dict[float, list[Tensor]] = {}
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as arrays:
                found = self.lows.setdefault(float(arrays["lambda_"]), [])
                for i in range(len(arrays.files) - 1):
                    latent = torch.from_numpy(arrays[str(i)][:1]).float()
                    found.append(self._blocks(model.backbone.inverse(latent, self.matrices)))
        self.frames = [frame for path in clips for frame in self._read(path)]
        place = {key: i for i, key in enumerate(zip(*self.frequencies, strict=True))}
        swapped = zip(*(self.frequencies[i] for i in (0, 2, 1)), strict=True)
        self.transposed = torch.tensor([place[key] for key in swapped])
        signs = [1 - 2 * (torch.from_numpy(f) % 2) for f in self.frequencies[1:]]
        self.down, self.across = (s[:, None, None] for s in signs)

    def _blocks(self, packed: Tensor) -> Tensor:
        half = torch.ones(1, dtype=torch.bool)
        latent = self.model.backbone(packed, self.matrices, half=half)
        return self.model.intra.layout.blocks(latent)[0].half()

    def _read(self, path: Path) -> list[Tensor]:
        with open_source(str(path)) as source:
            form = source.info.format
            frames = [f for i, f in enumerate(source) if i % 4 == 0]
        packed = [pad(pack(f.planes, form, 2), 8, 8) for f in frames]
        return [self._blocks(torch.from_numpy(p)[None]) for p in packed]

    def magnitudes(self) -> Tensor:
        """[C] typical size of each coefficient; of averages that of the lowest frequencies."""
        sizes = torch.stack([f.float().abs().mean((1, 2)) for f in self.frames]).mean(0)
        plane, vertical, horizontal = (torch.from_numpy(f) for f in self.frequencies)
        lowest = sizes[(plane == 0) & (vertical + horizontal == 1)].mean()
        flat = vertical + horizontal == 0
        sizes[flat] = lowest * torch.where(plane[flat] == 0, 1.0, 0.5)
        return sizes

    def draw(self, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Latents in steps, and the bits that a squared error of one step is worth.

        Sets the prior's step base.
        """
        rng, low = self.rng, bool(self.rng.random() < 0.5)
        own = float(rng.choice(list(self.lows)))
        lambda_ = own * np.exp(rng.uniform(-1.5, 1.5)) if low else np.exp(rng.uniform(-4.6, 1.8))
        base = step_base_of(lambda_, LAYOUT)
        self.model.step_offset = self.model.step_offsets(base)
        self.model.intra.step_base = base
        steps = self.model.steps(torch.zeros(1, dtype=torch.long)).detach()
        views = [
            self._view(self.lows[own] if low else self.frames, side, low) for _ in range(count)
        ]
        weight = lambda_ * self.model.error_shares()[:, None, None] * steps.square()
        return self.model.intra.layout.latent(torch.stack(views)) / steps, weight

    def _view(self, pictures: list[Tensor], side: int, low: bool) -> Tensor:
        rng = self.rng
        x = pictures[rng.integers(len(pictures))].float()
        rows, columns = (min(side, n) for n in x.shape[1:])
        top, left = (
            int(rng.integers(n - m + 1)) for n, m in zip(x.shape[1:], (rows, columns), strict=True)
        )
        x = x[:, top : top + rows, left : left + columns]
        if not low and rng.random() < 0.4:
            x = x * float(np.exp(rng.uniform(-0.3, 1.4)))
        if rng.random() < 0.25:  # grain: white in every orthonormal transform
            x = x + torch.randn(x.shape) * float(np.exp(rng.uniform(-1, 1.2)))
        if rng.random() < 0.5:
            x = x[self.transposed].transpose(1, 2)
        if rng.random() < 0.5:
            x = (x * self.across).flip(2)
        if rng.random() < 0.5:
            x = (x * self.down).flip(1)
        return x


def natural_units(prior: IntraPrior, magnitude: Tensor) -> dict[str, Tensor | float]:
    """What each parameter is in for a network whose inputs and outputs are of order one."""
    from_to = magnitude[:, None] / magnitude[None]
    return {
        "enter": 64 / magnitude,
        "middle": 64.0,
        "leave": 4 * magnitude[:, None],
        "linear": 64 * from_to[:, None],
        "within": 64 * from_to,
        "base": 1.0,
        "slope": 1.0,
        "absent": 1.0,
        "scale_enter": 8.0,
        "scale_bias": 64.0,
        "scale_leave": 1.0,
        "scale_linear": 8.0,
        "scale_hidden": 8.0,
        "scale_within": 8.0,
    }


def initial(prior: IntraPrior, generator: torch.Generator) -> dict[str, Tensor]:
    """Start values in natural units."""
    values = {}
    for name, parameter in prior.named_parameters():
        values[name] = parameter.detach().clone()
        if name in INITIAL:
            inputs = parameter[0].numel()
            noise = torch.randn(parameter.shape, generator=generator)
            values[name] = noise * INITIAL[name] / math.sqrt(inputs)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of the networks")
    parser.add_argument("--side", type=int, default=24, help="of a crop, in blocks")
    parser.add_argument("--count", type=int, default=3, help="crops of a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", type=Path, required=True, help="the latent prior to go with it")
    parser.add_argument("--from", dest="start", type=Path, help="continue from an earlier result")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    config, _ = make("instant", Clip(LAYOUT, 16, 16, 1))
    model = InnvcModel(replace(config, start=0), LAYOUT, 0).requires_grad_(False)
    prior = model.intra
    assert prior is not None
    rng = np.random.default_rng(arguments.seed)
    pictures = Pictures(arguments.folder, arguments.clips, model, rng)
    units = natural_units(prior, pictures.magnitudes())
    values = initial(prior, torch.Generator().manual_seed(arguments.seed))
    if arguments.start:
        with np.load(arguments.start) as arrays:
            for name in values:
                whole = torch.from_numpy(arrays[f"intra.{name}"]) * 2.0**-WEIGHT_BITS
                values[name] = (whole / units[name]).float()
    for value in values.values():
        value.requires_grad_()
    speeds = {name: arguments.rate * RATES.get(name, 1.0) for name in values}
    groups = [{"params": [value], "lr": speeds[name]} for name, value in values.items()]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12)
    average = {name: value.detach().clone() for name, value in values.items()}
    rounding, chosen_bits = RateAwareRounding(), ChosenBits()
    began, step, losses = time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        x, weight = pictures.draw(arguments.count, arguments.side)
        parameters = {name: value * units[name] for name, value in values.items()}
        # The first pass finds the symbols an encoder would choose, the second learns from them.
        with torch.no_grad():
            scale, mean = torch.func.functional_call(prior, parameters, (16 * dead_zone_round(x),))
            known = 16 * rounding(x - mean / 16, scale, weight) + mean
            known = known.clamp(-VALUE_LIMIT, VALUE_LIMIT)
        scale, mean = torch.func.functional_call(prior, parameters, (known,))
        residual = x - mean / 16
        symbol = rounding(residual, scale, weight)
        bits = chosen_bits(symbol, scale, residual).mean((1, 2, 3))
        error = (weight * (residual - symbol).square()).mean((1, 2, 3))
        # Clips and lambdas differ tenfold in cost: the logarithm makes each count alike.
        loss = torch.log(bits + error).mean()
        optimiser.zero_grad()
        loss.backward()
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        for group, speed in zip(optimiser.param_groups, speeds.values(), strict=True):
            group["lr"] = speed * min(1, (step + 1) / 100) * (0.01 + 0.99 * cosine)
        optimiser.step()
        step += 1
        for name, value in values.items():
            average[name].lerp_(value.detach(), max(1 / step, 0.005))
        losses.append(loss.item())
        if step % 200 == 0:
            recent = sum(losses[-500:]) / len(losses[-500:])
            print(f"{step} {time.monotonic() - began:.0f}s log cost {recent:.4f}", flush=True)
            save(prior, average, units, arguments.prior, arguments.output)
    save(prior, average, units, arguments.prior, arguments.output)


@torch.no_grad()
def save(
    prior: IntraPrior,
    values: dict[str, Tensor],
    units: dict[str, Tensor | float],
    other: Path,
    path: Path,
) -> None:
    """Writes parameters as the integers that decoders use, beside a latent prior's."""
    with np.load(other) as arrays:
        result = {name: arrays[name] for name in arrays.files if name.startswith("prior.")}
    masks = prior.masks()
    for name, value in values.items():
        whole = torch.round(value * units[name] * (1 << WEIGHT_BITS)).to(torch.int32)
        result[f"intra.{name}"] = (whole * masks[name] if name in masks else whole).numpy()
    np.savez_compressed(path, **result)


if __name__ == "__main__":
    main()
