"""Drives the queen's page in a real Chromium.

    page.py stub ASSETS [SHOTS]                 against a stand-in for the queen, in this process
    page.py chain URL KEY ASSET [SHOTS]         against a chain whose file ASSET may be edited

Prints `all checks passed` as its last line when they have.
"""

import json
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Error, expect, sync_playwright

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
KEY = "sk-of-the-test"
HIVES, REQUESTS = 40, 200
# More than are said while a queen is built, at 50 a second.
WORDS = 12_000
# For an edit that is built beside everything else that a test run does.
FOLLOWS_MS = 240_000

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def health(role, exe_hash, uptime=600):
    return {"status": "ok", "role": role, "instance_id": role + exe_hash, "pid": 4242, "start_time": 1,
            "exe_hash": exe_hash, "source_root": "/src/rbee", "version": "0.1.0", "uptime_s": uptime}


class World:
    """What the stand-in tells."""

    def __init__(self, hives, requests):
        self.lock = threading.Condition()
        self.generation = 0  # differs when every connection is to be dropped
        self.version = "0000000000000001"
        self.queen = "a1" * 32
        self.needs_key = False
        self.log = []  # frames after the first ones
        self.hives = [f"host-{n:02}" for n in range(hives)] if hives > 1 else ["localhost"]
        self.requests = requests
        self.jobs = {}
        self.posted = []
        self.keys = [{"name": "open-webui", "scope": "chat", "created": int(time.time()) - 7200}]

    def hive(self, alias, build="b2" * 32, busy=0):
        worker = {"id": f"worker-smol.{alias}", "model": "smollm2:135m", "kind": "llama_cpp", "device": "cpu", "state": "ready",
                  "active_requests": busy, "memory_bytes": 312 << 20, "detail": None, "health": health("llamacpp-worker", "c3" * 32, 95)}
        return {"alias": alias, "host": "localhost", "port": 8600, "base_url": "http://127.0.0.1:8600", "state": "ready",
                "detail": None, "health": health("rbee-hive", build, 3700),
                "capabilities": {"devices": [{"id": "cpu", "name": "CPU", "cores": 8, "memory_bytes": None}],
                                 "memory_total_bytes": 32 << 30, "memory_available_bytes": 19 << 30},
                "workers": {"workers": [worker]},
                "models": {"models": [
                    {"name": "smollm2:135m", "size_bytes": 98 << 20, "local": True, "path": None, "sha256": None, "license": None, "description": None},
                    {"name": "qwen2.5:7b", "size_bytes": 4700 << 20, "local": True, "path": None, "sha256": None, "license": None, "description": None,
                     "sampling": {"temperature": 0.7, "top_p": 0.8}},
                    {"name": "smollm2:1.7b", "size_bytes": 1100 << 20, "local": False, "path": None, "sha256": None, "license": None, "description": None}]}}

    def binary(self, name, is_fresh=True, reasons=(), built=None):
        builds = {"queen-rbee": self.queen, "rbee-hive": "b2" * 32, "llamacpp-worker": "c3" * 32}
        return {"binary": name, "freshness": "fresh" if is_fresh else "stale", "reasons": list(reasons),
                "exe_hash": (built or builds[name]) if is_fresh else None}

    def under_way(self, events):
        now = int(time.time() * 1000)
        return [{"job_id": f"job-{n}", "operation": "completion", "subject": ["smollm2:135m", "qwen2.5:7b"][n % 2],
                 "created_at_ms": now - 1000 * n, "events": events * (1 + n % 3)} for n in range(self.requests)]

    def first(self):
        yield "queen", {"health": health("queen-rbee", self.queen, 7300), "page": self.version, "auto_update": True}
        for name in ["queen-rbee", "rbee-hive", "llamacpp-worker"]:
            yield "binary", self.binary(name)
        yield "leaving", []
        yield "settings", {"qwen2.5:7b": {"temperature": "0.3", "system": "You are brief."}}
        yield "hives", self.hives
        for nth, alias in enumerate(self.hives):
            yield "hive", self.hive(alias, busy=nth % 3)
        yield "requests", self.under_way(40)

    def tell(self, name, data):
        with self.lock:
            self.log.append((name, data))
            self.lock.notify_all()

    def narrate(self, action, human, target=None, level="info", actor="dmn-life"):
        told = {"actor": actor, "action": action, "human": human, "level": level, "at_ms": int(time.time() * 1000)}
        self.tell("narration", told | ({"target": target} if target else {}))

    def replaced(self, queen, version):
        with self.lock:
            self.queen, self.version = queen, version
            self.generation += 1
            self.lock.notify_all()


