"""What files of changes to a model say of one layer, and the change that they stand for.

The formats are those of LyCORIS (Yeh et al. 2023), kohya's scripts, Diffusers and PEFT. Neither of the libraries that
know them serves here: PEFT reads but the plain ones, and LyCORIS' own merging multiplies the scale of LoHa in twice and
passes over layers that it does not find. So these are their formulas, and the tests hold them against PEFT's layers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
"""What a file holds for one layer, by kind (the values of `KINDS`)."""

KINDS = {
    "lora_up.weight": "up",
    "lora_down.weight": "down",
    "lora_mid.weight": "mid",
    "lora_B.weight": "up",
    "lora_A.weight": "down",
    "lora_B.default.weight": "up",
    "lora_A.default.weight": "down",
    "lora.up.weight": "up",
    "lora.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "alpha": "alpha",
    "dora_scale": "dora_scale",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "lora_magnitude_vector.default.weight": "magnitude",
    **{name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")},
    **{name: name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")},
    "diff": "diff",
    "diff_b": "diff_b",
    "w_norm": "diff",
    "b_norm": "diff_b",
    "ia3_l": "ia3_l",
    "on_input": "on_input",
    "weight": "ia3_weight",
}
"""What follows a layer's name, and what it is."""

_LORA = {"up", "down"}
_LOHA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
_FORMATS = (
    (_LORA, {"mid"}),
    (_LOHA, {"hada_t1", "hada_t2"}),
    *(
        (first | second, {"lokr_t2"} if "lokr_w2_a" in second else set())
        for first in ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"})
        for second in ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"})
    ),
    ({"diff"}, set()),
    ({"ia3_weight", "on_input"}, set()),
    ({"ia3_l"}, set()),
)
"""Which parts make a change of a weight, and which may come with them; besides alpha, a magnitude and a bias."""

_PATTERNS = ("alpha_pattern", "rank_pattern")
_OLD_ATTENTION = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.")


def split_name(name: str) -> tuple[str, str] | None:
    """The layer of a tensor by the file's own name for it, and its kind; None where it has none of `KINDS`."""
    name = _OLD_ATTENTION.sub(lambda found: f".to_{found[1]}{'.0' if found[1] == 'out' else ''}.lora.", name)
    for start in range(len(name)):
        if name[start] == "." and name[start + 1 :] in KINDS:  # the longest end first
            return name[:start], KINDS[name[start + 1 :]]
    return None


def is_whole(parts: Parts) -> bool:
    """Whether the parts of a file's layer are those of one of the formats, no more and no less."""
    kinds = set(parts) - {"diff_b"}
    if not kinds:
        return True
    if {"dora_scale", "magnitude"} <= kinds:
        return False
    if "ia3_l" in kinds and parts["ia3_l"].dim() != 2:
        return False  # of a convolution, where nothing tells inputs from outputs
    more = {"alpha", "dora_scale", "magnitude"}
    return any(needed <= kinds <= needed | optional | more for needed, optional in _FORMATS)


def weight_change(parts: Parts, weight: Tensor, amount: float) -> Tensor:
    """What is added to a layer's weight (out, in, …), of its shape; 0 for an amount of 0.

    Args:
        parts: for which `is_whole` holds, with a change of the weight among them, and `scale_of` as "scale".
        weight: of the model, in 32 bits.
        amount: 1 is as it was trained.

    Raises:
        ValueError, RuntimeError: the shapes do not fit.
    """
    if "ia3_weight" in parts or "ia3_l" in parts:
        return amount * _ia3(parts, weight)
    change = _difference(parts)
    # As a matrix (out, in · kernel), or of a convolution of 1 × 1 for a matrix.
    is_flat = change.dim() == 2 and change.shape[:1] == weight.shape[:1]
    if change.numel() != weight.numel() or not (is_flat or change.shape[: weight.dim()] == weight.shape):
        raise ValueError(f"the change is {tuple(change.shape)}, the weight {tuple(weight.shape)}")
    change = change.reshape(weight.shape)
    if "dora_scale" not in parts and "magnitude" not in parts:
        return amount * change
    return amount * (_with_length(weight + change, parts) - weight)


def is_low_rank(parts: Parts) -> bool:
    """Whether nothing but the bias and what has a low rank is changed, so that it can be done beside the weight."""
    return set(parts) <= {"up", "down", "alpha", "scale", "diff_b"}


def low_rank(parts: Parts, shape: Sequence[int], amount: float) -> tuple[Tensor, Tensor]:
    """(down, up): (rank, in, …) and (out, rank), whose product is `weight_change`.

    Args:
        parts: for which `is_whole` and `is_low_rank` hold, with a change of the weight among them.
        shape: of the weight.
        amount: 1 is as it was trained.
    """
    up, down = parts["up"].flatten(1), parts["down"]
    return down.reshape(len(down), *shape[1:]), amount * _scale(parts, len(down)) * up


