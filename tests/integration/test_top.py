"""`penstock top` in a real terminal (a pty, with pyte as what shows it), and into a pipe."""
import contextlib
import re
import signal
import subprocess
import threading

import httpx
import pytest

from support.terminal import Terminal

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
observability:
  history: {file: FOLDER/history.sqlite, interval: 200ms}
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
    kv_cache_memory: 64MiB
  - name: elsewhere
    upstream: {url: "http://127.0.0.1:9", model: m}
"""
ELSEWHERE = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: elsewhere
    upstream: {url: "http://127.0.0.1:9", model: m}
"""


@pytest.fixture(scope="module")
def gateway(session_servers, tmp_path_factory):
    server = session_servers[0](CONFIG.replace("FOLDER", str(tmp_path_factory.mktemp("top"))))
    answer = httpx.post(server.url + "/v1/completions", json={"model": "smollm2", "prompt": "One two", "max_tokens": 16}, timeout=60)
    assert answer.status_code == 200
    return server


@contextlib.contextmanager
def top(binary, *arguments, **how):
    terminal = Terminal([binary, "top", *arguments], **how)
    try:
        yield terminal
    finally:
        terminal.close()


@contextlib.contextmanager
def a_long_request(server):
    """That streams for as long as the block runs."""
    began, over = threading.Event(), threading.Event()

    def ask():
        with httpx.stream("POST", server.url + "/v1/completions", timeout=60,
                          json={"model": "smollm2", "prompt": "One two", "max_tokens": 2000, "ignore_eos": True, "stream": True}) as answer:
            for _ in answer.iter_lines():
                began.set()
                if over.is_set():
                    return
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert began.wait(60)
        yield
    finally:
        over.set()
        thread.join()


