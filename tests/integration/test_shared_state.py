"""Two gateways on one PostgreSQL: keys, ledger, budgets and the lead are theirs together; either may be killed."""
import collections
import concurrent.futures
import os
import pathlib
import subprocess
import threading

import httpx
import openai
import pytest

from support.observe import metric_of, wait_until
from support.state_servers import PASSWORD, Postgres

pytestmark = pytest.mark.edge

PRICE = 10_000  # thousand-millionths a token of output; input is free
SHARE = 0.05
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
state:
  postgres: POSTGRES
  postgres_password_file: PASSWORD_FILE
  spool: SPOOL
  share: 0.05
  lease: 2s
records:
  interval: 20ms
tenants:
  budgets:
    - {per: organisation, organisation: "thrifty*", amount: 0.004}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    price: {input: 0, output: 10}
"""


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.close()


def config_for(postgres, spool):
    spool.mkdir(exist_ok=True)
    return CONFIG.replace("POSTGRES", postgres.uri).replace("PASSWORD_FILE", str(postgres.password_file)).replace(
        "SPOOL", str(spool))


@pytest.fixture(scope="module")
def spools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spools")
    return [folder / name for name in ("a", "b")]


@pytest.fixture(scope="module")
def pair(module_servers, postgres, spools):
    return [module_servers[0](config_for(postgres, spool)) for spool in spools]


def penstock(binary, *arguments):
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def make_key(penstock_binary, pair):
    """(id, secret) of a new key, made through the first gateway's config and known to both."""
    def make(name, organisation=""):
        made = penstock(penstock_binary, "keys", "create", pair[0].config, "--name", name, "--organisation", organisation)
        assert made.returncode == 0, made.stderr
        id, secret = (line.split(": ")[1] for line in made.stdout.splitlines())
        wait_until(lambda: all(is_known(server, secret) for server in pair), what="both know the key")
        return id, secret
    return make


def is_known(server, secret):
    return httpx.get(server.url + "/v1/models", headers={"authorization": f"Bearer {secret}"}, timeout=60).status_code == 200


def complete(server, secret, max_tokens=2, max_retries=0):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=secret, max_retries=max_retries, timeout=120)
    with client:
        return client.completions.create(model="smollm2", prompt="One, two,", max_tokens=max_tokens,
                                         extra_body={"ignore_eos": True}).usage.completion_tokens


def ledger_count(postgres, id):
    return postgres.number(f"SELECT count(*) FROM penstock.requests WHERE key_id = '{id}' AND status = 200")


def test_a_key_is_good_on_both_and_dies_on_both(penstock_binary, pair, make_key):
    id, secret = make_key("both")
    for server in pair:
        assert complete(server, secret) == 2
    assert penstock(penstock_binary, "keys", "revoke", pair[1].config, "--id", id).returncode == 0
    wait_until(lambda: not any(is_known(server, secret) for server in pair), what="the key is dead on both")
    assert '"state": "revoked"' in penstock(penstock_binary, "keys", "list", pair[0].config).stdout


def test_the_ledger_has_what_both_have_served(penstock_binary, postgres, pair, make_key):
    id, secret = make_key("ledger", "books")
    for server in (*pair, pair[0]):
        complete(server, secret)
    wait_until(lambda: ledger_count(postgres, id) == 3, what="three rows")
    for server in pair:
        usage = penstock(penstock_binary, "usage", server.config, "--by", "organisation", "--organisation", "books",
                         "--format", "csv")
        assert usage.returncode == 0, usage.stderr
        header, row = (line.split(",") for line in usage.stdout.split())
        assert dict(zip(header, row))["requests"] == "3" and dict(zip(header, row))["completion_tokens"] == "6"


def test_one_leads(pair):
    wait_until(lambda: sum(metric_of(server, "penstock_leader") for server in pair) == 1, what="one leads")


