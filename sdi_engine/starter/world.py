"""The starter prior's world: twelve kinds of thing in eight colours, built as coloured triangle meshes.

These meshes are the truth that the starter prior is trained on (through `render`), and that results can be compared
with. Pose: Z up, the thing's front faces -Y (so its own left hand is on +X, right in the picture from the front), the
bounding box centred at the origin, scaled to touch a vertical cylinder of radius 0.6 and height 1.

A new kind is one function decorated with `@thing("name")`, from (named colour, random generator) to coloured parts.
The named colour covers most of the thing; the other parts have natural colours of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .solids import Solid, arc, box, cone, cylinder, ellipsoid, lathe, prism, tube

Colour = tuple[float, float, float]
"""Red, green, blue in 0...1, as displayed (sRGB)."""

CYLINDER_RADIUS = 0.6
CYLINDER_HEIGHT = 1.0

COLOURS: dict[str, Colour] = {
    "red": (0.86, 0.12, 0.10),
    "orange": (0.97, 0.51, 0.06),
    "yellow": (0.98, 0.86, 0.16),
    "green": (0.16, 0.63, 0.20),
    "blue": (0.12, 0.30, 0.86),
    "purple": (0.50, 0.17, 0.72),
    "pink": (0.98, 0.56, 0.76),
    "white": (0.95, 0.95, 0.94),
}

CREAM: Colour = (0.96, 0.92, 0.82)
BLACK: Colour = (0.10, 0.10, 0.11)
GREY: Colour = (0.55, 0.56, 0.58)
STEEL: Colour = (0.36, 0.38, 0.42)
WOOD: Colour = (0.48, 0.30, 0.15)
COFFEE: Colour = (0.27, 0.14, 0.07)
TERRACOTTA: Colour = (0.70, 0.37, 0.22)
SLATE: Colour = (0.30, 0.27, 0.30)
GLASS: Colour = (0.60, 0.84, 0.95)
LIGHT: Colour = (1.00, 0.93, 0.55)
CARROT: Colour = (0.98, 0.45, 0.05)
TAIL_LIGHT: Colour = (0.75, 0.03, 0.05)

Part = tuple[Solid, Colour]
Builder = Callable[[Colour, np.random.Generator], list[Part]]

_BUILDERS: dict[str, Builder] = {}


@dataclass(frozen=True)
class Instance:
    """One thing as a mesh in the canonical pose.

    Attributes:
        kind: one of `things()`.
        colour: one of `COLOURS`.
        vertices: (V, 3) float32.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        face_colors: (F, 3) float32 in 0...1, sRGB.
    """

    kind: str
    colour: str
    vertices: np.ndarray
    faces: np.ndarray
    face_colors: np.ndarray


def things() -> tuple[str, ...]:
    """The names of all kinds of thing, in the order of their definition."""
    return tuple(_BUILDERS)


def make_thing(kind: str, colour: str, rng: np.random.Generator) -> Instance:
    """Builds one thing; `rng` chooses its proportions.

    Raises:
        ValueError: for a kind or a colour that this world does not have.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"there is no {kind!r} in the starter world; it has {', '.join(_BUILDERS)}")
    if colour not in COLOURS:
        raise ValueError(f"the starter world has no colour {colour!r}; it has {', '.join(COLOURS)}")
    parts = _BUILDERS[kind](COLOURS[colour], rng)
    offsets = np.cumsum([0] + [len(solid.vertices) for solid, _ in parts[:-1]])
    vertices = np.concatenate([solid.vertices for solid, _ in parts])
    faces = np.concatenate([solid.faces + offset for (solid, _), offset in zip(parts, offsets, strict=True)])
    colors = np.concatenate([np.tile(colour_, (len(solid.faces), 1)) for solid, colour_ in parts])
    return Instance(kind, colour, _canonical(vertices).astype(np.float32), faces, colors.astype(np.float32))


def thing(kind: str) -> Callable[[Builder], Builder]:
    """Registers a builder under a name."""

    def register(builder: Builder) -> Builder:
        _BUILDERS[kind] = builder
        return builder

    return register


