"""Groups of frames: which frames share a packet, and their motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from innvc.bitstream import motion
from innvc.fit.coefficient_cost import coefficient_cost
from innvc.model import lifting
from innvc.model.motion import Motion


class Lifter(Protocol):
    """Lifts parts of a run of frames; a part begins at a multiple of a larger power of two."""

    def motion(self, start: int, size: int) -> Motion | None:
        """Motion of a part, None where it has none."""

    def lifted(self, start: int, size: int) -> Tensor:
        """Subband frames [size, C, H, W] of a part."""


class Still:
    """Lifting without motion.

    Args:
        frames: [T, C, H, W].
    """

    def __init__(self, frames: Tensor) -> None:
        self._frames = frames

    def motion(self, start: int, size: int) -> None:
        return None

    def lifted(self, start: int, size: int) -> Tensor:
        return lifting.forward(self._frames[start : start + size])


@dataclass(frozen=True)
class Group:
    """Frames of one packet.

    Attributes:
        subbands: [G, C, H, W].
        motion: As it is coded; empty is none.
    """

    subbands: Tensor
    motion: bytes


@torch.no_grad()
def choose_groups(
    frames: Tensor,
    longest: int,
    keyint: int,
    lifter: Callable[[Tensor], Lifter],
    latent: Callable[[Tensor], Tensor],
    split: bool = True,
    report: Callable[[int], None] = lambda done: None,
) -> list[Group]:
    """Splits a segment into packets of 1 to `longest` frames.

    Groups are divided where the parts cost less: cuts and motion that cannot be followed
    get short groups.

    Args:
        frames: [T, C, H, W].
        lifter: Made for each of the longest groups.
        latent: Of subband frames, in quantisation steps.
        split: False keeps the longest groups.
        report: Is told how many frames are done.
    """

    def best(source: Lifter, start: int, size: int) -> tuple[float, list[Group]]:
        found = source.motion(start, size) if size > 1 else None
        group = Group(source.lifted(start, size), motion.encode(found) if found else b"")
        cost = float(coefficient_cost(latent(group.subbands)).sum()) + 8 * len(group.motion)
        if size == 1 or not split:
            return cost, [group]
        half = 1 << ((size - 1).bit_length() - 1)  # keeps the parts aligned
        left, a = best(source, start, half)
        right, b = best(source, start + half, size - half)
        return (cost, [group]) if cost <= left + right else (left + right, a + b)

    groups: list[Group] = []
    for start, size in even_groups(len(frames), longest, keyint):
        groups += best(lifter(frames[start : start + size]), 0, size)[1]
        report(start + size)
    return groups


def even_groups(frames: int, longest: int, keyint: int) -> list[tuple[int, int]]:
    """Start and size of groups of at most `longest` frames; none crosses a multiple of `keyint`.

    A key interval is divided into as few groups as possible, of nearly equal size.
    """
    groups = []
    for first in range(0, frames, keyint):
        length = min(keyint, frames - first)
        count = -(-length // longest)
        ends = [first + length * i // count for i in range(count + 1)]
        groups += [(start, end - start) for start, end in pairwise(ends)]
    return groups


def key_packets(sizes: Sequence[int], keyint: int) -> list[int]:
    """Packets that begin at a multiple of `keyint` frames."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [number for number, start in enumerate(starts) if start % keyint == 0]
