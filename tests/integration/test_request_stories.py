"""What has happened to a request, and what a replica did last: /admin/requests, `penstock explain` and `penstock flight`, of real requests and
of replicas that are killed and stopped while they work."""
import concurrent.futures
import glob
import json
import os
import signal
import subprocess

import httpx
import pytest

from support.observe import wait_until

pytestmark = pytest.mark.edge

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  run_directory: RUN_DIRECTORY
observability:
  requests:
    kept: 40
    flight_steps: 256
    flights_kept: 1
supervise:
  stall_timeout: 2s
upstream:
  retries: 2
models:
  - name: team/smollm2
    path: {model}
    replicas: 2
    threads: 1
    max_model_len: 2048
    max_num_seqs: 2
    max_num_batched_tokens: 64
    kv_cache_memory: 52MiB
    price: {input: 1, output: 2}
"""
SECRET = "the blue heron walks home"


@pytest.fixture(scope="module")
def gateway(module_servers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    server = module_servers[0](CONFIG.replace("RUN_DIRECTORY", str(folder)))
    server.wait_for_replicas()
    server.run_directory = folder
    return server


def ask(server, name, prompt=SECRET, tokens=4, stream=True, **fields):
    body = {"model": "team/smollm2", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": stream,
            "ignore_eos": True, **fields}
    return httpx.post(server.url + "/v1/completions", json=body, headers={"x-request-id": name}, timeout=120)


def story(server, name):
    answer = httpx.get(f"{server.admin_url}/admin/requests/{name}", timeout=30)
    return answer.json() if answer.status_code == 200 else None


def ended(server, name):
    """The story, once gateway and replica have let go of the request."""
    def is_over():
        told = story(server, name)
        last = told["attempts"][-1] if told and told["attempts"] else None
        return told and told["state"] == "ended" and (not last or not last["told_by_replica"] or last["told_by_replica"]["is_over"])
    wait_until(is_over, what=f"the end of {name}")
    return story(server, name)


def run(binary, *arguments):
    return subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_a_stream_is_told_from_its_head_to_its_last_token(gateway):
    answer = ask(gateway, "whole/1", prompt=SECRET + " and the river runs" * 60, tokens=6)
    assert answer.status_code == 200
    told = ended(gateway, "whole/1")
    names = ["body_read", "admitted", "queued", "slot", "dispatched", "first_byte", "first_token", "last_token", "ended"]
    moments = [told["moments_ms"][name] for name in names]
    assert moments == sorted(moments) and moments[0] > 0
    assert sum(phase["ms"] for phase in told["phases"]) == pytest.approx(told["moments_ms"]["ended"])
    assert told["status"] == 200 and told["model"] == "team/smollm2" and told["finish"] == "length"
    usage = told["usage"]
    assert usage["completion_tokens"] == 6 and not usage["estimated"]
    assert told["cost"] == pytest.approx(((usage["prompt_tokens"]) * 1 + 6 * 2) / 1e6)
    chosen = [row for row in told["decision"]["candidates"] if row["outcome"] == "chosen"]
    assert told["decision"]["policy"] == "predicted_ttft" and told["decision"]["candidate_count"] == 2 and len(chosen) == 1
    attempt, = told["attempts"]
    assert attempt["replica"] == f"team/smollm2#{chosen[0]['replica']}"
    assert attempt["why"] == "routed" and attempt["result"] == "answered" and attempt["status"] == 200


def test_the_replica_tells_its_half(gateway):
    prompt = "Once upon a midnight dreary " * 50
    assert ask(gateway, "half-1", prompt=prompt, tokens=5).status_code == 200
    first = ended(gateway, "half-1")
    told = first["attempts"][0]["told_by_replica"]
    assert told["prompt_tokens"] == first["usage"]["prompt_tokens"] and told["completion_tokens"] == 5
    # 64 rows a step: the prompt is read in as many chunks as that takes, and each of the other tokens is a step
    assert told["chunk_count"] >= told["prompt_tokens"] / 64 and len(told["chunks"]) == told["chunk_count"]
    assert sum(chunk["tokens"] for chunk in told["chunks"]) == told["chunk_tokens"] == told["prompt_tokens"] - told["cached_tokens"]
    assert all(0 < chunk["tokens"] <= 64 for chunk in told["chunks"]) and told["decode_steps"] == 4
    moments = [told["moments_ns"][name] for name in ("prepared", "submitted", "started", "first_token", "last_token", "ended")]
    assert moments == sorted(moments) and told["finish"] == "length" and told["preemption_count"] == 0
    assert ask(gateway, "half-2", prompt=prompt, tokens=5).status_code == 200
    again = ended(gateway, "half-2")
    cached = again["attempts"][0]["told_by_replica"]["cached_tokens"]
    assert cached == again["usage"]["cached_tokens"] > 200
    chosen = next(row for row in again["decision"]["candidates"] if row["outcome"] == "chosen")
    assert chosen["cached_tokens"] > 0 and chosen["score_ms"] > 0  # the router knew


def test_who_waits_is_told_with_its_places(gateway):
    jobs = {}

    def somebody_waits():
        if all(job.done() for job in jobs.values()):  # also where all have ended before anybody looked
            begin = len(jobs)
            jobs.update((f"crowd-{i}", pool.submit(ask, gateway, f"crowd-{i}", f"{i} boats sail", 100)) for i in range(begin, begin + 12))
        return any(row["phase"] == "queued" for row in listed(gateway, "state=live"))

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        wait_until(somebody_waits, what="somebody who waits")
        live = listed(gateway)
        assert all(job.result().status_code == 200 for job in jobs.values())
    states = [row["state"] for row in live]
    assert "live" in states and states == sorted(states, reverse=True)  # those under way come first
    stories = [ended(gateway, name) for name in list(jobs)[-12:]]
    waited = [told for told in stories if told["queue"]]
    assert waited
    for told in waited:
        moments = told["moments_ms"]
        assert moments["slot"] > moments["queued"]
        assert [place["at_ms"] for place in told["queue"]] == sorted(place["at_ms"] for place in told["queue"])
    assert any(told["attempts"][0]["told_by_replica"]["running_before"] > 0 for told in stories)


def listed(server, query="limit=1000"):
    answer = httpx.get(f"{server.admin_url}/admin/requests?{query}", timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["requests"]


def test_the_list_is_bounded_and_can_be_narrowed(gateway):
    for i in range(45):
        ask(gateway, f"many-{i}", tokens=1, stream=False)
    wait_until(lambda: not listed(gateway, "state=live"))
    rows = listed(gateway)
    loops = len({row["loop"] for row in rows})
    assert 0 < len(rows) <= 40 + loops  # kept is divided among the loops, rounded up
    assert rows[0]["id"] == "many-44"
    assert len(listed(gateway, "limit=3&state=ended")) == 3
    assert listed(gateway, "model=other") == [] and listed(gateway, "model=team%2Fsmollm2&limit=2")
    for query in ("limit=0", "limit=1001", "limit=x", "state=dead", "who=me"):
        assert httpx.get(f"{gateway.admin_url}/admin/requests?{query}", timeout=30).status_code == 400
    for path in ("never-was", "a" * 129, "%00", "many-44%00x"):
        assert httpx.get(f"{gateway.admin_url}/admin/requests/{path}", timeout=30).status_code == 404


def test_nothing_of_a_prompt_is_kept(gateway):
    ask(gateway, "private", prompt=SECRET * 3)
    text = json.dumps(ended(gateway, "private")) + json.dumps(listed(gateway))
    assert not any(word in text for word in ("heron", "walks home"))


def test_refused_requests_tell_why(gateway):
    assert httpx.post(gateway.url + "/v1/completions", json={"model": "team/smollm2", "prompt": "x", "max_tokens": -1},
                      headers={"x-request-id": "bad"}, timeout=30).status_code == 400
    told = ended(gateway, "bad")
    assert told["status"] == 400 and told["error"] and told["attempts"][0]["result"] == "refused"


def test_the_verb_tells_it_to_people(gateway, penstock_binary):
    ask(gateway, "verb/1", tokens=3)
    ended(gateway, "verb/1")
    text = run(penstock_binary, "explain", gateway.admin_url, "--request", "verb/1")
    assert text.returncode == 0, text.stderr
    for part in ("verb/1: /v1/completions to team/smollm2, 200 after", "routed by predicted_ttft", "chosen", "chunk ends", "answered",
                 "3 generated", "cost"):
        assert part in text.stdout, (part, text.stdout)
    machine = json.loads(run(penstock_binary, "explain", gateway.admin_url, "--request=verb/1", "--json").stdout)
    assert machine["id"] == "verb/1"
    missing = run(penstock_binary, "explain", gateway.admin_url, "--request", "never-was")
    assert missing.returncode == 1 and "404" in missing.stderr
    both = run(penstock_binary, "explain", gateway.admin_url, "--request", "a", "--model", "b")
    assert both.returncode == 2 and "do not go together" in both.stderr


def flight(binary, where, steps=1000):
    result = run(binary, "flight", where, "--json", "--steps", steps)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def busy(server, pool, name, tokens=300):
    """A request that runs for long, and the replica that has it."""
    job = pool.submit(ask, server, name, "Count to a thousand: one", tokens)
    wait_until(lambda: (story(server, name) or {"moments_ms": {}})["moments_ms"].get("first_token"), what="a first token")
    index = int(story(server, name)["attempts"][0]["replica"].rsplit("#", 1)[1])
    return job, next(row for row in server.replicas() if row["index"] == index)


def test_a_running_replica_tells_its_last_steps(gateway, penstock_binary):
    for i in range(4):
        ask(gateway, f"steps-{i}", prompt=f"{i} " * 100, tokens=20)
    told = [flight(penstock_binary, f"{gateway.admin_url}/admin/replicas/team/smollm2/{i}/flight") for i in range(2)]
    steps = max((one["steps"] for one in told), key=len)
    numbers = [step["number"] for step in steps]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and len(numbers) <= 256
    assert all(step["rows"] == step["decodes"] + step["drafts"] + step["prompt_rows"] for step in steps)
    assert any(step["prompt_rows"] > 1 for step in steps) and any(step["decodes"] > 0 for step in steps)
    assert all(step["step_ms"] > 0 for step in steps if step["state"] == "computed")
    table = run(penstock_binary, "flight", f"{gateway.admin_url}/admin/replicas/team/smollm2/0/flight", "--steps", "3")
    assert table.returncode == 0 and table.stdout.startswith("team/smollm2, ")
    assert httpx.get(gateway.admin_url + "/admin/replicas/team/smollm2/9/flight", timeout=30).status_code == 404


def test_a_killed_replica_leaves_its_last_steps(gateway, penstock_binary):
    """The second one that is killed pushes out what the first has left: one is kept."""
    for round_number in range(2):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            job, replica = busy(gateway, pool, f"victim-{round_number}")
            os.kill(replica["pid"], signal.SIGKILL)
            wait_until(lambda: glob.glob(f"{gateway.run_directory}/*Z-{replica['pid']}.flight"), what="what it has left")
            assert job.result().status_code == 200
        gateway.wait_for_replicas(restarts=round_number + 1)
    kept = [path for path in glob.glob(f"{gateway.run_directory}/*.flight") if not path.endswith(".sock.flight")]
    assert len(kept) == 1 and f"-{replica['pid']}." in kept[0]
    told = flight(penstock_binary, kept[0])
    assert told["pid"] == replica["pid"] and told["torn"] <= 1 and told["model"] == "team/smollm2"
    last = told["steps"][-1]
    assert last["running"] >= 1 and last["rows"] >= 1 and last["sequences"]  # it was at work
    assert f"penstock flight {kept[0]}" in gateway.log_text()
    again = ended(gateway, "victim-1")  # another replica has gone on with it
    assert [attempt["result"] for attempt in again["attempts"]] == ["lost", "answered"]
    assert again["continuations"] == 1 and again["attempts"][1]["why"] == "continued"


def test_a_hung_replica_is_pointed_at(gateway, penstock_binary):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        job, replica = busy(gateway, pool, "hung")
        os.kill(replica["pid"], signal.SIGSTOP)
        try:
            wait_until(lambda: f"#{replica['index']}: its last steps are in " in gateway.log_text(), what="the verdict")
            path = gateway.log_text().rsplit(f"#{replica['index']}: its last steps are in ", 1)[1].split(" ")[0]
            told = flight(penstock_binary, path)
        finally:
            os.kill(replica["pid"], signal.SIGCONT)
        assert told["pid"] == replica["pid"] and told["steps"][-1]["running"] >= 1
        assert job.result().status_code in (200, 504)


def test_what_is_no_recording_is_refused(penstock_binary, tmp_path):
    bad = tmp_path / "bad.flight"
    for content, word in ((b"", "fewer than"), (b"x" * 5000, "no recording")):
        bad.write_bytes(content)
        result = run(penstock_binary, "flight", bad)
        assert result.returncode == 1 and word in result.stderr
    assert "No such file" in run(penstock_binary, "flight", tmp_path / "missing").stderr
    assert run(penstock_binary, "flight").returncode == 2
