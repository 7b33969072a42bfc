"""How finely a parameter is quantised where nothing else is known, and how fast it learns.

By the longest prefix of its name.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

# Exponent e of a parameter's step 2^-e, by the longest matching prefix.
EXPONENTS = {
    "": 8,
    "backbone.mixing": 10,
    "field.grid": 7,
    "filter.enter": 5,
    "filter.tile": 4,
    "filter.middle": 5,
    "filter.middle_bias": 4,
    "filter.leave": 11,
    "prior.base": 2,
    "prior.base_level": 3,
    "prior.base_detail": 1,
    "prior.base_slope": 6,
    "prior.spectral": 9,
    "prior.surround": 9,
    "prior.predict_mean": 9,
    "prior.reach": 9,
    "prior.half": 9,
    "prior.half_base": 2,
    "prior.temporal": 5,
    "prior.temporal_mean": 5,
    "prior.grid": 5,
    "step": 4,
}

# Learning rate relative to FitConfig.rate and the step. Of a large matrix each weight moves little,
# and one that is moved without need costs bits.
RELATIVE_RATES = {
    "": 1.0,
    "backbone.mixing": 0.1,
    "prior.spectral": 0.3,
    "prior.surround": 0.3,
    "prior.predict_mean": 0.3,
    "prior.reach": 0.3,
    "prior.half_scale": 0.3,
    "prior.half_mean": 0.3,
    "prior.hidden": 0.1,
    "prior.output": 0.1,
}


def _by_prefix(table: dict[str, T], name: str) -> T:
    return table[max((p for p in table if name.startswith(p)), key=len)]


def exponent_of(name: str) -> int:
    """Exponent e of the step 2^-e with which a parameter begins."""
    return _by_prefix(EXPONENTS, name)


def relative_rate_of(name: str) -> float:
    """The learning rate of a parameter, relative to the fit's and to its step."""
    return _by_prefix(RELATIVE_RATES, name)
