"""Things in a house: crockery, furniture, an umbrella and a cake."""

from __future__ import annotations

import numpy as np

from ..builder import Part, chance, thing, vary
from ..paint import BARK, BLACK, COFFEE, CREAM, DETAIL, LIGHT, MAIN, STEEL, TAIL_LIGHT, Paint, natural
from ..solids import Solid, arc, box, cushion, cylinder, ellipsoid, lathe, prism, tube


@thing("mug")
def _mug(rng: np.random.Generator) -> list[Part]:
    """A tall straight mug, a wide bowl on a foot, or a beaker that widens upwards; coffee in it, the handle on +X."""
    mode = rng.integers(3)
    radius, height = vary(rng, (0.30, 0.50, 0.42)[mode], 0.06), vary(rng, (0.96, 0.52, 0.78)[mode], 0.05)
    inner = radius - 0.08
    rim = [(radius, height), (inner, height), (inner, height - 0.12)]
    if mode == 1:
        outside = [(0.26, 0.0), (0.24, 0.09), (radius * 0.78, 0.18), (radius * 0.95, height * 0.62)]
    else:
        foot = radius * (0.96 if mode == 0 else 0.58)
        outside = [(foot, 0.0), (foot + 0.02, 0.05)]
    body = lathe([*outside, *rim])
    coffee = lathe([(0.0, height - 0.14), (inner + 0.01, height - 0.11)])
    reach, size, thickness = vary(rng, 0.28, 0.10), 0.31 * height, vary(rng, 0.07, 0.10)
    start = radius - 0.06
    if mode != 0:
        path = arc((start, height * 0.58), (reach, size), -90, 90)
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
    """Slim with sloping shoulders, a round flask, or a wide one for milk; cork or cap, the label in front."""
    mode = rng.integers(len(_BOTTLES))
    radius, neck = vary(rng, (0.17, 0.34, 0.30)[mode], 0.06), vary(rng, (0.09, 0.095, 0.14)[mode], 0.06)
    profile, label_at = _BOTTLES[mode]
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


# Points (width from 0, the neck, to 1, the belly; z) of each mode's outline; then z of the label's lower edge.
_BOTTLES: tuple[tuple[tuple[tuple[float, float], ...], float], ...] = (
    (((1, 0.04), (1, 0.46), (0.85, 0.54), (0.25, 0.70), (0, 0.94)), 0.14),
    (((0.5, 0.02), (0.85, 0.10), (1, 0.26), (0.9, 0.40), (0.55, 0.52), (0.05, 0.58), (0, 0.90)), 0.16),
    (((0.95, 0.02), (1, 0.06), (1, 0.40), (0.75, 0.50), (0.1, 0.60), (0, 0.80)), 0.12),
)


@thing("lamp")
def _lamp(rng: np.random.Generator) -> list[Part]:
    """A wide pointed shade on a stem, a tall slim one with a small shade, or a drum on a fat vase; the switch in front.

    The stem has the foot's colour: objects came out without it when it was a grey rod of about half this width.
    """
    mode = rng.integers(3)
    shade, rise = vary(rng, (0.44, 0.25, 0.33)[mode], 0.06), vary(rng, (0.40, 0.34, 0.36)[mode], 0.06)
    stem, foot = vary(rng, (0.46, 0.74, 0.44)[mode], 0.06), vary(rng, 0.23, 0.08)
    top = (0.30, 0.72, 1.0)[mode]
    parts: list[Part] = [
        (cylinder(shade, rise, top=top).moved(z=stem), MAIN),
        (cylinder(shade * top * 0.72, 0.03).moved(z=stem + rise - 0.01), natural(LIGHT)),
        (ellipsoid(0.06).moved(0, -foot * 0.75, 0.10), natural(TAIL_LIGHT)),
    ]
    if mode == 2:
        belly = vary(rng, 0.25, 0.06)
        vase = ellipsoid(belly, belly, stem * 0.40).moved(z=0.04 + stem * 0.40)
        neck = cylinder(0.09, stem * 0.4).moved(z=stem * 0.62)
        return [
            *parts,
            (cylinder(foot * 0.8, 0.07), natural(STEEL)),
            *((solid, MAIN.darker(0.8)) for solid in (vase, neck)),
        ]
    base = lathe([(foot, 0), (foot, 0.07), (foot * 0.5, 0.13)])
    return [*parts, *((solid, MAIN.darker(0.8)) for solid in (base, cylinder(0.08, stem).moved(z=0.08)))]


