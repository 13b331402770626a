"""What all pipelines of Diffusers have in common as a `Prior`: frozen parts, latents, and cached embeddings."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from ..contract import vocabulary
from ..errors import BadInputError
from .compiled import compile_network, release_network
from .device_memory import free_bytes
from .latents import Latents, PixelLatents, VaeLatents
from .needs import DECODING_SHARE, TILE, Measure
from .prior import ModelHints, NegativePrompt, Prior, ReadText, Text
from .prompt_weights import Fragment, names_of_files, parse, plain
from .reading import Reading, WeighingEncoder, counter, read
from .text_encoders import TextEncoders
from .views import longest_view, with_view, without_view

log = logging.getLogger(__name__)

SMALL_GRAPH_BYTES = 2**28
"""Up to so much is held for the gradient of encoding without a further thought."""

SHARE_OF_MEMORY = 0.25
"""A larger graph is held while the model is asked where it takes no more than this share of the free memory."""

SHARE_FOR_DECODING = 0.5
"""An image for which this share of the free memory is not enough is decoded in tiles."""


_OF_DAMAGE = (TypeError, ValueError, LookupError, OverflowError, AttributeError)
"""What a tokenizer or a text encoder raises whose settings are none, or do not fit its weights."""


@contextmanager
def _damage_explained() -> Iterator[None]:
    """For reading a text: what is wrong with a model's files may only be met then."""
    try:
        yield
    except _OF_DAMAGE as error:
        log.debug("reading a text failed", exc_info=True)
        raise BadInputError(
            f"The tokenizer or a text encoder of this model reads no text ({' '.join(str(error).split())[:200]}): it "
            "is damaged or of another model; download the model again, or choose another one."
        ) from error


