"""Flaws that more than one surface of the demo set can bear, drawn into height and colour before light falls on them.

A flaw returns the flawed surface and its footprint: the samples that it altered, and no others.
"""

from dataclasses import dataclass, replace

import numpy as np

from drawn.rendering import Mask, Plane, Surface, fractal_noise, smooth_noise, smoothstep

Colour = tuple[float, float, float]
Flawed = tuple[Surface, Mask]


@dataclass(frozen=True, kw_only=True)
class Line:
    """Each sample's place relative to a gently bent line."""

    distance: Plane
    """Signed distance from the line."""
    along: Plane
    """-1 at one end, 0 in the middle, 1 at the other end."""
    direction: tuple[float, float]


def bent_line(
    rng: np.random.Generator, x_HW: Plane, y_HW: Plane, centre: tuple[float, float], length: float, bend: float
) -> Line:
    """A line in a random direction through ``centre``; ``bend`` is how far it strays sideways."""
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x_HW, y_HW = x_HW - np.float32(centre[0]), y_HW - np.float32(centre[1])
    along_HW = (cos * x_HW + sin * y_HW) / np.float32(length / 2)
    sideways_HW = cos * y_HW - sin * x_HW
    course_HW, slope_HW = np.zeros_like(along_HW), np.zeros_like(along_HW)
    for frequency in (1.3, 2.9, 5.3):
        amplitude = np.float32(rng.normal(0, bend / frequency))
        phase_HW = np.float32(frequency) * along_HW + np.float32(rng.uniform(0, 2 * np.pi))
        course_HW += amplitude * np.sin(phase_HW)
        slope_HW += amplitude * np.float32(frequency * 2 / length) * np.cos(phase_HW)
    distance_HW = (sideways_HW - course_HW) / np.sqrt(1 + slope_HW**2)
    return Line(distance=distance_HW, along=along_HW, direction=(float(cos), float(sin)))


def blob(
    rng: np.random.Generator, x_HW: Plane, y_HW: Plane, centre: tuple[float, float], radius: float, ragged: float
) -> Plane:
    """A roundish patch: 1 in its middle, 0 at its ragged outline, negative outside."""
    angle, stretch = rng.uniform(0, np.pi), np.float32(rng.uniform(1, 1.5))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x_HW, y_HW = x_HW - np.float32(centre[0]), y_HW - np.float32(centre[1])
    distance_HW = np.hypot((cos * x_HW + sin * y_HW) / stretch, (cos * y_HW - sin * x_HW) * stretch)
    noise_HW = fractal_noise(rng, (x_HW.shape[0], x_HW.shape[1]), 1.2 / radius, 4)
    return 1 - distance_HW / np.float32(radius) + np.float32(ragged) * np.clip(noise_HW, -1.5, 1.5)


def scratched(rng: np.random.Generator, surface: Surface, line: Line, width: float, depth: float) -> Flawed:
    """A groove with a raised rim that breaks the grain; it fades in and out along its length."""
    shape = (line.along.shape[0], line.along.shape[1])
    unevenness_HW = np.clip(0.75 + 0.5 * smooth_noise(rng, shape, (24, 24)), 0.35, 1.3)
    pressure_HW = smoothstep((1 - np.abs(line.along)) * 3) * unevenness_HW
    across_HW = np.abs(line.distance) / (np.float32(width) * np.sqrt(np.maximum(pressure_HW, 1e-3)))
    footprint_HW = (across_HW < 1) & (pressure_HW > 0.12)
    profile_HW = np.where(across_HW < 0.65, -np.cos(across_HW * np.float32(np.pi / 1.3)), 0.4 * (1 - across_HW))
    height_HW = surface.height + np.float32(depth) * pressure_HW * profile_HW
    cos, sin = line.direction
    grain_2HW = np.stack([np.full(shape, -sin, np.float32), np.full(shape, cos, np.float32)])
    bright_HW = 1 + np.float32(8 * depth) * pressure_HW * np.clip(1 - across_HW, 0, 1)
    flawed = replace(
        surface,
        height=np.where(footprint_HW, height_HW, surface.height),
        albedo=np.where(footprint_HW, surface.albedo * bright_HW, surface.albedo),
        metal=np.where(footprint_HW, surface.metal * (1 - 0.4 * np.clip(pressure_HW, 0, 1)), surface.metal),
        grain=np.where(footprint_HW, grain_2HW, surface.grain),
        roughness=np.where(footprint_HW, np.float32(0.2), surface.roughness),
    )
    return flawed, footprint_HW


def soiled(
    rng: np.random.Generator, surface: Surface, patch_HW: Plane, colour: Colour, density: float, matt: float
) -> Flawed:
    """Dirt of a ``colour`` on a patch (see `blob`), uneven and densest along its outline where it dried."""
    shape = (patch_HW.shape[0], patch_HW.shape[1])
    footprint_HW = patch_HW > 0
    cover_HW = smoothstep(patch_HW * 9) * (0.72 + 0.35 * np.exp(-np.square((patch_HW - 0.16) / 0.09)))
    cover_HW = np.clip(
        density * cover_HW * (1 + (0.35 + 0.1 * matt) * fractal_noise(rng, shape, 10 + 20 * matt, 4)), 0, 1
    )
    cover_HW = np.where(footprint_HW, np.maximum(cover_HW, 0.45 * density), 0).astype(np.float32)
    tint_CHW = 1 + (np.asarray(colour, np.float32)[:, None, None] - 1) * cover_HW
    flawed = replace(
        surface,
        albedo=surface.albedo * tint_CHW,
        metal=surface.metal * (1 - np.float32(matt) * cover_HW**2),
        roughness=surface.roughness + np.float32(0.12 * matt) * cover_HW,
    )
    return flawed, footprint_HW
