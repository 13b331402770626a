"""What a run needs of a device's memory, and what is done to make it fit: by headers and configurations alone.

Standard library only: it is said before anything is loaded, in Blender too. `weigh` finds what a model weighs, `plan`
what a run with it needs on a device and the measures that it takes there, in their order, and the engine takes them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..config.parameters import AUTO, NO_PARTS, Parts
from ..config.settings import Settings
from .families import Family
from .header import Header, current_name, read_header, read_shapes
from .location import HINTS_FILE, INDEX_FILE, locate, read_object
from .model_index import present, read_index
from .parts import file_of_tiny
from .parts import plan as plan_of_parts
from .tiny_vae import tiny_encoder_in
from .weight_bytes import FULL, PACKINGS, Precision, bytes_of, narrow_kind

Device = Literal["cpu", "cuda", "mps"]
Measure = Literal["graphs again", "one by one", "graphs in parts", "16 bits", "turns", "8-bit", "4-bit"]

MEASURES: dict[Measure, str] = {
    "graphs again": "the VAE encodes each picture twice",
    "one by one": "the model is asked about one picture at a time",
    "graphs in parts": "the VAE works through a picture in parts",
    "16 bits": "the VAE works in 16 bits",
    "turns": "the VAE and the model take turns on the graphics card",
    "8-bit": "the model's weights are packed to 8 bits",
    "4-bit": "the model's weights are packed to 4 bits",
}
"""What is done to make a run fit, in this order, and how a person is told."""

_OF_CARDS: tuple[Measure, ...] = ("turns", "8-bit", "4-bit")
_OF_GRADIENTS: tuple[Measure, ...] = ("graphs again", "graphs in parts", "16 bits")

GRAPH_BYTES = 95
"""That a VAE's encoder in float32 holds for its gradient by pixel and channel of its first block: 3.2 GB for the 512²
pixels and 128 channels of Stable Diffusion's, measured."""

GRAPH_SHARES: dict[Measure, float] = {"graphs in parts": 0.7, "16 bits": 0.5}
"""That is left of it with these measures, measured."""

DECODING_SHARE = 0.53
"""What decoding one image holds, beside the graph of encoding it: 6.7 GB for 1024² pixels, measured."""

ENCODING_SHARE = 0.33
"""That encoding one image without a gradient holds of the graph: 31 of those bytes at 128² pixels, measured."""

TINY_GRAPH_BYTES = 31
"""That a tiny VAE's encoder keeps for its gradient by pixel and channel of its layers: 30.5 for TAESD's, whose saved
tensors were counted at 256² pixels."""

TILE = 64
"""Edge of a tile in cells, in which images are decoded where memory is short; they overlap by a quarter."""

ASKED_NUMBERS = 18_000
"""Numbers by latent cell that one evaluation of a denoiser holds at its peak: 0.3 GB for the 64² cells of Stable
Diffusion 2.1 in float32, measured."""

BASE_BYTES: dict[Device, int] = {"cpu": 3 * 2**29, "cuda": 5 * 2**28, "mps": 3 * 2**29}
"""Of torch and the other libraries, with the 3D and its optimiser: measured on the CPU, with CUDA assumed."""

SURE_SHARE = 0.8
"""A run is refused only where this share of what it needs is not there, since the rest is an estimate."""

RESOLUTION = 1024
"""Of models that do not say theirs."""

SMALLER = (768, 512, 384, 256)
_GIB = 2**30


