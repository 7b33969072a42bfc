"""Time to choose, code and decode the parameters of a preset: `python benchmarks/parameters.py`.

The values are random with the statistics of a fit: half of the weights at their start, scales that
differ by row and column, grids that change slowly. One core; NVRC takes 23 to 54 s (its paper).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from innvc import presets
from innvc.bitstream import parameters
from innvc.bitstream.grids import CodedGrid
from innvc.bitstream.weights import Axes, CodedTensor
from innvc.decoder import layout_of
from innvc.fit.grid_code import choose_grids, fit_priors
from innvc.fit.parameter_code import choose
from innvc.model.grid_prior import GridPrior
from innvc.model.model import InnvcModel, kind_of
from innvc.model.parameter_layout import Matrix
from innvc.presets import Clip

T = TypeVar("T")


def weights(matrix: Matrix, random: np.random.Generator) -> np.ndarray:
    """Integers like those of a fitted tensor."""
    rows = np.exp(random.normal(0, 0.5, matrix.rows))[matrix.row_of]
    columns = np.exp(random.normal(0, 0.5, matrix.columns))[matrix.column_of]
    values = random.laplace(0, 1.2, len(matrix)) * rows * columns
    return (values * (random.random(len(matrix)) < 0.5)).round().astype(np.int32)


def grid(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Integers like those of a fitted grid level [C, T, H, W]: smooth in time and space."""
    coarse = random.laplace(0, 3, (shape[0], *(n // 3 + 2 for n in shape[1:])))
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None], size=shape[1:], mode="trilinear"
    )
    return (fine[0].numpy() + random.laplace(0, 0.4, shape)).round().astype(np.int64)


def timed(what: str, work: Callable[[], T]) -> T:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {cpu:.2f} s of CPU, {wall:.2f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="paper")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    layout = layout_of("yuv444p")
    config, _ = presets.make(arguments.preset, Clip(layout, 1920, 1080, 600))
    model = InnvcModel(config, layout, 0)
    random = np.random.default_rng(0)
    matrices = parameters.matrices(model)
    values = {
        name: grid(tuple(p.shape), random)
        if kind_of(name) == "grid"
        else weights(matrices[name], random)
        for name, p in model.named_parameters()
    }
    elements = sum(v.size for v in values.values())
    names = [n for n in values if n in matrices]

    def choose_all() -> dict[str, CodedTensor | CodedGrid]:
        return {name: choose(values[name], matrices[name], 24, Axes()) for name in names}

    coded = timed("choose tables, rows and columns", choose_all)
    grids = {n: CodedGrid(v, 32) for n, v in values.items() if n not in matrices}
    priors = [GridPrior() for _ in grids]
    timed("fit the grids' context models", lambda: fit_priors(list(grids.values()), priors))
    chosen = timed("choose the grids' scales", lambda: choose_grids(list(grids.values()), priors))
    coded.update(zip(grids, chosen, strict=True))
    record = timed("code", lambda: parameters.write_record(coded, model))
    timed("decode", lambda: parameters.read_record(record, model))
    size = len(record.side) + len(record.grid) + len(record.weights)
    plain = sum(
        8 * len(parameters.encode([CodedTensor(t.values, 24, t.tables)], [matrices[n]]))
        for n, t in coded.items()
        if isinstance(t, CodedTensor)
    )
    print(f"{elements} elements, {8 * size / elements:.3f} bits each")
    grid_elements = sum(v.values.size for v in grids.values())
    print(
        f"grids {8 * len(record.grid) / max(1, grid_elements):.3f} bits each; weights "
        f"{8 * len(record.weights) / (elements - grid_elements):.3f} bits each, "
        f"{plain / (elements - grid_elements):.3f} under a single table each"
    )


if __name__ == "__main__":
    main()
