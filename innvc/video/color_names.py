"""Colour tags: their names, as FFmpeg has them, by their numbers in ITU-T H.273."""

from __future__ import annotations

from innvc.errors import UsageError

RGB, UNKNOWN = 0, 2  # matrices

_SHARED = {1: "bt709", 2: "unknown", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m"}

NAMES: dict[str, dict[int, str]] = {
    "primaries": {
        **_SHARED,
        4: "bt470m",
        8: "film",
        9: "bt2020",
        10: "smpte428",
        11: "smpte431",
        12: "smpte432",
        22: "ebu3213",
    },
    "transfer": {
        **_SHARED,
        4: "bt470m",
        8: "linear",
        9: "log100",
        10: "log316",
        11: "iec61966-2-4",
        12: "bt1361e",
        13: "iec61966-2-1",
        14: "bt2020-10",
        15: "bt2020-12",
        16: "smpte2084",
        17: "smpte428",
        18: "arib-std-b67",
    },
    "matrix": {
        0: "gbr",
        **_SHARED,
        4: "fcc",
        8: "ycgco",
        9: "bt2020nc",
        10: "bt2020c",
        11: "smpte2085",
        12: "chroma-derived-nc",
        13: "chroma-derived-c",
        14: "ictcp",
    },
    "chroma_location": {
        0: "unknown",
        1: "left",
        2: "center",
        3: "topleft",
        4: "top",
        5: "bottomleft",
        6: "bottom",
    },
}


RANGES = {1: "limited", 2: "full"}


def number(tag: str, text: str) -> int:
    """The value that is named, or given as a number.

    Raises:
        UsageError: there is no such name.
    """
    if text.isdecimal() and len(text) <= 3:
        return int(text)
    for value, name in NAMES[tag].items():
        if name == text.lower():
            return value
    raise UsageError(
        f"There is no colour {tag} '{text}'.",
        f"Write a number, or {', '.join(NAMES[tag].values())}.",
    )


def named(tag: str, value: int) -> str:
    """The name of a value; a number that has none stays."""
    return NAMES[tag].get(value, str(value))