def run(binary, *arguments, **environment):
    return subprocess.run([str(binary), "top", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env={"PATH": "/usr/bin", **environment})


def test_it_shows_models_and_requests_and_hears_keys_and_the_window_size(gateway, penstock_binary):
    with top(penstock_binary, gateway.admin_url, "--interval", "1", columns=100, lines=30) as terminal:
        with a_long_request(gateway):
            terminal.wait(lambda text: "generating" in text, "the request")
        assert all(word in terminal.text() for word in (">smollm2", " elsewhere", "MODEL", "TTFT", "REPLICA", "SLICE", "REQUESTS NOW"))
        assert "1 of 2 models not ready" in terminal.screen.display[0]
        assert "q quit" in terminal.screen.display[29]
        # The bar has a letter for each share of the time, and colours; D is time that answers took.
        terminal.wait(lambda text: any(line.strip().strip("PDKCLFX.") == "" and "D" in line for line in text.split("\n") if line.strip()),
                      "the bar")
        bar = next(y for y, line in enumerate(terminal.screen.display) if line.strip() and line.strip().strip("PDKCLFX.") == "")
        assert terminal.screen.buffer[bar][2].bg != "default"
        # The other model: by m, and back by an arrow.
        terminal.type("m")
        terminal.wait(lambda text: ">elsewhere" in text and ">smollm2" not in text, "the other model")
        terminal.type("\x1b[A")
        terminal.wait(lambda text: ">smollm2" in text, "the first model")
        terminal.type(" ")
        terminal.wait(lambda text: "paused" in text, "the pause")
        terminal.resize(140, 40)
        terminal.wait(lambda _: "q quit" in terminal.screen.display[39] and "RESTARTS" in terminal.text(), "the wide frame")
        terminal.resize(60, 12)
        terminal.wait(lambda _: "q quit" in terminal.screen.display[11], "the small frame")
        assert not terminal.is_as_before()
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_before()
        assert terminal.raw.count(b"\x1b[?1049h") == 1 and terminal.raw.endswith(b"\x1b[?25h\x1b[?1049l")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_terminal_is_as_before(gateway, penstock_binary, number):
    with top(penstock_binary, gateway.config, environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait(lambda text: ">smollm2" in text, "the model")
        assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw)  # no colours
        if number == signal.SIGINT:
            terminal.type("\x03")  # as by Ctrl-C
        else:
            terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert terminal.is_as_before()
        assert terminal.raw.endswith(b"\x1b[?1049l")


def test_stopped_and_continued_it_gives_the_terminal_back_and_takes_it_again(gateway, penstock_binary):
    with top(penstock_binary, gateway.admin_url) as terminal:
        terminal.wait(lambda text: ">smollm2" in text, "the model")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.wait(lambda _: terminal.raw.endswith(b"\x1b[?1049l") and terminal.is_as_before(), "the shell's screen")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait(lambda _: terminal.raw.count(b"\x1b[?1049h") == 2 and not terminal.is_as_before(), "the frame")
        terminal.type("q")
        assert terminal.end() == 0 and terminal.is_as_before()


def test_into_a_pipe_it_is_one_frame_without_escapes(gateway, penstock_binary):
    for arguments in ([gateway.admin_url], [gateway.config, "--once"]):
        frame = run(penstock_binary, *arguments, TERM="xterm-256color", COLUMNS="120")
        assert frame.returncode == 0, frame.stderr
        assert ">smollm2" in frame.stdout and "REQUESTS NOW" in frame.stdout and gateway.admin_url in frame.stdout
        assert "\x1b" not in frame.stdout and "q quit" not in frame.stdout
        assert max(len(line) for line in frame.stdout.split("\n")) <= 120
    wide = run(penstock_binary, gateway.admin_url, COLUMNS="60")
    assert max(len(line) for line in wide.stdout.split("\n")) <= 60


def test_what_is_wrong_is_said(gateway, penstock_binary, tmp_path):
    for arguments, words in (((), "which gateway?"), ((gateway.admin_url, "--interval", "0"), "--interval must be above 0"),
                             ((gateway.admin_url, "--interval", "3601"), "from 0 to 3600")):
        wrong = run(penstock_binary, *arguments)
        assert wrong.returncode == 2 and words in wrong.stderr
    none = run(penstock_binary, gateway.url)  # the clients' listener is not the admin's
    assert none.returncode == 1 and "answers 404" in none.stderr
    gone = run(penstock_binary, "http://127.0.0.1:1", "--once")
    assert gone.returncode == 1 and "no answer from http://127.0.0.1:1/admin/replicas" in gone.stderr and gone.stdout == ""
    missing = run(penstock_binary, tmp_path / "none.yaml")
    assert missing.returncode == 1 and "none.yaml" in missing.stderr


def test_a_gateway_that_goes_away_is_waited_for(session_servers, penstock_binary):
    server = session_servers[0](ELSEWHERE, wait=False)
    with top(penstock_binary, server.admin_url, "--interval", "1") as terminal:
        terminal.wait(lambda text: ">elsewhere" in text and "no answer" not in text, "the gateway")
        server.kill()
        terminal.wait(lambda text: "no answer" in text and "s old. Trying again" in text, "the news that it is gone")
        assert ">elsewhere" in terminal.text()  # what was known stays
        again = subprocess.Popen(server.process.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            terminal.wait(lambda text: "Trying again" not in text and "no answer" not in text and ">elsewhere" in text, "its return")
        finally:
            again.terminate()
            again.wait(60)
        terminal.type("q")
        assert terminal.end() == 0 and terminal.is_as_before()


def test_a_gateway_that_hangs_does_not_keep_it(session_servers, penstock_binary):
    server = session_servers[0](ELSEWHERE, wait=False)
    with top(penstock_binary, server.admin_url, "--interval", "1") as terminal:
        terminal.wait(lambda text: ">elsewhere" in text, "the gateway")
        server.process.send_signal(signal.SIGSTOP)
        terminal.wait(lambda text: "No answer for" in text, "the news that it hangs")
        terminal.type("q")
        assert terminal.end(seconds=20) == 0  # the question itself would wait for 30 s
    server.kill()
