"""Makes the frozen CDF tables: `python -m innvc.bitstream.make_tables` rewrites tables.bin.

Decimal arithmetic of 60 digits and integer rounding, so every machine makes the same bytes. Table i
is a zero-mean mixture of a Gaussian of standard deviation s = 2^(i/4 - 5) and a Laplacian of
standard deviation 1.6 s, integrated over each integer. The Laplacian's share is that which symbols
have: 0.01 where nearly all are zero, 0.4 from s = 0.42 on.
"""

from __future__ import annotations

from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np

TOTAL = 1 << 24
LEVELS = 64
LARGEST = 4095  # widest alphabet: symbols -4095..4095 and the escape
WIDTH = Decimal("1.6")


def normal_tail(z: Decimal) -> Decimal:
    """1 - Phi(z), z >= 0, by the series of erf, or its continued fraction for large z."""
    if z > 14:
        return Decimal(0)
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
    if z < 7:
        term = total = z
        n = 0
        while abs(term) > Decimal("1e-45"):
            n += 1
            term *= z * z / (2 * n + 1)
            total += term
        return Decimal("0.5") - (-z * z / 2).exp() / (2 * pi).sqrt() * total
    fraction = Decimal(0)
    for k in range(200, 0, -1):
        fraction = k / (z + fraction)
    return (-z * z / 2).exp() / (2 * pi).sqrt() / (z + fraction)


def share_of(index: int) -> Decimal:
    """The Laplacian's share in a table."""
    return (10 + 78 * min(max(index - 10, 0), 5)) / Decimal(1000)


def tail(z: Decimal, share: Decimal) -> Decimal:
    """Mass of the mixture above z standard deviations of its Gaussian, z >= 0."""
    laplace = (-Decimal(2).sqrt() / WIDTH * z).exp() / 2
    return (1 - share) * normal_tail(z) + share * laplace


def table(index: int) -> np.ndarray:
    """Frequencies of -K..K and the escape, each at least 1, summing to 2^24. Length 2K + 2."""
    sigma = Decimal(2) ** ((Decimal(index) - 20) / 4)
    share = share_of(index)
    tails = [Decimal("0.5")]
    half = 0
    while half < LARGEST and (half < 1 or tails[-1] * TOTAL > 2):
        half += 1
        tails.append(tail((Decimal(half) - Decimal("0.5")) / sigma, share))
    tails.append(tail((Decimal(half) + Decimal("0.5")) / sigma, share))
    frequencies = [max(1, int((tails[k] - tails[k + 1]) * TOTAL)) for k in range(1, half + 1)]
    escape = max(1, int(2 * tails[half + 1] * TOTAL))
    zero = TOTAL - 2 * sum(frequencies) - escape
    return np.array([*frequencies[::-1], zero, *frequencies, escape], dtype=np.uint32)


def main() -> None:
    getcontext().prec = 60
    tables = [table(i) for i in range(LEVELS)]
    sizes = np.array([len(t) for t in tables], dtype="<u4")
    path = Path(__file__).with_name("tables.bin")
    path.write_bytes(sizes.tobytes() + np.concatenate(tables).astype("<u4").tobytes())


if __name__ == "__main__":
    main()
