"""What a gateway writes down: access log, usage ledger, audit log; and what becomes of them when a disk is full or the
process is killed."""
import csv
import hashlib
import io
import json
import pathlib
import resource
import signal
import sqlite3
import subprocess

import httpx
import pytest

from support.observe import metric_of, wait_until

pytestmark = pytest.mark.edge

SECRET = "sk-records-0123456789abcdef0123456789abcdef"
CANARY = "zanzibar-heliotrope"
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
auth:
  keys:
    - name: robot
      sha256: """ + hashlib.sha256(SECRET.encode()).hexdigest() + """
      organisation: acme
      team: red
state:
  database: {folder}/state.db
records:
  access_log: {folder}/access.log
  audit_log: {folder}/audit.log
  interval: 10ms
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""
HEADERS = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "records"
    path.mkdir()
    return path


@pytest.fixture
def start(start_gateway, folder):
    def run(*changes, **options):
        text = CONFIG.replace("{folder}", str(folder))
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        return start_gateway(text, **options)
    return run


@pytest.fixture
def verb(penstock_binary):
    def run(server, *words):
        return subprocess.run([penstock_binary, *words, server.config], capture_output=True, text=True, timeout=60)
    return run


def complete(server, tokens=4, **fields):
    return httpx.post(server.url + "/v1/completions", headers=HEADERS, timeout=120,
                      json={"model": "smollm2", "prompt": f"The {CANARY} of", "max_tokens": tokens, "ignore_eos": True, **fields})