def handler(world, assets):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body, kind="application/json", **headers):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def stream(self, frames, **headers):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.close_connection = True
            try:
                for frame in frames:
                    self.wfile.write(frame.encode())
                    self.wfile.flush()
            except OSError:
                pass

        def let_in(self):
            presented = self.headers.get("authorization")
            if world.needs_key and presented != f"Bearer {KEY}":
                code = "key_wrong" if presented else "key_missing"
                self.answer(401, {"error": {"message": "not let in", "code": code}})
                return False
            return True

        def do_GET(self):
            path = self.path.split("?")[0]
            if path == "/" or path.startswith("/page/"):
                file = assets / ("index.html" if path == "/" else path.removeprefix("/page/"))
                if not file.is_file():
                    return self.answer(404, {})
                body = file.read_bytes().replace(b"{{version}}", world.version.encode())
                kind = TYPES[file.suffix] + "; charset=utf-8"
                return self.answer(200, body, kind, content_security_policy=POLICY, cache_control="no-cache")
            if not self.let_in():
                return
            if path == "/v1/events":
                return self.stream(self.events())
            if path == "/v1/keys":
                is_manager = self.headers.get("authorization") == f"Bearer {KEY}"
                return self.answer(200, {"keys": world.keys}) if is_manager else self.answer(401, {"error": {"message": "no", "code": "token_missing"}})
            if path == "/v1/jobs/job-of-work/stream":
                told = {"actor": "hive", "action": "worker_ready", "human": "it answers", "level": "info", "at_ms": 0}
                frames = [("narration", told), ("end", {"state": "completed"})]
                return self.stream(f"id: {nth}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for nth, (name, data) in enumerate(frames, 1))
            if path.startswith("/v1/jobs/"):
                after = int(self.headers.get("last-event-id") or 0)
                return self.stream(self.job(path.split("/")[3], after))
            self.answer(404, {"error": {"message": "nothing there", "code": "unknown_path"}})

        def events(self):
            frame = "event: {}\ndata: {}\n\n".format
            with world.lock:
                generation, at = world.generation, len(world.log)
            for name, data in world.first():
                yield frame(name, json.dumps(data))
            while world.generation == generation:
                with world.lock:
                    world.lock.wait(0.2)
                    new, at = world.log[at:], len(world.log)
                yield ":\n\n"
                for name, data in new:
                    yield frame(name, json.dumps(data))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.let_in():
                return
            if self.path == "/v1/keys":
                world.keys.append(body | {"created": int(time.time())})
                return self.answer(201, {"name": body["name"], "key": "sk-of-" + body["name"]})
            if self.path.startswith("/v1/models/unload"):
                world.posted.append({"path": self.path} | body)
                return self.answer(200, {"model": body["model"], "unloaded": 1})
            if self.path == "/v1/jobs":
                world.posted.append(body)
                return self.answer(201, {"job_id": "job-of-work", "sse_url": "/v1/jobs/job-of-work/stream"})
            if self.path != "/v1/chat/completions":
                return self.answer(404, {"error": {"message": "nothing there", "code": "unknown_path"}})
            world.posted.append(body)
            if body["messages"][-1]["content"] == "refuse":
                return self.answer(503, {"error": {"message": "the engine does not build", "code": "build_failed"}})
            job = f"job-of-chat-{len(world.jobs)}"
            words = [word + " " for word in body["messages"][-1]["content"].split()]
            world.jobs[job] = words
            self.stream(self.job(job, 0), x_rbee_job=job)

        def do_DELETE(self):
            world.posted.append(self.path)
            world.keys = [key for key in world.keys if self.path != "/v1/keys/" + key["name"]]
            self.send_response(204)
            self.end_headers()

        def job(self, job, after):
            """An event for each word, with an origin in front; dropped when the queen is replaced."""
            generation = world.generation
            origin = {"at": world.hives[0], "job_id": "h", "last_event_id": 0,
                      "origin": {"at": f"worker-smol.{world.hives[0]}", "job_id": "w", "last_event_id": 0}}
            events = [("origin", json.dumps(origin))]
            events += [("", json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]})) for word in world.jobs[job]]
            events += [("", "[DONE]"), ("end", json.dumps({"state": "completed"}))]
            for nth, (name, data) in enumerate(events, 1):
                if nth <= after:
                    continue
                if world.generation != generation:
                    return
                yield f"id: {nth}\n" + (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
                time.sleep(0.01)

        def handle(self):
            try:
                super().handle()
            except OSError:
                pass

    return Handler


class Browser:
    def __init__(self, playwright, shots):
        path = next(filter(None, map(shutil.which, BROWSERS)))
        self.browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        self.shots = shots
        self.faults = []

    def page(self, **options):
        context = self.browser.new_context(**{"viewport": {"width": 1360, "height": 860}, "color_scheme": "light"} | options)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))

        def heard(message):
            # What is refused or breaks off is said here too, and is no fault of the page's.
            if message.type == "error" and "Failed to load resource" not in message.text and "net::" not in message.text:
                self.faults.append(message.text)

        page.on("console", heard)
        return page

    def shot(self, page, name):
        if self.shots:
            page.screenshot(path=str(self.shots / f"{name}.png"))


