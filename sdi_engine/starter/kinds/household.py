"""Things in a house: crockery, furniture, an umbrella and a cake."""

from __future__ import annotations

import numpy as np

from ..builder import Part, chance, thing, vary
from ..paint import BARK, BLACK, COFFEE, CREAM, DETAIL, LIGHT, MAIN, STEEL, TAIL_LIGHT, Paint, natural
from ..solids import Solid, arc, box, cushion, cylinder, ellipsoid, lathe, prism, tube


@thing("mug")
def _mug(rng: np.random.Generator) -> list[Part]:
    """Wide or tall, straight or tapered, filled with coffee; the handle on +X."""
    tall = chance(rng)
    radius, height = (vary(rng, 0.34, 0.08), vary(rng, 0.92, 0.06)) if tall else (vary(rng, 0.43, 0.08), 0.76)
    foot = radius * (vary(rng, 0.72, 0.06) if chance(rng, 0.4) else 0.95)
    inner = radius - 0.08
    body = lathe([(foot, 0), (foot + 0.02, 0.05), (radius, height), (inner, height), (inner, height - 0.12)])
    coffee = lathe([(0.0, height - 0.14), (inner + 0.01, height - 0.11)])
    reach, size, thickness = vary(rng, 0.28, 0.10), 0.31 * height, vary(rng, 0.07, 0.10)
    start = radius - 0.06
    if chance(rng):
        path = arc((start, height * 0.52), (reach, size), -90, 90)
    else:
        path = _angular_handle(start, height * 0.52, reach, size)
    return [(body, MAIN), (tube(path, thickness), MAIN.darker(0.8)), (coffee, natural(COFFEE))]


def _angular_handle(x: float, z: float, reach: float, size: float) -> list[tuple[float, float, float]]:
    """The path of a handle with two round corners, from below to above, on the +X side of `x`."""
    bend = 0.14
    low = arc((x + reach - bend, z - size + bend), (bend, bend), -90, 0, 8)
    high = arc((x + reach - bend, z + size - bend), (bend, bend), 0, 90, 8)
    return [(x, 0.0, z - size), *low, *high, (x, 0.0, z + size)]


@thing("teapot")
def _teapot(rng: np.random.Generator) -> list[Part]:
    """Squat or tall, its handle behind or over the lid; the spout on +X, the handle on -X."""
    tall = chance(rng, 0.4)
    radius, height = (vary(rng, 0.33, 0.06), vary(rng, 0.70, 0.06)) if tall else (vary(rng, 0.42, 0.06), 0.56)
    low, high = (-30, 55) if tall else (-52, 58)
    angles = np.deg2rad(np.linspace(low, high, 12))
    heights = (np.sin(angles) - np.sin(angles[0])) / (np.sin(angles[-1]) - np.sin(angles[0])) * height
    body = lathe([(radius * float(np.cos(a)), float(z)) for a, z in zip(angles, heights, strict=True)])
    neck = radius * float(np.cos(angles[-1]))
    lid = lathe([(neck * 1.1, height - 0.02), (neck * 1.0, height + 0.05), (neck * 0.5, height + 0.11)])
    knob = ellipsoid(0.085).moved(z=height + 0.16)
    x = radius * 0.78
    spout = tube(
        [
            (x - 0.06, 0, height * 0.24),
            (x + 0.12, 0, height * 0.38),
            (x + 0.23, 0, height * 0.66),
            (x + 0.36, 0, height * 0.95),
        ],
        [0.13, 0.115, 0.085, 0.07],
    )
    if not tall and chance(rng, 0.4):
        path = arc((0.0, height * 0.72), (radius * 0.95, vary(rng, 0.58, 0.06)), 0, 180, 24)
    else:
        reach = vary(rng, 0.27, 0.10)
        path = arc((-radius * 0.80, height * 0.52), (reach, height * 0.33), 90, 270)
    trim = DETAIL if chance(rng) else MAIN.darker(0.8)
    return [(body, MAIN), (lid, MAIN), (knob, trim), (spout, MAIN), (tube(path, 0.062), trim)]


