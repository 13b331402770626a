import subprocess
import sys

import pytest

from sdi_engine.diffusion.location import REAL_MODEL, REAL_MODEL_MIRRORS, ModelLocation, locate
from sdi_engine.errors import BadInputError, EnvironmentMissingError


def test_every_kind_of_name(tmp_path):
    file = tmp_path / "dream.safetensors"
    file.touch()
    (tmp_path / "model_index.json").touch()
    assert locate(str(file)) == ModelLocation("file", (str(file),))
    assert locate(str(tmp_path)) == ModelLocation("folder", (str(tmp_path),))
    assert locate("owner/name") == ModelLocation("hub", ("owner/name",))
    assert locate(REAL_MODEL) == ModelLocation("hub", REAL_MODEL_MIRRORS)
    assert locate("starter").kind == "folder"


@pytest.mark.parametrize("name", ["nothing", "nothing.safetensors", "owner/nothing.safetensors", "a" * 5000, "\0"])
def test_what_is_nowhere(name):
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        locate(name)


def test_other_formats_are_refused(tmp_path):
    file = tmp_path / "model.ckpt"
    file.touch()
    with pytest.raises(BadInputError, match="can run code"):
        locate(str(file))


def test_blenders_python_can_look():
    """It has no torch, and a wrong path is told before the worker takes seconds to load it."""
    code = "import sys, sdi_engine.diffusion.location; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
