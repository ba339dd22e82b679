"""The HTTP front end with clients we did not write: curl, h2load, httpx, raw sockets. The server is tests/support/http_echo.c."""
import asyncio
import contextlib
import json
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from support import http_echo

PROTOCOLS = ["--http1.1", "--http2-prior-knowledge"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with http_echo.start(tmp_path_factory.mktemp("echo"), "-t", "2", "-L", "body=1000000", "-L", "keepalive=300") as running:
        yield running


def make_certificate(folder, name="localhost"):
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    with http_echo.start(folder, "-c", certificate, "-k", key) as running:
        running.certificate, running.key, running.folder = certificate, key, folder
        yield running


def curl(*arguments, **options):
    done = subprocess.run(["curl", "-s", "-S", "--max-time", "20", *map(str, arguments)], capture_output=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def raw(server, data, seconds=3):
    """What the server says to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as client:
        client.sendall(data)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := client.recv(65536):
                answer += piece
        return answer


# --- both protocols, clear and TLS, on one port ---

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_curl_gets_a_small_answer(server, protocol):
    head, _, body = curl("-i", protocol, f"{server.url}/small").partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/(1\.1|2) 200", head)
    assert len(body) == 1024 and json.loads(body)
    for name in (b"x-request-id: ", b"server: http_echo", b"date: ", b"content-type: application/json", b"content-length: 1024"):
        assert name in head.lower()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [0, 1, 70000, 1000000])
@pytest.mark.parametrize("form", ["", "?as=stream"])
def test_bodies_come_back(server, protocol, size, form):
    body = bytes(i * 7 % 251 for i in range(size))
    assert curl(protocol, "-H", "Expect:", "--data-binary", "@-", f"{server.url}/echo{form}", input=body) == body


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_event_streams_arrive_whole(server, protocol):
    text = curl(protocol, f"{server.url}/sse?n=100&ms=1")
    assert text.count(b"data: {") == 100 and text.endswith(b"data: [DONE]\n\n")
    text = curl(protocol, f"{server.url}/sse?n=20000")
    assert text.count(b"data: {") == 20000 and text.endswith(b"data: [DONE]\n\n")


def test_http10_is_ended_by_closing(server):
    answer = curl("--http1.0", "-i", f"{server.url}/sse?n=3")
    assert answer.count(b"data: {") == 3 and b"chunked" not in answer


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_tls_speaks_both_protocols_by_alpn(tls_server, protocol):
    url = f"https://127.0.0.1:{tls_server.port}"
    expected = "2" if protocol == "--http2" else "1.1"
    assert curl(protocol, "--cacert", tls_server.certificate, "-o", "/dev/null", "-w", "%{http_version}", f"{url}/small").decode() == expected
    assert b"tls=1" in curl(protocol, "--cacert", tls_server.certificate, f"{url}/headers")
    body = b"x" * 300000
    assert curl(protocol, "--cacert", tls_server.certificate, "--data-binary", "@-", f"{url}/echo?as=stream", input=body) == body


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cleartext_works_on_the_tls_port(tls_server, protocol):
    assert len(curl(protocol, f"{tls_server.url}/small")) == 1024


def test_old_tls_is_refused(tls_server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", tls_server.port)) as client, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(client)


def test_certificates_are_reloaded_and_kept_when_broken(tls_server):
    def served():
        return ssl.get_server_certificate(("127.0.0.1", tls_server.port))
    first = served()
    make_certificate(tls_server.folder)
    tls_server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while served() == first and time.monotonic() < deadline:
        time.sleep(0.05)
    second = served()
    assert second != first
    good = tls_server.key.read_bytes()
    tls_server.key.write_text("broken")
    tls_server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert served() == second
    tls_server.key.write_bytes(good)


def test_a_unix_socket_serves_too(tmp_path):
    path = tmp_path / "echo.sock"
    with http_echo.start(tmp_path, "-l", f"unix:{path}"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"peer=unix" in curl("--unix-socket", path, "http://localhost/headers")
        assert len(curl("--unix-socket", path, "--http2-prior-knowledge", "http://localhost/small")) == 1024
    assert not path.exists()


def test_a_port_in_use_is_told(server):
    done = subprocess.run([http_echo.program("http_echo"), "-l", f"127.0.0.1:{server.port}"], capture_output=True, timeout=20)
    assert done.returncode == 1
    assert f"127.0.0.1:{server.port}" in done.stderr.decode() and "in use" in done.stderr.decode()


# --- headers and ids ---

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_safe_request_id_is_kept_and_others_are_replaced(server, protocol):
    def answered_id(sent):
        head = curl("-i", protocol, "-H", f"x-request-id: {sent}", f"{server.url}/small").partition(b"\r\n\r\n")[0]
        return re.search(rb"(?i)x-request-id: (.*)", head).group(1).strip().decode()
    assert answered_id("my-id_1.2:3") == "my-id_1.2:3"
    assert answered_id("a" * 128) == "a" * 128
    for unsafe in ("a" * 129, "a b", "a<b>", "é"):
        assert re.fullmatch("[0-9a-f]{32}", answered_id(unsafe))


def test_handlers_see_headers_in_lower_case(server):
    for protocol in PROTOCOLS:
        text = curl(protocol, "-H", "X-TEST: Some Value", f"{server.url}/headers").decode()
        assert "x-test=Some Value\n" in text and f"host=127.0.0.1:{server.port}\n" in text


# --- errors made by the front end ---

def assert_error(answer, status, code):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/(1\.1|2) %d" % status, head), head[:100]
    assert b"x-request-id: " in head.lower()
    error = json.loads(body)["error"]
    assert error["code"] == code and error["message"] and error["param"] is None
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [1000001, 1900000, 5000000])
def test_a_body_over_the_limit_is_answered_413(server, protocol, size):
    for expect in ("Expect:", "Expect: 100-continue"):
        if expect != "Expect:" and protocol != "--http1.1":
            continue
        answer = curl("-i", protocol, "-H", expect, "--data-binary", "@-", f"{server.url}/echo", input=b"x" * size)
        assert_error(answer[answer.rindex(b"HTTP/"):], 413, "request_too_large")
    assert len(curl(protocol, f"{server.url}/small")) == 1024


def test_headers_over_the_limits_are_answered_431(server):
    many = [part for i in range(101) for part in ("-H", f"x-{i}: y")]
    large = ["-H", "x-large: " + "y" * 15900]
    for protocol in PROTOCOLS:
        assert_error(curl("-i", protocol, *many, f"{server.url}/small"), 431, "headers_too_large")
    assert_error(raw(server, b"GET /small HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20000 + b"\r\n\r\n"), 431, "headers_too_large")
    assert len(curl("--http1.1", *large, f"{server.url}/small")) == 1024


AMBIGUOUS = [b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 3\r\nContent-Length: 4\r\n", b"Content-Length: -1\r\n",
             b"Transfer-Encoding : chunked\r\n", b"X: a\r\n folded\r\n", b"X: a\nY: b\r\n", b"Host: b\r\n", b"X: a\x00b\r\n", b"X: a\rb\r\n"]


@pytest.mark.parametrize("header", AMBIGUOUS, ids=[repr(header) for header in AMBIGUOUS])
def test_ambiguous_http1_is_answered_400_and_closed(server, header):
    # what follows must never be taken for a request
    answer = raw(server, b"POST /echo HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n0\r\n\r\nGET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    assert_error(answer, 400, "bad_request")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"connection: close" in answer


@pytest.mark.parametrize("path", ["/a b", "/a\tb", "/a#b", "a", "/a\x7f"])
def test_a_malformed_path_over_http2_is_answered_400(server, path):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        connection.initiate_connection()
        connection.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)], end_stream=True)
        client.sendall(connection.data_to_send())
        events = []
        while not any(isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) for event in events):
            events.extend(connection.receive_data(client.recv(65536)))
        status = next(dict(event.headers)[b":status"] for event in events if isinstance(event, h2.events.ResponseReceived))
        assert status == b"400"


def test_what_is_not_spoken_is_answered_501(server):
    for text in (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"):
        assert_error(raw(server, text), 501, "not_implemented")


def test_slow_requests_are_answered_408(tmp_path):
    with http_echo.start(tmp_path, "-L", "header_timeout=500", "-L", "body_timeout=500") as server:
        assert_error(raw(server, b"GET /small HTTP/1.1\r\nHost:"), 408, "request_timeout")
        assert_error(raw(server, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"), 408, "request_timeout")


def begin_upload(stack, server, source):
    """An HTTP/1.1 connection from the address that has sent 400,000 of a body's 500,000 bytes."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60, source_address=(source, 0)))
    with contextlib.suppress(ConnectionError):  # it may be refused before it has sent all
        client.sendall(b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 500000\r\n\r\n" + b"x" * 400000)
    return client


def end_upload(client):
    client.sendall(b"x" * 100000)
    return client.recv(12)


def test_an_address_has_a_share_of_memory_for_bodies_on_their_way(tmp_path):
    with http_echo.start(tmp_path, "-L", "upload=1000000") as server, contextlib.ExitStack() as stack:
        clients = [begin_upload(stack, server, "127.0.0.1") for _ in range(3)]
        refused = select.select(clients, [], [], 60)[0]
        assert [client.recv(12) for client in refused] == [b"HTTP/1.1 503"]
        assert end_upload(begin_upload(stack, server, "127.0.0.2")) == b"HTTP/1.1 200"
        for client in clients:
            assert client in refused or end_upload(client) == b"HTTP/1.1 200"
        assert end_upload(begin_upload(stack, server, "127.0.0.1")) == b"HTTP/1.1 200"  # those that have come count no more


def test_expect_100_continue_is_answered_before_the_body(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(1000).endswith(b"\r\n\r\nbody")


def test_pipelined_requests_are_answered_in_order(server):
    one = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d"
    chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n%02d\r\n0\r\n\r\n"
    last = b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = raw(server, b"".join((one if i % 2 else chunked) % i for i in range(50)) + last)
    bodies = re.findall(rb"application/octet-stream\r\nx-request-id: [0-9a-f]+\r\n\r\n(\d\d)", answer)
    assert bodies == [b"%02d" % i for i in range(50)]


def test_head_has_no_body(server):
    for protocol in PROTOCOLS:
        assert b"content-length: 1024" in curl(protocol, "-I", f"{server.url}/small").lower()


def test_an_aborted_stream_is_an_error_to_the_client(server):
    for protocol in PROTOCOLS:
        done = subprocess.run(["curl", "-s", protocol, "--max-time", "5", f"{server.url}/abort"], capture_output=True)
        assert done.returncode in (18, 52, 56, 92)


# --- clients that leave, read slowly, or are many ---

def gone(server):
    return int(server.get("/gone")[1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", ["/sse?n=100000&ms=50", "/slow?ms=60000", "/hold"])
def test_a_client_that_vanishes_is_noticed(server, protocol, path):
    before, running = gone(server), server.metric("penstock_http_requests_in_flight")
    client = subprocess.Popen(["curl", "-s", "-N", protocol, server.url + path], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while server.metric("penstock_http_requests_in_flight") == running and time.monotonic() < deadline:
        time.sleep(0.02)
    client.kill()
    client.wait()
    deadline = time.monotonic() + 30
    while gone(server) == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(server) == before + 1


def test_resetting_one_stream_leaves_its_connection(server):
    # by hand: httpx does not reset a stream that its caller gives up
    connection = h2.connection.H2Connection()
    before, events = gone(server), []

    def read_until(kind, client):
        while not any(isinstance(event, kind) for event in events):
            events.extend(connection.receive_data(client.recv(65536)))
            client.sendall(connection.data_to_send())
        return next(event for event in events if isinstance(event, kind))

    def get(stream, path):
        connection.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)], end_stream=True)

    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        connection.initiate_connection()
        get(1, "/sse?n=100000&ms=20")
        client.sendall(connection.data_to_send())
        read_until(h2.events.DataReceived, client)
        connection.reset_stream(1, 8)
        get(3, "/small")
        client.sendall(connection.data_to_send())
        assert read_until(h2.events.StreamEnded, client).stream_id == 3
        assert gone(server) == before + 1


def test_two_hundred_streams_at_once(server):
    async def read_one(client):
        lines = 0
        async with client.stream("GET", f"{server.url}/sse?n=20&ms=20") as response:
            assert response.http_version == "HTTP/2"
            async for line in response.aiter_lines():
                lines += line.startswith("data: {")
        return lines

    async def run():
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(httpx.AsyncClient(http1=False, http2=True, timeout=30)) for _ in range(4)]
            return await asyncio.gather(*(read_one(clients[i % 4]) for i in range(200)))
    assert asyncio.run(run()) == [20] * 200


def test_a_slow_reader_is_held_in_bounded_memory_and_cut(tmp_path):
    with http_echo.start(tmp_path, "-L", "write_timeout=1500", "-L", "response_buffer=65536") as server:
        server.get("/small")
        before = server.memory_bytes()
        clients = []
        for _ in range(20):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET /sse?n=1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            clients.append(client)
        time.sleep(1)
        if not server.is_sanitized:
            assert server.memory_bytes() - before < 20 * (4 * 65536) + (4 << 20)
        deadline = time.monotonic() + 30
        while gone(server) < 20 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert gone(server) == 20
        for client in clients:
            client.close()


def test_a_slow_reader_that_goes_on_reading_is_not_cut(tmp_path):
    with http_echo.start(tmp_path, "-L", "write_timeout=1000") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"GET /sse?n=30000 HTTP/1.1\r\nHost: a\r\n\r\n")
            total, end = b"", time.monotonic() + 4
            while time.monotonic() < end:
                total += client.recv(20000)
                time.sleep(0.02)
            while b"[DONE]" not in total[-200:]:
                total += client.recv(65536)
        assert total.count(b"data: {") == 30000


def test_silent_event_streams_are_kept_alive(server):
    for protocol in PROTOCOLS:
        done = subprocess.run(["curl", "-s", "-N", protocol, "--max-time", "1.5", f"{server.url}/hold"], capture_output=True)
        assert done.stdout.count(b": keep-alive\n\n") in range(1, 6)


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")
@pytest.mark.parametrize("options", [["-p", "http/1.1"], ["-m", "10"], ["-m", "100"]], ids=["http1", "h2c m10", "h2c m100"])
def test_h2load_has_no_failed_request(server, options):
    # tests/support/http_echo has the default burst of 250: honest clients finish their requests and get credit back
    if options[0] == "-p":
        options = ["--h1"]
    done = subprocess.run(["h2load", "-n", "20000", "-c", "20", *options, f"{server.url}/small"], capture_output=True, timeout=100, check=True)
    assert "20000 succeeded, 0 failed" in done.stdout.decode()


# --- drain ---

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_drain_lets_streams_finish_and_takes_no_new_connection(tmp_path, protocol):
    with http_echo.start(tmp_path) as server:
        client = subprocess.Popen(["curl", "-s", "-S", "-N", protocol, f"{server.url}/sse?n=30&ms=100"], stdout=subprocess.PIPE)
        idle = socket.create_connection(("127.0.0.1", server.port))
        idle.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
        idle.settimeout(5)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        while idle.recv(65536):  # the idle one is closed
            pass
        idle.close()
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        text, _ = client.communicate(timeout=10)
        assert client.returncode == 0
        assert text.count(b"data: {") == 30 and text.endswith(b"data: [DONE]\n\n")
        assert server.process.wait(5) == 0
