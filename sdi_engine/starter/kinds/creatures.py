"""Animals and a robot: bird, rabbit, fish, robot. All face the front (-Y)."""

from __future__ import annotations

import numpy as np

from ..builder import Part, chance, thing, vary
from ..paint import BLACK, CARROT, COLOURS, DETAIL, GREY, LIGHT, MAIN, SKIN_PINK, STEEL, WHITE, Paint, natural
from ..solids import Solid, box, cone, cylinder, ellipsoid, lathe, prism, tube


@thing("bird")
def _bird(rng: np.random.Generator) -> list[Part]:
    """A plump songbird, a tall stork with a long neck, or a bird with raised wings.

    The beak and the eyes in front, the tail at the back, wings at the sides.
    """
    mode = rng.integers(3)
    width, height = vary(rng, (0.32, 0.25, 0.26)[mode], 0.06), vary(rng, (0.32, 0.26, 0.27)[mode], 0.06)
    head, leg = vary(rng, (0.22, 0.17, 0.20)[mode], 0.06), vary(rng, (0.10, 0.34, 0.14)[mode], 0.10)
    centre = leg + height * 0.92
    head_y, head_z = -0.17, centre + height * 0.72 + head * (1.6 if mode == 1 else 0.42)
    lift = rng.uniform(5, 50)
    tail = box(0.22, 0.34, 0.08, top=1.0).moved(y=0.17, z=-0.04).turned("x", lift)
    parts: list[Part] = [
        (ellipsoid(width, 0.36, height).turned("x", -18).moved(z=centre), MAIN),
        (ellipsoid(head).moved(y=head_y, z=head_z), MAIN),
        (tail.moved(y=0.26, z=centre + 0.06), MAIN),
        (_beak(rng).moved(y=head_y - head * 0.85, z=head_z - 0.02), natural(CARROT)),
    ]
    for side in (-1, 1):
        parts += _eye(side * head * 0.66, head_y - head * 0.62, head_z + head * 0.26, side * 0.5)
    if mode == 1:
        neck = tube([(0.0, -0.12, centre), (0.0, -0.17, head_z)], 0.10)
        parts.append((neck, MAIN))
    if mode == 2:
        parts += [(_spread_wing(side).moved(side * width * 0.7, 0.02, centre + 0.10), MAIN) for side in (-1, 1)]
    else:
        wing = ellipsoid(0.065, 0.25, height * 0.55).turned("x", -22)
        parts += [(wing.moved(side * width * 0.95, 0.09, centre + 0.02), MAIN.darker(0.72)) for side in (-1, 1)]
    if chance(rng, 0.35):
        crest = ellipsoid(0.05, 0.13, 0.10).turned("x", 35)
        parts.append((crest.moved(y=head_y + 0.04, z=head_z + head * 0.92), MAIN.darker(0.72)))
    return parts + _bird_feet(leg, centre - height * 0.7)


def _beak(rng: np.random.Generator) -> Solid:
    """A cone from the origin to the front, short and thick or long."""
    if chance(rng):
        return cone(0.10, 0.20).turned("x", 90)
    return cone(0.085, 0.32).turned("x", 97)


def _spread_wing(side: int) -> Solid:
    """A raised wing from the origin outwards: to +X for side 1, to -X for side -1."""
    wing = prism([(-0.06, -0.05), (0.44, -0.03), (0.44, 0.06), (-0.06, 0.09)], 0.30).turned("y", -35)
    return wing if side > 0 else wing.turned("z", 180)


def _bird_feet(leg: float, hip: float) -> list[Part]:
    """Two thick orange legs up to the hip, with flat feet that point to the front."""
    parts: list[Part] = []
    for side in (-1, 1):
        parts.append((cylinder(0.045, max(hip, leg)).moved(side * 0.11, 0.02), natural(CARROT)))
        parts.append((ellipsoid(0.085, 0.13, 0.05).moved(side * 0.12, -0.05, 0.045), natural(CARROT)))
    return parts


