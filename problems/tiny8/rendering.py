"""Renders the pictures of tiny8: coloured shapes on a dark ground, with light from a side and noise."""

import math

import numpy as np

SIDE = 32  # pixels
_SAMPLES = 2  # a pixel's side, in points that are averaged

_COLOURS = {
    "red": (215, 45, 40),
    "green": (45, 170, 70),
    "blue": (50, 90, 220),
    "yellow": (235, 205, 50),
    "purple": (150, 55, 180),
    "white": (240, 240, 240),
}


def render(figures, seed):
    """Renders figures, the later ones over the earlier.

    Args:
      figures: tuples (shape, colour, x, y, radius), in pixels from the upper left corner.
      seed: decides ground, light, tilt and noise; equal seeds give equal pictures.

    Returns:
      uint8 [32, 32, 3].
    """
    rng = np.random.default_rng(seed)
    grid = (np.arange(SIDE * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES
    points = [SIDE * _SAMPLES] * 2
    ground = rng.uniform(20, 85) + rng.uniform(-10, 10, 3)
    picture = np.broadcast_to(ground.astype(np.float32), [*points, 3])
    for shape, colour, x, y, radius in figures:
        u, v = (grid[None, :] - x) / radius, (grid[:, None] - y) / radius
        tilt = float(rng.uniform(-0.12, 0.12))  # radians
        cosine, sine = math.cos(tilt), math.sin(tilt)
        u, v = u * cosine - v * sine, u * sine + v * cosine
        paint = np.asarray(_COLOURS[colour]) + rng.uniform(-12, 12, 3)
        picture = np.where(_SHAPES[shape](u, v)[..., None], paint.astype(np.float32), picture)
    picture = sum(picture[i::_SAMPLES, j::_SAMPLES] for i, j in np.ndindex(_SAMPLES, _SAMPLES)) / _SAMPLES**2
    return _lit(picture, rng)


def area(figures):
    """How many pixels figures cover, about: their tilt is left out."""
    grid = (np.arange(SIDE * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES
    inside = [
        _SHAPES[shape]((grid[None, :] - x) / radius, (grid[:, None] - y) / radius) for shape, _, x, y, radius in figures
    ]
    return float(np.any(inside, axis=0).sum()) / _SAMPLES**2


def _lit(picture, rng):
    """Light that falls off along a random direction, with a slight tint; then noise of the sensor."""
    direction = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-1, 1, SIDE, dtype=np.float32)
    slope = across[None, :] * math.cos(direction) + across[:, None] * math.sin(direction)
    light = rng.uniform(0.75, 1.1) * (1 + rng.uniform(0, 0.2) * slope)
    picture = picture * light[..., None] * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    picture = picture + np.float32(rng.uniform(3, 10)) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


# Each shape: a function of coordinates in radii (x to the right, y down) → which points lie inside.


def _square(u, v):
    return np.maximum(abs(u), abs(v)) <= 0.84


def _triangle(u, v):
    return (v <= 0.75) & (2 * abs(u) <= 1.12 * (v + 1))


def _star(u, v):
    """Five points; between point and notch the edge is straight."""
    sector = 2 * np.pi / 5
    angle = abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)
    distance = np.hypot(u, v)
    point, notch = np.array([1.08, 0.0]), 0.42 * np.array([np.cos(sector / 2), np.sin(sector / 2)])
    edge = notch - point
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    return edge[0] * (y - point[1]) - edge[1] * (x - point[0]) >= 0


def _cross(u, v):
    a, b = abs(u), abs(v)
    return (np.minimum(a, b) <= 0.3) & (np.maximum(a, b) <= 1)


def _ring(u, v):
    distance = np.hypot(u, v)
    return (distance <= 1) & (distance >= 0.56)


def _moon(u, v):
    return (np.hypot(u, v) <= 1) & (np.hypot(u - 0.55, v) > 0.8)


_SHAPES = {
    "circle": lambda u, v: np.hypot(u, v) <= 0.95,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "diamond": lambda u, v: abs(u) / 0.72 + abs(v) <= 1.05,
    "moon": _moon,
}
