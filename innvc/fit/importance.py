"""How much an error in a low-pass frame matters, by position, and the step offsets that follow.

An error in a low-pass frame reaches the frames that motion takes it to: few where the lifting does
not predict, and those of later packets that copy it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream import motion
from innvc.bitstream.step_offsets import LEAST, MOST
from innvc.fit.low_pass import Lifted, LowPass
from innvc.model import lifting
from innvc.model.lifting import Lifting
from innvc.model.motion import CELL, Motion

LEAST_IMPORTANCE, MOST_IMPORTANCE = 0.05, 16.0


@torch.no_grad()
def importance(
    packets: Sequence[Lifted],
    chosen: Sequence[LowPass],
    lifting_of: Callable[[Motion], Lifting],
    stride: int,
    seed: int,
) -> list[Tensor]:
    """Energy in all frames of an error in each position, against what the gains say.

    Measured with noise: its energy behind the synthesis S is z S^T S z, position by position.

    Args:
        packets: Of a segment, with motion.
        chosen: How their low-pass frames are coded.
        lifting_of: The operators of a motion.
        stride: Packed samples of a position.

    Returns:
        [rows, columns] for each packet.
    """
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    for number in reversed(range(len(packets))):
        packet = packets[number]
        noise = torch.randint(0, 2, packet.low.shape, generator=generator).to(packet.low) * 2 - 1
        silence = noise.new_zeros(packet.frames - 1, *noise.shape[1:])
        frames = lifting.inverse(torch.cat([noise, silence]), packet.lifting)
        low = torch.zeros_like(noise)
        after = chosen[number + 1] if found else None
        if after is not None and after.prediction is not None and after.copied is not None:
            # What the next packet copies matters as much as it does there.
            rows, columns = (n // (CELL // 2) for n in noise.shape[2:])
            moved = lifting_of(motion.decode_prediction(after.prediction, rows, columns))
            references = torch.cat([noise / packet.gain, frames[-1:]])
            gain = packets[number + 1].gain
            reached = gain * moved.predict(references, 1, 1)
            matters = _to_samples(found[-1] * after.copied.to(found[-1]), stride)
            returned = gain * moved.returned(matters * reached, 1, 2)
            low = returned[:1] / packet.gain
            frames[-1:] += returned[1:]
        returned = lifting.low_pass_transpose(frames, packet.lifting) / packet.gain + low
        energy = (returned * noise)[0].mean(0)
        energy = energy.unflatten(1, (-1, stride)).unflatten(0, (-1, stride)).mean((1, 3))
        found.append(energy.clamp(LEAST_IMPORTANCE, MOST_IMPORTANCE))
    return found[::-1]


def _to_samples(positions: Tensor, stride: int) -> Tensor:
    return positions.repeat_interleave(stride, 0).repeat_interleave(stride, 1)


def offsets_for(importance: Tensor, most: int = MOST) -> np.ndarray:
    """Offsets [rows, columns], at most `most`, by which errors of all positions matter the same."""
    octaves = 0.5 * torch.log2(importance)
    offsets: np.ndarray = (4 * octaves).round().clamp(LEAST, min(MOST, most)).int().cpu().numpy()
    return offsets
