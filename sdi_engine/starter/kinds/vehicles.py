"""Things that travel: car, rocket, boat, airplane. They head to the front (-Y)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..builder import Part, chance, thing, vary
from ..paint import BARK, BLACK, CREAM, DETAIL, GLASS, GREY, LIGHT, MAIN, STEEL, TAIL_LIGHT, Paint, natural
from ..solids import Solid, arc, box, cone, cylinder, ellipsoid, lathe, prism, slab


@thing("car")
def _car(rng: np.random.Generator) -> list[Part]:
    """A low sports car, a tall boxy bus, a pickup, or a round beetle: headlights in front, red lights at the back."""
    mode = rng.integers(4)
    length, width = vary(rng, (1.10, 0.96, 1.08, 0.84)[mode], 0.04), vary(rng, (0.56, 0.52, 0.54, 0.54)[mode], 0.05)
    wheel, body = vary(rng, 0.14, 0.06), vary(rng, (0.17, 0.34, 0.26, 0.24)[mode], 0.06)
    y, low = length / 2, wheel * 0.75
    belt = low + body
    if mode == 3:
        parts = _beetle(y, low, belt, width)
    else:
        side = [(-y, low), (y * 0.98, low), (y, belt * 0.72), (y * 0.90, belt * 0.95), (y * 0.5, belt), (-y, belt)]
        rise = vary(rng, (0.17, 0.36, 0.28)[mode], 0.06)
        parts = [
            (_along_front(side, width), MAIN),
            *_cabin([place * y for place in _CABINS[mode]], belt, rise, width),
        ]
    if mode == 2:
        for sx in (-1, 1):
            rail = box(0.08, y * 0.75, 0.10).moved(sx * (width / 2 - 0.04), y * 0.62, belt - 0.01)
            parts.append((rail, MAIN))
        parts.append((box(width, 0.08, 0.10).moved(0, y - 0.04, belt - 0.01), MAIN))
    return parts + _wheels(width, y * 0.60, wheel) + _car_lights(width, y, low, belt)


_CABINS = ((-0.7, -0.35, 0.0, 0.35), (-1.0, -0.97, 0.72, 0.9), (-0.26, -0.22, 0.2, 0.5))
"""Places of the cabins of sports car, bus and pickup, as `_cabin` takes them, in half lengths of the car."""


def _beetle(y: float, low: float, belt: float, width: float) -> list[Part]:
    """A round body under a dome with windows at the sides."""
    bow = [(py, low + pz) for py, _, pz in arc((0.0, 0.0), (y, belt - low), 0, 180, 13)]
    dome, glass = (
        arc((0.0, belt - 0.06), (y * reach, 0.36 * rise), 0, 180, 13) for reach, rise in ((0.66, 1), (0.60, 0.84))
    )
    return [
        (_along_front(bow, width), MAIN),
        (_along_front([(py - 0.04, pz) for py, _, pz in dome], width * 0.92), MAIN),
        (
            _along_front([(py - 0.04, pz) for py, _, pz in glass if pz > belt + 0.02], width * 0.92 + 0.06),
            natural(GLASS),
        ),
    ]


def _cabin(places: Sequence[float], belt: float, rise: float, width: float) -> list[Part]:
    """The upper body with windows all around; places along the heading: rear, rear top, front top, front."""
    rear, rear_top, front_top, front = places
    low, top = belt - 0.02, belt + rise
    body = [(rear, low), (front, low), (front_top, top), (rear_top, top)]

    def between(share: float, grow: float) -> list[tuple[float, float]]:
        ahead, behind = front + (front_top - front) * share, rear + (rear_top - rear) * share
        return [(behind - grow, low + (top - low) * share), (ahead + grow, low + (top - low) * share)]

    sides = between(0.20, -0.08) + between(0.78, -0.06)[::-1]
    ends = between(0.24, 0.04) + between(0.78, 0.04)[::-1]
    return [
        (_along_front(body, width * 0.90), MAIN),
        (_along_front(sides, width * 0.90 + 0.07), natural(GLASS)),
        (_along_front(ends, width * 0.64), natural(GLASS)),
    ]


def _wheels(width: float, y: float, radius: float) -> list[Part]:
    """Four black tyres with grey hubs."""
    parts: list[Part] = []
    for sy in (-1, 1):
        for sx in (-1, 1):
            tyre = cylinder(radius, 0.12).moved(z=-0.06).turned("y", 90)
            hub = cylinder(radius * 0.5, 0.14).moved(z=-0.07).turned("y", 90)
            place = (sx * (width / 2 - 0.03), sy * y, radius)
            parts += [(tyre.moved(*place), natural(BLACK)), (hub.moved(*place), natural(GREY))]
    return parts


def _car_lights(width: float, y: float, low: float, belt: float) -> list[Part]:
    """Round yellow lamps and a dark grille in front, red lamps at the back, and bumpers."""
    parts: list[Part] = []
    for sx in (-1, 1):
        parts.append((ellipsoid(0.08, 0.05, 0.075).moved(sx * width * 0.33, -y * 0.97, belt * 0.76), natural(LIGHT)))
        parts.append((box(0.14, 0.05, 0.09).moved(sx * width * 0.34, y, belt * 0.68), natural(TAIL_LIGHT)))
    grille = box(width * 0.28, 0.05, 0.09).moved(0, -y * 0.985, belt * 0.64)
    bumper = box(width * 0.98, 0.07, 0.06).moved(z=low - 0.02)
    return [
        *parts,
        (grille, natural(BLACK)),
        (bumper.moved(y=-y * 0.97), natural(GREY)),
        (bumper.moved(y=y), natural(GREY)),
    ]


@thing("rocket")
def _rocket(rng: np.random.Generator) -> list[Part]:
    """A stout cigar on fins, a slim needle on fins, or one between two boosters; a round window in front."""
    mode = rng.integers(3)
    radius = vary(rng, (0.29, 0.15, 0.19)[mode], 0.06)
    low, height, nose = 0.12, vary(rng, (0.52, 0.72, 0.62)[mode], 0.05), vary(rng, (0.28, 0.30, 0.24)[mode], 0.10)
    waist = 0.66 if mode == 0 else 0.95
    body = lathe(
        [(radius * waist, low), (radius * (1 + waist) / 2, 0.22), (radius, 0.36), (radius * 0.99, height)],
    )
    shoulder, tip_z = 0.86, height + nose * 0.28
    hood = lathe([(radius * 0.99, height - 0.001), (radius * 0.96, height + nose * 0.12), (radius * shoulder, tip_z)])
    tip = lathe([(radius * shoulder, tip_z - 0.001), (radius * 0.50, height + nose * 0.7), (0.0, height + nose)])
    tip_paint: Paint = DETAIL if chance(rng, 0.6) else MAIN.darker(0.6)
    nozzle = lathe([(radius * 0.72, 0.02), (radius * 0.5, low + 0.06)])
    parts: list[Part] = [(body, MAIN), (hood, MAIN), (tip, tip_paint), (nozzle, natural(STEEL))]
    parts += _boosters(radius) if mode == 2 else _fins(rng, radius)
    front = -radius + 0.02
    parts.append((cylinder(0.12, 0.05).turned("x", 90).moved(0, front, height * 0.78), natural(STEEL)))
    parts.append((cylinder(0.085, 0.08).turned("x", 90).moved(0, front, height * 0.78), natural(GLASS)))
    return parts


def _fins(rng: np.random.Generator, radius: float) -> list[Part]:
    """Three or four thick fins; with three, one points to the back."""
    reach = radius + vary(rng, 0.22, 0.12)
    outline = [(radius * 0.5, 0.13), (reach, 0.0), (reach, 0.14), (radius * 0.8, 0.42)]
    if chance(rng):
        return [(prism(outline, 0.08).turned("z", 45 + 90 * k), MAIN) for k in range(4)]
    return [(prism(outline, 0.08).turned("z", 90 + 120 * k), MAIN) for k in range(3)]


def _boosters(radius: float) -> list[Part]:
    """Two small rockets at the sides, and a foot in front and at the back."""
    parts: list[Part] = []
    for side in (-1, 1):
        x = side * (radius + 0.10)
        parts.append((cylinder(0.13, 0.44).moved(x, 0, 0.06), MAIN))
        parts.append((cone(0.13, 0.20).moved(x, 0, 0.50), DETAIL))
        parts.append((cylinder(0.11, 0.08, top=0.7).moved(x), natural(STEEL)))
        foot = [(radius * 0.5, 0.13), (radius + 0.12, 0.0), (radius + 0.12, 0.10), (radius * 0.8, 0.32)]
        parts.append((prism(foot, 0.08).turned("z", 90 * side), MAIN))
    return parts


@thing("boat")
def _boat(rng: np.random.Generator) -> list[Part]:
    """A sailing boat, a steamer with tall funnels, or a wide rowing boat with three benches.

    The pointed bow in front, the stern cut off straight.
    """
    mode = rng.integers(3)
    length, width = vary(rng, (0.94, 1.0, 0.98)[mode], 0.05), vary(rng, (0.44, 0.44, 0.54)[mode], 0.06)
    depth = vary(rng, (0.24, 0.27, 0.24)[mode], 0.08)
    parts: list[Part] = [
        (_hull(length, width, 0.78).scaled(z=depth), MAIN),
        (_hull(length * 1.02, width * 1.06, 1.0).scaled(z=0.07).moved(z=depth - 0.01), MAIN),
        (_hull(length * 0.86, width * 0.80, 1.0).scaled(z=0.03).moved(z=depth + 0.045), natural(BARK)),
    ]
    if mode == 2:
        bench = box(width * 0.74, 0.12, 0.11)
        return parts + [(bench.moved(0, y, depth + 0.03), natural(CREAM)) for y in (-0.22, 0.05, 0.32)]
    return parts + (_steam_deck(rng, depth + 0.05) if mode == 1 else _sails(rng, depth + 0.03))


def _hull(length: float, width: float, keel: float) -> Solid:
    """A boat's plan, 1 high, its lower face smaller by the factor `keel`."""
    x, y = width / 2, length / 2
    plan = [(0.0, -y), (x * 0.55, -y * 0.72), (x * 0.92, -y * 0.30), (x, 0.1 * y), (x * 0.82, y)]
    plan += [(-px, py) for px, py in reversed(plan[1:])]
    return slab([(px * keel, py * keel) for px, py in plan], 1.0, top=1 / keel)


