"""Parts of the method that an encode can turn off or replace."""

from __future__ import annotations

from dataclasses import dataclass

from innvc.config import MOST_PATHS, MOST_STEPS, TRELLIS_STATES
from innvc.errors import UsageError
from innvc.model import starting_points


@dataclass(frozen=True)
class Switches:
    """Changes to a preset: parts of the method turned off or replaced (paper, ablation study).

    Attributes:
        model: "innvc", or "nvrc": the field with a pixel head is the picture, without latent.
        mask: False opens all latent channels from the first step of the fit.
        modulation: False is a model without field.
        residual: The field predicts the samples and the backbone codes the difference; brings a
            field where the preset has none.
        base: Fixed matrices of the backbone: "dct" or "identity"; None is the preset's.
        coupling: False is a backbone without affine couplings.
        context: False is a prior that does not read earlier channel groups.
        grid_context: The prior reads the integers of the field's grid.
        intra: False codes low-pass frames as details are, without prediction from neighbours.
        scale_network: False is a prior whose scales are sums of log-magnitudes alone.
        directions: False predicts no block of a low-pass frame in a coded direction.
        motion: False is a lifting without motion compensation.
        prediction: False codes low-pass frames without motion from the packet before.
        step_offsets: False quantises low-pass frames the same everywhere.
        dependent: False quantises every latent symbol by itself.
        trellis_states: Of dependent quantisation; None is the preset's.
        paths: Tried for each block of details, beside the trellis' own, for what rounded samples
            err; 0 is none, None is the preset's.
        post_filter: False leaves decoded frames as the lifting gives them.
        filter_steps: Of the fit of the post-filter to the segment; 0 is none, None is the preset's.
        temporal_filter: False does not filter decoded frames along the motion.
        start: Id of the starting point, 0 for the analytic one; None is the preset's. A model that
            the preset's does not fit begins at 0.
    """

    model: str = "innvc"
    mask: bool = True
    modulation: bool = True
    residual: bool = False
    base: str | None = None
    coupling: bool = True
    context: bool = True
    grid_context: bool = False
    intra: bool = True
    scale_network: bool = True
    directions: bool = True
    motion: bool = True
    prediction: bool = True
    step_offsets: bool = True
    dependent: bool = True
    trellis_states: int | None = None
    paths: int | None = None
    post_filter: bool = True
    filter_steps: int | None = None
    temporal_filter: bool = True
    start: int | None = None

    def check(self) -> None:
        """Refuses what contradicts itself.

        Raises:
            UsageError: two switches exclude each other, or a base is unknown.
        """
        if self.model not in ("innvc", "nvrc"):
            raise UsageError(f"There is no model '{self.model}'.", "Choose innvc or nvrc.")
        if self.model == "nvrc" and self != Switches("nvrc"):
            raise UsageError(
                "The model nvrc has no backbone and no latent to switch.",
                "Leave out the switches of the method, or --model.",
            )
        if self.residual and not self.modulation:
            raise UsageError(
                "--residual uses the field, which --no-modulation removes.", "Give one of the two."
            )
        if self.grid_context and not self.modulation:
            raise UsageError(
                "--grid-context reads the field, which --no-modulation removes.",
                "Give one of the two.",
            )
        if self.base not in (None, "dct", "identity"):
            raise UsageError(f"There is no base '{self.base}'.", "Choose dct or identity.")
        if self.trellis_states not in (None, *TRELLIS_STATES):
            raise UsageError(
                f"There is no trellis of {self.trellis_states} states.",
                f"Choose one of {', '.join(map(str, TRELLIS_STATES))}.",
            )
        if self.paths is not None and not 0 <= self.paths <= MOST_PATHS:
            raise UsageError(
                f"Cannot try {self.paths} paths.", f"Give a number from 0 to {MOST_PATHS}."
            )
        if self.filter_steps is not None and not 0 <= self.filter_steps <= MOST_STEPS:
            raise UsageError(
                f"Cannot fit a filter for {self.filter_steps} steps.",
                f"Give a number from 0 to {MOST_STEPS}.",
            )
        if self.filter_steps and not self.post_filter:
            raise UsageError(
                "--filter-steps fits the filter that --no-filter leaves out.",
                "Give one of the two.",
            )
        known = [0, *starting_points.STARTING_POINTS]
        if self.start is not None and self.start not in known:
            raise UsageError(
                f"There is no starting point {self.start}.",
                f"Choose one of {', '.join(map(str, known))}.",
            )
        if self.start and (self.base == "identity" or not self.context):
            raise UsageError(
                f"Starting point {self.start} is for base dct and a prior with contexts.",
                "Leave out --start.",
            )


AS_PRESET = Switches()  # nothing changed
