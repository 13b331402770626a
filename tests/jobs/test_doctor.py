import sys
import time
from pathlib import Path

from sdi_text_to_3d.jobs.doctor import Examination
from sdi_text_to_3d.jobs.engine import Engine

import headless


def diagnosis(engine):
    examination = Examination(engine)
    while not examination.poll():
        time.sleep(0.02)
    return examination.diagnosis


def test_what_is_missing_comes_with_its_fix(engine):
    said = diagnosis(engine)
    assert not said.ok
    assert "Python 3.11.7" in said.sentence
    assert [(check.name, check.fix) for check in said.missing] == [("torch", "pip install torch==2.13.0")]


def test_the_real_doctor_works_in_a_python_without_torch(tmp_path):
    program = tmp_path / "bare python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    program.chmod(0o755)
    said = diagnosis(Engine(program, headless.ROOT))
    assert not said.ok
    assert "torch" in {check.name for check in said.missing}
    assert all(check.fix for check in said.missing)


def test_a_python_that_cannot_run_is_one_sentence(tmp_path):
    said = diagnosis(Engine(tmp_path / "python", headless.ROOT))
    assert not said.ok
    assert "does not exist" in said.sentence


def test_a_program_that_is_no_engine_is_one_sentence():
    said = diagnosis(Engine(Path("/bin/true"), headless.ROOT))
    assert not said.ok
    assert "does not answer" in said.sentence