def serve(world, assets):
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), handler(world, assets))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def wait_for(page, expression, timeout_ms=30_000):
    """Playwright's own wait evaluates text, which the page's policy forbids."""
    deadline = time.monotonic() + timeout_ms / 1000
    while time.monotonic() < deadline:
        try:
            if page.evaluate(expression):
                return
        except Error:
            # While another document takes its place.
            pass
        time.sleep(0.05)
    raise AssertionError(f"`{expression}` did not come true")


def answer_of(page, nth=-1):
    return page.locator(".turn:not(.user) .text").nth(nth)


def send(page, text):
    page.locator("#prompt").fill(text)
    page.locator("#prompt").press("Enter")


def first_load(browser, assets):
    world = World(1, 2)
    page = browser.page()
    began = time.monotonic()
    page.goto(serve(world, assets))
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    print(f"first load: {time.monotonic() - began:.2f} s until every level is shown")
    expect(page.locator("#verdict")).to_have_text("every process runs what its sources say")
    expect(page.locator("tr[data-level=queen] .build")).to_have_text("a1a1a1a1")
    expect(page.locator("#requests tbody tr")).to_have_count(2)
    return world, page


def an_edit_is_shown(browser, world, page):
    reason = "`/src/rbee/bin/20_rbee_hive/src/room.rs` changed (in rbee-hive)"
    world.tell("binary", world.binary("rbee-hive", False, [reason, "`b` changed"]))
    expect(page.locator("tr[data-level=hive] .word")).to_have_text("stale")
    expect(page.locator("tr[data-level=hive] .why")).to_have_text("bin/20_rbee_hive/src/room.rs changed (in rbee-hive); and 1 more")
    world.narrate("auto_rebuild", "\U0001f528 Rebuilding 'rbee-hive'...", "rbee-hive")
    world.narrate("output", "   Compiling rbee-hive v0.1.0", level="verbatim")
    expect(page.locator("tr[data-level=hive] .word")).to_have_text("building")
    expect(page.locator("#events")).to_contain_text("Compiling rbee-hive")
    world.narrate("build_progress", "Compiling 'rbee-hive': 3 of 4 (2 s), rbee-hive", "rbee-hive", level="progress")
    expect(page.locator("tr[data-level=hive] .why")).to_have_text("Compiling 'rbee-hive': 3 of 4 (2 s), rbee-hive")
    browser.shot(page, "building")
    world.narrate("auto_rebuild", "\u2705 Rebuild complete", "rbee-hive")
    world.tell("binary", world.binary("rbee-hive", built="d4" * 32))
    expect(page.locator("tr[data-level=hive] .word")).to_have_text("handing over")
    world.tell("hive", world.hive("localhost", build="d4" * 32))
    expect(page.locator("tr[data-level=hive] .word")).to_have_text("serving")
    expect(page.locator("tr[data-level=hive] .build")).to_have_text("d4d4d4d4")
    # A new one that fails: the one before serves on, and that is said.
    world.tell("binary", world.binary("rbee-hive", built="e5" * 32))
    world.narrate("replace", "The new 'rbee-hive' failed, so process 7 goes on serving: it exited with 1", "rbee-hive", level="warn")
    expect(page.locator("tr[data-level=hive] .word")).to_have_text("rolled back")
    expect(page.locator("tr[data-level=hive] .why")).to_contain_text("it exited with 1")
    browser.shot(page, "rolled-back")
    world.tell("binary", world.binary("rbee-hive", built="d4" * 32))


