"""`penstock bench` measures what really happens: against a server whose times are known, and against a gateway."""
import http.server
import json
import subprocess
import threading
import time

import pytest


class Timed:
    """A chat server with known times: `first` seconds until the first token, `gap` between tokens; every `fail_each`-th request fails."""

    def __init__(self, first=0.05, gap=0.01, fail_each=0, cut_each=0):
        self.first, self.gap, self.fail_each, self.cut_each = first, gap, fail_each, cut_each
        self.bodies, self.headers, self.arrivals, self.running, self.most = [], [], [], 0, 0
        self.lock = threading.Lock()

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                self.plain(200, {"data": [{"id": "timed"}]})

            def plain(self, code, value):
                body = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def event(self, value):
                data = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.arrivals.append(time.monotonic())
                    number = len(outer.bodies)
                    outer.running += 1
                    outer.most = max(outer.most, outer.running)
                try:
                    self.answer(body, number)
                finally:
                    with outer.lock:
                        outer.running -= 1

            def answer(self, body, number):
                if outer.fail_each and number % outer.fail_each == 0:
                    self.plain(503, {"error": {"message": "too busy"}})
                    return
                time.sleep(outer.first)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                count = body["max_tokens"]
                for token in range(count):
                    if token:
                        time.sleep(outer.gap)
                    if outer.cut_each and number % outer.cut_each == 0 and token == 2:
                        self.close_connection = True
                        return
                    self.event({"choices": [{"delta": {"content": "word "}}]})
                self.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": count}})
                self.event(b"[DONE]")
                self.wfile.write(b"0\r\n\r\n")

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def bench(penstock_binary):
    def run(url, *words, environment=None):
        result = subprocess.run([penstock_binary, "bench", url, *map(str, words)], capture_output=True, text=True, timeout=200, env=environment)
        return result.returncode, result.stdout, result.stderr
    return run


def measured(bench, url, *words, environment=None):
    code, out, error = bench(url, *words, "--format", "json", environment=environment)
    assert out, error
    return code, json.loads(out)


def test_known_times_are_measured(bench):
    """Sleeps never end early, so the times are lower bounds; how much later a busy machine wakes is not asserted."""
    with Timed(first=0.05, gap=0.01) as server:
        code, result = measured(bench, server.url, "--requests", 12, "--concurrency", 3, "--output-tokens", 6, environment={"PENSTOCK_API_KEY": "word"})
    assert code == 0 and result["requests"] == 12 and result["failed"] == 0 and result["model"] == "timed"
    assert result["output_tokens"] == 72 and result["prompt_tokens"] == 84 and server.most == 3
    assert result["ttft_ms"]["count"] == 12 and result["ttft_ms"]["p50"] >= 50 and result["end_to_end_ms"]["p50"] >= 100
    assert result["inter_token_ms"]["count"] == 60 and result["inter_token_ms"]["mean"] >= 9
    assert result["ttft_ms"]["p50"] <= result["ttft_ms"]["p99"] <= result["ttft_ms"]["max"] <= result["end_to_end_ms"]["max"]
    assert all(headers["authorization"] == "Bearer word" for headers in server.headers)
    assert len({json.dumps(body["messages"]) for body in server.bodies}) == 12 and all(body["stream"] for body in server.bodies)


def test_arrivals_do_not_wait_for_answers(bench):
    with Timed(first=1.0, gap=0) as server:
        code, result = measured(bench, server.url, "--rate", 40, "--requests", 40, "--output-tokens", 1)
    assert code == 0 and result["rate"] == 40 and server.most > 8  # one second of arrivals is there at once
    gaps = [b - a for a, b in zip(server.arrivals, server.arrivals[1:])]
    assert max(gaps) > 2 * sum(gaps) / len(gaps)  # Poisson: not evenly spaced


def test_waiting_for_a_free_stream_counts(bench):
    """Twelve requests are due within moments, one runs at a time: the last waits for eleven others."""
    with Timed(first=0.05, gap=0) as server:
        _, result = measured(bench, server.url, "--rate", 1000, "--concurrency", 1, "--requests", 12, "--output-tokens", 1)
    assert result["ttft_ms"]["max"] >= 11 * 50 and server.most == 1


def test_goodput_counts_what_holds_both_targets(bench):
    with Timed(first=0.05, gap=0) as server:
        _, good = measured(bench, server.url, "--requests", 6, "--output-tokens", 2, "--ttft-slo-ms", 60000, "--inter-token-slo-ms", 60000)
        _, bad = measured(bench, server.url, "--requests", 6, "--output-tokens", 2, "--ttft-slo-ms", 49)
    assert good["good_requests"] == 6 and bad["good_requests"] == 0


def test_failures_are_counted_and_told(bench):
    with Timed(first=0, gap=0, fail_each=3) as server:
        code, result = measured(bench, server.url, "--requests", 9, "--concurrency", 1, "--output-tokens", 2)
    assert code == 1 and result["failed"] == 3 and "503" in result["first_failure"] and "too busy" in result["first_failure"]
    with Timed(first=0, gap=0, cut_each=2) as server:
        code, result = measured(bench, server.url, "--requests", 4, "--concurrency", 1, "--output-tokens", 4)
    assert code == 1 and result["failed"] == 2 and result["output_tokens"] == 8


def test_the_same_seed_asks_the_same(bench):
    asked = []
    for seed in (1, 1, 2):
        with Timed(first=0, gap=0) as server:
            measured(bench, server.url, "--requests", 3, "--concurrency", 1, "--output-tokens", 1, "--seed", seed, "--shared-tokens", 20)
        asked.append([body["messages"] for body in server.bodies])
    assert asked[0] == asked[1] != asked[2] and len({json.dumps(messages[0]) for messages in asked[0]}) == 1


def test_a_gateway_is_measured(bench, gateway):
    code, out, error = bench(gateway.url, "--requests", 6, "--concurrency", 2, "--prompt-tokens", 20, "--output-tokens", 8, "--ttft-slo-ms", 60000)
    assert code == 0, out + error
    for words in ("6 in", "0 failed", "first token", "between tokens", "goodput", "100.0 %", "smollm2"):
        assert words in out


@pytest.mark.parametrize("words, told", [
    (("127.0.0.1",), "URL"), (("http://127.0.0.1:1", "--rate", "-1"), "--rate"), (("http://127.0.0.1:1", "--rate", "fast"), "--rate"),
    (("http://127.0.0.1:1", "--requests", "0"), "begin at 1"), (("http://127.0.0.1:1", "--concurrency", "4097"), "4096"),
    (("http://127.0.0.1:1", "--format", "xml"), "text or json"), (("http://127.0.0.1:1",), "onnect"),
])
def test_wrong_orders_are_explained(bench, words, told):
    code, _, error = bench(*words)
    assert code in (1, 2) and told in error
