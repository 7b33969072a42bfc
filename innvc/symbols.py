"""The symbols of a packet, decoded before or beside what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from queue import SimpleQueue

from torch import Tensor

from innvc.bitstream.latent import Packet

Give = Callable[[Tensor], None]


class Symbols:
    """Symbols of a packet; iterating gives the values [C, H, W] of one subband frame after another.

    Args:
        decode: Decodes them, and gives the values of each subband frame [1, C, H, W].
        pool: Where to decode; None decodes now.
        stop: Asked after each subband frame; True ends decoding, and nothing may be asked for.

    Raises:
        InnvcError: from `decode`; without a pool now, else where they are asked for.
    """

    def __init__(
        self, decode: Callable[[Give], Packet], pool: Executor | None, stop: Callable[[], bool]
    ) -> None:
        self._found: SimpleQueue[Tensor | None] = SimpleQueue()
        self._stop = stop
        if pool is None:
            packet = self._run(decode)
            self.result: Callable[[], Packet] = lambda: packet
        else:
            self.result = pool.submit(self._run, decode).result

    def _run(self, decode: Callable[[Give], Packet]) -> Packet:
        try:
            return decode(self._give)
        finally:
            self._found.put(None)

    def _give(self, values: Tensor) -> None:
        if self._stop():
            raise CancelledError
        self._found.put(values[0])

    def __iter__(self) -> Iterator[Tensor]:
        while (values := self._found.get()) is not None:
            yield values
        self.result()
