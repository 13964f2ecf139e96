"""The demo set's object: a turned metal flange on a workbench, and what can go wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from drawn.defects import Flawed, bent_line, blob, scratched, soiled
from drawn.rendering import (
    Camera,
    Lamp,
    Lighting,
    Mask,
    Plane,
    Scene,
    Surface,
    coordinates,
    fractal_noise,
    smooth_noise,
    smoothstep,
)

RIM, HUB, BORE = 0.80, 0.36, 0.20
BOLT_CIRCLE, BOLT_HOLE, BOLT_HOLES = 0.58, 0.068, 6
THICKNESS, HUB_RISE, CHAMFER = 0.19, 0.07, 0.022
METAL = (0.80, 0.79, 0.76)
MAT = (0.070, 0.076, 0.084)
DIRT = {"rust": ((0.16, 0.05, 0.015), 0.2), "oil": ((0.30, 0.25, 0.16), 0.1), "grease": ((0.40, 0.37, 0.24), 0.15)}
"""Colour and dullness of what a part can be soiled with."""


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A bolt hole, in the part's own coordinates."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A flange before its bolt holes are drilled, and the bench that it lies on."""

    bench: Surface
    blank: Surface
    solid: Mask
    x: Plane
    y: Plane
    """Coordinates of the samples in the part's own frame."""


def make_part(rng: np.random.Generator, size: int) -> Part:
    """A part with its own turning marks and tarnish; a fixture holds it, with a little play."""
    x_HW, y_HW = coordinates(size)
    shape = (x_HW.shape[0], x_HW.shape[1])
    x, y = rng.normal(0, 0.012, 2)
    angle, scale = rng.normal(0, 0.025), 1 + rng.normal(0, 0.006)
    x_HW, y_HW = x_HW - np.float32(x), y_HW - np.float32(y)
    radius_HW = np.sqrt(x_HW**2 + y_HW**2)
    grain_2HW = np.stack([x_HW, y_HW]) / np.maximum(radius_HW, 1e-3)
    cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    x_HW, y_HW = cos * x_HW + sin * y_HW, cos * y_HW - sin * x_HW
    radius_HW = radius_HW / np.float32(scale)
    tarnish_HW = 1 + 0.035 * fractal_noise(rng, shape, 5, 4)
    blank = Surface(
        height=_turned(radius_HW) + _turning_marks(rng, radius_HW) + 0.0013 * fractal_noise(rng, shape, 9, 3),
        albedo=np.multiply.outer(np.asarray(METAL, np.float32), tarnish_HW),
        metal=np.full(shape, 0.92, np.float32),
        grain=grain_2HW,
        roughness=np.full(shape, 0.07, np.float32),
    )
    solid_HW = (radius_HW < RIM) & (radius_HW > BORE)
    return Part(bench=_bench(rng, shape), blank=blank, solid=solid_HW, x=x_HW, y=y_HW)


def bolt_holes() -> list[Hole]:
    """The holes as the drawing has them."""
    angles = 2 * np.pi * (np.arange(BOLT_HOLES) + 0.5) / BOLT_HOLES
    return [Hole(x=BOLT_CIRCLE * float(np.cos(a)), y=BOLT_CIRCLE * float(np.sin(a)), radius=BOLT_HOLE) for a in angles]


def drilled(part: Part, holes: list[Hole]) -> Surface:
    """The part on its bench with these bolt holes, each with a chamfer."""
    distance_HW = _distance(part, holes)
    height_HW = part.blank.height - _chamfer(distance_HW)
    return _laid(part.bench, replace(part.blank, height=height_HW), part.solid & (distance_HW > 0))