def usage(verb, server, *flags):
    result = verb(server, "usage", "--format", "csv", *flags)
    assert result.returncode == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_request_is_a_line_and_a_row(start, folder, verb):
    server = start()
    plain = complete(server).json()["usage"]
    with httpx.stream("POST", server.url + "/v1/completions", headers={**HEADERS, "x-request-id": "mine-1"}, timeout=120,
                      json={"model": "smollm2", "prompt": CANARY, "max_tokens": 6, "ignore_eos": True, "stream": True}) as answer:
        body = answer.read()
    assert httpx.get(server.url + "/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
    path = folder / "access.log"

    def asked():
        lines = [line for line in lines_of(path) if line["route"] in ("/v1/completions", "/v1/models")]
        return lines if len(lines) == 3 else None

    first, streamed, refused = wait_until(asked)
    assert (first["organisation"], first["team"], first["key"], first["key_id"]) == ("acme", "red", "robot", "robot")
    assert first["status"] == 200 and first["model"] == "smollm2" and first["replica"] == 0 and first["method"] == "POST"
    assert (first["prompt_tokens"], first["completion_tokens"]) == (plain["prompt_tokens"], plain["completion_tokens"])
    assert streamed["request_id"] == "mine-1" and streamed["completion_tokens"] == 6
    assert streamed["bytes_out"] == len(body) and 0 < streamed["ttft_ms"] <= streamed["duration_ms"]
    assert refused["status"] == 401 and "key" not in refused
    (row,) = wait_until(lambda: [row for row in usage(verb, server) if row["requests"] == "2"])
    assert (row["organisation"], row["team"], row["key"], row["model"]) == ("acme", "red", "robot", "smollm2")
    assert int(row["prompt_tokens"]) == first["prompt_tokens"] + streamed["prompt_tokens"]
    assert int(row["completion_tokens"]) == first["completion_tokens"] + 6
    assert usage(verb, server, "--team", "blue") == []
    server.stop()
    for file in folder.iterdir():  # also the database and its log
        assert CANARY.encode() not in file.read_bytes() and SECRET.encode() not in file.read_bytes()


def test_lines_and_rows_tell_traces_finish_and_errors_and_no_text(start, folder):
    server = start(("    max_model_len: 1024", "    max_model_len: 1024\n    aliases: [small]"))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = {**HEADERS, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}

    def ask(headers, **fields):
        body = {"model": "smollm2", "prompt": CANARY, "max_tokens": 3, "ignore_eos": True, **fields}
        return httpx.post(server.url + "/v1/completions", headers=headers, timeout=120, json=body)

    assert ask(traced, model="small").status_code == 200
    assert ask({**HEADERS, "traceparent": "00-" + "Z" * 32 + "-00f067aa0ba902b7-01"}, temperature=-1).status_code == 400
    assert ask(HEADERS, prompt=CANARY + " river" * 3000, stream=True).status_code == 400
    assert ask(HEADERS, model="nowhere").status_code == 404
    lines = wait_until(lambda: (seen := [line for line in lines_of(folder / "access.log") if line["route"] == "/v1/completions"]) and
                     len(seen) == 4 and seen)
    good, bad, long, unknown = lines
    assert (good["trace_id"], good["asked_model"], good["model"], good["finish_reason"]) == (trace, "small", "smollm2", "length")
    assert good["busy_ms"] > 0 and "error_code" not in good
    assert bad["status"] == 400 and bad["error_code"] and "trace_id" not in bad and "finish_reason" not in bad
    assert long["error_code"] == "context_length_exceeded" and long["model"] == "smollm2"
    assert unknown["error_code"] == "model_not_found" and "model" not in unknown
    server.stop()
    with sqlite3.connect(folder / "state.db") as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM requests ORDER BY ended_ms, id")]
    # What was refused before it was for a model is in the access log alone.
    assert len(rows) == 3
    (row,) = [row for row in rows if row["trace_id"] == trace]
    assert (row["asked_model"], row["finish"], row["error_code"], row["replica"], row["retries"]) == ("small", "length", "", 0, 0)
    assert row["busy_ns"] > 0 and row["is_known"] == 1 and row["is_estimated"] == 0 and row["completion_tokens"] == 3
    assert {row["error_code"] for row in rows if row["status"] == 400} == {bad["error_code"], "context_length_exceeded"}
    for file in folder.iterdir():
        assert CANARY.encode() not in file.read_bytes()


def test_a_moved_access_log_is_opened_again(start, folder):
    server = start()
    complete(server)
    path, moved = folder / "access.log", folder / "access.log.1"
    wait_until(lambda: lines_of(path))
    path.rename(moved)
    server.process.send_signal(signal.SIGHUP)
    wait_until(path.exists)
    complete(server)
    wait_until(lambda: any(line["route"] == "/v1/completions" for line in lines_of(path)))
    assert any(line["route"] == "/v1/completions" for line in lines_of(moved))


def test_lines_go_to_standard_output(start):
    server = start(("  access_log: ", "  access_log: stdout #"))
    complete(server)
    line = wait_until(lambda: [text for text in server.log_text().splitlines() if text.startswith('{"time"')
                             and '"/v1/completions"' in text])[0]
    assert json.loads(line)["status"] == 200


def test_a_killed_gateway_keeps_what_was_written_and_never_counts_twice(start, folder, verb):
    server = start()
    for _ in range(5):
        assert complete(server).status_code == 200
    wait_until(lambda: usage(verb, server, "--by", "model") and usage(verb, server, "--by", "model")[0]["requests"] == "5")
    server.kill()
    assert usage(verb, server, "--by", "model")[0]["requests"] == "5"
    server.stop()
    again = start()
    assert complete(again).status_code == 200
    again.stop()  # an orderly end writes everything
    (row,) = usage(verb, again, "--by", "model")
    assert row["requests"] == "6" and int(row["completion_tokens"]) == 24
    assert verb(again, "audit", "verify").returncode == 0


def test_the_audit_log_tells_of_life_reloads_and_refused_keys(start, folder, verb):
    server = start()
    path = pathlib.Path(server.config)
    path.write_text(path.read_text().replace("drain_timeout: 10s", "drain_timeout: 9s"))
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: done" in server.log_text())
    for _ in range(20):
        assert httpx.get(server.url + "/v1/models", headers={"authorization": "Bearer no"}).status_code == 401
    assert server.stop() == 0
    lines = lines_of(folder / "audit.log")
    actions = [line["action"] for line in lines]
    assert actions[0] == "gateway.start" and actions[-1] == "gateway.stop"
    (reload,) = [line for line in lines if line["action"] == "config.reload"]
    assert "server.drain_timeout" in reload["detail"]
    (failures,) = [line for line in lines if line["action"] == "auth.failure"]
    assert failures["detail"].startswith("20 ") and "127.0.0.1" in failures["actor"]
    # The chain, computed by the description alone.
    previous = "0" * 64
    for number, line in enumerate((folder / "audit.log").read_bytes().splitlines(), 1):
        parsed = json.loads(line)
        head = line[:line.rindex(b',"hash":')]
        assert parsed["seq"] == number and parsed["previous"] == previous
        previous = hashlib.sha256(head).hexdigest()
        assert parsed["hash"] == previous
    good = verb(server, "audit", "verify")
    assert good.returncode == 0 and f"{len(lines)} lines" in good.stdout
    assert verb(server, "audit", "show").stdout == (folder / "audit.log").read_text()


def test_changes_of_limits_budgets_and_routes_are_named(start, folder, verb):
    server = start(("    max_model_len: 1024", """    max_model_len: 1024
  - name: chat
    versions:
      - {model: smollm2, weight: 3}
tenants:
  limits:
    - {per: key, requests_per_minute: 1000}
  budgets:
    - {organisation: acme, amount: 5}"""))
    path = pathlib.Path(server.config)
    text = path.read_text()
    for before, after in (("requests_per_minute: 1000", "requests_per_minute: 900"), ("amount: 5", "amount: 6"), ("weight: 3", "weight: 2")):
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: done" in server.log_text())
    path.write_text(text.replace("interval: 10ms", "interval: 20ms"))  # needs a restart
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: metric_of(server, "penstock_config_reloads_total", result="failure") == 1)
    assert server.stop() == 0
    lines = lines_of(folder / "audit.log")
    done, refused = [line for line in lines if line["action"].startswith("config.reload")][:1] + [
        line for line in lines if line["action"] == "config.reload.refused"]
    for key in ("requests_per_minute", "amount", "weight"):
        assert key in done["detail"], done
    assert done["actor"] == refused["actor"] == "SIGHUP" and done["detail"].startswith("3 changes")
    assert verb(server, "audit", "verify").returncode == 0


