"""The dashboard page in a real Chromium: it shows what runs and the last days, by day and by night, on a desk and on a phone, by keyboard
alone, and axe-core finds nothing in it."""
import hashlib
import importlib.resources
import json
import math
import sqlite3
import struct
import time

import httpx
import pytest

from support.browser import Browser
from support.observe import wait_until

KEY = "sk-admin-0123456789abcdef0123456789abcdef"
EVIL = "<img src=x onerror=document.title='hacked'>"
CONFIG = f"""
server:
  listen: 127.0.0.1:{{port}}
  admin_listen: 127.0.0.1:{{admin_port}}
  drain_timeout: 10s
auth:
  admin: true
  keys:
    - {{name: operator, sha256: {hashlib.sha256(KEY.encode()).hexdigest()}, scopes: [admin, inference], organisation: acme}}
observability:
  history: {{file: FOLDER/history.sqlite, interval: 1s}}
models:
  - name: smollm2
    path: {{model}}
    max_model_len: 1024
    kv_cache_memory: 64MiB
  - name: another/with-a-rather-long-name-of-a-model-that-goes-on
    upstream: {{url: "http://127.0.0.1:9", model: m}}
"""
STATES = ("busy_prefill", "busy_decode", "waiting_kv", "cold_start", "held_by_limits", "fragmentation", "idle_no_traffic", "broken")
PAGES = {"#/": "Where the replicas' time went", "#/replicas": "Members of the pool", "#/requests": "Requests, those under way first",
         "#/tenants": "Tenants", "#/versions": "Replicas wanted and there", "#/capacity": "Capacity"}


def past_make(path):
    """A month in the file's own tables, which a gateway has made."""
    database = sqlite3.connect(path, timeout=30)
    now = int(time.time())
    for i in range(1, 30 * 24):
        start = now - now % 3600 - 3600 * i
        busy = 0.5 + 0.4 * math.sin(start / 86400 * 2 * math.pi)
        seconds = dict.fromkeys(STATES, 3600 * (1 - busy) / 6) | {"busy_prefill": 1200 * busy, "busy_decode": 2400 * busy}
        first = b"".join(bytes([bucket]) + struct.pack("<Q", 10) for bucket in range(40, 46))
        database.execute(f"INSERT INTO history (step, start, model, first_token, requests, output_tokens, {', '.join(seconds)}) "
                         f"VALUES (3600, ?, 'smollm2', ?, 500, 60000{', ?' * len(seconds)})", [start, first, *seconds.values()])
    database.commit()
    database.close()


