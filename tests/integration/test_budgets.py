"""Budgets in money: reserved before a request, paid after it, and kept whatever becomes of the gateway."""
import hashlib
import os
import pathlib
import signal
import sqlite3

import openai
import pytest

from support.observe import metric_of, wait_until

pytestmark = pytest.mark.edge

MESSAGES = [{"role": "user", "content": "Count from one to a hundred, in words."}]
NAMES = ("acme-a", "acme-b", "poor", "lost")
KEYS = {name: f"sk-{name}-0123456789abcdef0123456789abcdef" for name in NAMES}
INPUT, CACHED, OUTPUT = 2000, 500, 6000  # thousand-millionths a token


def key_row(name):
    return f"    - {{name: {name}, organisation: {name.split('-')[0]}, sha256: {hashlib.sha256(KEYS[name].encode()).hexdigest()}}}\n"


CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
state:
  database: DATABASE
auth:
  keys:
""" + "".join(map(key_row, NAMES)) + """
tenants:
  expected_output_tokens: 20
  budgets:
    - {organisation: acme, amount: 0.002}
    - {per: key, period: day, key: poor, amount: 0.0001}
    - {per: key, period: day, key: lost, amount: 100}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    price: {input: 2, cached_input: 0.5, output: 6}
"""


def client_of(server, name, **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEYS[name], **{"max_retries": 0, **options})


def cost_of(usage):
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    return (usage.prompt_tokens - cached) * INPUT + cached * CACHED + usage.completion_tokens * OUTPUT


def spent(path, subject):
    """What the database has."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT nano FROM spent WHERE subject = ?", (subject,)).fetchall()
    return sum(row[0] for row in rows)


def counted(server):
    """Requests for completions that have ended."""
    return metric_of(server, "penstock_requests_total", route="/v1/completions")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return pathlib.Path(tmp_path_factory.mktemp("budgets")) / "state.db"


@pytest.fixture(scope="module")
def server(module_servers, database):
    return module_servers[0](CONFIG.replace("DATABASE", str(database)))


def test_each_kind_of_answer_is_paid_to_the_token(server, database):
    client = client_of(server, "acme-a")
    expected = 0
    for stream in (False, True, True):
        options = dict(model="smollm2", messages=MESSAGES, max_tokens=12, temperature=0)
        if stream:
            usage = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))[-1].usage
        else:
            usage = client.chat.completions.create(**options).usage
        expected += cost_of(usage)
        wait_until(lambda: spent(database, "organisation acme") == expected)


def test_a_spent_budget_is_insufficient_quota_for_the_whole_organisation(server, database):
    with pytest.raises(openai.RateLimitError) as error:
        for _ in range(100):
            client_of(server, "acme-a", max_retries=3).completions.create(model="smollm2", prompt="a", max_tokens=30)
    assert error.value.code == "insufficient_quota" and error.value.type == "insufficient_quota"
    headers = error.value.response.headers
    assert headers["x-should-retry"] == "false" and int(headers["retry-after"]) > 0
    with pytest.raises(openai.RateLimitError):
        client_of(server, "acme-b").completions.create(model="smollm2", prompt="a", max_tokens=30)
    assert spent(database, "organisation acme") <= 2_000_000
    nano = wait_until(lambda: spent(database, "organisation acme") == round(metric_of(server, "penstock_tenant_cost_total", tenant="acme") * 1e9)
                      and spent(database, "organisation acme"))
    assert metric_of(server, "penstock_budget", tenant="acme") == 0.002
    assert round(metric_of(server, "penstock_budget_remaining", tenant="acme") * 1e9) == 2_000_000 - nano
    assert metric_of(server, "penstock_limit_refusals_total", tenant="acme", reason="budget") >= 2


def test_a_request_that_may_cost_more_than_is_left_is_refused(server):
    with pytest.raises(openai.RateLimitError) as error:
        client_of(server, "poor").completions.create(model="smollm2", prompt="a", max_tokens=900)
    assert error.value.code == "insufficient_quota" and "day's budget" in error.value.message
    assert client_of(server, "poor").completions.create(model="smollm2", prompt="a", max_tokens=2).choices


def test_a_killed_gateway_has_lost_no_settled_money(start_gateway, tmp_path):
    path = tmp_path / "state.db"
    server = start_gateway(CONFIG.replace("DATABASE", str(path)))
    expected = 0
    for _ in range(5):
        expected += cost_of(client_of(server, "lost").completions.create(model="smollm2", prompt="a b c", max_tokens=5).usage)
    # A request is counted after it has been settled.
    wait_until(lambda: counted(server) == 5)
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait(60)
    start_gateway(CONFIG.replace("DATABASE", str(path)))
    assert spent(path, "key lost") == expected


def test_two_gateways_do_not_share_a_database(server, start_gateway, database):
    other = start_gateway(CONFIG.replace("DATABASE", str(database)), wait=False)
    assert other.process.wait(60) != 0
    assert "in use by another gateway" in other.log_text()
