"""Models that were distilled to a few steps: how they are recognised, and what a person is told. Standard library only.

Distillation trains a model to give in one evaluation what its base model gives after many, with guidance. It predicts a
finished image at every t, no longer the mean of all images that x(t) may come from: so there is no ε̂(y) − ε̂(∅) that −γ
could take back, and DDIM inversion leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.parameters import Lora
from ..errors import BadInputError
from .families import Family
from .header import family_of, read_header
from .location import HINTS_FILE, INDEX_FILE, companion_folder, last_part, locate, model_name, read_object
from .model_index import checked_pipeline

NATIVE_GUIDANCE = 1.0
"""γ that such models are made for: one evaluation, for the prompt alone."""

DRAWN_NOISES = ("random", "fixed", "attached")
"""The choices of κ (`parameters.NOISES`) that are drawn, and not found by asking the model."""

HINT = "is_distilled"
"""The entry of `HINTS_FILE` that says whether a model is distilled, whatever its name and configuration say."""

_CONSISTENCY_SCHEDULERS = ("LCMScheduler", "TCDScheduler")

_UNDONE = re.compile(r"(de|un)[-_ ]?distill\w*|undistill\w*", re.IGNORECASE)
_WORDS = (
    (re.compile(r"schnell|turbo|lightning|dmd2|distill(ed)?", re.IGNORECASE), "{0}"),
    (re.compile(r"LCM|(?<![a-z])lcm(?![a-z])"), "LCM"),
    (re.compile(r"hyper[-_ ]?(sd|flux)", re.IGNORECASE), "Hyper"),
    (re.compile(r"(?<![a-z])(flash|sprint)(?![a-z])", re.IGNORECASE), "{0}"),
    (re.compile(r"(?<!\d)[1-8][-_ ]?steps?(?![a-z\d])", re.IGNORECASE), "{0}"),
)
"""Words in the names of such models and LoRAs, and what to call what they stand for."""


@dataclass(frozen=True)
class Distilled:
    """A model that was distilled.

    Attributes:
        model: as a person calls it.
        how: how that is known, such as 'by its name, "turbo"'.
        base: what to take instead.
        cure: what to do where that is wrong; "" where it cannot be.
    """

    model: str
    how: str
    base: str
    cure: str = ""

    @property
    def refusal(self) -> str:
        """The sentence for a choice of κ that asks the model."""
        wrong = f" (If it is not distilled: {self.cure}.)" if self.cure else ""
        return (
            f'The model "{self.model}" was distilled to a few steps ({self.how}), and has lost the guidance that '
            f'inversion needs: choose {self.base}, or the noise "random", which is score distillation (SDS) without '
            f"inversion.{wrong}"
        )

    def remark(self, guidance: float) -> str:
        """The sentence for a choice of κ that is allowed."""
        more = "" if guidance == NATIVE_GUIDANCE else f" (such models are made for {NATIVE_GUIDANCE:g})"
        return (
            f"This model was distilled to a few steps ({self.how}): with drawn noise this is score distillation (SDS), "
            f"not inversion, at guidance {guidance:g}{more}. For inversion choose {self.base}."
        )


def distilled(
    model: str, family: Family | None = None, folder: Path | None = None, index: Mapping[str, Any] | None = None
) -> Distilled | None:
    """Whether a model is distilled: by what it says of itself, else by its configuration, else by its name.

    Args:
        model: what a person calls it: a path or a hub id.
        family: where it is known.
        folder: with its configuration, in Diffusers layout; None for a single file.
        index: of the folder.
    """
    name = last_part(model)
    said = read_object(folder / HINTS_FILE).get(HINT) if folder else None
    if said is False:
        return None
    base = family.base if family else "the model that it was made from"
    if said is True:
        return Distilled(model, f"by its {HINTS_FILE}", base)
    if family and folder and (_is_configured(family, folder, index or {}) or _is_consistency_model(index or {})):
        return Distilled(model, "by its configuration", base)
    word = word_for_few_steps(name)
    if not word and family and Path(model).is_absolute() and not folder and not _UNDONE.search(name):
        return _told_by_file(Path(model), family)
    if not word:
        return None
    if folder:
        cure = f'write {{"{HINT}": false}} into a file {HINTS_FILE} in its folder'
    else:
        cure = "" if "/" in model and not Path(model).is_absolute() else "rename its file"
    return Distilled(model, f'by its name, "{word}"', base, cure)


def check_noise(noise: str | None, model: str) -> None:
    """Refuse before a model is loaded a κ that it cannot give, as far as is known by then.

    Args:
        noise: one of `parameters.NOISES`; None is the preset's, and all presets ask the model for it.
        model: as in `location.locate`. Of one on the hub only the name is known.

    Raises:
        EnvironmentMissingError: there is nothing at this path.
        BadInputError: the model is distilled, and the noise is found by asking it; or what is there is not a model.
    """
    if noise in DRAWN_NOISES:
        return
    location = locate(model)
    folder: Path | None = None
    family: Family | None = None
    if location.kind != "hub":
        path = Path(location.sources[0])
        folder = path if location.kind == "folder" else companion_folder(path)
        family = None if folder else _family_of(path)
    index = read_object(folder / INDEX_FILE) if folder else {}
    try:
        family = checked_pipeline(model, index, folder) if index else family
    except BadInputError:
        return  # loading it says why
    found = distilled(model_name(model), family, folder, index)
    if found:
        raise BadInputError(found.refusal)


def word_for_few_steps(name: str) -> str:
    """The word in the name of a model or a LoRA that says that it is for few steps; "" for none."""
    name = _UNDONE.sub("", name)
    for pattern, called in _WORDS:
        found = pattern.search(name)
        if found:
            return called.format(found[0])
    return ""


def about_loras(loras: Sequence[Lora]) -> list[str]:
    """Sentences on those that make few steps of many, as their names say."""
    words = ((Path(lora.file).name, word_for_few_steps(Path(lora.file).stem)) for lora in loras if lora.weight != 0.0)
    return [
        f'By its name ("{word}") the LoRA "{name}" is for few steps: it takes from the model the guidance that '
        'inversion needs. Leave it out, or choose the noise "random".'
        for name, word in words
        if word
    ]


def _told_by_file(file: Path, family: Family) -> Distilled | None:
    """Whether a file without a configuration is distilled, where its base model has another name or other tensors."""
    if family.base_word and family.base_word not in last_part(str(file)).lower():
        how = f'by its name, without "{family.base_word}"'
        return Distilled(str(file), how, family.base, f'put "{family.base_word}" into the name of its file')
    if family.base_tensors and not any(re.fullmatch(family.base_tensors, name) for name in read_header(file)):
        cure = 'put "undistilled" into the name of its file'
        return Distilled(str(file), "by its tensors, without those for guidance", family.base, cure)
    return None


def _family_of(file: Path) -> Family | None:
    try:
        return family_of({name: entry.shape for name, entry in read_header(file).items()})
    except BadInputError:
        return None  # loading it says why


def _is_configured(family: Family, folder: Path, index: Mapping[str, Any]) -> bool:
    """Whether all of what the family's table says of its distilled models holds for this one."""
    return bool(family.distilled) and all(
        (read_object(folder / part / _CONFIGS[part]) if part else index).get(setting, False) == value
        for part, setting, value in family.distilled
    )


_CONFIGS = {"transformer": "config.json", "unet": "config.json", "scheduler": "scheduler_config.json"}


def _is_consistency_model(index: Mapping[str, Any]) -> bool:
    scheduler = index.get("scheduler")
    return isinstance(scheduler, list) and scheduler[-1:] != [] and scheduler[-1] in _CONSISTENCY_SCHEDULERS