@thing("rabbit")
def _rabbit(rng: np.random.Generator) -> list[Part]:
    """Sitting upright with ears up, crouching with ears laid back, or a squat one with a big head and hanging ears.

    The face in front, a ball of a tail at the back.
    """
    mode = rng.integers(3)
    head, width = vary(rng, (0.19, 0.19, 0.29)[mode], 0.06), vary(rng, (0.23, 0.25, 0.28)[mode], 0.06)
    depth, height = (0.23, 0.42, 0.26)[mode], vary(rng, (0.36, 0.24, 0.22)[mode], 0.06)
    body_y = (0.05, 0.18, 0.05)[mode]
    head_y = (-0.08, -0.26, -0.10)[mode]
    head_z = height * (1.75, 1.20, 1.45)[mode] + head * (0.55, 0.45, 0.65)[mode]
    hip_y = body_y + (-0.02, 0.12, 0.02)[mode]
    parts: list[Part] = [
        (ellipsoid(width, depth, height).moved(y=body_y, z=height * 0.95), MAIN),
        (ellipsoid(head, head * 0.95, head * 0.9).moved(y=head_y, z=head_z), MAIN),
        (ellipsoid(0.11).moved(y=body_y + depth * 0.96, z=0.17), DETAIL),
        (ellipsoid(0.055, 0.05, 0.045).moved(y=head_y - head * 0.95, z=head_z - 0.02), natural(SKIN_PINK)),
        (box(0.09, 0.05, 0.075).moved(y=head_y - head * 0.80, z=head_z - head * 0.75), natural(WHITE)),
    ]
    length = vary(rng, (0.27, 0.25, 0.22)[mode], 0.10)
    tilt = (rng.uniform(6, 20), rng.uniform(8, 20), rng.uniform(115, 140))[mode]
    back = rng.uniform(45, 60) if mode == 1 else 0.0
    ear_x, ear_z = ((0.5, 0.72), (0.5, 0.66), (0.72, 0.66))[mode]
    for side in (-1, 1):
        parts += _eye(side * head * 0.52, head_y - head * 0.74, head_z + head * 0.28, side * 0.35)
        parts.append((ellipsoid(0.11, 0.19, 0.15).moved(side * width * 0.85, hip_y, 0.15), MAIN))
        parts.append((ellipsoid(0.085, 0.15, 0.06).moved(side * width * 0.62, hip_y - 0.22, 0.06), MAIN.lighter(0.3)))
        parts += _ear(length, side * tilt, back, (side * head * ear_x, head_y + 0.02, head_z + head * ear_z))
    if mode == 0:
        for side in (-1, 1):
            parts.append((ellipsoid(0.07, 0.11, 0.07).moved(side * 0.10, -0.19, height * 1.0), MAIN.lighter(0.3)))
    return parts


def _ear(length: float, tilt: float, back: float, place: tuple[float, float, float]) -> list[Part]:
    """A long ear, pink in front, that leans to +X by `tilt` and to the back by `back` degrees from upright."""
    outer = ellipsoid(0.09, 0.06, length).moved(z=length * 0.85)
    inner = ellipsoid(0.05, 0.05, length * 0.72).moved(y=-0.03, z=length * 0.88)
    return [
        (solid.turned("y", tilt).turned("x", -back).moved(*place), paint)
        for solid, paint in ((outer, MAIN), (inner, natural(SKIN_PINK)))
    ]