def spend_until_refused(server, secret, counts):
    """Requests of 10 tokens, one after the other; a refusal that passes is asked again by the client."""
    while True:
        try:
            counts["tokens"] += complete(server, secret, max_tokens=10, max_retries=20)
        except openai.RateLimitError as error:
            assert error.code == "insufficient_quota"
            return


def test_a_budget_is_spent_once(postgres, pair, make_key):
    _, secret = make_key("spender", "thrifty-1")
    amount = 4_000_000
    counts = [collections.Counter() for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda i: spend_until_refused(pair[i % 2], secret, counts[i]), range(4)))
    spent = sum(count["tokens"] for count in counts) * PRICE
    request = 10 * PRICE
    assert spent <= amount + 2 * (SHARE * amount + request), "one share and one request for each gateway"
    # What is left is less than what a gateway may hold for requests to come, and one request.
    assert spent >= amount - 2 * (SHARE * amount + request)
    total = "SELECT sum(nano) FROM penstock.spent WHERE subject = 'organisation thrifty-1'"
    wait_until(lambda: postgres.number(total) == spent, what="the database has all of it")


class Load:
    """Requests without end on some servers, from threads; those that fail are kept."""

    def __init__(self, servers, secret):
        self.servers, self.secret = servers, secret
        self.good, self.failures, self.is_over = collections.Counter(), [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(server,)) for server in servers]

    def run(self, server):
        while not self.is_over.is_set():
            try:
                complete(server, self.secret)
                self.good[server.name] += 1
            except openai.OpenAIError as error:
                self.failures.append((server.name, repr(error)))
                if not server.is_running():
                    return

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_for_more()
        return self

    def wait_for_more(self, count=3):
        """Until every server that runs has answered so many more."""
        wanted = {server.name: self.good[server.name] + count for server in self.servers if server.is_running()}
        wait_until(lambda: all(self.good[name] >= number for name, number in wanted.items()), what="more answers")

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join(120)


def test_a_restart_of_postgresql_fails_no_request_and_loses_no_row(postgres, pair, make_key):
    id, secret = make_key("steady", "books")
    with Load(pair, secret) as load:
        postgres.stop()
        wait_until(lambda: all(metric_of(server, "penstock_state_away") for server in pair), what="both have noticed")
        load.wait_for_more()
        postgres.start()
        wait_until(lambda: not any(metric_of(server, "penstock_state_away") for server in pair), what="both are back")
        load.wait_for_more()
    assert load.failures == []
    wait_until(lambda: ledger_count(postgres, id) == sum(load.good.values()), what="all rows, each once")
    _, after = make_key("after-the-restart")
    assert all(is_known(server, after) for server in pair)


def test_a_key_revoked_while_postgresql_was_restarted_dies(penstock_binary, postgres, pair, make_key):
    id, secret = make_key("short")
    postgres.stop()
    assert all(is_known(server, secret) for server in pair), "known keys go on"
    postgres.start()
    assert penstock(penstock_binary, "keys", "revoke", pair[0].config, "--id", id).returncode == 0
    wait_until(lambda: not any(is_known(server, secret) for server in pair), what="the key is dead on both")


def test_a_start_waits_for_postgresql(penstock_binary, postgres, start_gateway, pair, tmp_path):
    postgres.stop()
    try:
        server = start_gateway(config_for(postgres, tmp_path / "spool"), wait=False)
        wait_until(lambda: "it is tried again until it answers" in server.log_text(), what="it says that it waits")
        assert server.is_running()
    finally:
        postgres.start()
    server.wait_until_ready()
    assert server.stop() == 0


def test_a_start_that_waits_can_be_ended(postgres, start_gateway, tmp_path):
    text = config_for(postgres, tmp_path / "spool").replace(str(postgres.folder) + "\n", str(tmp_path) + "\n")
    server = start_gateway(text, wait=False)
    wait_until(lambda: "it is tried again until it answers" in server.log_text(), what="it says that it waits")
    assert server.stop() == 1
    assert "asked to end" in server.log_text()