@thing("bottle")
def _bottle(rng: np.random.Generator) -> list[Part]:
    """With high, sloping or round shoulders, a cork or a cap; the label in front."""
    radius = vary(rng, 0.24, 0.10)
    neck = vary(rng, 0.095, 0.08)
    profile, label_at = _BOTTLES[rng.integers(len(_BOTTLES))]
    widths = [neck + (radius - neck) * share for share, _ in profile]
    top = profile[-1][1]
    body = lathe([(radius * 0.92, 0.0), *((width, z) for width, (_, z) in zip(widths, profile, strict=True))])
    lip = cylinder(neck * 1.35, 0.06).moved(z=top - 0.05)
    if chance(rng):
        stopper, paint = cylinder(neck * 0.95, 0.10, top=1.1).moved(z=top - 0.01), natural(BARK)
    else:
        stopper, paint = cylinder(neck * 1.5, 0.13).moved(z=top - 0.05), DETAIL
    label = cylinder(radius * 0.82, vary(rng, 0.19, 0.10)).moved(y=-radius * 0.22, z=label_at)
    return [(body, MAIN), (lip, MAIN.darker(0.8)), (stopper, paint), (label, DETAIL)]


# Wine, beer and milk bottles: points (width from 0, the neck, to 1, the belly; z); then z of the label's lower edge.
_BOTTLES: tuple[tuple[tuple[tuple[float, float], ...], float], ...] = (
    (((1, 0.04), (1, 0.52), (0.85, 0.59), (0.45, 0.65), (0.1, 0.69), (0, 0.92)), 0.16),
    (((1, 0.04), (1, 0.42), (0.85, 0.50), (0.25, 0.70), (0, 0.92)), 0.12),
    (((0.8, 0.02), (1, 0.14), (1, 0.34), (0.8, 0.46), (0.4, 0.55), (0.05, 0.60), (0, 0.90)), 0.14),
)


@thing("lamp")
def _lamp(rng: np.random.Generator) -> list[Part]:
    """A table lamp with a wide shade on a stem or a round vase; the switch in front.

    The stem has the foot's colour: objects came out without it when it was a grey rod of about half this width.
    """
    shade, rise = vary(rng, 0.38, 0.08), vary(rng, 0.40, 0.10)
    stem, foot = vary(rng, 0.50, 0.10), vary(rng, 0.23, 0.10)
    top = (0.45, 0.62, 0.80)[rng.integers(3)]
    parts: list[Part] = [
        (cylinder(shade, rise, top=top).moved(z=stem), MAIN),
        (cylinder(shade * top * 0.72, 0.03).moved(z=stem + rise - 0.01), natural(LIGHT)),
    ]
    if chance(rng):
        belly = vary(rng, 0.18, 0.10)
        parts += [
            (cylinder(foot * 0.80, 0.06), natural(STEEL)),
            (ellipsoid(belly, belly, stem * 0.32).moved(z=0.03 + stem * 0.32), MAIN.darker(0.8)),
            (cylinder(0.08, stem * 0.5).moved(z=stem * 0.52), MAIN.darker(0.8)),
            (ellipsoid(0.06).moved(0, -foot * 0.72, 0.07), natural(TAIL_LIGHT)),
        ]
    else:
        parts += [
            (lathe([(foot, 0), (foot, 0.07), (foot * 0.5, 0.13)]), MAIN.darker(0.8)),
            (cylinder(0.08, stem).moved(z=0.08), MAIN.darker(0.8)),
            (ellipsoid(0.06).moved(0, -foot * 0.75, 0.10), natural(TAIL_LIGHT)),
        ]
    return parts