@thing("chair")
def _chair(rng: np.random.Generator) -> list[Part]:
    """High-backed on four legs, a bar stool, a round one on a pedestal, or an armchair; the backrest on +Y."""
    build = (_high_chair, _bar_stool, _pedestal_chair, _armchair)[rng.integers(4)]
    return build(MAIN.darker(0.8) if chance(rng) else natural(BARK), rng)


def _high_chair(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """Narrow and tall, the backrest straight, arched or with slats."""
    width, seat, back = vary(rng, 0.48, 0.06), vary(rng, 0.36, 0.08), vary(rng, 0.64, 0.08)
    depth = width + 0.14
    low, rest_y = seat + 0.13, depth / 2 - 0.055
    parts: list[Part] = [
        (box(width, depth, 0.13).moved(z=seat), MAIN),
        *_legs(width, depth, seat + 0.02, 0.11, wood),
    ]
    style = rng.integers(3)
    if style == 0:
        parts.append((box(width, 0.11, back).moved(y=rest_y, z=low - 0.01), MAIN))
    elif style == 1:
        parts.append((_arched(width, 0.11, back * 0.65, back).moved(y=rest_y, z=low - 0.01), MAIN))
    else:
        bar = box(width, 0.11, back * 0.34)
        parts += [(bar.moved(y=rest_y, z=low + back * share), MAIN) for share in (0.20, 0.76)]
        post = box(0.11, 0.10, back)
        parts += [(post.moved(side * (width / 2 - 0.06), rest_y, low - 0.02), wood) for side in (-1, 1)]
    return parts


def _bar_stool(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """A thick round seat on long legs, with a low backrest and a footrest in front."""
    radius, seat, back = vary(rng, 0.30, 0.06), vary(rng, 0.70, 0.06), vary(rng, 0.20, 0.10)
    spread = radius * 1.75
    footrest = box(spread - 0.04, 0.10, 0.10).moved(y=-spread / 2 + 0.05, z=seat * 0.3)
    return [
        (cylinder(radius, 0.17).moved(z=seat), MAIN),
        (box(radius * 1.5, 0.12, back + 0.05).moved(y=radius * 0.82, z=seat + 0.12), MAIN),
        (footrest, wood),
        *_legs(spread, spread, seat + 0.02, 0.11, wood),
    ]


def _pedestal_chair(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """A round seat on one column, the backrest a large oval."""
    radius, seat, back = vary(rng, 0.36, 0.06), vary(rng, 0.44, 0.08), vary(rng, 0.34, 0.08)
    column = lathe([(0.30, 0), (0.28, 0.07), (0.10, 0.14), (0.10, seat - 0.06), (0.18, seat + 0.02)])
    rest = ellipsoid(radius * 1.05, 0.10, back).turned("x", -8).moved(y=radius * 0.80, z=seat + 0.08 + back * 0.85)
    return [
        (lathe([(radius * 0.8, seat), (radius, seat + 0.08), (radius * 0.94, seat + 0.16)]), MAIN),
        (rest, MAIN),
        (column, wood),
    ]


def _armchair(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """Low and bulky: a thick back, arms that reach down to the feet, one cushion."""
    width, depth = vary(rng, 0.84, 0.05), vary(rng, 0.72, 0.05)
    back, arm_height, arm = vary(rng, 0.80, 0.06), vary(rng, 0.50, 0.06), 0.20
    x, y, foot = width / 2, depth / 2, 0.09
    side = box(arm, depth - 0.02, arm_height - foot)
    if chance(rng):
        rest = _arched(width - 0.06, 0.20, back * 0.7, back - foot)
    else:
        rest = cushion(width - 0.06, 0.24, back - foot)
    return [
        (box(width - 0.1, depth - 0.06, 0.20).moved(z=foot), MAIN),
        (rest.moved(y=y - 0.10, z=foot), MAIN),
        *((side.moved(sign * (x - arm / 2), 0.0, foot), MAIN) for sign in (-1, 1)),
        (cushion(width - 2 * arm + 0.05, depth - 0.14, 0.20).moved(y=-0.07, z=0.24), MAIN.lighter()),
        *_legs(width - 0.06, depth - 0.08, foot + 0.02, 0.12, wood),
    ]


@thing("table")
def _table(rng: np.random.Generator) -> list[Part]:
    """Tall and round on a column, long with a drawer in front, low on two solid sides, or under a hanging cloth."""
    build = (_round_table, _long_table, _low_table, _laid_table)[rng.integers(4)]
    return build(MAIN.darker(0.8) if chance(rng) else natural(BARK), rng)


def _round_table(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """Tall, with a thick round top on one column."""
    radius, height = vary(rng, 0.42, 0.06), vary(rng, 0.76, 0.06)
    column = lathe([(0.30, 0), (0.28, 0.08), (0.10, 0.16), (0.10, height - 0.2), (0.18, height - 0.05)])
    return [(cylinder(radius, 0.13).moved(z=height - 0.06), MAIN), (column, wood)]


def _long_table(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """Longer along X, on four legs, with a drawer in front."""
    width, depth, height = vary(rng, 1.15, 0.05), vary(rng, 0.56, 0.08), vary(rng, 0.52, 0.08)
    apron, inner_width, inner_depth = 0.16, width - 0.12, depth - 0.10
    drawer = box(inner_width * 0.5, 0.06, apron * 0.9).moved(y=-inner_depth / 2, z=height - apron)
    knob = ellipsoid(0.05).moved(y=-inner_depth / 2 - 0.05, z=height - apron * 0.55)
    return [
        (box(width, depth, 0.10).moved(z=height), MAIN),
        (box(inner_width, inner_depth, apron).moved(z=height - apron), MAIN),
        *_legs(inner_width, inner_depth, height - apron + 0.01, vary(rng, 0.12, 0.08), wood),
        (drawer, natural(CREAM)),
        (knob, natural(BLACK)),
    ]


def _low_table(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """A low coffee table: a thick top on two solid sides."""
    width, depth, height = vary(rng, 1.05, 0.05), vary(rng, 0.70, 0.08), vary(rng, 0.24, 0.08)
    side, place = box(0.14, depth - 0.06, height + 0.02), width / 2 - 0.12
    return [
        (box(width, depth, 0.13).moved(z=height), MAIN),
        *((side.moved(sign * place), wood) for sign in (-1, 1)),
    ]


def _laid_table(wood: Paint, rng: np.random.Generator) -> list[Part]:
    """Square and tall, under a cloth that hangs half down and ends in a hem, on four long legs."""
    size, height, hem = vary(rng, 0.76, 0.05), vary(rng, 0.74, 0.05), vary(rng, 0.36, 0.06)
    return [
        (box(size, size, height - hem, top=0.92).moved(z=hem), MAIN),
        (box(size * 1.03, size * 1.03, 0.10, top=0.98).moved(z=hem - 0.01), DETAIL),
        *_legs(size * 0.86, size * 0.86, hem + 0.04, 0.13, wood),
    ]


@thing("sofa")
def _sofa(rng: np.random.Generator) -> list[Part]:
    """Long, low and boxy, a two-seater with a high arched back and rolled arms, or in a corner; open to the front."""
    return (_boxy_sofa, _high_sofa, _corner_sofa)[rng.integers(3)](rng)


def _boxy_sofa(rng: np.random.Generator) -> list[Part]:
    """Long and low, with square arms; two or three seat cushions, and pillows or none."""
    width, depth = vary(rng, 1.18, 0.04), vary(rng, 0.48, 0.06)
    back, arm_height, arm = vary(rng, 0.46, 0.06), vary(rng, 0.34, 0.06), vary(rng, 0.16, 0.08)
    foot, between = 0.08, width - 2 * arm + 0.04
    side = box(arm, depth, arm_height - foot)
    parts: list[Part] = [
        (box(width - 0.1, depth - 0.04, 0.14).moved(z=foot), MAIN),
        (box(width - 0.02, 0.17, back - foot).moved(y=depth / 2 - 0.085, z=foot), MAIN),
        *((side.moved(sign * (width - arm) / 2, z=foot), MAIN) for sign in (-1, 1)),
        *_legs(width - 0.04, depth - 0.06, foot + 0.02, 0.11, natural(BARK)),
        *_seats(int(rng.integers(2, 4)), between, depth - 0.10, -0.07, 0.16),
    ]
    if chance(rng):
        pillow = cushion(0.22, 0.13, 0.22).turned("x", 20)
        parts += [(pillow.moved(sign * (between / 2 - 0.13), depth / 2 - 0.20, 0.29), DETAIL) for sign in (-1, 1)]
    return parts


def _high_sofa(rng: np.random.Generator) -> list[Part]:
    """A short two-seater on tall feet, with a high arched back and rolled arms."""
    width, depth = vary(rng, 1.08, 0.04), vary(rng, 0.48, 0.06)
    back, arm_height, arm, foot = vary(rng, 0.78, 0.05), vary(rng, 0.44, 0.05), vary(rng, 0.16, 0.08), 0.14
    place = (width - arm) / 2
    side = box(arm * 0.8, depth - 0.03, arm_height - foot)
    roll = cylinder(arm * 0.68, depth + 0.03).turned("x", 90).moved(0.0, depth / 2, arm_height)
    return [
        (box(width - 0.1, depth - 0.04, 0.14).moved(z=foot), MAIN),
        (_arched(width - 0.08, 0.17, back * 0.45, back - foot).moved(y=depth / 2 - 0.085, z=foot), MAIN),
        *((solid.moved(sign * place, z=z), MAIN) for sign in (-1, 1) for solid, z in ((side, foot), (roll, 0.0))),
        *_legs(width - 0.08, depth - 0.06, foot + 0.02, 0.11, natural(BARK)),
        *_seats(2, width - 2 * arm + 0.04, depth - 0.10, -0.07, 0.23),
    ]


def _corner_sofa(rng: np.random.Generator) -> list[Part]:
    """L-shaped: its second wing comes forward on +X and has a back too."""
    width, depth, wing = vary(rng, 1.08, 0.04), vary(rng, 0.92, 0.05), vary(rng, 0.46, 0.05)
    back, arm, thick, foot = vary(rng, 0.46, 0.06), 0.15, 0.16, 0.06
    x, y = width / 2, depth / 2
    parts: list[Part] = [
        (box(width - 0.02, wing, 0.18).moved(0.0, y - wing / 2, foot), MAIN),
        (box(wing, depth - 0.02, 0.18).moved(x - wing / 2, 0.0, foot), MAIN),
        (box(width, thick, back - foot).moved(0.0, y - thick / 2, foot), MAIN),
        (box(thick, depth, back - foot).moved(x - thick / 2, 0.0, foot), MAIN),
        (box(arm, wing, 0.27).moved(arm / 2 - x, y - wing / 2, foot), MAIN),
        (
            cushion(wing - thick + 0.03, depth - thick, 0.16).moved(x - (wing + thick) / 2, -thick / 2, 0.19),
            MAIN.lighter(),
        ),
    ]
    between = width - wing - arm
    seats = _seats(int(rng.integers(1, 3)), between + 0.03, wing - thick + 0.03, y - (wing + thick) / 2, 0.19)
    parts += [(seat.moved(x=(arm - wing) / 2), paint) for seat, paint in seats]
    places = (
        (0.1 - x, y - 0.1),
        (0.1 - x, y - wing + 0.1),
        (x - 0.1, y - 0.1),
        (x - 0.1, 0.1 - y),
        (x - wing + 0.1, 0.1 - y),
    )
    parts += [(box(0.12, 0.12, foot + 0.02).moved(*place), natural(BARK)) for place in places]
    return parts


def _seats(count: int, width: float, depth: float, y: float, z: float) -> list[Part]:
    """A row of seat cushions, `width` together, about x = 0."""
    seat = cushion(width / count + 0.01, depth, 0.17)
    return [(seat.moved((k + 0.5 - count / 2) * width / count, y, z), MAIN.lighter()) for k in range(count)]


@thing("bed")
def _bed(rng: np.random.Generator) -> list[Part]:
    """A wide low double, or a narrow one with high ends; headboard and pillows on +Y."""
    return _double_bed(rng) if chance(rng) else _single_bed(rng)


def _double_bed(rng: np.random.Generator) -> list[Part]:
    """As wide as long, with a low headboard and two pillows."""
    width, length = vary(rng, 0.96, 0.05), vary(rng, 0.98, 0.04)
    head, leg = vary(rng, 0.46, 0.06), vary(rng, 0.11, 0.10)
    shoulder = head * (0.75 if chance(rng) else 0.97)
    return [
        (_arched(width + 0.06, 0.11, shoulder, head).moved(y=length / 2 - 0.05), MAIN),
        *_legs(width, length, leg, 0.13, natural(BARK)),
        *_bedding(width, length, leg, 2, rng),
    ]


def _single_bed(rng: np.random.Generator) -> list[Part]:
    """Narrow, between a high headboard and a footboard, both arched or straight."""
    width, length = vary(rng, 0.48, 0.05), vary(rng, 1.04, 0.04)
    head, foot, leg = vary(rng, 0.80, 0.06), vary(rng, 0.50, 0.06), vary(rng, 0.16, 0.10)
    bow = 0.25 if chance(rng) else 0.01
    ends = ((head, length / 2 - 0.05), (foot, 0.05 - length / 2))
    return [
        *((_arched(width + 0.08, 0.12, height - bow, height).moved(y=y), MAIN) for height, y in ends),
        *_bedding(width, length, leg, 1, rng),
    ]


def _bedding(width: float, length: float, leg: float, pillows: int, rng: np.random.Generator) -> list[Part]:
    """A bed's frame at the height `leg`, its blanket and sheet, and one or two pillows side by side on +Y."""
    y, top = length / 2, leg + 0.22
    covered = length * vary(rng, 0.62, 0.06)
    parts: list[Part] = [
        (box(width - 0.04, length - 0.04, 0.10).moved(z=leg - 0.02), MAIN),
        (cushion(width + 0.06, covered, 0.24).moved(y=-y + covered / 2 + 0.02, z=top - 0.18), MAIN),
        (cushion(width + 0.08, 0.14, 0.20).moved(y=-y + covered, z=top - 0.12), MAIN.lighter()),
        (box(width - 0.02, length - covered, 0.17).moved(y=(covered - 0.12) / 2, z=top - 0.14), natural(CREAM)),
    ]
    pillow = cushion(width / pillows - 0.05, 0.24, 0.16).turned("x", 12)
    for k in range(pillows):
        parts.append((pillow.moved((k + 0.5 - pillows / 2) * width / pillows, y - 0.24, top + 0.01), DETAIL))
    return parts


@thing("umbrella")
def _umbrella(rng: np.random.Generator) -> list[Part]:
    """Open: a wide flat canopy, a deep bell or a pointed cone, its rim scalloped or even; the hook bends to +X."""
    mode = rng.integers(3)
    radius, rise = vary(rng, (0.58, 0.40, 0.50)[mode], 0.05), vary(rng, (0.24, 0.50, 0.46)[mode], 0.06)
    rim, fullness = vary(rng, (0.66, 0.52, 0.56)[mode], 0.04), (2.2, 3.0, 1.15)[mode]
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
