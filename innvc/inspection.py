"""`innvc info`: facts of a file without decoding it. Imports neither torch nor numba."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from innvc.bitstream.header import Limits, from_ratio
from innvc.bitstream.reader import Reader
from innvc.bitstream.statistics import statistics


def describe(path: str | os.PathLike[str], limits: Limits | None = None) -> dict[str, Any]:
    """Stream facts, model facts and where the bytes went.

    Args:
        path: The file.
        limits: What it may declare; None is the defaults.

    Returns:
        Sections "file", "video", "model", "bytes", which add up to the file's, and "segments" with
        the bytes of each one's parameters and packets.

    Raises:
        InnvcError: the file cannot be read.
    """
    with Reader(path, limits) as reader:
        header = reader.header
        segments = [reader.segment(i) for i in range(len(reader.segments))]
        version = "{}.{}".format(*reader.version)
        notes = list(reader.notes)
        found = reader.streams()
        streams = found.streams if found is not None else []
    spent = statistics(path, limits)
    rate = from_ratio(header.frame_rate)
    sizes = [size for segment in segments for size in segment.sizes]
    model = header.model
    facts: dict[str, Any] = {
        "file": {
            "path": os.fspath(path),
            "bytes": spent.total_bytes,
            "format_version": version,
            "encoder": header.encoder,
            "preset": header.preset,
            "lambda": header.lambda_,
            "bpp": 8 * spent.total_bytes / (header.frames * header.width * header.height),
        },
        "video": {
            "width": header.width,
            "height": header.height,
            "pix_fmt": header.pix_fmt,
            "frames": header.frames,
            "frame_rate": str(rate) if rate else "unknown",
            "duration_seconds": float(header.frames / rate) if rate else None,
            "variable_rate": bool(segments[0].pts),
            "sample_aspect": str(from_ratio(header.sample_aspect) or "unknown"),
            "rotation": header.rotation,
            "color": {
                "range": ("unknown", "limited", "full")[header.color_range],
                "primaries": header.color_primaries,
                "transfer": header.color_transfer,
                "matrix": header.color_matrix,
                "chroma_location": header.chroma_location,
            },
        },
        "streams": [
            " ".join(part for part in (s.kind, s.codec, s.language) if part) for s in streams
        ],
        "model": {
            "stages": model.stages,
            "packing": model.packing,
            "base": model.base,
            "start": model.start,
            "channels": sum(model.groups),
            "groups": len(model.groups),
            "layers": len(model.layers),
            "coupling": list(model.coupling),
            "field": model.field is not None,
            "field_role": model.field_role,
            "intra_prior": any(model.prior.intra),
            "scale_network": model.prior.scale_units > 0,
            "directions": model.prior.directions,
            "motion": model.motion,
            "prediction": model.prediction,
            "step_offsets": model.step_offsets,
            "dependent_quantisation": model.dependent,
            "trellis_states": model.trellis_states,
            "post_filter": model.post_filter,
            "own_filter": model.own_filter,
            "temporal_filter": model.temporal_filter,
            "gop": model.gop,
            "keyint": header.keyint,
            "segments": len(segments),
            "packets": len(sizes),
            "frames_of_packets": {str(size): sizes.count(size) for size in sorted(set(sizes))},
        },
        "bytes": {
            "header": spent.header_bytes,
            "streams": spent.streams_bytes,
            "container": spent.container_bytes,
            "side": spent.side_bytes,
            "grid": spent.grid_bytes,
            "weights": spent.weights_bytes,
            "motion": spent.motion_bytes,
            "filter": spent.filter_bytes,
            "latent": spent.latent_bytes,
            "latent_by_layer": list(spent.latent_by_layer),
            "latent_by_level": list(spent.latent_by_level),
        },
        "segments": [asdict(segment) for segment in spent.segments],
    }
    if notes:
        facts["notes"] = notes
    return facts
