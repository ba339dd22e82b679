"""What tests of running servers see of them: samples of /metrics, and conditions that come true."""
import os
import pathlib
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def wait_until(condition, seconds=60, what="the condition"):
    """The condition's value once it is true. Generous: the machine may be busy, and a test that fails waits in vain anyway."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.02)


def listening_ports(pid):
    """Ports that a process listens on."""
    inodes = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:["):-1])
    ports = []
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            ports.append(int(fields[1].split(":")[1], 16))
    return ports


def samples_of(server, name, **labels):
    """The values of the samples with these labels, of a gateway's or a replica's metrics."""
    if server.admin_url:
        with urllib.request.urlopen(server.admin_url + "/metrics", timeout=30) as answer:
            body = answer.read()
    else:
        status, body = server.get("/metrics")
        assert status == 200
    return [sample.value for family in text_string_to_metric_families(body.decode()) for sample in family.samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())]


def metric_of(server, name, **labels):
    """Their sum; 0: there is none."""
    return sum(samples_of(server, name, **labels))
