"""Every way in which a job can fail: one sentence for a person, and the exit code of the command line."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BAD_INPUT = 2
EXIT_ENVIRONMENT = 3
EXIT_NO_OBJECT = 4
EXIT_OUT_OF_MEMORY = 5
EXIT_STORAGE = 6
EXIT_CANCELLED = 130


_OUT_OF_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out: the main memory, a GPU's, or that of its libraries.

    torch has an exception for a part of these only; the others are RuntimeErrors: Apple's GPUs, the CPU, cuBLAS
    ("CUBLAS_STATUS_ALLOC_FAILED") and cuDNN.
    """
    if isinstance(error, MemoryError):
        return True
    is_torchs_own = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, RuntimeError) and (
        is_torchs_own or any(sign in str(error) for sign in _OUT_OF_MEMORY_SIGNS)
    )


_OF_A_CARD = ("CUDA", "cuda", "CUBLAS", "CUDNN", "HIP", "MPS")


def out_of_memory(error: BaseException, what: str = "", anew: str = "") -> str:
    """One sentence on an exception for which `is_out_of_memory` holds, with a cure that is one on the device it is of.

    Args:
        what: it was needed for, such as 'the model "dream"'; the whole work by default.
        anew: settings that would fit, such as "a resolution of 512"; by default in general what would need less.
    """
    is_card = any(sign in str(error) for sign in _OF_A_CARD)
    kind, others = ("graphics memory", "other programs that use it") if is_card else ("memory", "other programs")
    less = "a smaller model" if what else "a lower resolution, fewer views per step or a smaller model"
    return (
        f"There was not enough {kind}{what and f' for {what}'}: close {others} and try again (a job can be resumed), "
        f"or start anew with {anew or less}{', or the device cpu' if is_card else ''}."
    )


class EngineError(Exception):
    """An end of a job that has a cause and a cure; `str(error)` is one sentence naming both.

    Any other exception is a defect of ours and ends with exit code 1 and a traceback in the worker's log.
    """

    exit_code = 1


class BadInputError(EngineError):
    """What the user entered cannot be used: a prompt, a number, a path."""

    exit_code = EXIT_BAD_INPUT


class IncompleteModelError(BadInputError):
    """A model lacks files, as one does whose download was broken off."""


class EnvironmentMissingError(EngineError):
    """A Python package, a device or a model is missing."""

    exit_code = EXIT_ENVIRONMENT


class NoObjectError(EngineError):
    """The optimisation ended without an object: empty space, fog, or values that became NaN or infinite."""

    exit_code = EXIT_NO_OBJECT


class BrokenNumbersError(NoObjectError):
    """A model, or a method with it, produced NaN or infinite values, so there is nothing to show."""


class OutOfMemoryError(EngineError):
    """The device's memory ran out."""

    exit_code = EXIT_OUT_OF_MEMORY


class StorageError(EngineError):
    """The results folder is full or cannot be written."""

    exit_code = EXIT_STORAGE


class JobCancelledError(EngineError):
    """The person stopped the job; its last checkpoint is kept."""

    exit_code = EXIT_CANCELLED


class JobPausedError(JobCancelledError):
    """The person stopped the job for now, to go on with it later."""