@thing("chair")
def _chair(rng: np.random.Generator) -> list[Part]:
    """Open to the front, the backrest on +Y: straight, arched or with slats; with or without armrests."""
    width, seat, back = vary(rng, 0.58, 0.08), vary(rng, 0.38, 0.10), vary(rng, 0.52, 0.10)
    thick, leg = 0.14, 0.10
    x, low = width / 2, seat + thick
    wood = MAIN.darker(0.8) if chance(rng) else natural(BARK)
    parts: list[Part] = [(box(width, width, thick).moved(z=seat), MAIN), *_legs(width, width, seat + 0.02, leg, wood)]
    rest_y = x - 0.055
    style = rng.integers(3)
    if style == 0:
        parts.append((box(width, 0.11, back).moved(y=rest_y, z=low - 0.01), MAIN))
    elif style == 1:
        parts.append((_arched(width, 0.11, back * 0.55, back).moved(y=rest_y, z=low - 0.01), MAIN))
    else:
        bar = box(width, 0.11, back * 0.32)
        parts += [(bar.moved(y=rest_y, z=low + back * share), MAIN) for share in (0.16, 0.68)]
        post = box(0.10, 0.09, back)
        parts += [(post.moved(side * (x - 0.06), rest_y, low - 0.02), wood) for side in (-1, 1)]
    if style != 2 and chance(rng, 0.4):
        for side in (-1, 1):
            arm = side * (x - 0.02)
            parts += [
                (box(0.10, width - 0.02, 0.09).moved(arm, 0.0, low + 0.17), MAIN),
                (box(0.09, 0.09, 0.20).moved(arm, -x + 0.07, low - 0.01), MAIN.darker(0.8)),
            ]
    return parts


@thing("table")
def _table(rng: np.random.Generator) -> list[Part]:
    """Round on a pedestal, under a cloth, or longer along X with a drawer in front."""
    style = rng.integers(4)
    height = vary(rng, 0.52, 0.10)
    wood = MAIN.darker(0.8) if chance(rng) else natural(BARK)
    if style == 0:
        return _round_table(vary(rng, 0.52, 0.06), height, wood, rng)
    width, depth, leg = vary(rng, 1.05, 0.06), vary(rng, 0.68, 0.10), vary(rng, 0.11, 0.10)
    if style == 1:
        cloth = box(width * 1.04, depth * 1.06, 0.22, top=0.95).moved(z=height - 0.12)
        return [(cloth, MAIN), *_legs(width * 0.94, depth * 0.92, height - 0.10, leg, wood)]
    apron = 0.17
    inner_width, inner_depth = width - 0.12, depth - 0.12
    drawer = box(inner_width * 0.5, 0.06, apron * 0.9).moved(y=-inner_depth / 2, z=height - apron)
    knob = ellipsoid(0.05).moved(y=-inner_depth / 2 - 0.05, z=height - apron * 0.55)
    return [
        (box(width, depth, 0.10).moved(z=height), MAIN),
        (box(inner_width, inner_depth, apron).moved(z=height - apron), MAIN),
        *_legs(inner_width, inner_depth, height - apron + 0.01, leg, wood),
        (drawer, natural(CREAM)),
        (knob, natural(BLACK)),
    ]


def _round_table(radius: float, height: float, wood: Paint, rng: np.random.Generator) -> list[Part]:
    """A thick round top, on one column or on four legs."""
    top = cylinder(radius, 0.11).moved(z=height)
    apron = cylinder(radius * 0.86, 0.12).moved(z=height - 0.11)
    if chance(rng):
        column = lathe([(0.27, 0), (0.25, 0.06), (0.09, 0.12), (0.09, height - 0.2), (0.14, height - 0.05)])
        return [(top, MAIN), (apron, MAIN), (column, wood)]
    return [(top, MAIN), (apron, MAIN), *_legs(radius * 1.3, radius * 1.3, height - 0.10, 0.11, wood)]