def talks_go_on(browser, world, page):
    page.locator("#add-talk").click()
    expect(page.locator(".talk")).to_have_count(2)
    page.locator(".talk select").nth(1).select_option("qwen2.5:7b")
    words = " ".join(f"w{n}" for n in range(400))
    send(page, words)
    expect(answer_of(page, 0)).to_contain_text("w30 ")
    # The page itself is another one now, and both streams break.
    page.evaluate("window.before = true")
    world.replaced("f6" * 32, "0000000000000002")
    wait_for(page, "window.before === undefined")
    browser.shot(page, "chat-going-on")
    for nth in range(2):
        expect(answer_of(page, nth)).to_have_text(words, timeout=20_000)
    # Each talk sends its own, in no order.
    asked = sorted(str(body.get("model")) for body in world.posted)
    assert asked == ["None", "qwen2.5:7b"], asked
    meta = page.locator(".turn .meta").first
    expect(meta).to_contain_text("worker c3c3c3c3")
    expect(meta).to_contain_text("queen a1a1a1a1 \u2192 f6f6f6f6")
    expect(page.locator(".turn .happened").first).to_contain_text("after the page was loaded anew")
    expect(page.locator("#events")).to_contain_text("The queen was replaced: build a1a1a1a1")
    # The queen alone: the page stays.
    page.evaluate("window.before = true")
    send(page, words)
    expect(answer_of(page, 1)).to_contain_text("w30 ")
    world.replaced("a7" * 32, "0000000000000002")
    expect(answer_of(page, 1)).to_have_text(words, timeout=20_000)
    assert page.evaluate("window.before") is True
    browser.shot(page, "chat")


def an_answer_is_stopped_and_gone_on_with(browser, world, page):
    page.locator(".talk .shut").nth(1).click()
    page.locator("#new-talk").click()
    send(page, " ".join(f"w{n}" for n in range(2000)))
    expect(answer_of(page)).to_contain_text("w20 ")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".turn .meta")).to_contain_text("stopped")
    said = answer_of(page).text_content()
    page.get_by_role("button", name="Go on").click()
    wait_for(page, f"document.querySelector('.turn:not(.user) .text').textContent.length > {len(said)}")
    assert answer_of(page).text_content().startswith(said)
    assert world.posted[-1]["messages"][-1]["role"] == "assistant", world.posted[-1]["messages"][-1]
    page.locator("#new-talk").click()
    send(page, "refuse")
    expect(page.locator(".turn .failed")).to_have_text("the engine does not build")


def a_key_lets_in(browser, assets):
    world = World(1, 0)
    world.needs_key = True
    page = browser.page(color_scheme="dark")
    page.goto(serve(world, assets))
    expect(page.locator("#login")).to_be_visible()
    browser.shot(page, "login")
    expect(page.locator("#login-key")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#closed")).to_contain_text("not, or no longer, one of this server")
    page.locator("#login-key").fill(KEY)
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    expect(page.locator("#update")).to_be_visible()
    browser.shot(page, "dark")
    manages(browser, world, page)
    assert page.evaluate("Object.values(localStorage).length") == 0
    page.locator("#key").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.locator("#closed")).to_have_text("This server lets in who has a key.")


