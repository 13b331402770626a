"""The families of 2D models that can be used: one entry each, and nothing about any of them elsewhere.

A new family is an entry in `FAMILIES`, a folder of configurations for single files (`configs/`), and a `Prior` for what
its denoiser takes and predicts. Standard library only, since Blender names the family of a file, too: what needs torch
is imported when it is called.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .views import ViewVocabulary

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the tensors in a file, by name."""

CONFIGS = Path(__file__).parent / "configs"

DENOISER = "model.diffusion_model."
VAE = "first_stage_model."
"""How the names of a U-Net's or a transformer's tensors begin in a single file, and those of a VAE."""


def lazy(module: str, name: str) -> Callable[..., Any]:
    """A function or class of this package, which is imported only when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f".{module}", __package__), name)(*arguments)

    return call


CLIP_LAYOUT = lazy("original_names", "clip_layout")
OPEN_CLIP_LAYOUT = lazy("original_names", "open_clip_layout")
CLIP_PADDING, OPEN_CLIP_PADDING = "<|endoftext|>", "!"


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder in a single file.

    Attributes:
        part: its name in a pipeline.
        tokenizer: the name of its tokenizer there.
        prefix: how the names of its tensors begin.
        layout: (encoder, prefix) → what the original code calls its tensors (`original_names.Layout`).
        padding: the token that fills up short prompts.
        lora_prefix: how ComfyUI's LoRAs name its layers.
        lacks_last_layer: the file may hold one layer more than the model has.
    """

    part: str
    tokenizer: str
    prefix: str
    layout: Callable[..., Any] = CLIP_LAYOUT
    padding: str = CLIP_PADDING
    lora_prefix: str = "text_encoders.clip_l.transformer."
    lacks_last_layer: bool = False


@dataclass(frozen=True)
class Component:
    """A network beside the denoiser, which may come from a file or folder of its own.

    Attributes:
        part: its name in a pipeline.
        kind: what it is (`parts.ENCODERS`, `parts.VAES`).
        usual: the file that is usually taken for a VAE; those of text encoders follow from what they are.
        prefix: how the names of its tensors begin in a file with the denoiser, where `Family.text_encoders` does not
            say so; "" where no such file is known.
        told: the names that a tensor of the denoiser may have whose columns are `times` as many as the text encoder
            gives numbers for a word; without any, its configuration says how many it gives.
        times: how many layers of the text encoder the denoiser is told at once.
        tokenizer: the part of the pipeline that is its tokenizer, where weights alone do not suffice for it; or "".
        page: where the tokenizer can be had: a folder of a model on the Hugging Face hub.
    """

    part: str
    kind: str
    usual: str = ""
    prefix: str = ""
    told: tuple[str, ...] = ()
    times: int = 1
    tokenizer: str = ""
    page: str = ""


@dataclass(frozen=True)
class Variant:
    """Models of a family that are for something else, and have the same tensors.

    Attributes:
        pattern: is found in their names, in upper or lower case.
        kind: in a few words.
        what: the predicate of a sentence.
    """

    pattern: str
    kind: str
    what: str


