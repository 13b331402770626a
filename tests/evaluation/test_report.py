import functools
import itertools
import json
import shlex
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
from exact_prior import ExactPrior, ball_images
from PIL import Image

from sdi_engine import errors
from sdi_engine.cli import commands as cli
from sdi_engine.contract.request import JobRequest
from sdi_engine.evaluation import evaluate, examiner, measure, pictures, portraits, samples
from sdi_engine.evaluation.commitment import Commitment
from sdi_engine.evaluation.judge import Judge, Names
from sdi_engine.evaluation.plan import Job
from sdi_engine.evaluation.report import METRICS, Metric, Object, Results, comparison_table, judge_lines, table
from sdi_engine.evaluation.runs import Record
from sdi_engine.service.own_process import OwnProcess
from sdi_engine.starter.render import sample_surface, spread_points
from sdi_engine.studies import study

PROMPTS = [f"prompt {number}" for number in range(8)]
ASKABLE = frozenset({"thing", "r_thing"})
FEW = 1000
"""Points per square unit, which are enough for a picture that nobody looks at."""


def metric(name):
    return next(one for one in METRICS if one.name == name)


def made(prompt, seed, setting, seconds=1.0, error="", features=None, **values):
    outcome = Record(errors.EXIT_NO_OBJECT if error else 0, error, seconds, model_evaluations=100)
    return Object(Job(prompt, seed, setting, JobRequest(prompt)), outcome, error, values, features=features)


def results(*settings, truth_features=None):
    return Results(dict(settings), lambda prompt: ASKABLE, truth_features)


def everywhere(setting, value):
    """Objects of all prompts and two seeds, with the numbers from `value`."""
    return setting, [
        made(prompt, seed, setting, **value(i, seed)) for i, prompt in enumerate(PROMPTS) for seed in (0, 1)
    ]


def verdicts(compared):
    return {one.metric.name: one.verdict for one in compared}


def test_a_failed_object_counts_as_not_recognised_and_has_no_geometry():
    objects = [made("a", 0, "s", thing=1.0, iou=0.8), made("b", 0, "s", error="Nothing came.", seconds=3.0)]
    found = results(("s", objects)).summary("s")
    assert (found["objects"], found["failures"], found["thing"]) == (2, 1, 0.5)
    assert found["iou"] == 0.8
    assert found["r_thing"] == 0.0, "asked of the one that failed, though no other said it"
    assert "clip_r" not in found, "never asked"
    assert found["seconds"] == 2.0
    assert 1.0 < found["seconds_90"] <= 3.0


def test_differences_are_taken_within_prompts_and_seeds():
    """Prompts differ much more than settings do: without pairs no verdict would be possible."""
    ours = everywhere("ours", lambda i, seed: {"iou": 0.1 * i + 0.02, "chamfer": 0.1 * i + 0.02, "thing": 1.0})
    other = everywhere("other", lambda i, seed: {"iou": 0.1 * i + 0.01 * seed, "chamfer": 0.1 * i, "thing": 1.0})
    compared = results(ours, other).compare("ours", "other")
    assert verdicts(compared) == {
        "thing": "cannot be told",
        "iou": "better",
        "chamfer": "worse",
        "failed": "cannot be told",
        "seconds": "cannot be told",
        "evaluations": "cannot be told",
    }
    iou = next(one for one in compared if one.metric.name == "iou")
    assert iou.interval.mean == pytest.approx(0.015)
    assert 0.01 < iou.interval.low < 0.015 < iou.interval.high <= 0.02


def test_only_what_both_have_is_compared():
    ours = ("ours", [made(prompt, 0, "ours", iou=0.5) for prompt in PROMPTS])
    other = [made(prompt, 0, "other", iou=0.4) for prompt in PROMPTS[:6]]
    other[0] = made(PROMPTS[0], 0, "other", error="Nothing came.")
    compared = {one.metric.name: one for one in results(ours, ("other", other)).compare("ours", "other")}
    assert compared["iou"].interval.prompts == 5
    assert compared["failed"].interval.prompts == 6
    assert compared["failed"].interval.mean == pytest.approx(-1 / 6)


