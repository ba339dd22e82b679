"""A replica that serves a gateway on another machine: registering, reports, whom it serves, and when it ends."""
from __future__ import annotations

import json
import pathlib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from support.joined import WAIT_SECONDS, Joined
from support.lora_folder import write_lora

REFUSED, NOT_REACHED = 77, 75
PROMPT = "Once upon a time, in a land that no map has ever shown, there was a small village. " * 6


@pytest.fixture
def joined(penstock_binary: pathlib.Path, model_path: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Joined]:
    with Joined(penstock_binary, model_path, tmp_path) as it:
        yield it


def ended(replica: subprocess.Popen[bytes]) -> int:
    return replica.wait(WAIT_SECONDS)


def test_it_registers_loads_and_answers_its_gateway(joined: Joined) -> None:
    joined.start_ready(slot=1, uid=42)
    facts = joined.ask("look", 1)
    assert (facts["uid"], facts["context"]) == (42, 512)
    assert facts["address"].startswith("127.0.0.1:") and facts["reason"] == ""
    text = joined.complete(1, prompt=PROMPT)
    assert text
    facts = joined.wait_for(1, lambda now: now["steps"] > 0)
    assert facts["blocks"] > 0


def test_it_serves_nobody_else(joined: Joined) -> None:
    joined.start_ready()
    address = joined.ask("look", 0)["address"]
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    for path in ("/livez", "/metrics", "/v1/models", "/v1/completions"):
        for session in (None, "00000000-" + "0" * 64, ""):
            request = urllib.request.Request(f"https://{address}{path}")
            if session is not None:
                request.add_header("x-penstock-session", session)
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(request, timeout=30, context=anyone)
            assert refusal.value.code == 401
            assert json.load(refusal.value)["error"]["code"] == "not_the_gateway"
    with pytest.raises(urllib.error.HTTPError) as refusal:  # without TLS nobody is the gateway
        urllib.request.urlopen(f"http://{address}/livez", timeout=30)
    assert refusal.value.code == 401


def test_a_spent_token_is_refused_for_good(joined: Joined) -> None:
    order = joined.order()
    first = joined.start(order)
    joined.wait_for(0, lambda facts: facts["answered"] > 0, first)
    second = joined.start(order)
    assert ended(second) == REFUSED
    assert "has been used" in second.log.read_text()
    assert first.poll() is None


def test_another_gateway_behind_the_address_is_refused_for_good(joined: Joined) -> None:
    order = joined.order()
    order["PENSTOCK_JOIN_PIN"] = "sha256//" + "A" * 43 + "="
    assert ended(joined.start(order)) == REFUSED


def test_a_gateway_that_is_not_there_is_waited_for_no_longer_than_the_token_is_good(joined: Joined) -> None:
    order = joined.order()
    order.update(PENSTOCK_JOIN_URL="https://127.0.0.1:1", PENSTOCK_JOIN_TIMEOUT="1")
    replica = joined.start(order)
    assert ended(replica) == NOT_REACHED
    assert "was not reached within 1 s" in replica.log.read_text()


@pytest.mark.parametrize(("changes", "told"), [
    ({"PENSTOCK_JOIN_URL": ""}, "PENSTOCK_JOIN_URL is not set"),
    ({"PENSTOCK_JOIN_URL": "http://127.0.0.1:1"}, "https://host:port"),
    ({"PENSTOCK_JOIN_PIN": "sha256//short"}, "no pin"),
    ({"PENSTOCK_JOIN_TIMEOUT": "soon"}, "seconds"),
    ({"PENSTOCK_PARTS": "2"}, "one process on one slice"),
])
def test_an_environment_that_cannot_be_is_told(joined: Joined, changes: dict[str, str], told: str) -> None:
    replica = joined.start({**joined.order(), **changes})
    assert ended(replica) == 2
    assert told in replica.log.read_text()


def test_why_it_cannot_serve_reaches_the_gateway(penstock_binary: pathlib.Path, tmp_path: pathlib.Path) -> None:
    missing = tmp_path / "no-such-model.gguf"
    with Joined(penstock_binary, missing, tmp_path) as joined:
        replica = joined.start(joined.order())
        assert ended(replica) == 1
        facts = joined.ask("look", 0)
        assert str(missing) in facts["reason"]
        assert facts["answered"] == 0 and facts["not_ready"] > 0


def test_it_listens_where_it_is_told(joined: Joined) -> None:
    joined.start_ready(0, 1, "--listen", "0.0.0.0:0")
    assert joined.ask("look", 0)["address"].startswith("127.0.0.1:")  # the way to this gateway
    assert joined.complete()


def test_a_machine_may_know_its_own_address(joined: Joined) -> None:
    order = {**joined.order(), "PENSTOCK_ADDRESS": "127.0.0.2"}
    replica = joined.start(order)
    joined.wait_for(0, lambda facts: facts["answered"] > 0, replica)
    assert joined.ask("look", 0)["address"].startswith("127.0.0.2:")
    assert joined.complete()


def test_it_ends_when_the_gateway_knows_nothing_of_it(joined: Joined) -> None:
    replica = joined.start_ready(0, 7)
    joined.ask("forget", 0, 7)
    assert ended(replica) == 0
    assert "no replica has this session now: this replica ends" in replica.log.read_text()


def test_it_ends_when_its_gateway_is_gone(penstock_binary: pathlib.Path, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with Joined(penstock_binary, model_path, tmp_path, lost="1s") as joined:
        replica = joined.start_ready()
        joined.close_tool()
        assert ended(replica) == 0
        assert "pool.lost_timeout" in replica.log.read_text()


def test_a_new_config_changes_its_adapters(joined: Joined, tmp_path: pathlib.Path) -> None:
    joined.start_ready()
    plain = joined.complete(tokens=24)
    voice = write_lora(tmp_path / "voice", 1)
    assert joined.ask("call", 0, "/v1/models")["body"].count('"id"') == 1
    joined.ask("config", joined.write_config(f"{{name: voice, path: {voice}}}"))
    joined.wait_for(0, lambda _: '"voice"' in joined.ask("call", 0, "/v1/models")["body"])
    assert joined.complete(model="voice", tokens=24) != plain
    assert joined.complete(tokens=24) == plain
    joined.ask("config", joined.write_config())
    joined.wait_for(0, lambda _: '"voice"' not in joined.ask("call", 0, "/v1/models")["body"])


def test_one_that_is_killed_leaves_its_slot_to_the_next(joined: Joined) -> None:
    first = joined.start_ready(0, 1)
    text = joined.complete()
    first.kill()
    first.wait()
    assert joined.ask("call", 0, "/v1/models")["code"] == 0
    joined.ask("forget", 0, 1)
    heard = joined.ask("look", 0)["answered"]
    second = joined.start(joined.order(0, 2))
    joined.wait_for(0, lambda facts: facts["answered"] > heard, second)
    assert joined.ask("look", 0)["uid"] == 2
    assert joined.complete() == text
