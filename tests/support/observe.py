"""What tests of running servers see of them: samples of /metrics, and conditions that come true."""
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
