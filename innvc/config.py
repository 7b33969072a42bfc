"""Typed, frozen configuration: the model (travels in the file header), the fit, the presets."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

MOST_STEPS = 1 << 20
Count = Annotated[int, Meta(ge=0, le=MOST_STEPS)]
Size = Annotated[int, Meta(ge=1, le=1 << 20)]


class FieldConfig(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The conditioning field (paper section 3.3): multi-resolution grid and ConvNeXt decoder."""

    grid_size: tuple[Size, Size, Size]  # finest level, T x H x W
    grid_channels: Size  # of the finest level; doubled at each coarser one
    grid_levels: Annotated[int, Meta(ge=1, le=8)]
    channels: tuple[Size, ...]  # a decoder stage each, coarse to fine
    depths: tuple[Size, ...]
    scales: tuple[Annotated[int, Meta(ge=1, le=8)], ...]  # upsampling before each stage
    expansion: Annotated[int, Meta(ge=1, le=8)] = 4
    local_channels: Count = 0  # of the per-stage temporal grids; 0 is none
    local_levels: Annotated[int, Meta(ge=1, le=8)] = 3
    # The stage that each grid level enters, fine to coarse; empty: all enter the first one.
    grid_stages: tuple[Annotated[int, Meta(ge=0, le=31)], ...] = ()


class PriorConfig(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The latent prior (paper section 3.6), evaluated in integers."""

    energy: bool = True  # scale from weighted magnitudes of decoded neighbours
    temporal: bool = True  # contexts from subbands already decoded
    hidden: Count = 0  # ReLU units for each channel group of the masked convolution; 0 is none
    reach: Count = 0  # first groups whose values at the 4 neighbours predict means; 0 is none
    halves: Count = 0  # first groups coded as a checkerboard, in two passes; 0 is none
    # Units of the value and of the scale network of low-pass frames in half-size blocks; 0 is none.
    intra: tuple[Count, Count] = (0, 0)
    skip: bool = False  # a flag for each position whose symbols are all zero
    grid: bool = False  # contexts from the integers of the field's grid
    directions: bool = False  # half-size blocks may be predicted in a direction that is coded
    scale_units: Count = 0  # units of the scale network for each channel group; 0 is none


MOST_PATHS = 10_000
TrellisStates = Literal[8, 16, 32, 64, 128, 256]
TRELLIS_STATES: tuple[int, ...] = get_args(TrellisStates)


class ModelConfig(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything about the network that the decoder must know. Saved in the file header."""

    # 2: 2x2 space-to-depth; 1: full resolution, 4 channels
    packing: Annotated[int, Meta(ge=1, le=2)] = 2
    stages: Annotated[int, Meta(ge=1, le=6)] = 4
    base: Literal["dct", "identity"] = "dct"
    gop: Annotated[int, Meta(ge=1, le=32)] = 32  # longest group of frames
    groups: tuple[Size, ...] = ()  # latent channels of each ordered group
    layers: tuple[Size, ...] = ()  # groups of each layer
    coupling: tuple[Count, ...] = ()  # subnet width of each stage but the last; empty is none
    field: FieldConfig | None = None
    prior: PriorConfig = PriorConfig()
    start: Annotated[int, Meta(ge=0, le=65535)] = 0  # id of the starting point; 0 is analytic
    # What the field does: it modulates the backbone; or it predicts the samples and the backbone
    # codes the difference; or it is the picture (NVRC), without backbone and latent.
    field_role: Literal["modulation", "residual", "picture"] = "modulation"
    motion: bool = False  # motion-compensated lifting
    post_filter: bool = False  # decoded frames are filtered by the starting point's network
    prediction: bool = False  # low-pass frames may be predicted from the packet before
    step_offsets: bool = False  # low-pass frames may be quantised more or less finely by position
    dependent: bool = False  # dependent quantisation of the latent
    temporal_filter: bool = False  # decoded frames are filtered along the motion
    trellis_states: TrellisStates = 8  # of dependent quantisation
    own_filter: bool = False  # the post-filter's parameters are coded with the segment's
    mixed_flags: bool = False  # flags of motion are coded by several classes each


class FitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one segment is fitted (design section 4). Not needed to decode."""

    steps: Count
    learn: tuple[str, ...]  # prefixes of the parameter names that are fitted
    batch_frames: Size = 16  # subband frames a step, in whole packets
    crop: Size = 352  # side of the crop, in plane-0 samples, rounded to the model's stride
    rate: float = 0.15  # learning rate, in quantisation steps of each parameter
    warm_up: float = 0.05  # share of the fit
    last_rate: float = 0.05  # at its end, of the learning rate
    clip: float = 1.0  # bound of the gradient's norm, relative to the gradient's running mean
    temperature: tuple[float, float] = (0.5, 0.3)  # of the soft rounding, start and end
    noise_shape: tuple[float, float] = (2.0, 1.0)  # of the Kumaraswamy noise, start and end
    straight_through: float = 0.2  # share of the fit, at its end, with hard rounding
    mask: tuple[float, float] = (0.0, 0.0)  # progress at which the groups begin and end to open
    parameter_every: Size = 1  # steps between two that count the rate of the parameters
    tables_every: Size = 8  # steps, about, between two searches for the tables of their code
    learn_steps: bool = False  # fit the parameters' quantisation steps, too
    coarser_steps: int = 0  # octaves by which these steps begin coarser
    # Tried at a time for each block of details, beside the trellis' own; 0 is none.
    paths: Annotated[int, Meta(ge=0, le=MOST_PATHS)] = 0
    least_bytes: int = 0  # of the segment's latent, told from the first crop, to fit at all
    filter_steps: Count = 0  # of a fit of the post-filter to decoded frames
    filter_least_bytes: int = 0  # of the segment's packets, for that fit
