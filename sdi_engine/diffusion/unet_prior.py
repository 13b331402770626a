"""Stable Diffusion 1.x, 2.x and SDXL as a `Prior`: a U-Net on a discrete noise schedule."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from ..errors import BadInputError
from .diffusers_prior import DiffusersPrior
from .families import supported
from .prior import ModelHints, Prediction, Text
from .schedule import DiscreteSchedule
from .traced import TracedNetwork

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def check_schedule(scheduler: Any) -> None:
    """Refuse a scheduler of Diffusers without a discrete noise schedule, or of a prediction that is not known here.

    Raises:
        BadInputError: it is one.
    """
    if not hasattr(scheduler, "alphas_cumprod"):
        raise BadInputError(
            f"This model's noise schedule ({type(scheduler).__name__}) is not supported: choose a model of the "
            f"{supported()} family."
        )
    prediction = DDIMScheduler.from_config(scheduler.config).config.prediction_type
    if prediction not in PREDICTION_TYPES:
        raise BadInputError(
            f'This model predicts "{prediction}", which is not supported: choose one that predicts '
            f"{' or '.join(PREDICTION_TYPES)}, such as Stable Diffusion 1.5 or 2.1."
        )


def configure(scheduler: Any, **settings: Any) -> None:
    """Change what a scheduler's configuration says, as if its file had said so.

    Of a setting that the file lacks Diffusers remembers that it took the default, and takes it again in `from_config`.
    """
    defaults = [name for name in scheduler.config.get("_use_default_values", ()) if name not in settings]
    scheduler.register_to_config(**settings, _use_default_values=defaults)


class UNetPrior(DiffusersPrior):
    """A U-Net that predicts ε, v = a·ε − b·x0 (Salimans and Ho 2022) or x0.

    SDXL is told pooled embeddings and the image's size besides, as if the image were uncropped.
    """

    def __init__(self, pipeline: Any, hints: ModelHints, device: torch.device) -> None:
        """
        Raises:
            BadInputError: the U-Net takes more than text, or its schedule or prediction is not supported.
        """
        unet: UNet2DConditionModel = pipeline.unet
        super().__init__(pipeline, unet, hints, device)
        if not unet.config.in_channels == unet.config.out_channels == self._latents.channels:
            raise BadInputError(
                f"This model's U-Net takes {unet.config.in_channels} channels for images of {self._latents.channels}, "
                "as those for inpainting, depth or editing do: choose the plain text-to-image model it was made from."
            )
        check_schedule(pipeline.scheduler)
        self._scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        self._prediction_type: str = self._scheduler.config.prediction_type
        self._schedule = DiscreteSchedule(self._scheduler.alphas_cumprod)
        self._is_xl = unet.config.addition_embed_type == "text_time"
        self._traced = TracedNetwork(unet, self._ask, unet.to_json_string())

    @property
    def _is_one_piece(self) -> bool:
        return super()._is_one_piece or (self._traced.works and not self._is_xl)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._schedule.scales(t)
        return a.view(-1, 1, 1, 1), b.view(-1, 1, 1, 1)

    def sampling_times(self, steps: int, resolution: int | None = None) -> Tensor:
        self._scheduler.set_timesteps(steps)
        return (self._scheduler.timesteps.double() / self._schedule.timesteps).float().to(self.device)

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        dtype = self._dtype
        asked = x.to(dtype), self._schedule.timestep(t), text["embedding"].to(dtype)
        if self._is_xl:
            output = self._ask(*asked, self._added_conditions(x, text)).float()
        else:
            output = (self._ask if self._is_compiled else self._traced)(*asked).float()
        a, b = self.scales(t)
        if self._prediction_type == "epsilon":
            return Prediction((x - b * output) / a, output)
        if self._prediction_type == "v_prediction":
            return Prediction(a * x - b * output, a * output + b * x)
        return Prediction(output, (x - a * output) / b)

    def _ask(self, x: Tensor, timestep: Tensor, embedding: Tensor, added: dict[str, Tensor] | None = None) -> Tensor:
        output: Tensor = self._denoiser(
            x, timestep, encoder_hidden_states=embedding, added_cond_kwargs=added, return_dict=False
        )[0]
        return output

    def _added_conditions(self, x: Tensor, text: Text) -> dict[str, Tensor]:
        """SDXL's pooled embeddings and time ids: original size, upper left corner of the crop, target size."""
        height, width = (side * self._latents.pixels_per_cell for side in x.shape[-2:])
        dtype = self._dtype
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=dtype, device=x.device)
        return {"text_embeds": text["pooled"].to(dtype), "time_ids": time_ids.expand(len(x), -1)}

    def no_text(self) -> Text:
        """One token of zeros, for which no text encoder is needed."""
        config = self._denoiser.config
        text = {"embedding": torch.zeros(1, 1, int(config.cross_attention_dim), device=self.device)}
        if self._is_xl:
            width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            text["pooled"] = torch.zeros(1, width, device=self.device)
        return text

    def _encode(self, prompt: str) -> Text:
        """SDXL's pooled embedding is that of as much as one piece holds, with the view words."""
        reading = self._read(prompt)
        text = self._encode_short(reading.short)
        if not reading.is_plain:
            text["embedding"] = torch.cat([self._weighed(piece, self._is_xl) for piece in reading.pieces], dim=1)
        return text

    def _encode_short(self, prompt: str) -> Text:
        arguments = {"device": self.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        if not self._is_xl:
            return {"embedding": self._pipeline.encode_prompt(prompt, **arguments)[0]}
        embedding, _, pooled, _ = self._pipeline.encode_prompt(prompt, **arguments)
        if not prompt and self._pipeline.config.force_zeros_for_empty_prompt:
            embedding, pooled = torch.zeros_like(embedding), torch.zeros_like(pooled)
        return {"embedding": embedding, "pooled": pooled}
