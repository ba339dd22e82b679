"""What replicas' time went to, by minutes and hours, and what is unusual: /admin/history and /admin/anomalies of a gateway whose
models are one of its own and one elsewhere that fails."""
import http.server
import math
import signal
import sqlite3
import threading
import time

import httpx
import pytest

from support.observe import samples_of, wait_until

STATES = {"busy_prefill", "busy_decode", "waiting_kv", "cold_start", "held_by_limits", "fragmentation", "idle_no_traffic", "broken"}
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
upstream: {breaker_failures: 0}
observability:
  history: {file: FOLDER/history.sqlite, interval: 200ms}
  anomalies: {window: 1s, requests_min: 5}
tenants:
  limits:
    - {model: limited, requests_per_minute: 1}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
    price: {input: 1, output: 2}
  - name: failing
    upstream: {url: "UPSTREAM", model: m}
  - name: limited
    upstream: {url: "UPSTREAM", model: m}
"""


class Failing(http.server.BaseHTTPRequestHandler):
    """An OpenAI server whose every answer is an error."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def failing_url():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def past_make(path):
    """What the anomaly detection has seen in the last minutes: no errors."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE signals (window INTEGER NOT NULL, start INTEGER NOT NULL, model TEXT NOT NULL, signal TEXT NOT "
                     "NULL, value REAL NOT NULL, PRIMARY KEY (window, start, model, signal)) WITHOUT ROWID")
    now = int(time.time())
    database.executemany("INSERT INTO signals VALUES (1, ?, 'failing', 'error_rate', ?)",
                         [(now - 100 + i, 0.01 * (i % 3)) for i in range(100)])
    database.commit()
    database.close()


@pytest.fixture(scope="module")
def gateway(module_servers, tmp_path_factory, failing_url):
    folder = tmp_path_factory.mktemp("history")
    past_make(folder / "history.sqlite")
    server = module_servers[0](CONFIG.replace("FOLDER", str(folder)).replace("UPSTREAM", failing_url))
    server.folder = folder
    return server


def ask(server, model="smollm2", **body):
    return httpx.post(server.url + "/v1/completions", json={"model": model, "prompt": "One two three", "max_tokens": 8, **body},
                      timeout=60)


def history(server, **words):
    answer = httpx.get(server.admin_url + "/admin/history", params=words, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def total(server, model, key, **words):
    return sum(row[key] for row in history(server, model=model, **words)["rows"])


def test_time_of_replicas_has_one_cause_each_and_adds_up(gateway):
    began = time.time()
    for _ in range(3):
        assert ask(gateway, stream=True, ignore_eos=True, max_tokens=32).status_code == 200
    rows = wait_until(lambda: [row for row in history(gateway, step="hour", model="smollm2")["rows"] if row["requests"] >= 3])
    row = rows[-1]
    assert set(row["states"]) == STATES
    assert math.isclose(sum(row["states"].values()), row["replica_seconds"], rel_tol=1e-9)
    assert row["states"]["busy_decode"] > 0 and row["states"]["cold_start"] > 0
    assert row["output_tokens"] >= 96 and row["prompt_tokens"] > 0 and row["cost"] > 0
    assert row["ttft"]["p50"] <= row["ttft"]["p99"] < 60 and row["inter_token"]["p50"] > 0
    assert "replicas on average" in row["words"] and "requests" in row["words"]
    # One replica: its seconds are those that have passed, whatever they went to.
    first = total(gateway, "smollm2", "replica_seconds")
    later = wait_until(lambda: (lambda seconds: seconds if seconds > first + 1 else 0)(total(gateway, "smollm2", "replica_seconds")))
    assert later - first <= time.time() - began + 5


def test_minutes_and_hours_and_days_agree(gateway):
    ask(gateway)
    wait_until(lambda: total(gateway, "smollm2", "requests") >= 1)

    def sums():
        return [total(gateway, "smollm2", "requests", step=step, to=int(time.time()) + 1) for step in ("minute", "hour", "day")]
    wait_until(lambda: len(set(sums())) == 1, what="the same requests by minutes, hours and days")
    assert history(gateway, step="minute", model="none")["rows"] == []


def test_the_whole_gateway_is_the_sum_of_its_models(gateway):
    answer = wait_until(lambda: (lambda a: a if a["free_slices"] else None)(history(gateway, step="hour")))
    by_start = {row["start"]: row["replica_seconds"] for row in answer["total"]}
    for start, seconds in by_start.items():
        assert math.isclose(seconds, sum(row["replica_seconds"] for row in answer["rows"] if row["start"] == start), rel_tol=1e-9)


def test_refusals_of_limits_are_told_apart_from_failures(gateway):
    codes = [ask(gateway, "limited").status_code for _ in range(3)]
    assert codes.count(429) == 2
    wait_until(lambda: total(gateway, "limited", "refused") == 2)
    assert total(gateway, "limited", "requests") == 3
    assert total(gateway, "limited", "errors") == 1


def test_metrics_have_the_same_seconds(gateway):
    for state in STATES:
        assert samples_of(gateway, "penstock_slice_state_seconds_total", model="smollm2", state=state)
    metric = sum(samples_of(gateway, "penstock_slice_state_seconds_total", model="smollm2"))
    wait_until(lambda: total(gateway, "smollm2", "replica_seconds") >= metric * 0.99)


def anomaly(server, model, signal):
    answer = httpx.get(server.admin_url + "/admin/anomalies", timeout=30).json()
    return next((row for row in answer["anomalies"] if row["model"] == model and row["signal"] == signal), None)


def test_failures_where_none_were_are_an_anomaly(gateway):
    def row():
        ask(gateway, "failing")
        ask(gateway, "failing")
        found = anomaly(gateway, "failing", "error_rate")
        return found if found and found["anomalous"] else None
    found = wait_until(row)
    assert found["value"] > 0.9 and found["expected"] < 0.01 and found["score"] > 6 and found["since"] <= time.time()
    assert samples_of(gateway, "penstock_anomaly", model="failing", signal="error_rate") == [1]
    assert samples_of(gateway, "penstock_anomaly_score", model="failing", signal="error_rate")[0] > 3
    assert "model failing: error_rate is unusual" in gateway.log_text()


@pytest.mark.parametrize("query, word", [("step=week", "step"), ("from=tomorrow", "from"), ("from=20&to=10", "before"),
                                         ("colour=red", "model"), ("to=2025-02-31", "to")])
def test_bad_questions_are_told_what_is_wrong(gateway, query, word):
    answer = httpx.get(gateway.admin_url + "/admin/history?" + query)
    assert answer.status_code == 400 and word in answer.json()["error"]["message"]


def test_an_upgrade_goes_on_with_the_same_file(gateway):
    wait_until(lambda: total(gateway, "smollm2", "requests") >= 4)
    before = total(gateway, "smollm2", "requests")
    gateway.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: "has taken over" in gateway.log_text(), what="the next gateway")
    assert ask(gateway).status_code == 200
    wait_until(lambda: total(gateway, "smollm2", "requests") >= before + 1)
    rows = sqlite3.connect(f"file:{gateway.folder}/history.sqlite?mode=ro", uri=True).execute(
        "SELECT sum(requests) FROM history WHERE step = 3600 AND model = 'smollm2'").fetchone()
    assert rows[0] >= before + 1
