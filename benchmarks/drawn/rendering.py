"""A small renderer for the demo set: a surface seen from above, lit by a few lamps, photographed by a camera.

Lengths are in half image sides: x to the right and y down run from -1 to 1, height points to the camera.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Plane = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

SUPERSAMPLING = 2
"""Samples along each side of a pixel of the photograph."""

_NEARNESS = 0.16  # how much the direction to the camera and the lamps changes from the middle to the border
_SHADOW_STEPS = 14
_PENUMBRA = 0.28  # height, relative to the highest, over which the lamp sets behind an edge
_SHADOW_LIGHT = 0.1  # fraction of the lamp that still reaches a shadow from all around
_STEEPEST = 2.0  # slope above which a surface counts as a wall
_GROOVE_SLOPE = 0.45  # spread of the slopes inside grooves


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What light falls on, sampled on a square grid; planes of shape ``(H, W)`` but for two."""

    height: Plane
    albedo: Plane
    """``(3, H, W)``: reflected fraction of linear red, green and blue."""
    metal: Plane
    """Fraction of the light that is mirrored rather than scattered."""
    grain: Plane
    """``(2, H, W)``: unit vector (x, y) across fine grooves, such as turning marks; zero where there are none."""
    roughness: Plane
    """Spread of the slopes of the microscopic surface (along the grooves, where there are some)."""


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """A lamp far away, or a softbox if ``size`` is large."""

    direction: tuple[float, float, float]
    """Unit vector (x, y, up) to the lamp."""
    colour: tuple[float, float, float]
    size: float


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """Lamps, the first of which casts shadows, and light from everywhere."""

    lamps: tuple[Lamp, ...]
    ambient: float
    occlusion: float
    """How much a recess is darker than what is around it."""
    falloff: tuple[float, float] = (0.0, 0.0)
    """Relative change of the light from the middle to the right border and to the lower one."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How light becomes an image."""

    exposure: float
    vignetting: float
    noise: float
    """Standard deviation of the noise at middle grey, as a fraction of white."""
    blur: float
    """Standard deviation of the lens's blur, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a photograph depends on, but for the noise."""

    surface: Surface
    lighting: Lighting
    camera: Camera


def coordinates(size: int) -> tuple[Plane, Plane]:
    """``(x_HW, y_HW)`` of the samples of an image of ``size`` pixels a side."""
    samples = size * SUPERSAMPLING
    axis = ((np.arange(samples, dtype=np.float32) + 0.5) * np.float32(2 / samples)) - np.float32(1)
    x_HW, y_HW = np.meshgrid(axis, axis)
    return x_HW, y_HW


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> Plane:
    """Noise of variance about 1/3 without detail finer than a cell; ``cells`` counts them down and across."""
    coarse = rng.standard_normal((int(cells[0]) + 4, int(cells[1]) + 4), dtype=np.float32)
    return resized(coarse, shape)


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], cells: float, octaves: int = 4) -> Plane:
    """Noise at several scales, each half as large and half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        count = min(cells * 2**octave, shape[0])
        total += smooth_noise(rng, shape, (count, count)) / np.float32(2**octave)
    return total


def resized(plane_HW: Plane, shape: tuple[int, int]) -> Plane:
    """A plane interpolated (bicubic) to another shape."""
    image = Image.fromarray(plane_HW).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


def smoothstep(x: Plane) -> Plane:
    """0 up to 0, 1 from 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def render(surface: Surface, lighting: Lighting, blur: float) -> Plane:
    """Linear light ``(3, H, W)`` that reaches each pixel of the camera, blurred by its lens."""
    slope_y_HW, slope_x_HW = _slopes(surface.height)
    upright_HW = 1 / np.sqrt(1 + slope_x_HW**2 + slope_y_HW**2)
    coarse_HW = _pixels(surface.height)
    open_HW = _openness(surface.height, coarse_HW, lighting.occlusion)
    light_CHW = np.stack([open_HW * np.float32(lighting.ambient)] * 3)
    for index, lamp in enumerate(lighting.lamps):
        x, y, up = lamp.direction
        lamp_HW = np.maximum(0, (up - x * slope_x_HW - y * slope_y_HW) * upright_HW)
        if surface.metal.any():
            lamp_HW += surface.metal * (_mirrored(surface, lamp, slope_x_HW, slope_y_HW) - lamp_HW)
        lamp_HW *= _shadow(surface.height, coarse_HW, lamp) if index == 0 else open_HW
        for channel_HW, strength in zip(light_CHW, lamp.colour, strict=True):
            channel_HW += np.float32(strength) * lamp_HW
    light_CHW *= surface.albedo
    pixels_CHW = _pixels(light_CHW)
    axis = np.linspace(-1, 1, pixels_CHW.shape[1], dtype=np.float32)
    right, down = lighting.falloff
    pixels_CHW *= 1 + np.float32(right) * axis + np.float32(down) * axis[:, None]
    return np.asarray(ndimage.gaussian_filter(pixels_CHW, (0, blur, blur), truncate=3.0))


