"""Prints, for each file that is named, what its symbols take by their probabilities.

    NUMBA_DISABLE_JIT=1 python tests/robustness/ideal_rate.py FILE...

The range coder runs uncompiled here, so that every symbol that it decodes can be counted.
"""

import importlib
import json
import math
import pkgutil
import sys

import numpy as np

import innvc.bitstream
from innvc.api import verify
from innvc.bitstream import coder, range_coder

NARROW, DECODER = range_coder.narrow, coder.Decoder.__init__
counted = {}


def narrow(state, words, first, frequency):
    counted["bits"] += range_coder.PRECISION - math.log2(frequency)
    counted["symbols"] += 1
    NARROW(state, words, first, frequency)


def decoder(self, data):
    counted["strings"] += 1
    counted["bytes"] += len(data)
    DECODER(self, data)


def main(paths):
    coder.Decoder.__init__ = decoder
    for module in pkgutil.iter_modules(innvc.bitstream.__path__, "innvc.bitstream."):
        module = importlib.import_module(module.name)
        if hasattr(module, "narrow"):
            module.narrow = narrow
    np.seterr(over="ignore")  # the coder counts modulo 2^64
    for path in paths:
        counted.update(bits=0.0, symbols=0, strings=0, bytes=0)
        verify(path)
        print(json.dumps(counted))


if __name__ == "__main__":
    main(sys.argv[1:])
