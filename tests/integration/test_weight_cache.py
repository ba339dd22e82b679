"""Weights kept between starts: the second start maps what the first wrote, and says the same."""
import pathlib
import re
import subprocess
import time

from replica_client import MODEL, QUESTION, post

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: smollm2
    path: MODEL_FILE
    max_model_len: 1024
    kv_cache_memory: 256MiB
"""


def model_in(folder, model_path):
    """The model under a name of its own, so that its cache lies in a folder of the test's own."""
    link = folder / "model.gguf"
    link.symlink_to(model_path)
    return link, pathlib.Path(f"{link}.cpu-weights")


def answer(server):
    body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 24, "return_token_ids": True}
    status, _, parsed = post(server, "/v1/chat/completions", body)
    assert status == 200, parsed
    return parsed["choices"][0]["token_ids"]


def start(start_replica, link, setting=None):
    """(tokens of an answer, the log) of one start."""
    config = CONFIG.replace("MODEL_FILE", str(link)) + (f"    weight_cache: {setting}\n" if setting else "")
    server = start_replica(config, environment={"PENSTOCK_HOME": str(link.parent / "home")})  # nothing is kept there yet
    tokens = answer(server)
    assert server.stop() == 0
    return tokens, server.log_text()


def is_taken(log, cache):
    """Mapped, or read where the file system has no huge pages for mappings."""
    return f"mapped from {cache}" in log or f"read from {cache}" in log


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        value = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([value ^ 4]))


def test_the_second_start_maps_the_weights_and_says_the_same(start_replica, model_path, tmp_path):
    link, cache = model_in(tmp_path, model_path)
    plain, log = start(start_replica, link, "off")
    assert re.search(r"weights: [\d.]+ MB laid out in", log) and not cache.exists()
    first, log = start(start_replica, link)
    assert f"laid out and written to {cache}" in log and is_taken(log, cache)
    second, log = start(start_replica, link)
    assert "laid out" not in log and is_taken(log, cache)
    assert plain == first == second
    assert [path.name for path in tmp_path.iterdir() if "weights" in path.name] == [cache.name]


def test_a_damaged_cache_is_replaced(start_replica, model_path, tmp_path):
    link, cache = model_in(tmp_path, model_path)
    honest, _ = start(start_replica, link)
    size = cache.stat().st_size
    damages = [lambda: flip_bit(cache, size // 2), lambda: flip_bit(cache, 40), lambda: flip_bit(cache, size - 1),
               lambda: cache.write_bytes(cache.read_bytes()[:size // 3]), lambda: cache.write_bytes(b"PENSTKWC"),
               lambda: cache.write_bytes(pathlib.Path(model_path).read_bytes())]
    for damage in damages:
        damage()
        tokens, log = start(start_replica, link)
        assert f"weight cache not used: {cache}" in log and is_taken(log, cache)
        assert tokens == honest
        assert cache.stat().st_size == size


def test_a_folder_of_ones_own_keeps_the_weights(start_replica, model_path, tmp_path):
    link, cache = model_in(tmp_path, model_path)
    folder = tmp_path / "kept" / "here"
    honest, log = start(start_replica, link, folder)
    (kept,) = folder.iterdir()
    assert re.fullmatch(r"model\.gguf-[0-9a-f]{16}\.cpu-weights", kept.name) and str(kept) in log
    again, log = start(start_replica, link, folder)
    assert is_taken(log, kept) and again == honest and not cache.exists()


def maps_of(pid, path):
    """(device, inode) of a process's mappings of a file."""
    lines = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {tuple(line.split()[3:5]) for line in lines if line.endswith(f" {path}")}


def children_of(pid):
    return [int(child) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()]


def test_replicas_that_start_together_share_one_file(start_gateway, model_path, tmp_path):
    """A replica of a gateway may not write beside the model: its sandbox leaves it the user's own folder."""
    link, beside = model_in(tmp_path, model_path)
    home = tmp_path / "home"
    server = start_gateway(CONFIG.replace("MODEL_FILE", str(link)) + "    replicas: 3\n", wait=False,
                           environment={"PENSTOCK_HOME": str(home)})
    server.wait_until_ready()
    replicas = children_of(server.pid)
    assert len(replicas) == 3
    end = time.monotonic() + 60
    while server.log_text().count(f" from {home}/weights/") < 3:
        assert time.monotonic() < end, server.log_tail()
        time.sleep(0.05)
    (cache,) = (home / "weights").glob("*.cpu-weights")
    assert not beside.exists()
    mapped = [maps_of(pid, cache) for pid in replicas]
    assert len(mapped[0]) == 1 and mapped[0] == mapped[1] == mapped[2]
    assert server.log_text().count("laid out and written") == 1


def test_a_folder_that_is_not_absolute_is_refused(penstock_binary, model_path, tmp_path):
    config = tmp_path / "config.yaml"
    text = CONFIG.replace("MODEL_FILE", str(model_path)).replace("{port}", "1").replace("{admin_port}", "2")
    config.write_text(text + "    weight_cache: kept\n")
    run = subprocess.run([penstock_binary, "check", config], capture_output=True, text=True)
    assert run.returncode != 0 and "weight_cache 'kept' is not auto, off or the absolute path" in run.stderr
