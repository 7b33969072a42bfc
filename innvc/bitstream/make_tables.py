"""Makes the frozen CDF tables: `python -m innvc.bitstream.make_tables` rewrites tables.bin.

Decimal arithmetic of 60 digits and integer rounding, so every machine makes the same bytes. Table i
is a zero-mean mixture of a Gaussian of standard deviation s = 2^(i/4 - 5) and a Laplacian of
standard deviation 1.6 s, integrated over the cell of each symbol: k has the magnitudes between
k - 1 + e and k + e, and 0 those up to e.

In independent quantisation e is 0.5, and the Laplacian's share is that which symbols have: 0.01
where nearly all are zero, 0.4 from s = 0.42 on. In dependent quantisation an encoder chooses
symbols by their costs, too, so e, the share and a factor of s are fitted to what it chose for the
training clips of docs/starts.md.
"""

from __future__ import annotations

from decimal import Decimal, getcontext
from itertools import pairwise
from pathlib import Path

import numpy as np

TOTAL = 1 << 24
LEVELS = 64
LARGEST = 4095  # widest alphabet: symbols -4095..4095 and the escape
LARGEST_DEPENDENT = 1023
WIDTH = Decimal("1.6")
FLOOR = 1 << 10  # least frequency of 1 and -1 in dependent quantisation
# Of quantisers 0 and 1: by table index the edge e, the factor of s and the Laplacian's share, in
# thousandths; linear in between, constant outside.
FITTED = (
    {
        9: (657, 871, 36),
        10: (646, 877, 77),
        11: (609, 895, 155),
        12: (573, 914, 188),
        14: (532, 937, 210),
        16: (494, 974, 260),
        18: (460, 998, 282),
        20: (439, 990, 317),
        24: (432, 984, 333),
        28: (446, 968, 307),
        32: (465, 950, 300),
    },
    {
        9: (467, 1063, 7),
        10: (398, 1096, 35),
        11: (313, 1132, 46),
        12: (242, 1160, 62),
        14: (158, 1180, 70),
        16: (129, 1167, 86),
        20: (133, 1197, 93),
        24: (133, 1126, 130),
        28: (134, 1006, 215),
        32: (145, 940, 250),
    },
)


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


def fitted(quantiser: int, index: int) -> list[Decimal]:
    """Edge, factor of s and the Laplacian's share in dependent quantisation."""
    rows = FITTED[quantiser]
    index = min(max(index, min(rows)), max(rows))
    low = max(i for i in rows if i <= index)
    high = min(i for i in rows if i >= index)
    part = Decimal(index - low) / max(1, high - low)
    pairs = zip(rows[low], rows[high], strict=True)
    return [(a + (b - a) * part) / 1000 for a, b in pairs]


def table(number: int) -> np.ndarray:
    """Frequencies of -K..K and the escape, each at least 1, summing to 2^24. Length 2K + 2."""
    kind, index = divmod(number, LEVELS)
    sigma = Decimal(2) ** ((Decimal(index) - 20) / 4)
    edge, share, largest, floor = Decimal("0.5"), share_of(index), LARGEST, 1
    if kind:
        edge, factor, share = fitted(kind - 1, index)
        sigma *= factor
        largest, floor = LARGEST_DEPENDENT, FLOOR
    tails = [tail(edge / sigma, share)]  # above magnitude k + edge
    while len(tails) < 2 or (len(tails) <= largest and tails[-2] * TOTAL > 2):
        tails.append(tail((len(tails) + edge) / sigma, share))
    frequencies = [max(1, int((a - b) * TOTAL)) for a, b in pairwise(tails)]
    frequencies[0] = max(floor, frequencies[0])
    escape = max(1, int(2 * tails[-1] * TOTAL))
    zero = TOTAL - 2 * sum(frequencies) - escape
    return np.array([*frequencies[::-1], zero, *frequencies, escape], dtype=np.uint32)


def main() -> None:
    getcontext().prec = 60
    tables = [table(number) for number in range(3 * LEVELS)]
    sizes = np.array([len(t) for t in tables], dtype="<u4")
    path = Path(__file__).with_name("tables.bin")
    path.write_bytes(sizes.tobytes() + np.concatenate(tables).astype("<u4").tobytes())


if __name__ == "__main__":
    main()
