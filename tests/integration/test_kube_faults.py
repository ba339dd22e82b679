"""The Kubernetes member when its API server is slow, overloaded, forgetful, broken or away: it is never taken for an empty one."""
import pytest

from support.kube_store import Failure
from support.kube_world import GPU_LABELS, KubeWorld, gpu


@pytest.fixture
def world(tmp_path):
    with KubeWorld(tmp_path) as made:
        yield made


def is_watch(handler, resource="nodes"):
    return handler.query.get("watch") == "1" and handler.url_path.endswith("/" + resource)


def is_list(handler, resource="nodes"):
    return handler.command == "GET" and "watch" not in handler.query and handler.url_path.endswith("/" + resource)


def nothing_is_lost(member, slices=4):
    return len(member.slices) == slices and member.count("slice_gone") == 0


def test_a_server_that_goes_away_is_silent_and_never_empty(world):
    api = world.cluster()
    member = world.listed(api)
    member.start(1, [gpu(0)])
    member.wait_phase(1, "running")
    api.stop()
    member.wait(lambda: member.count("follow_end") >= 2)
    assert nothing_is_lost(member) and member.replicas[1]["phase"] == "running"
    assert {event["status"] for event in member.events if event["event"] == "follow_end"} <= {"closed", "timeout"}
    assert member.start(2, [gpu(1)])["status"] in ("closed", "timeout")
    assert member.stop(1)["status"] in ("closed", "timeout")
    api.start()
    member.wait_listed(2)
    assert nothing_is_lost(member) and member.replicas[1]["phase"] == "running"