@thing("fish")
def _fish(rng: np.random.Generator) -> list[Part]:
    """A long low one with a forked tail, a flat one as tall as long with high fins, or a fat ball with a small tail.

    On a small stand: the mouth and the eyes in front, the tail fin at the back.
    """
    mode = rng.integers(3)
    length, half = vary(rng, (1.10, 0.66, 0.70)[mode], 0.06), vary(rng, (0.19, 0.34, 0.34)[mode], 0.06)
    width = vary(rng, (0.85, 0.50, 1.05)[mode], 0.06)
    lift = half + vary(rng, (0.14, 0.34, 0.12)[mode], 0.10)
    back = length * 0.42
    profile = [(0.0, 0.0), (0.42, 0.03), (0.75, 0.14), (0.97, 0.32), (1.0, 0.45), (0.86, 0.65), (0.55, 0.85)]
    profile += [(0.30, 1.0)]
    body = lathe([(radius * half, z * length) for radius, z in profile]).turned("x", -90).scaled(x=width)
    parts: list[Part] = [(body.moved(y=-length / 2, z=lift), MAIN)]
    if mode == 0:
        fork = vary(rng, 0.27, 0.08)
        for side in (-1, 1):
            lobe = [(0.0, -0.05), (0.26, 0.10), (0.30, fork), (0.16, fork * 0.92), (0.0, 0.08)]
            parts.append((_along_y([(y, side * z) for y, z in lobe][::side], 0.10).moved(y=back, z=lift), MAIN))
    else:
        fan = vary(rng, 0.27 if mode == 1 else 0.17, 0.08)
        outline = [(0.0, -0.07), (0.24, -fan), (0.31, -fan * 0.5), (0.31, fan * 0.5), (0.24, fan), (0.0, 0.07)]
        parts.append((_along_y(outline, 0.10).moved(y=back, z=lift), MAIN))
    if mode == 1:
        fin = [(-0.16, 0.0), (0.20, 0.0), (0.40, 0.31), (0.24, 0.34)]
        parts.append((_along_y(fin, 0.10).moved(z=lift + half * 0.80), MAIN))
        parts.append((_along_y([(y, -z) for y, z in fin][::-1], 0.10).moved(z=lift - half * 0.80), MAIN))
    else:
        top = [(-0.14, 0.0), (0.24, 0.0), (0.22, half * 0.45), (0.06, half * 0.62)]
        parts.append((_along_y(top, 0.10).moved(z=lift + half * 0.82), MAIN))
    for side in (-1, 1):
        paddle = ellipsoid(0.15, 0.10, 0.05).turned("y", side * 30).turned("z", side * 25)
        parts.append((paddle.moved(side * (half * width + 0.06), -0.02, lift - half * 0.30), MAIN))
        parts += _eye(side * half * width * 0.80, -length * 0.315, lift + half * 0.30, side * 1.1, 0.078)
    lips = ellipsoid(0.09, 0.05, 0.06).moved(y=-length / 2 - 0.005, z=lift)
    parts.append((lips, natural(SKIN_PINK)))
    parts.append((cylinder(0.20, 0.07, top=0.85), natural(STEEL)))
    parts.append((cylinder(0.06, lift - half * 0.7), natural(STEEL)))
    return parts


def _along_y(outline: list[tuple[float, float]], thickness: float) -> Solid:
    """A plate: a convex outline of (y, z) points, counter-clockwise seen from +X, thick along x, centred."""
    return prism(outline, thickness).turned("z", 90)


@thing("robot")
def _robot(rng: np.random.Generator) -> list[Part]:
    """A boxy one on legs, a slim tall one on long legs with a domed head, or a broad one with a big head on tracks.

    Shining eyes in a black visor and a panel on the chest in front, a pack on the back.
    """
    mode = rng.integers(3)
    hip = vary(rng, (0.22, 0.40, 0.24)[mode], 0.06)
    width, height = vary(rng, (0.46, 0.34, 0.54)[mode], 0.06), vary(rng, (0.38, 0.40, 0.24)[mode], 0.06)
    depth = vary(rng, (0.28, 0.24, 0.30)[mode], 0.06)
    head, head_height = vary(rng, (0.34, 0.30, 0.50)[mode], 0.06), vary(rng, (0.24, 0.24, 0.34)[mode], 0.06)
    neck = hip + height + 0.04
    parts: list[Part] = [
        (box(width, depth, height).moved(z=hip), MAIN),
        (box(0.14, 0.14, 0.08).moved(z=hip + height - 0.02), natural(STEEL)),
        (box(width * 0.55, 0.06, height * 0.34).moved(y=-depth / 2, z=hip + height * 0.45), DETAIL),
        (box(width * 0.62, 0.10, height * 0.62).moved(y=depth / 2 + 0.03, z=hip + height * 0.22), MAIN),
        (ellipsoid(0.05).moved(-width * 0.12, -depth / 2 - 0.02, hip + height * 0.62), natural(COLOURS["red"])),
        (ellipsoid(0.05).moved(width * 0.12, -depth / 2 - 0.02, hip + height * 0.62), natural(COLOURS["green"])),
    ]
    parts += _robot_head(rng, head, head_height, neck, domed=mode == 1)
    parts += _robot_arms(rng, width / 2, hip + height)
    return parts + (_tracks(width, hip) if mode == 2 else _legs(width, hip))