def make_scene(part: Part, rng: np.random.Generator) -> Scene:
    """A good part under a softbox from the upper left and two weak ones; lamps and exposure drift a little."""
    warmth, strength = rng.normal(0, 0.02), rng.normal(1, 0.05)
    key, fill, back = (rng.normal(0, 0.03, 2) for _ in range(3))
    lighting = Lighting(
        lamps=(
            _lamp(-0.52 + key[0], -0.50 + key[1], 2.7 * strength, warmth, 0.09),
            _lamp(0.80 + fill[0], -0.05 + fill[1], 0.65 * strength, -warmth, 0.10),
            _lamp(0.10 + back[0], 0.85 + back[1], 0.40 * strength, -warmth, 0.12),
        ),
        ambient=0.15 + rng.normal(0, 0.01),
        occlusion=0.7,
        falloff=(rng.normal(-0.04, 0.02), rng.normal(-0.04, 0.02)),
    )
    camera = Camera(
        exposure=0.95 * (1 + rng.normal(0, 0.025)), vignetting=0.22, noise=0.012, blur=rng.uniform(0.38, 0.48)
    )
    return Scene(surface=drilled(part, bolt_holes()), lighting=lighting, camera=camera)


def scratch(rng: np.random.Generator, part: Part, good: Surface, severity: float) -> Flawed:
    """A scratch across the face, from a hairline to a gouge."""
    line = bent_line(rng, part.x, part.y, _on_face(rng), length=0.22 + 0.55 * severity, bend=0.04)
    flawed, footprint_HW = scratched(rng, good, line, width=0.009 + 0.008 * severity, depth=0.004 + 0.010 * severity)
    return _confined(good, flawed, footprint_HW & _metal(good))


def chip(rng: np.random.Generator, part: Part, good: Surface, severity: float) -> Flawed:
    """A bite out of the rim with a rough fracture around it."""
    angle, radius = rng.uniform(0, 2 * np.pi), 0.05 + 0.11 * severity
    centre = (float(np.cos(angle)) * RIM, float(np.sin(angle)) * RIM)
    patch_HW = blob(rng, part.x, part.y, centre, radius, ragged=0.22)
    shape = (patch_HW.shape[0], patch_HW.shape[1])
    rough_HW = fractal_noise(rng, shape, 40, 3)
    fracture = replace(
        good,
        height=good.height - np.clip(patch_HW * np.float32(radius * 1.1), 0, 0.08) + np.float32(0.0035) * rough_HW,
        albedo=good.albedo * (np.float32(0.75) + np.float32(0.1) * rough_HW),
        grain=np.zeros_like(good.grain),
        roughness=np.full(shape, 0.35, np.float32),
    )
    flawed = _laid(part.bench, fracture, _metal(good) & (patch_HW < 0.45))
    # Beside the gap, the bench is rid of the rim's shadow.
    rim_HW = part.x**2 + part.y**2 < (RIM + 0.05) ** 2
    return _confined(good, flawed, (patch_HW > 0) & _metal(good) | (patch_HW > 0.4) & rim_HW)


def contamination(rng: np.random.Generator, part: Part, good: Surface, severity: float) -> Flawed:
    """Rust, oil or grease on the face."""
    colour, matt = DIRT[str(rng.choice(sorted(DIRT)))]
    patch_HW = blob(rng, part.x, part.y, _on_face(rng), radius=0.05 + 0.12 * severity, ragged=0.3)
    flawed, footprint_HW = soiled(rng, good, patch_HW, colour, density=0.6 + 0.4 * severity, matt=matt)
    return _confined(good, flawed, footprint_HW & _metal(good))


def misdrilled(rng: np.random.Generator, part: Part, good: Surface, severity: float) -> Flawed:
    """A bolt hole that is missing, in the wrong place, or too small."""
    holes = bolt_holes()
    planned = holes.pop(int(rng.integers(len(holes))))
    kind = rng.choice(["missing", "displaced", "small"])
    actual = []
    if kind == "displaced":
        angle, shift = rng.uniform(0, 2 * np.pi), 0.03 + 0.06 * severity
        x, y = shift * float(np.cos(angle)), shift * float(np.sin(angle))
        actual = [replace(planned, x=planned.x + x, y=planned.y + y)]
    elif kind == "small":
        actual = [replace(planned, radius=planned.radius * (0.8 - 0.35 * severity))]
    # Light falls differently into the whole of both holes, and the lens blurs their chamfers over a pixel.
    margin = CHAMFER + 2 * 2 / len(part.x)
    footprint_HW = _distance(part, [planned, *actual]) < margin
    return _confined(good, drilled(part, [*holes, *actual]), footprint_HW)