@dataclass(frozen=True)
class Weights:
    """What a model weighs, and what decides how much its work takes.

    Attributes:
        family: its label.
        parts: the bytes of its parts by their names in a pipeline, on each device.
        packed: those of its denoiser on each device, packed when it is loaded.
        denoiser: which of the parts it is.
        resolution: height and width in pixels of its images.
        pixels_per_cell: pixels along the edge of a cell of its latents.
        vae_channels: of the first block of its VAE; 0 without one.
        tiny_channels: of the layers of the tiny VAE that gradients pass instead; 0 without one.
    """

    family: str
    parts: Mapping[str, Mapping[Device, int]]
    packed: Mapping[Precision, Mapping[Device, int]]
    denoiser: str
    resolution: int
    pixels_per_cell: int
    vae_channels: int
    tiny_channels: int = 0

    def bytes_of(self, part: str, device: Device) -> int:
        """That a part takes on a device; 0 where the model has none of this name."""
        return self.parts[part][device] if part in self.parts else 0

    def denoiser_bytes(self, device: Device, measures: Collection[Measure]) -> int:
        """Of the denoiser, with these measures."""
        packing = next((each for each in reversed(PACKINGS) if each in measures), FULL)
        return self.bytes_of(self.denoiser, device) if packing == FULL else self.packed[packing][device]

    def gains_by(self, packing: Precision, device: Device) -> bool:
        """Whether packing makes its denoiser smaller: one whose file is quantized stays as it is."""
        return packing != FULL and self.packed[packing][device] < self.bytes_of(self.denoiser, device)

    def encoder_bytes(self, device: Device) -> int:
        """Of all text encoders together."""
        return sum(self.bytes_of(part, device) for part in self.parts if part.startswith("text_encoder"))


@dataclass(frozen=True)
class Plan:
    """What a run needs and what is done for it.

    Attributes:
        need: bytes at the peak, with the measures taken.
        free: bytes that the device has for it.
        measures: that are taken, in the order of `MEASURES`.
        advice: settings with which it would fit, as the end of a sentence; "" where it fits.
    """

    need: int
    free: int
    measures: tuple[Measure, ...]
    advice: str = ""

    @property
    def is_hopeless(self) -> bool:
        """Whether it cannot be begun."""
        return bool(self.advice)

    def words(self, device: Device, are: str = "are free") -> str:
        """One sentence for a person; `are` says what the device's bytes are."""
        where = "on the graphics card" if device == "cuda" else "of memory"
        said = f"Needs about {gib(self.need)} {where}, and {gib(self.free)} {are}"
        if self.is_hopeless:
            return f"{said}: {self.advice}."
        unsure = " That may not be enough." if self.need > self.free else ""
        done = f": {', '.join(MEASURES[each] for each in self.measures)}" if self.measures else ""
        return f"{said}{done}.{unsure}"


@dataclass(frozen=True)
class Work:
    """What a run does at once.

    Attributes:
        resolution: of the renders, in pixels.
        views: of a step, or pictures that are drawn at once.
        texts: that the model is asked with about each view: 2 with guidance, more with Perp-Neg.
        is_3d: whether renders are encoded, and the gradient of that is found; else pictures are only decoded.
    """

    resolution: int
    views: int
    texts: int = 2
    is_3d: bool = True

    @classmethod
    def of(cls, settings: Settings, resolution: int) -> Work:
        """That of a run with some settings, in so many pixels."""
        return cls(resolution, settings.views_per_step, 2 if settings.perp_neg == "off" else 4)


def weigh(model: str, given: Parts = NO_PARTS) -> Weights | None:
    """What a model on this computer weighs; None for one of the hub, of which nothing is known before it is here.

    Args:
        model: as in `location.locate`.
        given: files and folders for networks that it does not hold, or instead of its own.

    Raises:
        EngineError: it is not a model, or not one of a supported family, or it is cut off.
    """
    location = locate(model)
    if location.kind == "hub":
        return None
    path = Path(location.sources[0])
    planned = plan_of_parts(model, given)
    assert planned is not None
    others = {part: read_header(network.path) for part, network in planned.given.items()}
    if location.kind == "folder":
        index = read_index(path / INDEX_FILE, model)
        own = [part for part in planned.family.networks if part in present(index) and part not in others]
        found = _weights(planned.family, {part: read_header(path / part) for part in own} | others, path)
    else:
        found = _weights(planned.family, _parts_in(path, planned.family) | others, planned.config)
    tiny = planned.tiny_vae and tiny_encoder_in(read_shapes(file_of_tiny(planned.tiny_vae)))
    return replace(found, tiny_channels=tiny.width) if tiny else found


