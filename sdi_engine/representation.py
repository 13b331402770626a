"""What the optimisation asks of the 3D. Whatever answers can be distilled, previewed, resumed and exported.

The loop (`run/optimisation.py`), checkpoints, previews and the export know nothing else of the 3D;
`run/representations.py` says which one a run has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from .cameras import Cameras
from .contract.request import JobRequest
from .errors import NoObjectError
from .mesh.unwrap import UnwrappedMesh
from .randomness import generator_of

Phase = Callable[[str, str], AbstractContextManager[None]]
"""`with phase("Baking the texture", "bake"):` tells the person what is being done, and measures the seconds under the
name that follows. It may raise JobCancelledError on entering."""


Safepoint = Callable[[float], None]
"""Called between two parts of work that may take long, with the share of it that is done, 0…1. It may raise: then the
work is given up, and the step with it is as if it had never begun."""


def unwatched(share: float) -> None:
    """A safepoint at which nothing happens."""


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        seed: of the run and its attempt.
        number: how many steps were done before; `START` while the representation is made.
        steps: of the whole run.
        safepoint: to be called between patches of rays, or whatever a render consists of.
    """

    seed: int
    number: int
    steps: int
    safepoint: Safepoint = field(default=unwatched, compare=False)

    @property
    def progress(self) -> float:
        """How much of the run is done, 0…1."""
        return self.number / self.steps

    @cached_property
    def random(self) -> Generator:
        """The random numbers of this step, on the CPU; all who take part in it draw from them in turn."""
        return self.random_for("")

    def random_for(self, purpose: str) -> Generator:
        """Random numbers of this step for one purpose, which are the same whatever else is drawn."""
        return generator_of(self.seed, f"{self.number}{purpose}")


START = -1


class ParameterGroup(TypedDict):
    """Parameters that learn at one rate.

    Attributes:
        name: unique among the groups.
        params: among the representation's own.
        lr: learning rate at the start of the run.
        together: all numbers of its one parameter take steps of the same size (`run.adam`); False by default.
    """

    name: str
    params: list[nn.Parameter]
    lr: float
    together: NotRequired[bool]


@dataclass(frozen=True)
class SurfacePoints:
    """The points of the surface that B views of n × n pixels see; without gradients.

    Attributes:
        position: (B, n, n, 3), scene units; anything where the opacity is 0.
        opacity: (B, n, n, 1) in 0…1.
    """

    position: Tensor
    opacity: Tensor


class Rendering(ABC):
    """What B cameras see in one step.

    The loss is a function of `images` and `losses()`; after it was back-propagated, `backward` carries on from there to
    the representation's parameters.
    """

    @property
    @abstractmethod
    def images(self) -> Tensor:
        """(B, 3, H, W), sRGB in 0…1, the object before its background; they take gradients."""

    @property
    @abstractmethod
    def opacity(self) -> Tensor:
        """(B, 1, H, W) in 0…1, how much of a pixel is the object; without gradients."""

    @abstractmethod
    def surface(self, resolution: int) -> SurfacePoints:
        """Which points of the object the same cameras see, in `resolution` × `resolution` pixels or more.

        No random numbers are drawn: the same camera sees the same points of the same object.
        """

    @abstractmethod
    def losses(self) -> Tensor:
        """The regularisers of these images, weighted and summed: a scalar to add to the loss, 0 if there are none."""

    @abstractmethod
    def backward(self) -> None:
        """Carry the gradients that have reached these images into the parameters; called once.

        Does nothing where the images are functions of the parameters themselves.
        """


