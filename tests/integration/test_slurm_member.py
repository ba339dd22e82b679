"""The Slurm member against two real clusters: munged, slurmctld, slurmd and slurmrestd."""
from __future__ import annotations

import re
import signal

import pytest

from support import slurm_cluster
from support.slurm_cluster import Node, SlurmCluster, cpu_nodes, wait_until
from support.slurm_member import SlurmMember

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing())

NODES = [
    Node("n0", "gpu:h100:4,shard:16", "region_eu-de,zone_a,nvlink,hipaa,node_n0"),
    Node("n1", "gpu:h100:4", "region_eu-de,zone_b,nvlink_d7,node_n1"),
    Node("n2", "gpu:1g.10gb:2", "region_us-east,spot,node_n2"),
    Node("n3", features="node_n3"),
]
SLICES = 4 + 4 + 2 + 1
# Beside the two of every cluster: one whose jobs are warned before they are preempted, one with a short default of time.
PARTITIONS = """PartitionName=warned Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=30 DefaultTime=1 MaxTime=INFINITE
PartitionName=short Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE DefaultTime=1 MaxTime=120"""
SLEEP = ["/bin/sleep", "600"]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    with SlurmCluster(folder / "a", NODES, "alpha", PARTITIONS) as alpha, SlurmCluster(folder / "b", cpu_nodes("b", 2), "beta") as beta:
        yield alpha, beta


@pytest.fixture
def cluster(clusters):
    clusters[0].reset()
    return clusters[0]


@pytest.fixture
def other_cluster(clusters):
    clusters[1].reset()
    return clusters[1]


@pytest.fixture
def pool(request):
    """A name of its own for each test: the clusters remember the jobs of those before."""
    return re.sub("[^a-z]+", "-", request.node.name)[-63:]


@pytest.fixture
def member(cluster, tmp_path, pool):
    with SlurmMember(cluster, tmp_path, pool=pool) as driver:
        driver.wait_listed()
        yield driver


def running(cluster):
    return [job for job in cluster.live_jobs() if job.state == "RUNNING"]


def wait_file(path):
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path} is not written")
    return path.read_text()


# --- slices ---


def test_nodes_are_told_as_slices(member):
    slices = member.slices
    assert len(slices) == SLICES
    whole, mig, cpu = slices["n0/gpu:h100/3"], slices["n2/gpu:1g.10gb/1"], slices["n3/cpu"]
    assert (whole["kind"], whole["milli"], whole["step"], whole["foreign"]) == ("fraction", 1000, 250, 0)
    assert (whole["region"], whole["zone"], whole["nvlink"], whole["vendor"]) == ("eu-de", "a", "n0", "nvidia")
    assert "hipaa" in whole["labels"] and whole["health"] == "ok" and not whole["preemptible"]
    assert (slices["n1/gpu:h100/0"]["nvlink"], slices["n1/gpu:h100/0"]["step"]) == ("d7", 0)
    assert (mig["kind"], mig["milli"], mig["preemptible"], mig["region"]) == ("mig", 143, True, "us-east")
    assert (cpu["kind"], cpu["milli"], cpu["step"], cpu["memory"]) == ("cpu_set", 8000, 1000, 4000 << 20)


def test_what_others_use_is_told_as_theirs(cluster, member):
    cluster.submit("--gres=gpu:h100:3", "--nodelist=n1")
    for _ in range(2):  # each on a GPU of its own: 3 of its 4
        cluster.submit("--gres=shard:3", "--nodelist=n0")
    cluster.submit("--cpus-per-task=5", "--nodelist=n3")
    member.wait(lambda: sum(s["foreign"] for s in member.slices.values() if s["node"] == "n1") == 3000, "3 GPUs of others")
    member.wait(lambda: sum(s["foreign"] for s in member.slices.values() if s["node"] == "n0") == 1500, "6 shards of others")
    member.wait(lambda: member.slices["n3/cpu"]["foreign"] == 5000, "5 cores of others")
    assert member.slices["n1/gpu:h100/0"]["foreign"] == 0 and member.slices["n3/cpu"]["memory_foreign"] == 100 << 20