def _difference(parts: Parts) -> Tensor:
    """α / rank · ΔW."""
    if "diff" in parts:
        return parts["diff"]
    if "up" in parts:
        up, down = parts["up"], parts["down"]
        rank = down.shape[0]
        if "mid" in parts:
            change = torch.einsum("oa,abkl,bi->oikl", up.flatten(1), parts["mid"], down.flatten(1))
        else:
            change = (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])
    elif "hada_w1_a" in parts:
        rank = parts["hada_w1_b"].shape[0]
        change = _product(parts, "hada_w1", "hada_t1") * _product(parts, "hada_w2", "hada_t2")
    else:
        # Kronecker's product; there is no rank, and so no α, where neither of its sides is a product itself.
        sides = [parts[f"lokr_w{side}_b"].shape[0] for side in (1, 2) if f"lokr_w{side}_b" in parts]
        rank = sides[-1] if sides else None
        small, large = _product(parts, "lokr_w1", ""), _product(parts, "lokr_w2", "lokr_t2")
        change = torch.kron(small.reshape(*small.shape, *[1] * (large.dim() - 2)), large.contiguous())
    return _scale(parts, rank) * change


def _scale(parts: Parts, rank: int | None) -> float:
    """α / rank; 1 where a file does not say α."""
    if "scale" in parts:
        return parts["scale"].item()
    return parts["alpha"].item() / rank if "alpha" in parts and rank is not None else 1.0


def _product(parts: Parts, name: str, core: str) -> Tensor:
    """W, or A·B, or Tucker's product of A and B with a core (rank, rank, …): A (rank, out) and B (rank, in)."""
    if name in parts:
        return parts[name]
    a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    return torch.einsum("ijkl,jr,ip->prkl", parts[core], b, a) if core in parts else a @ b


def _with_length(weight: Tensor, parts: Parts) -> Tensor:
    """DoRA (Liu et al. 2024): each row, or in LyCORIS' older files each column, gets the length that was learnt."""
    length = parts["magnitude"].flatten() if "magnitude" in parts else parts["dora_scale"]
    rows = length.dim() == 1 or length.shape[0] == weight.shape[0]
    if length.numel() != weight.shape[0 if rows else 1]:
        raise ValueError(f"{length.numel()} lengths for a weight {tuple(weight.shape)}")
    axis = 0 if rows else 1
    others = [other for other in range(weight.dim()) if other != axis]
    found = torch.linalg.vector_norm(weight, dim=others, keepdim=True).clamp(min=torch.finfo(weight.dtype).eps)
    shape = [1] * weight.dim()
    shape[axis] = -1
    return weight * (length.reshape(shape) / found)


def _ia3(parts: Parts, weight: Tensor) -> Tensor:
    """(IA)³ (Liu et al. 2022): a factor for each input or output; LyCORIS keeps what it differs from 1 by."""
    if "ia3_l" in parts:
        factor = parts["ia3_l"]
        difference, on_input = factor.flatten() - 1.0, factor.dim() > 1 and factor.shape[0] == 1
    else:
        difference, on_input = parts["ia3_weight"].flatten(), bool(parts["on_input"].item())
    shape = [1] * weight.dim()
    shape[1 if on_input else 0] = -1
    return weight * difference.reshape(shape)


def check_settings(settings: Mapping[str, object]) -> None:
    """Raise ValueError where a pattern in PEFT's settings of an adapter, which name its layers, is none."""
    for name in _PATTERNS:
        patterns = settings.get(name)
        for end in patterns if isinstance(patterns, dict) else ():
            try:
                re.compile(end)
            except re.error as error:
                raise ValueError(f"{name}: {error}") from error


def scale_of(settings: Mapping[str, object], layer: str) -> float | None:
    """α / rank for a layer by PEFT's settings of an adapter, whose files have no `alpha`; None where they do not say.

    Args:
        settings: the adapter's configuration, for one part of the pipeline.
        layer: the layer's name within the part.
    """
    alpha = _setting(settings, "alpha_pattern", layer) or settings.get("lora_alpha", settings.get("alpha"))
    rank = _setting(settings, "rank_pattern", layer) or settings.get("r")
    if not isinstance(alpha, int | float) or not isinstance(rank, int | float) or not rank > 0:
        return None
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _setting(settings: Mapping[str, object], name: str, layer: str) -> object:
    patterns = settings.get(name)
    found = patterns if isinstance(patterns, dict) else {}
    return next((value for end, value in found.items() if re.fullmatch(rf"(.*\.)?({end})", layer)), None)
