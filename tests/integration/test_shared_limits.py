"""Two gateways on one Redis: limits are theirs together, within one share each; Redis or a gateway may go."""
import concurrent.futures
import hashlib
import os
import pathlib
import subprocess
import threading
import time

import httpx
import openai
import pytest

from support.observe import metric_of, wait_until
from support.state_servers import PASSWORD, Redis

pytestmark = pytest.mark.edge

NAMES = ("burst", "tokens", "running", "steady", "alone", "back")
KEYS = {name: f"sk-{name}-0123456789abcdef0123456789abcdef" for name in NAMES}
LIMIT, SHARE, LEASE_S = 60, 0.1, 2


def key_row(name):
    return f"    - {{name: {name}, sha256: {hashlib.sha256(KEYS[name].encode()).hexdigest()}}}\n"


CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  keys:
""" + "".join(map(key_row, NAMES)) + """
state:
  redis: REDIS
  redis_password_env: SECRET_OF_REDIS
  share: 0.1
  lease: 2s
tenants:
  expected_output_tokens: 20
  limits:
    - {key: "burst alone back", requests_per_minute: 60}
    - {key: tokens, tokens_per_day: 2000}
    - {key: running, concurrent_requests: 1}
    - {key: steady, requests_per_minute: 1000000, concurrent_requests: 1000}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""
ENVIRONMENT = {"SECRET_OF_REDIS": PASSWORD}


@pytest.fixture(scope="module")
def redis():
    server = Redis()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def start(module_servers, redis):
    def start_one():
        return module_servers[0](CONFIG.replace("REDIS\n", redis.address + "\n", 1), environment=ENVIRONMENT)
    return start_one


def wait_for_gateways(redis, count):
    """Until so many are there and each of them knows that: it is told when it says, every second, that it lives."""
    def ends():
        words = redis.ask("ZRANGE", "penstock:gateways", "0", "-1", "WITHSCORES").split()
        return dict(zip(words[::2], map(float, words[1::2])))

    wait_until(lambda: len(ends()) == count, what=f"{count} gateways")
    before = max(ends().values())
    wait_until(lambda: len(ends()) == count and min(ends().values()) > before, what="each has been told")


@pytest.fixture(scope="module")
def pair(start, redis):
    servers = [start(), start()]
    wait_for_gateways(redis, 2)
    return servers


def is_away(server):
    return metric_of(server, "penstock_state_away", store="redis") == 1


def client_of(server, name):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEYS[name], max_retries=0, timeout=120)


def tokenize(client, server, name):
    return client.post(server.url + "/tokenize", json={"prompt": "a"}, headers={"authorization": f"Bearer {KEYS[name]}"})


def take_until_refused(server, name):
    """How many requests are let in. A refusal for the moment, until the others have been told, is asked again."""
    count = 0
    with httpx.Client(timeout=60) as client:
        while True:
            answer = tokenize(client, server, name)
            if answer.status_code == 200:
                count += 1
                continue
            assert answer.status_code == 429
            wait_ms = int(answer.headers["retry-after-ms"])
            if wait_ms > 500:
                return count
            time.sleep(wait_ms / 1000)


def taken_by(servers, name):
    """(requests let in, and what is earned back meanwhile at most)."""
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        count = sum(pool.map(lambda server: take_until_refused(server, name), servers))
    return count, LIMIT * (time.monotonic() - begin) / 60 + 1


def test_a_rate_is_shared_within_a_share_for_each(pair):
    count, earned = taken_by(pair * 2, "burst")
    assert count <= LIMIT + earned + 2 * LIMIT * SHARE
    assert count >= LIMIT * (1 - 2 * SHARE)


def test_each_is_told_what_the_other_has_used(pair):
    first, second = (client_of(server, "tokens") for server in pair)
    used = first.completions.create(model="smollm2", prompt="One, two,", max_tokens=100,
                                    extra_body={"ignore_eos": True}).usage.total_tokens
    assert used > 100

    def left():
        answer = httpx.post(pair[1].url + "/tokenize", json={"prompt": "a"}, timeout=60,
                            headers={"authorization": f"Bearer {KEYS['tokens']}"})
        return int(answer.headers["x-ratelimit-remaining-tokens"])

    # Settled to the token, and what a token's time is rounded to.
    wait_until(lambda: 0 <= left() - (2000 - used) <= 1, what="the second gateway knows")
    second.close()
    first.close()


