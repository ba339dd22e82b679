"""A replica serves from inside the sandbox that local members give to theirs."""
import json
import pathlib
import time

import pytest

from support import servers

CONFIG = """
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
"""


@pytest.fixture
def tool(penstock_binary):
    return pathlib.Path(penstock_binary).parent / "sandbox_tool"


def start(tool, penstock_binary, model_path, folder, port=None):
    given = folder / "given"
    given.mkdir()
    (given / "config.yaml").write_text(CONFIG.format(model=model_path))
    walls = ["--read", model_path, "--read", given, "--listen", given]  # as gateway/edge/replica_paths.c has it
    image = pathlib.Path(f"{model_path}.cpu-weights")
    if image.exists():
        walls += ["--read", image]
    if port is not None:
        walls += ["--port", port]
    address = f"unix:{given}/s" if port is None else f"127.0.0.1:{port}"
    command = [tool, *walls, "--", penstock_binary, "replica", given / "config.yaml", "--model", "smollm2", "--listen", address]
    return servers.Server("sandbox", command, folder / "sandbox.log", "127.0.0.1", port,
                          socket_path=given / "s" if port is None else None)


def complete(server):
    connection = server.connection(timeout=120)
    connection.request("POST", "/v1/completions", json.dumps({"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8,
                                                              "temperature": 0}), {"content-type": "application/json"})
    answer = connection.getresponse()
    body = json.load(answer)
    connection.close()
    assert answer.status == 200, body
    return body["choices"][0]["text"]


def replica_pid(server):
    """The tool's one child."""
    return int(pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0])


@pytest.mark.parametrize("is_tcp", [False, True], ids=["unix", "tcp"])
def test_a_replica_serves_inside(tool, penstock_binary, model_path, tmp_path, is_tcp):
    server = start(tool, penstock_binary, model_path, tmp_path, servers.free_port() if is_tcp else None)
    try:
        server.wait_until_ready()
        assert "Paris" in complete(server)
        facts = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{replica_pid(server)}/status").read_text().splitlines()
                     if ":\t" in line)
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    finally:
        status = server.stop()
    assert status == 0, server.log_tail()


def test_it_ends_with_its_parent(tool, penstock_binary, model_path, tmp_path):
    server = start(tool, penstock_binary, model_path, tmp_path)
    try:
        server.wait_until_ready()
        replica = pathlib.Path(f"/proc/{replica_pid(server)}")
        server.process.kill()
        server.process.wait(30)
        end = time.monotonic() + 60
        # Whoever adopts it may leave it as a zombie.
        while time.monotonic() < end and replica.exists() and "\nState:\tZ" not in (replica / "status").read_text():
            time.sleep(0.05)
        assert not replica.exists() or "\nState:\tZ" in (replica / "status").read_text()
    finally:
        server.stop()
