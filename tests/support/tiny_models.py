"""Tiny text-to-image models with random weights, in the layout of real checkpoints."""

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WIDTH, WIDTH_2 = 16, 24
MAX_LENGTH = 24

SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def made_once(write: Callable[..., Path]) -> Callable[..., Path]:
    """A model that was written with these arguments before is copied; torch draws on as if it had been written anew."""
    made: dict[str, tuple[Path, torch.Tensor]] = {}

    @functools.wraps(write)
    def write_or_copy(folder: Path, *arguments, **named) -> Path:
        key = repr((arguments, sorted(named.items())))
        if key not in made:
            first = write(Path(tempfile.mkdtemp(prefix="sdi-tiny-")) / "model", *arguments, **named)
            made[key] = first, torch.get_rng_state()
        first, random = made[key]
        shutil.copytree(first, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
        torch.set_rng_state(random)
        return folder

    return write_or_copy


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer without merges, which splits every word into letters."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_LENGTH)


@made_once
def write_stable_diffusion(
    folder: Path, prediction_type: str = "epsilon", vae: bool = True, version: int = 1, **schedule
) -> Path:
    """A pipeline of the Stable Diffusion 1.x or 2.x kind; without a VAE a pixel-space one with patches of 2 pixels."""
    torch.manual_seed(0)
    channels = 4 if vae else 12
    pipeline = StableDiffusionPipeline(
        vae=tiny_vae() if vae else None,
        text_encoder=CLIPTextModel(tiny_text_config(WIDTH, "quick_gelu" if version == 1 else "gelu")),
        tokenizer=tiny_tokenizer(folder.parent / "vocabulary"),
        unet=_unet(channels, cross_attention_dim=WIDTH, use_linear_projection=version == 2),
        scheduler=DDIMScheduler(**SCHEDULE | {"prediction_type": prediction_type} | schedule),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@made_once
def write_sdxl(folder: Path, prediction_type: str = "epsilon") -> Path:
    """A pipeline of the SDXL kind: two text encoders, pooled embeddings, time ids."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(folder.parent / "vocabulary")
    unet = _unet(
        4,
        cross_attention_dim=WIDTH + WIDTH_2,
        use_linear_projection=True,
        transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH_2 + 6 * 8,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=tiny_vae(force_upcast=True),
        text_encoder=CLIPTextModel(tiny_text_config(WIDTH, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config(WIDTH_2, "gelu")),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULE | {"prediction_type": prediction_type}),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@made_once
def write_sd3(folder: Path, version: float = 3.0, t5: bool = False, **schedule) -> Path:
    """A pipeline of the Stable Diffusion 3 kind; from version 3.5 on with normalised keys and queries."""
    torch.manual_seed(0)
    text_encoder_3, tokenizer_3 = tiny_t5(width=48) if t5 else (None, None)
    tokenizer = tiny_tokenizer(folder.parent / "vocabulary")
    text_encoder = CLIPTextModelWithProjection(tiny_text_config(WIDTH, "quick_gelu"))
    torch.nn.init.eye_(text_encoder.text_projection.weight)  # as in all published models
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=1,
        caption_projection_dim=64,
        joint_attention_dim=48,
        pooled_projection_dim=WIDTH + WIDTH_2,
        pos_embed_max_size=8,
        qk_norm="rms_norm" if version >= 3.5 else None,
        dual_attention_layers=(0,) if version >= 3.5 else (),
    )
    pipeline = StableDiffusion3Pipeline(
        vae=tiny_vae(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=text_encoder,
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config(WIDTH_2, "gelu")),
        text_encoder_3=text_encoder_3,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=tokenizer_3,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0} | schedule),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def write_lora(file: Path, model: Path) -> Path:
    """A LoRA in kohya's layout that changes the attention of a model's U-Net."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, layer in UNet2DConditionModel.from_pretrained(model, subfolder="unet").named_modules():
        if name.endswith("to_q"):
            key = f"lora_unet_{name.replace('.', '_')}"
            rows, columns = layer.weight.shape
            tensors[f"{key}.lora_up.weight"] = torch.randn(rows, 2, generator=generator)
            tensors[f"{key}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
            tensors[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(tensors, file)
    return file


def tiny_text_config(width: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=2 + 2 * (127 - 33),
        hidden_size=width,
        projection_dim=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_LENGTH,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def tiny_t5(width: int, length: int | None = None) -> tuple[T5EncoderModel, T5Tokenizer]:
    """A text encoder with a token for every letter, which reads `length` of them, and its tokenizer."""
    letters = ["▁", *(chr(code) for code in range(33, 127))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in letters)]
    more = {} if length is None else {"model_max_length": length}
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, **more)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    return T5EncoderModel(config), tokenizer


def _unet(channels: int, **more) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        **more,
    )


def tiny_vae(**more) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        **more,
    )
