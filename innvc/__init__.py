"""InnVC: an instance-adaptive neural video codec with real bitstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Limits",
    "VideoDataset",
    "compare",
    "concat",
    "cut",
    "decode",
    "encode",
    "open",
    "plan",
    "verify",
]

if TYPE_CHECKING:
    from innvc.api import Limits, compare, decode, encode, plan, verify
    from innvc.api import open_video as open
    from innvc.editing import concat, cut
    from innvc.rgb import VideoDataset


def __getattr__(name: str) -> Any:
    """Loads the functions when they are first used: importing innvc costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'innvc' has no attribute '{name}'")
    from innvc import api, editing

    if name == "VideoDataset":
        from innvc.rgb import VideoDataset

        return VideoDataset
    if name in ("concat", "cut"):
        return getattr(editing, name)
    return getattr(api, "open_video" if name == "open" else name)
