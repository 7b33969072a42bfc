"""Trains a starting point for the latent prior on a folder of clips (docs/starts.md).

    python training/train_start.py CLIPS... --minutes 15 -o start.npz

Only the prior is trained, on quantised latents of the analytic transform over a range of lambdas
and group lengths. The result holds integers (multiples of 2^-10) for each of its tensors.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from innvc.config import ModelConfig
from innvc.fit.data import SegmentData
from innvc.fit.grouping import Still, choose_groups
from innvc.fit.loop import predict
from innvc.model.contexts import VALUE_LIMIT
from innvc.model.model import InnvcModel, SampleLayout, step_base_of
from innvc.model.prior import WEIGHT_BITS
from innvc.model.quantisation import (
    RateAwareRounding,
    dead_zone_round,
    symbol_bits,
    through,
)
from innvc.presets import analytic_groups
from innvc.video.packing import pack, pad
from innvc.video.source import open_source

# Learning rates: dense matrices need far smaller ones than tables.
RATES = {"spectral": 1e-3, "surround": 1e-3, "predict_mean": 4e-4, "temporal": 4e-3}
TABLE_RATE = 0.06


def load(path: Path, config: ModelConfig, frames: int) -> tuple[SampleLayout, torch.Tensor]:
    """Latents [T, C, H, W] of a clip under the analytic transform, in 8-bit code values."""
    with open_source(str(path), frames=(0, frames)) as source:
        form = source.info.format
        layout = SampleLayout(form.family, form.shift_x, form.shift_y)
        model = InnvcModel(config, layout, 0)
        matrices = model.backbone.matrices()
        latents = []
        with torch.no_grad():
            for frame in source:
                packed = pad(pack(frame.planes, form, config.packing), model.stride, model.stride)
                latents.append(model.backbone(torch.from_numpy(packed)[None], matrices))
    return layout, torch.cat(latents)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="start", type=Path, help="continue from an earlier result")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)

    with open_source(str(arguments.clips[0])) as source:
        form = source.info.format
    layout = SampleLayout(form.family, form.shift_x, form.shift_y)
    groups = analytic_groups(layout, 2, 4)
    config = ModelConfig(groups=groups, layers=(len(groups),))
    clips = [load(path, config, arguments.frames)[1] for path in arguments.clips]
    model = InnvcModel(config, layout, 0)
    prior = model.prior
    rounding = RateAwareRounding()
    if arguments.start:
        values = np.load(arguments.start)
        with torch.no_grad():
            for name, parameter in prior.named_parameters():
                parameter.copy_(torch.from_numpy(values[f"prior.{name}"]) * 2.0**-WEIGHT_BITS)
    rates = {
        n: RATES.get(n.removesuffix("_mean") if n == "temporal_mean" else n, TABLE_RATE)
        for n, _ in prior.named_parameters()
    }
    rates["base_slope"] = 2e-3
    optimiser = torch.optim.Adam(
        [{"params": [p], "lr": arguments.rate * rates[n]} for n, p in prior.named_parameters()],
        betas=(0.9, 0.98),
    )
    initial = [g["lr"] for g in optimiser.param_groups]
    began, step, averages = time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        for group, rate in zip(optimiser.param_groups, initial, strict=True):
            cosine = 0.5 * (1 + math.cos(math.pi * share))
            group["lr"] = rate * min(1, step / 20) * (0.02 + 0.98 * cosine)
        clip = clips[rng.integers(len(clips))]
        lambda_ = float(np.exp(rng.uniform(np.log(0.01), np.log(30))))
        model.step_offset = model.step_offsets(step_base_of(lambda_, layout))
        prior.step_base = step_base_of(lambda_, layout)
        first = int(rng.integers(0, max(1, len(clip) - 16 + 1)))
        part = clip[first : first + 16]
        steps = model.steps(torch.zeros(1, dtype=torch.long)).detach()
        scaled = part / steps
        split = bool(rng.random() < 0.7)
        longest = 16 if split else 1 << int(rng.integers(0, 5))
        groups = choose_groups(scaled, longest, 256, Still, lambda subbands: subbands, split)
        batch = SegmentData([group.subbands for group in groups], [0], 1).assemble(
            range(len(groups)), (0, 0, scaled.shape[2], scaled.shape[3])
        )
        weight = lambda_ * model.error_shares()[:, None, None] * steps.square()
        # The first pass finds the symbols an encoder would choose, the second learns from them.
        with torch.no_grad():
            scale, mean = predict(prior, batch, 16 * dead_zone_round(batch.subbands))
            symbol = rounding(batch.subbands - mean / 16, scale, weight)
            value = (16 * symbol + mean).clamp(-VALUE_LIMIT, VALUE_LIMIT)
        scale, mean = predict(prior, batch, value)
        wanted = batch.subbands - mean / 16
        symbol = through(rounding(wanted, scale, weight), wanted)
        bits = symbol_bits(symbol, scale).sum() / symbol.numel()
        optimiser.zero_grad(set_to_none=True)
        # Clips and lambdas differ tenfold in bits: the logarithm makes each count alike.
        torch.log(bits).backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimiser.step()
        step += 1
        averages.append(float(torch.log(bits.detach())))
        if step % 20 == 0:
            recent = math.exp(sum(averages[-40:]) / len(averages[-40:]))
            elapsed = time.monotonic() - began
            print(f"{step} {elapsed:.0f}s bits/coefficient {recent:.4f}", flush=True)
        if step % 200 == 0 or time.monotonic() - began > 60 * arguments.minutes:
            save(prior, arguments.output)
    save(prior, arguments.output)


def save(prior: torch.nn.Module, path: Path) -> None:
    with torch.no_grad():
        masked = prior.weights()
    values = {
        f"prior.{name}": np.round(weight.numpy()).astype(np.int16)
        for name, weight in masked.items()
    }
    np.savez_compressed(path, **values)


if __name__ == "__main__":
    main()