@dataclass(frozen=True)
class ColouredMesh:
    """A light mesh with a colour at every vertex.

    Attributes:
        vertices: (V, 3), scene units, Z up, front −Y.
        faces: (F, 3), counter-clockwise seen from outside.
        colours: (V, 3), sRGB in 0…1.
        is_placed: the vertices are not in scene units, but where they belong, and stay there; otherwise the object is
            put on the ground, as tall as the request wants it.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: Tensor
    is_placed: bool = False


@dataclass(frozen=True)
class TexturedMesh:
    """The mesh that is written as GLB.

    Attributes:
        mesh: unwrapped, scene units, Z up, front −Y.
        albedo: (n, n, 3), sRGB, row 0 at the top (v = 1).
        points: how many vertices the surface had before they were split along the seams of the UV map.
        is_placed: as of `ColouredMesh`.
        new_uv: (F, 3, 2) of every corner in the order of the source's faces, of a mesh that was there before, where its
            UV map had to be made; None for its own, and for a new object.
        normals: (n, n, 3), a tangent-space normal map (`mesh.normal_map`); None for none.
        moved: (V, 3), where the vertices of a mesh that was there before are now, in its own place and order; None if
            they stay.
        lods: the same object with ever fewer triangles, if asked for.
        notices: what a person should know of it, a sentence each.
    """

    mesh: UnwrappedMesh
    albedo: NDArray[np.uint8]
    points: int
    is_placed: bool = False
    new_uv: NDArray[np.float32] | None = None
    normals: NDArray[np.uint8] | None = None
    moved: NDArray[np.float32] | None = None
    lods: tuple[TexturedMesh, ...] = ()
    notices: tuple[str, ...] = ()


class Representation(nn.Module, ABC):
    """An object that is being made: a radiance field in a volume, a mesh with colours, whatever can be rendered.

    As a `torch.nn.Module` it names its parameters and buffers. `state_dict` is all that a checkpoint keeps of it, and
    the optimiser's state is kept under the names of the parameters: those names are a file format.

    It knows the run's settings from its beginning (`run.representations.represent`). Lengths are in scene units; axes
    are Blender's: Z up, the front faces −Y.
    """

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters that are optimised, each in one group.

        Groups of before stay as they are; `prepare` and `load_state_dict` may add some at the end.
        """

    @abstractmethod
    def prepare(self, step: Step) -> None:
        """Get ready for a step: what changes with the progress, and what has to be looked at from time to time.

        It changes buffers, never parameters, so that a step that is given up can be undone.

        Raises:
            NoObjectError: no object can come out of this any more; the run is started over with other numbers.
        """

    @abstractmethod
    def render(self, cameras: Cameras, resolution: int, step: Step) -> Rendering:
        """What B cameras see, in images of `resolution` × `resolution` pixels.

        Raises:
            NoObjectError: nothing.
        """

    @abstractmethod
    def penalties(self, cameras: Cameras, step: Step) -> Iterator[Tensor]:
        """Further terms of a step's loss, weighted: scalars that need other renders than the step's images.

        The loop calls `backward` on each before it asks for the next, so that only one graph is in memory at a time.
        """

    def effort(self, step: Step) -> float:
        """How long rendering takes in this step beside a plain one, for forecasts: roughly, and without rendering."""
        return 1.0

    @abstractmethod
    def resume(self, progress: float) -> None:
        """Set what follows from the progress alone, after the state of a checkpoint was loaded or a step undone.

        Args:
            progress: that of the last finished step, 0…1.
        """

    @abstractmethod
    def view(self, cameras: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
        """What B cameras see, for pictures that people look at; without gradients, and the same at every call.

        Returns:
            rgb, (B, 3, H, W), sRGB in 0…1 and multiplied by the opacity, without a background; opacity, (B, 1, H, W) in
            0…1.
        """

    @abstractmethod
    def preview_mesh(self, faces: int) -> ColouredMesh:
        """The surface as it is now, of at most `faces` triangles, in little time.

        Raises:
            NoObjectError: there is no surface yet.
        """

    @abstractmethod
    def export(self, request: JobRequest, phase: Phase) -> TexturedMesh:
        """The surface with its texture, as the request wants them (`face_budget`, `texture_size`, `lods`); called once,
        last.

        Args:
            phase: entered before each part of the work that a person may have to wait for.

        Raises:
            NoObjectError: there is no surface; the run is started over with other numbers.
            BrokenNumbersError: a colour is NaN or infinite.
        """


def broken_down(step: int) -> NoObjectError:
    """The error of a run in which NaN or infinite numbers appeared at step `step`."""
    return NoObjectError(
        f"The optimisation broke down at step {step} (NaN or infinite values): try another seed, or a lower guidance "
        "scale."
    )