@thing("sofa")
def _sofa(rng: np.random.Generator) -> list[Part]:
    """Wide along X, open to the front; thick arms, boxy or rolled, and two or three seat cushions."""
    width, depth = vary(rng, 1.12, 0.05), vary(rng, 0.50, 0.06)
    back, arm_height, arm = vary(rng, 0.60, 0.08), vary(rng, 0.40, 0.08), vary(rng, 0.17, 0.08)
    x, y, foot = width / 2, depth / 2, 0.08
    parts: list[Part] = [
        (box(width - 0.1, depth - 0.04, 0.18).moved(z=foot), MAIN),
        *_legs(width - 0.04, depth - 0.06, foot + 0.02, 0.10, natural(BARK)),
    ]
    if chance(rng):
        parts.append((cushion(width - 0.06, 0.20, back - foot).moved(y=y - 0.10, z=foot), MAIN))
    else:
        parts.append((_arched(width - 0.06, 0.17, back * 0.72, back).moved(y=y - 0.085, z=foot), MAIN))
    rolled = chance(rng)
    for side in (-1, 1):
        place = side * (x - arm / 2)
        parts.append((box(arm * (0.8 if rolled else 1.0), depth, arm_height - foot).moved(place, z=foot), MAIN))
        if rolled:
            roll = cylinder(arm * 0.62, depth + 0.03).turned("x", 90).moved(place, y + 0.015, arm_height)
            parts.append((roll, MAIN))
    count = int(rng.integers(2, 4))
    between = width - 2 * arm + 0.04
    for k in range(count):
        seat = cushion(between / count + 0.01, depth - 0.10, 0.17)
        parts.append((seat.moved((k + 0.5 - count / 2) * between / count, -0.07, 0.22), MAIN.lighter()))
    if chance(rng):
        for side in (-1, 1):
            pillow = cushion(0.20, 0.12, 0.20).turned("x", 20)
            parts.append((pillow.moved(side * (between / 2 - 0.12), y - 0.20, 0.36), DETAIL))
    return parts


@thing("bed")
def _bed(rng: np.random.Generator) -> list[Part]:
    """Single or double, long along Y; the foot end in front, headboard and pillows on +Y."""
    double = chance(rng)
    width, length = (vary(rng, 0.80, 0.06) if double else vary(rng, 0.56, 0.06)), vary(rng, 1.0, 0.05)
    head, leg = vary(rng, 0.56, 0.10), vary(rng, 0.14, 0.15)
    x, y, top = width / 2, length / 2, leg + 0.22
    parts: list[Part] = [
        (box(width - 0.04, length - 0.04, 0.10).moved(z=leg - 0.02), MAIN),
    ]
    shoulder = head * (0.68 if chance(rng) else 0.97)
    parts.append((_arched(width + 0.04, 0.10, shoulder, head).moved(y=y - 0.05), MAIN))
    if chance(rng):
        parts.append((box(width + 0.04, 0.09, top - 0.02).moved(y=-y + 0.045), MAIN))
    else:
        parts += _legs(width, length, leg, 0.11, natural(BARK))[::2]
    covered = length * vary(rng, 0.62, 0.06)
    blanket = cushion(width + 0.06, covered, 0.24).moved(y=-y + covered / 2 + 0.02, z=top - 0.18)
    fold = cushion(width + 0.08, 0.14, 0.20).moved(y=-y + covered, z=top - 0.12)
    sheet = box(width - 0.02, length - covered, 0.17).moved(y=(covered - 0.12) / 2, z=top - 0.14)
    parts += [(blanket, MAIN), (fold, MAIN.lighter()), (sheet, natural(CREAM))]
    pillow_width = width / 2 - 0.03 if double else width - 0.12
    for place in (-width / 4, width / 4) if double else (0.0,):
        pillow = cushion(pillow_width, 0.24, 0.16).turned("x", 12)
        parts.append((pillow.moved(place, y - 0.24, top + 0.01), DETAIL))
    if chance(rng, 0.4):
        for side in (-1, 1):
            parts.append((cylinder(0.06, head + 0.03).moved(side * x, y - 0.05), natural(BARK)))
            parts.append((ellipsoid(0.075).moved(side * x, y - 0.05, head + 0.06), natural(BARK)))
    return parts


@thing("umbrella")
def _umbrella(rng: np.random.Generator) -> list[Part]:
    """Open, a domed, flatter or pointed canopy, its rim scalloped or even; the handle's hook bends to +X."""
    radius, rise, rim = vary(rng, 0.52, 0.06), vary(rng, 0.34, 0.14), vary(rng, 0.60, 0.05)
    fullness = 2.4 if chance(rng, 0.7) else 1.35
    canopy = _canopy(radius, rise, fullness, scallop=0.09 if chance(rng, 0.7) else 0.03).moved(z=rim)
    ferrule = cylinder(0.045, 0.10).moved(z=rim + rise - 0.02)
    bend = vary(rng, 0.12, 0.10)
    hook = [*arc((bend, bend), (bend, bend), 10, -180), (0.0, 0.0, bend + 0.12)]
    pole = cylinder(0.042, rim + rise - bend - 0.1).moved(z=bend + 0.05)
    grip = natural(BARK) if chance(rng) else DETAIL
    return [(canopy, MAIN), (ferrule, natural(STEEL)), (pole, natural(STEEL)), (tube(hook, 0.05), grip)]


