"""A run on the disk: one safetensors file, from which it goes on as if it had not stopped.

Its tensors:
    representation.NAME     what `Representation.state_dict` calls NAME
    noise.cells             W, of a run whose noise lives on the object (`distillation.surface_noise`)
    noise.kept              what W has forgotten since it was looked at; older files have none
    optimizer.NAME.KEY      Adam's KEY ("step", "exp_avg", "exp_avg_sq") of the parameter NAME
    residuals               `Optimisation.residuals`, (steps, 2); older files have none
    model.PART              a digest of the files that this part of the 2D model was read from (`Prior.weights`), uint8
    step, attempt           how many steps are done, and how many attempts came to nothing before
Files of an older form are read, too: there the representation's names have no prefix, and the optimiser's NAME is a
parameter's place in the order of the groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..contract.job_folder import storage_errors
from ..diffusion.fingerprint import Source
from ..errors import BadInputError
from ..system.files import make_folder_of_ours, open_to_read, write_atomically
from .optimisation import Optimisation

REPRESENTATION = "representation."
OPTIMIZER = "optimizer."
CELLS = "noise.cells"
KEPT = "noise.kept"
MODEL = "model."

MAX_RESTARTS = 2
"""A run without an object is started over so often, with other random numbers and a stronger central ball."""

_OF_DAMAGE = (SafetensorError, KeyError, ValueError, RuntimeError, IndexError, OverflowError, TypeError)

Snapshot = dict[str, Tensor]
"""A run's state at one moment, in memory of its own."""


def save(run: Optimisation, path: Path) -> None:
    """Write everything that `load` needs, atomically; raises OSError."""
    write(snapshot(run), path)


