"""Paths of dependent quantisation that leave another path once and come back to it.

Each goes through one branch, by which a state is reached, and is the best one before and after it.
"""

from __future__ import annotations

import numpy as np

from innvc.compiled import compiled

FAR = np.float32(1e9)  # of what cannot be reached
BINS = np.float32(8)  # of a bit, to count branches in
DEAREST = np.float32(50)  # bits and weighted errors above the best path's, of a path that is tried


@compiled
def best_ways(
    cost: np.ndarray,
    following: np.ndarray,
    before: np.ndarray,
    reach: np.ndarray,
    beside: np.ndarray,
    second: np.ndarray,
    to_go: np.ndarray,
    odd: np.ndarray,
) -> None:
    """Least costs from the start to each state, and from there on.

    Args:
        cost: [C, KINDS].
        following: The next state, by state and parity.
        before: From `trellis.before_states`.
        reach: Takes the costs from the start, [C + 1, states] as all.
        beside: Takes those by the other branch that leads to the state.
        second: Takes which of the two branches is on the best way.
        to_go: Takes the costs from there on.
        odd: Takes whether the best way on begins with an odd symbol.
    """
    channels, states = len(cost), len(following)
    reach[0] = FAR
    reach[0, 0] = 0
    for c in range(channels):
        for s in range(states):
            one = reach[c, before[s, 0, 0]] + cost[c, before[s, 0, 1]]
            other = reach[c, before[s, 1, 0]] + cost[c, before[s, 1, 1]]
            second[c + 1, s] = other < one
            reach[c + 1, s] = other if other < one else one
            beside[c + 1, s] = one if other < one else other
    to_go[channels] = 0
    for c in range(channels - 1, -1, -1):
        for s in range(states):
            one = cost[c, 2 * (s & 1)] + to_go[c + 1, following[s, 0]]
            other = cost[c, 2 * (s & 1) + 1] + to_go[c + 1, following[s, 1]]
            odd[c, s] = other < one
            to_go[c, s] = other if other < one else one


@compiled
def cheapest_branches(
    reach: np.ndarray,
    beside: np.ndarray,
    second: np.ndarray,
    to_go: np.ndarray,
    most: int,
    dear: np.ndarray,
    where: np.ndarray,
) -> int:
    """Finds the branches of the paths that cost least, at most `most`, and counts them.

    A path is the best way to its last state, or has one last branch that is not on the best way to
    the state that it leads to.

    Args:
        reach, beside, second, to_go: From `best_ways`.
        dear: Scratch, as long as `where`.
        where: Takes channel, state behind the branch, and which of the two that lead there it is;
            [(C + 1) * states, 3].
    """
    channels, states = len(reach) - 1, reach.shape[1]
    # How many there are, by what they cost above the best path; then those of the first bins.
    counts, count = np.zeros(int(DEAREST * BINS) + 1, np.int64), 0
    for c in range(1, channels + 1):
        for s in range(states):
            more = beside[c, s] + to_go[c, s] - to_go[0, 0]
            if more < DEAREST:
                counts[int(max(more, np.float32(0)) * BINS)] += 1
    for s in range(states):
        more = reach[channels, s] - to_go[0, 0]
        if more < DEAREST:
            counts[int(max(more, np.float32(0)) * BINS)] += 1
    bin, found = 0, counts[0]
    while found < most and bin < len(counts) - 1:
        bin += 1
        found += counts[bin]
    bound = to_go[0, 0] + min(DEAREST, np.float32(bin + 1) / BINS)
    for c in range(1, channels + 1):
        for s in range(states):
            cost = beside[c, s] + to_go[c, s]
            if cost < bound:
                dear[count], where[count, 0], where[count, 1] = cost, c, s
                where[count, 2] = not second[c, s]
                count += 1
    for s in range(states):
        if reach[channels, s] < bound:
            dear[count], where[count, 0], where[count, 1] = reach[channels, s], channels, s
            where[count, 2] = second[channels, s]
            count += 1
    if count <= most:
        return count
    bound, found = np.partition(dear[:count], most)[most], 0
    for i in range(count):
        if dear[i] < bound:
            where[found] = where[i]
            found += 1
    return found


@compiled
def detour(
    branch: np.ndarray,
    following: np.ndarray,
    before: np.ndarray,
    second: np.ndarray,
    odd: np.ndarray,
    state: np.ndarray,
    path: np.ndarray,
    kinds: np.ndarray,
) -> tuple[int, int]:
    """The best path through a branch, from where it leaves another one to where it meets it.

    Args:
        branch: From `cheapest_branches`.
        following, before: As of `best_ways`.
        second, odd: From it.
        state: Along the other path [C + 1].
        path, kinds: Take states [C + 1] and kinds of symbols [C].

    Returns:
        Its first channel, and the one after its last.
    """
    c, s, way = branch[0], branch[1], branch[2]
    at, start = s, c
    path[c] = s
    while start > 0 and (start == c or at != state[start]):
        start -= 1
        at, kinds[start] = before[at, way, 0], before[at, way, 1]
        path[start] = at
        way = second[start, at]
    at, end = s, c
    while end < len(kinds) and at != state[end]:
        parity = odd[end, at]
        kinds[end] = 2 * (at & 1) + parity
        at = following[at, parity]
        end += 1
        path[end] = at
    return start, end
