import json
import os

from sdi_text_to_3d.jobs import finding
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.placement import DISMISSED, IMPORTED, Placement
from sdi_text_to_3d.jobs.waiting import wait
from sdi_text_to_3d.sdi_engine import events, processes
from sdi_text_to_3d.sdi_engine.request import JobRequest

NOBODY = 2**22 + 1  # more than any process id of Linux


def left_behind(results, prompt, engine, **fields):
    job = Job.create(results, JobRequest(prompt=prompt))
    Placement((1.0, 2.0, 3.0), scene="Scene", **{"owner": NOBODY, **fields}).write(job.folder)
    job.start(engine)
    wait(job, lambda _: None)
    return job


def test_a_job_of_a_blender_that_is_gone_is_found(tmp_path, engine):
    assert finding.last_job(tmp_path / "results") is None
    left_behind(tmp_path / "results", "kill it", engine)
    found = finding.last_job(tmp_path / "results")
    assert found.state == events.FAILED
    assert Placement.read(found.folder).location == (1.0, 2.0, 3.0)


def test_a_result_that_is_in_no_scene_yet_is_found(tmp_path, engine):
    left_behind(tmp_path / "results", "a red mug", engine)
    assert finding.last_job(tmp_path / "results").state == events.DONE


def test_what_is_settled_or_belongs_to_somebody_is_not_found(tmp_path, engine):
    for number, fields in enumerate(({"fate": IMPORTED}, {"fate": DISMISSED}, {"owner": os.getppid()})):
        left_behind(tmp_path / str(number), "a red mug", engine, **fields)
        assert finding.last_job(tmp_path / str(number)) is None


def test_rubbish_in_the_results_folder_does_no_harm(tmp_path, engine):
    (tmp_path / "zzz").mkdir()
    (tmp_path / "zzz" / "request.json").write_text("{")
    (tmp_path / "yyy").write_text("a file")
    assert finding.last_job(tmp_path) is None
    assert finding.last_job(tmp_path / "yyy") is None
    (tmp_path / "zzz" / "placement.json").write_text(json.dumps({"location": [0, 0, 0], "owner": NOBODY}))
    assert finding.last_job(tmp_path) is None


def test_nobody_is_nobody():
    assert not processes.is_alive(NOBODY)
