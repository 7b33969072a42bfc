"""Makes the vectors: small files of every kind, and the manifest of their SHA-256.

    python tests/vectors/make.py

They are replaced only together with the format's minor version.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

FORMATS = [
    f + d for f in ("gray", "yuv420p", "yuv422p", "yuv444p", "gbrp") for d in ("", "10le", "12le")
]
SIZES = [(1, 1), (17, 9), (9, 33), (8, 96), (112, 6), (64, 48)]
PARTS = {
    "compact": {"preset": "compact", "steps": 3},
    "compact-grid-context": {"preset": "compact", "steps": 3, "grid_context": True},
    "compact-residual": {"preset": "compact", "steps": 3, "residual": True},
    "compact-identity": {"preset": "compact", "steps": 3, "base": "identity"},
    "compact-no-coupling": {"preset": "compact", "steps": 3, "coupling": False},
    "compact-no-modulation": {"preset": "compact", "steps": 3, "modulation": False},
    "slow": {"preset": "slow", "steps": 0},
    "paper": {"preset": "paper", "steps": 0},
    "nvrc": {"preset": "compact", "steps": 3, "model": "nvrc"},
    "fast": {"preset": "fast", "steps": 4},
    "no-context": {"context": False},
    "no-intra": {"intra": False},
    "no-scale-network": {"scale_network": False},
    "no-directions": {"directions": False},
    "no-motion": {"motion": False},
    "no-prediction": {"prediction": False},
    "no-step-offsets": {"step_offsets": False},
    "no-dependent": {"dependent": False},
    **{f"states{n}": {"trellis_states": n} for n in (8, 16, 32, 64, 128, 256)},
    "no-filter": {"post_filter": False},
    "no-temporal-filter": {"temporal_filter": False},
    "start-0": {"start": 0},
    "start-5": {"start": 5},
}


def jobs():
    """(name, clip, options of innvc.encode) of each vector."""
    for name in FORMATS:
        yield name, {"pix_fmt": name, "width": 18, "height": 14, "count": 2}, {}
    for width, height in SIZES:
        yield f"{width}x{height}", {"width": width, "height": height, "count": 3}, {}
    for gop in range(1, 33):
        yield f"gop{gop}", {"width": 16, "height": 16, "count": gop}, {"gop": gop}
    for frames, options in ((1, {}), (33, {}), (33, {"gop": 4, "keyint": 12})):
        name = "-".join([f"frames{frames}", *(f"{k}{v}" for k, v in options.items())])
        yield name, {"width": 32, "height": 16, "count": frames}, options
    for name, options in PARTS.items():
        groups = {} if "model" in options else {"gop": 2, "keyint": 4}
        yield name, {"width": 32, "height": 32, "count": 5}, {**groups, **options}
    options = {"gop": 4, "keyint": 4, "filter_steps": 200}
    yield "own-filter", {"width": 128, "height": 64, "count": 8}, options
    for lambda_ in (0.001, 0.05, 20, 500):
        yield f"lambda{lambda_}", {"width": 32, "height": 32, "count": 3}, {"lambda_": lambda_}
    yield "streams", {"kind": "mkv", "frames": 4}, {}  # with audio and subtitles


def make(job, sources, targets):
    """Encodes a vector; gives its file and what `innvc.encode` said."""
    from helpers import make_clip
    from test_streams import make as make_streams

    import innvc

    name, clip, options = job
    source = (make_streams if "kind" in clip else make_clip)(Path(sources) / f"{name}.mkv", **clip)
    target = Path(targets) / f"{name}.innv"
    said = innvc.encode(source, target, **{"preset": "instant", "lambda_": 0.3, **options})
    return target, said


def main():
    for old in FOLDER.glob("*.innv"):
        old.unlink()
    with tempfile.TemporaryDirectory() as sources:
        files = sorted(make(job, sources, FOLDER)[0] for job in jobs())
    manifest = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