def plan(
    weights: Weights,
    work: Work,
    device: Device,
    free: int,
    may_pack: bool = False,
    precision: str = AUTO,
    is_loaded: bool = False,
) -> Plan:
    """The fewest measures with which a run fits, or all of them.

    Args:
        free: bytes that the device has for the model and the run.
        may_pack: whether the model's weights can be packed when it is loaded, where nothing is said of them.
        precision: as in a request; of a model that is loaded, to what it was packed.
        is_loaded: whether the model is; else it has to pass through memory as it is, but for graphics cards.
    """
    possible = while_loaded(work, device, weights)
    if may_pack and precision == AUTO and device == "cuda":
        possible += [each for each in PACKINGS if weights.gains_by(each, device)]
    taken: list[Measure] = [each for each in PACKINGS if each == precision and weights.gains_by(each, device)]
    while need(weights, work, device, taken) > free and possible:
        taken.append(possible.pop(0))
    as_it_is = weights.denoiser_bytes(device, ()) + weights.bytes_of("vae", device)
    passing = 0 if is_loaded or device == "cuda" else BASE_BYTES[device] + as_it_is
    least = max(need(weights, work, device, taken), passing)
    hopeless = _is_too_much(least, device, free)
    return Plan(least, free, tuple(taken), _advice(weights, work, device, free, taken, passing) if hopeless else "")


def while_loaded(work: Work, device: Device, weights: Weights | None) -> list[Measure]:
    """The measures that can be taken with a model that is loaded; `weights` is None where nothing is known of it."""
    has_vae = weights is None or weights.vae_channels > 0
    return [
        each
        for each in MEASURES
        if each not in PACKINGS
        and (device == "cuda" or each not in _OF_CARDS)
        and (work.is_3d or each not in _OF_GRADIENTS)
        and (has_vae or each == "one by one")
    ]


def smaller(work: Work, device: Device, measures: Collection[Measure], weights: Weights | None) -> str:
    """The settings of a smaller run that would fit where this one did not, although it took all of these measures.

    Args:
        weights: None where nothing is known of the model.

    Returns:
        The settings, as a part of a sentence; "" if there are none.
    """
    if weights is None or not weights.vae_channels:
        return next((_named(each, work) for each in _smaller(work)), "")
    too_much = _working(weights, work, device, measures)
    fit = (each for each in _smaller(work) if _working(weights, each, device, measures) <= SURE_SHARE * too_much)
    return next((_named(each, work) for each in fit), "")


def need(weights: Weights, work: Work, device: Device, measures: Collection[Measure]) -> int:
    """Bytes at the peak of a run; the text encoders are freed before its first step."""
    denoiser, vae = weights.denoiser_bytes(device, measures), weights.bytes_of("vae", device)
    encoders = weights.encoder_bytes(device)
    reading = max(denoiser, encoders) + vae if device == "cuda" else denoiser + vae + encoders
    return BASE_BYTES[device] + max(_working(weights, work, device, measures), reading)


def _working(weights: Weights, work: Work, device: Device, measures: Collection[Measure]) -> int:
    """Bytes at the peak of the loop."""
    denoiser, vae = weights.denoiser_bytes(device, measures), weights.bytes_of("vae", device)
    images = 1 if "one by one" in measures else work.views * work.texts
    asked = images * work_bytes(weights, work.resolution, device)
    graph = int(graph_bytes(weights, work.resolution) * math.prod(GRAPH_SHARES.get(each, 1.0) for each in measures))
    tile = min(work.resolution, TILE * weights.pixels_per_cell)
    of_vae = graph if work.is_3d else int(graph_bytes(weights, tile) * DECODING_SHARE)
    if work.is_3d and weights.tiny_channels:
        of_vae, graph = int(graph * ENCODING_SHARE), tiny_graph_bytes(weights, work.resolution)
        if "graphs again" in measures:
            of_vae = max(of_vae, graph)
        else:
            asked += work.views * graph
    if "turns" in measures:
        return max(denoiser + asked, vae + of_vae)
    if "graphs again" in measures or not work.is_3d or weights.tiny_channels:
        return denoiser + vae + max(asked, of_vae)
    return denoiser + vae + asked + work.views * graph


def work_bytes(weights: Weights, resolution: int, device: Device) -> int:
    """That one evaluation of the denoiser holds."""
    cells = (resolution / weights.pixels_per_cell) ** 2
    return int(cells * ASKED_NUMBERS * (2 if device == "cuda" else 4)) if weights.vae_channels else 0


