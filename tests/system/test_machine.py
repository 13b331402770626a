"""The identity of this person and this machine."""

import os
import stat
import subprocess
import sys

import pytest

from sdi_engine.system import machine


@pytest.fixture
def own(tmp_path, monkeypatch):
    folder = tmp_path / "state" / "sdi"
    monkeypatch.setenv(machine.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="there the folder's place protects it")
def test_the_persons_folder_is_for_nobody_else(own):
    own.mkdir(parents=True)
    own.chmod(0o755)
    assert machine.own_folder() == own
    machine.seal("a")
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in own.iterdir()] == [0o600]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there the folder's place protects it")
def test_a_folder_of_somebody_else_is_refused(own, monkeypatch):
    own.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
    with pytest.raises(machine.NoOwnFolderError, match=r"somebody else.*SDI_ENGINE_STATE"):
        machine.own_folder()
    assert not machine.is_sealed("a" * 64, "a")


def test_only_the_same_person_on_the_same_machine_can_make_a_seal(own, tmp_path, monkeypatch):
    found = machine.seal("run", "a")
    assert machine.is_sealed(found, "run", "a")
    for other in ("", None, 7, "é", found[:-1], machine.seal("run", "b"), machine.seal("runa")):
        assert not machine.is_sealed(other, "run", "a")
    program = "import sys; from sdi_engine.system import machine; print(machine.is_sealed(sys.argv[1], 'run', 'a'))"
    command = [sys.executable, "-c", program, found]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
    )  # also after a restart
    monkeypatch.setenv(machine.FOLDER_VARIABLE, str(tmp_path / "another person"))
    assert not machine.is_sealed(found, "run", "a")


def test_a_copied_secret_makes_no_seal_on_another_machine(own, monkeypatch):
    found = machine.seal("a")
    elsewhere = machine.Place("nas", "another", "boot", "", "0")
    monkeypatch.setattr(machine, "here", lambda: elsewhere)
    assert not machine.is_sealed(found, "a")


def test_a_secret_that_was_cut_off_is_made_anew(own, monkeypatch):
    monkeypatch.setattr(machine.time, "sleep", lambda _: None)
    machine.own_folder()
    (own / "secret").write_bytes(b"half")
    assert machine.is_sealed(machine.seal("a"), "a")


def test_processes_that_we_start_know_our_machine():
    program = "from sdi_engine.system import machine; print(machine.here().machine)"
    environment = {**os.environ, machine.MACHINE_VARIABLE: "as its parent calls it"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "as its parent calls it\n"


def test_the_place_has_a_name_for_files_that_outlives_a_restart_and_a_new_network_name():
    one = machine.Place("Jo's Mac", "a", "first boot", "", "501")
    assert one.key.isalnum()
    assert machine.Place("another", "a", "second boot", "", "501").key == one.key
    assert machine.Place("Jo's Mac", "a", "first boot", "container", "501").key != one.key
    assert machine.Place("Jo's Mac", "a", "first boot", "", "502").key != one.key