def _canopy(radius: float, rise: float, fullness: float, scallop: float) -> Solid:
    """A shell of eight gores over z = 0: its rim hangs lowest at the ribs, by `scallop` higher between them.

    `fullness` is the power of the outline: 1 a cone, 2 and more a dome.
    """
    shares = np.sin(np.linspace(np.pi / 2, 0, 12))
    outer = [(radius * float(share), rise * float(1 - share**fullness)) for share in shares]
    inner = [(0.93 * r, max(z - 0.075, 0.0)) for r, z in reversed(outer)]
    solid = lathe([*inner, *outer])
    x, y, z = solid.vertices.T
    share, between = np.hypot(x, y) / radius, np.abs(np.sin(4 * np.arctan2(y, x)))
    shrink = 1 - 0.8 * scallop * between * share**2
    return Solid(np.stack([x * shrink, y * shrink, z + scallop * between * share**4], axis=1), solid.faces)


@thing("cake")
def _cake(rng: np.random.Generator) -> list[Part]:
    """One to three round tiers with dripping icing; candles or a cherry on top."""
    tiers = (1, 1, 2, 2, 3)[rng.integers(5)]
    radius, height = vary(rng, 0.50, 0.06), vary(rng, (0.48, 0.38, 0.32)[tiers - 1], 0.10)
    steps: list[tuple[float, float]] = []
    parts: list[Part] = []
    z = 0.0
    for tier in range(tiers):
        if tier:
            radius *= vary(rng, 0.68, 0.05)
        steps += [(radius, z), (radius, z + height)]
        z += height
        parts.append((_icing(radius, height, rng).moved(z=z), DETAIL))
    parts += [(lathe(steps), MAIN), (cylinder(radius * 0.80, 0.04).moved(z=z + 0.02), MAIN)]
    z += 0.05
    if chance(rng):
        parts.append((ellipsoid(0.12).moved(z=z + 0.10), natural(TAIL_LIGHT)))
        return parts
    count = 3 if tiers == 1 and chance(rng) else 1
    for k in range(count):
        place = (0.0 if count == 1 else radius * 0.5, 0.0)
        candle = cylinder(0.05, 0.22).moved(*place, z)
        flame = ellipsoid(0.06, 0.06, 0.09).moved(*place, z + 0.28)
        turn = -90 + 360 * k / count
        parts += [(candle.turned("z", turn), MAIN.lighter(0.3)), (flame.turned("z", turn), natural(LIGHT))]
    return parts


def _icing(radius: float, height: float, rng: np.random.Generator) -> Solid:
    """A lid of icing at z = 0 for a tier, whose edge runs down in waves."""
    drips, deep = int(rng.integers(6, 9)), height * vary(rng, 0.15, 0.15)
    solid = lathe([(radius - 0.03, -deep), (radius + 0.035, -deep), (radius + 0.035, 0.0), (radius - 0.02, 0.045)])
    x, y, z = solid.vertices.T
    wave = 0.6 * deep * np.cos(drips * np.arctan2(y, x) + rng.uniform(0, 6.28))
    return Solid(np.stack([x, y, np.where(z < -0.5 * deep, z + wave, z)], axis=1), solid.faces)


def _legs(width: float, depth: float, height: float, thickness: float, paint: Paint) -> list[Part]:
    """Four square legs in the corners of a width by depth rectangle."""
    x, y = (width - thickness) / 2, (depth - thickness) / 2
    leg = box(thickness, thickness, height)
    return [(leg.moved(sx * x, sy * y), paint) for sx in (-1, 1) for sy in (-1, 1)]


def _arched(width: float, depth: float, shoulder: float, height: float) -> Solid:
    """An upright board on z = 0, with an arched upper edge above `shoulder`."""
    x = width / 2
    bow = [(px, pz) for px, _, pz in arc((0.0, shoulder), (x, height - shoulder), 0, 180, 13)]
    return prism([(-x, 0.0), (x, 0.0), *bow], depth)
