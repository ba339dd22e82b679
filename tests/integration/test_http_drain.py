"""The front end when it ends: nothing that a client has reason to believe accepted is lost."""
import contextlib
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from support import http_echo, load

GOAWAY = 7
CONNECTING_CLIENTS = 8


def read_answer(connection):
    """The body of an answer with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        piece = connection.recv(65536)
        assert piece, f"closed after {len(body)} bytes of {length}"
        body += piece
    return head


@pytest.mark.parametrize("loops", [1, 4])
def test_a_drain_answers_whoever_could_connect(tmp_path, loops):
    """Connections all the time, each for one request: those that the port takes are answered, however late."""
    failures, counts, over = [], [0] * CONNECTING_CLIENTS, threading.Event()

    def connect_and_ask(index, port):
        while not over.is_set():
            with socket.socket() as connection:
                connection.settimeout(load.TIMEOUT_S)
                try:
                    connection.connect(("127.0.0.1", port))
                except ConnectionRefusedError:
                    return
                try:
                    connection.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
                    read_answer(connection)
                    counts[index] += 1
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))

    with http_echo.start(tmp_path, "-t", str(loops), "-i", "10000") as server:
        threads = [threading.Thread(target=connect_and_ask, args=(i, server.port)) for i in range(CONNECTING_CLIENTS)]
        for thread in threads:
            thread.start()
        while min(counts) < 50 and not failures:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(load.TIMEOUT_S)
        over.set()
        assert not failures, failures[:5]
        assert server.process.wait(20) == 0


def test_kept_connections_hear_of_the_end_with_an_answer(tmp_path):
    with http_echo.start(tmp_path, "-t", "2", "-i", "20000") as server:
        requests = [("GET", "/small", None, lambda text: len(text) == 1024),
                    ("GET", "/sse?n=5&ms=20", None, lambda text: text.endswith(b"data: [DONE]\n\n")),
                    ("POST", "/echo", b"x" * 20000, lambda text: len(text) == 20000)]
        clients = [load.KeptConnection(f"client {i}", "127.0.0.1", server.port, requests[i % 3:] + requests[:i % 3],
                                       may_be_refused=True) for i in range(6)]
        with load.running(*clients) as running:
            server.process.send_signal(signal.SIGTERM)
            for thread in running.threads:  # each ends when it finds the port closed
                thread.join(load.TIMEOUT_S)
                assert not thread.is_alive()
        assert server.process.wait(20) == 0


def test_pipelined_requests_are_all_answered(tmp_path):
    """Sent one behind the other before anybody spoke of an end."""
    with http_echo.start(tmp_path, "-i", "10000") as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(load.TIMEOUT_S)
        one = b"GET /sse?n=3&ms=100 HTTP/1.1\r\nHost: a\r\n\r\n"
        client.sendall(4 * one)
        data = client.recv(1)
        server.process.send_signal(signal.SIGTERM)
        while piece := client.recv(65536):
            data += piece
        assert data.count(b"data: [DONE]") == 4
        assert data.count(b"HTTP/1.1 200") == 4 and data.lower().count(b"connection: close") == 1
        assert server.process.wait(20) == 0


def frames_until_end(connection):
    """(type, payload) of all that comes."""
    data, frames = b"", []
    while piece := connection.recv(65536):
        data += piece
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            size = int.from_bytes(data[:3], "big")
            frames.append((data[3], data[9:9 + size]))
            data = data[9 + size:]
    return frames


def test_http2_hears_of_the_end_twice(tmp_path):
    """RFC 9113, 6.8: first that it comes, then which request was the last."""
    with http_echo.start(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(load.TIMEOUT_S)
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        first = client.recv(9)  # the server's SETTINGS
        assert first[3] == 4
        client.recv(int.from_bytes(first[:3], "big"))
        server.process.send_signal(signal.SIGTERM)
        last_streams = [struct.unpack(">II", payload[:8]) for kind, payload in frames_until_end(client) if kind == GOAWAY]
        assert last_streams == [(2**31 - 1, 0), (0, 0)]
        assert server.process.wait(20) == 0


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"])
def test_an_upload_that_has_begun_is_taken_whole(tmp_path, protocol):
    (tmp_path / "body").write_bytes(b"y" * 400_000)
    with http_echo.start(tmp_path, "-i", "10000") as server, contextlib.ExitStack() as stack:
        client = stack.enter_context(subprocess.Popen(
            ["curl", "-sS", protocol, "--limit-rate", "150k", "--data-binary", f"@{tmp_path}/body", "-H", "Expect:",
             f"{server.url}/echo"], stdout=subprocess.PIPE))
        while server.metric('penstock_http_received_bytes_total') < 20_000:
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        text, _ = client.communicate(timeout=load.TIMEOUT_S)
        assert client.returncode == 0 and text == b"y" * 400_000
        assert server.process.wait(20) == 0
