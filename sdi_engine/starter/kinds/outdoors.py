"""Things outdoors: house, tree, cactus, mushroom, snowman, castle."""

from __future__ import annotations

import numpy as np

from ..builder import Part, chance, thing, vary
from ..paint import BARK, BLACK, CARROT, COLOURS, CREAM, DETAIL, GLASS, MAIN, SLATE, TERRACOTTA, Paint, natural
from ..solids import arc, box, cone, cylinder, ellipsoid, lathe, prism, tube


@thing("house")
def _house(rng: np.random.Generator) -> list[Part]:
    """The door in front, windows at the sides and in the back; a gable to the front, to the sides, or a hipped roof."""
    width, depth = vary(rng, 0.70, 0.10), vary(rng, 0.66, 0.10)
    wall, gable = vary(rng, 0.66, 0.08), vary(rng, 0.27, 0.12)
    roof: Paint = natural(TERRACOTTA if chance(rng) else SLATE)
    shape = rng.integers(3)
    if shape == 0:
        parts = _gabled(width, depth, wall, gable, roof)
    elif shape == 1:
        parts = [(solid.turned("z", 90), paint) for solid, paint in _gabled(depth, width, wall, gable * 0.85, roof)]
    else:
        hip = box(width + 0.10, depth + 0.10, gable * 0.9, top=0.25 if chance(rng) else 0.02).moved(z=wall)
        parts = [(box(width, depth, wall + 0.01), MAIN), (hip, roof)]
    if chance(rng, 0.7):
        chimney = box(0.13, 0.13, gable + 0.02).moved(width * 0.26, depth * 0.14, wall + 0.06)
        parts.append((chimney, natural(TERRACOTTA if roof == natural(SLATE) else SLATE)))
    return parts + _openings(rng, width / 2, depth / 2, wall)


def _gabled(width: float, depth: float, wall: float, gable: float, roof: Paint) -> list[Part]:
    """Walls and a roof with the gables in front and at the back."""
    x, eave = width / 2, 0.05
    slope = gable / x
    body = prism([(-x, 0), (x, 0), (x, wall), (0, wall + gable), (-x, wall)], depth)
    parts: list[Part] = [(body, MAIN)]
    for side in (-1, 1):
        outline = [(0.0, wall + gable), (side * (x + eave), wall - slope * eave)]
        outline = outline + [(px, pz + 0.08) for px, pz in reversed(outline)]
        parts.append((prism(outline if side > 0 else outline[::-1], depth + 0.08), roof))
    return parts


def _openings(rng: np.random.Generator, x: float, y: float, wall: float) -> list[Part]:
    """A brown door in front, in the middle or beside a window, and windows in the other walls."""
    window = box(0.19, 0.08, 0.20)
    door_x = 0.0 if chance(rng) else -x * 0.42
    places = [((0.0, y, wall * 0.45), 0), ((x, 0.0, wall * 0.45), 90), ((-x, 0.0, wall * 0.45), 90)]
    if door_x:
        places.append(((x * 0.45, -y, wall * 0.45), 0))
    parts: list[Part] = [
        (box(0.21, 0.07, 0.36).moved(door_x, -y), natural(BARK)),
        (ellipsoid(0.03).moved(door_x + 0.05, -y - 0.04, 0.18), natural(CREAM)),
    ]
    for place, turn in places:
        parts.append((window.turned("z", turn).moved(*place), natural(GLASS)))
    return parts


@thing("tree")
def _tree(rng: np.random.Generator) -> list[Part]:
    """A brown trunk under a round lumpy crown, a fir's tiers or one smooth egg; the same from all sides."""
    shape = rng.integers(3)
    trunk, height = vary(rng, 0.085, 0.12), vary(rng, 0.38, 0.12)
    if shape == 1:
        crown, height = _fir(rng, height * 0.55), height * 0.55
    elif shape == 2:
        half = vary(rng, 0.36, 0.10)
        crown = [(ellipsoid(vary(rng, 0.30, 0.10)).scaled(z=half / 0.30).moved(z=height + half * 0.8), MAIN)]
    else:
        crown = _lumpy(rng, height)
    bark = lathe([(trunk * 1.5, 0), (trunk, 0.10), (trunk * 0.9, height + 0.12)])
    return [(bark, natural(BARK)), *crown]