def test_ratios_are_better_the_nearer_they_are_to_the_truth():
    too_sharp = everywhere("too sharp", lambda i, seed: {"sharpness": 1.8 + 0.01 * i})
    soft = everywhere("soft", lambda i, seed: {"sharpness": 0.7 - 0.01 * i})
    compared = results(soft, too_sharp).compare("soft", "too sharp")
    assert verdicts(compared)["sharpness"] == "better"


def test_the_frechet_distance_is_that_of_a_settings_objects_to_the_truth():
    random = np.random.default_rng(0)
    near = [made(prompt, 0, "near", features=random.normal(0, 1, (8, 4))) for prompt in PROMPTS]
    far = [made(prompt, 0, "far", features=random.normal(3, 1, (8, 4))) for prompt in PROMPTS]
    both = results(("near", near), ("far", far), truth_features=random.normal(0, 1, (64, 4)))
    assert both.summary("near")["frechet"] < 1.0 < 20.0 < both.summary("far")["frechet"]


def test_tables_are_markdown_with_a_cell_for_everything():
    good = everywhere("good", lambda i, seed: {"thing": 1.0, "sharpness": 0.9})
    bad = everywhere("bad one", lambda i, seed: {"thing": 0.0, "clip": 30.0})
    both = results(good, bad)
    lines = table(both, {"thing": 0.75})
    cells = {(row := [cell.strip() for cell in line.split("|")[1:-1]])[0]: row[1:] for line in lines}
    assert cells[""] == ["good", "bad one", "2D samples"]
    assert cells["thing recognised"] == ["100.0 %", "0.0 %", "75.0 %"]
    assert cells["sharpness (truth 1)"] == ["0.900", "", ""]
    assert cells["seconds per object (median, 90 %)"] == ["1.0, 1.0", "1.0, 1.0", ""]
    assert cells["evaluations of the 2D model"][:2] == ["100", "100"]
    assert "Janus" not in cells
    assert len({len(line) for line in lines}) == 1
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in comparison_table(
            {"good": both.compare("good", "bad one"), "bad": both.compare("bad one", "bad one")}
        )
    ]
    assert rows[0] == ["", "good", "bad"]
    assert ["thing recognised, percentage points", "+100.0 (+100.0 … +100.0) better", "+0.0 (+0.0 … +0.0)"] in rows
    assert ["CLIP score", "", "+0 (+0 … +0)"] in rows, "only one of the two has it"


@pytest.mark.parametrize(("edges", "shown"), [((0, 0), "0"), ((0, 1), "0.5"), ((1, 1), "1"), ((20, 5), "12")])
def test_a_mean_count_is_none_only_where_there_is_none(edges, shown):
    objects = [made("a", seed, "s", non_manifold=float(number)) for seed, number in enumerate(edges)]
    (line,) = [line for line in table(results(("s", objects))) if "non-manifold" in line]
    assert line.split("|")[2].strip() == shown


def test_the_judges_accuracy_is_reported():
    said = judge_lines({"object": {"thing": 0.991}, "picture": {"base_colour": 0.9}, "view": {"car": 1.0}})
    assert "thing 99.1 %" in said[1]
    assert "base colour 90.0 %" in said[2]


def test_askable_metrics_are_those_in_which_failures_count():
    both = examiner.Examiner(["a red mug on a wooden table", "an iguana"], judge=Judge(Names.of_world()))
    counted = {one.name for one in METRICS if isinstance(one, Metric) and one.of_failures is not None}
    assert both.askable("a red mug on a wooden table") == counted - {"clip_r"}
    assert both.askable("an iguana") == frozenset()