class DiffusersPrior(Prior):
    """A frozen text-to-image pipeline; which denoiser it has and what that predicts is the subclass's matter.

    The denoiser and the text encoders run in the precision that they were loaded in, the VAE and all arithmetic around
    the denoiser in float32; but on graphics cards that are fast in bfloat16, the VAE encodes in it. What is here of
    texts is right for CLIP; a family whose text encoder is another overrides `_room` and `_encode`, and says in
    `_reads_pieces` and `_reads_weights` what it cannot do.
    """

    _patch: int = 1
    """Cells of x along the edge of a patch that the denoiser takes for one token: x must have whole ones."""

    _reads_pieces: bool = True
    """Whether what is too long for one pass through the text encoders can be read in several."""

    _reads_weights: bool = True
    """Whether the embeddings of single words can be made stronger or weaker."""

    def __init__(self, pipeline: Any, denoiser: torch.nn.Module, hints: ModelHints, device: torch.device) -> None:
        """
        Args:
            pipeline: a `DiffusionPipeline` with tokenizers and text encoders, a scheduler, and a VAE or none.
            denoiser: its U-Net or transformer.
            hints: what the model says of itself.
            device: where all of it goes.

        Raises:
            BadInputError: without a VAE, the denoiser does not work on pixels either.
        """
        self.hints = hints
        self.device = device
        self._pipeline = pipeline
        self._denoiser = denoiser
        self.text_encoders = TextEncoders(pipeline, device)
        denoiser.to(device).requires_grad_(False).eval()
        self._latents = self._latents_of(getattr(pipeline, "vae", None))
        self.resolution = hints.resolution or self._cells * self._latents.pixels_per_cell
        self._vae: torch.nn.Module | None = getattr(pipeline, "vae", None)
        self._measures: frozenset[Measure] = frozenset()
        self._encodes_fast_in_16_bits = device.type == "cuda" and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
        self._overflows = False
        self._turn_hook: RemovableHandle | None = None
        self._at_safepoint: Callable[[], None] | None = None
        self._safepoint_hooks: list[RemovableHandle] = []
        self._is_compiled = False
        self._texts: dict[ReadText, Text] = {}

    def _latents_of(self, vae: Any) -> Latents:
        """The model's own space, by its VAE or None."""
        return PixelLatents(int(self._denoiser.config.in_channels)) if vae is None else VaeLatents(vae, self.device)

    @cached_property
    def _dtype(self) -> torch.dtype:
        """In which the denoiser is asked. Diffusers looks at each of its layers for that, at every question."""
        dtype: torch.dtype = self._denoiser.dtype
        return dtype

    @property
    def _cells(self) -> int:
        """Cells of x along the edge of the images that the model was made for."""
        return int(self._denoiser.config.sample_size)

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        side, rest = divmod(resolution, self._latents.pixels_per_cell)
        if side == 0 or side % self._patch or (rest and not self._latents.cuts):
            pixels = self._patch * self._latents.pixels_per_cell
            raise BadInputError(
                f"This model draws images whose sides are multiples of {pixels} pixels, and {resolution} is none: "
                f"choose the resolution {max(resolution // pixels, 1) * pixels}."
            )
        return self._latents.channels, side, side

    def encode(self, images: Tensor) -> Tensor:
        """A VAE's graph is larger than all else (3.2 GB for 512² pixels), and would be held while the model is asked.

        So where it is large, images are encoded one by one, and where memory is short each is encoded again for its
        gradient. Which of both makes no difference to the numbers.
        """
        if self.quick_encoder is not None and images.requires_grad and torch.is_grad_enabled():
            return self._encode_for_quick_gradient(images, self.quick_encoder)
        self.latent_shape(images.shape[-1])
        images = images.float() * 2.0 - 1.0
        x0 = self._encoded(images)
        if self._in_16_bits and not x0.isfinite().all() and images.isfinite().all():
            log.warning("The VAE overflows in 16 bits, so that it works in 32 from now on.")
            self._overflows = True
            x0 = self._encoded(images)
        return x0

    def _encoded(self, images: Tensor) -> Tensor:
        graph = images[:, 0].numel() * self._latents.graph_bytes
        leaves = self._turn_hook is not None  # the VAE does, before the gradient comes back
        if graph <= SMALL_GRAPH_BYTES and not leaves:
            return self._encode_one(images)
        is_short = leaves or "graphs again" in self._measures or graph > SHARE_OF_MEMORY * free_bytes(self.device)
        encode = self._encode_again if is_short and images.requires_grad else self._encode_one
        return torch.cat([encode(one) for one in images.split(1)])

    def _encode_for_quick_gradient(self, images: Tensor, quick: torch.nn.Module) -> Tensor:
        """What the VAE makes of images, bit for bit, with the gradient of another encoder."""
        with torch.no_grad():
            x0 = self.encode(images)

        def encode(images: Tensor) -> Tensor:
            with self._vae_precision():
                near: Tensor = quick(images.float() * 2.0 - 1.0).float()
            return near

        if "graphs again" in self._measures:
            again = partial(checkpoint, encode, use_reentrant=False, preserve_rng_state=False)
            near = torch.cat([again(one) for one in images.split(1)])
        else:
            near = encode(images)
        return x0 + (near - near.detach())

    def _encode_again(self, images: Tensor) -> Tensor:
        """Images to x0 without a graph, which is made when the gradient is wanted."""
        x0: Tensor = checkpoint(self._encode_one, images, use_reentrant=False, preserve_rng_state=False)
        return x0

    def _encode_one(self, images: Tensor) -> Tensor:
        self._take_turn(self._vae)
        with self._vae_precision():
            return self._latents.encode(images).float()

    def _vae_precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_16_bits)

    @property
    def _in_16_bits(self) -> bool:
        """Whether the VAE encodes in bfloat16, which has the range of 32 bits: where cards are fast in it, or memory is
        short."""
        return (self._encodes_fast_in_16_bits or "16 bits" in self._measures) and not self._overflows

    @property
    def largest_x0(self) -> float:
        return self._latents.largest

    def decode(self, x0: Tensor) -> Tensor:
        self._take_turn(self._vae)
        pixels = x0[:, 0].numel() * self._latents.pixels_per_cell**2
        at_once = len(x0) if pixels * self._latents.graph_bytes <= SMALL_GRAPH_BYTES else 1
        is_large = pixels / len(x0) * self._latents.graph_bytes * DECODING_SHARE > SHARE_FOR_DECODING * free_bytes(
            self.device
        )
        with _in_tiles(self._vae if is_large else None):
            images = torch.cat([self._latents.decode(some) for some in x0.split(at_once)]) * 0.5 + 0.5
        return torch.where(images.isinf(), torch.nan, images.clamp(0.0, 1.0))  # an overflow is not white

    def unfolded(self, x: Tensor) -> Tensor:
        return self._latents.unfold(x)

    def folded(self, x: Tensor) -> Tensor:
        return self._latents.fold(x)

    @torch.no_grad()
    def text(self, prompts: list[str]) -> Text:
        """Embeddings, cached by prompt, since view-dependent prompts come back again and again.

        Those of shorter prompts are padded to the length of the longest: with the empty prompt's, or where there is a
        "mask" with nothing.
        """
        keys = [(isinstance(prompt, NegativePrompt), prompt) for prompt in prompts]
        unread = [key for key in dict.fromkeys(keys) if key not in self._texts]
        if unread:
            with _damage_explained(), self.text_encoders.at_work():
                self._texts |= {key: self._encode(key[1]) for key in unread}
        rows = [self._texts[key] for key in keys]
        length = max(row["embedding"].shape[1] for row in rows)
        rows = [self._filled(row, length) for row in rows]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def save_memory(self, measures: Collection[Measure]) -> None:
        super().save_memory(measures)
        self._measures = frozenset(measures)
        if getattr(self._vae, "_supports_gradient_checkpointing", False):
            by_block = "graphs in parts" in measures
            self._vae.enable_gradient_checkpointing() if by_block else self._vae.disable_gradient_checkpointing()
        if self._turn_hook is not None:
            self._turn_hook.remove()
            self._turn_hook = None
        if "turns" in measures and self._vae is not None:
            self._turn_hook = self._denoiser.register_forward_pre_hook(lambda denoiser, _: self._take_turn(denoiser))
        else:
            for network in filter(None, (self._vae, self._denoiser)):
                network.to(self.device)

    def _take_turn(self, network: torch.nn.Module | None) -> None:
        """Have the VAE or the denoiser on the device, while the other one waits in the computer's memory."""
        if self._turn_hook is not None:
            (self._denoiser if network is self._vae else self._vae).to("cpu")
            network.to(self.device)

    def free_text_encoders(self) -> None:
        self.text_encoders.free()

    @property
    def texts_read(self) -> Mapping[ReadText, Text]:
        return self._texts

    @texts_read.setter
    def texts_read(self, texts: Mapping[ReadText, Text]) -> None:
        self._texts = {key: {name: each.to(self.device) for name, each in text.items()} for key, text in texts.items()}

    def remarks(self, prompt: str) -> list[str]:
        with _damage_explained():
            reading = self._read(self._with_longest_view(prompt))
        remarks = []
        ignores_weights = self.hints.knows or not self._reads_weights
        if ignores_weights and any(fragment.weight != 1.0 for fragment in parse(prompt)):
            words = vocabulary.as_read(prompt, self.hints.knows) if self.hints.knows else plain(prompt)
            remarks.append(f'This model ignores weights of words: it reads "{words}".')
        for name in names_of_files(prompt):
            remarks.append(
                f'"{name}" in the prompt is read as words, and adds nothing to the model: leave it out, and choose the '
                "file among the LoRAs; embeddings and hypernetworks are not supported."
            )
        if reading.unread:
            remarks.append(f'The prompt is too long for this model, which ignores "{reading.unread}".')
        return remarks

    def _with_longest_view(self, prompt: str) -> str:
        """The prompt with the longest words for a view that it can be asked with."""
        return with_view(prompt, longest_view(self.hints.view_vocabulary))

    def _read(self, prompt: str) -> Reading:
        """How the (first) text encoder gets a prompt. A model of a small vocabulary has never seen two pieces."""
        if self.hints.knows:
            text, view = without_view(prompt)
            known = vocabulary.as_read(text, self.hints.knows)
            prompt = with_view(known, view) if view else known
        in_pieces = self._reads_pieces and not self.hints.knows
        return read(prompt, counter(self._tokenizer), self._room, in_pieces)

    @property
    def _tokenizer(self) -> Any:
        """Of the text encoder that decides how long a prompt may be."""
        return self._pipeline.tokenizer

    @property
    def _room(self) -> int:
        """Tokens of a prompt that the (first) text encoder reads at once, without those around it."""
        return self._piece_length - 2

    @property
    def _piece_length(self) -> int:
        """Tokens that CLIP reads at once, with start and end."""
        longest = self._pipeline.text_encoder.config.max_position_embeddings
        return min(int(self._pipeline.tokenizer.model_max_length), int(longest))

    @property
    def safepoints(self) -> tuple[int, int]:
        if self.device.type == "cuda":
            return 0, 0
        encoder = getattr(self._vae, "encoder", None)
        return 0 if self._is_one_piece else len([*_blocks(self._denoiser)]), len([*_blocks(encoder)])

    def at_safepoints(self, call: Callable[[], None]) -> None:
        """Before each block of the denoiser and of the VAE, also on the way back for the gradient; not on a graphics
        card, where an evaluation is short."""
        if not self._safepoint_hooks and self.device.type != "cuda":
            networks = (self._vae,) if self._is_one_piece else (self._denoiser, self._vae)
            for block in (block for network in networks for block in _blocks(network)):
                self._safepoint_hooks.append(block.register_forward_pre_hook(self._before_block))
                self._safepoint_hooks.append(block.register_forward_hook(self._after_block))
        self._at_safepoint = call

    def compile(self, say: Callable[[str], None] | None) -> None:
        """What is compiled is one piece, with safepoints before and after it only."""
        for hook in self._safepoint_hooks:
            hook.remove()
        self._safepoint_hooks.clear()
        self._is_compiled = say is not None
        if say is None:
            release_network(self._denoiser)
        else:
            compile_network(self._denoiser, say)

    @property
    def _is_one_piece(self) -> bool:
        """Whether an evaluation calls no blocks of the denoiser."""
        return self._is_compiled

    def _before_block(self, block: torch.nn.Module, arguments: object) -> None:
        assert self._at_safepoint is not None
        self._at_safepoint()

    def _after_block(self, block: torch.nn.Module, arguments: object, output: object) -> None:
        """A gradient that comes back to what the block gives is a safepoint."""
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: self._before_block(block, gradient))

    @abstractmethod
    def _encode(self, prompt: str) -> Text:
        """The conditioning for one prompt, each tensor (1, …); "embedding" is (1, tokens, C).

        A family whose denoiser does not attend to all tokens has a "mask" (1, tokens) of booleans besides.
        """

    def _filled(self, text: Text, length: int) -> Text:
        """One prompt's conditioning with an "embedding" (1, n, C) that is padded to (1, length, C)."""
        embedding = text["embedding"]
        missing = length - embedding.shape[1]
        if missing == 0:
            return text
        if "mask" in text:
            padded = F.pad(embedding, (0, 0, 0, missing))
            return text | {"embedding": padded, "mask": F.pad(text["mask"], (0, missing))}
        empty = self.text([""])["embedding"][:, : self._piece_length]
        return text | {"embedding": torch.cat([embedding, *[empty] * (missing // self._piece_length)], dim=1)}

    def _weighed(self, piece: Iterable[Fragment], penultimate: bool) -> Tensor:
        """(1, piece, C): the embeddings of a piece by all CLIP text encoders, side by side."""
        pipeline = self._pipeline
        encoders = [(pipeline.tokenizer, pipeline.text_encoder)]
        if getattr(pipeline, "text_encoder_2", None) is not None:
            encoders.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
        fragments = tuple(piece)
        return torch.cat(
            [WeighingEncoder(*encoder, penultimate, self._piece_length)(fragments) for encoder in encoders], dim=-1
        )


@contextmanager
def _in_tiles(vae: Any) -> Iterator[None]:
    """Have a VAE decode large images in overlapping tiles in this block; None, or one that cannot, stays as it is."""
    if not hasattr(vae, "tile_latent_min_size"):
        yield
        return
    before = vae.tile_latent_min_size, vae.tile_sample_min_size
    vae.tile_latent_min_size, vae.tile_sample_min_size = TILE, TILE * before[1] // before[0]
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
        vae.tile_latent_min_size, vae.tile_sample_min_size = before


def _blocks(network: torch.nn.Module | None) -> Iterator[torch.nn.Module]:
    """What a network does one after the other; none of no network."""
    for part in () if network is None else network.modules():
        if isinstance(part, torch.nn.ModuleList):
            yield from part
