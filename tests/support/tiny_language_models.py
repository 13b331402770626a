"""Tiny text-to-image models that are told their prompts by a language model, in the layout of real checkpoints."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    PRXPixelPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.models.transformers.transformer_prx import PRXTransformer2DModel
from tiny_models import tiny_vae
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLTextModel,
)
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

WIDTH = 8
RESOLUTION = 32
"""Of the images of all these models, in pixels."""

CHAT_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n"
    "{%- if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""What Qwen 3's does with a single message of a person's."""

SYSTEM_PROMPT = (
    "system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships "
    "of the objects and background:\nuser\nassistant\n"
)
"""The words of Qwen-Image's template, which are one token each in Qwen's tokenizer, and so in the tiny one."""

DYNAMIC = {"use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 400}


def write_z_image(folder: Path, turbo: bool = False) -> Path:
    """A pipeline of the Z-Image kind, whose time runs from noise to image, and which predicts x0 − ε."""
    torch.manual_seed(0)
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if turbo else 6.0),
        vae=tiny_vae(shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=Qwen3Model(_qwen3(2)),
        tokenizer=tiny_qwen_tokenizer(),
        transformer=ZImageTransformer2DModel(
            in_channels=4,
            dim=16,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=1,
            n_kv_heads=1,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 6, 6],
            axes_lens=[1024, 64, 64],
        ),
    )
    return _written(pipeline, folder)


def write_flux2_klein(folder: Path, is_distilled: bool = False) -> Path:
    """A pipeline of the FLUX.2 klein kind: a VAE with a batch normalisation, and three layers of a language model."""
    torch.manual_seed(0)
    autoencoder = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
    )
    autoencoder.bn.running_mean.normal_()
    autoencoder.bn.running_var.uniform_(0.5, 3.0)
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=autoencoder,
        text_encoder=Qwen3ForCausalLM(_qwen3(28)),
        tokenizer=tiny_qwen_tokenizer(),
        transformer=_lively(
            Flux2Transformer2DModel(
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=1,
                joint_attention_dim=3 * WIDTH,
                timestep_guidance_channels=16,
                axes_dims_rope=(4, 4, 4, 4),
                guidance_embeds=False,
            )
        ),
        is_distilled=is_distilled,
    )
    return _written(pipeline, folder)


def write_qwen_image(folder: Path) -> Path:
    """A pipeline of the Qwen-Image kind: a video VAE with a mean and deviation of each channel, and a long template."""
    torch.manual_seed(0)
    text = {
        "hidden_size": WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "vocab_size": len(tiny_qwen_tokenizer()),
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
        "max_position_embeddings": 2048,
    }
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": WIDTH}
    pipeline = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift_terminal=0.02, **DYNAMIC),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 2],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[-0.8, 0.3, 0.1, 1.5],
            latents_std=[2.8, 1.4, 0.7, 2.1],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=tiny_qwen_tokenizer(),
        transformer=_lively(
            QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=1,
                joint_attention_dim=WIDTH,
                axes_dims_rope=(4, 6, 6),
            )
        ),
    )
    return _written(pipeline, folder)


def write_sana(folder: Path) -> Path:
    """A pipeline of the Sana kind: linear attention on the latents of a deep autoencoder."""
    torch.manual_seed(0)
    pipeline = SanaPipeline(
        tokenizer=tiny_gemma_tokenizer(),
        text_encoder=Gemma2Model(_gemma2()),
        vae=AutoencoderDC(
            latent_channels=8,
            attention_head_dim=4,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 16),
            decoder_block_out_channels=(8, 16),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            scaling_factor=0.41407,
        ),
        transformer=SanaTransformer2DModel(
            in_channels=8,
            out_channels=8,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            sample_size=RESOLUTION // 2,
        ),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=1
        ),
    )
    return _written(pipeline, folder)


def write_prx_pixel(folder: Path) -> Path:
    """A pipeline of the PRXPixel kind: a transformer that predicts x0 in pixels, from noise of twice the deviation."""
    torch.manual_seed(0)
    pipeline = PRXPixelPipeline(
        transformer=_lively(
            PRXTransformer2DModel(
                in_channels=3,
                patch_size=4,
                context_in_dim=WIDTH,
                hidden_size=16,
                mlp_ratio=2.0,
                num_heads=2,
                depth=2,
                axes_dim=[4, 4],
                bottleneck_size=8,
                resolution_embeds=True,
            ),
            deviation=0.15,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=Qwen3VLTextModel(Qwen3VLTextConfig(**_QWEN3, num_hidden_layers=2)),
        tokenizer=tiny_qwen_tokenizer(),
        default_sample_size=RESOLUTION,
    )
    return _written(pipeline, folder)


def tiny_qwen_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer of the Qwen kind: a token for each word of Qwen-Image's template, and one for each other byte."""
    alphabet = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    letters = Qwen2Tokenizer(vocab=alphabet | {"<|endoftext|>": len(alphabet)})
    tokenizer = letters.train_new_from_iterator([SYSTEM_PROMPT], vocab_size=1000, show_progress=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_gemma_tokenizer() -> GemmaTokenizer:
    """A tokenizer of the Gemma kind, with a token for each letter."""
    letters = ["▁", "\n", *(chr(code) for code in range(33, 127))]
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *letters]
    return GemmaTokenizer(vocab={word: index for index, word in enumerate(words)}, add_bos_token=True)


_QWEN3 = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 1024,
    "vocab_size": 1024,
}


def _qwen3(layers: int) -> Qwen3Config:
    return Qwen3Config(**_QWEN3, num_hidden_layers=layers)


def _gemma2() -> Gemma2Config:
    return Gemma2Config(
        vocab_size=128,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
    )


def _lively(transformer: torch.nn.Module, deviation: float = 0.2) -> torch.nn.Module:
    """A transformer whose weights are larger than they would be before a training, so that it minds what it is told."""
    for parameter in transformer.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=deviation)
    return transformer


def _written(pipeline: DiffusionPipeline, folder: Path) -> Path:
    """The folder of a pipeline, with its resolution beside it, which the real ones' transformers do not say."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "sdi_engine.json").write_text(json.dumps({"resolution": RESOLUTION}))
    return folder
