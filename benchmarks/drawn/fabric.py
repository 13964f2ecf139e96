"""The demo set's texture: plain-woven linen lit from the side, and what can go wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from drawn.defects import Flawed, bent_line, blob, soiled
from drawn.rendering import (
    Camera,
    Lamp,
    Lighting,
    Plane,
    Scene,
    Surface,
    coordinates,
    fractal_noise,
    smooth_noise,
    smoothstep,
)

PITCH = 2 / 36
"""Distance from yarn to yarn."""
RADIUS, CRIMP, BACKING = 0.34 * PITCH, 0.36 * PITCH, -0.6 * PITCH
LINEN = (0.50, 0.42, 0.31)
TABLE = (0.075, 0.068, 0.060)
STAINS = {"coffee": (0.42, 0.26, 0.14), "oil": (0.62, 0.55, 0.42), "ink": (0.16, 0.20, 0.42)}
THREADS = {"black": (0.03, 0.03, 0.035), "red": (0.45, 0.06, 0.05), "white": (0.80, 0.79, 0.76)}


@dataclass(frozen=True, kw_only=True)
class Yarns:
    """One of the two sets of parallel yarns."""

    number: npt.NDArray[np.int64]
    across: Plane
    """Place across the yarn: -0.5 to 0.5, 0 on its axis."""
    width: Plane
    """Half the yarn's width, in pitches."""
    colour: Plane
    """Brightness of the yarn relative to the cloth's."""


@dataclass(frozen=True, kw_only=True)
class Cloth:
    """The yarns of a piece of cloth, on a dark table."""

    warp: Yarns
    weft: Yarns
    table: Plane
    x: Plane
    y: Plane


def make_cloth(rng: np.random.Generator, size: int) -> Cloth:
    """A piece of cloth with its own uneven yarns, laid down almost straight."""
    x_HW, y_HW = coordinates(size)
    shape = (x_HW.shape[0], x_HW.shape[1])
    angle, scale = rng.normal(0, 0.02), 1 + rng.normal(0, 0.01)
    cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    u_HW = cos * x_HW + sin * y_HW + 0.010 * smooth_noise(rng, shape, (3, 3))
    v_HW = cos * y_HW - sin * x_HW + 0.010 * smooth_noise(rng, shape, (3, 3))
    warp = _yarns(rng, u_HW, (7, 72), (256, 40))
    weft = _yarns(rng, v_HW, (72, 7), (40, 256))
    return Cloth(warp=warp, weft=weft, table=1 + 0.1 * fractal_noise(rng, shape, 30, 3), x=x_HW, y=y_HW)


def woven(cloth: Cloth, gone_HW: Plane | None = None) -> Surface:
    """The cloth's surface; where ``gone`` is 1 instead of 0, the weft is missing and the warp sags."""
    gone_HW = np.zeros_like(cloth.x) if gone_HW is None else gone_HW
    over_HW = np.where((cloth.warp.number + cloth.weft.number) % 2 == 0, np.float32(CRIMP), np.float32(-CRIMP))
    warp_HW = _tube(cloth.warp, cloth.warp.width * (1 - 0.28 * gone_HW)) + over_HW * np.cos(
        np.float32(np.pi) * cloth.weft.across
    ) * (1 - gone_HW)
    weft_HW = _tube(cloth.weft, cloth.weft.width * (1 - gone_HW))
    weft_HW = weft_HW - over_HW * np.cos(np.float32(np.pi) * cloth.warp.across)
    height_HW = np.maximum(warp_HW - np.float32(0.8 * CRIMP) * gone_HW, weft_HW)
    cloth_HW = height_HW > BACKING
    colour_HW = np.where(warp_HW > weft_HW, cloth.warp.colour, cloth.weft.colour)
    zero_HW = np.zeros_like(height_HW)
    albedo_CHW = np.where(cloth_HW, np.multiply.outer(np.asarray(LINEN, np.float32), colour_HW), _table_colour(cloth))
    return Surface(
        height=np.maximum(height_HW, np.float32(BACKING)),
        albedo=albedo_CHW,
        metal=zero_HW,
        grain=np.stack([zero_HW, zero_HW]),
        roughness=zero_HW + np.float32(0.5),
    )