@dataclass(frozen=True)
class Family:
    """The properties of one family of models.

    Attributes:
        name: also that of its folder in `CONFIGS`.
        label: its name in messages.
        pipeline: its class in Diffusers.
        prior: (pipeline, hints, device) → `Prior`.
        denoiser: the pipeline's part that predicts, "unet" or "transformer".
        layout: (denoiser, prefix) → what the original code calls its tensors (`original_names.Layout`).
        first: a tensor that every single file of the family holds in the original naming; or "".
        text_encoders: those of a single file, in the pipeline's order; the last one's prefix is the family's own.
        required: parts of the pipeline that it cannot do without.
        optional: parts that it may lack.
        unused: parts that are never loaded here.
        views: the words that tell its models from which side they look (`views.view_words`). CLIP is trained on short
            captions, so DreamFusion's words suit it; "sentences" have their source at each entry.
        guidance: the γ that suits its models; None for the paper's.
        base: what to take instead of one of the family's distilled models (`distilled`).
        distilled: (part or "", setting, value) of configurations, all of which tell a distilled model; "" is the index.
        base_word: a word in the names of the base model's files that those of the distilled one lack; or "".
        base_tensors: a pattern for names of tensors that the distilled model's files lack; or "".
        folded: cells of the latents along the edge of a patch that the denoiser takes for one, with as many more
            channels.
        channels: of the latents, by which models for inpainting are told from those for text to image; None asks no
            file.
        only: tensors that no other family with the same `first` or `named` has, in both namings.
        named: a pattern for names of tensors that only this family's denoisers have, in the original naming or in
            Diffusers', with any prefix; or "".
        components: the networks beside the denoiser that may come from files of their own; without any, the family is
            loaded from folders only.
        text_width: of what the denoiser is told; None where that tells nothing.
        told: the setting of the denoiser with the width of what it is told, and how many times that of its (first) text
            encoder that is; "" where it is not so simple.
        takes: the names that the denoiser's first layer may have where its columns are channels of the latents.
        taken_at_once: cells of the latents that this layer takes besides those that are folded.
        look_alikes: variants that only their names tell (`look_alikes`).
        refused: variants that are not supported: a pattern for the name of one of their tensors, and what they are.
        refused_settings: the same by a setting of the denoiser's configuration that is true only there.
        harmless: a pattern for the names of tensors that a file may hold although the model has no place for them.
        dispensable: prefixes of whole parts that a file may hold and that are not read, and what they are.
        identities: matrices that are the identity where a file does not hold them.
        shape: (shapes of the denoiser's tensors without their prefix, its configuration) → what of the configuration
            differs between the family's versions.
        may_predict_velocity: a file does not say whether its model predicts ε or v: that is measured.
        velocity_sample_size: of the family's models that predict v, in cells; None where it is that of the others.
        dtype: the half precision that it runs in on CUDA; "bfloat16" becomes "float16" where the device has none.
        loras: a pattern that is found only in names of this family's LoRAs; or "".
        unread_in_loras: a pattern for names in LoRAs of parts that are not read; or "".
    """

    name: str
    label: str
    pipeline: str
    prior: Callable[..., Any]
    denoiser: str
    layout: Callable[..., Any]
    first: str
    text_encoders: tuple[TextEncoder, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ("vae",)
    unused: tuple[str, ...] = ("feature_extractor", "image_encoder")
    views: ViewVocabulary = "four"
    guidance: float | None = None
    base: str = "the model that it was made from"
    distilled: tuple[tuple[str, str, Any], ...] = ()
    base_word: str = ""
    base_tensors: str = ""
    folded: int = 1
    channels: int | None = None
    only: tuple[str, ...] = ()
    named: str = ""
    text_width: int | None = None
    told: tuple[str, int] = ("", 1)
    takes: tuple[str, ...] = ()
    taken_at_once: int = 1
    look_alikes: tuple[Variant, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    refused_settings: tuple[tuple[str, str], ...] = ()
    harmless: str = ""
    dispensable: Mapping[str, str] = field(default_factory=dict)
    identities: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    shape: Callable[[Shapes, Mapping[str, Any]], dict[str, Any]] = lambda shapes, config: {}
    may_predict_velocity: bool = False
    velocity_sample_size: int | None = None
    dtype: str = "float16"
    loras: str = ""
    unread_in_loras: str = ""

    def prefix_of(self, part: Component) -> str:
        """How the names of a part's tensors begin in a file with the denoiser; "" where no such file is known."""
        return next((encoder.prefix for encoder in self.text_encoders if encoder.part == part.part), part.prefix)

    @property
    def config(self) -> Path:
        """The folder with the configuration for single files, in Diffusers layout."""
        return CONFIGS / self.name

    @property
    def networks(self) -> tuple[str, ...]:
        """The parts that have weights."""
        return tuple(part for part in (*self.required, *self.optional) if not part.startswith(("tokenizer", "sched")))


_OF_IMAGES = "changes images that it is given"
_EDITS = Variant(r"(?<![a-z])edit(?![a-z])", "edits images", _OF_IMAGES)

_FLOW = Variant(
    r"big[-_ ]?asp[-_ ]?v?2[-_. ]?5|(?<![a-z])(rf|rectified[-_ ]?flow|flow[-_ ]?match(ing)?)(?![a-z])",
    "flow",
    "was trained as a flow, as which it is not read",
)

_unet_family = functools.partial(
    Family,
    prior=lazy("unet_prior", "UNetPrior"),
    denoiser="unet",
    layout=lazy("original_names", "unet_layout"),
    first=f"{DENOISER}input_blocks.0.0.weight",
    # In Diffusers' naming; a ControlNet and what moves pictures have some of these names, and more.
    named=r"up_blocks\.\d+\.attentions\.0\.transformer_blocks\.0\.attn2\.to_k\.weight",
    takes=("conv_in.weight",),
    channels=4,
    refused=(
        (r"control_model\..*", "is a ControlNet combined with its base model, which is not supported"),
        (r"conditioner\.embedders\.0\.model\..*", "is SDXL's refiner, which only refines existing images"),
        (r"encoder_hid_proj\..*", "is Kolors, whose text encoder (ChatGLM) is not supported"),
        (r"(embedder|noise_augmentor)\..*", "is an unCLIP model, which makes variations of images"),
        (r"edm_.*", "was trained with the EDM formulation (like Playground 2.5), which is not supported"),
    ),
    may_predict_velocity=True,
)
_UNET_PARTS = ("unet", "scheduler", "text_encoder", "tokenizer")
_SD_VAE = Component("vae", "AutoencoderKL", "vae-ft-mse-840000-ema-pruned.safetensors", prefix=VAE)
_SECOND_ENCODER = ("text_encoder_2", "tokenizer_2")

SD1 = _unet_family(
    name="sd1",
    label="SD 1.x",
    pipeline="StableDiffusionPipeline",
    text_encoders=(TextEncoder("text_encoder", "tokenizer", "cond_stage_model.transformer."),),
    told=("cross_attention_dim", 1),
    required=_UNET_PARTS,
    unused=("safety_checker", "feature_extractor", "image_encoder"),
    text_width=768,
    base="Stable Diffusion 1.5, or a model made of it for 20 steps or more",
    components=(_SD_VAE, Component("text_encoder", "CLIP")),
    harmless=r"cond_stage_model\.transformer\.text_projection\.weight",
    look_alikes=(_FLOW,),
)
SD2 = _unet_family(
    name="sd2",
    label="SD 2.x",
    pipeline="StableDiffusionPipeline",
    text_encoders=(
        TextEncoder(
            "text_encoder",
            "tokenizer",
            "cond_stage_model.model.",
            OPEN_CLIP_LAYOUT,
            OPEN_CLIP_PADDING,
            lacks_last_layer=True,
        ),
    ),
    told=("cross_attention_dim", 1),
    required=_UNET_PARTS,
    unused=("safety_checker", "feature_extractor", "image_encoder"),
    text_width=1024,
    base="Stable Diffusion 2.1",
    components=(_SD_VAE, Component("text_encoder", "CLIP")),
    harmless=r"cond_stage_model\.model\.text_projection",
    velocity_sample_size=96,
)
SDXL = _unet_family(
    name="sdxl",
    label="SDXL",
    pipeline="StableDiffusionXLPipeline",
    text_encoders=(
        TextEncoder("text_encoder", "tokenizer", "conditioner.embedders.0.transformer."),
        TextEncoder(
            "text_encoder_2",
            "tokenizer_2",
            "conditioner.embedders.1.model.",
            OPEN_CLIP_LAYOUT,
            OPEN_CLIP_PADDING,
            "text_encoders.clip_g.transformer.",
        ),
    ),
    required=(*_UNET_PARTS, *_SECOND_ENCODER),
    only=("label_emb.0.0.weight", "add_embedding.linear_1.weight"),
    look_alikes=(
        _FLOW,
        Variant(r"(?<![a-z\d])x0(?![a-z\d])", "predicts x0", "predicts the finished image, as which it is not read"),
        Variant(r"playground[-_ ]?v?2[-_. ]?5|cosxl", "EDM", "was trained with the EDM formulation"),
    ),
    text_width=2048,
    base="Stable Diffusion XL 1.0, or a model made of it for 20 steps or more",
    components=(
        Component("vae", "AutoencoderKL", "sdxl_vae.safetensors", prefix=VAE),
        Component("text_encoder", "CLIP"),
        Component("text_encoder_2", "CLIP"),
    ),
    harmless=r"conditioner\.embedders\.0\.transformer\.text_projection\.weight",
)
_T5_OF_FLUX = "tokenizer_2 of black-forest-labs/FLUX.1-schnell"
_T5 = "text_encoders.t5xxl.transformer."

SD3 = Family(
    name="sd3",
    label="SD 3",
    pipeline="StableDiffusion3Pipeline",
    prior=lazy("sd3_prior", "SD3Prior"),
    denoiser="transformer",
    layout=lazy("original_names", "sd3_layout"),
    first=f"{DENOISER}joint_blocks.0.x_block.attn.qkv.weight",
    named=r"(.*\.)?(joint_blocks\.\d+\.x_block\.attn\.qkv\.weight|pos_embed\.pos_embed)",
    takes=("pos_embed.proj.weight",),
    text_encoders=(
        TextEncoder("text_encoder", "tokenizer", "text_encoders.clip_l.transformer."),
        TextEncoder(
            "text_encoder_2",
            "tokenizer_2",
            "text_encoders.clip_g.transformer.",
            padding=OPEN_CLIP_PADDING,
            lora_prefix="text_encoders.clip_g.transformer.",
        ),
    ),
    required=("transformer", "scheduler", "vae", "text_encoder", "tokenizer", *_SECOND_ENCODER),
    optional=("text_encoder_3", "tokenizer_3"),
    dispensable={"text_encoders.t5xxl.": "text encoder T5"},
    base="Stable Diffusion 3.5 Medium or Large",
    components=(
        Component("vae", "AutoencoderKL", prefix=VAE),
        Component("text_encoder", "CLIP"),
        Component("text_encoder_2", "CLIP"),
        Component(
            "text_encoder_3",
            "T5",
            told=("context_embedder.weight",),
            tokenizer="tokenizer_3",
            page="tokenizer_3 of stabilityai/stable-diffusion-3.5-medium",
        ),
    ),
    identities=("text_encoders.clip_l.transformer.text_projection.weight",),
    shape=lazy("original_names", "sd3_transformer_shape"),
    dtype="bfloat16",
    loras=r"joint_blocks|add_[qkv]_proj",
    unread_in_loras=r"(lora_te3_|text_encoder_3\.|text_encoders\.t5xxl\.|t5xxl\.).*",
)

_flux_family = functools.partial(
    Family,
    denoiser="transformer",
    layout=lazy("flux_names", "flux_layout"),
    first="",
    takes=("img_in.weight", "x_embedder.weight"),
    folded=2,
    # T5 reads prose; Black Forest Labs' guide asks for it (docs.bfl.ai), and so are the prompts on Chroma's page.
    views="sentences",
    dtype="bfloat16",
)
_FLUX_VAE = Component("vae", "AutoencoderKL", "ae.safetensors", prefix=VAE)
_FLUX_TEXT = ("txt_in.weight", "context_embedder.weight")

FLUX = _flux_family(
    name="flux",
    label="FLUX.1",
    pipeline="FluxPipeline",
    prior=lazy("flux_prior", "FluxPrior"),
    text_encoders=(TextEncoder("text_encoder", "tokenizer", "text_encoders.clip_l.transformer."),),
    required=("transformer", "scheduler", "vae", "text_encoder", "tokenizer", *_SECOND_ENCODER),
    optional=(),
    guidance=3.5,
    base="FLUX.1 dev or Chroma",
    look_alikes=(Variant("kontext", "edits images", _OF_IMAGES),),
    base_tensors=r"(.*\.)?(guidance_in|guidance_embedder)\..*",
    distilled=(("transformer", "guidance_embeds", False), ("scheduler", "use_dynamic_shifting", False)),
    named=r"(.*\.)?(double_blocks\.\d+\.img_mod\.lin|single_transformer_blocks\.\d+\.norm\.linear)\..*",
    components=(
        _FLUX_VAE,
        Component(
            "text_encoder",
            "CLIP",
            told=("vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight"),
        ),
        Component("text_encoder_2", "T5", prefix=_T5, told=_FLUX_TEXT, tokenizer="tokenizer_2", page=_T5_OF_FLUX),
    ),
    shape=lazy("flux_names", "flux_shape"),
    loras=r"double_blocks|single_(transformer_)?blocks",
    unread_in_loras=r"(lora_te[23]_|text_encoder_2\.|text_encoders\.t5xxl\.|t5xxl\.).*",
)
CHROMA = _flux_family(
    name="chroma",
    label="Chroma",
    pipeline="ChromaPipeline",
    prior=lazy("flux_prior", "ChromaPrior"),
    text_encoders=(),
    required=("transformer", "scheduler", "vae", "text_encoder", "tokenizer"),
    optional=(),
    guidance=5.0,
    base="Chroma1-HD or Chroma1-Base",
    named=r"(.*\.)?distilled_guidance_layer\..*",
    components=(
        _FLUX_VAE,
        Component("text_encoder", "T5", prefix=_T5, told=_FLUX_TEXT, tokenizer="tokenizer", page=_T5_OF_FLUX),
    ),
    refused=((r"(.*\.)?(nerf_\w+|img_in_patch)\..*", "is Chroma Radiance, which has no VAE, and is not supported"),),
    shape=lazy("flux_names", "chroma_shape"),
    loras=r"distilled_guidance_layer",
    unread_in_loras=r"(lora_te\d?_|text_encoder\.|text_encoders\.t5xxl\.|t5xxl\.).*",
)

_language_family = functools.partial(
    Family,
    denoiser="transformer",
    layout=lazy("original_names", "own_layout"),
    first="",
    text_encoders=(),
    required=("transformer", "scheduler", "vae", "text_encoder", "tokenizer"),
    optional=(),
    unused=(),
    # A language model reads prose; the source for it is at each entry.
    views="sentences",
    dtype="bfloat16",
)
Z_IMAGE = _language_family(
    name="z-image",
    label="Z-Image",
    pipeline="ZImagePipeline",
    told=("cap_feat_dim", 1),
    prior=lazy("z_image_prior", "ZImagePrior"),
    layout=lazy("z_image_names", "z_image_layout"),
    # Captions by a vision-language model (Z-Image Team 2025, arXiv:2511.22699).
    guidance=5.0,  # in its pipeline's words 4
    base="Z-Image, without Turbo",
    look_alikes=(_EDITS,),
    refused=(
        (
            r"(.*\.)?siglip_(embedder|refiner|pad_token)(\..*)?",
            "is Z-Image Omni, which reads images, too",
        ),
    ),
    distilled=(("scheduler", "shift", 3.0),),  # the base model's is 6
    named=r"(.*\.)?(noise_refiner|layers)\.\d+\.adaLN_modulation\.0\..*",
    takes=("x_embedder.weight", "all_x_embedder.2-1.weight"),
    taken_at_once=4,
    components=(
        _FLUX_VAE,
        Component(
            "text_encoder",
            "Qwen 3",
            prefix="text_encoders.qwen3_4b.transformer.",
            told=("cap_embedder.1.weight",),
            tokenizer="tokenizer",
            page="tokenizer of Tongyi-MAI/Z-Image",
        ),
    ),
    harmless=r"(.*\.)?norm_final\.weight",
    shape=lazy("z_image_names", "z_image_shape"),
    loras=r"(layers|noise_refiner|context_refiner)[._]\d+[._]attention[._](to_|qkv|out)",
)
FLUX2_KLEIN = _language_family(
    name="flux2-klein",
    label="FLUX.2 klein",
    pipeline="Flux2KleinPipeline",
    told=("joint_attention_dim", 3),
    prior=lazy("flux2_prior", "Flux2KleinPrior"),
    layout=lazy("flux2_names", "flux2_layout"),
    folded=2,
    # Black Forest Labs' guide to prompts asks for descriptive prose (docs.bfl.ai).
    guidance=4.0,
    base="FLUX.2 klein base",
    base_word="base",
    distilled=(("", "is_distilled", True),),
    named=r"(.*\.)?(single|double)_stream_modulation(_img|_txt)?\..*",
    takes=("img_in.weight", "x_embedder.weight"),
    components=(
        Component("vae", "AutoencoderKLFlux2", "flux2-vae.safetensors", prefix=VAE),
        Component(
            "text_encoder",
            "Qwen 3",
            told=_FLUX_TEXT,
            times=3,
            tokenizer="tokenizer",
            page="tokenizer of black-forest-labs/FLUX.2-klein-base-4B",
        ),
    ),
    refused=(
        (r"(.*\.)?(guidance_in|guidance_embedder)\..*", "is FLUX.2 dev, whose text encoder (Mistral) is not supported"),
    ),
    shape=lazy("flux2_names", "flux2_shape"),
    loras=r"to_qkv_mlp_proj|(single|double)_stream_modulation|ff(_context)?[._]linear_(in|out)",
)
QWEN_IMAGE = _language_family(
    name="qwen-image",
    label="Qwen-Image",
    pipeline="QwenImagePipeline",
    told=("joint_attention_dim", 1),
    prior=lazy("qwen_image_prior", "QwenImagePrior"),
    folded=2,
    # Captions up to whole paragraphs (Wu et al. 2025, arXiv:2508.02324).
    guidance=4.0,
    base="Qwen-Image, without Lightning",
    named=r"(.*\.)?transformer_blocks\.\d+\.img_mlp\..*",
    takes=("img_in.weight",),
    components=(
        Component("vae", "AutoencoderKLQwenImage", "qwen_image_vae.safetensors", prefix=VAE),
        Component(
            "text_encoder",
            "Qwen 2.5 VL",
            told=("txt_in.weight",),
            tokenizer="tokenizer",
            page="tokenizer of Qwen/Qwen-Image",
        ),
    ),
    look_alikes=(_EDITS,),
    refused=(
        (r"(.*\.)?addition_t_embedding\..*", "is Qwen-Image-Layered, which takes images apart"),
        (r"(.*\.)?__index_timestep_zero__", f"is Qwen-Image-Edit, which {_OF_IMAGES}"),
    ),
    refused_settings=(("zero_cond_t", f"is Qwen-Image-Edit, which {_OF_IMAGES}"),),
    shape=lazy("qwen_image_names", "qwen_image_shape"),
    loras=r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)",
)
SANA = _language_family(
    name="sana",
    label="Sana",
    pipeline="SanaPipeline",
    told=("caption_channels", 1),
    prior=lazy("sana_prior", "SanaPrior"),
    named=r"(.*\.)?(blocks\.\d+\.mlp\.inverted_conv\.conv|transformer_blocks\.\d+\.ff\.conv_inverted)\..*",
    layout=lazy("sana_names", "sana_layout"),
    takes=("x_embedder.proj.weight", "patch_embed.proj.weight"),
    components=(
        Component("vae", "AutoencoderDC", "dc-ae-f32c32-sana-1.1.safetensors"),
        Component(
            "text_encoder",
            "Gemma 2",
            told=("y_embedder.y_proj.fc1.weight", "caption_projection.linear_1.weight"),
            tokenizer="tokenizer",
            page="tokenizer of Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",
        ),
    ),
    harmless=r"(.*\.)?(pos_embed|y_embedder\.y_embedding)",
    shape=lazy("sana_names", "sana_shape"),
    # Captions by several vision-language models, and an instruction that asks for prose (Xie et al. 2024).
    guidance=4.5,
    base="Sana 1.5, without Sprint",
)
PRX_PIXEL = _language_family(
    name="prx-pixel",
    label="PRXPixel",
    pipeline="PRXPixelPipeline",
    told=("context_in_dim", 1),
    prior=lazy("prx_prior", "PRXPixelPrior"),
    required=("transformer", "scheduler", "text_encoder", "tokenizer"),
    named=r"(.*\.)?resolution_embedder\..*",
    # "Works best with detailed prompts in natural language" (Diffusers' documentation of PRX).
    guidance=5.0,
    base="PRXPixel's base model",
)

FAMILIES = (SD1, SD2, SDXL, SD3, FLUX, CHROMA, Z_IMAGE, FLUX2_KLEIN, QWEN_IMAGE, SANA, PRX_PIXEL)

DISTILLED_PIPELINES = {"LatentConsistencyModelPipeline": SD1, "SanaSprintPipeline": SANA}
"""Pipelines that are for models distilled to a few steps alone, and the family of their base models."""

RELATED = (
    (
        r"(?!control_model\.)(.*\.)?(controlnet_(blocks|x_embedder|cond_embedding)|input_hint_block)\..*",
        "is a ControlNet",
    ),
    (r"(.*\.)?(txt_in\.individual_token_refiner|byt5_in)\..*", "is a HunyuanVideo or HunyuanImage model"),
)
"""Files that have tensors by which a family is told besides their own, as `UNSUPPORTED`."""

UNSUPPORTED = (
    *RELATED,
    (r"redux_(up|down)\..*", "is FLUX.1 Redux, which turns an image into a prompt"),
    (r"(image_proj|ip_adapter)\..*|.*\.ip_adapter\w*\..*", "is an IP-Adapter"),
    (r"double_stream_blocks\..*|.*\.double_stream_blocks\..*", "is a HiDream model"),
    (r"(.*\.)?double_blocks\..*|(.*\.)?single_transformer_blocks\..*", "is a FLUX model, or one of its architecture"),
    (r"(.*\.)?double_layers\..*", "is an AuraFlow model"),
    (r"(.*\.)?cap_embedder\..*", "is a Lumina model"),
    (r"(.*\.)?(blocks\.\d+\.attn1\.Wqkv|mlp_t5\.\d+)\..*", "is a HunyuanDiT model"),
    (
        r"(.*\.)?(t5_yproj|patchify_proj|condition_embedder\.text_embedder|patch_embed\.text_proj)\..*",
        "is a video model",
    ),
    (r"(.*\.)?blocks\.\d+\.(cross_attn|self_attn|adaln_.*)\..*", "is a video model, or another transformer"),
    (r".*motion_modules\..*", "is a motion module for AnimateDiff"),
    (r"(.*\.)?(control_model|controlnet_cond_embedding|input_hint_block|controlnet_blocks)\..*", "is a ControlNet"),
    (r"(model\.)?(diffusion_model\.)?(input|output)_blocks\..*|down_blocks\..*", "is only a U-Net"),
    (r"(diffusion_model\.)?joint_blocks\..*", "is only the transformer of Stable Diffusion 3"),
    (r"(emb_params|string_to_param.*|clip_[lg])", "is an embedding (textual inversion)"),
    (r"(.*\.)?encoder\.block\..*|shared\.weight", "is only a text encoder (T5)"),
    (r"(.*\.)?(text_model|resblocks)\..*", "is only a text encoder"),
    (r"(.*\.)?vision_model\..*", "is only an image encoder"),
    (r"(.*\.)?layers\.\d+\.self_attn\.q_proj\..*|token_embd\.weight", "is only a text encoder (a language model)"),
    (
        r"(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv_in|conv1|project_in|mid|mid_block|down|up)\..*",
        "is only a VAE",
    ),
    (r"conv_first\..*|model\.\d+\.sub\..*", "is an upscaler"),
)
"""Other files that people download: a pattern for the name of one of their tensors, and a predicate for messages."""


def of_pipeline(pipeline: str, text_width: int | None = None) -> Family | None:
    """The family of a pipeline class of Diffusers; of several, the one with this width of the text encoder, or the
    first."""
    families = [family for family in FAMILIES if family.pipeline == pipeline]
    by_width = [family for family in families if family.text_width == text_width]
    return next(iter(by_width or families), None)


def base_of_pipeline(pipeline: str) -> str:
    """What to take instead of a pipeline for something else than text to image: the base of the family by its name."""
    alike = [family for family in FAMILIES if pipeline.startswith(family.pipeline.removesuffix("Pipeline"))]
    longest = max(alike, key=lambda family: len(family.pipeline), default=None)
    return longest.base if longest else f"one of the {supported()} family for text to image"


def supported(conjunction: str = " or ", single_files: bool = False) -> str:
    """The labels of all families in one phrase: "SD 1.x, SD 2.x, SDXL or SD 3"; or of those with single files."""
    *others, last = (family.label for family in FAMILIES if family.components or not single_files)
    return f"{', '.join(others)}{conjunction}{last}"