def _sails(rng: np.random.Generator, deck: float) -> list[Part]:
    """A brown mast with a great sail behind and mostly a small one in front, or one square sail."""
    mast_y, mast, turn = -0.06, vary(rng, 0.74, 0.06), rng.uniform(35, 60) * (1 if chance(rng) else -1)
    parts: list[Part] = [(cylinder(0.045, mast).moved(y=mast_y, z=deck - 0.05), natural(BARK))]
    if chance(rng, 0.3):
        w = vary(rng, 0.30, 0.10)
        square = prism([(-w, 0.14), (w, 0.14), (w * 0.85, mast * 0.86), (-w * 0.85, mast * 0.86)], 0.08)
        yard = box(w * 1.95, 0.09, 0.075).moved(z=mast * 0.82)
        for solid, paint in ((square, MAIN), (yard, natural(BARK))):
            parts.append((solid.turned("z", turn * 0.5).moved(y=mast_y - 0.04, z=deck), paint))
        return parts
    boom = vary(rng, 0.50, 0.08)
    main = prism([(0.0, 0.09), (boom, 0.09), (boom * 0.85, 0.20), (0.05, mast * 0.96), (0.0, mast * 0.96)], 0.08)
    parts.append((main.turned("z", 90 - turn).moved(y=mast_y, z=deck), MAIN))
    if chance(rng, 0.7):
        jib = prism([(0.0, 0.09), (0.30, 0.09), (0.0, mast * 0.80)], 0.08)
        parts.append((jib.turned("z", -90 - turn).moved(y=mast_y - 0.02, z=deck), DETAIL))
    else:
        parts.append((box(0.09, 0.16, 0.09).moved(y=mast_y + 0.05, z=deck + mast - 0.08), natural(TAIL_LIGHT)))
    return parts


