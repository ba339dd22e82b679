"""`penstock pull` against a server that serves well, breaks off, lies and attacks."""
import fcntl
import hashlib
import os
import pty
import random
import subprocess

import pytest

from support.model_hub import COMMIT, Hub

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub():
    with Hub() as server:
        server.files["model.bin"] = CONTENT
        yield server


@pytest.fixture
def pull(penstock_binary, tmp_path):
    """pull(words...): (exit status, standard error); into tmp_path/models."""
    def run(*words, environment=None):
        kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_ENDPOINT") and not name.lower().endswith("_proxy")}
        result = subprocess.run([penstock_binary, "pull", *words, "--into", tmp_path / "models"], capture_output=True, text=True, timeout=120,
                                env={**kept, **(environment or {})})
        return result.returncode, result.stderr
    return run


def left(tmp_path):
    return sorted(str(path.relative_to(tmp_path / "models")) for path in (tmp_path / "models").rglob("*") if path.is_file())


def content(tmp_path, name="model.bin"):
    return (tmp_path / "models" / name).read_bytes()


def test_a_file_comes_whole(hub, pull, tmp_path):
    assert pull(hub.url + "/file/model.bin", "--sha256", SHA256.upper())[0] == 0
    assert content(tmp_path) == CONTENT and left(tmp_path) == ["model.bin"]


def test_broken_connections_are_gone_on_with(hub, pull, tmp_path):
    hub.cut_after = [100_000, 50_000, 1]
    assert pull(hub.url + "/file/model.bin")[0] == 0
    assert content(tmp_path) == CONTENT and left(tmp_path) == ["model.bin"]
    ranges = [(headers.get("range"), headers.get("if-range")) for headers in hub.of_files()]
    assert ranges == [(None, None), ("bytes=100000-", '"v1"'), ("bytes=150000-", '"v1"'), ("bytes=150001-", '"v1"')]


def test_a_later_pull_goes_on_where_one_was_given_up(hub, pull, tmp_path):
    hub.cut_after, hub.refuse = [100_000], [200, 403]
    code, words = pull(hub.url + "/file/model.bin")
    assert code == 1 and "403" in words and left(tmp_path) == ["model.bin.part", "model.bin.part.tag"]
    hub.asked.clear()
    assert pull(hub.url + "/file/model.bin")[0] == 0
    assert [headers["range"] for headers in hub.of_files()] == ["bytes=100000-"] and content(tmp_path) == CONTENT


def test_a_file_that_has_changed_begins_anew(hub, pull, tmp_path):
    hub.cut_after, hub.change_after = [100_000], 1
    assert pull(hub.url + "/file/model.bin")[0] == 0
    assert content(tmp_path) == bytes(reversed(CONTENT))


def test_a_server_without_ranges_begins_anew(hub, pull, tmp_path):
    hub.cut_after, hub.has_ranges = [100_000, 200_000], False
    assert pull(hub.url + "/file/model.bin")[0] == 0
    assert content(tmp_path) == CONTENT


def test_without_a_tag_only_a_hash_allows_to_go_on(hub, pull, tmp_path):
    hub.tag, hub.cut_after = None, [100_000]
    assert pull(hub.url + "/file/model.bin")[0] == 0
    assert [headers.get("range") for headers in hub.of_files()] == [None, None]
    (tmp_path / "models/model.bin").unlink()
    hub.asked.clear()
    hub.cut_after = [100_000]
    assert pull(hub.url + "/file/model.bin", "--sha256", SHA256)[0] == 0
    assert [headers.get("range") for headers in hub.of_files()] == [None, "bytes=100000-"]
    assert content(tmp_path) == CONTENT


def test_a_wrong_hash_leaves_nothing(hub, pull, tmp_path):
    code, words = pull(hub.url + "/file/model.bin", "--sha256", "0" * 64)
    assert code == 1 and SHA256 in words and "0" * 64 in words and left(tmp_path) == []


