"""Engines that are ended from outside: by SIGKILL at random moments, and by SIGTERM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine.contract.events import CANCELLED
from sdi_engine.errors import EXIT_CANCELLED

KILL = Path(__file__).parents[1] / "support" / "kill_at_random.py"


@pytest.mark.skipif(sys.platform == "win32", reason="forks, which Windows cannot")
def test_an_engine_killed_at_random_moments_loses_nothing_and_sigterm_cancels_it(tmp_path):
    """A resumed job ends like an uninterrupted one."""
    command = [sys.executable, str(KILL), str(tmp_path), "--runs", "2", "--queues", "1"]
    outcomes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert outcomes.pop("terminated") == {"exit_code": EXIT_CANCELLED, "state": CANCELLED}
    assert {what: len(each) for what, each in outcomes.items()} == {"runs": 2, "queues": 1}
    for outcome in outcomes["runs"] + outcomes["queues"]:
        assert outcome["exit_code"] == 0, outcomes
        assert outcome["same"], outcomes
        assert outcome["left"] == [], outcomes