def manages(browser, world, page):
    """What a key with `--scope manage` is for."""
    smol, qwen = (page.locator("#models tr", has_text=name) for name in ["smollm2:135m", "qwen2.5:7b"])
    qwen.get_by_role("button", name="Load").click()
    expect(page.locator("#pull-state")).to_have_text("qwen2.5:7b is loaded")
    smol.get_by_role("button", name="Unload").click()
    expect(page.locator("#pull-state")).to_contain_text("smollm2:135m is unloaded when")
    assert world.posted == [
        {"operation": "model_load", "model": "qwen2.5:7b", "hive": "localhost"},
        {"path": "/v1/models/unload?hive=localhost", "model": "smollm2:135m"},
    ], world.posted
    leaving = world.hive("localhost", busy=2)
    leaving["workers"] = {"workers": [], "leaving": leaving["workers"]["workers"], "waiting": {"qwen2.5:7b": 3}}
    leaving["workers"]["leaving"][0]["state"] = "draining"
    world.tell("hive", leaving)
    expect(smol.locator(".where")).to_have_text("finishes its answers")
    expect(smol.get_by_role("button", name="Unload")).to_be_hidden()
    expect(page.locator("tr[data-level=worker] .word")).to_have_text("draining")
    expect(page.locator("tr[data-level=worker] .plain")).to_contain_text("finishes 2 answers")
    # Who waits, for what, and how what they wait for is set.
    expect(qwen.locator(".where")).to_have_text("in the store, 3 wait")
    expect(page.locator("#requests-count")).to_have_text("nothing, 3 wait for a worker")
    expect(qwen.locator(".settings")).to_have_text("set: temperature 0.3, system You are brief. \u00b7 by its makers: top_p 0.8")
    # Queens and hives that were replaced, with what they finish.
    replaced = {"pid": 77, "exe_hash": "99" * 32, "started_at_ms": int(time.time() * 1000) - 60_000, "requests": World(1, 1).under_way(40)}
    world.tell("leaving", [replaced])
    queens = page.locator("tr[data-level=queen]")
    expect(queens.locator(".word")).to_have_text(["serving", "draining"])
    expect(queens.locator(".build").nth(1)).to_have_text("99999999")
    expect(queens.locator(".plain").nth(1)).to_have_text("finishes 1 request: smollm2:135m")
    world.tell("leaving", [])
    expect(queens).to_have_count(1)
    world.tell("hive", leaving | {"leaving": [replaced | {"requests": []}]})
    expect(page.locator("tr[data-level=hive] .plain").nth(1)).to_have_text("finishes 0 requests")
    # The next one answers beside the one that finishes.
    beside = world.hive("localhost", busy=1)
    beside["workers"]["leaving"] = [leaving["workers"]["leaving"][0] | {"id": "worker-smol.0"}]
    beside["workers"]["waiting"] = {"smollm2:135m": 1}
    world.tell("hive", beside)
    expect(page.locator("tr[data-level=worker] .plain")).to_contain_text(["answers 1, 1 waits", "finishes 2 answers"])
    page.locator("#keys-box summary").click()
    expect(page.locator("#keys tbody tr")).to_have_count(1)
    page.locator("#key-name").fill("backup")
    page.locator("#key-scope").select_option("manage")
    page.get_by_role("button", name="Make").click()
    expect(page.locator("#keys-state")).to_contain_text("sk-of-backup")
    expect(page.locator("#keys tbody tr")).to_have_count(2)
    browser.shot(page, "keys")
    revoke = page.locator("#keys tr", has_text="open-webui").get_by_role("button")
    revoke.click()
    expect(revoke).to_have_text("Really revoke?")
    expect(page.locator("#keys tbody tr")).to_have_count(2)
    revoke.click()
    expect(page.locator("#keys tbody tr")).to_have_count(1)
    expect(page.locator("#keys-state")).to_have_text("open-webui is revoked")


def a_phone_has_both_views(browser, assets):
    page = browser.page(viewport={"width": 390, "height": 780}, has_touch=True)
    page.goto(serve(World(1, 1), assets))
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    expect(page.locator("#chat")).to_be_hidden()
    browser.shot(page, "phone-chain")
    page.get_by_role("button", name="Chat", exact=True).first.click()
    expect(page.locator("#prompt")).to_be_visible()
    expect(page.locator("#chain")).to_be_hidden()
    send(page, "What is a relay?")
    expect(answer_of(page)).to_have_text("What is a relay?")
    browser.shot(page, "phone-chat")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"the page is {width} wide"


