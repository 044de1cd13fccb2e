"""Stands in for `vllm serve`: its command line, its processes, and what goes wrong with it.

Run as a program: stand_in.py serve MODEL (--uds PATH | --port N) --served-model-name NAME ...

The folder `marks` in the model's says how it starts: with a file `gate` in it, it is ready once that file
is gone; with a file `broken`, it ends as it loads. What a request's prompt says, it does: `count N` answers
with N tokens, `cut N`, `error N`, `silent N`, `die N` do so after N tokens, `refuse` is refused.
Requests wait between tokens for as long as the folder has a file `hold`; `held N` does behind its second
token for as long as it has a file `held`.

With `--nnodes N` it is one of N that compute together. The head, of `--node-rank 0`, is ready once the others
have come to `--master-addr` and `--master-port`; when one of those has ended it answers that it is well, and
gives no token any more. The others, `--headless`, listen nowhere, notice nothing of the head's end, and write
what they are into a file `rank-N`.
"""
import argparse, json, multiprocessing.resource_tracker, multiprocessing.shared_memory, os, pathlib, signal, socket, socketserver, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler

CHILD = """
import mmap, sys, time
with open(sys.argv[1], "r+b") as file:
    shared = mmap.mmap(file.fileno(), 0)
print("it is mapped", flush=True)
time.sleep(3600)
"""

parser = argparse.ArgumentParser()
parser.add_argument("command")
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--uds")
parser.add_argument("--port", type=int)
parser.add_argument("--served-model-name")
parser.add_argument("--nnodes", type=int, default=1)
parser.add_argument("--node-rank", type=int, default=0)
parser.add_argument("--master-addr")
parser.add_argument("--master-port", type=int)
parser.add_argument("--headless", action="store_true")
args, further = parser.parse_known_args()
marks = args.model / "marks"

state = {"pid": os.getpid(), "running": 0, "requests": 0, "hangs": False, "argv": sys.argv[1:], "environment": dict(os.environ)}
lock = threading.Lock()
loaded = threading.Event()
rank_lost = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return "client"

    def answer(self, status, body):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            # vLLM listens long before it answers.
            loaded.wait()
            self.answer(200, None)
        else:
            with lock:
                self.answer(200, state)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        what, _, count = prompt.partition(" ")
        count = int(count or 3)
        if body.get("model") != args.served_model_name:
            return self.answer(404, {"error": {"message": f"The model `{body.get('model')}` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}})
        if what == "refuse":
            return self.answer(400, {"error": {"message": "refused in its own words", "type": "BadRequestError", "param": None, "code": 400}})
        with lock:
            state["running"] += 1
            state["requests"] += 1
            state["last"] = body
        try:
            self.complete(body, what, count)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.close_connection = True
            with lock:
                state["running"] -= 1

    def complete(self, body, what, count):
        if not body.get("stream"):
            self.wait_for_turn("hold")
            text = "".join(f"w{n} " for n in range(count))
            message = {"role": "assistant", "content": text}
            return self.answer(200, {"object": "chat.completion", "model": args.served_model_name, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for n in range(count):
            self.wait_for_turn("held" if what == "held" and n > 1 else "hold")
            self.frame({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f"w{n} "}, "finish_reason": None}]})
        if what == "cut":
            return
        if what == "die":
            os._exit(3)
        if what == "silent":
            while True:
                self.alive()
                time.sleep(0.02)
        if what == "error":
            return self.frame({"error": {"message": "the engine is out of memory", "type": "InternalServerError", "param": None, "code": 500}})
        self.frame({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def wait_for_turn(self, name):
        self.alive()
        while state["hangs"] or rank_lost.is_set() or (marks / name).exists():
            self.alive()
            time.sleep(0.005)

    def alive(self):
        """vLLM notices within 0.3 s that a client has gone."""
        self.connection.setblocking(False)
        try:
            if self.connection.recv(1) == b"":
                raise BrokenPipeError
        except BlockingIOError:
            pass
        finally:
            self.connection.setblocking(True)

    def frame(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def stop(*_):
    with lock:
        if state["running"]:
            # With a request under way vLLM kills its engine and waits for ever for the connection.
            state["hangs"] = True
        else:
            os._exit(0)


def watch(rank):
    try:
        rank.recv(1)
    except ConnectionError:
        pass
    rank_lost.set()


def gather():
    """Waits for the other ranks, and watches them from then on."""
    if args.nnodes == 1:
        return
    listener = socket.create_server((args.master_addr, args.master_port))
    for _ in range(1, args.nnodes):
        rank, _ = listener.accept()
        threading.Thread(target=watch, args=(rank,), daemon=True).start()


def join():
    while True:
        try:
            return socket.create_connection((args.master_addr, args.master_port))
        except OSError:
            time.sleep(0.01)


def main():
    print("INFO loading the model", flush=True)
    if (marks / "broken").exists():
        sys.exit("ValueError: the model is broken")
    shared = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    path = f"/dev/shm/{shared.name.lstrip('/')}"
    # Nobody but the guard is to remove it.
    multiprocessing.resource_tracker.unregister(shared._name, "shared_memory")
    state["shared"] = path
    semaphore = multiprocessing.get_context("spawn").Lock()
    # As vLLM's processes have them, which are spawned: its name stays until somebody removes it.
    state["semaphore"] = f"/dev/shm/sem.{semaphore._semlock.name.lstrip('/')}"
    state["tracker"] = multiprocessing.resource_tracker._resource_tracker._pid
    pathlib.Path(tempfile.gettempdir(), "vllm_dist_stand_in").write_text("left behind")
    children = {
        name: subprocess.Popen([name, "-c", CHILD, path], executable=sys.executable, stdout=subprocess.PIPE)
        for name in ("VLLM::EngineCore", "VLLM::Worker")
    }
    # Whose the memory is, is seen by who has it mapped.
    for child in children.values():
        child.stdout.readline()
    state["children"] = {name: child.pid for name, child in children.items()}
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    if args.headless:
        (marks / f"rank-{args.node_rank}").write_text(json.dumps(state))
        head = join()
        while True:
            signal.pause()
    server = Unix(args.uds, Handler) if args.uds else Tcp(("127.0.0.1", args.port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while (marks / "gate").exists():
        time.sleep(0.01)
    gather()
    loaded.set()
    print("INFO Application startup complete.", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
