"""The Kubernetes member's driver as a process (kube_tool), and what it has told so far."""
import json
import subprocess
import threading
import time

from support import tool_process


class KubeMember:
    """Slices and replicas are as the driver has told; `waits` look at them until they are as wanted."""

    def __init__(self, kubeconfig, **config):
        config = {"kubeconfig": str(kubeconfig), "context": "a", "pool": "p", "image": "img", "heartbeat_ms": 500, **config}
        self.process = subprocess.Popen([tool_process.find_program("kube_tool"), json.dumps(config)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.changed = threading.Condition()
        self.slices, self.replicas, self.events, self.answers = {}, {}, [], []
        self.listing, self.list_sizes = None, []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            with self.changed:
                self.take(event)
                self.events.append(event)
                self.changed.notify_all()

    def take(self, event):
        kind = event["event"]
        if kind == "list_begin":
            self.listing = {}
        elif kind == "list_end":
            self.slices, self.listing = self.listing, None
            self.list_sizes.append(len(self.slices))
        elif kind == "slice":
            (self.slices if self.listing is None else self.listing)[event["id"]] = event
        elif kind == "slice_gone":
            self.slices.pop(event["id"])
        elif kind == "replica":
            self.replicas[event["uid"]] = event
        elif kind == "answer":
            self.answers.append(event)

    def wait(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition():
                assert time.monotonic() < deadline, f"it did not come about; told last: {self.events[-8:]}"
                self.changed.wait(0.2)

    def count(self, kind):
        with self.changed:
            return sum(event["event"] == kind for event in self.events)

    def wait_listed(self, times=1):
        self.wait(lambda: self.count("replicas_listed") >= times)

    def wait_phase(self, uid, phase):
        self.wait(lambda: self.replicas.get(uid, {}).get("phase") == phase)
        return self.replicas[uid]

    def wait_follow_end(self, status, times=1):
        """Until following has ended so often with this status; what was said of the last."""
        self.wait(lambda: len(self.follow_ends(status)) >= times)
        return self.follow_ends(status)[-1]["note"]

    def follow_ends(self, status):
        return [event for event in self.events if event["event"] == "follow_end" and event["status"] == status]

    def order(self, **line):
        """The driver's answer to a start or a stop; one that is carried out has nothing to add."""
        before = len(self.answers)
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        self.wait(lambda: len(self.answers) > before)
        answer = self.answers[before]
        assert (answer["status"] == "ok") == (answer["note"] == ""), answer
        return answer

    def start(self, uid, slices, arguments=("sleep", "600"), environment=(), memory=1 << 30, milli=1000, priority=0, grace_s=5):
        return self.order(do="start", uid=uid, name="replica-of-a-model", arguments=list(arguments), priority=priority,
                          environment=list(environment), grace_s=grace_s,
                          parts=[{"slice": name, "memory": memory, "milli": milli} for name in slices])

    def stop(self, uid, grace_s=5):
        return self.order(do="stop", uid=uid, grace_s=grace_s)

    def close(self):
        """May have ended already."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(timeout=60)
        self.reader.join(10)
        self.process.stdout.close()

    def kill(self):
        """As if our process had died."""
        self.process.kill()
        self.close()