def photograph(light_CHW: Plane, camera: Camera, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """An 8-bit sRGB image ``(H, W, 3)`` from linear light: exposure, vignetting, film curve, sensor noise."""
    axis = np.linspace(-1, 1, light_CHW.shape[1], dtype=np.float32)
    falloff_HW = 1 - np.float32(camera.vignetting) * (axis[:, None] ** 2 + axis**2) / 2
    exposed_CHW = 1 - np.exp(-np.float32(camera.exposure) * light_CHW * falloff_HW)
    noise_CHW = rng.standard_normal(exposed_CHW.shape, dtype=np.float32)
    # Interpolating the colours of a sensor's mosaic makes its noise a little coarser than a pixel.
    noise_CHW += 0.5 * (np.roll(noise_CHW, 1, 1) + np.roll(noise_CHW, 1, 2))
    exposed_CHW += np.float32(camera.noise) * np.sqrt(np.maximum(exposed_CHW, 0) * 0.5 + 0.01) * noise_CHW
    image_CHW = 255 * _srgb(np.clip(exposed_CHW, 0, 1)) + 0.5
    return np.ascontiguousarray(image_CHW.transpose(1, 2, 0).astype(np.uint8))


def _pixels(samples: Plane) -> Plane:
    """Means of the samples ``(..., H, W)`` of each pixel."""
    step = SUPERSAMPLING
    parts = [samples[..., row::step, column::step] for row in range(step) for column in range(step)]
    return np.asarray(sum(parts[1:], start=parts[0]) / np.float32(step * step))


def _slopes(height_HW: Plane) -> tuple[Plane, Plane]:
    """Slopes along y and x; beside a wall, which has no area seen from above, the slope on its flatter side."""
    return _slopes_down(height_HW), _slopes_down(height_HW.T).T


def _slopes_down(height_HW: Plane) -> Plane:
    rise_HW = np.diff(height_HW, axis=0) * np.float32(height_HW.shape[0] / 2)
    before_HW = np.concatenate([rise_HW[:1], rise_HW])
    after_HW = np.concatenate([rise_HW, rise_HW[-1:]])
    flatter_HW = np.where(np.abs(before_HW) < np.abs(after_HW), before_HW, after_HW)
    middle_HW = (before_HW + after_HW) / 2
    slope_HW = np.where(np.abs(middle_HW) > _STEEPEST, flatter_HW, middle_HW)
    return np.clip(slope_HW, -_STEEPEST, _STEEPEST)


def _srgb(linear: Plane) -> Plane:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-6) ** (1 / 2.4) - 0.055)


def _mirrored(surface: Surface, lamp: Lamp, slope_x_HW: Plane, slope_y_HW: Plane) -> Plane:
    """Highlight of one lamp: a Gaussian in the slopes of facets that would mirror it, wider across grooves."""
    x, y, up = lamp.direction
    axis = np.linspace(-_NEARNESS, _NEARNESS, surface.height.shape[0], dtype=np.float32)
    # A facet mirrors the lamp to the camera if its normal is the half vector; its slopes are minus that vector's.
    off_x_HW = slope_x_HW + (x / (1 + up) - axis)
    off_y_HW = slope_y_HW + (y / (1 + up) - axis[:, None])
    across_HW = (off_x_HW * surface.grain[0] + off_y_HW * surface.grain[1]) ** 2
    narrow_HW = surface.roughness**2 + np.float32(lamp.size**2)
    # With no grooves, `across` is zero, and the highlight as wide in every direction.
    along_HW = off_x_HW**2 + off_y_HW**2 - across_HW
    return np.asarray(np.exp(-along_HW / narrow_HW - across_HW / (narrow_HW + np.float32(_GROOVE_SLOPE**2))))


def _openness(height_HW: Plane, coarse_HW: Plane, strength: float) -> Plane:
    """1 in the open, less in recesses and beside walls."""
    open_HW = np.ones_like(height_HW)
    for radius in (0.02, 0.08):
        around = ndimage.gaussian_filter(coarse_HW, radius * coarse_HW.shape[0] / 2, truncate=2.5, mode="nearest")
        depth_HW = resized(around, (height_HW.shape[0], height_HW.shape[1])) - height_HW
        open_HW -= np.clip(depth_HW * np.float32(strength / (radius + 0.03)), 0, 0.5 * strength)
    least_HW: Plane = np.maximum(open_HW, 0.15)
    return least_HW


def _shadow(height_HW: Plane, coarse_HW: Plane, lamp: Lamp) -> Plane:
    """Fraction of the lamp that each sample sees."""
    side = coarse_HW.shape[0]
    x, y, up = lamp.direction
    level = float(np.hypot(x, y))
    reach = float(coarse_HW.max() - coarse_HW.min()) * level / up
    margin = int(np.ceil(reach * side / 2)) + 2
    padded = np.pad(coarse_HW, margin, mode="edge")
    # The height from which a point just sees the lamp: the highest of the rays that graze what stands in the way.
    horizon = np.full_like(coarse_HW, -1)
    for distance in reach * (np.arange(_SHADOW_STEPS) + 1) / _SHADOW_STEPS:
        column = margin + round(x / level * distance * side / 2)
        row = margin + round(y / level * distance * side / 2)
        grazing = padded[row : row + side, column : column + side] - np.float32(distance * up / level)
        horizon = np.maximum(horizon, grazing)
    horizon_HW = resized(horizon, (height_HW.shape[0], height_HW.shape[1]))
    penumbra = np.float32(_PENUMBRA) * (coarse_HW.max() - coarse_HW.min())
    lit_HW: Plane = np.clip(1 + (height_HW - horizon_HW) / penumbra, _SHADOW_LIGHT, 1)
    return lit_HW
