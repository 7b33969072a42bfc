"""Measures points, one after the other, in a process of its own.

    python -m innvc.bench.worker

Jobs come as JSON lines on standard input, rows of results go as JSON lines to standard output. A
codec library that crashes takes this process along and nothing else (see innvc.bench.pool).
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from innvc.bench import ffmpeg, pyav
from innvc.bench.clips import read_frames
from innvc.bench.command import CommandFailed, innvc
from innvc.bench.peers import PEERS, NotPossible
from innvc.bench.planes import Planes
from innvc.bench.provenance import machine
from innvc.bench.similarity import plane_msssim
from innvc.metrics import QualityMeter, to_json_value
from innvc.report.pictures import Painter
from innvc.video.formats import Frame, VideoInfo

Row = dict[str, Any]


@functools.lru_cache(maxsize=1)
def _frames(path: str, first: int, count: int) -> tuple[VideoInfo, list[Frame]]:
    return read_frames(Path(path), first, first + count)


def quality(
    info: VideoInfo, frames: Sequence[Frame], decoded: Sequence[Planes], folder: Path
) -> Row:
    """PSNR, MS-SSIM and VMAF of rounded frames; null where a measure has no value."""
    meter = QualityMeter(info.format)
    similarity: list[float | None] = []
    for frame, planes in zip(frames, decoded, strict=True):
        meter.update(frame.planes, planes)
        similarity.append(plane_msssim(frame.planes[0], planes[0], info.format.peak))
    found = [value for value in similarity if value is not None]
    row = {k: to_json_value(v) for k, v in asdict(meter.result()).items()}
    row["msssim_y"] = sum(found) / len(found) if found else None
    row["vmaf"] = ffmpeg.vmaf(info, frames, decoded, folder)
    row["lossless"] = all(
        (a == b).all()
        for frame, planes in zip(frames, decoded, strict=True)
        for a, b in zip(frame.planes, planes, strict=True)
    )
    return row


def _keep_picture(job: Row, info: VideoInfo, decoded: Sequence[Planes]) -> None:
    """Writes the middle frame, for the page of the benchmark."""
    if "picture" not in job:
        return
    path = Path(job["picture"])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Painter(info).webp(decoded[len(decoded) // 2]))


def measure_peer(job: Row, folder: Path) -> Row:
    """One point of a peer.

    Raises:
        NotPossible: it cannot code the clip.
    """
    peer = PEERS[job["codec"]]
    info, frames = _frames(job["path"], job["first"], job["count"])
    if peer.engine == "pyav":
        coded = pyav.code(peer, info, frames, job["quality"])
    else:
        coded = ffmpeg.code(peer, info, frames, job["quality"], folder)
    _keep_picture(job, info, coded.frames)
    return {
        "bytes": coded.bytes,
        **quality(info, frames, coded.frames, folder),
        "encode_seconds": coded.encode_seconds,
        "decode_seconds": coded.decode_seconds,
    }


def measure_innvc(job: Row, folder: Path) -> Row:
    """One point of InnVC: `innvc encode` and `innvc decode` as commands, a file in between.

    Raises:
        CommandFailed: a command said no.
    """
    info, frames = _frames(job["path"], job["first"], job["count"])
    file = folder / "point.innv"
    copy = folder / ("point.mkv" if info.format.family == "rgb" else "point.y4m")
    selection = f"{job['first']}:{job['first'] + job['count']}"
    threads = ["--threads", str(job["threads"])]
    encode = innvc("encode", job["path"], "-o", file, "--no-audio", "--frames", selection,
                   *job["arguments"], *threads, "--json")  # fmt: skip
    decode = innvc("decode", file, "-o", copy, *job["decode_arguments"], *threads, "--json")
    decoded = [frame.planes for frame in read_frames(copy)[1]]
    if len(decoded) != len(frames):
        raise RuntimeError(f"innvc decode gave {len(decoded)} of {len(frames)} frames")
    size = file.stat().st_size
    if size != encode.output["bytes"]:
        raise RuntimeError(f"innvc encode says {encode.output['bytes']} bytes, not {size}")
    _keep_picture(job, info, decoded)
    row = {
        "bytes": size,
        **quality(info, frames, decoded, folder),
        "encode_seconds": encode.seconds,
        "decode_seconds": decode.seconds,
        "encode_cpu_seconds": encode.cpu_seconds,
        "decode_cpu_seconds": decode.cpu_seconds,
        "encode_peak_bytes": encode.peak_bytes,
        "decode_peak_bytes": decode.peak_bytes,
        "steps": encode.output["steps"],
        "steps_per_second": encode.output["steps_per_second"],
        "frames_per_second": decode.output["frames_per_second"],  # without the start of Python
        "device": encode.output["device"],
        "machine": machine(),
        "notes": encode.output["notes"],
        **_complexity(file, info),
    }
    claimed = encode.output["psnr_y"]
    if claimed is not None and row["psnr_y"] is not None and abs(claimed - row["psnr_y"]) > 0.01:
        raise RuntimeError(f"innvc encode says PSNR-Y {claimed:.3f} dB, not {row['psnr_y']:.3f}")
    return row


def _complexity(file: Path, info: VideoInfo) -> Row:
    """Parameters and thousand multiply-accumulates for a pixel, of the model in the file."""
    from innvc.bitstream.reader import Reader
    from innvc.model.complexity import count
    from innvc.model.model import SampleLayout

    form = info.format
    layout = SampleLayout(form.family, form.shift_x, form.shift_y)
    with Reader(file) as reader:
        counted = count(reader.header.model, layout, info.width, info.height)
    return {
        "parameters": counted.total_parameters,
        "kmac_per_pixel": counted.total_macs / 1000 / (info.width * info.height),
    }


def measure(job: Row) -> Row:
    """A row of results, or {"error": sentence, "possible": whether trying again makes sense}."""
    with tempfile.TemporaryDirectory(dir=job["scratch"]) as name:
        try:
            if job["codec"] in PEERS:
                return measure_peer(job, Path(name))
            return measure_innvc(job, Path(name))
        except NotPossible as error:
            return {"error": str(error), "possible": False}
        except CommandFailed as error:
            return {"error": str(error), "possible": True, "exit_code": error.exit_code}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}", "possible": True}


def _read_jobs(jobs: queue.SimpleQueue[Row]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    # Whoever wants the results has gone: end what was started for them too.
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def main() -> None:
    # Codec libraries write where they like; what goes to the file descriptor 1 is ours alone.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[Row] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        print(json.dumps(measure(jobs.get())), file=results, flush=True)


if __name__ == "__main__":
    main()
