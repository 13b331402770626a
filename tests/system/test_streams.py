import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine.system.streams import open_streams

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from sdi_engine.system.redaction import redact_output
from sdi_engine.system.streams import open_streams
open_streams()
redact_output()
with open(sys.argv[2], "w") as told:
    streams = [sys.stdin, sys.stdout, sys.stderr]
    json.dump([told.fileno() > 2, *(stream.isatty() for stream in streams)], told)
print("printed")
sys.stderr.flush()
os.write(1, b"of native code")
os.write(2, b"of native code")
"""


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes streams")
def test_a_program_without_standard_streams_writes_into_no_file_of_its_own(tmp_path):
    told = tmp_path / "told.json"
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(told)]
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *command], check=False)
    assert done.returncode == 0
    assert told.read_text() == "[true, false, false, false]"


def test_python_has_streams_where_the_system_has_none(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
        monkeypatch.setattr(sys, f"__{name}__", None)
    open_streams()
    with sys.stdin, sys.stdout, sys.stderr:
        assert sys.stdin.read() == ""
        sys.stdout.write("κ")
        sys.stderr.write("κ")


def test_streams_that_are_there_stay():
    before = sys.stdin, sys.stdout, sys.stderr
    open_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_an_old_python_can_read_it():
    ast.parse((ROOT / "sdi_engine" / "system" / "streams.py").read_text(encoding="utf-8"), feature_version=(3, 8))