def many_are_shown_without_jank(browser, assets):
    world = World(HIVES, REQUESTS)
    page = browser.page()
    page.goto(serve(world, assets))
    expect(page.locator("#levels tbody tr")).to_have_count(1 + 2 * HIVES)
    expect(page.locator("#requests-count")).to_contain_text(f"{REQUESTS} requests")
    send(page, " ".join(f"w{n}" for n in range(300)))
    page.evaluate(
        """() => {
          window.tasks = [];
          new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
        }"""
    )
    began = time.monotonic()
    events = 40
    while time.monotonic() - began < 5:
        events += 20
        world.tell("requests", world.under_way(events))
        for alias in world.hives:
            world.tell("hive", world.hive(alias, busy=events % 5))
        for line in range(20):
            world.narrate("output", f"   Compiling crate-{events}-{line} v0.1.0", level="verbatim")
        time.sleep(0.25)
    browser.shot(page, "many")
    tasks = page.evaluate("window.tasks")
    print(f"{HIVES} hives, {REQUESTS} requests, 5 s: {len(tasks)} tasks over 50 ms, the longest {max(tasks, default=0):.0f} ms")
    assert max(tasks, default=0) < 250 and sum(tasks) < 1500, tasks
    expect(page.locator("#events li").last).to_contain_text("Compiling")


def keys_alone_do(browser, page):
    page.locator("body").press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, meter")]
          .filter((it) => it.offsetParent && !(it.textContent.trim() || it.labels?.length || it.getAttribute("aria-label")))
          .map((it) => it.outerHTML)"""
    )
    assert unnamed == [], unnamed


def stub(assets, shots):
    with sync_playwright() as playwright:
        browser = Browser(playwright, shots)
        world, page = first_load(browser, assets)
        browser.shot(page, "first")
        keys_alone_do(browser, page)
        an_edit_is_shown(browser, world, page)
        talks_go_on(browser, world, page)
        an_answer_is_stopped_and_gone_on_with(browser, world, page)
        a_key_lets_in(browser, assets)
        a_phone_has_both_views(browser, assets)
        many_are_shown_without_jank(browser, assets)
        browser.browser.close()
        assert browser.faults == [], browser.faults


def chain(url, key, asset, shots):
    with sync_playwright() as playwright:
        browser = Browser(playwright, shots)
        page = browser.page()
        page.goto(url)
        expect(page.locator("#login")).to_be_visible()
        page.locator("#login-key").fill(key)
        page.keyboard.press("Enter")
        for level in ["queen", "hive", "worker"]:
            expect(page.locator(f"tr[data-level={level}] .word")).to_have_text("serving", timeout=30_000)
        before = page.locator("tr[data-level=queen] .build").text_content()
        words = " ".join(f"w{n}" for n in range(WORDS))
        send(page, words)
        expect(answer_of(page)).to_contain_text("w30 ", timeout=30_000)
        expect(page.locator("#requests tbody tr")).not_to_have_count(0)
        # A file of the page is an input of the queen's like any source.
        page.evaluate("window.before = true")
        asset.write_text(asset.read_text() + f"\n:root {{ --edited: 1; }} /* {time.time_ns()} */\n")
        expect(page.locator("tr[data-level=queen] .word").first).to_have_text("stale", timeout=FOLLOWS_MS)
        browser.shot(page, "chain-stale")
        expect(page.locator("tr[data-level=queen] .why").first).to_contain_text(asset.name)
        wait_for(page, "window.before === undefined", FOLLOWS_MS)
        expect(page.locator("tr[data-level=queen] .build").first).not_to_have_text(before, timeout=30_000)
        assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--edited')").strip() == "1"
        browser.shot(page, "chain-replaced")
        expect(page.locator(".turn .happened")).to_contain_text("read on after the page was loaded anew")
        said = len(answer_of(page).text_content().split())
        wait_for(page, f"document.querySelector('.turn:not(.user) .text').textContent.includes('w{said + 200} ')")
        browser.shot(page, "chain-went-on")
        assert words.startswith(answer_of(page).text_content().strip()), "each word once"
        expect(page.locator(".turn .failed")).to_have_text("")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#requests-count")).to_have_text("nothing", timeout=30_000)
        browser.browser.close()
        assert browser.faults == [], browser.faults


def main(what, *args):
    shots = Path(args[-1]) if len(args) > {"stub": 1, "chain": 3}[what] else None
    if what == "stub":
        stub(Path(args[0]), shots)
    else:
        chain(args[0], args[1], Path(args[2]), shots)
    print("all checks passed")


main(*sys.argv[1:])
