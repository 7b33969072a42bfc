"""How the low-pass frame of each packet is coded: alone, or from the packet before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from innvc.bitstream import motion
from innvc.fit.coefficient_cost import coefficient_cost
from innvc.fit.motion_search import LevelMatcher
from innvc.model.lifting import Lifting
from innvc.model.motion import MotionLifting

# Of what a low-pass frame costs without prediction in space, that time must stay below.
CONTEXT_COST, PREDICTED_COST = 0.7, 0.9


@dataclass(frozen=True)
class LowPass:
    """The choice for one packet.

    Attributes:
        intra: In half-size blocks, predicted from its own blocks.
        prediction: Coded motion from the packet before; None is no prediction.
        coded: What is left to code [1, C, H, W], by original frames.
        copied: About the share of each position [rows, columns] that prediction leaves nothing of.
    """

    intra: bool
    prediction: bytes | None
    coded: Tensor
    copied: Tensor | None = None


@dataclass(frozen=True)
class Lifted:
    """A packet's low-pass frame, before any choice.

    Attributes:
        low: [1, C, H, W].
        gain: By which it is brighter than a frame.
        last: The packet's last frame [1, C, H, W].
        key: Whether the packet stands alone.
        frames: Of the packet.
        lifting: Of the packet.
    """

    low: Tensor
    gain: float
    last: Tensor
    key: bool
    frames: int
    lifting: Lifting


@torch.no_grad()
def choose(
    packets: Sequence[Lifted],
    latent: Callable[[Tensor], Tensor],
    matcher: LevelMatcher | None,
    intra: bool,
) -> list[LowPass]:
    """Chooses what costs least.

    Args:
        packets: Of a segment.
        latent: Of subband frames, in quantisation steps.
        matcher: Searches motion from the packet before; None predicts no low-pass frame, and those
            that are not coded in space have the one before as a context.
        intra: There is an intra prior.
    """
    chosen = []
    for number, packet in enumerate(packets):
        if packet.key:
            chosen.append(LowPass(intra, None, packet.low))
            continue
        before = packets[number - 1]
        if matcher is None:
            prediction, left = None, packet.low - packet.gain / before.gain * before.low
        else:
            references = torch.cat([before.low / before.gain, before.last]).cpu()
            found = matcher.prediction(references, packet.low.cpu() / packet.gain, packet.gain)
            predicted = MotionLifting(found, matcher.planes).predict(references, 1, 1)
            prediction = motion.encode(found)
            left = packet.low - packet.gain * predicted.to(packet.low)
        costs = coefficient_cost(latent(torch.cat([packet.low, left]))).sum(1)
        in_space, in_time = costs.sum((1, 2)).tolist()
        in_time += 8 * len(prediction or b"")
        limit = CONTEXT_COST if matcher is None else PREDICTED_COST
        alone = in_time >= (limit if intra else 1) * in_space
        if alone or matcher is None:
            chosen.append(LowPass(alone and intra, None, packet.low))
        else:
            copied = (1 - costs[1] / costs[0]).clamp(min=0)
            chosen.append(LowPass(False, prediction, left, copied))
    return chosen