def _fir(rng: np.random.Generator, low: float) -> list[Part]:
    """Two or three cones, one on another, narrower upwards."""
    tiers = int(rng.integers(2, 4))
    radius, rise = vary(rng, 0.36, 0.10), 0.90 / (tiers + 1.2)
    parts: list[Part] = []
    for tier in range(tiers):
        wide = radius * (1 - 0.24 * tier)
        parts.append((cone(wide, rise * 1.9).moved(z=low + tier * rise), MAIN))
    return parts


def _lumpy(rng: np.random.Generator, height: float) -> list[Part]:
    """A ball with smaller balls around and on top."""
    crown = vary(rng, 0.31, 0.08)
    centre, turn = height + crown * 0.75, rng.uniform(0, 360)
    parts: list[Part] = [(ellipsoid(crown).moved(z=centre), MAIN)]
    for k in range(5):
        lump = ellipsoid(crown * vary(rng, 0.58, 0.10))
        lump = lump.moved(crown * 0.72, 0, centre + crown * (0.15 if k % 2 else -0.25))
        parts.append((lump.turned("z", turn + 72 * k), MAIN))
    return [*parts, (ellipsoid(crown * 0.62).moved(z=centre + crown * 0.62), MAIN)]


@thing("cactus")
def _cactus(rng: np.random.Generator) -> list[Part]:
    """In a pot or on a mound of sand, with one to three arms; the arms at the sides (X) differ in height."""
    radius, height = vary(rng, 0.155, 0.12), vary(rng, 0.60, 0.10)
    pot, low = vary(rng, 0.23, 0.10), vary(rng, 0.22, 0.12)
    if chance(rng, 0.7):
        ground: list[Part] = [
            (cylinder(pot * 0.75, low, top=1 / 0.75), natural(TERRACOTTA)),
            (cylinder(pot * 1.14, 0.08).moved(z=low - 0.05), natural(TERRACOTTA).darker()),
        ]
    else:
        low = 0.07
        ground = [(lathe([(0.36, 0), (0.33, 0.05), (0.2, 0.10)]), natural((0.86, 0.74, 0.50)))]
    parts: list[Part] = [
        *ground,
        (tube([(0, 0, low - 0.04), (0, 0, low + height)], radius), MAIN),
        (ellipsoid(radius).moved(z=low + height), MAIN),
    ]
    arms = [(1, 0.50, 0.26), (-1, 0.30, 0.22)]
    if chance(rng, 0.4):
        arms = [(-side, elbow, lift) for side, elbow, lift in arms]
    for side, elbow, lift in arms[: 1 if chance(rng, 0.2) else 2]:
        parts += _cactus_arm(radius, low + vary(rng, elbow, 0.12) * height, vary(rng, lift, 0.15), 90 - 90 * side)
    if chance(rng, 0.6):
        flower = COLOURS["pink"] if chance(rng) else COLOURS["yellow"]
        parts.append((ellipsoid(0.095, 0.095, 0.07).moved(z=low + height + radius), natural(flower)))
    return parts


def _cactus_arm(radius: float, z: float, lift: float, turn: float) -> list[Part]:
    """An arm that leaves the stem towards +X and bends upwards; turned about the stem."""
    reach, thick = radius + 0.16, radius * 0.68
    path = [(0.0, 0.0, z), *arc((reach - 0.10, z + 0.10), (0.10, 0.10), -90, 0, 8), (reach, 0.0, z + lift)]
    tip = ellipsoid(thick).moved(reach, 0, z + lift)
    return [(solid.turned("z", turn), MAIN) for solid in (tube(path, thick), tip)]


