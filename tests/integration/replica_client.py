"""What the tests of a replica share: clients, figures from /metrics, small bodies."""
import http.client
import json

import openai

from support.observe import samples_of

MODEL = "smollm2"
QUESTION = [{"role": "user", "content": "Count from one to twenty in words."}]


def client_of(server, **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120, **options)


def async_client_of(server, **options):
    return openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=240, **options)


def post(server, path, body, headers=None, timeout=120):
    """(status, headers, parsed body)."""
    connection = server.connection(timeout)
    try:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request("POST", path, data, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), json.loads(response.read())
    finally:
        connection.close()


def start_stream(server, body):
    """An open connection whose answer's first event has come."""
    connection = server.connection(120)
    connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}),
                       {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    first = response.readline()
    return connection, response, first


def metric(server, name, **labels):
    """The value of one sample; None: not there."""
    return next(iter(samples_of(server, name, **labels)), None)


def health(server):
    try:
        return json.loads(server.get("/health")[1])
    except (OSError, http.client.HTTPException):
        return {}
