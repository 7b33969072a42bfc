"""Paths of dependent quantisation that leave another path once and come back to it.

Each is the best one through a branch: what leads to its state costs least, and what follows, by the
costs from both ends.
"""

from __future__ import annotations

import numpy as np

from innvc.compiled import compiled

FAR = np.float32(1e9)  # of what cannot be reached
DEAREST = 25.0  # bits and weighted errors above the current path's, of a path that is tried
BUCKETS = 64  # of what branches cost


@compiled
def best_ways(
    cost: np.ndarray,
    following: np.ndarray,
    before: np.ndarray,
    state: np.ndarray,
    second: np.ndarray,
    reach: np.ndarray,
    to_go: np.ndarray,
    left: np.ndarray,
    met: np.ndarray,
) -> None:
    """Least costs from the start to each state and from there on, and where paths part.

    Args:
        cost: [C, KINDS].
        following: The next state, by state and parity.
        before: From `before_states`.
        state: Along the current path [C + 1].
        second: Takes which of the two states before is on the best way, [C + 1, states] as all.
        reach, to_go: Take the costs.
        left, met: Take the channel before which the best way leaves the current path, or meets it.
    """
    channels, states = len(cost), len(following)
    reach[0] = FAR
    reach[0, 0] = 0
    left[0] = 0
    for c in range(channels):
        for s in range(states):
            one = reach[c, before[s, 0, 0]] + cost[c, before[s, 0, 1]]
            other = reach[c, before[s, 1, 0]] + cost[c, before[s, 1, 1]]
            second[c + 1, s] = other < one
            reach[c + 1, s] = min(one, other)
            come = before[s, int(other < one), 0]
            left[c + 1, s] = c if come == state[c] else left[c, come]
        left[c + 1, state[c + 1]] = c + 1
    to_go[channels] = 0
    met[channels] = channels
    for c in range(channels - 1, -1, -1):
        for s in range(states):
            even, odd = following[s, 0], following[s, 1]
            by_even = cost[c, 2 * (s & 1)] + to_go[c + 1, even]
            by_odd = cost[c, 2 * (s & 1) + 1] + to_go[c + 1, odd]
            to_go[c, s] = min(by_even, by_odd)
            go = odd if by_odd < by_even else even
            met[c, s] = c + 1 if go == state[c + 1] else met[c + 1, go]
        met[c, state[c]] = c


@compiled
def cheapest_branches(
    cost: np.ndarray,
    following: np.ndarray,
    state: np.ndarray,
    kind: np.ndarray,
    reach: np.ndarray,
    to_go: np.ndarray,
    dear: np.ndarray,
    where: np.ndarray,
) -> int:
    """Finds the cheapest branches that are not on the current path, and counts them.

    Args:
        cost, following, reach, to_go: As of `best_ways`.
        state, kind: Along the current path [C + 1], [C].
        dear: Takes what the best paths through them cost above the current one.
        where: Takes their channels, states and kinds of symbol, [branches, 3].
    """
    channels, states = len(cost), len(following)
    total = np.float32(0)
    for c in range(channels):
        total += cost[c, kind[c]]
    bound, count = np.float32(DEAREST), 0
    for counting in (True, False):
        counts = np.zeros(BUCKETS, np.int64)
        for c in range(channels):
            for s in range(states):
                for p in range(2):
                    k = 2 * (s & 1) + p
                    more = reach[c, s] + cost[c, k] + to_go[c + 1, following[s, p]] - total
                    if more >= bound or (s == state[c] and k == kind[c]):
                        continue
                    if counting:
                        counts[max(0, int((more / DEAREST + 1) / 2 * BUCKETS))] += 1
                    elif count < len(dear):
                        dear[count] = more
                        where[count, 0], where[count, 1], where[count, 2] = c, s, k
                        count += 1
        if counting:
            bucket, fit = 0, 0
            while bucket < BUCKETS and fit + counts[bucket] <= len(dear):
                fit += counts[bucket]
                bucket += 1
            bound = np.float32((2 * bucket / BUCKETS - 1) * DEAREST)
    return count


@compiled
def trace(
    c: int,
    s: int,
    k: int,
    start: int,
    end: int,
    cost: np.ndarray,
    following: np.ndarray,
    before: np.ndarray,
    second: np.ndarray,
    to_go: np.ndarray,
    path: np.ndarray,
    kinds: np.ndarray,
) -> None:
    """The states and kinds of symbols of the best path through a branch, from `start` to `end`."""
    at = s
    for b in range(c, start, -1):
        path[b] = at
        at, kinds[b - 1] = before[at, int(second[b, at])]
    path[start], kinds[c] = at, k
    at = following[s, k & 1]
    for b in range(c + 1, end):
        path[b] = at
        kinds[b] = 2 * (at & 1)
        even, odd = following[at, 0], following[at, 1]
        if cost[b, kinds[b] + 1] + to_go[b + 1, odd] < cost[b, kinds[b]] + to_go[b + 1, even]:
            kinds[b] += 1
            at = odd
        else:
            at = even
    path[end] = at
