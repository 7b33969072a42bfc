"""Decoding one segment: parameters and packets in, frames out. Never imports the fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from innvc.bitstream import motion, parameters, step_offsets
from innvc.bitstream.header import HeaderRecord
from innvc.bitstream.intra import ExactIntra
from innvc.bitstream.latent import Packet, code_packet
from innvc.bitstream.prior import ExactPrior
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.decoded import Before, Picture
from innvc.errors import VerificationError
from innvc.filters import NO_GAINS, Filters, Gains
from innvc.model import lifting
from innvc.model import subbands as order
from innvc.model.contexts import Context
from innvc.model.field import Window
from innvc.model.model import Condition, InnvcModel, SampleLayout
from innvc.model.motion import CELL, Motion, MotionLifting
from innvc.model.planes import planes_of
from innvc.video.formats import Frame, pixel_format
from innvc.video.packing import unpack


def layout_of(pix_fmt: str) -> SampleLayout:
    """The plane layout of a pixel format."""
    form = pixel_format(pix_fmt)
    return SampleLayout(form.family, form.shift_x, form.shift_y)


def reproducible_arithmetic() -> None:
    """Float32 without TF32, whatever the process had set."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def lifting_of(found: Motion | None, packed_planes: Sequence[int | None]) -> lifting.Lifting:
    """The lifting of a packet, by its motion."""
    return lifting.Haar() if found is None else MotionLifting(found, planes_of(packed_planes))


