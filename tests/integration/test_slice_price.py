"""Prices from the time of slices: what requests pay adds up to the time that their replicas were busy, and idle time is told
apart or paid once."""
import concurrent.futures
import csv
import hashlib
import io
import json
import subprocess
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.observe import metric_of, wait_until

pytestmark = pytest.mark.edge

SECRET = "sk-slices-0123456789abcdef0123456789abcdef"
HEADERS = {"authorization": f"Bearer {SECRET}"}
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
state:
  database: FOLDER/state.db
records:
  access_log: FOLDER/access.log
  interval: 10ms
auth:
  keys:
    - {name: tenant, organisation: acme, sha256: """ + hashlib.sha256(SECRET.encode()).hexdigest() + """}
BUDGETS
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
    replicas: REPLICAS
    price: {slice_hour: 3600IDLE}
"""  # a second of a slice costs 1


@pytest.fixture
def start(start_gateway, tmp_path):
    def run(replicas=1, idle="", budgets=""):
        text = CONFIG.replace("FOLDER", str(tmp_path)).replace("REPLICAS", str(replicas)).replace("IDLE", idle)
        server = start_gateway(text.replace("BUDGETS", budgets))
        wait_until(lambda: all(each["state"] == "ready" for each in server.replicas()))
        return server
    return run


def seen_at_once(server):
    """The slices' metrics of one scrape: idle time runs on."""
    families = text_string_to_metric_families(httpx.get(server.admin_url + "/metrics", timeout=30).text)
    return {sample.name: sample.value for family in families for sample in family.samples if sample.name.startswith("penstock_slice")}


def complete(server, prompt, tokens, **fields):
    return httpx.post(server.url + "/v1/completions", headers=HEADERS, timeout=120,
                      json={"model": "smollm2", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, **fields})


def ask(server, number):
    """Requests of all kinds: long and short, streamed and whole, one answer and several, embeddings."""
    prompt = f"{number} rivers and " + "the water " * (number * 7 % 60)
    if number % 4 == 3:
        answer = httpx.post(server.url + "/v1/embeddings", headers=HEADERS, timeout=120, json={"model": "smollm2", "input": [prompt] * 3})
    else:
        answer = complete(server, prompt, 5 + number * 3 % 20, stream=number % 2 == 0, n=1 + number % 3, temperature=1)
    assert answer.status_code == 200, answer.text


def ledger(server, penstock_binary):
    result = subprocess.run([penstock_binary, "usage", "--by", "model", "--format", "csv", server.config], capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    return rows[0] if rows else {"requests": "0", "busy_seconds": "0", "cost": "0"}


def quiet_busy(server):
    """Once nothing is computed any more: the same time twice, and no request on a replica."""
    last = [None]

    def is_quiet():
        now = metric_of(server, "penstock_slice_busy_seconds_total")
        before, last[0] = last[0], now
        return now == before and all(each["outstanding"] == 0 for each in server.replicas())

    wait_until(is_quiet)
    return last[0]


def test_what_requests_pay_is_the_time_that_was_busy(start, penstock_binary, tmp_path):
    server = start(replicas=2)
    complete(server, "warm", 2)
    wait_until(lambda: ledger(server, penstock_binary)["requests"] == "1")
    before, paid_before = quiet_busy(server), float(ledger(server, penstock_binary)["cost"])
    count = 40
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ask(server, number), range(count)))
    row = wait_until(lambda: (row := ledger(server, penstock_binary))["requests"] == str(count + 1) and row)
    busy = quiet_busy(server) - before
    paid = float(row["cost"]) - paid_before
    # Each request is rounded up to a thousand-millionth; metrics are doubles.
    assert busy > 0.05 and -1e-7 <= paid - busy <= count * 1e-9 + 1e-7, (paid, busy)
    assert float(row["cost"]) == pytest.approx(float(row["busy_seconds"]), abs=count * 1e-9 + 1e-7)
    assert metric_of(server, "penstock_request_cost_total") == pytest.approx(float(row["cost"]), abs=1e-7)
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    lines = [line for line in lines if line["route"] in ("/v1/completions", "/v1/embeddings")]
    assert len(lines) == count + 1 and all(line["cost"] > 0 and line["busy_ms"] > 0 for line in lines)
    assert {line.get("finish_reason") for line in lines if line["route"] == "/v1/completions"} == {"length"}


def test_idle_time_is_paid_once_where_it_is_spread(start, penstock_binary):
    server = start(idle=", idle_factor_max: 3")
    time.sleep(0.5)  # some time of its own, which the requests below are to pay
    for number in range(3):
        ask(server, number * 4)
    row = wait_until(lambda: (row := ledger(server, penstock_binary))["requests"] == "3" and row)
    cost, busy = float(row["cost"]), float(row["busy_seconds"])
    seen = seen_at_once(server)
    assert busy < cost <= 3 * busy + 1e-7
    # What is not paid of the idle time is told; all together is what the slice has cost since the start.
    assert cost - busy == pytest.approx(seen["penstock_slice_idle_seconds"] - seen["penstock_slice_idle_cost"], abs=1e-6)


def test_idle_time_is_told_apart_where_it_is_not_spread(start, penstock_binary):
    server = start()
    ask(server, 1)
    row = wait_until(lambda: (row := ledger(server, penstock_binary))["requests"] == "1" and row)
    seen = seen_at_once(server)
    assert float(row["cost"]) == pytest.approx(float(row["busy_seconds"]), abs=1e-7)
    assert seen["penstock_slice_idle_cost"] == pytest.approx(seen["penstock_slice_idle_seconds"], abs=1e-6)
    later = seen_at_once(server)
    assert later["penstock_slice_idle_seconds"] > seen["penstock_slice_idle_seconds"]


def test_a_budget_reserves_by_what_tokens_have_cost(start, penstock_binary):
    server = start(budgets="""tenants:
  budgets:
    - {organisation: acme, amount: 1000}
""")
    assert complete(server, "one", 8).status_code == 200
    cost = float(wait_until(lambda: (row := ledger(server, penstock_binary))["requests"] == "1" and row)["cost"])
    text = server.config.read_text()
    # Room for a few requests like that one, and none for a hundred times its tokens.
    server.config.write_text(text.replace("amount: 1000", f"amount: {cost * 20:.9f}"))
    server.process.send_signal(1)
    wait_until(lambda: "reload: done" in server.log_text())
    refused = complete(server, "two", 1000)
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "insufficient_quota", refused.text
    assert complete(server, "one", 8).status_code == 200