def test_a_drained_node_takes_nothing_new_and_keeps_its_job(cluster, member):
    assert member.start(15, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(15, "running")
    cluster.run("scontrol", "update", "nodename=n1", "state=drain", "reason=repair")
    member.wait(lambda: member.slices["n1/gpu:h100/1"]["health"] == "draining", "not draining")
    assert member.slices["n1/gpu:h100/1"]["reason"] == "repair"
    assert member.replicas[15]["phase"] == "running"


# --- replicas ---


def test_a_job_is_submitted_once_runs_on_its_slice_and_is_cancelled(cluster, member, tmp_path, pool):
    out = tmp_path / "told"
    program = ["/bin/bash", "-c", f'echo "$CUDA_VISIBLE_DEVICES $SLURMD_NODENAME $TOKEN" > {out}; exec sleep 600']
    for _ in range(2):
        assert member.start(7, [("n1/gpu:h100/2", 1000)], program, ["TOKEN=it's one's own"])["status"] == "ok"
    assert member.wait_phase(7, "running")["node"] == "n1"
    assert wait_file(out) == "0 n1 it's one's own\n"
    assert [job.comment for job in cluster.live_jobs()] == [f"penstock={pool};uid=0000000000000007;at=gpu:h100*1000*104857600;2@n1"]
    member.wait_listed()
    assert all(one["foreign"] == 0 for one in member.slices.values() if one["node"] == "n1")  # what is ours is not others'
    assert member.stop(7)["status"] == "ok"
    assert member.wait_phase(7, "ended", "failed")["phase"] == "ended"
    assert member.stop(7)["status"] == "ok" and member.stop(99)["status"] == "ok"


def test_a_share_of_a_gpu_is_shards(cluster, member):
    assert member.start(8, [("n0/gpu:h100/0", 500)], SLEEP)["status"] == "ok"
    member.wait_phase(8, "running")
    (job,) = cluster.live_jobs()
    assert re.search(r" GRES=shard(:h100)?:2\(", cluster.run("scontrol", "show", "job", "-d", str(job.id)))


def test_cores_of_a_node_without_gpus(cluster, member):
    assert member.start(9, [("n3/cpu", 3000)], SLEEP, memory=512 << 20)["status"] == "ok"
    assert member.wait_phase(9, "running")["node"] == "n3"
    (job,) = cluster.live_jobs()
    assert (job.cpus, job.memory) == (3, "512M")


def test_a_gang_is_one_job_and_each_part_has_its_own_device(cluster, member, tmp_path):
    told = 'echo "$PENSTOCK_PARTS $CUDA_VISIBLE_DEVICES $SLURMD_NODENAME"'
    file = f"{tmp_path}/part$PENSTOCK_PART"
    program = ["/bin/bash", "-c", f"trap 'echo asked > {file}; exit' TERM; {told} > {file}; while :; do sleep 0.1; done"]
    parts = [(f"{node}/gpu:h100/{place}", 1000) for node in ("n0", "n1") for place in (0, 1)]
    files = [tmp_path / f"part{part}" for part in range(4)]
    assert member.start(10, parts, program)["status"] == "ok"
    assert sorted(map(wait_file, files)) == ["4 0 n0\n", "4 0 n1\n", "4 1 n0\n", "4 1 n1\n"]
    assert len(cluster.live_jobs()) == 1
    member.wait_phase(10, "running")
    assert member.stop(10, grace_ms=60000)["status"] == "ok"
    assert member.wait_phase(10, "ended", "failed")["phase"] == "ended"
    assert [file.read_text() for file in files] == ["asked\n"] * 4


def test_what_no_job_can_do_is_refused(member):
    assert member.start(11, [("n9/gpu:h100/0", 1000)], SLEEP)["status"] == "full"
    assert member.start(11, [("n1/gpu:h100/0", 500)], SLEEP)["status"] == "invalid"
    mixed = [("n1/gpu:h100/0", 1000), ("n2/gpu:1g.10gb/0", 143)]
    assert member.start(11, mixed, SLEEP)["status"] == "full"


def test_a_job_that_is_taken_but_cannot_run_yet_waits(cluster, member):
    cluster.run("scontrol", "update", "nodename=n3", "state=drain", "reason=repair")
    assert member.start(26, [("n3/cpu", 1000)], SLEEP)["status"] == "ok"
    assert "ReqNodeNotAvail" in member.wait_phase(26, "pending")["reason"] and len(cluster.live_jobs()) == 1
    cluster.run("scontrol", "update", "nodename=n3", "state=resume")
    member.wait_phase(26, "running")


def test_a_program_that_fails_is_told_with_its_exit_status(member):
    assert member.start(12, [("n1/gpu:h100/0", 1000)], ["/bin/bash", "-c", "exit 7"])["status"] == "ok"
    told = member.wait_phase(12, "failed", "ended")
    assert (told["phase"], told["cause"], told["reason"]) == ("failed", "program", "exit status 7")


def test_a_grace_is_between_the_signal_and_the_end(member, tmp_path):
    out = tmp_path / "asked"
    program = ["/bin/bash", "-c", f"trap 'echo asked > {out}' TERM; echo ready > {out}; while :; do sleep 0.1; done"]
    assert member.start(13, [("n1/gpu:h100/0", 1000)], program)["status"] == "ok"
    assert wait_file(out) == "ready\n"
    member.wait_phase(13, "running")
    assert member.stop(13, grace_ms=1500)["status"] == "ok"
    wait_until(lambda: out.read_text() == "asked\n", "the program is not asked to end")
    assert member.wait_phase(13, "ended", "failed")["phase"] == "ended"


def test_a_job_may_run_as_long_as_its_partition_lets_it_and_its_end_is_told(cluster, tmp_path, pool):
    with SlurmMember(cluster, tmp_path, pool=pool, partition="short", end_notice_ms=7300 * 1000) as driver:
        driver.wait_listed()
        assert driver.start(23, [("n3/cpu", 1000)], SLEEP)["status"] == "ok"
        driver.wait_phase(23, "running")
        driver.wait(lambda: 7000 < driver.replicas[23]["notice"] <= 7205, "its end is not told")
        (job,) = cluster.live_jobs()
        assert "TimeLimit=02:00:00" in cluster.run("scontrol", "show", "job", str(job.id))


# --- what goes wrong ---


def test_a_preempted_job_is_told_and_not_run_again(cluster, member):
    assert member.start(14, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(14, "running")
    cluster.submit("--gres=gpu:h100:4", "--nodelist=n1", "--partition=urgent")
    assert member.wait_phase(14, "failed")["cause"] == "preempted"
    wait_until(lambda: [job.name for job in cluster.live_jobs()] == ["foreign"], "it is still in the queue")


def test_a_job_that_will_be_preempted_is_told_before(cluster, tmp_path, pool):
    with SlurmMember(cluster, tmp_path, pool=pool, partition="warned") as driver:
        driver.wait_listed()
        program = ["/bin/bash", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
        assert driver.start(14, [("n1/gpu:h100/0", 1000)], program)["status"] == "ok"
        assert driver.wait_phase(14, "running")["notice"] == 0
        assert "TimeLimit=UNLIMITED" in cluster.run("scontrol", "show", "job", str(running(cluster)[0].id))
        cluster.submit("--gres=gpu:h100:4", "--nodelist=n1", "--partition=urgent")
        driver.wait(lambda: 0 < driver.replicas[14]["notice"] <= 30, "it is not warned of")
        assert driver.replicas[14]["phase"] == "running"


@pytest.mark.parametrize("command", ["requeue", "suspend"])
def test_a_job_that_an_operator_takes_off_its_node_has_failed_and_is_not_run_again(cluster, member, command):
    assert member.start(16, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(16, "running")
    (job,) = cluster.live_jobs()
    cluster.run("scontrol", "update", f"jobid={job.id}", "requeue=1")
    cluster.run("scontrol", command, str(job.id))
    assert member.wait_phase(16, "failed")["cause"] == "preempted"
    wait_until(lambda: not cluster.live_jobs(), "the job waits to be run again")


def test_a_node_whose_power_goes_is_bad_and_its_job_failed(cluster, member):
    assert member.start(17, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    assert member.start(18, [("n0/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(17, "running")
    member.wait_phase(18, "running")
    cluster.kill_node("n1")
    member.wait(lambda: member.slices["n1/gpu:h100/0"]["health"] == "bad", "the node is not bad")
    assert member.wait_phase(17, "failed")["cause"] == "node"
    assert member.slices["n0/gpu:h100/0"]["health"] == "ok" and member.replicas[18]["phase"] == "running"
    cluster.node_start("n1")
    member.wait(lambda: member.slices["n1/gpu:h100/0"]["health"] == "ok", "the node is not sound again")
    assert len(cluster.live_jobs()) == 1  # and what had failed is not run again
    assert member.start(19, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(19, "running")


def test_a_restarted_controller_loses_nothing(cluster, member):
    assert member.start(17, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(17, "running")
    cluster.kill("slurmctld", signal.SIGTERM)
    member.wait(lambda: member.events[-1]["event"] == "broken", "the loss is not told")
    cluster.controller_start()
    member.wait_listed()
    assert len(member.slices) == SLICES and member.replicas[17]["phase"] == "running"
    assert len(cluster.live_jobs()) == 1


def test_a_lost_slurmrestd_is_not_an_empty_cluster(cluster, member):
    assert member.start(18, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(18, "running")
    cluster.kill("slurmrestd")
    member.wait(lambda: member.events[-1]["event"] == "broken", "the loss is not told")
    assert member.events[-1]["status"] == "closed"
    assert member.start(19, [("n1/gpu:h100/1", 1000)], SLEEP)["status"] == "closed"
    assert len(member.slices) == SLICES
    cluster.rest_start()
    member.wait_listed()
    assert len(member.slices) == SLICES and member.replicas[18]["phase"] == "running"
    assert member.start(19, [("n1/gpu:h100/1", 1000)], SLEEP)["status"] == "ok"
    member.wait_phase(19, "running")
    assert len(cluster.live_jobs()) == 2


def test_a_wrong_partition_is_told(cluster, tmp_path, pool):
    with SlurmMember(cluster, tmp_path, pool=pool, partition="serf") as driver:
        driver.wait(lambda: driver.events and driver.events[-1]["event"] == "broken", "the mistake is not told")
        assert "serf" in driver.events[-1]["note"] and driver.lists == 0


def test_a_wrong_key_is_told(cluster, tmp_path, pool):
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(b"another key, which the cluster does not know")
    with SlurmMember(cluster, tmp_path, pool=pool, key_file=wrong) as driver:
        driver.wait(lambda: driver.events and driver.events[-1]["event"] == "broken", "the refusal is not told")
        assert driver.lists == 0


def test_a_token_is_read_from_its_file_again_when_it_is_refused(cluster, tmp_path, pool):
    file = tmp_path / "token"
    file.write_text("SLURM_JWT=of.nobody.here\n")
    with SlurmMember(cluster, tmp_path, pool=pool, key_file=None, token_file=file) as driver:
        driver.wait(lambda: driver.events and driver.events[-1]["event"] == "broken", "the refusal is not told")
        file.write_text(cluster.run("scontrol", "token", "lifespan=3600"))
        driver.wait_listed()
        assert len(driver.slices) == SLICES


# --- nothing of ours is lost or doubled ---


def test_who_starts_anew_finds_what_runs_and_where(cluster, tmp_path, pool):
    gang = [(f"{node}/gpu:h100/{place}", 1000) for node in ("n0", "n1") for place in (2, 3)]
    with SlurmMember(cluster, tmp_path, pool=pool) as first:
        first.wait_listed()
        assert first.start(20, [("n1/gpu:h100/0", 1000)], SLEEP, memory=(5 << 30) + 1)["status"] == "ok"
        assert first.start(21, gang, SLEEP)["status"] == "ok"
        assert first.start(22, [("n3/cpu", 2000)], SLEEP)["status"] == "ok"
        for uid in (20, 21, 22):
            first.wait_phase(uid, "running")
    with SlurmMember(cluster, tmp_path, pool=pool) as second, SlurmMember(cluster, tmp_path, pool="other") as other:
        for uid in (20, 21, 22):
            assert second.wait_phase(uid, "running")["name"] == "test"
        assert second.replicas[20]["node"] == "n1"
        assert second.replicas[20]["parts"] == [["n1/gpu:h100/0", 1000, (5 << 30) + 1]]
        assert sorted(second.replicas[21]["parts"]) == [[slice_id, milli, 100 << 20] for slice_id, milli in gang]
        assert second.replicas[22]["parts"] == [["n3/cpu", 2000, 100 << 20]]
        other.wait_listed()
        assert not other.replicas
        assert second.start(20, [("n1/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
        assert len(cluster.live_jobs()) == 3
        assert second.stop(20)["status"] == "ok"
        second.wait_phase(20, "ended")


def test_of_two_jobs_of_one_replica_the_later_is_ended(cluster, member, pool):
    """As when an answer to a submission is lost, and no list has the job yet."""
    assert member.start(24, [("n3/cpu", 1000)], SLEEP)["status"] == "ok"
    handle = member.wait_phase(24, "running")["handle"]
    comment = f"penstock={pool};uid={24:016x};at=cpu*1000*104857600;0@n3"
    double = cluster.submit("--nodelist=n3", f"--comment={comment}")
    wait_until(lambda: [job.state for job in cluster.jobs() if job.id == double] == ["CANCELLED"], "the double is not ended")
    member.wait_listed()
    assert (member.replicas[24]["phase"], member.replicas[24]["handle"]) == ("running", handle)
    assert len(running(cluster)) == 1


def test_two_clusters_at_once_and_one_of_them_dies(cluster, other_cluster, tmp_path, pool):
    with SlurmMember(cluster, tmp_path, pool=pool) as one, SlurmMember(other_cluster, tmp_path, pool=pool, region="us-west") as two:
        one.wait_listed()
        two.wait_listed()
        assert two.slices["b1/cpu"]["region"] == "us-west" and set(two.slices) == {"b0/cpu", "b1/cpu"}
        assert one.start(21, [("n0/gpu:h100/0", 1000)], SLEEP)["status"] == "ok"
        assert two.start(22, [("b0/cpu", 1000)], SLEEP)["status"] == "ok"
        one.wait_phase(21, "running")
        two.wait_phase(22, "running")
        other_cluster.kill_all()
        two.wait(lambda: two.events[-1]["event"] == "broken", "the loss is not told")
        assert set(two.slices) == {"b0/cpu", "b1/cpu"} and two.replicas[22]["phase"] == "running"  # nobody has said otherwise
        assert one.start(23, [("n0/gpu:h100/1", 1000)], SLEEP)["status"] == "ok"
        one.wait_phase(23, "running")
        other_cluster.start()
        two.wait(lambda: two.slices["b0/cpu"]["health"] == "ok", "it is not there again")
        two.wait(lambda: two.start(25, [("b0/cpu", 1000)], SLEEP)["status"] == "ok", "it takes nothing")
        two.wait_phase(25, "running")
        assert 22 not in one.replicas and 21 not in two.replicas