@pytest.fixture(scope="module")
def gateway(module_servers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    server = module_servers[0](CONFIG.replace("FOLDER", str(folder)), wait=False)
    headers = {"authorization": "Bearer " + KEY}

    def is_ready():
        assert server.is_running(), server.log_text()
        try:
            states = httpx.get(server.admin_url + "/admin/replicas", headers=headers).json()["replicas"]
        except httpx.TransportError:
            return False
        return any(one["model"] == "smollm2" and one["state"] == "ready" for one in states)
    wait_until(is_ready)
    past_make(folder / "history.sqlite")
    answer = httpx.post(server.url + "/v1/completions", headers=headers, timeout=60,
                        json={"model": "smollm2", "prompt": "One two three", "max_tokens": 4, "stream": True})
    assert answer.status_code == 200
    return server


@pytest.fixture(scope="module")
def browser(gateway):
    browser = Browser()
    browser.size(1280, 900)
    browser.prefer(**{"prefers-color-scheme": "light"})
    browser.open(gateway.admin_url + "/admin/")
    # The key is asked for once.
    browser.wait("document.getElementById('login').open")
    browser.run("document.getElementById('token').focus()")
    browser.write("wrong key")
    browser.run("document.querySelector('#login button').click()")
    browser.wait("document.getElementById('login').open && document.getElementById('login-why').textContent.includes('not accepted')")
    browser.run("document.getElementById('token').focus()")
    browser.write(KEY)
    browser.run("document.querySelector('#login button').click()")
    browser.wait("document.querySelectorAll('svg.chart').length === 5")
    # Answers of 401 are in the console as what they are.
    browser.errors = [error for error in browser.errors if "401" not in error]
    yield browser
    browser.close()


def errors(browser):
    """But for what this gateway does not keep, which the page asks for and tells."""
    return [error for error in browser.errors if "404" not in error or "/usage" not in error and "/capacity" not in error]


def show(browser, page):
    browser.run(f"location.hash = {page!r}")
    browser.wait(f"[...document.querySelectorAll('h2')].some((h) => h.textContent.startsWith({PAGES[page]!r}))", what=page)
    browser.wait("!document.getElementById('view').hasAttribute('aria-busy')")


def test_the_page_may_reach_nothing_but_this_gateway(gateway):
    page = httpx.get(gateway.admin_url + "/admin/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http:" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(gateway.admin_url + "/admin/ui/app.js").headers["content-type"].startswith("text/javascript")
    assert httpx.get(gateway.admin_url + "/admin/ui/../config").status_code in (401, 404)
    assert httpx.get(gateway.admin_url + "/admin/ui/none.js").status_code == 404
    assert httpx.get(gateway.admin_url + "/admin/history").status_code == 401
    assert httpx.get(gateway.url + "/admin/").status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_and_axe_finds_nothing(browser, page):
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    browser.run("typeof axe === 'undefined'") and browser.run(axe + "; true")
    show(browser, page)
    for theme in ("dark", "light"):
        browser.prefer(**{"prefers-color-scheme": theme})
        browser.wait(f"document.documentElement.dataset.theme === '{theme}'")
        found = browser.run("axe.run().then((r) => r.violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.html).join(' | ')))")
        assert found == [], f"{page}, {theme}"
    assert errors(browser) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_scrolls_one_way(browser, page):
    browser.size(360, 740, is_phone=True)
    show(browser, page)
    assert browser.run("document.documentElement.scrollWidth") <= 360
    browser.size(1280, 900)


def test_an_hour_is_told_in_words_by_keyboard_alone(browser):
    show(browser, "#/")
    browser.wait("document.querySelectorAll('svg.chart rect').length > 50")
    browser.reload()
    browser.wait("document.querySelectorAll('svg.chart rect').length > 50")
    reached = []
    for _ in range(30):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"))
        if reached[-1] == "hour":
            break
    assert reached[0] == "Skip to content" and "Replicas" in reached and reached[-1] == "hour"
    for _ in range(3):
        browser.press("ArrowLeft")
    browser.wait("document.querySelector('.words').textContent.includes('500 requests')")
    said = browser.run("document.querySelector('.words').textContent")
    assert "1.0 replicas on average, busy" in said and "KV cache" in said
    assert "busy" in browser.run("document.getElementById('hour').getAttribute('aria-valuetext')")
    browser.run("document.querySelector('details').open = true")
    browser.wait("document.querySelectorAll('details tbody tr').length > 5")


def test_the_last_30_days_are_drawn(browser):
    show(browser, "#/")
    browser.run("(s => { s.value = '3'; s.dispatchEvent(new Event('change')); })(document.querySelectorAll('.controls select')[1])")
    browser.wait("document.querySelectorAll('svg.chart rect').length > 700 * 6")


def test_a_request_has_a_page_of_its_own(browser):
    show(browser, "#/requests")
    browser.wait("document.querySelector('td a') !== null")
    browser.run("document.querySelector('td a').click()")
    browser.wait("[...document.querySelectorAll('h2')].some((h) => h.textContent === 'Phases')")
    assert "smollm2#0" in browser.run("document.querySelector('main').textContent")
    assert browser.run("document.title") == "Request · Penstock"


def test_what_others_have_named_stays_text(browser):
    """The config takes no such names; what comes from other gateways' files and servers may have them."""
    row = {"id": EVIL, "state": "ended", "start_ms": 1, "seconds": 1, "status": 200, "error": EVIL, "model": EVIL, "route": EVIL, "key": EVIL}
    browser.run(f"""(() => {{ const real = window.fetch; window.fetch = (path, options) => path.startsWith('requests?')
        ? Promise.resolve(new Response(JSON.stringify({{requests: [{json.dumps(row)}]}}))) : real(path, options); }})()""")
    show(browser, "#/requests")
    browser.wait("[...document.querySelectorAll('td')].filter((cell) => cell.textContent.includes('<img src=x')).length === 5")
    assert browser.run("document.querySelectorAll('main img').length") == 0
    assert "hacked" not in browser.run("document.title")
    assert errors(browser) == []
