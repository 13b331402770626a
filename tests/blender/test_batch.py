"""One object per line: `batch.py` and `blender --command sdi`."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from fake_cluster import ADDRESS, NO_ANSWER, NOBODY
from headers import write_file

import headless
from sdi_engine.contract import events


@pytest.fixture
def command(bpy, extension, tmp_path, capsys):
    """Run `blender --command sdi` in this process; returns its exit code and the JSON object that it printed last."""

    def run(text, *options):
        (tmp_path / "prompts.txt").write_text(text, encoding="utf-8")
        output = tmp_path / "out" / "objects.blend"
        required = ["--prompts", str(tmp_path / "prompts.txt"), "--output", str(output)]
        code = extension.console.commands.main([*required, *options, "--json"])
        printed = capsys.readouterr().out
        return code, json.loads(printed.splitlines()[-1]) if "{" in printed else printed

    return run


def test_objects_stand_side_by_side(bpy, command, tmp_path):
    code, said = command("# mugs\na red mug\n\n   a blue mug \na green mug\n", "--spacing", "0.25", "--height", "2")
    assert code == 0
    assert said["ok"]
    assert [each["object"] for each in said["objects"]] == ["a red mug", "a blue mug", "a green mug"]
    bpy.ops.wm.open_mainfile(filepath=said["output"])
    bpy.context.view_layer.update()
    assert "Cube" not in bpy.data.objects
    spans = []
    for name in ("a red mug", "a blue mug", "a green mug"):
        placed = bpy.data.objects[name]
        xs = [(placed.matrix_world @ vertex.co).x for vertex in placed.data.vertices]
        spans.append((min(xs), max(xs)))
        assert placed.material_slots[0].material.node_tree.nodes["Image Texture"].image.packed_file
    assert spans[0][0] == pytest.approx(0.0)
    for left, right in itertools.pairwise(spans):
        assert right[0] - left[1] == pytest.approx(0.25)


def test_objects_stand_in_the_middle_where_the_cursor_is_nowhere(bpy, command):
    bpy.context.scene.cursor.location = (float("nan"), 3.0, float("inf"))
    assert command("a red mug\n")[0] == 0
    placed = bpy.data.objects["a red mug"]
    assert min((placed.matrix_basis @ vertex.co).x for vertex in placed.data.vertices) == pytest.approx(0.0, abs=1e-6)
    assert tuple(placed.location)[1:] == (3.0, 0.0)


def test_it_continues_after_a_failed_prompt(bpy, command):
    code, said = command("a red mug\nfail 4 here\na blue mug\n")
    assert code == 4
    assert [each["exit_code"] for each in said["objects"]] == [0, 4, 0]
    assert "as it was told" in said["objects"][1]["error"]
    bpy.ops.wm.open_mainfile(filepath=said["output"])
    assert len(bpy.data.collections["SDI"].objects) == 2


def test_it_goes_on_after_a_prompt_of_which_the_model_knows_no_word(extension, command, results, monkeypatch):
    monkeypatch.setattr(extension.sdi_engine.diffusion.model_index, "words_of", lambda folder: {"things": ["mug"]})
    code, said = command("a dragon\na blue mug\n")
    assert code == 2
    assert [each["exit_code"] for each in said["objects"]] == [2, 0]
    assert "does not know any word" in said["objects"][0]["error"]
    assert len(list(results.glob("2*"))) == 1


def test_asking_whether_a_folder_can_be_written_touches_no_file_in_it(extension, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".objects.blend.part").write_text("of the person")
    assert extension.console.common.writable(folder / "objects") == folder / "objects.blend"
    assert [each.read_text() for each in folder.iterdir()] == ["of the person"]


def test_failures_of_several_kinds_end_with_1(command):
    code, said = command("fail 4 here\nfail 5 here\n")
    assert code == 1
    assert said["output"] is None


def test_settings_reach_the_engine(command, results):
    command("a red mug", "--preset", "paper", "--seed", "9", "--steps", "12", "--model", "some/model")
    request = json.loads(next(results.glob("*/request.json")).read_text())
    assert (request["preset"], request["seed"], request["steps"]) == ("paper", 9, 12)
    assert request["model"] == "some/model"


def test_all_that_the_engines_own_command_line_takes_reaches_the_engine(command, results, tmp_path, monkeypatch):
    write_file(tmp_path / "style.safetensors", {"lora_unet_x.lora_up.weight": (1, 1)})
    monkeypatch.chdir(tmp_path)
    options = ["--lora", "style.safetensors=0.5", "--inversion-guidance-scale", "-3", "--views-per-step", "4"]
    command("a red mug", *options, "--set", "t=[0.9,0.1]", "--set", "field.hidden=16")
    request = json.loads(next(results.glob("*/request.json")).read_text())
    assert request["loras"] == [{"file": str(tmp_path / "style.safetensors"), "weight": 0.5}]
    assert (request["inversion_guidance_scale"], request["views_per_step"]) == (-3.0, 4)
    assert request["overrides"] == {"t": [0.9, 0.1], "field.hidden": 16}


def test_bad_settings_are_bad_input(command):
    for prompts, options, sentence in (
        ("a red mug", ["--steps", "0"], '"steps" is 0'),
        ("a red mug", ["--preset", "best"], '"best" does not exist'),
        ("a red mug", ["--no-such-option"], "unrecognized arguments: --no-such-option"),
        ("a red mug", ["--results", ""], "argument --results: the path is blank"),
        ("a red mug", ["--spacing", "nan"], 'argument --spacing: "nan" is no number'),
        ("# only a comment\n", [], "has no prompts"),
    ):
        code, said = command(prompts, *options)
        assert code == said["exit_code"] == 2
        assert (said["ok"], said["objects"]) == (False, [])
        assert sentence in said["error"]


def test_paths_that_cannot_be_used_are_bad_input(extension, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a red mug")
    (tmp_path / "latin.txt").write_bytes("Kännchen".encode("latin-1"))
    (tmp_path / "file").touch()
    out = str(tmp_path / "out.blend")
    for prompts, output in (("none.txt", out), ("latin.txt", out), ("prompts.txt", str(tmp_path / "file" / "x.blend"))):
        assert extension.console.commands.main(["--prompts", str(tmp_path / prompts), "--output", output]) == 2
        assert capsys.readouterr().out.startswith("error: ")


def test_the_script_runs_from_a_plain_checkout(bpy, tmp_path, fake_python):
    (tmp_path / "prompts.txt").write_text("a red mug\nfail 6 mugs\n")
    environment = {**os.environ, "SDI_ENGINE_PYTHON": str(fake_python)}
    options = ["--prompts", "prompts.txt", "--output", "out.blend", "--results", "results", "--preset", "draft"]
    done = subprocess.run(
        [sys.executable, str(headless.ROOT / "batch.py"), "--", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 6, done.stdout + done.stderr
    assert "1 of 2 objects made" in done.stdout
    assert "fail 6 mugs" in done.stdout
    assert (tmp_path / "out.blend").is_file()
    assert not [line for line in done.stderr.splitlines() if "Traceback" in line]


def test_equal_lines_become_different_objects(command, results):
    command("a red mug\na blue mug\na red mug\n", "--seed", "7")
    requests = [json.loads(file.read_text()) for file in sorted(results.glob("*/request.json"))]
    assert sorted((request["prompt"], request["seed"]) for request in requests) == [
        ("a blue mug", 7),
        ("a red mug", 7),
        ("a red mug", 8),
    ]


def test_several_at_once_stand_in_the_order_of_their_lines(bpy, command, results):
    """The first only ends after the third, which takes several at once."""

    def let_the_first_go_on():
        while not list(results.glob("*green*/result.json")):
            time.sleep(0.02)
        (next(results.glob("*slow*")) / "finish").touch()

    threading.Thread(target=let_the_first_go_on, daemon=True).start()
    code, said = command("slow mug\nfail 4 here\na green mug\na red mug\n", "--processes", "2")
    assert code == 4
    assert [each["object"] for each in said["objects"]] == ["slow mug", "", "a green mug", "a red mug"]
    bpy.ops.wm.open_mainfile(filepath=said["output"])
    lefts = [bpy.data.objects[name].location.x for name in ("slow mug", "a green mug", "a red mug")]
    assert lefts == sorted(lefts)
    assert command("a red mug", "--processes", "0")[0] == 2


def said_in(results, kind):
    """All events of a kind, of all jobs."""
    files = sorted(results.glob("*/events.jsonl"))
    return [event for file in files for event in events.read_new(file, 0)[0] if isinstance(event, kind)]


class TestOnACluster:
    @pytest.mark.parametrize("by", ["option", "preferences"])
    def test_the_one_at_the_address_makes_the_objects(self, bpy, extension, command, results, by):
        options = ["--cluster", ADDRESS]
        if by == "preferences":
            extension.state.preferences.of(bpy.context).cluster, options = ADDRESS, []
        code, said = command("a red mug\na blue mug\n", *options)
        assert code == 0, said
        assert [each["object"] for each in said["objects"]] == ["a red mug", "a blue mug"]
        assert [notice.message for notice in said_in(results, events.Notice)] == ["This is done on the cluster."] * 2

    def test_where_nobody_answers_each_says_so_and_is_made_at_another_address(self, command, results):
        code, said = command("a red mug\na blue mug\n", "--cluster", NOBODY)
        assert code == 3
        assert [each["error"] for each in said["objects"]] == [NO_ANSWER] * 2
        folders = sorted(results.glob("2*"))
        code, said = command("a red mug\na blue mug\n", "--cluster", ADDRESS, "--resume")
        assert code == 0, said
        assert sorted(results.glob("2*")) == folders
        assert sorted(each["folder"] for each in said["objects"]) == [str(folder) for folder in folders]

    def test_what_is_no_address_is_bad_input(self, command, results):
        code, said = command("a red mug\n", "--cluster", "no address")
        assert code == 2
        assert said["error"].startswith('"no address" is no address of a Ray cluster')
        assert not results.exists()


def test_ctrl_c_pauses_all_that_are_at_work_and_the_same_call_goes_on(bpy, command, results):
    def interrupt_when_two_run():
        while len(list(results.glob("*slow*/preview.png"))) < 2:
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    prompts, options = "a red mug\nslow one\nslow two\nlater\n", ["--processes", "2"]
    watcher = threading.Thread(target=interrupt_when_two_run, daemon=True)
    watcher.start()
    code, said = command(prompts, *options)
    watcher.join()
    assert code == 130
    assert [each["exit_code"] for each in said["objects"]] == [0, 130, 130]
    assert "was paused; its progress is kept" in said["objects"][1]["error"]
    assert said_in(results, events.StateChanged)[-1].state == events.PAUSED
    assert not list(results.glob(".engine/engines/*/hold"))
    folders = sorted(results.glob("2*"))

    bpy.ops.wm.read_homefile()
    code, said = command(prompts, *options, "--resume")
    assert code == 0, said
    assert [each["object"] for each in said["objects"]] == ["a red mug", "slow one", "slow two", "later"]
    assert set(folders) < set(results.glob("2*"))
    ends = [event for event in said_in(results, events.StateChanged) if event.state == events.DONE]
    assert len(ends) == 4, "and none twice"


def test_without_resume_an_earlier_call_is_left_alone(command, results):
    command("a red mug")
    command("a red mug")
    assert len(list(results.glob("2*"))) == 2


def test_lines_of_those_made_at_once_name_their_prompt(extension, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a red mug\na blue mug\n")
    arguments = ["--prompts", str(tmp_path / "prompts.txt"), "--output", str(tmp_path / "out.blend")]
    assert extension.console.commands.main([*arguments, "--processes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for number in (1, 2):
        assert any(line.startswith(f"[{number}/2] Optimising") for line in lines), lines
        assert any(line.startswith(f"[{number}/2] made in") for line in lines)
