"""Many streams, vanishing clients, slow readers, seeds under load, draining."""
import asyncio
import json
import signal
import socket
import time

from replica_client import MODEL, QUESTION, async_client_of, client_of, health, metric, post, start_stream
from support.observe import wait_until

LONG = {"model": MODEL, "messages": QUESTION, "max_tokens": 900, "ignore_eos": True}


def idle(server):
    state = health(server)
    return state.get("running") == 0 and state.get("waiting") == 0


async def test_200_concurrent_streams_all_end_well(replica):
    client = async_client_of(replica)

    async def one(number):
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Number {number}"}], max_tokens=8, stream=True,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True})
        chunks = [chunk async for chunk in stream]
        return chunks[-1].usage.completion_tokens, chunks[-2].choices[0].finish_reason

    results = await asyncio.gather(*(one(number) for number in range(200)))
    await client.close()
    assert results == [(8, "length")] * 200
    wait_until(lambda: idle(replica), what="an idle replica")


async def test_a_seed_gives_the_same_tokens_alone_and_under_load(replica):
    client = async_client_of(replica)

    async def tokens(seed):
        answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1, seed=seed,
                                                      max_tokens=24, extra_body={"return_token_ids": True})
        return answer.choices[0].model_extra["token_ids"]

    alone = await tokens(11)
    assert await tokens(11) == alone
    assert await tokens(12) != alone
    noise = [asyncio.create_task(tokens(100 + i)) for i in range(12)]
    await asyncio.sleep(0.1)
    assert await tokens(11) == alone
    await asyncio.gather(*noise)
    await client.close()


def test_a_client_that_vanishes_frees_its_blocks_at_once(start_replica):
    server = start_replica()
    free = health(server)["blocks_free"]
    connection, _, _ = start_stream(server, LONG)
    assert health(server)["running"] == 1
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.sock.close()
    connection.close()
    wait_until(lambda: health(server)["running"] == 0, what="the end of the sequence")
    assert metric(server, "vllm:generation_tokens_total", model_name=MODEL) < LONG["max_tokens"]
    # what stays is the prefix cache: it is given away when somebody needs it
    wait_until(lambda: free - health(server)["blocks_free"] <= 64, what="free blocks")


def test_a_waiting_whole_answer_is_cancelled_too(start_replica):
    server = start_replica()
    connection = server.connection()
    connection.request("POST", "/v1/chat/completions", json.dumps(LONG))
    wait_until(lambda: health(server)["running"] == 1, what="a running sequence")
    connection.close()
    wait_until(lambda: health(server)["running"] == 0, what="the end of the sequence")


def test_closing_the_official_stream_cancels(start_replica):
    server = start_replica()
    stream = client_of(server).chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=900, stream=True,
                                                       extra_body={"ignore_eos": True})
    for _ in stream:
        break
    stream.close()
    wait_until(lambda: health(server)["running"] == 0, what="the end of the sequence")


def test_a_drain_lets_streams_finish_and_refuses_new_ones(start_replica):
    server = start_replica()
    connection, response, _ = start_stream(server, {**LONG, "max_tokens": 200})
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz")[0] == 503, what="/readyz 503")
    assert json.loads(server.get("/readyz")[1]) == {"status": "draining"}
    assert server.get("/livez")[0] == 200
    status, headers, answer = post(server, "/v1/chat/completions", LONG)
    assert status == 503 and answer["error"]["code"] == "shutting_down" and int(headers["retry-after"]) >= 1
    text = response.read().decode()
    assert text.endswith("data: [DONE]\n\n") and '"finish_reason":"length"' in text
    connection.close()
    assert server.process.wait(15) == 0


def test_a_second_signal_ends_with_a_well_formed_error(start_replica):
    server = start_replica()
    connection, response, _ = start_stream(server, LONG)
    server.process.send_signal(signal.SIGINT)
    wait_until(lambda: server.get("/readyz")[0] == 503, what="/readyz 503")
    server.process.send_signal(signal.SIGINT)
    last = [event for event in response.read().decode().split("\n\n") if event][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    connection.close()
    assert server.process.wait(10) == 0


def test_probes_answer_while_the_model_loads(start_replica):
    server = start_replica(wait=False)
    seen = set()
    end = time.monotonic() + 60
    while time.monotonic() < end and 200 not in seen:
        try:
            status, body = server.get("/readyz", timeout=5)
        except OSError:
            continue
        seen.add(status)
        if status == 503:
            assert json.loads(body) == {"status": "loading"}
            assert server.get("/livez")[0] == 200
    assert 200 in seen


def test_an_idle_replica_ends_at_once(start_replica):
    server = start_replica()
    post(server, "/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 2})
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0


def test_a_reader_that_sleeps_is_cut_off_and_costs_bounded_memory(start_replica):
    server = start_replica("""
limits:
  response_buffer: 256KiB
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
""")
    connection = server.connection()
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = {**LONG, "max_tokens": 1800, "n": 8, "stream": True, "logprobs": True, "top_logprobs": 20}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    wait_until(lambda: health(server)["running"] >= 1, what="running sequences")
    wait_until(lambda: health(server)["running"] == 0, 60, "the end of the unread stream")
    generated = metric(server, "vllm:generation_tokens_total", model_name=MODEL)
    connection.close()
    assert generated < 8 * 1800
