"""The CLIP score of results against their prompts, which needs no known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from ..diffusion.header import listed
from ..diffusion.networks import check_finite
from ..diffusion.tokenizer_files import check_knows_words
from ..errors import BadInputError

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the red, green and blue values (0…1) of CLIP's training images; all of its models use them."""

SCORE_FACTOR = 100.0


class ClipScore:
    """A CLIP model with the prompts of an evaluation.

    Args:
        folder: contains a `transformers.CLIPModel` and its tokenizer, as `save_pretrained` writes them.
        prompts: all prompts of the evaluation, at least one.
        device: where the model computes.

    Raises:
        BadInputError: the folder does not contain such a model, or not all of its weights.
    """

    def __init__(self, folder: Path, prompts: Sequence[str], device: torch.device | str = "cpu") -> None:
        try:
            self._model, account = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # there is no telling what the library raises for damaged files
            raise BadInputError(
                f'The folder "{folder}" does not contain a CLIP model: give one with config.json, model.safetensors '
                "and a tokenizer, as transformers saves it."
            ) from error
        if missing := sorted(account["missing_keys"]):  # the library fills them with random numbers
            raise BadInputError(
                f'The CLIP model in "{folder}" lacks {listed(missing)}: give a whole one, that reads both pictures and '
                "text."
            )
        for name, tensor in self._model.named_parameters():
            check_finite(f'The CLIP model in "{folder}"', name, tensor)
        check_knows_words(folder, {"": tokenizer})
        self._model.eval()
        self._model.to(device)
        self.size: int = self._model.config.vision_config.image_size
        """Height and width in pixels of the pictures that it takes."""
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
        """The cosine similarity of each prompt with pictures of one object, averaged over the pictures.

        Args:
            images: (V, 3, size, size) in 0…1.

        Returns:
            (prompts,) in −1…1, on the CPU.
        """
        device = self._texts.device
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        vision = self._model.vision_model(pixel_values=((images - mean) / deviation).to(device))
        features = F.normalize(self._model.visual_projection(vision.pooler_output), dim=-1)
        return (features @ self._texts.T).mean(dim=0).cpu()

    def judge(self, images: Tensor, prompt: str) -> Mapping[str, float]:
        """Scores pictures of an object that was made from one of the prompts.

        Args:
            images: (V, 3, size, size) in 0…1.
            prompt: one of `prompts`.

        Returns:
            "clip": the CLIP score, 100 · max(cos, 0) (Hessel et al. 2021, without their factor of 2.5), as in table 1
            of the paper; "clip_r": 1 if no other prompt fits better, else 0, whose mean over objects is CLIP
            R-precision (Jain et al. 2022; Poole et al. 2022, sec. 4).
        """
        similarities = self.similarities(images)
        own = similarities[self.prompts.index(prompt)]
        return {
            "clip": SCORE_FACTOR * max(0.0, own.item()),
            "clip_r": float(own >= similarities.max()),
        }