def snapshot(run: Optimisation) -> Snapshot:
    """Everything that `load` needs, which stays as it is while the run goes on."""
    tensors = {REPRESENTATION + name: tensor for name, tensor in run.representation.state_dict().items()}
    if run.guidance.cells is not None:
        tensors[CELLS], tensors[KEPT] = run.guidance.cells.values, run.guidance.cells.kept
    names = _parameter_names(run)
    for index, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}{names[index]}.{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors |= {"step": torch.tensor(run.step), "attempt": torch.tensor(run.attempt)}
    tensors |= {MODEL + part: torch.tensor([*source.digest]).byte() for part, source in run.prior.weights.items()}
    tensors["residuals"] = torch.tensor(run.residuals, dtype=torch.float64).reshape(-1, 2)
    return {
        name: torch.empty_like(tensor, device="cpu", memory_format=torch.contiguous_format).copy_(tensor)
        for name, tensor in ((name, tensor.detach()) for name, tensor in tensors.items())
    }


def write(state: Snapshot, path: Path) -> None:
    """Write a snapshot, atomically; raises OSError."""
    make_folder_of_ours(path.parent)
    write_atomically(path, to_bytes(state))


def load(run: Optimisation, path: Path) -> None:
    """Make `run`, which is at its beginning, go on from a checkpoint that `save` wrote.

    Raises:
        BadInputError: the file is damaged or of a run with other settings.
        StorageError: it cannot be read.
    """
    tensors = _read(path)
    try:
        if not any(name.startswith(REPRESENTATION) for name in tensors):
            tensors = _from_older(tensors, _parameter_names(run))
        step, attempt = _count(tensors["step"], run.settings.steps), _count(tensors["attempt"], MAX_RESTARTS)
        if attempt != run.attempt:
            raise ValueError(f"attempt {attempt}, where {run.attempt} was wanted")
        run.representation.load_state_dict(_below(REPRESENTATION, tensors))
        run.take_in_parameters()
        if run.guidance.cells is not None:
            run.guidance.cells.restore(tensors[CELLS], tensors.get(KEPT))
        index_of = {name: index for index, name in enumerate(_parameter_names(run))}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(OPTIMIZER, tensors).items():
            parameter, _, key = name.rpartition(".")
            state.setdefault(index_of[parameter], {})[key] = tensor
        parameters = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
        _check(state, parameters, step * run.settings.fits)
        run.optimizer.load_state_dict(run.optimizer.state_dict() | {"state": state})
        residuals = [(t, residual) for t, residual in tensors.get("residuals", torch.zeros(0, 2)).tolist()]
        if not all(math.isfinite(number) for pair in residuals for number in pair):
            raise ValueError("a residual is no number")
    except _OF_DAMAGE as error:
        raise _damaged(path) from error
    run.step, run.residuals = step, residuals
    run.representation.resume((step - 1) / run.settings.steps)


def attempt_of(path: Path) -> int:
    """Which attempt a checkpoint belongs to.

    Raises:
        BadInputError: the file is damaged.
        StorageError: it cannot be read.
    """
    with _opened(path) as file:
        return _count(file.get_tensor("attempt"), MAX_RESTARTS)


def check_model(weights: Mapping[str, Source], path: Path) -> None:
    """Refuse to go on with another 2D model than the one that a checkpoint is of; one of an older form knows none.

    Args:
        weights: of the model (`Prior.weights`).

    Raises:
        BadInputError: a part of it is another one, or the file is damaged.
        StorageError: it cannot be read.
    """
    with _opened(path) as file:
        noted = {name: bytes(file.get_tensor(name).tolist()) for name in file.keys() if name.startswith(MODEL)}  # noqa: SIM118
    changed = {part: each for part, each in weights.items() if noted.get(MODEL + part, each.digest) != each.digest}
    if changed:
        what = " and ".join(f'"{each.path}" ({_word(part)})' for part, each in changed.items())
        raise BadInputError(
            f"The job was begun with other weights than there are now in {what}, and an object cannot be made of both: "
            "put the former ones back, or start the job over."
        )


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, in memory of their own.

    A file that is mapped into memory, as safetensors does it, cannot be replaced on Windows, so that the run would end
    at its next checkpoint; and when its drive goes away, the process is killed where reading raises an error.
    """
    with storage_errors(path.parent), open_to_read(path) as file:
        content = file.read()
    try:
        return from_bytes(content)
    except _OF_DAMAGE as error:
        raise _damaged(path) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A checkpoint of which little is read; mapped into memory as long as the block lasts."""
    try:
        with storage_errors(path.parent), safe_open(path, framework="pt") as file:
            yield file
    except _OF_DAMAGE as error:
        raise _damaged(path) from error


def _word(part: str) -> str:
    """What a part of a model is called in a sentence."""
    return "LoRA" if part.startswith("lora_") else part.replace("_", " ").replace("vae", "VAE").replace("unet", "U-Net")


def fits(run: Optimisation, path: Path) -> bool:
    """Whether a checkpoint has all tensors of the run's 3D, of the same shapes, and no later step than the run.

    Raises as `load`.
    """
    with _opened(path) as file:
        if _count(file.get_tensor("step")) > run.settings.steps:
            return False
        names = set(file.keys())
        if not any(name.startswith(REPRESENTATION) for name in names):
            return True  # of the older form; `load` says what is wrong with it
        return all(
            REPRESENTATION + name in names
            and list(file.get_slice(REPRESENTATION + name).get_shape()) == list(tensor.shape)
            for name, tensor in run.representation.state_dict().items()
        )


def _count(tensor: Tensor, most: int = 2**31) -> int:
    """The whole number in a tensor; raises ValueError where it is none, negative or more than `most`."""
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.dim() or not 0 <= tensor.item() <= most:
        raise ValueError(f"{tensor} is no number from 0 to {most}")
    return int(tensor)


def _check(state: dict[int, dict[str, Tensor]], parameters: list[nn.Parameter], most: int) -> None:
    """Raise ValueError unless each entry of the optimiser's state is all that Adam keeps of a parameter of that shape.

    Adam has counted no more than the `most` steps of it that are done.

    The optimiser itself would take it, and end in an unexpected error at its next step.
    """
    for index, kept in state.items():
        shape = parameters[index].shape
        if {key: tensor.shape for key, tensor in kept.items()} != {
            "step": torch.Size(),
            "exp_avg": shape,
            "exp_avg_sq": shape,
        }:
            raise ValueError(f"the optimiser's state of parameter {index} is not Adam's")
        if not 0 <= kept["step"].item() <= most:
            raise ValueError(f"the optimiser's count of parameter {index} is none")


def _parameter_names(run: Optimisation) -> list[str]:
    """Of all parameters, in the order in which the optimiser counts them."""
    name_of = {parameter: name for name, parameter in run.representation.named_parameters()}
    return [name_of[parameter] for group in run.optimizer.param_groups for parameter in group["params"]]


def _from_older(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """The tensors of a file of the older form, named as now."""
    renamed = {}
    for name, tensor in tensors.items():
        if name in ("step", "attempt"):
            renamed[name] = tensor
        elif name.startswith(OPTIMIZER):
            index, _, key = name.removeprefix(OPTIMIZER).partition(".")
            renamed[f"{OPTIMIZER}{names[int(index)]}.{key}"] = tensor
        else:
            renamed[REPRESENTATION + name] = tensor
    return renamed


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _damaged(path: Path) -> BadInputError:
    return BadInputError(f'The checkpoint "{path}" is damaged or of another version: delete it to start the job over.')
