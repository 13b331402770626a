"""Things outdoors: house, tree, cactus, mushroom, snowman, castle."""

from __future__ import annotations

import numpy as np

from ..builder import Part, chance, thing, vary
from ..paint import BARK, BLACK, CARROT, COLOURS, CREAM, DETAIL, GLASS, MAIN, SLATE, TERRACOTTA, Paint, natural
from ..solids import arc, box, cone, cylinder, ellipsoid, lathe, prism, tube


@thing("house")
def _house(rng: np.random.Generator) -> list[Part]:
    """A squat cottage under a long roof, a narrow one with a steep gable in front, or two storeys under a hipped roof.

    The door in front, windows at the sides and in the back.
    """
    mode = rng.integers(3)
    roof: Paint = natural(TERRACOTTA if chance(rng) else SLATE)
    width, depth = vary(rng, (0.98, 0.48, 0.80)[mode], 0.05), vary(rng, (0.60, 0.52, 0.70)[mode], 0.05)
    wall, gable = vary(rng, (0.40, 0.84, 0.78)[mode], 0.05), vary(rng, (0.30, 0.36, 0.24)[mode], 0.08)
    if mode == 0:
        parts = [(solid.turned("z", 90), paint) for solid, paint in _gabled(depth, width, wall, gable, roof)]
    elif mode == 1:
        parts = _gabled(width, depth, wall, gable, roof)
    else:
        hip = box(width + 0.12, depth + 0.12, gable, top=0.35).moved(z=wall)
        parts = [(box(width, depth, wall + 0.01), MAIN), (hip, roof)]
    if chance(rng):
        chimney = box(0.14, 0.14, gable + 0.06).moved(width * 0.28, depth * 0.14, wall + 0.04)
        parts.append((chimney, natural(TERRACOTTA if roof == natural(SLATE) else SLATE)))
    return parts + _openings(rng, width / 2, depth / 2, (0.12,) if mode == 0 else (0.14, 0.52))


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


def _openings(rng: np.random.Generator, x: float, y: float, storeys: tuple[float, ...]) -> list[Part]:
    """A brown door in front, maybe beside a window; in the other walls windows, at the heights of the storeys."""
    window = box(0.19, 0.08, 0.20)
    door_x = 0.0 if x < 0.3 or chance(rng) else -x * 0.45
    places = [(place, turn, z) for z in storeys for place, turn in (((0.0, y), 0), ((x, 0.0), 90), ((-x, 0.0), 90))]
    if door_x:
        places.append(((x * 0.45, -y), 0, storeys[0]))
    for z in storeys[1:]:
        places += [((place, -y), 0, z) for place in ((0.0,) if x < 0.3 else (-x * 0.45, x * 0.45))]
    parts: list[Part] = [
        (box(0.21, 0.07, 0.32).moved(door_x, -y), natural(BARK)),
        (ellipsoid(0.03).moved(door_x + 0.05, -y - 0.04, 0.16), natural(CREAM)),
    ]
    parts += [(window.turned("z", turn).moved(*place, z), natural(GLASS)) for place, turn, z in places]
    return parts


@thing("tree")
def _tree(rng: np.random.Generator) -> list[Part]:
    """A wide lumpy crown on a stout trunk, a fir's tiers, or a slim poplar; the same from all sides."""
    mode = rng.integers(3)
    trunk, height = vary(rng, (0.11, 0.085, 0.085)[mode], 0.10), vary(rng, (0.42, 0.20, 0.24)[mode], 0.10)
    if mode == 0:
        crown = _lumpy(rng, height)
    elif mode == 1:
        crown = _fir(rng, height)
    else:
        half = vary(rng, 0.50, 0.06)
        crown = [(ellipsoid(vary(rng, 0.22, 0.08)).scaled(z=half / 0.22).moved(z=height + half * 0.85), MAIN)]
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
    """A ball with smaller balls around and on top, wider than high."""
    crown = vary(rng, 0.31, 0.08)
    centre, turn = height + crown * 0.6, rng.uniform(0, 360)
    parts: list[Part] = [(ellipsoid(crown * 1.15, crown * 1.15, crown).moved(z=centre), MAIN)]
    for k in range(5):
        lump = ellipsoid(crown * vary(rng, 0.62, 0.10))
        lump = lump.moved(crown * 0.95, 0, centre + crown * (0.10 if k % 2 else -0.20))
        parts.append((lump.turned("z", turn + 72 * k), MAIN))
    return [*parts, (ellipsoid(crown * 0.62).moved(z=centre + crown * 0.55), MAIN)]


