"""How well results fit their prompts in the eyes of a CLIP model, for prompts that no truth is known of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from ..errors import BadInputError

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pixels that all of CLIP's models were trained on."""

SCORE_FACTOR = 100.0


class ClipScore:
    """A CLIP model with the prompts of an evaluation.

    Args:
        folder: of a `transformers.CLIPModel`, with its tokenizer, as `save_pretrained` writes them.
        prompts: at least one.

    Raises:
        BadInputError: there is no such model in the folder.
    """

    def __init__(self, folder: Path, prompts: Sequence[str], device: torch.device | str = "cpu") -> None:
        try:
            self._model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise BadInputError(
                f'The folder "{folder}" does not contain a CLIP model: give one with config.json, model.safetensors '
                "and a tokenizer, as transformers saves it."
            ) from error
        self._model.to(device)
        self.size: int = self._model.config.vision_config.image_size
        """Height and width in pixels of the pictures to show to it."""
        self.prompts = tuple(prompts)
        length = self._model.config.text_config.max_position_embeddings
        words = tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt").to(
            device
        )
        with torch.no_grad():
            text = self._model.text_model(input_ids=words.input_ids, attention_mask=words.attention_mask)
            self._texts = F.normalize(self._model.text_projection(text.pooler_output), dim=-1)

    @torch.no_grad()
    def similarities(self, images: Tensor) -> Tensor:
        """The cosine of each prompt with pictures of one object, the mean over the pictures: (prompts,) in −1…1.

        Args:
            images: (V, 3, size, size) in 0…1.
        """
        device = self._texts.device
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        seen = self._model.vision_model(pixel_values=((images - mean) / deviation).to(device))
        features = F.normalize(self._model.visual_projection(seen.pooler_output), dim=-1)
        return (features @ self._texts.T).mean(dim=0).cpu()

    def judge(self, images: Tensor, prompt: str) -> Mapping[str, float]:
        """What CLIP says of an object that was made from one of the prompts.

        Returns:
            "clip": the CLIP score, 100 · max(cos, 0) (Hessel et al. 2021, without their factor of 2.5), as in table 1
            of the paper; "clip_r": 1 where this prompt fits best of all, else 0, whose mean is CLIP R-precision
            (Jain et al. 2022; Poole et al. 2022, sec. 4).
        """
        similarities = self.similarities(images)
        own = similarities[self.prompts.index(prompt)]
        return {
            "clip": SCORE_FACTOR * max(0.0, own.item()),
            "clip_r": float(own >= similarities.max()),
        }