@pytest.mark.parametrize(("code", "body"), [
    (500, {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcdserver: leader changed"}),
    (502, b"<html>Bad Gateway</html>"), (200, b"<html>Welcome</html>"), (200, {"kind": "Status", "status": "Success"}),
    (200, b'{"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[')])
def test_a_list_that_breaks_tells_nothing(world, code, body):
    """Also on its second page, when the first was good."""
    api = world.cluster(nodes=0)
    for number in range(501):
        api.add_node(f"n{number:03}", {"nvidia.com/gpu": "1"}, GPU_LABELS)
    member = world.listed(api)
    assert nothing_is_lost(member, 501)

    def second_page(handler):
        if not is_list(handler) or "continue" not in handler.query:
            return False
        handler.answer(code, body)
        return True

    api.faults.append(second_page)
    with api.store.changed:
        api.store.compact()
        api.add_node("late", {"nvidia.com/gpu": "1"}, GPU_LABELS)
        api.store.compact()
        api.store.cut_watches()
    member.wait(lambda: member.count("follow_end") >= 2)
    assert nothing_is_lost(member, 501) and set(member.list_sizes) == {501}
    api.faults.clear()
    member.wait(lambda: len(member.slices) == 502)


def test_an_answer_that_is_cut_off_is_no_list(world):
    api = world.cluster()
    member = world.listed(api)

    def half(handler):
        if not is_list(handler):
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"kind":"NodeList","items":[]')
        handler.close_connection = True
        return True

    api.faults.append(half)
    api.stop()
    api.start()
    member.wait_follow_end("closed", 2)
    assert nothing_is_lost(member)
    api.faults.clear()
    member.wait_listed(2)


def test_cut_and_slow_watches_lose_nothing(world):
    api = world.cluster(nodes=0)
    member = world.listed(api)
    api.slow_seconds = 0.02
    for number in range(6):
        api.add_node(f"n{number}", {"nvidia.com/gpu": "1"}, GPU_LABELS)
        api.store.cut_watches()
    member.wait(lambda: len(member.slices) == 6)
    assert member.count("list_begin") == 1 and member.count("follow_end") == 0


def test_a_watch_goes_on_from_the_last_bookmark(world):
    """Without it, the version of a collection that never changes would become too old."""
    api = world.cluster(bookmark_seconds=0.05)
    member = world.listed(api)
    for number in range(3):
        api.add_pod(f"x{number}", None, {"cpu": "100"})
    version = api.store.version
    api.wait(lambda: len(api.bookmarks) == 6 and min(api.bookmarks.values()) >= version)
    api.store.cut_watches()
    api.store.compact()
    api.add_node("n9", {"nvidia.com/gpu": "1"}, GPU_LABELS)
    member.wait(lambda: len(member.slices) == 5)
    assert member.count("list_begin") == 1 and member.count("resync") == 0


def test_a_version_that_is_too_old_is_listed_anew(world):
    api = world.cluster()
    member = world.listed(api)
    with api.store.changed:
        api.add_node("late", {"nvidia.com/gpu": "1"}, GPU_LABELS)
        api.store.cut_watches()
        api.add_node("later", {"nvidia.com/gpu": "1"}, GPU_LABELS)
        api.store.compact()
    member.wait(lambda: {"late/nvidia.com/gpu#0", "later/nvidia.com/gpu#0"} <= set(member.slices))
    assert member.count("resync") >= 1 and member.count("follow_end") == 0


def test_a_replica_that_went_while_nobody_watched_is_not_told_again(world):
    api = world.cluster()
    member = world.listed(api)
    member.start(1, [gpu(0)])
    member.wait_phase(1, "running")
    api.stop()
    name = api.pods()[0]["metadata"]["name"]
    api.delete("pods", "llm", name, {"gracePeriodSeconds": "0"})
    api.store.compact()
    told = member.count("replica")
    api.start()
    member.wait_listed(2)
    assert member.count("replica") == told  # listed, and not among them: it is gone


def test_pages_whose_version_is_gone_are_begun_anew(world):
    api = world.cluster(nodes=0)
    for number in range(1100):
        api.add_node(f"n{number:04}", {"nvidia.com/gpu": "1"}, GPU_LABELS)
    compacted = []

    def forget(handler):
        if is_list(handler) and "continue" in handler.query and not compacted:
            compacted.append(True)
            api.store.compact()
        return False

    api.faults.append(forget)
    member = world.listed(api)
    assert len(member.slices) == 1100 and member.count("follow_end") == 0
    assert sum("/api/v1/nodes?limit=500" in path for _, path in api.requests) == 5  # two, and three


def test_an_overloaded_server_is_asked_again_when_it_says(world):
    api = world.cluster()
    member = world.listed(api)
    api.busy = 2
    assert member.start(1, [gpu(0)])["status"] == "ok"
    member.wait_phase(1, "running")


def test_a_server_that_asks_for_more_patience_is_told_apart_from_one_that_is_away(world):
    api = world.cluster()
    member = world.listed(api)

    def orders_are_refused(handler):
        if handler.command == "PATCH":
            raise Failure(429, "TooManyRequests", "too many requests", headers={"Retry-After": "120"})
        return False

    api.faults.append(orders_are_refused)
    answer = member.start(1, [gpu(0)])
    assert answer["status"] == "again" and "429" in answer["note"]
    assert api.pods() == [] and member.count("follow_end") == 0
    api.faults.clear()
    assert member.start(1, [gpu(0)])["status"] == "ok"


def test_watches_that_always_fail_end_in_a_new_list(world):
    api = world.cluster()
    member = world.listed(api)
    failure = Failure(500, "InternalError", "etcd: no leader")

    def watches_fail(handler):
        if not is_watch(handler):
            return False
        handler.answer(200, b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError","message":"no leader"}}\n')
        return True

    def watches_are_refused(handler):
        if is_watch(handler):
            raise failure
        return False

    for fault, words in ((watches_fail, "no leader"), (watches_are_refused, "etcd: no leader")):
        before = len(member.follow_ends("closed"))
        api.faults[:] = [fault]
        api.store.cut_watches()
        assert words in member.wait_follow_end("closed", before + 1)
        assert nothing_is_lost(member)
    api.faults.clear()
    api.add_node("n9", {"nvidia.com/gpu": "1"}, GPU_LABELS)
    member.wait(lambda: len(member.slices) == 5)


def test_an_order_whose_answer_is_lost_is_carried_out_once(world):
    api = world.cluster()
    member = world.listed(api)
    lost = []

    def answers_are_lost(handler):
        if handler.command != "PATCH" or lost:
            return False
        lost.append(handler.path)
        resource, namespace, name, _ = api.collection(handler.url_path)
        handler.carry_out(resource, namespace, name)
        handler.close_connection = True
        return True

    api.faults.append(answers_are_lost)
    assert member.start(1, [gpu(0), gpu(1)])["status"] in ("ok", "closed")  # a kept connection that was cut is tried again
    assert member.start(1, [gpu(0), gpu(1)])["status"] == "ok"
    member.wait_phase(1, "running")
    assert lost and len(api.pods()) == 2
    assert member.stop(1)["status"] == "ok"
    member.wait_phase(1, "ended")
    assert api.pods() == []


def test_silence_is_broken_by_a_question(world):
    api = world.cluster(bookmark_seconds=1000)
    member = world.listed(api, heartbeat_ms=100)
    before = member.count("heard")
    member.wait(lambda: member.count("heard") >= before + 3)
    assert any(path == "/readyz" for _, path in api.requests)