def _robot_head(rng: np.random.Generator, width: float, height: float, neck: float, domed: bool) -> list[Part]:
    """A box or a dome with a visor in front, two lamps for eyes, and antennas or ears."""
    depth = 0.26
    if not domed:
        skull = box(width, depth, height)
    else:
        skull, depth = (
            lathe(
                [
                    (width * 0.5, 0),
                    (width * 0.5, height * 0.45),
                    (width * 0.4, height * 0.85),
                    (width * 0.2, height * 1.1),
                ]
            ),
            width * 0.96,
        )
    visor = box(width * 0.80, 0.06, height * 0.48).moved(y=-depth / 2 + 0.005, z=neck + height * 0.32)
    parts: list[Part] = [(skull.moved(z=neck), MAIN), (visor, natural(BLACK))]
    for side in (-1, 1):
        eye = ellipsoid(0.062, 0.04, 0.062).moved(side * width * 0.20, -depth / 2 - 0.02, neck + height * 0.58)
        parts.append((eye, natural(LIGHT)))
        ear = cylinder(0.07, 0.08).turned("y", 90 * side).moved(side * (width / 2 - 0.03), 0, neck + height * 0.45)
        parts.append((ear, natural(STEEL)))
    antennas = ((), (0.0,), (-0.11, 0.11))[rng.integers(3)]
    for x in antennas:
        parts.append((cylinder(0.04, 0.14).moved(x, 0, neck + height - 0.02), natural(STEEL)))
        parts.append((ellipsoid(0.06).moved(x, 0, neck + height + 0.14), natural(COLOURS["red"])))
    return parts


def _robot_arms(rng: np.random.Generator, side_x: float, shoulder: float) -> list[Part]:
    """Two thick arms from the shoulders, hanging, or one of them raised."""
    raised = (None, None, -1, 1)[rng.integers(4)]
    parts: list[Part] = []
    for side in (-1, 1):
        x, down = side * (side_x + 0.065), -1 if side != raised else 1
        parts.append((ellipsoid(0.085).moved(x, 0, shoulder - 0.07), MAIN))
        low = shoulder - 0.32 if down < 0 else shoulder - 0.09
        parts.append((box(0.11, 0.13, 0.26).moved(x + side * 0.02, 0, low), MAIN))
        parts.append((ellipsoid(0.075).moved(x + side * 0.02, 0, shoulder - 0.07 + down * 0.26), natural(STEEL)))
    return parts


def _legs(width: float, hip: float) -> list[Part]:
    """Two box legs with feet that reach to the front."""
    parts: list[Part] = []
    for side in (-1, 1):
        x = side * width * 0.27
        parts.append((box(0.13, 0.15, hip).moved(x, 0, 0.02), MAIN))
        parts.append((box(0.17, 0.26, 0.08).moved(x, -0.04), natural(STEEL)))
    return parts


def _tracks(width: float, hip: float) -> list[Part]:
    """Two caterpillar tracks along y under a short waist."""
    parts: list[Part] = [(box(width * 0.7, 0.2, hip * 0.6).moved(z=hip * 0.45), MAIN)]
    y, top, cut = 0.24, hip * 0.80, 0.08
    outline = [(-y + cut, 0.0), (y - cut, 0.0), (y, top / 2), (y - cut, top), (-y + cut, top), (-y, top / 2)]
    for side in (-1, 1):
        x = side * (width / 2 - 0.02)
        parts.append((_along_y(outline, 0.15).moved(x), natural(BLACK)))
        for place in (-0.11, 0.11):
            hub = cylinder(0.06, 0.19).moved(z=-0.095).turned("y", 90)
            parts.append((hub.moved(x, place, top / 2), natural(GREY)))
    return parts


def _eye(x: float, y: float, z: float, turn: float, radius: float = 0.078) -> list[Part]:
    """A white ball with a pupil at the front, turned towards +X by `turn` radians."""
    pupil = radius * 0.72
    step = radius * 0.48
    look = (x + step * float(np.sin(turn)), y - step * float(np.cos(turn)), z)
    white: Paint = natural(WHITE)
    return [(ellipsoid(radius).moved(x, y, z), white), (ellipsoid(pupil).moved(*look), natural(BLACK))]
