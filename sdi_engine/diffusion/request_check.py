"""What a model cannot make of a request, known before it is loaded, in Blender too: standard library only."""

from __future__ import annotations

from ..contract.request import JobRequest
from .distilled import check_noise
from .model_index import check_prompt
from .parts import check as check_parts


def check_request(request: JobRequest, resume: bool = False) -> None:
    """Refuse what the small files of the request's model say that it cannot make.

    Args:
        request: validated.
        resume: whether it was begun before; its noise is then looked at once the model is loaded.

    Raises:
        EnvironmentMissingError: there is nothing at the model's path.
        BadInputError: what is there is not a model, knows no word of the prompt, lacks a part, or cannot give the
            noise.
    """
    check_prompt(request.prompt, request.model)
    if not resume:
        check_noise(request.noise, request.model)  # before a person looks for the parts of a model that will not do
    check_parts(request.model, request.parts)