def _steam_deck(rng: np.random.Generator, deck: float) -> list[Part]:
    """A cabin with windows, a bridge on its front and one or two funnels."""
    width, rise = vary(rng, 0.29, 0.06), vary(rng, 0.17, 0.10)
    parts: list[Part] = [
        (box(width, 0.52, rise).moved(y=0.10, z=deck), MAIN),
        (box(width * 0.92, 0.20, 0.17).moved(y=-0.05, z=deck + rise), MAIN),
        (box(width * 1.04, 0.26, 0.07).moved(y=-0.05, z=deck + rise + 0.15), DETAIL),
        (box(width * 0.75, 0.22, 0.09).moved(y=-0.06, z=deck + rise + 0.045), natural(GLASS)),
    ]
    for y in (-0.06, 0.10, 0.26):
        port = cylinder(0.05, width + 0.04).moved(z=-width / 2 - 0.02).turned("y", 90)
        parts.append((port.moved(0, y, deck + rise * 0.52), natural(GLASS)))
    for y in ((0.20,), (0.15, 0.30))[rng.integers(2)]:
        tall = vary(rng, 0.32, 0.10)
        parts.append((cylinder(0.085, tall).moved(y=y, z=deck + rise - 0.01), MAIN))
        parts.append((cylinder(0.095, 0.09).moved(y=y, z=deck + rise + tall - 0.06), natural(BLACK)))
    return parts