def test_check_tells_what_is_wrong_and_where(penstock_binary, postgres, pair, tmp_path):
    good = penstock(penstock_binary, "check", pair[0].config)
    assert good.returncode == 0 and "PostgreSQL answers" in good.stdout, good.stderr
    lines = pathlib.Path(pair[0].config).read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.startswith("  postgres:"))
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    for change, words in (((str(postgres.password_file), str(wrong)), "password authentication failed"),
                          ((str(postgres.folder) + "\n", str(tmp_path) + "\n"), "No such file"),
                          (("/postgres?", "/nothing?"), '"nothing" does not exist'),
                          (("/postgres?", "/postgres?nonsense=1&"), "nonsense")):
        config = tmp_path / "wrong.yaml"
        config.write_text(pathlib.Path(pair[0].config).read_text().replace(*change))
        told = penstock(penstock_binary, "check", config)
        assert told.returncode == 1
        assert f"wrong.yaml:{line}:13: error: PostgreSQL: " in told.stderr and words in told.stderr, told.stderr
        assert PASSWORD not in told.stderr
    config.write_text(pathlib.Path(pair[0].config).read_text().replace("penstock@/", "penstock:secret@/"))
    assert "the URI has a password in it" in penstock(penstock_binary, "check", config).stderr


def test_killed_under_load_it_leaves_what_was_durable(module_servers, postgres, pair, spools, make_key):
    """The last test of the pair: its first gateway is killed, and started again on its spool."""
    id, secret = make_key("survivor", "thrifty-2")
    with Load(pair, secret) as load:
        postgres.stop()  # from here on rows wait in the spools
        load.wait_for_more()
        waiting = metric_of(pair[0], "penstock_ledger_waiting_rows")
        assert waiting > 0
        pair[0].kill()
        postgres.start()
        load.wait_for_more()
    assert {name for name, _ in load.failures} <= {pair[0].name}
    wait_until(lambda: metric_of(pair[1], "penstock_leader") == 1, what="the lead has moved")
    wait_until(lambda: ledger_count(postgres, id) >= load.good[pair[1].name], what="the other's rows")
    before = ledger_count(postgres, id)
    again = module_servers[0](config_for(postgres, spools[0]))
    # What the answers of before the kill were written down as, but for those of the last interval.
    wait_until(lambda: ledger_count(postgres, id) >= before + waiting, what="the rows of the spool")
    assert ledger_count(postgres, id) <= sum(load.good.values()) + 1, "and none twice"
    spent = "SELECT sum(nano) FROM penstock.spent WHERE subject = 'organisation thrifty-2'"
    cost = "SELECT sum(cost_nano) FROM penstock.requests WHERE organisation = 'thrifty-2'"
    wait_until(lambda: postgres.number(spent) >= postgres.number(cost), what="what was spent is in the budget")
    held = ("SELECT count(*) FROM penstock.spent WHERE subject = 'organisation thrifty-2'"
            " AND held_until_ms > extract(epoch FROM now()) * 1000 AND held_nano > nano")
    wait_until(lambda: postgres.number(held) == 0, what="nothing is held for ever")
    pair[0] = again
    assert complete(again, secret) == 2


@pytest.mark.parametrize("name", ["key_store_test", "ledger_test", "audit_log_test", "spend_share_test"])
def test_unit_tests_pass_on_postgresql_too(penstock_binary, name):
    """The same sources as in ctest, where they work on SQLite."""
    path = pathlib.Path(os.environ.get("PENSTOCK_BUILD_DIR", penstock_binary.parent)) / name
    own = Postgres()
    try:
        own.start()
        result = subprocess.run([path], capture_output=True, text=True, timeout=120,
                                env={**own.environment(), "PENSTOCK_TEST_POSTGRES": own.uri})
        assert result.returncode == 0, result.stdout + result.stderr
    finally:
        own.close()