@thing("cactus")
def _cactus(rng: np.random.Generator) -> list[Part]:
    """A tall stem with arms at the sides (X), a ribbed ball, or flat pads; in a pot or on a mound of sand."""
    pot, low = vary(rng, 0.23, 0.10), vary(rng, 0.22, 0.12)
    if chance(rng, 0.7):
        ground: list[Part] = [
            (cylinder(pot * 0.75, low, top=1 / 0.75), natural(TERRACOTTA)),
            (cylinder(pot * 1.14, 0.08).moved(z=low - 0.05), natural(TERRACOTTA).darker()),
        ]
    else:
        low = 0.07
        ground = [(lathe([(0.36, 0), (0.33, 0.05), (0.2, 0.10)]), natural((0.86, 0.74, 0.50)))]
    flesh, top = (_cactus_column, _cactus_ball, _cactus_pads)[rng.integers(3)](rng, low)
    if chance(rng, 0.6):
        flower = COLOURS["pink"] if chance(rng) else COLOURS["yellow"]
        flesh.append((ellipsoid(0.095, 0.095, 0.07).moved(z=top), natural(flower)))
    return ground + flesh


def _cactus_column(rng: np.random.Generator, low: float) -> tuple[list[Part], float]:
    """A stem from the height `low` on with an arm on either side; and the height of its top."""
    radius, height = vary(rng, 0.15, 0.10), vary(rng, 0.66, 0.08)
    parts: list[Part] = [
        (tube([(0, 0, low - 0.04), (0, 0, low + height)], radius), MAIN),
        (ellipsoid(radius).moved(z=low + height), MAIN),
    ]
    first = 1 if chance(rng) else -1
    for side, elbow, lift in ((first, 0.50, 0.26), (-first, 0.30, 0.22)):
        parts += _cactus_arm(radius, low + vary(rng, elbow, 0.12) * height, vary(rng, lift, 0.15), 90 - 90 * side)
    return parts, low + height + radius


def _cactus_arm(radius: float, z: float, lift: float, turn: float) -> list[Part]:
    """An arm that leaves the stem towards +X and bends upwards; turned about the stem."""
    reach, thick = radius + 0.16, radius * 0.68
    path = [(0.0, 0.0, z), *arc((reach - 0.10, z + 0.10), (0.10, 0.10), -90, 0, 8), (reach, 0.0, z + lift)]
    tip = ellipsoid(thick).moved(reach, 0, z + lift)
    return [(solid.turned("z", turn), MAIN) for solid in (tube(path, thick), tip)]


def _cactus_ball(rng: np.random.Generator, low: float) -> tuple[list[Part], float]:
    """A fat ball with eight ribs that sits on the height `low`; and the height of its top."""
    radius, height = vary(rng, 0.34, 0.06), vary(rng, 0.30, 0.08)
    centre = low + height * 0.85
    rib = ellipsoid(0.09, 0.09, height * 0.75).moved(x=radius * 0.84)
    ribs: list[Part] = [(rib.moved(z=centre).turned("z", 45 * k), MAIN) for k in range(8)]
    return [(ellipsoid(radius * 0.95, radius * 0.95, height).moved(z=centre), MAIN), *ribs], centre + height


def _cactus_pads(rng: np.random.Generator, low: float) -> tuple[list[Part], float]:
    """Flat round pads on one another, two of them spread to the sides; and the height of the top."""
    size = vary(rng, 0.25, 0.06)
    pad = ellipsoid(size, 0.12, size * 1.15)
    first = low + size
    parts: list[Part] = [(pad.moved(z=first), MAIN), (pad.scaled(0.8, 1, 0.8).moved(z=first + size * 1.6), MAIN)]
    for side in (-1, 1):
        leaf = ellipsoid(size * 0.62, 0.11, size * 0.85).moved(z=size * 0.8).turned("y", side * vary(rng, 48, 0.12))
        parts.append((leaf.moved(side * size * 0.55, 0, first + size * 0.45), MAIN))
    return parts, first + size * 2.5


