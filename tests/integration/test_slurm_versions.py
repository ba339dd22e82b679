"""The Slurm member on versions of the API that the Slurm of this system does not speak, as real slurmrestd answered them."""
from __future__ import annotations

import json
import pathlib

import pytest

from support.slurm_member import SlurmMember
from support.slurm_recording import GANG, POOL, Replay, converse

RECORDINGS = sorted((pathlib.Path(__file__).parents[1] / "data" / "slurm").glob("conversation_*.json"))


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem)
def replay(request, tmp_path):
    server = Replay(json.loads(request.param.read_text()), tmp_path / "key")
    server.stage("idle", lambda: None)
    yield server
    server.close()
    assert server.strange == []  # nothing was sent that the real one was not


@pytest.fixture
def member(replay, tmp_path):
    with SlurmMember(replay, tmp_path, pool=POOL, working_directory="/tmp") as driver:
        driver.wait(lambda: driver.lists > 0, "no list of slices")
        yield driver


def test_slices_are_read(member):
    slices = member.slices
    assert len(slices) == 4 + 4 + 2 + 1 and {one["health"] for one in slices.values()} == {"ok"}
    whole, mig, cpu = slices["n0/gpu:h100/3"], slices["n2/gpu:1g.10gb/1"], slices["n3/cpu"]
    assert (whole["kind"], whole["milli"], whole["step"], whole["foreign"]) == ("fraction", 1000, 250, 0)
    assert (whole["region"], whole["zone"], whole["nvlink"], "hipaa" in whole["labels"]) == ("eu-de", "a", "n0", True)
    assert (mig["kind"], mig["preemptible"], mig["region"]) == ("mig", True, "us-east")
    assert (cpu["kind"], cpu["milli"], cpu["memory"]) == ("cpu_set", 8000, 4000 << 20)


def test_replicas_start_and_end(replay, member):
    converse(member, replay.stage)
    assert member.replicas[3]["parts"] == [["n3/cpu", 3000, 100 << 20]]
    assert sorted(member.replicas[4]["parts"]) == [[slice_id, milli, 100 << 20] for slice_id, milli in GANG]


def test_what_is_ours_is_not_told_as_others(replay, member):
    replay.stage("running", lambda: None)
    member.wait(lambda: len(member.replicas) == 4, "not all replicas are told")
    member.wait_listed()
    assert {one["foreign"] for one in member.slices.values()} == {0}


def test_nothing_is_listed_while_nothing_changes(member):
    lists, seen = member.lists, len(member.events)
    member.wait(lambda: sum(event["event"] == "heard" for event in member.events[seen:]) >= 15, "not heard")
    assert member.lists == lists  # three times as long as lists may come after one another
