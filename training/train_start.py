"""Trains a starting point for the latent prior on samples of clips (docs/starts.md).

    python training/make_samples.py CLIPS... -o FOLDER
    python training/train_start.py FOLDER --minutes 35 -o start.npz

Only the prior is trained, for lambdas around each sample's own. Samples that come into the folder
meanwhile are used. The result holds integers (multiples of 2^-10) for each of the prior's tensors.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from innvc.fit.data import Batch, SegmentData
from innvc.fit.objective import predict
from innvc.model.contexts import VALUE_LIMIT
from innvc.model.model import InnvcModel, SampleLayout, step_base_of
from innvc.model.prior import WEIGHT_BITS, LatentPrior
from innvc.model.quantisation import (
    ChosenBits,
    RateAwareRounding,
    dead_zone_round,
    worth_skipping,
)
from innvc.model.start import Frequencies, analytic_transform
from innvc.presets import Clip, make
from innvc.switches import Switches

LAYOUT = SampleLayout("yuv", 1, 1)
# Learning rates. Weights of values are in units of the ratio of the channels' magnitudes.
RATES = {
    "base": 0.06,
    "base_slope": 2e-3,
    "half_base": 0.06,
    "temporal": 4e-3,
    "temporal_mean": 4e-3,
    "spectral": 1e-3,
    "surround": 1e-3,
    "half_scale": 1e-3,
    "scale_enter": 3e-4,
    "scale_bias": 3e-2,
    "scale_leave": 3e-4,
    "predict_mean": 3e-3,
    "reach": 3e-3,
    "half_mean": 3e-3,
}
OF_VALUES = ("predict_mean", "reach", "half_mean")


class Samples:
    """Random quantised views of the samples of a folder: crop, lambda, transposition, noise."""

    def __init__(self, folder: Path, frequencies: Frequencies, rng: np.random.Generator) -> None:
        self.folder = folder
        self.rng = rng
        self.loaded: dict[str, tuple[float, list[Tensor]]] = {}
        place = {key: i for i, key in enumerate(zip(*frequencies, strict=True))}
        swapped = zip(*(frequencies[i] for i in (0, 2, 1)), strict=True)
        self.transposed = torch.tensor([place[key] for key in swapped])

    def refresh(self) -> int:
        for path in sorted(self.folder.glob("*.npz")):
            if path.name not in self.loaded:
                with np.load(path) as arrays:
                    parts = [torch.from_numpy(arrays[str(i)]) for i in range(len(arrays.files) - 1)]
                    self.loaded[path.name] = float(arrays["lambda_"]), parts
        return len(self.loaded)

    def draw(self, model: InnvcModel, crop: int) -> tuple[Batch, Tensor]:
        """A batch in steps, and the bits that a squared error of one step is worth.

        Sets the model's step base.
        """
        rng = self.rng
        own, packets = self.loaded[list(self.loaded)[rng.integers(len(self.loaded))]]
        lambda_ = float(own * np.exp(rng.uniform(-1.3, 1.3)))
        base = step_base_of(lambda_, LAYOUT)
        model.step_offset = model.step_offsets(base)
        model.prior.step_base = base
        steps = model.steps(torch.zeros(1, dtype=torch.long)).detach()
        height, width = packets[0].shape[-2:]
        rows, columns = min(crop, height), min(crop, width)
        top, left = (int(rng.integers(n + 1)) for n in (height - rows, width - columns))
        data = SegmentData(packets, [0], 1)
        batch = data.assemble(range(len(packets)), (top, left, rows, columns))
        x = batch.subbands.float()
        if rng.random() < 0.3:  # contrast
            x = x * float(np.exp(rng.uniform(-0.5, 1.0)))
        if rng.random() < 0.35:  # grain: white in every orthonormal transform
            x = x + torch.randn(x.shape) * float(np.exp(rng.uniform(-1, 1.2)))
        if rng.random() < 0.5:
            x = x[:, self.transposed].transpose(2, 3)
        weight = lambda_ * model.error_shares()[:, None, None] * steps.square()
        return replace(batch, subbands=(x / steps).contiguous()), weight


class Adam:
    """Adam with a learning rate for each element."""

    def __init__(self, prior: LatentPrior, frequencies: Frequencies, magnitude: Tensor) -> None:
        self.prior = prior
        self.count = 0
        self.moments = {n: (torch.zeros_like(p),) * 2 for n, p in prior.named_parameters()}
        ratio = (magnitude[:, None] / magnitude[None]).clamp(2e-3, 1.0)
        self.rates: dict[str, float | Tensor] = {}
        for name, parameter in prior.named_parameters():
            rate = RATES.get(name, RATES["base"])
            rows, columns = parameter.shape[-2:] if parameter.dim() > 1 else (1, 1)
            self.rates[name] = rate * ratio[:rows, :columns] if name in OF_VALUES else rate
        same = [np.equal.outer(f % 2, f % 2) for f in frequencies[1:]]
        self.vertical, self.horizontal = (torch.from_numpy(s).float() for s in same)

    @torch.no_grad()
    def step(self, factor: float, first: float = 0.9, second: float = 0.98) -> None:
        self.count += 1
        for name, parameter in self.prior.named_parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            mean, square = self.moments[name]
            mean = first * mean + (1 - first) * gradient
            square = second * square + (1 - second) * gradient**2
            self.moments[name] = mean, square
            change = mean / (1 - first**self.count)
            change /= (square / (1 - second**self.count)).sqrt() + 1e-12
            parameter -= factor * self.rates[name] * change
            parameter.grad = None
        self._mirror()

    def _mirror(self) -> None:
        """Keeps the weights of values as mirrored pictures have them."""
        for name in OF_VALUES:
            weight = getattr(self.prior, name)
            rows, columns = weight.shape[-2:]
            vertical, horizontal = self.vertical[:rows, :columns], self.horizontal[:rows, :columns]
            if weight.dim() == 2:
                weight.mul_(vertical * horizontal)
                continue
            down, across = 2 * vertical - 1, 2 * horizontal - 1
            above = (weight[0] + down * weight[1]) / 2 * horizontal
            left = (weight[2] + across * weight[3]) / 2 * vertical
            weight.copy_(torch.stack([above, down * above, left, across * left]))


@torch.no_grad()
def in_half_blocks(model: InnvcModel, latent: Tensor) -> Tensor:
    """What contexts see of low-pass frames [N, C, H, W] (steps) that are in half-size blocks."""
    assert model.intra is not None
    half = torch.einsum("dc,ndhw->nchw", model.intra.merge.to(latent), latent) / (1 << WEIGHT_BITS)
    return model.intra.merged(16 * dead_zone_round(half))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument("--crop", type=int, default=15, help="side, in latent positions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="start", type=Path, help="continue from an earlier result")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    frequencies = analytic_transform("yuv", 1, 1, 2, 4)[1]
    samples = Samples(arguments.folder, frequencies, np.random.default_rng(arguments.seed))
    if not samples.refresh():
        raise SystemExit("The folder has no samples; make them with make_samples.py.")
    config, _ = make("instant", Clip(LAYOUT, 16, 16, 1), Switches(dependent=False))
    model = InnvcModel(config, LAYOUT, 0)
    prior = model.prior
    with torch.no_grad():
        prior.scale_enter.normal_(0, prior.scale_enter[0].numel() ** -0.5)
        values = np.load(arguments.start) if arguments.start else {}
        for name, parameter in prior.named_parameters():
            if f"prior.{name}" in values:  # earlier results have no scale network
                parameter.copy_(torch.from_numpy(values[f"prior.{name}"]) * 2.0**-WEIGHT_BITS)
    first = [part for _, parts in samples.loaded.values() for part in parts]
    magnitude = torch.stack([p.float().abs().mean((0, 2, 3)) for p in first]).mean(0)
    optimiser = Adam(prior, frequencies, magnitude)
    rounding, chosen_bits = RateAwareRounding(), ChosenBits()
    average = {n: p.detach().clone() for n, p in prior.named_parameters()}
    began, step, losses = time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        batch, weight = samples.draw(model, arguments.crop)
        # Mostly another prior codes the low-pass, and this one only reads it.
        given = batch.level == 0
        if given.all() or samples.rng.random() < 0.25:
            given = torch.zeros_like(given)
        low = in_half_blocks(model, batch.subbands[given])
        # The first pass finds the symbols an encoder would choose, the second learns from them.
        with torch.no_grad():
            value = 16 * dead_zone_round(batch.subbands)
            value[given] = low
            scale, mean = predict(prior, batch, value)
            residual = batch.subbands - mean / 16
            symbol = rounding(residual, scale, weight)
            coded = chosen_bits(symbol, scale, residual) + weight * (residual - symbol).square()
            zero, empty = weight * residual.square(), ~(symbol != 0).any(1, keepdim=True)
            kept = ~worth_skipping(coded.sum(1, keepdim=True), zero.sum(1, keepdim=True), empty)
            value = (16 * symbol * kept + mean).clamp(-VALUE_LIMIT, VALUE_LIMIT)
            value[given] = low
        scale, mean = predict(prior, batch, value)
        residual = batch.subbands - mean / 16
        symbol = rounding(residual, scale, weight) * kept
        bits = (chosen_bits(symbol, scale, residual) * kept)[~given].mean()
        error = (weight * (residual - symbol).square())[~given].mean().detach()
        # Clips and lambdas differ tenfold in cost: the logarithm makes each count alike.
        torch.log(bits + error).backward()
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        optimiser.step(arguments.rate * min(1, (step + 1) / 20) * (0.02 + 0.98 * cosine))
        step += 1
        with torch.no_grad():
            for name, parameter in prior.named_parameters():
                average[name].lerp_(parameter, max(1 / step, 0.01))
        losses.append(float(torch.log(bits + error).detach()))
        if step % 50 == 0:
            recent = sum(losses[-200:]) / len(losses[-200:])
            elapsed, count = time.monotonic() - began, samples.refresh()
            print(f"{step} {elapsed:.0f}s {count} samples, log cost {recent:.4f}", flush=True)
            save(prior, average, arguments.output)
    save(prior, average, arguments.output)


@torch.no_grad()
def save(prior: LatentPrior, average: dict[str, Tensor], path: Path) -> None:
    """Writes the running average of the parameters as the integers that decoders use."""
    own = {n: p.detach().clone() for n, p in prior.named_parameters()}
    prior.load_state_dict(average, strict=False)
    masked = prior.weights()
    prior.load_state_dict(own, strict=False)
    arrays = {f"prior.{n}": np.round(w.numpy()).astype(np.int16) for n, w in masked.items()}
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