def make_scene(cloth: Cloth, rng: np.random.Generator) -> Scene:
    """Good cloth, lit by a lamp low on the left, which leaves one side a little darker."""
    turn, strength, warmth = rng.normal(0, 0.06), 1.5 * rng.normal(1, 0.04), rng.normal(0.02, 0.015)
    x, y, up = -float(np.cos(0.45 + turn)), -float(np.sin(0.45 + turn)), 0.75 + rng.normal(0, 0.03)
    length = float(np.sqrt(x * x + y * y + up * up))
    lamp = Lamp(
        direction=(x / length, y / length, up / length),
        colour=(strength * (1 + warmth), strength, strength * (1 - warmth)),
        size=0.3,
    )
    lighting = Lighting(
        lamps=(lamp,),
        ambient=0.42 + rng.normal(0, 0.015),
        occlusion=0.8,
        falloff=(-0.10 + rng.normal(0, 0.03), -0.03 + rng.normal(0, 0.03)),
    )
    camera = Camera(
        exposure=1.25 * (1 + rng.normal(0, 0.025)), vignetting=0.18, noise=0.014, blur=rng.uniform(0.38, 0.48)
    )
    return Scene(surface=woven(cloth), lighting=lighting, camera=camera)


def cut(rng: np.random.Generator, cloth: Cloth, good: Surface, severity: float) -> Flawed:
    """A slit with frayed edges, through which the table shows."""
    shape = (good.height.shape[0], good.height.shape[1])
    line = bent_line(rng, cloth.x, cloth.y, _anywhere(rng), length=0.14 + 0.5 * severity, bend=0.03)
    taper_HW = np.sqrt(np.clip(1 - line.along**2, 0, 1))
    width_HW = np.float32(0.018 + 0.035 * severity) * taper_HW
    fray_HW = 1 + 0.45 * fractal_noise(rng, shape, 60, 2)
    across_HW = np.abs(line.distance) / np.maximum(width_HW * fray_HW, 1e-4)
    open_HW, footprint_HW = across_HW < 0.6, (across_HW < 1) & (taper_HW > 0)
    # Cut yarns untwist into lighter fuzz.
    fuzz_HW = smoothstep((1 - across_HW) / 0.4)
    edge_HW = good.height - np.float32(0.4 * PITCH) * fuzz_HW + np.float32(0.006) * fractal_noise(rng, shape, 120, 2)
    flawed = replace(
        good,
        height=np.where(open_HW, np.float32(2.5 * BACKING), np.where(footprint_HW, edge_HW, good.height)),
        albedo=np.where(open_HW, _table_colour(cloth), good.albedo * np.where(footprint_HW, 1 + 0.15 * fuzz_HW, 1)),
    )
    return flawed, footprint_HW


def stain(rng: np.random.Generator, cloth: Cloth, good: Surface, severity: float) -> Flawed:
    """Something spilt."""
    colour = STAINS[str(rng.choice(sorted(STAINS)))]
    radius = rng.uniform(0.07, 0.2)
    patch_HW = blob(rng, cloth.x, cloth.y, _anywhere(rng), radius, ragged=0.25)
    return soiled(rng, good, patch_HW, colour, density=0.3 + 0.6 * severity, matt=0)