def test_an_upgrade_goes_on_in_the_same_logs(start, folder, verb):
    """Two processes, one chain; and the time that replicas were busy before is not counted again."""
    server = start(("state:\n  database: " + str(folder / "state.db"), "state: {}"))

    def lines(count):
        found = [line for line in lines_of(folder / "access.log") if line["route"] == "/v1/completions"]
        return found if len(found) == count else None

    assert complete(server).status_code == 200
    wait_until(lambda: lines(1))
    assert metric_of(server, "penstock_slice_busy_seconds_total", model="smollm2") > 0
    server.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: "gateway.stop" in [line["action"] for line in lines_of(folder / "audit.log")])
    assert complete(server).status_code == 200
    second = wait_until(lambda: lines(2))[1]
    busy = metric_of(server, "penstock_slice_busy_seconds_total", model="smollm2")
    assert 0 < busy == pytest.approx(second["busy_ms"] / 1e3, abs=1e-5)
    assert server.stop() == 0
    actions = [line["action"] for line in lines_of(folder / "audit.log") if line["action"].startswith("gateway.")]
    assert sorted(actions) == ["gateway.start"] * 2 + ["gateway.stop"] * 2 + ["gateway.upgrade"]
    assert actions[:2] == ["gateway.start", "gateway.upgrade"]
    assert verb(server, "audit", "verify").returncode == 0


def test_a_changed_or_cut_audit_log_is_found_and_not_written_on(start, folder, verb):
    server = start()
    server.stop()
    path = folder / "audit.log"
    text = path.read_text()
    path.write_text(text.replace("gateway.start", "gateway.stort"))
    found = verb(server, "audit", "verify")
    assert found.returncode == 1 and "line 1:" in found.stdout and "changed" in found.stdout
    path.write_text(text.splitlines(keepends=True)[0])
    found = verb(server, "audit", "verify")
    assert found.returncode == 1 and "line 2:" in found.stdout and "the end is missing" in found.stdout
    again = start(wait=False)
    assert again.process.wait(60) != 0
    assert "cut or replaced" in again.log_text()
    assert path.read_text() == text.splitlines(keepends=True)[0]


def test_a_full_disk_drops_access_log_lines_and_counts_them(start):
    server = start(("  access_log: ", "  access_log: /dev/full #"))
    for _ in range(3):
        assert complete(server).status_code == 200
    wait_until(lambda: metric_of(server, "penstock_records_dropped_total", stream="access_log") >= 3)
    assert metric_of(server, "penstock_records_failing", stream="access_log") == 1
    assert "the access_log cannot be written" in server.log_text()