FLAWS: dict[str, Callable[[np.random.Generator, Part, Surface, float], Flawed]] = {
    "chip": chip,
    "contamination": contamination,
    "misdrilled": misdrilled,
    "scratch": scratch,
}


def _distance(part: Part, holes: list[Hole]) -> Plane:
    """Distance of each sample from the edge of the nearest hole; negative inside."""
    distance_HW = np.full_like(part.x, np.inf)
    for hole in holes:
        radius_HW = np.sqrt((part.x - np.float32(hole.x)) ** 2 + (part.y - np.float32(hole.y)) ** 2)
        distance_HW = np.minimum(distance_HW, radius_HW - np.float32(hole.radius))
    return distance_HW


def _on_face(rng: np.random.Generator) -> tuple[float, float]:
    """A place on the face, clear of the bolt holes."""
    while True:
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(HUB, RIM - 0.08)
        x, y = float(radius * np.cos(angle)), float(radius * np.sin(angle))
        if all(np.hypot(x - hole.x, y - hole.y) > hole.radius + CHAMFER for hole in bolt_holes()):
            return x, y


def _metal(surface: Surface) -> Mask:
    return np.asarray(surface.metal > 0)


def _confined(good: Surface, flawed: Surface, footprint_HW: Mask) -> Flawed:
    return _laid(good, flawed, footprint_HW), footprint_HW


def _laid(below: Surface, above: Surface, where_HW: Mask) -> Surface:
    """``above`` where the mask says so, ``below`` elsewhere."""
    return Surface(
        height=np.where(where_HW, above.height, below.height),
        albedo=np.where(where_HW, above.albedo, below.albedo),
        metal=np.where(where_HW, above.metal, below.metal),
        grain=np.where(where_HW, above.grain, below.grain),
        roughness=np.where(where_HW, above.roughness, below.roughness),
    )


def _lamp(x: float, y: float, strength: float, warmth: float, size: float) -> Lamp:
    up = 0.95
    length = float(np.sqrt(x * x + y * y + up * up))
    colour = (strength * (1 + warmth), strength, strength * (1 - warmth))
    return Lamp(direction=(x / length, y / length, up / length), colour=colour, size=size)


def _turned(radius_HW: Plane) -> Plane:
    """Height of the part without its holes and marks."""
    height_HW = np.full_like(radius_HW, THICKNESS)
    height_HW -= _chamfer(RIM - radius_HW)
    height_HW += HUB_RISE * smoothstep((HUB - radius_HW) / 0.05)
    height_HW -= _chamfer(radius_HW - BORE)
    groove_HW = np.abs(radius_HW - 0.715) / 0.014
    height_HW -= 0.016 * smoothstep(1.5 - groove_HW)
    return height_HW


def _chamfer(distance_HW: Plane) -> Plane:
    """How much lower the surface is near an edge: rounded, for a crease would glint in single samples."""
    nearness_HW: Plane = np.clip(1 - distance_HW / np.float32(CHAMFER), 0, 1)
    return np.float32(0.55 * CHAMFER) * nearness_HW**2


def _turning_marks(rng: np.random.Generator, radius_HW: Plane) -> Plane:
    """Fine concentric grooves of the cutting tool."""
    count = 120
    marks = rng.standard_normal(count)
    marks += 2 * np.interp(np.arange(count) / 4, np.arange(count // 4 + 1), rng.standard_normal(count // 4 + 1))
    return np.float32(0.0007) * np.interp(radius_HW * count, np.arange(count), marks).astype(np.float32)


def _bench(rng: np.random.Generator, shape: tuple[int, int]) -> Surface:
    """A dull rubber mat with a fine grain."""
    fine_HW = rng.standard_normal(shape, dtype=np.float32)
    shade_HW = 1 + 0.05 * fractal_noise(rng, shape, 4, 3) + 0.05 * fine_HW
    zero_HW = np.zeros(shape, np.float32)
    return Surface(
        height=0.0012 * fine_HW + 0.002 * smooth_noise(rng, shape, (60, 60)),
        albedo=np.multiply.outer(np.asarray(MAT, np.float32), shade_HW),
        metal=zero_HW,
        grain=np.stack([zero_HW, zero_HW]),
        roughness=zero_HW + np.float32(0.4),
    )
