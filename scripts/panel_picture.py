"""Takes a picture of the sidebar in a real Blender window, while the starter prior makes an object.

    python scripts/panel_picture.py --output panel.png

Needs what the window tests need (`tests/blender/window/real_blender.py install sid`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("", "tests/support", "tests/blender/window")]

from driver import SIZE, Window  # noqa: E402
from installed import EXTENSION, SESSION, with_extension  # noqa: E402
from real_blender import CannotRun, outside, require  # noqa: E402

VIEWPORT = (0, 50, 1052, 720)
"""The 3D viewport in the window: left, top, right and bottom in pixels."""

PATIENCE_SECONDS = 600.0


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--suite", default="sid", help="which Blender (default: %(default)s)")
    parser.add_argument("--prompt", default="a turquoise house")
    parser.add_argument(
        "--share",
        type=float,
        default=0.6,
        help="share of the steps done when the picture is taken, 0 to 1 (default: %(default)s)",
    )
    options = parser.parse_args()
    try:
        require(options.suite)
    except CannotRun as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as home:
        blender = with_extension(options.suite, Path(home))
        python = Path(home) / "engine-python"
        python.write_text(outside([sys.executable]), encoding="utf-8")
        python.chmod(0o755)
        with Window(blender) as window:
            results = Path(home) / "results"
            window.begin_anew(EXTENSION, {"engine_python": str(python), "results_folder": str(results)})
            window.click_tab("SDI")
            window.hover_viewport()
            window.key("a", "Delete")
            window.wait_until("not bpy.context.scene.objects")
            window.turn_wheel(8)
            window.type_into("prompt", options.prompt)
            window.press("sdi.generate")
            window.hover_viewport()
            seen = f"(job := {SESSION}.display.job) is not None and (seen := job.progress) is not None"
            window.wait_until(
                f"{seen} and seen.phase == 'Optimising' and seen.step >= {options.share} * seen.steps",
                timeout=PATIENCE_SECONDS,
            )
            screen = window.screenshot(Path(home) / "screen.png")
            with Image.open(screen) as picture:
                assert picture.size == SIZE
                picture.convert("RGB").crop(VIEWPORT).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
