"""Trains the intra prior of a starting point (docs/starts.md).

    python training/make_samples.py CLIPS... -o FOLDER
    python training/train_intra.py FOLDER CLIPS... --minutes 40 --prior prior.npz -o start.npz

It learns from the low-pass frames of the samples and from every fourth frame of the clips: first
the means alone, by a cost that is a function of the residual, then all by bits and error. The
result holds integers (multiples of 2^-10) for each of its tensors, beside those of `--prior`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from torch import Tensor
from torch.func import functional_call

from innvc.model.contexts import VALUE_LIMIT
from innvc.model.intra import WEIGHT_BITS, IntraPrior, beside
from innvc.model.model import InnvcModel, SampleLayout, step_base_of
from innvc.model.quantisation import ChosenBits, RateAwareRounding, dead_zone_round
from innvc.model.start import analytic_transform
from innvc.presets import Clip, make
from innvc.switches import Switches
from innvc.video.packing import pack, pad
from innvc.video.source import open_source

LAYOUT = SampleLayout("yuv", 1, 1)
MEANS = ("enter", "middle", "leave", "linear", "within")
# Learning rates relative to that of the networks' weights, in the units of `natural_units`.
RATES = {
    "enter": 0.2,
    "middle": 0.2,
    "linear": 0.2,
    "leave": 0.1,
    "within": 0.5,
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


class Means:
    """The means of `IntraPrior.forward` in floating point, several times as fast.

    The hidden layers are in bfloat16; none of it reaches a decoder.
    """

    def __init__(self, prior: IntraPrior, magnitude: Tensor) -> None:
        self.prior, self.size = prior, magnitude
        self.sees = prior.masks()["within"].float()

    def __call__(self, values: dict[str, Tensor], known: Tensor) -> Tensor:
        """Means in steps [N, C, h, w] of blocks, from their values and those beside them."""
        flat, size = self.prior.flat, self.size
        near, there = beside(known), beside(torch.ones_like(known[:1, :1]))
        count = (there[:, 0] + there[:, 1]).clamp(min=1)
        average = (near[:, 0, flat] + near[:, 1, flat]) / count
        near = near.clone()
        near[:, :, flat] = (near[:, :, flat] - average[:, None]) * there
        x = (near / size[:, None, None]).movedim((3, 4), (1, 2)).flatten(3).flatten(0, 2)
        coarse = {n: values[n].flatten(1).bfloat16() for n in ("enter", "middle", "leave")}
        h = F.relu(x.bfloat16() @ coarse["enter"].T)
        h = F.relu(h + h @ coarse["middle"].T)
        first = (x @ values["linear"].flatten(1).T + (h @ coarse["leave"].T).float()) * size
        first = first.unflatten(0, (len(known), *known.shape[2:])).movedim(-1, 1)
        first = first.index_add(1, flat, average)
        within = values["within"] * self.sees * (size[:, None] / size)
        return first + torch.einsum("dc,nchw->ndhw", within, known - first)

    def loss(self, values: dict[str, Tensor], x: Tensor) -> Tensor:
        """Logarithm of about what residuals cost an encoder in bits and error.

        As their square below a step, as the logarithm above.
        """
        x = self.prior.layout.blocks(x)
        with torch.no_grad():
            mean = self(values, dead_zone_round(x))
            known = mean + dead_zone_round(x - mean)
        cost = torch.log2(1 + 9 * (x - self(values, known)).square()).sum(1).mean((1, 2))
        return torch.log(cost + 4).mean()


class Cost:
    """Logarithm of the bits and the error of whole crops, as an encoder codes them."""

    def __init__(self, prior: IntraPrior, units: dict[str, Tensor | float]) -> None:
        self.prior, self.units = prior, units
        self.rounding, self.bits = RateAwareRounding(), ChosenBits()

    def loss(self, values: dict[str, Tensor], x: Tensor, weight: Tensor) -> Tensor:
        parameters = {name: value * self.units[name] for name, value in values.items()}
        # The first pass finds the symbols an encoder would choose, the second learns from them.
        with torch.no_grad():
            scale, mean = functional_call(self.prior, parameters, (16 * dead_zone_round(x),))
            known = 16 * self.rounding(x - mean / 16, scale, weight) + mean
            known = known.clamp(-VALUE_LIMIT, VALUE_LIMIT)
        scale, mean = functional_call(self.prior, parameters, (known,))
        residual = x - mean / 16
        symbol = self.rounding(residual, scale, weight)
        bits = self.bits(symbol, scale, residual).mean((1, 2, 3))
        error = (weight * (residual - symbol).square()).mean((1, 2, 3))
        # Clips and lambdas differ tenfold in cost: the logarithm makes each count alike.
        return torch.log(bits + error).mean()


def train(
    values: dict[str, Tensor],
    rates: dict[str, float],
    minutes: float,
    loss_of: Callable[[dict[str, Tensor]], Tensor],
    save: Callable[[], None],
) -> None:
    """Replaces those of `values` that have a rate by the running average of what Adam finds."""
    trained = {name: values[name].clone().requires_grad_() for name in rates}
    groups = [{"params": [trained[name]], "lr": rate} for name, rate in rates.items()]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12)
    began, step, losses = time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        loss = loss_of({**values, **trained})
        optimiser.zero_grad()
        loss.backward()
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        for group, rate in zip(optimiser.param_groups, rates.values(), strict=True):
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * cosine)
        optimiser.step()
        step += 1
        for name, value in trained.items():
            values[name].lerp_(value.detach(), max(1 / step, 0.005))
        losses.append(loss.item())
        if step % 500 == 0:
            recent = sum(losses[-500:]) / len(losses[-500:])
            print(f"{step} {time.monotonic() - began:.0f}s log cost {recent:.4f}", flush=True)
            save()
    save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--means-minutes", type=float, default=60)
    parser.add_argument("--means-rate", type=float, default=1e-3, help="learning rate for means")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of all together")
    parser.add_argument("--side", type=int, default=24, help="of a crop, in blocks")
    parser.add_argument("--count", type=int, default=3, help="crops of a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", type=Path, required=True, help="the latent prior to go with it")
    parser.add_argument("--from", dest="start", type=Path, help="continue from an earlier result")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    config, _ = make("instant", Clip(LAYOUT, 16, 16, 1), Switches(dependent=False))
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

    def keep() -> None:
        save(prior, values, units, arguments.prior, arguments.output)

    def draw() -> tuple[Tensor, Tensor]:
        return pictures.draw(arguments.count, arguments.side)

    means, cost = Means(prior, pictures.magnitudes()), Cost(prior, units)
    rates = dict.fromkeys(MEANS, arguments.means_rate)
    train(values, rates, arguments.means_minutes, lambda v: means.loss(v, draw()[0]), keep)
    rates = {name: arguments.rate * RATES.get(name, 1.0) for name in values}
    train(values, rates, arguments.minutes, lambda v: cost.loss(v, *draw()), keep)


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
