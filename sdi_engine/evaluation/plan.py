"""The plan of an evaluation: prompts, seeds and settings; each combination is an object and a job of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.overrides import parse_override
from ..config.parameters import MAX_SEED, NO_PARTS, PARAMETERS, STARTER_MODEL, Parts
from ..contract.job_folder import storage_errors
from ..contract.request import JobRequest, Lora, slug
from ..errors import BadInputError
from ..system.files import read_json_object, write_atomically
from ..system.untrusted import read_list

PLAN_FILE = "plan.json"

LISTS = ("default", "held-out", "pairs", "paper")
"""The lists of prompts in `prompts/`, without the ending .txt."""

DEFAULT_SETTING = "standard: preset=standard"

OPTIONS = tuple(name for name, parameter in PARAMETERS.items() if parameter.is_compared)
"""The options that a setting may have, besides "set.NAME" (`overrides`) and "equal_time"; settings share the rest."""

GROWING = ("prompts", "seeds", "settings")
"""Fields of a plan to which items may be appended later."""

_PROMPTS = Path(__file__).with_name("prompts")


@dataclass(frozen=True)
class Setting:
    """One way to make objects.

    Attributes:
        name: its name in the table.
        options: fields of a `JobRequest`, by names in `OPTIONS`.
        overrides: the request's `overrides`.
        equal_time: the name of another setting; this one gets as many steps as take that one's time per object.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    equal_time: str = ""

    @property
    def text(self) -> str:
        """What `parse_setting` reads as this setting."""
        options = self.options | {f"set.{name}": value for name, value in self.overrides.items()}
        words = [f"{name}={value if isinstance(value, str) else _compact(value)}" for name, value in options.items()]
        words += [f"equal_time={self.equal_time}"] * bool(self.equal_time)
        return f"{self.name}: {shlex.join(words)}".strip()


@dataclass(frozen=True)
class Job:
    """One object to make: a prompt, a seed and the name of a setting, with the request that follows from them."""

    prompt: str
    seed: int
    setting: str
    request: JobRequest

    @cached_property
    def key(self) -> str:
        """The name of its folder, which contains a hash of the whole request."""
        digest = hashlib.sha256(self.request.to_json().encode()).hexdigest()[:8]
        return f"{slug(self.prompt)[:28]}-{self.seed}-{slug(self.setting)[:16]}-{digest}"