@thing("airplane")
def _airplane(rng: np.random.Generator) -> list[Part]:
    """The nose in front, wings to both sides, an upright fin at the back; a jet, or a propeller plane."""
    jet = chance(rng)
    radius, length = vary(rng, 0.15, 0.10), vary(rng, 1.06, 0.05)
    lift, y = radius + 0.13, length / 2
    nose = 0.35 if jet else 0.70
    profile = [(0.0, 0.0), (0.55, 0.02), (0.85, 0.09), (1.0, 0.20), (1.0, 0.60), (0.62, 0.86), (0.30, 1.0)]
    if not jet:
        profile[:3] = [(nose, 0.0), (0.90, 0.05), (1.0, 0.12)]
    body = lathe([(r * radius, z * length) for r, z in profile]).turned("x", -90)
    parts: list[Part] = [(body.moved(y=-y, z=lift), MAIN)]
    parts += _tail(y, lift, radius)
    parts += _jet_wings(rng, lift, radius, y) if jet else _propeller_wings(rng, lift, radius, y)
    return parts + _landing_gear(y, lift)


def _wing(root: float, tip: float, span: float, sweep: float, thickness: float) -> list[tuple[Solid, int]]:
    """Two wings, flat on z = 0, with the side that each lies on; chords at the body and the end, swept to the back."""
    plan = [(0.0, -root / 2), (span, sweep - tip / 2), (span, sweep + tip / 2), (0.0, root / 2)]
    mirrored = [(-x, y) for x, y in reversed(plan)]
    return [(slab(plan, thickness), 1), (slab(mirrored, thickness), -1)]