class SegmentDecoder:
    """Turns packets of one segment into frames.

    Args:
        header: Of the file.
        segment: Record of the segment.
        record: Its coded parameters.
        device: Where to compute; symbols are the same on any.
        exact: Synthesis in float64, the reference for samples.

    Raises:
        CorruptError, UnsupportedError: the parameters cannot be used.
    """

    def __init__(
        self,
        header: HeaderRecord,
        segment: SegmentRecord,
        record: ParameterRecord,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        reproducible_arithmetic()
        self.header = header
        self.segment = segment
        self.format = pixel_format(header.pix_fmt)
        self.starts = segment.starts()
        layout = layout_of(header.pix_fmt)
        self.model = InnvcModel(header.model, layout, header.step_base)
        parameters.read_record(record, self.model)
        planes = self.model.planes if header.model.dependent else None
        self.prior = ExactPrior(
            copy.deepcopy(self.model.prior),
            header.model.layers,
            planes,
            header.model.trellis_states,
        )
        self.intra = None
        if self.model.intra is not None:
            networks = copy.deepcopy(self.model.intra)
            self.intra = ExactIntra(networks, header.model.prior.directions)
        self.model.requires_grad_(False).to(device)
        if exact:
            self.model.double()
        self.device = device
        self.dtype = torch.float64 if exact else torch.float32
        self.matrices = self.model.backbone.matrices()
        self.stride = self.model.stride * header.model.packing  # luma samples of a position
        self.size = (
            -(-header.height // self.stride),
            -(-header.width // self.stride),
        )  # of the latent
        self.cells = self.size[0] * self.stride // CELL, self.size[1] * self.stride // CELL
        self.filters = Filters(header, self.model, self.cells, device, self.dtype)

    def decode(
        self,
        packet: PacketRecord,
        before: Before | None,
        layers: int | None = None,
        field: bool = True,
    ) -> tuple[Picture, Before]:
        """Decodes a packet; it is filtered if nothing is left out.

        Args:
            packet: The record.
            before: The packet before it; ignored where it is not read.
            layers: Decode only the first of them.
            field: False leaves the field out.

        Raises:
            CorruptError, VerificationError: as `symbols`, `motion` and `Filters.gains`.
        """
        symbols = self.symbols(packet, before.context if before else None, layers)
        picture = self.picture(packet, symbols.values, before, layers, field)
        return picture, Before(symbols.low, picture.references)

    def picture(
        self,
        packet: PacketRecord,
        values: Iterable[Tensor],
        before: Before | None,
        layers: int | None = None,
        field: bool = True,
    ) -> Picture:
        """As `decode`, from the values of the packet's symbols [C, H, W], frame by frame."""
        complete = min(layers or packet.layers, packet.layers) == len(self.header.model.layers)
        filtered = complete and (field or not self.model.field)
        return self.synthesis(
            packet.number,
            values,
            self.motion(packet.motion, packet.subbands),
            packet.intra,
            self.prediction(packet.prediction, before.references if before else None),
            field,
            self.filters.gains(packet) if filtered else NO_GAINS,
        )

    def without_picture(
        self,
        packet: PacketRecord,
        before: Before | None,
        layers: int | None = None,
        subbands: int | None = None,
    ) -> Before:
        """Decodes the symbols of a packet alone; arguments and errors are those of `symbols`."""
        context = before.context if before else None
        return Before(self.symbols(packet, context, layers, subbands).low)

    def symbols(
        self,
        packet: PacketRecord,
        previous: Context | None,
        layers: int | None = None,
        subbands: int | None = None,
        found: Callable[[Tensor], None] = lambda values: None,
    ) -> Packet:
        """Decodes the symbols of a packet and compares their checksums.

        Args:
            packet: The record.
            previous: Low-pass context of the packet before; ignored at a key packet.
            layers: Decode only the first of them.
            subbands: Decode only the first subband frames; checksums are then not compared.
            found: Is given the values of each subband frame [1, C, H, W], not yet compared.

        Raises:
            CorruptError: the step offsets are not a valid code.
            VerificationError: the symbols differ from the encoder's.
        """
        count = packet.layers if layers is None else min(layers, packet.layers)
        key = packet.number in self.segment.keys
        decoded = code_packet(
            self.prior,
            packet.subbands,
            self.size,
            None if key else previous,
            intra=self.intra if packet.intra else None,
            predicted=packet.prediction is not None,
            grid=self.grid_context(packet.number),
            offsets=step_offsets.decode(packet.step_offsets, self.size),
            data=packet.strings(count),
            subbands=subbands,
            found=found,
        )
        complete = subbands is None or subbands >= packet.subbands
        if complete and decoded.checksums != list(packet.symbols_crc[:count]):
            raise VerificationError(
                f"Symbols of packet {packet.number} differ from the encoder's.",
                "If the file passes `innvc verify` elsewhere, this machine computes wrongly.",
            )
        return decoded

    def window(self, number: int, subband: int) -> Window:
        """Where one subband frame of a packet lies, for the field."""
        group = self.segment.sizes[number]
        time = order.time_of(subband, group, self.starts[number], self.segment.frames)
        level = order.parameter_level(subband, group)
        whole = (*self.size, 0, 0, *self.size)
        return Window(
            torch.tensor([time], device=self.device, dtype=self.dtype),
            torch.tensor([level], device=self.device),
            *whole,
            self._slice(number, subband),
        )

    def _slice(self, number: int, subband: int) -> Tensor | None:
        if self.header.model.field is None:
            return None
        place = subband, self.segment.sizes[number], self.starts[number], self.segment.frames
        found = order.slice_of(*place, self.header.model.field.grid_size[0])
        return torch.tensor([found], device=self.device)

    def grid_context(self, number: int) -> Callable[[int], Tensor | None]:
        """What the latent prior reads of the field's grid for each subband frame of a packet."""

        def grid(subband: int) -> Tensor | None:
            found = self.model.grid_context(self.window(number, subband), torch.float64)
            return None if found is None else found.cpu()

        return grid

    def motion(self, coded: bytes, group: int) -> Motion | None:
        """The coded motion of a packet of `group` frames; None where its lifting has none.

        Raises:
            CorruptError: it is not a valid code.
        """
        if not coded:
            return None
        return motion.decode(coded, group, *self.cells, self.header.model.mixed_flags)

    def prediction(self, coded: bytes | None, references: Tensor | None) -> Tensor | None:
        """The prediction [1, C, H, W] of a low-pass frame; None where it is not predicted.

        Args:
            coded: `PacketRecord.prediction`.
            references: Those of the packet before.

        Raises:
            CorruptError: the motion is not a valid code.
        """
        if coded is None:
            return None
        assert references is not None  # only a key packet has none before it
        found = motion.decode_prediction(coded, *self.cells, self.header.model.mixed_flags)
        return self.lifting(found).predict(references.to(self.device, self.dtype), 1, 1)

    def lifting(self, found: Motion | None) -> lifting.Lifting:
        """The lifting of a packet, by its motion."""
        return lifting_of(found, self.model.packed_planes)

    def _half(self, half: bool) -> Tensor | None:
        return torch.ones(1, dtype=torch.bool, device=self.device) if half else None

    @torch.no_grad()
    def analyse(
        self,
        number: int,
        frames: Tensor,
        found: Motion | None,
        intra: bool = False,
        prediction: Tensor | None = None,
    ) -> Tensor:
        """Latent of a packet's packed frames [G, C, H, W], in steps: what the encoder quantises.

        Args:
            intra: The low-pass frame is in half-size blocks.
            prediction: Of the low-pass frame.
        """
        lifter = self.lifting(found)
        subbands = lifting.forward(frames.to(self.device, self.dtype), lifter)
        if prediction is not None:
            subbands[:1] -= lifter.gains(subbands)[:1] * prediction
        latents = []
        for j, subband in enumerate(subbands):
            window = self.window(number, j)
            condition = self.model.condition(window)
            half = self._half(intra and j == 0)
            latent = self.model.analysis(subband[None], self.matrices, condition, half)
            latents.append(latent / self.model.steps(window.level, half))
        return torch.cat(latents)

    @torch.no_grad()
    def synthesis(
        self,
        number: int,
        values: Iterable[Tensor] | None,
        found: Motion | None,
        intra: bool = False,
        prediction: Tensor | None = None,
        field: bool = True,
        gains: Gains = NO_GAINS,
    ) -> Picture:
        """The frames of a packet.

        Args:
            number: Of the packet.
            values: Its latent, subband frames [C, H, W] in sixteenths of a step; None is zero: the
                field alone.
            found: Its motion.
            intra: Its low-pass frame is in half-size blocks.
            prediction: Of its low-pass frame.
            field: False leaves the field out: the latent alone (paper figure 4).
            gains: Of the filters.
        """
        group, lifter = self.segment.sizes[number], self.lifting(found)
        if values is None:
            values = torch.zeros(group, len(self.model.planes), *self.size)
        scale = lifter.gains(torch.empty(group, 1, 1, 1, dtype=self.dtype, device=self.device))

        def subband(item: tuple[int, Tensor]) -> Tensor:
            j, value = item
            window = self.window(number, j)
            half = self._half(intra and j == 0)
            latent = value[None].to(self.device, self.dtype) / 16
            latent = latent * self.model.steps(window.level, half)
            condition = self.model.condition(window) if field else Condition()
            result = self.model.synthesis(latent, self.matrices, condition, half)[0]
            if prediction is not None and j == 0:
                result += scale[0] * prediction[0]
            return result / scale[j]

        subbands = map(subband, enumerate(values))
        low = next(subbands)
        frames = lifting.inverse_frames(chain([low], subbands), group, lifter)
        frames = self.filters.apply(frames, gains, found, group)
        return Picture(torch.stack(list(frames)), low[None])

    def frames(self, number: int, packed: Tensor) -> list[Frame]:
        """Frames of a packet from its packed frames."""
        header = self.header
        stamps: Sequence[int | None] = self.segment.pts or [None] * self.segment.frames
        first = self.starts[number]
        return [
            Frame(
                unpack(picture, self.format, header.width, header.height, header.model.packing),
                stamps[first + i],
            )
            for i, picture in enumerate(packed.cpu().numpy())
        ]
