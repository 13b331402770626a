import json
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sdi_text_to_3d.jobs.doctor import Examination, Glance, shortened
from sdi_text_to_3d.jobs.engine import Engine

import headless


def diagnosis(engine, kind=Examination):
    examination = kind(engine)
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


def test_without_room_for_temporary_files_it_is_one_sentence(engine, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    examination = Examination(engine)
    assert examination.poll()
    assert "no temporary file can be written" in examination.diagnosis.sentence
    examination.stop()


@pytest.mark.parametrize(("script", "detail"), [("exit 0", "no output"), ("echo one; echo; echo two", "two")])
def test_a_program_that_is_no_engine_is_one_sentence(tmp_path, script, detail):
    said = diagnosis(Engine(program_of(tmp_path, script), headless.ROOT))
    assert not said.ok
    assert f'does not answer with the Python "{tmp_path / "python"}" ({detail}): choose' in said.sentence


def test_a_program_that_does_not_come_to_an_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(Examination, "timeout_seconds", 0.0)
    examination = Examination(Engine(program_of(tmp_path, "exec sleep 600"), headless.ROOT))
    assert examination.poll()
    assert "(within 0 seconds): choose" in examination.diagnosis.sentence
    assert examination._process.poll() is not None


def test_a_glance_is_an_examination_that_does_not_take_long():
    said = diagnosis(Engine(Path(sys.executable), headless.ROOT), Glance)
    assert said.ok, said.sentence
    assert "The engine is ready: Python 3." in said.sentence
    assert (said.version, said.prefix) == (sys.version.split()[0], sys.prefix)
    assert said.memory > 2**20


def program_of(tmp_path, script):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def answering(tmp_path, **answer):
    return Engine(program_of(tmp_path, f"echo '{json.dumps(answer)}'"), headless.ROOT)


def test_an_unsuitable_python_is_one_sentence(tmp_path):
    checks = [{"name": "Python", "ok": False, "detail": "3.9.2 is too old", "fix": "Choose a Python 3.11."}]
    said = diagnosis(answering(tmp_path, ok=False, python="3.9.2", executable="/old/python", checks=checks))
    assert said.refusal == "is too old"
    assert said.sentence == "Python 3.9.2 (/old/python) is too old. Choose a Python 3.11."


def test_what_works_but_could_be_better_is_advice(tmp_path):
    checks = [{"name": "device", "ok": True, "detail": "CPU", "fix": "Get a GPU."}, {"name": "memory", "ok": True}]
    said = diagnosis(answering(tmp_path, ok=True, checks=checks))
    assert said.ok
    assert not said.refusal
    assert [(check.name, check.fix) for check in said.advice] == [("device", "Get a GPU.")]


def test_many_names_are_shortened(tmp_path):
    checks = [{"name": name, "ok": False, "fix": "install it"} for name in "abcde"]
    said = diagnosis(answering(tmp_path, ok=False, python="3.11.7", executable="python", checks=checks))
    assert "lacks a, b, c and 2 more: see below." in said.sentence
    assert len(said.missing) == 5
    assert shortened(["a", "b", "c"]) == "a, b, c"
