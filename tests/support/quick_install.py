"""`python -m sdi_engine.install`, whose environments borrow the pip of this Python: to install one takes seconds.

python tests/support/quick_install.py FOLDER [--torch-index URL]
"""

import importlib.util
import sys
import sysconfig
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sdi_engine import install


class Borrower(venv.EnvBuilder):
    """Makes environments with a link to pip."""

    def __init__(self, with_pip, **others):
        super().__init__(**others)

    def post_setup(self, context):
        packages = Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": context.env_dir}))
        (packages / "pip").symlink_to(Path(importlib.util.find_spec("pip").origin).parent, target_is_directory=True)


if __name__ == "__main__":
    venv.EnvBuilder = Borrower
    sys.exit(install.main())