@thing("mushroom")
def _mushroom(rng: np.random.Generator) -> list[Part]:
    """A wide cap, domed, flat or pointed, on a pale stem; maybe a small one beside it on +X."""
    shape = rng.integers(3)
    cap, rise = vary(rng, (0.48, 0.54, 0.40)[shape], 0.08), vary(rng, (0.42, 0.30, 0.52)[shape], 0.10)
    stem, height = vary(rng, 0.17, 0.15), vary(rng, 0.36, 0.12)
    parts = _toadstool(cap, rise, stem, height, pointed=shape == 2)
    if chance(rng, 0.3):
        small = _toadstool(cap * 0.42, rise * 0.45, stem * 0.65, height * 0.55, pointed=shape == 2)
        parts += [(solid.moved(cap * 0.86, -cap * 0.45), paint) for solid, paint in small]
    return parts


def _toadstool(cap: float, rise: float, stem: float, height: float, pointed: bool) -> list[Part]:
    """One cap on one stem."""
    angles = np.linspace(0, np.pi / 2, 14)[:-1]
    waist = 1.7 if pointed else 1.0
    dome = [(cap * float(np.cos(a)) ** waist, rise * float(np.sin(a))) for a in angles]
    hat = lathe([(stem * 0.8, -0.02), (cap * 0.90, -0.07), *dome, (0.0, rise)]).moved(z=height)
    stalk = lathe([(stem * 1.15, 0), (stem * 1.25, 0.06), (stem, height * 0.5), (stem * 0.95, height + 0.02)])
    return [(hat, MAIN), (stalk, natural(CREAM))]


@thing("snowman")
def _snowman(rng: np.random.Generator) -> list[Part]:
    """Two or three balls and a hat; eyes, buttons and a long orange nose in front."""
    low, middle, head = vary(rng, 0.34, 0.08), vary(rng, 0.255, 0.08), vary(rng, 0.205, 0.08)
    z_low = low * 0.9
    parts: list[Part] = [(ellipsoid(low, low, low * 0.9).moved(z=z_low), MAIN)]
    if chance(rng, 0.65):
        z_body, body = z_low + 0.66 * (low + middle), middle
        parts.append((ellipsoid(middle).moved(z=z_body), MAIN))
        buttons = [(middle * 0.98, z_body + 0.02), (low * 0.98, z_low + 0.03)]
    else:
        z_body, body, head = z_low, low, head * 1.25
        buttons = [(low * 0.96, z_low + 0.12), (low * 0.99, z_low - 0.04)]
    z_head = z_body + 0.74 * (body + head)
    nose = cone(0.075, 0.28).turned("x", 90).moved(0, -head * 0.9, z_head - 0.01)
    parts += [(ellipsoid(head).moved(z=z_head), MAIN), (nose, natural(CARROT))]
    for side in (-1, 1):
        place = (side * head * 0.44, -head * 0.83, z_head + head * 0.36)
        parts.append((ellipsoid(0.065, 0.05, 0.065).moved(*place), natural((0.95, 0.95, 0.94))))
        parts.append((ellipsoid(0.045).moved(place[0], place[1] - 0.025, place[2]), natural(BLACK)))
    parts += [(ellipsoid(0.052).moved(0, -y, z), natural(BLACK)) for y, z in buttons]
    if chance(rng, 0.7):
        scarf = COLOURS["green"] if chance(rng) else COLOURS["red"]
        parts.append((cylinder(head * 0.98, 0.085).moved(z=z_head - head * 0.95), natural(scarf)))
    if chance(rng, 0.5):
        parts += _stick_arms(body, z_body)
    return parts + _hat(rng, head, z_head)


def _stick_arms(body: float, z: float) -> list[Part]:
    """Two thick sticks that point outwards and up."""
    arms = []
    for side in (-1, 1):
        stick = cylinder(0.042, 0.30).moved(z=body * 0.85).turned("y", side * 62).moved(z=z)
        arms.append((stick, natural(BARK)))
    return arms


def _hat(rng: np.random.Generator, head: float, z_head: float) -> list[Part]:
    """A black top hat, or a woollen cap with a ball."""
    brim = z_head + head * 0.70
    if chance(rng, 0.65):
        tall = vary(rng, 0.19, 0.15)
        return [
            (cylinder(head * 1.15, 0.07).moved(z=brim), natural(BLACK)),
            (cylinder(head * 0.76, tall).moved(z=brim + 0.05), natural(BLACK)),
        ]
    wool = COLOURS["red"] if chance(rng) else COLOURS["blue"]
    return [
        (lathe([(head * 0.92, 0), (head * 0.85, 0.09), (head * 0.35, 0.22)]).moved(z=brim - 0.06), natural(wool)),
        (ellipsoid(0.085).moved(z=brim + 0.20), DETAIL),
    ]