def _tail(y: float, lift: float, radius: float) -> list[Part]:
    """The upright fin and the two small wings at the back."""
    outline = [(y - 0.24, 0.0), (y, 0.0), (y + 0.03, 0.30), (y - 0.10, 0.30)]
    fin = prism(outline, 0.08).turned("z", 90).moved(z=lift + radius * 0.2)
    small = [(wing.moved(y=y - 0.10, z=lift - 0.01), MAIN) for wing, _ in _wing(0.18, 0.13, 0.26, 0.05, 0.07)]
    return [(fin, MAIN), *small]


def _jet_wings(rng: np.random.Generator, lift: float, radius: float, y: float) -> list[Part]:
    """Swept wings with an engine under each, a dark windscreen and a row of windows."""
    span = vary(rng, 0.55, 0.05)
    parts: list[Part] = [
        (wing.turned("y", -4 * side).moved(y=-0.05, z=lift - radius * 0.6), MAIN)
        for wing, side in _wing(0.32, 0.15, span, 0.22, 0.08)
    ]
    for side in (-1, 1):
        engine = lathe([(0.075, 0), (0.085, 0.04), (0.06, 0.24)]).turned("x", -90)
        parts.append((engine.moved(side * span * 0.48, -0.16, lift - radius * 0.6 - 0.03), natural(STEEL)))
        stripe = box(0.04, y * 0.95, 0.055).moved(side * radius * 0.93, 0.0, lift + radius * 0.15)
        parts.append((stripe, natural(GLASS)))
    windscreen = ellipsoid(radius * 0.80, 0.10, radius * 0.42).moved(y=-y * 0.78, z=lift + radius * 0.55)
    return [*parts, (windscreen, natural(GLASS))]


def _propeller_wings(rng: np.random.Generator, lift: float, radius: float, y: float) -> list[Part]:
    """Straight wings, one pair or two above each other, a glass cockpit and a propeller."""
    span = vary(rng, 0.54, 0.05)
    double = chance(rng, 0.4)
    parts: list[Part] = [
        (wing.moved(y=-0.16, z=lift - radius * 0.7), MAIN) for wing, _ in _wing(0.28, 0.22, span, 0.0, 0.08)
    ]
    if double:
        high = lift + radius + 0.12
        parts += [(wing.moved(y=-0.20, z=high), MAIN) for wing, _ in _wing(0.26, 0.22, span, 0.0, 0.08)]
        for x in (-span * 0.70, -0.07, 0.07, span * 0.70):
            parts.append(
                (box(0.07, 0.07, high - lift + radius * 0.6).moved(x, -0.19, lift - radius * 0.5), natural(BARK))
            )
        cockpit = 0.06
    else:
        cockpit = -0.12
    parts.append((ellipsoid(radius * 0.75, 0.16, 0.12).moved(y=cockpit, z=lift + radius * 0.85), natural(GLASS)))
    blade = ellipsoid(0.055, 0.035, 0.24).turned("y", rng.uniform(0, 180)).moved(y=-y - 0.045, z=lift)
    spinner = cone(0.075, 0.13).turned("x", 90).moved(y=-y + 0.01, z=lift)
    return [*parts, (blade, natural(BLACK)), (spinner, natural(STEEL))]


def _landing_gear(y: float, lift: float) -> list[Part]:
    """Two black wheels under the wings and a small one under the tail."""
    parts: list[Part] = []
    for x, place, radius in ((-0.15, -0.20, 0.085), (0.15, -0.20, 0.085), (0.0, y * 0.62, 0.06)):
        wheel = cylinder(radius, 0.085).moved(z=-0.0425).turned("y", 90)
        parts.append((wheel.moved(x, place, radius), natural(BLACK)))
        parts.append((cylinder(0.035, lift - radius).moved(x, place, radius), natural(STEEL)))
    return parts


def _along_front(outline: list[tuple[float, float]], width: float) -> Solid:
    """A prism across x of a convex outline of (heading, z) points; the heading is -Y."""
    return prism(outline, width).turned("z", -90)
