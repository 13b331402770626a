"""Damage by lot: what a writer of ours has written, with something else in its place."""

import copy
import json

NASTY = (
    *(None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**400, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        " ",
        "\x00",
        "\x1b]0;owned\x07",
        "\u202eback",
        "\udcff",
        "é\n",
        "..",
        "../../x",
        "C:x",
        "\\\\server\\share\\x",
    ),
    *("x" * 5000, [], {}, [[]], [None], {"": {}}, ["x"] * 50, "1", "1e999", "queued", "failed", {"pid": 1}),
)


def damaged_json(value, lot):
    """JSON text of the value, in which some of the parts are others, missing, or more; now and then no JSON at all."""
    value = copy.deepcopy(value)
    for _ in range(lot.randrange(1, 4)):
        value = _with_one_other(value, lot)
    text = json.dumps(value, ensure_ascii=lot.random() < 0.5)
    data = text.encode("utf-8", errors="surrogatepass")
    return damaged_bytes(data, lot) if lot.random() < 0.3 else data


def damaged_bytes(data, lot, within=None):
    """The bytes, some of which (of the first `within`) are others; now and then cut off."""
    damaged = bytearray(data)
    for _ in range(lot.randrange(1, 6)):
        if damaged:
            at = lot.randrange(min(len(damaged), within or len(damaged)))
            damaged[at] = lot.choice((*b'"[]{}:,0189-e.\\\n', lot.randrange(256)))
    return bytes(damaged[: lot.randrange(len(damaged) + 1)] if lot.random() < 0.2 else damaged)


def _with_one_other(value, lot):
    places = list(_places(value))
    if not places or lot.random() < 0.05:
        return copy.deepcopy(lot.choice(NASTY))
    holder, key = lot.choice(places)
    way = lot.randrange(5)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[lot.choice(("later", "uri", "extensions", "extras", "pid", "x" * 300))] = copy.deepcopy(
            lot.choice(NASTY)
        )
    else:
        holder[key] = copy.deepcopy(lot.choice(NASTY))
    return value


def _places(value):
    """Every part of a value, as what holds it and where."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
