"""Sleep and wake of a replica, on its own Unix socket: memory goes back, nobody is served meanwhile, nothing else changes."""
import pathlib

import pytest
from replica_client import MODEL, QUESTION, health, metric, post, start_stream

from support.observe import wait_until

KV_BYTES = 128 << 20
WEIGHT_BYTES = 90 << 20  # somewhat less than there are: the last pages of a mapping need not be whole ones
CONFIG = """
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
    kv_cache_memory: 128MiB
    weight_cache: FOLDER
"""
ASK = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 24, "return_token_ids": True}


def resident_bytes(server, of="VmRSS:"):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(of))


@pytest.fixture
def sleeper(start_replica, tmp_path):
    return start_replica(CONFIG.replace("FOLDER", str(tmp_path / "weights")), unix_socket=True)


def answer(server):
    status, _, parsed = post(server, "/v1/chat/completions", ASK)
    assert status == 200, parsed
    return parsed["choices"][0]["token_ids"], parsed["usage"]["prompt_tokens_details"]["cached_tokens"]


def state_of(server):
    status, body = server.get("/is_sleeping")
    assert status == 200
    return body


def fall_asleep(server, query=""):
    """Once the engine has let go of the last request: its answer may come a moment earlier."""
    return wait_until(lambda: (got := post(server, "/sleep" + query, ""))[0] == 200 and got, what="sleep")[2]


def test_a_replica_sleeps_and_wakes_and_says_the_same(sleeper):
    first, _ = answer(sleeper)
    _, cached = answer(sleeper)
    assert cached > 0
    for level, query, least in ((1, "", KV_BYTES // 2), (2, "?level=2", KV_BYTES // 2 + WEIGHT_BYTES)):
        # Idle time goes into touching the cache: here, most of it.
        wait_until(lambda: resident_bytes(sleeper, "RssAnon:") > KV_BYTES, what="the touched cache")
        awake = resident_bytes(sleeper)
        assert fall_asleep(sleeper, query) == {"is_sleeping": True, "level": level}
        assert resident_bytes(sleeper) < awake - least
        assert b"true" in state_of(sleeper)
        status, body = sleeper.get("/readyz")
        assert status == 503 and b'"asleep"' in body and health(sleeper)["status"] == "asleep"
        assert sleeper.get("/livez")[0] == 200
        status, headers, refused = post(sleeper, "/v1/chat/completions", ASK)
        assert status == 503 and refused["error"]["code"] == "asleep" and "retry-after" in headers
        assert metric(sleeper, "vllm:engine_sleep_state", sleep_state="awake") == 0
        assert metric(sleeper, "vllm:engine_sleep_state", sleep_state=["", "weights_offloaded", "discard_all"][level]) == 1
        assert post(sleeper, "/wake_up", "")[::2] == (200, {"is_sleeping": False, "level": 0})
        assert sleeper.get("/readyz")[0] == 200
        assert answer(sleeper) == (first, 0)  # the prefix cache is empty
        assert metric(sleeper, "vllm:engine_sleep_state", sleep_state="awake") == 1


def test_a_replica_with_requests_does_not_fall_asleep(sleeper):
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 1900, "ignore_eos": True}
    connection, response, _ = start_stream(sleeper, body)
    status, _, refused = post(sleeper, "/sleep?level=1", "")
    assert status == 409 and refused["error"]["code"] == "busy"
    assert b"false" in state_of(sleeper)
    lines = [line for line in (response.readline() for _ in range(20)) if line.strip()]
    assert len(lines) == 10 and all(line.startswith(b'data: {"id"') for line in lines)
    connection.close()
    fall_asleep(sleeper)
    assert post(sleeper, "/wake_up", "")[0] == 200


def test_what_is_not_a_level_is_refused(sleeper):
    for query in ("?level=0", "?level=3", "?level=", "?level=1&mode=wait", "?mode=abort"):
        status, _, refused = post(sleeper, "/sleep" + query, "")
        assert status == 400 and refused["error"]["param"] == "level"
    status, _, refused = post(sleeper, "/wake_up?tags=weights", "")
    assert status == 400 and "as a whole" in refused["error"]["message"]
    assert b"false" in state_of(sleeper)


def test_nobody_on_a_port_can_put_a_replica_to_sleep(replica):
    for path in ("/sleep?level=1", "/wake_up"):
        assert post(replica, path, "")[0] == 404
    assert b"false" in state_of(replica) and replica.get("/readyz")[0] == 200


def test_a_replica_tells_how_its_start_went(sleeper):
    phases = ["start", "map", "warm", "ready"]
    assert list(health(sleeper)["start_seconds"]) == phases
    assert metric(sleeper, "penstock_replica_start_seconds", phase="first_token") == 0
    answer(sleeper)
    told = wait_until(lambda: len(found := health(sleeper)["start_seconds"]) == 5 and found, what="the first token's time")
    assert list(told) == [*phases, "first_token"] and all(seconds >= 0 for seconds in told.values())
    for phase, seconds in told.items():
        assert abs(metric(sleeper, "penstock_replica_start_seconds", phase=phase) - seconds) < 1e-6
    answer(sleeper)
    assert health(sleeper)["start_seconds"] == told