@thing("castle")
def _castle(rng: np.random.Generator) -> list[Part]:
    """A squat stone tower with battlements, round, or square with four turrets; the brown gate in front."""
    if chance(rng):
        radius, height = vary(rng, 0.36, 0.08), vary(rng, 0.60, 0.10)
        wall = lathe([(radius * 1.06, 0), (radius, 0.12), (radius, height - 0.08), (radius * 1.14, height)])
        parts: list[Part] = [(wall, MAIN), *_merlons(radius * 1.14 - 0.055, 8, height, 0.18)]
        front = radius
        if chance(rng, 0.6):
            parts += _keep(radius * 0.55, height, roof=chance(rng))
    else:
        width, height = vary(rng, 0.66, 0.08), vary(rng, 0.46, 0.10)
        parts = [(box(width, width, height), MAIN)]
        parts += _turrets(rng, width / 2, height)
        front = width / 2
        x = width / 2 - 0.02
        for k in range(4):
            parts.append((box(0.15, 0.11, 0.11).moved(0, -x, height - 0.005).turned("z", 90 * k), MAIN))
        if chance(rng):
            parts += _keep(width * 0.24, height, roof=chance(rng))
    return parts + _gate(rng, front, height)


def _merlons(radius: float, count: int, z: float, width: float) -> list[Part]:
    """Battlements: blocks in a ring, one of them in front."""
    block = box(width, 0.11, 0.14).moved(0, -radius, z - 0.005)
    return [(block.turned("z", 360 * k / count), MAIN) for k in range(count)]


def _keep(radius: float, z: float, roof: bool) -> list[Part]:
    """A narrower round tower in the middle, with a pointed roof or a flag."""
    parts: list[Part] = [(cylinder(radius, 0.26).moved(z=z - 0.01), MAIN)]
    if roof:
        return [*parts, (cone(radius * 1.3, 0.28).moved(z=z + 0.24), natural(SLATE))]
    flag = prism([(0.0, 0.0), (0.26, 0.08), (0.0, 0.16)], 0.07)
    return [
        *parts,
        (cylinder(0.04, 0.34).moved(z=z + 0.24), natural(BARK)),
        (flag.turned("z", 30).moved(z=z + 0.40), natural(COLOURS["red"])),
    ]


def _turrets(rng: np.random.Generator, x: float, height: float) -> list[Part]:
    """Four round corner towers, all with pointed roofs or all with a wide rim."""
    pointed, radius, tall = chance(rng), vary(rng, 0.14, 0.08), height + vary(rng, 0.13, 0.15)
    parts: list[Part] = []
    for sx in (-1, 1):
        for sy in (-1, 1):
            parts.append((cylinder(radius, tall).moved(sx * x, sy * x), MAIN))
            if pointed:
                parts.append((cone(radius * 1.3, 0.24).moved(sx * x, sy * x, tall - 0.005), natural(SLATE)))
            else:
                parts.append((cylinder(radius * 1.05, 0.12, top=1.2).moved(sx * x, sy * x, tall - 0.01), MAIN))
    return parts


def _gate(rng: np.random.Generator, front: float, height: float) -> list[Part]:
    """A round-topped brown gate in front, and dark slits for windows above it and in the other walls."""
    half, side = vary(rng, 0.125, 0.10), vary(rng, 0.20, 0.10)

    def arch(half: float, side: float) -> list[tuple[float, float]]:
        return [(-half, 0.0), (half, 0.0), *((x, z) for x, _, z in arc((0.0, side), (half, half), 0, 180, 9))]

    slit = box(0.085, 0.09, 0.16).moved(0, -front + 0.005, height * 0.48)
    return [
        (prism(arch(half + 0.05, side), 0.12).moved(y=-front), DETAIL),
        (prism(arch(half, side), 0.18).moved(y=-front), natural(BARK)),
        *((slit.turned("z", turn), natural(BLACK)) for turn in (90, 180, 270)),
    ]