def graph_bytes(weights: Weights, resolution: int) -> int:
    """That the gradient of encoding one image takes."""
    return resolution**2 * weights.vae_channels * GRAPH_BYTES


def tiny_graph_bytes(weights: Weights, resolution: int) -> int:
    """That the gradient of the tiny VAE's encoder takes for one image; it is held while the model is asked."""
    return resolution**2 * weights.tiny_channels * TINY_GRAPH_BYTES


def _is_too_much(least: int, device: Device, free: int) -> bool:
    """Whether what a run needs at least is certainly not there; what the libraries take, which are there, aside."""
    return SURE_SHARE * (least - BASE_BYTES[device]) > free


def _advice(
    weights: Weights, work: Work, device: Device, free: int, measures: Collection[Measure], passing: int
) -> str:
    """Which setting would fit, where the model takes `passing` bytes while it is loaded, whatever the settings."""
    for each in _smaller(work):
        least = max(need(weights, each, device, measures), passing)
        if not _is_too_much(least, device, free):
            return f"choose {_named(each, work)}"
    other = ", or the device cpu" if device == "cuda" else ""
    return f"close other programs, or choose a smaller model, such as Stable Diffusion 1.5 or the starter prior{other}"


def _smaller(work: Work) -> Iterator[Work]:
    """What does less at once, the most first."""
    for resolution in (work.resolution, *(side for side in SMALLER if side < work.resolution)):
        each = replace(work, resolution=resolution, views=1)
        if each != work:
            yield each


def _named(work: Work, instead_of: Work) -> str:
    """The settings of a smaller run."""
    views = " and 1 view per step" if instead_of.views > 1 and work.is_3d else ""
    return f"a resolution of {work.resolution}{views}"


def _parts_in(file: Path, family: Family) -> dict[str, Header]:
    """The headers of the parts that a file holds."""
    parts: dict[str, dict[str, Any]] = {}
    starts = {family.prefix_of(part): part.part for part in family.components if family.prefix_of(part)}
    for name, entry in read_header(file).items():
        part = next((part for start, part in starts.items() if current_name(name).startswith(start)), family.denoiser)
        parts.setdefault(part, {})[name] = entry
    return dict(parts)


def _weights(family: Family, parts: Mapping[str, Header], folder: Path) -> Weights:
    vae = read_object(folder / "vae" / "config.json") if "vae" in parts else {}
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or vae.get("temperal_downsample")
    count = len(blocks) if isinstance(blocks, list) else 0
    cell = 2 ** (count if "temperal_downsample" in vae else max(count - 1, 0))
    channels = vae.get("base_dim") or (blocks[0] if count else 0)
    cells = read_object(folder / family.denoiser / "config.json").get("sample_size")
    said = read_object(folder / HINTS_FILE).get("resolution")
    resolution = said if isinstance(said, int) else cells * cell if isinstance(cells, int) else RESOLUTION
    return Weights(
        family.label,
        {part: sizes_of(header, part, part == family.denoiser) for part, header in parts.items()},
        {packing: packed_sizes_of(parts[family.denoiser], packing) for packing in PACKINGS},
        family.denoiser,
        resolution,
        cell,
        channels if isinstance(channels, int) else 0,
    )


def sizes_of(header: Header, part: str, is_denoiser: bool) -> dict[Device, int]:
    """The bytes of a part on each device: a VAE is in 32 bits everywhere, and all else in 16 on graphics cards, and a
    large denoiser on the CPU as it is in its file (`narrow_weights`)."""
    half, whole = (bytes_of(header, FULL if is_denoiser else None, bits) for bits in (16, 32))
    stays = is_denoiser and narrow_kind(header)
    return {"cpu": half if stays else whole, "cuda": whole if part == "vae" else half, "mps": whole}


def packed_sizes_of(header: Header, packing: Precision) -> dict[Device, int]:
    """The bytes of a denoiser on each device, packed when it is loaded; the rest is as wide as it computes."""
    half, whole = (bytes_of(header, packing, bits) for bits in (16, 32))
    return {"cpu": whole, "cuda": half, "mps": whole}


def gib(count: int) -> str:
    """A number of bytes for a person."""
    return f"{count / _GIB:.1f} GiB"