def test_a_tampered_part_does_not_become_the_file(hub, pull, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/model.bin.part").write_bytes(b"x" * 1000)
    code, words = pull(hub.url + "/file/model.bin", "--sha256", SHA256)
    assert code == 1 and "hash" in words and left(tmp_path) == []
    assert pull(hub.url + "/file/model.bin", "--sha256", SHA256)[0] == 0


def test_busy_servers_are_asked_again_and_missing_files_not(hub, pull):
    hub.refuse = [503, 429]
    assert pull(hub.url + "/file/model.bin")[0] == 0
    hub.asked.clear()
    code, words = pull(hub.url + "/file/none.bin")
    assert code == 1 and "404" in words and len(hub.asked) == 1


def test_a_file_that_is_there_is_not_overwritten_unseen(hub, pull, tmp_path):
    assert pull(hub.url + "/file/model.bin")[0] == 0
    hub.asked.clear()
    code, words = pull(hub.url + "/file/model.bin")
    assert code == 1 and "is there already" in words and not hub.asked
    code, words = pull(hub.url + "/file/model.bin", "--sha256", SHA256)
    assert code == 0 and "is there already" in words and not hub.asked
    (tmp_path / "models/model.bin").write_bytes(b"old")
    assert pull(hub.url + "/file/model.bin", "--sha256", SHA256)[0] == 0 and content(tmp_path) == CONTENT


def test_a_repository_comes_from_one_commit_with_its_hashes(hub, pull, tmp_path):
    hub.files = {"model.safetensors": CONTENT, "config.json": b"{}", "sub/a b.txt": b"text", "empty": b""}
    hub.large, hub.page_count, hub.revision = {"model.safetensors"}, 3, "refs%2Fpr%2F1"
    code, words = pull("org/name", "--endpoint", hub.url + "/", "--revision", "refs/pr/1")
    assert code == 0 and words.count("its hash is right") == 4, words
    assert {name: content(tmp_path, name) for name in left(tmp_path)} == hub.files
    assert all(COMMIT in path for path, _ in hub.asked[1:])
    hub.asked.clear()
    assert pull("org/name", "--revision", "refs/pr/1", environment={"HF_ENDPOINT": hub.url})[0] == 0
    assert not hub.of_files()


def test_files_are_chosen(hub, pull, tmp_path):
    hub.files = {"m.Q4_0.gguf": b"four", "m.Q8_0.gguf": b"eight", "README.md": b"read"}
    code, words = pull("org/name", "--endpoint", hub.url)
    assert code == 1 and "2 .gguf files" in words and "--file" in words
    code, words = pull("org/name", "--endpoint", hub.url, "--file", "*Q5*")
    assert code == 1 and "matches '*Q5*'" in words
    assert pull("org/name", "--endpoint", hub.url, "--file", "*Q8*")[0] == 0 and left(tmp_path) == ["m.Q8_0.gguf"]


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out", "a\\..\\out", "a//b", ".", "x\n.bin", "a" * 300])
def test_hostile_names_fetch_nothing(hub, pull, tmp_path, path):
    hub.files = {"good": b"good", path: b"bad"}
    code, words = pull("org/name", "--endpoint", hub.url)
    assert code == 1 and "name" in words and left(tmp_path) == [] and not (tmp_path / "out").exists()
    assert not hub.of_files()


def test_links_in_the_folder_are_not_followed(hub, pull, tmp_path):
    hub.files = {"sub/file": b"text"}
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models/sub").symlink_to(tmp_path / "elsewhere")
    assert pull("org/name", "--endpoint", hub.url)[0] == 1 and not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "models/sub").unlink()
    (tmp_path / "models/sub").mkdir()
    (tmp_path / "models/sub/file.part").symlink_to(tmp_path / "elsewhere/file")
    assert pull("org/name", "--endpoint", hub.url)[0] == 1 and not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("claimed", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_wrong_length_is_told(hub, pull, tmp_path, claimed):
    hub.listed_bytes["model.bin"] = claimed
    code, words = pull("org/name", "--endpoint", hub.url)
    assert code == 1 and str(claimed) in words and "model.bin" not in left(tmp_path)


def test_a_token_is_for_its_own_server_only(hub, pull, tmp_path):
    with Hub() as other:
        other.files = hub.files = {"model.bin": CONTENT}
        hub.redirect, hub.token = other.url, "secret-word"
        code, words = pull("org/name", "--endpoint", hub.url)
        assert code == 1 and "401" in words and "token" in words
        hub.asked.clear()
        assert pull("org/name", "--endpoint", hub.url, environment={"HF_TOKEN": "secret-word"})[0] == 0
        assert all(headers["authorization"] == "Bearer secret-word" for _, headers in hub.asked)
        assert other.asked and not any("authorization" in {name.lower() for name in headers} for _, headers in other.asked)
        other.asked.clear()
        hub.page_count, hub.next_page = 2, other.url
        code, words = pull("org/name", "--endpoint", hub.url, environment={"HF_TOKEN": "secret-word"})
        assert code == 1 and "another server" in words and not other.asked


def test_a_token_comes_from_a_file(hub, pull, tmp_path):
    hub.token = "secret-word"
    (tmp_path / "token").write_text("secret-word\n")
    assert pull(hub.url + "/file/model.bin", environment={"HF_TOKEN": "secret-word"})[0] == 1  # that is for the endpoint
    code, words = pull(hub.url + "/file/model.bin", "--token-file", tmp_path / "token")
    assert code == 0 and "secret-word" not in words


def test_two_pulls_do_not_mix(hub, pull, tmp_path):
    (tmp_path / "models").mkdir()
    with open(tmp_path / "models/model.bin.part", "wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        code, words = pull(hub.url + "/file/model.bin")
    assert code == 1 and "another process" in words


@pytest.mark.parametrize("words, told", [
    (("http://example.org/a.gguf",), "https://"),
    (("ftp://127.0.0.1/a",), "https://"),
    (("org/name",), "--endpoint"),
    (("org/name/more", "--endpoint", "https://127.0.0.1"), "neither"),
    (("https://127.0.0.1/a", "--sha256", "12"), "64 hexadecimal"),
    (("https://127.0.0.1/a", "--file", "x"), "for repositories"),
    (("https://127.0.0.1/",), "no name"),
])
def test_wrong_orders_are_explained(pull, words, told):
    code, said = pull(*words)
    assert code in (1, 2) and told in said


def test_a_terminal_sees_how_far_it_is(hub, penstock_binary, tmp_path):
    hub.cut_after = [100_000]
    outer, inner = pty.openpty()
    process = subprocess.Popen([penstock_binary, "pull", hub.url + "/file/model.bin", "--into", tmp_path / "models"],
                               stdin=inner, stdout=subprocess.DEVNULL, stderr=inner)
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(outer)
    assert process.wait(60) == 0 and b"KiB of 293.0 KiB" in shown and b"% [" in shown and b"model.bin: 293.0 KiB, done" in shown
