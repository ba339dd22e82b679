"""Long prompts beside running answers, and short ones behind long ones. Counters decide, never a clock."""
import concurrent.futures
import contextlib

from prometheus_client.parser import text_string_to_metric_families
from replica_client import MODEL, client_of, health, start_stream
from support.observe import wait_until

CONFIG = """
models:
  - name: smollm2
    path: {model}
    kv_cache_memory: 1GiB
"""
STREAMS = 4
PROMPT_TOKENS_MAX = 128  # beside answers; a step without any takes up to 512


@contextlib.contextmanager
def talking(server, count):
    """So many answers that go on until the end of the block."""
    body = {"model": MODEL, "max_tokens": 6000, "ignore_eos": True}
    streams = [start_stream(server, {**body, "messages": [{"role": "user", "content": f"Talker {number}"}]})
               for number in range(count)]
    wait_until(lambda: health(server)["running"] == count, what="running answers")
    try:
        yield
    finally:
        for connection, response, _ in streams:
            response.close()
            connection.close()


def ask(client, words, seed):
    """Reads a prompt of its own; returns its tokens."""
    prompt = " ".join(f"item{(seed * 7919 + i * 31) % 10007}" for i in range(words))
    return client.completions.create(model=MODEL, prompt=prompt, max_tokens=1).usage.prompt_tokens


def steps_with_answers(server):
    """{bound: steps in which answers grew, with at most so many prompt tokens}, of one moment."""
    families = text_string_to_metric_families(server.get("/metrics")[1].decode())
    return {float(sample.labels["le"]): sample.value for family in families for sample in family.samples
            if sample.name == "penstock_step_prompt_tokens_bucket"}


def test_a_long_prompt_comes_in_small_pieces_beside_running_answers(start_replica):
    server = start_replica(CONFIG)
    with talking(server, STREAMS):
        before = steps_with_answers(server)
        tokens = ask(client_of(server), 300, seed=1)
        after = steps_with_answers(server)
        assert health(server)["running"] == STREAMS
    steps = {bound: after[bound] - before[bound] for bound in after}
    assert tokens > 1000
    assert steps[PROMPT_TOKENS_MAX] == steps[float("inf")]
    assert steps[float("inf")] - steps[0] >= tokens / PROMPT_TOKENS_MAX


def test_a_short_prompt_does_not_wait_for_a_long_one(start_replica):
    server = start_replica(CONFIG)
    client = client_of(server)
    ask(client, 3, seed=4)  # its connection is open: on a busy machine that takes long
    with talking(server, 1), concurrent.futures.ThreadPoolExecutor() as pool:
        long_one = pool.submit(ask, client_of(server), 800, seed=2)
        wait_until(lambda: health(server)["running"] == 2, what="the long prompt in the batch")
        assert ask(client, 3, seed=3) < 40
        assert not long_one.done()
        assert long_one.result() > 2500
