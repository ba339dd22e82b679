"""Whatever becomes of a request, it is one row of the ledger and is paid once, to the token that its client has had."""
import concurrent.futures
import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import threading

import httpx
import pytest

from support.observe import wait_until

pytestmark = pytest.mark.edge

KEY = "sk-once-0123456789abcdef0123456789abcdef01"
HEADERS = {"authorization": f"Bearer {KEY}"}
INPUT, CACHED, OUTPUT = 2000, 500, 6000  # thousand-millionths a token
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
upstream:
  retries: RETRIES
state:
  database: FOLDER/state.db
records:
  interval: 10ms
auth:
  keys:
    - {name: tenant, organisation: acme, sha256: SHA}
tenants:
  budgets:
    - {organisation: acme, amount: 1000}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
    replicas: 2
    price: {input: 2, cached_input: 0.5, output: 6}
""".replace("SHA", hashlib.sha256(KEY.encode()).hexdigest())


@pytest.fixture
def start(start_gateway, tmp_path):
    def run(retries=2):
        server = start_gateway(CONFIG.replace("FOLDER", str(tmp_path)).replace("RETRIES", str(retries)))
        wait_until(lambda: all(each["state"] == "ready" for each in server.replicas()))
        return server
    return run


def ask(server, prompt, tokens):
    """A stream whose every event tells what it has cost so far; for `with`."""
    body = {"model": "smollm2", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    return httpx.stream("POST", server.url + "/v1/completions", headers=HEADERS, json=body, timeout=120)


def told(line):
    """The usage that an event tells; None: none."""
    return json.loads(line.removeprefix("data: ")).get("usage") if line.startswith("data: {") else None


class Reader(threading.Thread):
    """Reads a stream to its end, whatever that is; knows the last usage that it was told."""

    def __init__(self, server, prompt, tokens):
        super().__init__(daemon=True)
        self.server, self.prompt, self.tokens = server, prompt, tokens
        self.usage, self.has_error, self.is_done, self.has_begun = None, False, False, threading.Event()
        self.start()

    def run(self):
        with ask(self.server, self.prompt, self.tokens) as answer:
            for line in answer.iter_lines():
                self.usage = told(line) or self.usage
                self.has_error |= '"error"' in line
                self.is_done |= line == "data: [DONE]"
                if self.usage:
                    self.has_begun.set()


def rows_of(folder):
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM requests")]


def spent(folder):
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)) as database:
        return sum(row[0] for row in database.execute("SELECT nano FROM spent WHERE subject = 'organisation acme'"))


def cost_of(row):
    return (row["prompt_tokens"] - row["cached_tokens"]) * INPUT + row["cached_tokens"] * CACHED + row["completion_tokens"] * OUTPUT


def check_books(folder, count):
    """So many rows, each with the cost of its tokens, and the budget has paid them and nothing else."""
    rows = wait_until(lambda: (rows := rows_of(folder)) and len(rows) == count and rows)
    assert all(row["cost_nano"] == cost_of(row) for row in rows)
    wait_until(lambda: spent(folder) == sum(row["cost_nano"] for row in rows), what=f"{spent(folder)} to be the sum of {rows}")
    return rows


def lose_replica_of(server, reader):
    """Kills the replica that generates for it."""
    assert reader.has_begun.wait(60)
    busy = wait_until(lambda: [each for each in server.replicas() if each["outstanding"] > 0])
    os.kill(busy[0]["pid"], signal.SIGKILL)
    reader.join(120)
    assert not reader.is_alive()


def test_a_stream_that_goes_on_elsewhere_is_paid_once(start, tmp_path):
    server = start()
    reader = Reader(server, "The longest river of", 600)
    lose_replica_of(server, reader)
    assert reader.is_done and not reader.has_error
    (row,) = check_books(tmp_path, 1)
    assert row["retries"] == 1 and row["completion_tokens"] == reader.usage["completion_tokens"] == 600
    assert row["prompt_tokens"] == reader.usage["prompt_tokens"] and row["finish"] == "length" and row["status"] == 200
    # The second replica's time comes to the first one's.
    assert row["busy_ns"] > 0


def test_a_stream_that_breaks_off_pays_what_its_client_has_had(start, tmp_path):
    server = start(retries=0)
    reader = Reader(server, "The longest river of", 600)
    lose_replica_of(server, reader)
    assert reader.has_error and not reader.is_done
    (row,) = check_books(tmp_path, 1)
    assert 0 < row["completion_tokens"] == reader.usage["completion_tokens"] < 600
    assert row["status"] == 502 and row["error_code"] == "replica_lost" and row["finish"] == ""


def test_a_request_that_is_sent_again_pays_one_prompt(start, tmp_path):
    """Both replicas are stopped, so that it lies with one of them and has said nothing when that one is killed."""
    server = start()
    before = server.replicas()
    for each in before:
        os.kill(each["pid"], signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        body = {"model": "smollm2", "prompt": "One river", "max_tokens": 5, "ignore_eos": True}
        answer = pool.submit(httpx.post, server.url + "/v1/completions", headers=HEADERS, json=body, timeout=120)
        has_it = wait_until(lambda: [each for each in server.replicas() if each["outstanding"] > 0])[0]
        for each in before:
            os.kill(each["pid"], signal.SIGKILL if each["index"] == has_it["index"] else signal.SIGCONT)
        usage = answer.result().json()["usage"]
    (row,) = check_books(tmp_path, 1)
    assert row["retries"] == 1 and row["replica"] != has_it["index"]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])


def test_clients_that_leave_pay_what_was_sent_to_them(start, tmp_path):
    server = start()
    count = 24

    def leave(number):
        """What the client had seen when it left; all of it where it stays."""
        usage = None
        with ask(server, f"{number} rivers", 60) as answer:
            for line in answer.iter_lines():
                usage = told(line) or usage
                if number % 3 > 0 and usage and usage["completion_tokens"] >= number:
                    break
        return usage["completion_tokens"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(leave, range(count)))
    rows = check_books(tmp_path, count)
    # Rows have no order of their own: each client has had no more than one of them tells, the whole answers have all.
    booked = sorted(row["completion_tokens"] for row in rows)
    assert all(had <= paid <= 60 for had, paid in zip(sorted(seen), booked, strict=True))
    assert booked.count(60) >= seen.count(60) >= count // 3
    assert {row["status"] for row in rows} <= {200, 499}
