"""The details of a packet's first lifting level, chosen once more by what rounded samples err.

A packet that was coded and decoded tells what each sample errs before it is rounded. How a change
of a detail moves the samples of its own frame is known to a tenth of a code value, so paths can be
found whose errors fall where rounding removes them (`path_search`). What it does to other frames
counts without rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.dependent import half_steps
from innvc.decoder import SegmentDecoder
from innvc.fit.path_search import BlockErrors, better_paths
from innvc.model import subbands as order
from innvc.model.model import Condition
from innvc.model.motion import MotionLifting
from innvc.model.planes import Plane

PROBE = 0.5  # steps
FITS = 4  # of rows and columns in turn


class Refinement:
    """Finds better values for the details of the first level.

    Args:
        decoder: Of the packet.
        number: Of the packet.
        lifter: Its lifting.
        values: What it was coded as, in steps [G, C, H, W].
        errors: Of the decoded frames, before they are rounded, packed [G, C, h, w].
        filtered: What the filters make of a small change of the frames, of that shape.
        worth: Bits that a squared error of a sample is worth, of each plane.
        paths: To try at a time for each block.

    Attributes:
        details: The subband frames that it is for.
    """

    def __init__(
        self,
        decoder: SegmentDecoder,
        number: int,
        lifter: MotionLifting,
        values: Tensor,
        errors: Tensor,
        filtered: Callable[[Tensor], Tensor],
        worth: Sequence[float],
        paths: int,
    ) -> None:
        self.values = values
        self.details = order.details(len(values), 1)
        self._decoder, self._lifter, self._paths = decoder, lifter, paths
        self._worth = worth
        self._errors = errors.clone()
        symbols = decoder.prior.symbols
        assert symbols.planes is not None
        self._planes, self._following = symbols.planes, symbols.following
        level = decoder.window(number, self.details.start).level
        self._steps = decoder.model.steps(level)[0]
        units = torch.eye(len(self._planes), device=decoder.device)[:, :, None, None]
        basis = self._samples(units)
        # Of each plane the channels, and the samples of a step in them [channels, S].
        self._parts = [
            (plane, rows, plane.unpack(basis[rows]).flatten(1).cpu().numpy())
            for number, plane in enumerate(decoder.filters.planes)
            for rows in [np.flatnonzero(self._planes == number)]
        ]
        self._gains = lifter.gains(errors)
        coded = values[self.details]
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, coded.shape, generator=generator) * 2.0 - 1
        self._probes = self._samples(PROBE * signs)
        moved = sum(map(self._moved, self.details, self._samples(PROBE * signs * (coded != 0))))
        assert isinstance(moved, Tensor)
        # The share of a change that the filters leave.
        self._kept = float((filtered(moved) * moved).sum() / moved.square().sum().clamp(min=1e-9))

    def __call__(
        self,
        subband: int,
        symbols: np.ndarray,
        scale: np.ndarray,
        x: np.ndarray,
        mean: np.ndarray,
        places: np.ndarray,
    ) -> np.ndarray:
        """Better values of a subband frame in steps [C, H, W], which it is then taken to have.

        Args:
            symbols, scale: That were found for it [C, H, W], and their scale indexes.
            x, mean: What is to be coded, less the means, and these, in steps [C, H, W].
            places: That have symbols [H, W].
        """
        which = np.flatnonzero(places)
        before = self.values[subband].flatten(1).numpy()
        result = before.copy()
        errors, slope = self._errors[self._frame(subband)], self._slope(subband)
        responses = self._responses(subband)
        for (plane, rows, basis), worth, response in zip(
            self._parts, self._worth, responses, strict=True
        ):
            now, index, wanted, means = (
                part.reshape(len(part), -1)[np.ix_(rows, which)]
                for part in (symbols, scale, x, mean)
            )
            gain, spread = (part[:, which] for part in response)
            change = means + along(now, self._following) - before[np.ix_(rows, which)]
            found = better_paths(
                BlockErrors(
                    basis,
                    self._blocks(plane, errors)[which] + (gain * change).T @ basis,
                    gain,
                    self._blocks(plane, slope)[which] + 2 * (spread * change).T @ basis,
                    spread,
                    worth,
                ),
                self._following,
                wanted,
                now,
                index,
                self._paths,
            )
            result[np.ix_(rows, which)] = means + found
        better = torch.from_numpy(result).view_as(self.values[subband])
        change_of_samples = self._samples((better - self.values[subband])[None])[0]
        self._errors += self._kept * self._moved(subband, change_of_samples)
        return result.reshape(mean.shape)

    def _samples(self, steps: Tensor) -> Tensor:
        """Packed subband frames [N, C, h, w] of values in steps [N, C, H, W]."""
        model, matrices = self._decoder.model, self._decoder.matrices
        values = steps.to(self._steps) * self._steps
        parts = [model.synthesis(part[None], matrices, Condition()) for part in values]
        return torch.cat(parts)

    def _blocks(self, plane: Plane, frame: Tensor) -> np.ndarray:
        """Samples [n, S] of a plane of a packed frame, by the positions of the latent."""
        rows, columns = self._decoder.size
        x = plane.unpack(frame[None])[0].unflatten(1, (columns, -1)).unflatten(0, (rows, -1))
        blocks: np.ndarray = x.transpose(1, 2).flatten(2).flatten(0, 1).cpu().numpy()
        return blocks

    def _frame(self, subband: int) -> int:
        return order.frames_of(len(self.values))[subband]

    def _moved(self, subband: int, change: Tensor) -> Tensor:
        """What a change [C, h, w] of a subband frame brings into all frames, before the filters."""
        number = subband - self.details.start
        return self._lifter.moved(number, change / self._gains[subband], len(self.values))

    def _slope(self, subband: int) -> Tensor:
        """Gradient [C, h, w] of the squared errors of the other frames than its own."""
        others = self._errors.clone()
        others[self._frame(subband)] = 0
        slope = self._lifter.moved_transpose(subband - self.details.start, 2 * others)
        return self._kept * slope / self._gains[subband]

    def _responses(self, subband: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each plane, what coefficients are in their own frame, and their energy in others.

        What the update takes from the own frame is of low frequencies: a number for each block
        times one for each channel, both fitted to a probe of random signs. The energy in others
        follows the same pattern.

        Returns:
            Gains and energies [channels, positions] of each plane.
        """
        probe = self._probes[subband - self.details.start]
        moved, frame = self._moved(subband, probe), self._frame(subband)
        reached = moved.square().sum(0) - moved[frame].square()
        scale = self._gains[subband].expand_as(probe)
        found = []
        for plane, _, basis in self._parts:
            energy = np.square(basis).sum(1, keepdims=True)
            sent, come = (basis @ self._blocks(plane, x).T / energy for x in (probe, moved[frame]))
            still = self._blocks(plane, scale).mean(1)
            lost = 1 - come / sent * still
            channels = np.ones(len(lost))
            for _ in range(FITS):
                blocks = channels @ lost / (channels @ channels)
                channels = lost @ blocks / max(blocks @ blocks, 1e-9)
            pattern = channels.clip(0, None) + 1e-3
            spread = self._blocks(plane, reached).sum(1) / (pattern @ (energy * np.square(sent)))
            gain = self._kept * (1 - np.outer(channels, blocks)) / still
            found.append((gain, self._kept**2 * np.outer(pattern, spread)))
        return found


def along(symbols: np.ndarray, following: np.ndarray) -> np.ndarray:
    """What the symbols [C, n] of paths from state 0 stand for, in steps."""
    state = np.zeros(symbols.shape[1], np.uint8)
    result = np.empty(symbols.shape)
    for found, own in zip(result, symbols, strict=True):
        found[:] = half_steps(own, state & 1) / 2
        state = following[state, own & 1]
    return result
