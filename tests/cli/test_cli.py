import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import write_stable_diffusion

from sdi_engine.cli import output
from sdi_engine.cli.commands import main
from sdi_engine.cli.model_needs import needs_of
from sdi_engine.cli.options import request_of
from sdi_engine.cli.parser import make_parser
from sdi_engine.config.parameters import Parts
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.errors import BadInputError
from sdi_engine.service import serve


def in_its_own_process(*arguments, **environment):
    """The command line as a person runs it: exit code, last line of stdout, stderr."""
    command = [sys.executable, "-m", "sdi_engine", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stdout.strip().rpartition("\n")[2], done.stderr


@pytest.fixture
def sdi_engine(capsys, caplog):
    """The same in this process, with its log in the place of stderr."""
    caplog.set_level("INFO")

    def run(*arguments):
        try:
            code = main(list(arguments))
        except SystemExit as refused:
            code = refused.code
        said = capsys.readouterr()
        return code, said.out.strip().rpartition("\n")[2], said.err + caplog.text

    return run


def without_packages(*arguments):
    """The command line in a Python without packages: -S leaves out site-packages."""
    code = "import sys; sys.path.insert(0, '.'); from sdi_engine.cli.commands import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-S", "-c", code, *arguments], capture_output=True, text=True)


def test_generate_makes_a_mesh_and_prints_json(sdi_engine, tmp_path):
    model = write_stable_diffusion(tmp_path / "tiny")
    options = ["--model", str(model), "--preset", "draft", "--steps", "2", "--texture-size", "64", "--json"]
    options += ["--set", "mesh_resolution=16", "--set", "samples_per_ray=16", "--set", "resolution=16"]
    asked = ("generate", 'a "red" mug', "-o", str(tmp_path / "job"), *options)
    code, last, errors = in_its_own_process(*asked, PYTHONPROFILEIMPORTTIME="1")
    assert code == 0, errors
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")}
    assert "diffusers" in imported
    assert not imported & {"peft", "bitsandbytes"}, "they take seconds, and have nothing to do"
    result = json.loads(last)
    assert result["ok"]
    assert result["exit_code"] == 0
    assert (tmp_path / "job" / result["mesh"]).read_bytes().startswith(b"glTF")

    assert sdi_engine("resume", str(tmp_path / "job"))[0] == 0


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("  ", [], "prompt is empty"),
        ("x" * 10_000, [], "10000 characters"),
        ("a mug", ["--steps", "0"], '"steps" is 0'),
        ("a mug", ["--preset", "best"], "draft"),
        ("a mug", ["--guidance-scale", "nan"], "guidance-scale"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(sdi_engine, tmp_path, prompt, options, words):
    code, last, errors = sdi_engine("generate", prompt, "-o", str(tmp_path / "job"), "--json", *options)
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert json.loads(last)["exit_code"] == 2
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "a dragon"],
        ["sample", "a dragon"],
        ["distill2d", "a dragon"],
        ["compare", "a dragon"],
        ["noise-error", "a dragon"],
        ["figures", "8", "--prompt", "a mug", "--prompt", "a dragon"],
        ["evaluate", "--prompt", "a mug", "--prompt", "a dragon"],
    ],
    ids=lambda command: command[0],
)
def test_a_prompt_of_which_the_model_knows_no_word_is_refused_before_anything_is_done(tmp_path, monkeypatch, command):
    monkeypatch.setattr("sdi_engine.diffusion.loading.locate", lambda model: pytest.fail("the model was loaded"))
    assert main([*command, "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_an_impossible_results_folder(tmp_path):
    (tmp_path / "file").write_text("")
    code, _, errors = in_its_own_process("generate", "a mug", "-o", str(tmp_path / "file" / "job"))
    assert code == 2
    assert "cannot be used" in errors
    assert "Traceback" not in errors


def test_a_folder_that_is_no_job(sdi_engine, tmp_path):
    for command in ("run", "resume"):
        code, last, errors = sdi_engine(command, str(tmp_path), "--json")
        assert code == 2
        assert "not a job folder" in errors
        assert "not a job folder" in json.loads(last)["error"]


def test_distill2d_with_the_starter_prior_is_ddim(sdi_engine, tmp_path):
    options = ["-o", str(tmp_path / "out"), "--steps", "4", "--json"]
    code, last, errors = sdi_engine("distill2d", "a red mushroom", *options)
    assert code == 0, errors
    result = json.loads(last)
    assert result["model"] == "starter"
    assert result["largest_difference"] <= 1e-4
    assert "trajectories are the same" in errors
    assert (tmp_path / "out" / result["picture"]).is_file()


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1"])
def test_invalid_idle_minutes_are_refused(sdi_engine, tmp_path, minutes):
    code, _, errors = sdi_engine("serve", str(tmp_path), "--idle-minutes", minutes)
    assert code == 2
    assert f'--idle-minutes: "{minutes}" is no number' in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("said", ["~/jobs/mug", '"{home}/jobs/mug"', " {home}/jobs/mug"])
def test_paths_are_meant_as_they_are_in_blender(said, monkeypatch, tmp_path):
    """Shells of Windows leave `~` as it is, and its file manager copies paths with quotation marks."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    meant = make_parser().parse_args(["resume", said.format(home=tmp_path)]).job
    assert meant == tmp_path / "jobs" / "mug"


def test_who_starts_an_engine_in_a_terminal_is_told_that_it_waits(sdi_engine, monkeypatch, tmp_path):
    monkeypatch.setattr(serve, "serve", lambda *_: 0)
    monkeypatch.setattr(serve, "step_back", lambda: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, errors = sdi_engine("serve", str(tmp_path), "--idle-minutes", "5")
    assert code == 0
    assert f'jobs that wait in "{tmp_path}", now and later, until Ctrl+C or 5 minutes' in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generate", "a mug", "--steps", "1.5"], 'generate: argument --steps: "1.5" is no whole number'),
        (["generate", "a mug", "--guidance-scale", "nan"], 'argument --guidance-scale: "nan" is no number'),
        (["generate", "a mug", "--guidance-scale", "x" * 99], f'"{"x" * 79}… is no number'),
        (["sample", "a mug", "--count", ""], 'sample: argument --count: "" is no whole number'),
        (["evaluate", "--processes", "many"], 'argument --processes: "many" is neither a whole number nor auto'),
        (["serve", " "], "argument RESULTS: the path is blank"),
        (["bench", "--keep", ""], "argument --keep: the path is blank"),
        (["bench", "--size", "huge"], "argument --size: invalid choice: 'huge'"),
        (["generate"], "the following arguments are required: prompt"),
        (["generate", "a mug", "--loud"], "unrecognized arguments: --loud"),
        (
            ["generate", "a", "red", "mug"],
            "unrecognized arguments: red mug (put what is one argument in quotation marks",
        ),
        (["dance"], "argument COMMAND: invalid choice: 'dance'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_with_json_one_object(arguments, sentence, sdi_engine, tmp_path):
    output = ["-o", str(tmp_path / "new")] if arguments[1:] and arguments[0] not in ("bench", "serve") else []
    code, last, errors = sdi_engine(*arguments, *output, "--json")
    assert code == 2
    answer = json.loads(last)
    assert (answer["ok"], answer["exit_code"]) == (False, 2)
    assert sentence in answer["error"]
    assert answer["error"].endswith('--help".')
    assert answer["error"] in errors
    assert "usage:" not in errors
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "  "], "prompt is empty"),
        (["distill2d", "a mug", "--noise", "loud"], '"loud" does not exist'),
        (["figures", "7"], '"7" does not exist'),
    ],
)
def test_bad_input_of_a_study_is_one_sentence_and_code_2(sdi_engine, tmp_path, arguments, words):
    code, last, errors = sdi_engine(*arguments, "-o", str(tmp_path / "out"), "--json")
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert json.loads(last)["exit_code"] == 2
    assert not (tmp_path / "out").exists()


def test_a_study_in_a_python_without_torch_is_code_3(tmp_path):
    done = without_packages("sample", "a mug", "-o", str(tmp_path / "out"))
    assert done.returncode == 3
    assert "lacks the package" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_lists_every_requirement(sdi_engine):
    code, last, _ = sdi_engine("doctor", "--json")
    report = json.loads(last)
    names = {check["name"] for check in report["checks"]}
    assert {"Python", "torch", "diffusers", "nerfacc", "PyMCubes", "starter prior", "device"} <= names
    assert code == (0 if report["ok"] else 3)
    assert all(bool(check["fix"]) != check["ok"] for check in report["checks"])


def test_the_doctor_says_what_a_model_needs(tmp_path):
    model = write_stable_diffusion(tmp_path / "tiny")
    found = needs_of(str(model), "cpu")
    assert found["runs"]["paper"]["fits"]
    assert "8-bit" in needs_of(str(model), "cpu", precision="8-bit")["runs"]["paper"]["measures"]
    assert set(found["bytes"]) == {"unet", "vae", "text_encoder"}
    assert found["lines"][0].startswith("SD 1.x: unet")
    assert needs_of(str(model), "cpu", Parts(vae=str(model / "vae")))["lines"][1] == "With vae"
    with pytest.raises(BadInputError, match="is not a file or folder of this computer"):
        needs_of("owner/name", "cpu")


def test_the_doctor_says_that_a_model_was_distilled(tmp_path):
    model = write_stable_diffusion(tmp_path / "dream-turbo")
    assert "was distilled to a few steps" in needs_of(str(model), "cpu")["lines"][-1]


def test_the_doctor_counts_parts_in_files_of_their_own(tmp_path):
    model = write_stable_diffusion(tmp_path / "tiny")
    other = shutil.copytree(model / "vae", tmp_path / "vae")
    options = make_parser().parse_args(["doctor", "--model", str(model), "--vae", str(other)])
    given = request_of(options, "").parts
    whole = needs_of(str(model), "cpu")["bytes"]
    next((model / "vae").glob("*.safetensors")).unlink()
    assert needs_of(str(model), "cpu", given)["bytes"] == whole
    with pytest.raises(BadInputError, match=r'The vae of the model ".*" has no weights: download the model again'):
        needs_of(str(model), "cpu")


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def with_another_scheduler(index):
    index.write_text(index.read_text().replace("DDIMScheduler", "EDMEulerScheduler"))


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("unet/config.json", cut, "The unet of .* has a damaged config.json"),
        ("text_encoder/config.json", Path.unlink, "The text encoder of .* has no config.json"),
        ("scheduler/scheduler_config.json", Path.unlink, "The scheduler of .* has no scheduler_config.json"),
        ("tokenizer/tokenizer.json", cut, "cannot be loaded"),
        ("unet/config.json", lambda file: file.write_text('{"block_out_channels": 3}'), "cannot be loaded"),
        ("vae/diffusion_pytorch_model.safetensors", cut, "it is truncated"),
        ("model_index.json", with_another_scheduler, r"noise schedule \(EDMEulerScheduler\) is not supported"),
    ],
)
def test_the_doctor_says_of_a_damaged_folder_what_generating_would_say(name, damage, sentence, tmp_path):
    model = write_stable_diffusion(tmp_path / "dream")
    damage(model / name)
    with pytest.raises(BadInputError, match=sentence) as said_by_doctor:
        needs_of(str(model), "cpu")
    with pytest.raises(BadInputError) as said_by_loading:
        load_prior(str(model), torch.device("cpu"))
    assert str(said_by_doctor.value) == str(said_by_loading.value)


def test_the_doctor_says_of_a_damaged_file_what_generating_would_say(tmp_path):
    file = write_single_file(write_stable_diffusion(tmp_path / "folder"), tmp_path / "dream.safetensors")
    save_file(load_file(file) | {"model.diffusion_model.more.weight": torch.zeros(2)}, file)
    with pytest.raises(BadInputError, match="for which the model has no place") as said_by_doctor:
        needs_of(str(file), "cpu")
    with pytest.raises(BadInputError) as said_by_loading:
        load_prior(str(file), torch.device("cpu"))
    assert str(said_by_doctor.value) == str(said_by_loading.value)


def test_doctor_in_a_python_without_torch():
    done = without_packages("doctor", "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    torch = next(check for check in report["checks"] if check["name"] == "torch")
    assert not torch["ok"]
    assert "pip install" in torch["fix"]


def test_generate_in_a_python_without_torch_is_code_3(tmp_path):
    done = without_packages("generate", "a mug", "-o", str(tmp_path / "job"))
    assert done.returncode == 3
    assert 'lacks the package "torch"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("unet", "The unet of the model"),
        ("vae/diffusion_pytorch_model.safetensors", "The vae of the model"),
        ("tokenizer", "The tokenizer of the model"),
        ("", "it is truncated"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_before_a_job_folder_is_made(sdi_engine, tmp_path, lost, words):
    model = write_stable_diffusion(tmp_path / "tiny")
    (tmp_path / "lost").mkdir()
    if lost:
        (model / lost).rename(tmp_path / "lost" / "part")
    else:
        weights = model / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
    code, _, errors = sdi_engine("generate", "a mug", "-o", str(tmp_path / "job"), "--model", str(model))
    assert (code, words in errors) == (2, True), errors
    assert not (tmp_path / "job").exists()


def test_a_lora_that_is_none_is_refused_before_a_job_folder_is_made(sdi_engine, tmp_path):
    for name, words in ((tmp_path / "style.safetensors", "does not exist"), (tmp_path, "is a folder")):
        code, _, errors = sdi_engine("generate", "a mug", "-o", str(tmp_path / "job"), "--lora", str(name))
        assert (code, words in errors) == (2, True), errors
        assert not (tmp_path / "job").exists()


def test_what_a_model_cannot_give_is_refused_before_a_job_folder_is_made(sdi_engine, tmp_path):
    model = write_stable_diffusion(tmp_path / "a-turbo", vae=False)
    code, _, errors = sdi_engine("generate", "a mug", "-o", str(tmp_path / "job"), "--model", str(model))
    assert code == 2
    assert "turbo" in errors
    assert not (tmp_path / "job").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file whose disk is always full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_cannot_be_printed_is_a_sentence(options):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "sdi_engine", "doctor", *options]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 6
    assert done.stderr.strip().rpartition("\n")[2].startswith("What this command says cannot be written (")
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_left_is_no_error():
    command = [sys.executable, "-m", "sdi_engine", "doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == ""
    assert process.returncode == 0


def test_a_reader_that_has_left_on_windows_is_no_error():
    class Pipe(io.StringIO):
        def write(self, text):
            raise OSError(errno.EINVAL, "Invalid argument")

        def fileno(self):
            return nowhere.fileno()

    with Path(os.devnull).open("w") as nowhere:
        output.say("hello", Pipe())


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_a_job_cancels_the_command(sdi_engine, tmp_path, monkeypatch, signal_number):
    monkeypatch.setattr("sdi_engine.cli.commands.check_request", lambda request: signal.raise_signal(signal_number))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background of a shell do not have
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # or the tests themselves would end
        code, last, errors = sdi_engine("generate", "a mug", "-o", str(tmp_path / "job"), "--json")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert code == 130
    assert json.loads(last) == {"ok": False, "error": "Cancelled.", "exit_code": 130}
    assert "Cancelled." in errors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that a program is in")
@pytest.mark.parametrize("command", [["serve", "results"], ["generate", "a mug", "-o", "job"]])
def test_the_folder_that_it_was_started_in_may_be_gone(sdi_engine, tmp_path, monkeypatch, command):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, errors = sdi_engine(*command)
    assert code == 2
    assert "The folder that this command was started in is gone" in errors


def test_results_that_are_a_link_to_itself(tmp_path):
    loop = tmp_path / "loop"
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("links are not allowed here")
    code, _, errors = in_its_own_process("serve", str(loop), "--idle-minutes", "0")
    assert code == 6
    assert "Traceback" not in errors
    assert "cannot be used" in errors


def test_ctrl_c_while_it_starts_is_no_traceback():
    code = (
        "import runpy, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sdi_engine.cli.commands':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "sys.argv = ['sdi_engine', 'doctor']\n"
        "runpy.run_module('sdi_engine', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