@pytest.fixture
def machine(monkeypatch, small_pictures):
    """Evaluations in this process, with a model that knows a ball, an untrained judge, and few truths of few points."""
    prior = ExactPrior({"mug": ball_images(16)})
    did = []

    class Here(OwnProcess):
        def submit(self, job, verb, listener=lambda event: None):
            future = Future()
            outcome = self.do(job, verb, listener)
            did.append((job.name.split("-")[-2], outcome.exit_code))
            future.set_result(outcome)
            return future

    monkeypatch.setattr(evaluate, "open_pool", lambda processes, log_file, cluster: Here(lambda *asked: prior))
    monkeypatch.setattr(examiner, "load_judge", lambda: Judge(Names.of_world()))
    monkeypatch.setattr(examiner, "accuracy", lambda judge: {"object": {"thing": 0.04}, "picture": {"thing": 0.05}})
    make_truths = measure.Truths.of.__wrapped__
    few = functools.cache(lambda subject: make_truths(measure.Truths, subject, count=2))
    monkeypatch.setattr(measure.Truths, "of", few)
    monkeypatch.setattr(pictures, "spread_points", functools.partial(spread_points, density=FEW))
    monkeypatch.setattr(measure, "sample_surface", functools.partial(sample_surface, density=FEW))
    monkeypatch.setattr(portraits, "POINTS_PER_AREA", FEW)
    monkeypatch.setattr(evaluate, "SHEET_EDGE", 32)
    monkeypatch.setattr(study, "load_prior", lambda *asked: prior)
    monkeypatch.setattr(samples, "STEPS", 3)
    monkeypatch.setattr("sdi_engine.diffusion.model_index.words_of", lambda folder: {})  # this model takes any word
    return did


@pytest.fixture
def command(capsys, tmp_path):
    def run(out, *arguments):
        code = cli.main(["evaluate", "-o", str(tmp_path / out), "--device", "cpu", "--json", *map(str, arguments)])
        said = capsys.readouterr()
        return code, json.loads(said.out.strip().rpartition("\n")[2]), said.err

    return run


SMALL = "preset=draft texture_size=64 face_budget=200 set.mesh_resolution=16 set.samples_per_ray=16"


def test_an_evaluation_from_the_command_to_the_table(command, machine, tmp_path, capsys):
    settings = [
        "--setting",
        f"SDS: {SMALL} steps=3 noise=random",
        "--setting",
        f"none: {SMALL} steps=1 set.field.density_scale=0",
    ]
    code, said, shown = command("out", "--prompt", "a red mug", "--prompt", "an iguana", "--samples", 2, *settings)
    assert code == 0, said
    out = tmp_path / "out"
    assert machine == list(itertools.chain(*[[("sds", 0), ("none", errors.EXIT_NO_OBJECT)]] * 2))
    text = (out / "results.md").read_text()
    assert "| silhouette IoU" in text
    assert 'Minus "SDS":' in text
    assert "- none, an iguana, seed 0: " in text
    assert "The judge's own accuracy" in text
    assert text.splitlines()[:2] == ["```", "python -m sdi_engine evaluate \\"]
    assert "silhouette IoU" in shown
    written = json.loads((out / "results.json").read_text())
    assert [one["folder"].partition("/")[0] for one in written["objects"]] == ["jobs"] * 4
    assert written["settings"]["none"]["failures"] == 2
    assert written["settings"]["none"]["thing"] == 0.0
    assert 0.0 < written["settings"]["SDS"]["iou"] < 1.0
    assert "shape_commitment" in written["settings"]["SDS"]
    assert set(written["truth"]) == {"commitment", "average_commitment"}
    again = shlex.split(written["command"])[3:]
    assert cli.main([*again, "--json"]) == 0
    assert len(machine) == 4, "the command in the head of the table is that of this evaluation"
    capsys.readouterr()
    assert set(written["samples"]) == {"thing", "colour", "pattern", "both", "view"}
    known = {"residual", "non_manifold", "charts", "stretch", "texture_fill"}
    assert set(written["objects"][1]["values"]) == known, "nobody knows what an iguana looks like"
    assert len(written["objects"][1]["details"]["residuals"]) == 3, "one for each step"
    sheet = Image.open(out / said["sheet"])
    assert sheet.width > 6 * 32
    assert sheet.height > 2 * 32

    code, said, _ = command("out", "--prompt", "a red mug", "--prompt", "an iguana", "--samples", 2, *settings)
    assert code == 0
    assert len(machine) == 4, "nothing is made twice"
    code, said, _ = command("out", "--prompt", "a red mug", "--samples", 2, *settings)
    assert code == 2
    assert "another evaluation (other prompts)" in said["error"]

    code, said, _ = command("new", "--prompt", "a red mug", "--samples", 0, *settings[:2], "--baseline", out)
    assert code == 0
    assert [(one["setting"], one["other"]) for one in said["comparisons"]] == [("SDS", "baseline SDS")]
    assert said["comparisons"][0]["metrics"]["iou"]["mean"] == 0.0
    assert said["settings"]["baseline none"]["failures"] == 1


