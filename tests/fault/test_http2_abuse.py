"""What hostile clients do to the HTTP front end. After each attack the process lives, is small, and answers a second client.

The attacker is tests/support/http_attack.c (Python is too slow to hurt); the server is tests/support/http_echo.c, so the whole
stack under attack is gateway/http and the library below it. PENSTOCK_BUILD names the build directory.
"""
import json
import socket
import struct
import subprocess
import time

import pytest

from support import http_echo

ATTACK_SECONDS = 1.5
FUZZ_SECONDS = 2
PROBE_SECONDS = 5  # generous: two cores are shared with the attacker
GROWTH_BYTES_MAX = 16 << 20

MODES = ["rapid_reset", "reset_by_window", "reset_by_overflow", "reset_by_data", "reset_by_length", "reset_by_priority",
         "continuation_empty", "continuation_full", "header_bomb", "header_bomb_few", "table_flapping", "ping", "settings",
         "window_flapping", "unknown", "priority", "data_empty", "data_one", "data_padding", "window_update", "goaway", "preface"]


@pytest.fixture
def server(tmp_path):
    with http_echo.start(tmp_path, "-L", "header_timeout=1500", "-L", "write_timeout=2000", "-L", "body_timeout=4000") as running:
        running.get("/small")
        yield running


def assert_unhurt(server, growth_max=GROWTH_BYTES_MAX):
    assert server.is_running(), f"the server died: {server.log_text()[-2000:]}"
    start = time.monotonic()
    status, body = server.get("/small", timeout=PROBE_SECONDS)
    assert status == 200 and len(body) == 1024
    assert time.monotonic() - start < PROBE_SECONDS
    if not server.is_sanitized:  # the sanitizer keeps what is freed
        growth = server.memory_bytes() - server.first_memory_bytes
        assert growth < growth_max, f"{growth >> 20} MiB more than at the start"


def run_attack(server, mode, seconds=ATTACK_SECONDS, connections=4, seed=0):
    """Runs it with a probe beside it; returns what the attacker counted."""
    command = [http_echo.program("http_attack"), mode, str(server.port), str(seconds), str(connections), str(seed)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        time.sleep(seconds / 2)
        assert_unhurt(server, 4 * GROWTH_BYTES_MAX)
        output, _ = attacker.communicate(timeout=seconds + 30)
    finally:
        attacker.kill()
        attacker.wait()
    return json.loads(output)


@pytest.mark.parametrize("mode", MODES)
def test_a_flood_leaves_the_server_alive_small_and_prompt(server, mode):
    counted = run_attack(server, mode)
    assert counted["frames"] > 100
    assert_unhurt(server)


@pytest.mark.parametrize("seed", range(10))
def test_random_frames_do_no_harm(server, seed):
    counted = run_attack(server, "fuzz", FUZZ_SECONDS, 24, seed)
    assert counted["frames"] > 1000
    assert "skipping frame" not in server.log_text(), "a frame reached the library unseen"
    assert_unhurt(server)


def test_rapid_resets_hardly_reach_a_handler(server):
    before = server.metric('penstock_http_guard_kills_total{reason="streams"}')
    counted = run_attack(server, "rapid_reset", connections=1)
    assert server.metric('penstock_http_guard_kills_total{reason="streams"}') > before
    # per connection at most the burst of 250 and what time refills
    assert int(server.get("/gone")[1]) <= (counted["connections"] + 1) * 300


def test_bodies_that_never_end_are_bounded_together(tmp_path):
    with http_echo.start(tmp_path, "-L", "buffered=8388608", "-L", "body=1048576") as server:
        server.get("/small")
        run_attack(server, "uploads", 2, 8)
        assert server.metric('penstock_http_guard_kills_total{reason="memory"}') > 0
        assert_unhurt(server, 2 * 8388608 + GROWTH_BYTES_MAX)  # what may be buffered, in buffers that grow by doubling


def test_bodies_of_one_address_that_never_end_are_bounded(tmp_path):
    with http_echo.start(tmp_path, "-L", "upload=4194304", "-L", "body=1048576") as server:
        server.get("/small")
        run_attack(server, "uploads", 2, 8)
        assert server.metric('penstock_http_guard_kills_total{reason="memory"}') > 0
        assert_unhurt(server, 2 * 4194304 + GROWTH_BYTES_MAX)


def test_answers_that_nobody_reads_are_bounded_and_cut(server):
    run_attack(server, "unread", 4, 2)
    assert "skipping frame" not in server.log_text()
    assert_unhurt(server, 100 * (512 << 10) + GROWTH_BYTES_MAX)  # 100 streams a connection, 256 kB each and in flight
    deadline = time.monotonic() + 15
    while server.metric('penstock_http_connections{protocol="http2"}') > 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert server.metric('penstock_http_connections{protocol="http2"}') == 0


def test_a_blocked_write_costs_no_time(server):
    headers = b"\x82\x86\x01\x01h\x04\x0d/sse?n=100000"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 0x7fffffff)) + frame(8, 0, 0, struct.pack(">I", 0x7fff0000)) +
                       frame(1, 5, 1, headers))
        time.sleep(0.3)
        client.sendall(frame(6, 0, 0, b"12345678"))  # input that waits for the write
        before = server.cpu_seconds()
        time.sleep(1)
        assert server.cpu_seconds() - before < 0.3, "the loop spins"
    assert_unhurt(server)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_window_updates_for_a_stream_in_a_blocked_write_do_not_abort(server):
    """The assertion of libh2o 2.2 (update_stream_output_window): small window, finished answers, a client that does not read."""
    path = b"/small"
    headers = b"\x82\x86\x01\x01h\x04" + bytes([len(path)]) + path
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(3)
        client.connect(("127.0.0.1", server.port))
        client.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 1024)) + frame(8, 0, 0, struct.pack(">I", 0x7fff0000)))
        stream = 1
        try:
            for _ in range(120):
                client.sendall(b"".join(frame(1, 5, stream + 2 * i, headers) for i in range(60)))
                stream += 120
                time.sleep(0.01)
                client.sendall(b"".join(frame(8, 0, k, struct.pack(">I", 1)) for k in range(max(1, stream - 1000), stream, 2)))
        except OSError:
            pass  # ended by the guard, or by back-pressure
    assert_unhurt(server)