def thread(rng: np.random.Generator, cloth: Cloth, good: Surface, severity: float) -> Flawed:
    """A thread from elsewhere on top of the cloth, with its shadow."""
    colour = THREADS[str(rng.choice(sorted(THREADS)))]
    line = bent_line(rng, cloth.x, cloth.y, _anywhere(rng), length=0.25 + 0.6 * severity, bend=0.09)
    radius = np.float32(0.010 + 0.006 * severity)
    across_HW = line.distance / radius
    thread_HW = (np.abs(across_HW) < 1) & (np.abs(line.along) < 1)
    twist_HW = 1 + 0.15 * np.sin(line.along * 90 + 2 * across_HW)
    tube_HW = radius * np.sqrt(np.clip(1 - across_HW**2, 0, 1)) + np.float32(RADIUS + CRIMP)
    # Its shadow falls on the cloth beside it, on both sides a little where the light is diffuse.
    footprint_HW = (np.abs(across_HW) < 1.5) & (np.abs(line.along) < 1)
    flawed = replace(
        good,
        height=np.where(thread_HW, tube_HW, good.height),
        albedo=np.where(thread_HW, np.multiply.outer(np.asarray(colour, np.float32), twist_HW), good.albedo),
    )
    return flawed, footprint_HW


def missing_yarn(rng: np.random.Generator, cloth: Cloth, good: Surface, severity: float) -> Flawed:
    """One or two weft yarns that grew thin or broke off: a stripe where the warp floats free."""
    size = good.height.shape[0]
    row, column = rng.integers(size // 6, size - size // 6, 2)
    first = int(cloth.weft.number[row, column])
    last = first + int(severity > 0.6)
    length = np.float32(0.15 + 0.75 * severity)
    along_HW = np.abs(cloth.x - cloth.x[row, column]) / length
    footprint_HW = (cloth.weft.number >= first) & (cloth.weft.number <= last) & (along_HW < 1)
    gone_HW = np.float32(0.5 + 0.5 * severity) * smoothstep((1 - along_HW) * 6 + 0.3) * footprint_HW
    return woven(cloth, gone_HW), footprint_HW


FLAWS: dict[str, Callable[[np.random.Generator, Cloth, Surface, float], Flawed]] = {
    "cut": cut,
    "missing_yarn": missing_yarn,
    "stain": stain,
    "thread": thread,
}


def _yarns(rng: np.random.Generator, place_HW: Plane, along: tuple[int, int], fibres: tuple[int, int]) -> Yarns:
    """Yarns across the axis that ``place`` measures; ``along`` and ``fibres`` are cells of noise (down, across)."""
    shape = (place_HW.shape[0], place_HW.shape[1])
    place_HW = place_HW / np.float32(PITCH) + np.float32(rng.uniform(0, 1)) + 0.11 * smooth_noise(rng, shape, along)
    axis_HW = np.floor(place_HW)
    number_HW = (axis_HW - axis_HW.min()).astype(np.int64)
    count = int(number_HW.max()) + 1
    thickness = np.asarray(rng.normal(0.465, 0.022, count), np.float32)
    shade = np.asarray(rng.normal(1, 0.05, count), np.float32)
    slubs_HW = smooth_noise(rng, shape, along)
    fibres_HW = smooth_noise(rng, shape, fibres) + 0.7 * rng.standard_normal(shape, dtype=np.float32)
    return Yarns(
        number=number_HW,
        across=place_HW - axis_HW - np.float32(0.5),
        width=thickness.take(number_HW) + 0.045 * slubs_HW,
        colour=shade.take(number_HW) * (1 + 0.06 * slubs_HW + 0.07 * fibres_HW),
    )


def _tube(yarns: Yarns, width_HW: Plane) -> Plane:
    """Height of round yarns; far below the table beside them."""
    inside_HW = 1 - np.square(yarns.across / np.maximum(width_HW, 1e-3))
    return np.where(inside_HW > 0, np.float32(RADIUS) * np.sqrt(np.maximum(inside_HW, 0)), np.float32(-1))


def _table_colour(cloth: Cloth) -> Plane:
    return np.multiply.outer(np.asarray(TABLE, np.float32), cloth.table)


def _anywhere(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(-0.75, 0.75, 2)
    return float(x), float(y)
