"""The details of a packet, chosen once more by what rounded samples err.

A packet that was coded and decoded tells what each sample errs before it is rounded. How a change
of a detail moves the samples of its own frame is known to a tenth of a code value, so paths can be
found whose errors fall where rounding removes them (`path_search`), and so is the share of it that
the update takes from the frames beside. Other frames move less: what they gain or lose is the slope
of their errors, smoothed. New symbols move the means of channels that follow, and of neighbours, so
these are found, and paths looked for again, a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from innvc.decoder import SegmentDecoder
from innvc.fit.path_search import BlockErrors, better_paths
from innvc.model import subbands as order
from innvc.model.model import Condition
from innvc.model.motion import MotionLifting
from innvc.model.planes import Plane
from innvc.model.prior import WEIGHT_BITS

PROBE = 0.5  # steps
FITS = 4  # of rows and columns in turn

_Part = tuple[Plane, np.ndarray, np.ndarray]
_Reached = list[tuple[int, Tensor, Tensor, Tensor]]
_Response = tuple[np.ndarray, np.ndarray, np.ndarray]


class Refinement:
    """Finds better values for details.

    Args:
        decoder: Of the packet.
        number: Of the packet.
        lifter: Its lifting.
        values: What it was coded as, in steps [G, C, H, W].
        errors: Of the decoded frames, before they are rounded, packed [G, C, h, w].
        filtered: What the filters make of a small change of the frames, of that shape.
        worth: Bits that a squared error of a sample is worth, of each plane.
        paths: To try for each block.

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
        self.details = range(1, len(values))
        self._decoder, self._number, self._lifter = decoder, number, lifter
        self._worth, self._paths = worth, paths
        self._errors = errors.clone()
        symbols = decoder.prior.symbols
        assert symbols.planes is not None
        self._symbols, self._planes = symbols, symbols.planes
        self._gains = lifter.gains(errors)
        self._generator = torch.Generator().manual_seed(0)
        # What holds for all calls for a subband frame.
        self._known: tuple[int, list[_Part], list[_Reached], list[int], list[_Response]] | None = (
            None
        )
        moved = torch.zeros_like(errors)
        for subband in order.details(len(values), 1):
            probe = self._probe() * (values[subband] != 0)
            moved += self._moved(subband, self._samples(subband, probe[None])[0])
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
        """Better symbols [C, H, W] of a subband frame; it keeps those given until it is settled.

        Args:
            symbols, scale: That were found for it [C, H, W], and their scale indexes.
            x, mean: What is to be coded, less the means, and these, in steps [C, H, W].
            places: That have symbols [H, W].
        """
        self.settle(subband, symbols, mean, places)
        which, following = np.flatnonzero(places), self._symbols.following
        symbols, scale, x = (part.reshape(len(part), -1)[:, which] for part in (symbols, scale, x))
        if self._known is None or self._known[0] != subband:
            parts, reached = self._parts(subband), self._reached(subband)
            counted = [self._frame(subband), *(frame for frame, *_ in reached[0])]
            responses = self._responses(subband, parts, counted)
            self._known = subband, parts, reached, counted, responses
        _, parts, reached, counted, responses = self._known
        slope = self._slope(subband, counted)
        found = np.zeros((len(symbols), places.size), np.int32)
        for (plane, rows, basis), worth, (gain, spread, whole), near in zip(
            parts, self._worth, responses, reached, strict=True
        ):
            errors, shares = (part[which] for part in self._near(subband, plane, near))
            shares[:, 1:] *= (whole[which] / gain[:, which].mean(0))[:, None, None]
            blocks = BlockErrors(
                self._follows(rows).T @ basis,
                errors,
                shares,
                gain[:, which],
                self._packed_blocks(plane, slope)[which],
                spread[:, which],
                worth,
                float(np.square(basis[0]).sum()),
            )
            of_plane = x[rows], symbols[rows], scale[rows]
            found[np.ix_(rows, which)] = better_paths(blocks, following, *of_plane, self._paths)
        return found.reshape(mean.shape)

    def settle(
        self, subband: int, symbols: np.ndarray, mean: np.ndarray, places: np.ndarray
    ) -> None:
        """Takes a subband frame to have these symbols; arguments are those of a call."""
        which, steps = np.flatnonzero(places), np.zeros((len(symbols), places.size))
        coder, own = self._symbols, symbols.reshape(len(symbols), -1)[:, which]
        steps[:, which] = coder.follow(coder.start(places.size), slice(None), which, own) / 2
        values = torch.from_numpy(mean + steps.reshape(mean.shape)).to(self.values)
        change = self._samples(subband, (values - self.values[subband])[None])[0]
        self._errors += self._kept * self._moved(subband, change)
        self.values[subband] = values

    def _follows(self, rows: np.ndarray) -> np.ndarray:
        """How values of channels [C, C] follow earlier ones, by which they are predicted."""
        prior = self._decoder.prior
        if not prior.config.energy:
            return np.eye(len(rows))
        share = prior.by_value[np.ix_(rows, rows)] / (1 << WEIGHT_BITS)
        return np.linalg.inv(np.eye(len(rows)) - share)

    def _probe(self) -> Tensor:
        """Steps [C, H, W] of random signs."""
        signs = torch.randint(0, 2, self.values.shape[1:], generator=self._generator)
        return PROBE * (signs * 2.0 - 1)

    def _samples(self, subband: int, values: Tensor) -> Tensor:
        """Packed [N, C, h, w] of values in steps of a subband frame [N, C, H, W]."""
        model, matrices = self._decoder.model, self._decoder.matrices
        steps = model.steps(self._decoder.window(self._number, subband).level)[0]
        return model.synthesis(values.to(steps) * steps, matrices, Condition())

    def _parts(self, subband: int) -> list[_Part]:
        """Planes, with their channels, and the samples of a step in each of these [channels, S]."""
        units = torch.eye(len(self._planes))[:, :, None, None]
        basis, found = self._samples(subband, units), []
        for number, plane in enumerate(self._decoder.filters.planes):
            rows = np.flatnonzero(self._planes == number)
            found.append((plane, rows, plane.unpack(basis[rows]).flatten(1).cpu().numpy()))
        return found

    def _reached(self, subband: int) -> list[_Reached]:
        """Of each plane, `MotionLifting.reached` with frames of the group."""
        level, number = self._place(subband)
        coarser = order.details(len(self.values), level).start
        # The even frames of its level, which finer ones do not change.
        frames = sorted(order.frames_of(len(self.values))[:coarser])
        return [
            [
                (frames[even], rows, columns, share)
                for even, rows, columns, share in self._lifter.reached(
                    level, number, len(frames), plane
                )
            ]
            for plane in self._decoder.filters.planes
        ]

    def _near(
        self, subband: int, plane: Plane, reached: Sequence[tuple[int, Tensor, Tensor, Tensor]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Errors of the own frame, and of those that the update reaches, where it takes samples.

        Returns:
            Errors, and the shares that these samples take of a change of the own frame's, by the
            positions of the latent [n, frames, S].
        """
        errors = plane.unpack(self._errors)
        own = errors[self._frame(subband)]
        found = [(self._blocks(own), self._blocks(torch.ones_like(own)))]
        for frame, rows, columns, share in reached:
            there = errors[frame][rows, columns]
            found.append((self._blocks(there), self._blocks(share)))
        return np.stack([e for e, _ in found], 1), np.stack([s for _, s in found], 1)

    def _blocks(self, samples: Tensor) -> np.ndarray:
        """Samples [n, S] of a plane [H, W], by the positions of the latent."""
        rows, columns = self._decoder.size
        x = samples.unflatten(1, (columns, -1)).unflatten(0, (rows, -1))
        blocks: np.ndarray = x.transpose(1, 2).flatten(2).flatten(0, 1).cpu().numpy()
        return blocks

    def _packed_blocks(self, plane: Plane, frame: Tensor) -> np.ndarray:
        """Those of a plane of a packed frame."""
        return self._blocks(plane.unpack(frame[None])[0])

    def _frame(self, subband: int) -> int:
        return order.frames_of(len(self.values))[subband]

    def _place(self, subband: int) -> tuple[int, int]:
        """Level of a subband frame, and its number in that."""
        level = order.level_of(subband, len(self.values))
        return level, subband - order.details(len(self.values), level).start

    def _moved(self, subband: int, change: Tensor) -> Tensor:
        """What a change [C, h, w] of a subband frame brings into all frames, before the filters."""
        change = change / self._gains[subband]
        return self._lifter.moved(*self._place(subband), change, len(self.values))

    def _slope(self, subband: int, counted: Sequence[int]) -> Tensor:
        """Gradient [C, h, w] of the squared errors of other frames than the counted ones."""
        slopes = slope(self._errors)
        slopes[counted] = 0
        found = self._lifter.moved_transpose(*self._place(subband), slopes)
        return self._kept * found / self._gains[subband]

    def _responses(
        self, subband: int, parts: Sequence[_Part], counted: Sequence[int]
    ) -> list[_Response]:
        """Of each plane, what coefficients are in their own frame, and their energy in others.

        What the update takes from the own frame is of low frequencies: a number for each block
        times one for each channel, both fitted to a probe of random signs. The energy in others
        follows the same pattern.

        Returns:
            Of each plane gains and energies [channels, positions], and gains without what the
            update takes [positions].
        """
        probe = self._samples(subband, self._probe()[None])[0]
        moved, frame = self._moved(subband, probe), self._frame(subband)
        reached = moved.square().sum(0) - moved[counted].square().sum(0)
        scale = self._gains[subband].expand_as(probe)
        found = []
        for plane, _, basis in parts:
            energy = np.square(basis).sum(1, keepdims=True)
            sent, come = (
                basis @ self._packed_blocks(plane, x).T / energy for x in (probe, moved[frame])
            )
            still = self._packed_blocks(plane, scale).mean(1)
            lost = 1 - come / sent * still
            channels = np.ones(len(lost))
            for _ in range(FITS):
                blocks = channels @ lost / (channels @ channels)
                channels = lost @ blocks / max(blocks @ blocks, 1e-9)
            pattern = channels.clip(0, None) + 1e-3
            left = self._packed_blocks(plane, reached).sum(1)
            spread = left / (pattern @ (energy * np.square(sent)))
            gain = self._kept * (1 - np.outer(channels, blocks)) / still
            found.append((gain, self._kept**2 * np.outer(pattern, spread), self._kept / still))
        return found


def slope(errors: Tensor) -> Tensor:
    """Of the squared errors after rounding, each step at a half spread over half a code value."""
    size = errors.abs()
    whole = size.floor()
    return errors.sign() * (2 * whole + 1) * (2 - 4 * (size - whole - 0.5).abs())