@thing("mug")
def _mug(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """Filled with coffee, the handle on +X."""
    radius, height, wall = _vary(rng, 0.36, 0.10), _vary(rng, 0.85, 0.08), 0.07
    reach, size = _vary(rng, 0.26, 0.12), 0.30 * height
    inner = radius - wall
    body = lathe([(radius * 0.94, 0), (radius, 0.05), (radius, height), (inner, height), (inner, height - 0.12)])
    handle = tube(arc((radius - 0.04, height * 0.5), (reach, size), -90, 90), 0.062)
    coffee = cylinder(inner + 0.01, 0.02).moved(z=height - 0.12)
    return [(body, colour), (handle, _darker(colour)), (coffee, COFFEE)]


@thing("chair")
def _chair(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """Open to the front, the backrest on +Y."""
    width, seat, back = _vary(rng, 0.56, 0.08), _vary(rng, 0.42, 0.10), _vary(rng, 0.52, 0.10)
    leg, thickness = 0.085, 0.10
    x = (width - leg) / 2
    legs = [(box(leg, leg, seat).moved(sx * x, sy * x), WOOD) for sx in (-1, 1) for sy in (-1, 1)]
    cushion = box(width + 0.04, width + 0.04, thickness).moved(z=seat)
    rest = box(width + 0.04, 0.09, back).moved(y=x, z=seat + thickness)
    return [*legs, (cushion, colour), (rest, _darker(colour, 0.88))]


@thing("table")
def _table(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """Longer along X than along Y; a drawer with a knob in the front."""
    width, depth, height = _vary(rng, 1.05, 0.06), _vary(rng, 0.68, 0.10), _vary(rng, 0.56, 0.10)
    leg, apron = 0.095, 0.17
    x, y = width / 2 - 0.10, depth / 2 - 0.10
    legs = [(box(leg, leg, height).moved(sx * x, sy * y), WOOD) for sx in (-1, 1) for sy in (-1, 1)]
    top = box(width, depth, 0.09).moved(z=height)
    frame = box(2 * x, 2 * y, apron).moved(z=height - apron)
    drawer = box(x * 1.1, 0.05, apron * 0.95).moved(y=-y - 0.01, z=height - apron)
    knob = ellipsoid(0.05).moved(y=-y - 0.05, z=height - apron / 2)
    return [*legs, (top, colour), (frame, _darker(colour, 0.8)), (drawer, CREAM), (knob, BLACK)]


@thing("house")
def _house(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """The gable and the door in front, windows at the sides and high in the back, the chimney on +X."""
    width, depth = _vary(rng, 0.70, 0.08), _vary(rng, 0.66, 0.08)
    wall, gable, eave = _vary(rng, 0.50, 0.10), _vary(rng, 0.36, 0.10), 0.07
    x, y = width / 2, depth / 2
    body = prism([(-x, 0), (x, 0), (x, wall), (0, wall + gable), (-x, wall)], depth)
    slope = gable / x
    roofs = []
    for side in (-1, 1):
        outline = [(0.0, wall + gable), (side * (x + eave), wall - slope * eave)]
        outline = outline + [(px, pz + 0.09) for px, pz in reversed(outline)]
        roofs.append((prism(outline if side > 0 else outline[::-1], depth + 0.12), SLATE))
    chimney = box(0.13, 0.13, gable + 0.02).moved(x * 0.55, y * 0.25, wall + 0.12)
    door = box(0.20, 0.06, 0.32).moved(0, -y)
    window = box(0.20, 0.06, 0.20)
    return [
        (body, colour),
        *roofs,
        (chimney, TERRACOTTA),
        (door, WOOD),
        (window.moved(0, -y, wall + 0.01), GLASS),
        (window.moved(0, y, wall * 0.55), GLASS),
        (window.turned("z", 90).moved(x, 0, wall * 0.38), GLASS),
        (window.turned("z", 90).moved(-x, 0, wall * 0.38), GLASS),
    ]


@thing("mushroom")
def _mushroom(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """A dotted cap on a pale stem."""
    cap, rise = _vary(rng, 0.50, 0.08), _vary(rng, 0.40, 0.12)
    stem, height = _vary(rng, 0.17, 0.15), _vary(rng, 0.48, 0.10)
    angles = np.linspace(0, np.pi / 2, 14)[:-1]
    dome = [(cap * float(np.cos(a)), rise * float(np.sin(a))) for a in angles]
    hat = lathe([(stem * 0.8, -0.02), (cap * 0.92, -0.05), *dome, (0.0, rise)]).moved(z=height)
    stalk = lathe([(stem * 1.15, 0), (stem * 1.2, 0.06), (stem, height * 0.5), (stem * 0.95, height + 0.02)])
    dots = [ellipsoid(0.12, 0.12, 0.05).moved(z=height + rise)]
    for ring, (polar, count) in enumerate(((32.0, 5), (68.0, 0))):
        for k in range(count):
            tilt = np.deg2rad(polar)
            dot = ellipsoid(0.115, 0.115, 0.05).turned("y", 90.0 - polar)
            dot = dot.moved(cap * float(np.cos(tilt)), 0, height + rise * float(np.sin(tilt)))
            dots.append(dot.turned("z", -90 + 360 * k / count + 30 * ring))
    dot_colour = _unlike(colour, COLOURS["white"], TERRACOTTA)
    return [(hat, colour), (stalk, CREAM), *((dot, dot_colour) for dot in dots)]


@thing("car")
def _car(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """Its bonnet and headlights in front (-Y), red lights at the back."""
    length, width = _vary(rng, 1.00, 0.04), _vary(rng, 0.58, 0.06)
    wheel, belt, cabin = _vary(rng, 0.145, 0.08), _vary(rng, 0.28, 0.10), _vary(rng, 0.26, 0.10)
    y, low = length / 2, wheel * 0.75
    belt += low
    # Outlines run along -Y in their x; a quarter turn about z brings them there.
    side = [(-y, low), (y * 0.96, low), (y, belt * 0.72), (y * 0.86, belt * 0.95), (y * 0.3, belt), (-y, belt)]
    glass = [(-y * 0.86, belt - 0.02), (y * 0.38, belt - 0.02), (y * 0.10, belt + cabin), (-y * 0.66, belt + cabin)]
    parts: list[Part] = [
        (prism(side, width).turned("z", -90), colour),
        (prism(glass, width * 0.86).turned("z", -90), GLASS),
        (box(width * 0.84, y * 0.72, 0.055).moved(0, y * 0.28, belt + cabin - 0.005), colour),
    ]
    for sy in (-1, 1):
        for sx in (-1, 1):
            tyre = cylinder(wheel, 0.12).moved(z=-0.06).turned("y", 90)
            hub = cylinder(wheel * 0.5, 0.14).moved(z=-0.07).turned("y", 90)
            place = (sx * (width / 2 - 0.03), sy * y * 0.60, wheel)
            parts += [(tyre.moved(*place), BLACK), (hub.moved(*place), GREY)]
    for sx in (-1, 1):
        lamp = ellipsoid(0.075, 0.05, 0.07)
        parts.append((lamp.moved(sx * width * 0.32, -y * 0.97, belt * 0.74), LIGHT))
        rear = box(0.13, 0.04, 0.09).moved(sx * width * 0.33, y, belt * 0.72)
        parts.append((rear, TAIL_LIGHT))
    bumper = box(width * 0.98, 0.06, 0.06).moved(0, 0, low)
    parts += [(bumper.moved(y=-y * 0.97), GREY), (bumper.moved(y=y), GREY)]
    return parts


@thing("rocket")
def _rocket(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """Standing on four fins, a round window in front."""
    radius, height, fin = _vary(rng, 0.22, 0.10), _vary(rng, 0.62, 0.06), _vary(rng, 0.25, 0.12)
    nose = _vary(rng, 0.32, 0.10)
    body = lathe([(radius * 0.8, 0.10), (radius, 0.30), (radius, height), (radius * 0.97, height + 0.02)])
    tip = lathe(
        [
            (radius, height),
            (radius * 0.82, height + nose * 0.4),
            (radius * 0.45, height + nose * 0.75),
            (0.0, height + nose),
        ]
    )
    nozzle = cylinder(radius * 0.75, 0.12, top=0.7).moved(z=0.02)
    accent = _unlike(colour, COLOURS["white"], COLOURS["red"])
    parts: list[Part] = [(body, colour), (tip, accent), (nozzle, STEEL)]
    outer = radius + fin
    outline = [(radius * 0.5, 0.12), (outer, -0.02), (outer, 0.12), (radius * 0.8, 0.42)]
    for k in range(4):
        parts.append((prism(outline, 0.07).turned("z", 90 * k), _darker(colour, 0.62)))
    window = cylinder(0.105, 0.06).turned("x", 90).moved(0, -radius + 0.03, height * 0.80)
    rim = cylinder(0.14, 0.04).turned("x", 90).moved(0, -radius + 0.03, height * 0.80)
    return [*parts, (rim, STEEL), (window, GLASS)]


@thing("tree")
def _tree(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """A round, lumpy crown on a brown trunk."""
    crown, trunk, height = _vary(rng, 0.32, 0.08), _vary(rng, 0.085, 0.12), _vary(rng, 0.42, 0.10)
    centre = height + crown * 0.75
    parts: list[Part] = [
        (lathe([(trunk * 1.5, 0), (trunk, 0.10), (trunk * 0.9, centre)]), WOOD),
        (ellipsoid(crown).moved(z=centre), colour),
    ]
    turn = rng.uniform(0, 360)
    for k in range(5):
        lump = ellipsoid(crown * _vary(rng, 0.58, 0.10)).moved(
            crown * 0.72, 0, centre + crown * (0.15 if k % 2 else -0.25)
        )
        parts.append((lump.turned("z", turn + 72 * k), _darker(colour, 0.94 if k % 2 else 0.86)))
    parts.append((ellipsoid(crown * 0.62).moved(z=centre + crown * 0.62), _lighter(colour)))
    return parts


@thing("cactus")
def _cactus(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """In a pot; the arm on +X sits higher than the one on -X."""
    radius, height = _vary(rng, 0.155, 0.10), _vary(rng, 0.60, 0.08)
    pot, pot_height = _vary(rng, 0.24, 0.10), _vary(rng, 0.26, 0.10)
    arm = radius * 0.68
    reach = radius + _vary(rng, 0.16, 0.12)
    parts: list[Part] = [
        (cylinder(pot * 0.75, pot_height, top=1 / 0.75), TERRACOTTA),
        (cylinder(pot * 1.14, 0.08).moved(z=pot_height - 0.05), _darker(TERRACOTTA)),
        (tube([(0, 0, pot_height - 0.04), (0, 0, pot_height + height)], radius), colour),
        (ellipsoid(radius).moved(z=pot_height + height), colour),
    ]
    for side, elbow, lift in ((1, 0.52, 0.26), (-1, 0.30, 0.22)):
        z = pot_height + elbow * height
        bend = arc((reach - 0.10, z + 0.10), (0.10, 0.10), -90, 0, 8)
        path = [(0.0, 0.0, z), *bend, (reach, 0.0, z + lift)]
        limb = tube(path, arm)
        tip = ellipsoid(arm).moved(reach, 0, z + lift)
        for solid in (limb, tip):
            parts.append((solid if side > 0 else solid.turned("z", 180), _darker(colour, 0.88)))
    flower = _unlike(colour, COLOURS["pink"], COLOURS["yellow"])
    parts.append((ellipsoid(0.085, 0.085, 0.06).moved(z=pot_height + height + radius), flower))
    return parts


@thing("lamp")
def _lamp(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """A table lamp: a wide shade on a dark foot, a switch in front."""
    shade, rise = _vary(rng, 0.38, 0.08), _vary(rng, 0.42, 0.10)
    stem, foot = _vary(rng, 0.48, 0.08), _vary(rng, 0.24, 0.10)
    top = _vary(rng, 0.55, 0.12)
    return [
        (lathe([(foot, 0), (foot, 0.07), (foot * 0.55, 0.13)]), STEEL),
        (cylinder(0.055, stem + 0.1).moved(z=0.08), STEEL),
        (cylinder(shade, rise, top=top).moved(z=stem), colour),
        (cylinder(shade * 0.9, 0.02).moved(z=stem - 0.012), LIGHT),
        (cylinder(shade * top * 0.8, 0.02).moved(z=stem + rise - 0.005), LIGHT),
        (ellipsoid(0.06).moved(0, -foot * 0.75, 0.10), COLOURS["red"]),
    ]


@thing("snowman")
def _snowman(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """Three balls, a black hat, and a face in front with a long nose."""
    low, middle, head = _vary(rng, 0.34, 0.08), _vary(rng, 0.255, 0.08), _vary(rng, 0.20, 0.08)
    z_low = low * 0.9
    z_middle = z_low + 0.66 * (low + middle)
    z_head = z_middle + 0.72 * (middle + head)
    hat = z_head + head * 0.72
    nose = cone(0.07, 0.27).turned("x", 90).moved(0, -head * 0.9, z_head)
    eye = ellipsoid(0.046)
    button = ellipsoid(0.05)
    scarf = cylinder(middle * 0.80, 0.085).moved(z=z_head - head * 0.95)
    return [
        (ellipsoid(low, low, low * 0.9).moved(z=z_low), colour),
        (ellipsoid(middle).moved(z=z_middle), colour),
        (ellipsoid(head).moved(z=z_head), colour),
        (cylinder(head * 1.15, 0.045).moved(z=hat), BLACK),
        (cylinder(head * 0.78, 0.18).moved(z=hat + 0.03), BLACK),
        (nose, _unlike(colour, CARROT, CREAM)),
        (eye.moved(-head * 0.42, -head * 0.85, z_head + head * 0.36), BLACK),
        (eye.moved(head * 0.42, -head * 0.85, z_head + head * 0.36), BLACK),
        (button.moved(0, -middle * 0.97, z_middle + 0.04), BLACK),
        (button.moved(0, -low * 0.97, z_low + 0.03), BLACK),
        (scarf, _unlike(colour, COLOURS["green"], COLOURS["red"])),
    ]


@thing("teapot")
def _teapot(colour: Colour, rng: np.random.Generator) -> list[Part]:
    """The spout on +X, the handle on -X."""
    radius, height = _vary(rng, 0.36, 0.06), _vary(rng, 0.56, 0.08)
    reach = _vary(rng, 0.24, 0.10)
    body = lathe(
        [
            (radius * 0.62, 0),
            (radius * 0.90, height * 0.18),
            (radius, height * 0.45),
            (radius * 0.88, height * 0.75),
            (radius * 0.55, height),
        ]
    )
    lid = lathe([(radius * 0.60, height - 0.01), (radius * 0.56, height + 0.06), (radius * 0.2, height + 0.11)])
    knob = ellipsoid(0.075).moved(z=height + 0.16)
    spout_x = radius * 0.75
    spout = tube(
        [
            (spout_x, 0, height * 0.28),
            (spout_x + 0.16, 0, height * 0.42),
            (spout_x + 0.24, 0, height * 0.68),
            (spout_x + 0.34, 0, height * 0.92),
        ],
        [0.11, 0.09, 0.065, 0.055],
    )
    handle = tube(arc((-radius * 0.85, height * 0.52), (reach, height * 0.34), 90, 270), 0.055)
    accent = _unlike(colour, CREAM, STEEL)
    return [
        (body, colour),
        (lid, accent),
        (knob, _darker(colour)),
        (spout, _darker(colour, 0.88)),
        (handle, _darker(colour)),
    ]


def _vary(rng: np.random.Generator, value: float, spread: float) -> float:
    """`value`, times a factor drawn uniformly from 1 - spread to 1 + spread."""
    return value * float(rng.uniform(1 - spread, 1 + spread))


def _darker(colour: Colour, factor: float = 0.78) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _lighter(colour: Colour, amount: float = 0.18) -> Colour:
    red, green, blue = (value + (1 - value) * amount for value in colour)
    return (red, green, blue)


def _unlike(colour: Colour, wanted: Colour, otherwise: Colour) -> Colour:
    """The wanted colour of a detail, or the other one where the wanted one would not stand out from `colour`."""
    return wanted if sum(abs(a - b) for a, b in zip(colour, wanted, strict=True)) > 0.4 else otherwise


def _canonical(vertices: np.ndarray) -> np.ndarray:
    """Centres the bounding box and scales uniformly until the cylinder is touched."""
    centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = np.linalg.norm(centred[:, :2], axis=1).max()
    half_height = np.abs(centred[:, 2]).max()
    return centred * min(CYLINDER_RADIUS / radius, CYLINDER_HEIGHT / 2 / half_height)