@dataclass(frozen=True)
class Plan:
    """All that an evaluation depends on.

    Attributes:
        prompts: without duplicates.
        seeds: without duplicates.
        settings: the first is compared with each of the others.
        model: as in `JobRequest`, the same for all jobs.
        loras: as in `JobRequest`, the same for all jobs.
        device: as in `JobRequest`, the same for all jobs.
        weights: a hash that changes with what the model's files hold (`diffusion.sources.digest`).
        samples: number of 2D samples of each prompt, 0 to 64.
        version: of the engine.
        task: what the jobs make, as in `JobRequest`; "texture" paints the starter world's own meshes.
        parts: networks of the model from files of their own, the same for all jobs.
        precision: as in `JobRequest`, the same for all jobs.

    Raises:
        BadInputError: a list is empty or has duplicates, a number is out of range, or a setting is invalid.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    settings: tuple[Setting, ...] = (Setting("standard", {"preset": "standard"}),)
    model: str = "starter"
    loras: tuple[Lora, ...] = ()
    device: str = "auto"
    weights: str = ""
    samples: int = 4
    version: str = __version__
    task: str = "object"
    parts: Parts = NO_PARTS
    precision: str = "auto"

    def __post_init__(self) -> None:
        names = [setting.name for setting in self.settings]
        for label, items in (("prompt", self.prompts), ("seed", self.seeds), ("setting", names)):
            if not items:
                raise BadInputError(f"There is no {label} to evaluate: give at least one.")
            if len(set(items)) < len(items):
                raise BadInputError(f"A {label} is given twice: give every {label} once.")
        if not 0 <= self.samples <= 64:
            raise BadInputError(f'The setting "samples" is {self.samples}: it must be between 0 and 64.')
        followed = {setting.name for setting in self.settings if not setting.equal_time}
        for setting in self.settings:
            if setting.equal_time and setting.equal_time not in followed:
                raise BadInputError(
                    f'The setting "{setting.name}" has equal_time={setting.equal_time}: name another setting of this '
                    "evaluation, one without equal_time."
                )
            for prompt in self.prompts:
                for seed in self.seeds:
                    self.request(prompt, seed, setting)

    def request(self, prompt: str, seed: int, setting: Setting, steps: int | None = None) -> JobRequest:
        """A job's request, validated; `steps` replaces those of the setting."""
        changed = {} if steps is None else {"steps": steps}
        common = {"model": self.model, "loras": self.loras, "device": self.device, "task": self.task}
        common["precision"] = self.precision
        common |= {field.name: getattr(self.parts, field.name) for field in dataclasses.fields(Parts)}
        fields = {
            "prompt": prompt,
            "seed": seed,
            "overrides": setting.overrides,
            **common,
            **setting.options,
            **changed,
        }
        return JobRequest(**fields).validated()

    def job(self, prompt: str, seed: int, setting: Setting, steps: int | None = None) -> Job:
        """One job of the plan."""
        return Job(prompt, seed, setting.name, self.request(prompt, seed, setting, steps))

    def jobs(self, steps: Mapping[str, int]) -> list[Job]:
        """All jobs, with the settings taking turns, so that other work on the machine slows all of them alike.

        Args:
            steps: those of settings with equal_time, by the settings' names.
        """
        return [
            self.job(prompt, seed, setting, steps.get(setting.name))
            for seed in self.seeds
            for prompt in self.prompts
            for setting in self.settings
        ]

    def arguments(self) -> list[str]:
        """The options of `evaluate` that come to this plan, each with its value; those with their defaults left out."""
        lists = [name for name in LISTS if self.prompts == read_prompts([name], [])]
        given = [("--prompts", lists[0])] if lists else [("--prompt", prompt) for prompt in self.prompts]
        given += [("--seeds", ",".join(map(str, self.seeds))), ("--samples", str(self.samples))]
        given += [("--setting", setting.text) for setting in self.settings]
        given += [("--model", self.model)] * (self.model != STARTER_MODEL)
        given += [("--lora", f"{lora.file}={lora.weight:g}") for lora in self.loras]
        for name, paths in dataclasses.asdict(self.parts).items():
            files = paths if PARAMETERS[name].is_list else [paths]
            given += [(PARAMETERS[name].flag, file) for file in files if file]
        given += [("--device", self.device)] * (self.device != "auto")
        given += [("--precision", self.precision)] * (self.precision != "auto")
        given += [("--task", self.task)] * (self.task != "object")
        return [word for option in given for word in option]

    def save(self, folder: Path) -> None:
        """Write the plan into its evaluation's folder; it may replace one that it only extends (`GROWING`).

        Raises:
            BadInputError: the folder has another plan.
        """
        new = json.loads(json.dumps(dataclasses.asdict(self)))
        old = read_json_object(folder / PLAN_FILE) or {}
        if old:
            old.setdefault("task", "object")  # older plans do not say so
            old.setdefault("precision", "auto")
            old["parts"] = json.loads(json.dumps(dataclasses.asdict(NO_PARTS))) | old.get("parts", {})
        others = [name for name in new if old and not _continues(name, new[name], old.get(name))]
        if others:
            raise BadInputError(
                f'The folder "{folder}" belongs to another evaluation (other {", ".join(others)}): choose a new '
                "folder, or repeat the command that began it, with further prompts, seeds or settings only after the "
                "old ones."
            )
        if new != old:
            with storage_errors(folder):
                write_atomically(folder / PLAN_FILE, json.dumps(new, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """The plan in an evaluation's folder.

        Raises:
            BadInputError: there is none, or it is damaged.
        """
        fields = read_json_object(folder / PLAN_FILE)
        if fields is None:
            raise BadInputError(f'"{folder}" is not the folder of an evaluation: give one that contains {PLAN_FILE}.')
        try:
            fields["prompts"], fields["seeds"] = tuple(fields["prompts"]), tuple(fields["seeds"])
            fields["settings"] = tuple(Setting(**setting) for setting in fields["settings"])
            fields["loras"] = tuple(Lora(**lora) for lora in fields["loras"])
            parts = fields.pop("parts", {})
            fields["parts"] = Parts(**parts | {"text_encoders": tuple(parts.get("text_encoders", ()))})
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise BadInputError(
                f'The plan in "{folder}" is damaged or of another version: evaluate again, into a new folder.'
            ) from error


def read_prompts(lists: Sequence[str], prompts: Sequence[str]) -> tuple[str, ...]:
    """The prompts of some lists, then single ones, without duplicates; if nothing is given, the default list.

    Args:
        lists: names in `LISTS`, or text files with one prompt per line; empty lines and those with # are skipped.
        prompts: single prompts.

    Raises:
        BadInputError: there is no such list, a file cannot be read, they are empty, or a prompt is invalid.
    """
    if not lists and not prompts:
        lists = LISTS[:1]
    found = [prompt for name in lists for prompt in _lines(name)]
    if not found and not prompts:
        raise BadInputError(f'There is no prompt in "{", ".join(lists)}": write one per line.')
    return tuple(dict.fromkeys(JobRequest(prompt).validated().prompt for prompt in (*found, *prompts)))


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds in a text such as "0,1,2".

    Raises:
        BadInputError: there are no seeds, or they are not whole numbers.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdigit() and len(word) <= len(str(MAX_SEED)) for word in words):
        raise BadInputError(f'"{text}" is not a list of seeds: give whole numbers up to {MAX_SEED}, such as 0,1,2.')
    return tuple(int(word) for word in words)


def parse_setting(text: str) -> Setting:
    """The setting in a text "NAME: option=value option=value"; options are `OPTIONS`, "set.NAME" and "equal_time".

    Raises:
        BadInputError: it cannot be parsed, or has an unknown option.
    """
    name, colon, rest = text.partition(":")
    name = " ".join(name.split())
    if not name or not colon:
        raise BadInputError(
            f'The setting "{text}" has no name: write a name, a colon and options, as in "SDS: noise=random steps=300".'
        )
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise BadInputError(f'The setting "{name}" has an open quotation mark: close it or remove it.') from error
    options: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    equal_time = ""
    for word in words:
        try:
            option, value = parse_override(word)
        except BadInputError as error:
            raise BadInputError(f'The setting "{name}" has the option "{word}": write option=value.') from error
        if option.startswith("set."):
            overrides[option.removeprefix("set.")] = value
        elif option == "equal_time":
            equal_time = word.partition("=")[2]
        elif option in OPTIONS:
            options[option] = word.partition("=")[2] if PARAMETERS[option].kind is str else value
        else:
            raise BadInputError(
                f'The setting "{name}" has the unknown option "{option}": choose from {", ".join(OPTIONS)}, '
                "equal_time, and set.NAME for any other number."
            )
    return Setting(name, options, overrides, equal_time)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _continues(name: str, new: Any, old: Any) -> bool:
    """Whether a field of a plan equals the old plan's or only appends to it, so that finished jobs stay valid."""
    if name in GROWING and isinstance(old, list):
        return new[: len(old)] == old
    return new == old


def _lines(name: str) -> list[str]:
    file = _PROMPTS / f"{name}.txt" if name in LISTS else Path(name)
    try:
        return read_list(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadInputError(
            f'The list of prompts "{name}" cannot be read ({reason}): give a text file with a prompt per line, or one '
            f"of {', '.join(LISTS)}."
        ) from error