def limit_file_sizes(server, bytes):
    """A file at its limit gives an error to write(2), as a full disk does."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (bytes, resource.RLIM_INFINITY))


@pytest.mark.parametrize("policy", ["continue", "refuse"])
def test_a_ledger_that_cannot_be_written_follows_its_policy(start, verb, policy):
    server = start(("  interval: 10ms", f"  interval: 10ms\n  ledger_full: {policy}\n  ledger_memory: 2"))
    answered = []

    def ask():
        answer = complete(server)
        answered.append(answer.status_code == 200)
        return answer

    assert ask().status_code == 200
    wait_until(lambda: usage(verb, server, "--by", "model"))
    limit_file_sizes(server, 1)
    if policy == "continue":
        assert all(ask().status_code == 200 for _ in range(6))
        wait_until(lambda: metric_of(server, "penstock_records_dropped_total", stream="ledger") == 4)
    else:
        wait_until(lambda: ask().status_code == 503)
        refused = ask()
        assert refused.json()["error"]["code"] == "ledger_full" and "retry-after" in refused.headers
        assert metric_of(server, "penstock_records_dropped_total", stream="ledger") == 0
    assert metric_of(server, "penstock_records_failing", stream="ledger") == 1
    limit_file_sizes(server, resource.RLIM_INFINITY)
    wait_until(lambda: metric_of(server, "penstock_ledger_waiting_rows") == 0)
    wait_until(lambda: ask().status_code == 200)
    server.stop()
    (row,) = usage(verb, server, "--by", "model")
    assert int(row["requests"]) == sum(answered) - (4 if policy == "continue" else 0)


def test_an_audit_log_that_cannot_be_written_refuses_reloads(start, folder, verb):
    server = start()
    before = (folder / "audit.log").read_bytes()
    path = pathlib.Path(server.config)
    path.write_text(path.read_text().replace("drain_timeout: 10s", "drain_timeout: 9s"))
    limit_file_sizes(server, 1)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: metric_of(server, "penstock_config_reloads_total", result="failure") == 1)
    assert (folder / "audit.log").read_bytes() == before
    limit_file_sizes(server, resource.RLIM_INFINITY)
    server.stop()
    assert verb(server, "audit", "verify").returncode == 0


def test_keys_that_are_made_and_ended_are_in_the_audit_log(start, folder, verb, penstock_binary):
    server = start()

    def keys(action, *flags):
        return subprocess.run([penstock_binary, "keys", action, server.config, *flags], capture_output=True, text=True, timeout=60)

    made = keys("create", "--name", "one", "--organisation", "acme")
    assert made.returncode == 0, made.stderr
    id, secret = (line.split(": ")[1] for line in made.stdout.splitlines())
    assert keys("rotate", "--id", id).returncode == 0 and keys("revoke", "--id", id).returncode == 0
    lines = [line for line in lines_of(folder / "audit.log") if line["action"].startswith("key.")]
    assert [(line["action"], line["object"]) for line in lines] == [("key.create", id), ("key.rotate", id), ("key.revoke", id)]
    assert secret not in (folder / "audit.log").read_text()
    limit = "import resource, os, sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
            "resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]), resource.RLIM_INFINITY)); " \
            "os.execv(sys.argv[2], sys.argv[2:])"
    refused = subprocess.run(["python3", "-c", limit, str(folder / "audit.log"), str(penstock_binary), "keys", "create",
                              str(server.config), "--name", "two"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "key: " not in refused.stdout
    states = {row["name"]: row["state"] for row in map(json.loads, keys("list").stdout.splitlines())}
    assert states.get("two") in (None, "revoked")
    server.stop()
    assert verb(server, "audit", "verify").returncode == 0


def test_the_admin_listener_answers_what_the_verb_answers(start, folder, verb):
    server = start(("    max_model_len: 1024", "    max_model_len: 1024\n    price: {input: 2, output: 8}"))
    used = complete(server).json()["usage"]
    wait_until(lambda: usage(verb, server))
    (row,) = httpx.get(server.admin_url + "/admin/usage?by=key,model").json()["data"]
    assert (row["key"], row["model"], row["requests"], row["failures"]) == ("robot", "smollm2", 1, 0)
    assert row["cost"] == pytest.approx((2 * used["prompt_tokens"] + 8 * used["completion_tokens"]) / 1e6, rel=1e-9)
    text = httpx.get(server.admin_url + "/admin/usage?format=csv&organisation=acme")
    assert list(csv.DictReader(io.StringIO(text.text))) == usage(verb, server)
    assert httpx.get(server.admin_url + "/admin/usage?organisation=other").json()["data"] == []
    for wrong in ("by=week", "from=yesterday", "what=1", "by"):
        assert httpx.get(server.admin_url + "/admin/usage?" + wrong).status_code == 400, wrong
    server.stop()
    assert any(line["action"] == "admin.call" and line["object"] == "GET /admin/usage" for line in lines_of(folder / "audit.log"))