@thing("mushroom")
def _mushroom(rng: np.random.Generator) -> list[Part]:
    """A flat parasol on a slim stem, a thick low one, or a tall bell; maybe a small one beside it on +X."""
    mode = rng.integers(3)
    cap, rise = vary(rng, (0.56, 0.40, 0.32)[mode], 0.06), vary(rng, (0.18, 0.38, 0.58)[mode], 0.08)
    stem, height = vary(rng, (0.12, 0.25, 0.13)[mode], 0.10), vary(rng, (0.62, 0.36, 0.44)[mode], 0.10)
    parts = _toadstool(cap, rise, stem, height, pointed=mode == 2)
    if chance(rng, 0.3):
        small = _toadstool(cap * 0.42, rise * 0.45, stem * 0.65, height * 0.55, pointed=mode == 2)
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
    """Three slim balls with a top hat and sticks for arms, or two fat ones with a woollen cap.

    Eyes, buttons and a long orange nose in front.
    """
    slim = chance(rng)
    low, middle, head = vary(rng, 0.29 if slim else 0.42, 0.06), vary(rng, 0.235, 0.06), vary(rng, 0.20, 0.06)
    z_low = low * 0.9
    parts: list[Part] = [(ellipsoid(low, low, low * 0.9).moved(z=z_low), MAIN)]
    if slim:
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
    if slim:
        parts += _stick_arms(body, z_body)
    return parts + _hat(rng, head, z_head, top_hat=slim)


def _stick_arms(body: float, z: float) -> list[Part]:
    """Two thick sticks that point outwards and up."""
    arms = []
    for side in (-1, 1):
        stick = cylinder(0.042, 0.30).moved(z=body * 0.85).turned("y", side * 62).moved(z=z)
        arms.append((stick, natural(BARK)))
    return arms


def _hat(rng: np.random.Generator, head: float, z_head: float, top_hat: bool) -> list[Part]:
    """A black top hat, or a woollen cap with a ball."""
    brim = z_head + head * 0.70
    if top_hat:
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
    """One tall round tower, a wide low fort with four turrets, or two towers beside a gate; the brown gate in front."""
    mode = rng.integers(3)
    if mode == 0:
        radius, height = vary(rng, 0.27, 0.06), vary(rng, 0.86, 0.05)
        wall = lathe([(radius * 1.12, 0), (radius, 0.14), (radius, height - 0.10), (radius * 1.22, height)])
        parts: list[Part] = [(wall, MAIN), *_merlons(radius * 1.22 - 0.055, 6, height, 0.16)]
        return parts + _gate(rng, radius, height * 0.7)
    if mode == 1:
        width, height = vary(rng, 0.78, 0.05), vary(rng, 0.34, 0.06)
        parts = [(box(width, width, height), MAIN), *_turrets(rng, width / 2, height)]
        for k in range(4):
            parts.append((box(0.17, 0.11, 0.11).moved(0, 0.02 - width / 2, height - 0.005).turned("z", 90 * k), MAIN))
        if chance(rng):
            parts += _keep(width * 0.20, height, roof=chance(rng))
        return parts + _gate(rng, width / 2, height)
    radius, height, front = vary(rng, 0.21, 0.06), vary(rng, 0.70, 0.06), 0.15
    parts = [(box(0.70, 2 * front, height * 0.66), MAIN)]
    for x in (-0.36, 0.36):
        parts.append((cylinder(radius, height).moved(x), MAIN))
        parts.append((cone(radius * 1.25, 0.32).moved(x, 0, height - 0.005), natural(SLATE)))
    return parts + _gate(rng, front, height * 0.66, sides=0.36 + radius)


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


def _gate(rng: np.random.Generator, front: float, height: float, sides: float | None = None) -> list[Part]:
    """A round-topped brown gate in front, and dark slits in the other walls; `sides`: x of those at the sides."""
    half, side = vary(rng, 0.125, 0.10), vary(rng, 0.14, 0.10)

    def arch(half: float, side: float) -> list[tuple[float, float]]:
        return [(-half, 0.0), (half, 0.0), *((x, z) for x, _, z in arc((0.0, side), (half, half), 0, 180, 9))]

    slit = box(0.085, 0.09, 0.16)
    beside = front if sides is None else sides
    walls = ((90, beside), (180, front), (270, beside))
    return [
        (prism(arch(half + 0.05, side), 0.12).moved(y=-front), DETAIL),
        (prism(arch(half, side), 0.18).moved(y=-front), natural(BARK)),
        *((slit.moved(0, 0.005 - wall, height * 0.48).turned("z", turn), natural(BLACK)) for turn, wall in walls),
    ]
