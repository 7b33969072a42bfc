"""The order of a group's subband frames, and which of them describe the same time.

A group of 1 to 32 frames is halved level by level, the larger half first, until one frame is left:
that is the low-pass, subband frame 0. Where three are left, the middle one is kept, so that none is
far from it. The details follow from the coarsest level down to level 1.
"""

from __future__ import annotations

COARSEST_LEVEL = 4  # with parameters of its own; details of coarser ones have the same


def low_counts(group: int) -> list[int]:
    """Frames that are left after 0, 1, 2 ... lifting levels, down to 1."""
    counts = [group]
    while counts[-1] > 1:
        counts.append(1 if is_centred(counts[-1]) else (counts[-1] + 1) // 2)
    return counts


def is_centred(frames: int) -> bool:
    """Whether the last step of lifting keeps the middle one of the frames that are left."""
    return frames == 3


def details(group: int, level: int) -> range:
    """The subband frames of a lifting level from 1 up."""
    counts = low_counts(group)
    return range(counts[level], counts[level - 1])


def level_of(subband: int, group: int) -> int:
    """Lifting level of a subband frame in a group of `group` frames; 0 is the low-pass."""
    return sum(subband < count for count in low_counts(group)) if subband else 0


def row_of(subband: int, group: int) -> int:
    """The place of a subband frame's level among those of the group, the low-pass first."""
    return len(low_counts(group)) - level_of(subband, group) if subband else 0


def parameter_level(subband: int, group: int) -> int:
    """The lifting level whose parameters a subband frame has."""
    return min(level_of(subband, group), COARSEST_LEVEL)


def statistics_level(subband: int, group: int, predicted: bool) -> int:
    """The lifting level whose statistics a subband frame is coded by.

    Args:
        predicted: The low-pass frame is a difference, which is most like the coarsest details.
    """
    return COARSEST_LEVEL if predicted and subband == 0 else parameter_level(subband, group)


def span_of(subband: int, group: int) -> tuple[int, int]:
    """Half-open range of the group's frames that a subband frame describes."""
    if subband == 0:
        return 0, group
    level = level_of(subband, group)
    length = 1 << level
    position = subband - details(group, level).start
    first = position * length
    if is_centred(low_counts(group)[level - 1]):
        first //= 2  # the last one is the difference to the middle one
    return first, min(group, (position + 1) * length)


def time_of(subband: int, group: int, start: int, frames: int) -> float:
    """Centre of a subband frame in its segment, 0..1, for a group that begins at frame `start`."""
    first, last = span_of(subband, group)
    return (start + (first + last) / 2) / frames


def slice_of(subband: int, group: int, start: int, frames: int, slices: int) -> int:
    """The one of `slices` equal parts of the segment that the centre of a subband frame is in."""
    first, last = span_of(subband, group)
    return min((2 * start + first + last) * slices // (2 * frames), slices - 1)


def frames_of(group: int) -> list[int]:
    """The frame that lifting turns into each subband frame."""
    left, found = list(range(group)), list[int]()
    while len(left) > 1:
        kept = int(is_centred(len(left)))
        left, turned = left[kept::2], left[1 - kept :: 2]
        found = turned + found
    return left + found


def parent_of(subband: int, group: int) -> int | None:
    """The subband frame one level coarser over the same time; None for the low-pass."""
    if subband == 0:
        return None
    level = level_of(subband, group)
    counts = low_counts(group)
    if level == len(counts) - 1:
        return 0
    coarser = details(group, level + 1)
    position = (subband - counts[level] + is_centred(counts[level])) // 2
    return coarser[min(position, len(coarser) - 1)]


def sibling_of(subband: int, group: int) -> int | None:
    """The subband frame before it on the same level; None for the first."""
    if subband == 0 or subband == details(group, level_of(subband, group)).start:
        return None
    return subband - 1


def read_after(subband: int, group: int) -> set[int | None]:
    """The parents and siblings of the subband frames after one."""
    later = range(subband + 1, group)
    return {find(n, group) for n in later for find in (parent_of, sibling_of)}