def test_settings_and_resets_around_a_head_without_body_do_not_abort(server):
    """The other way to the same assertion: a stream whose head was sent alone, reset and then given a window in one read."""
    path = b"/hold"
    headers = b"\x82\x86\x01\x01h\x04" + bytes([len(path)]) + path
    for _ in range(50):
        with socket.socket() as client:
            client.connect(("127.0.0.1", server.port))
            client.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 0)))
            client.sendall(b"".join(frame(1, 5, 1 + 2 * i, headers) + frame(3, 0, 1 + 2 * i, struct.pack(">I", 8)) +
                                    frame(4, 0, 0, struct.pack(">HI", 4, 100 + i)) for i in range(40)))
            time.sleep(0.005)
            client.sendall(b"".join(frame(8, 0, 1 + 2 * i, struct.pack(">I", 1)) for i in range(40)))
    assert_unhurt(server)


def ends_within(client, seconds):
    """The server closes this connection (whatever it says before)."""
    client.settimeout(seconds)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if client.recv(65536) == b"":
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return False


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", PREFACE[:20], PREFACE, PREFACE + frame(1, 5, 1, b"\x82")[:-1],
                                   b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
                                   PREFACE + frame(1, 4, 1, b"\x83\x86\x84")],
                         ids=["silence", "http1 head", "preface", "http2 idle", "http2 head", "http1 body", "http2 body"])
def test_requests_that_drip_are_ended(tmp_path, start):
    limits = ["header_timeout=1000", "body_timeout=2000", "idle_timeout=2000"]
    with http_echo.start(tmp_path, *(part for limit in limits for part in ("-L", limit))) as server:
        is_http2_frame = start.startswith(PREFACE)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(start)
            client.settimeout(0.2)
            deadline, is_ended = time.monotonic() + 8, False
            while time.monotonic() < deadline and not is_ended:
                try:
                    if start and not is_http2_frame:
                        client.sendall(b"x")
                    is_ended = client.recv(65536) == b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    is_ended = True
            assert is_ended, "still open after 8 s"
        assert_unhurt(server)


def test_connections_of_one_address_are_limited(tmp_path):
    with http_echo.start(tmp_path, "-L", "per_address=20") as server:
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        try:
            time.sleep(0.3)
            closed = sum(ends_within(client, 0.05) for client in clients)
            assert closed == 20
        finally:
            for client in clients:
                client.close()
        time.sleep(0.3)
        assert_unhurt(server)


def test_running_out_of_descriptors_is_survived(tmp_path):
    with http_echo.start(tmp_path, descriptor_limit=60) as server:
        server.get("/small")
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        before = server.cpu_seconds()
        time.sleep(2)
        assert server.cpu_seconds() - before < 0.5, "accepting spins"
        for client in clients:
            client.close()
        time.sleep(0.5)
        assert_unhurt(server)