def test_nothing_is_examined_twice_unless_the_judge_has_changed(tmp_path, monkeypatch):
    prompt = "a red mug"
    folder = tmp_path / "job"
    folder.mkdir()
    examined = []

    class Counting(examiner.Examiner):
        def examine(self, mesh, prompt):
            examined.append(mesh.name)
            return examiner.Examined({"iou": 0.5}, np.ones((8, 4)), {"janus": None})

        def truth(self):
            examined.append("truth")
            return examiner.Truth(np.eye(4), Commitment(0.5, None), Commitment(0.1, 0.0))

    one, other = (Judge(Names.of_world()) for _ in range(2))
    for judge in (one, one, other):
        counting = Counting([prompt], judge=judge)
        found = evaluate._examined(folder, prompt, counting)
        assert found.values == {"iou": 0.5}
        assert found.details == {"janus": None}
        np.testing.assert_array_equal(found.features, np.ones((8, 4)))
        truth = evaluate._truth(tmp_path, counting)
        np.testing.assert_array_equal(truth.features, np.eye(4))
        assert (truth.commitment, truth.average_commitment) == (Commitment(0.5, None), Commitment(0.1, 0.0))
    assert examined == ["mesh.glb", "truth"] * 2


def test_a_stored_truth_that_is_damaged_is_made_again(tmp_path):
    truth = examiner.Truth(np.eye(4), Commitment(0.5, None), Commitment(0.1, 0.0))
    asked = SimpleNamespace(fingerprint="of this judge", truth=lambda: truth)
    evaluate._truth(tmp_path, asked)
    whole = (tmp_path / evaluate.TRUTH_FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no archive"):
        (tmp_path / evaluate.TRUTH_FILE).write_bytes(damaged)
        np.testing.assert_array_equal(evaluate._truth(tmp_path, asked).features, np.eye(4))
        assert (tmp_path / evaluate.TRUTH_FILE).read_bytes() == whole


def test_a_stopped_evaluation_is_code_130(command, machine, tmp_path, monkeypatch):
    def stop(*asked):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "run_jobs", stop)
    assert command("out", "--prompt", "a red mug")[0] == 130
    assert (tmp_path / "out" / "plan.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompts", "all"], "cannot be read"),
        (["--seeds", ""], "seeds"),
        (["--setting", "noise=random"], "has no name"),
        (["--setting", "a: set.speed=1"], '"speed"'),
        (["--processes", "0"], "processes"),
        (["--samples", "99"], "samples"),
        (["--clip", "nowhere"], "not contain a CLIP model"),
        (["--baseline", "nowhere"], "plan.json"),
        (["--prompt", " "], "prompt is empty"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(command, machine, tmp_path, arguments, words):
    code, said, shown = command("out", *arguments)
    assert code == said["exit_code"] == 2
    assert words in said["error"]
    assert said["error"].endswith(".")
    assert "\n" not in said["error"]
    assert "Traceback" not in shown
    assert machine == []


def test_a_folder_of_something_else_is_not_touched(command, machine, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    code, said, _ = command("out", "--prompt", "a red mug")
    assert code == 2
    assert "is not empty" in said["error"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.txt"]
