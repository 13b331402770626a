"""Model files with the right names and shapes in their headers, and zeros that take no space on the disk."""

import json
import math
import struct
from pathlib import Path

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
VAE = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
SDXL = {
    FIRST: (320, 4, 3, 3),
    **VAE,
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
}
SD1 = {FIRST: (320, 4, 3, 3), **VAE, "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,)}
SD2 = {FIRST: (320, 4, 3, 3), **VAE, "cond_stage_model.model.ln_final.weight": (1024,)}
SD3 = {
    "model.diffusion_model.x_embedder.proj.weight": (1536, 16, 2, 2),
    "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536),
    **VAE,
    "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight": (768,),
    "text_encoders.clip_g.transformer.text_model.final_layer_norm.weight": (1280,),
}
Z_IMAGE = {
    "layers.0.adaLN_modulation.0.weight": (15360, 256),
    "x_embedder.weight": (3840, 64),
    "cap_embedder.1.weight": (3840, 2560),
}
QWEN = {
    "transformer_blocks.0.img_mlp.net.2.weight": (3072, 12288),
    "img_in.weight": (3072, 64),
    "txt_in.weight": (3072, 3584),
}
FILES = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL, "sd3": SD3}


def write_file(path: Path, shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str] | None = None) -> Path:
    """A .safetensors file of zeros, in float16 unless `dtypes` gives another type."""
    sizes = {"F16": 2, "F32": 4, "U8": 1, "I8": 1, "I64": 8, "F8_E4M3": 1, "F8_E8M0": 1}
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        dtype = (dtypes or {}).get(name, "F16")
        start, end = end, end + math.prod(shape) * sizes[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)
    return path