def stream(server):
    """A running request; end it by closing."""
    return client_of(server, "running").completions.create(model="smollm2", prompt="One, two,", max_tokens=900, stream=True,
                                                           extra_body={"ignore_eos": True})


def may_run(server):
    try:
        client_of(server, "running").completions.create(model="smollm2", prompt="a", max_tokens=1)
        return True
    except openai.RateLimitError as error:
        assert "concurrent requests" in error.message
        return False


def hold(server, stop):
    """Keeps one request running on the server: another follows each that has ended."""
    while not stop.is_set():
        try:
            with stream(server) as events:
                for _ in events:
                    if stop.is_set():
                        return
        except openai.RateLimitError:
            time.sleep(0.02)
        except (openai.OpenAIError, httpx.HTTPError):  # httpx': in the middle of a stream
            if not server.is_running():
                return
            raise


def test_what_a_killed_gateway_ran_comes_free(start, redis, pair):
    stop = threading.Event()
    holder = threading.Thread(target=hold, args=(pair[0], stop))
    holder.start()
    try:
        wait_until(lambda: not may_run(pair[1]), what="the second gateway knows what the first runs")
        pair[0].kill()
        wait_until(lambda: may_run(pair[1]), what="the first one's lease has ended")
    finally:
        stop.set()
        holder.join(120)
    wait_for_gateways(redis, 1)
    pair[0] = start()
    wait_for_gateways(redis, 2)


def test_redis_may_go_and_come_back(redis, pair):
    """Nobody's request fails for it, each gateway goes on with its half, and limits are shared again afterwards."""
    stop, failures, counts = threading.Event(), [], [0, 0]

    def load(index):
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                status = tokenize(client, pair[index], "steady").status_code
                counts[index] += 1
                if status != 200:
                    failures.append(status)

    def more():
        seen = list(counts)
        wait_until(lambda: all(now > before + 20 for now, before in zip(counts, seen)), what="more answers")

    threads = [threading.Thread(target=load, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    try:
        more()
        redis.stop()
        wait_until(lambda: all(is_away(server) for server in pair), what="both have noticed")
        more()
        count, earned = taken_by(pair[:1], "alone")
        assert LIMIT / 2 <= count <= LIMIT / 2 + earned
        redis.start()
        wait_until(lambda: not any(is_away(server) for server in pair), what="both are back")
        more()
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert failures == []
    assert all("goes on with one of 2 parts of each limit" in server.log_text() for server in pair)
    wait_for_gateways(redis, 2)
    count, earned = taken_by(pair, "back")
    assert LIMIT * (1 - 2 * SHARE) <= count <= LIMIT + earned + 2 * LIMIT * SHARE


def test_check_tells_what_is_wrong_and_where(penstock_binary, redis, pair, tmp_path):
    def check(text, secret=PASSWORD):
        config = tmp_path / "changed.yaml"
        config.write_text(text)
        return subprocess.run([penstock_binary, "check", config], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "SECRET_OF_REDIS": secret})

    text = pathlib.Path(pair[0].config).read_text()
    line = next(i for i, words in enumerate(text.splitlines(), 1) if words.startswith("  redis:"))
    good = check(text)
    assert good.returncode == 0 and "Redis answers" in good.stdout, good.stderr
    for told, words in ((check(text, "wrong"), "WRONGPASS"),
                        (check(text.replace(redis.address, "unix:/nowhere")), "No such file"),
                        (check(text.replace(redis.address, "redis://localhost:none")), "is no address of Redis")):
        assert told.returncode == 1
        assert f"changed.yaml:{line}:10: error: " in told.stderr and words in told.stderr, told.stderr


@pytest.mark.parametrize("name", ["limit_store_test"])
def test_unit_tests_pass_on_redis(penstock_binary, redis, name):
    path = pathlib.Path(os.environ.get("PENSTOCK_BUILD_DIR", penstock_binary.parent)) / name
    result = subprocess.run([path], capture_output=True, text=True, timeout=120,
                            env={**os.environ, "PENSTOCK_TEST_REDIS": redis.address, "PENSTOCK_TEST_REDIS_PASSWORD": PASSWORD})
    assert result.returncode == 0, result.stdout + result.stderr
