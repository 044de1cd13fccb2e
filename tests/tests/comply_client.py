"""Has `llm-comply` judge a queen's answers in the three formats that both know."""

import json
import os
import subprocess
import sys

url = sys.argv[1]
anthropic = ["--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01"]
# Images are no text; and the format's own server demands a model's name, where a queen has a default.
FORMATS = {
    "openai-chat": ([], {"chat-image-input", "chat-error-handling"}),
    "open-responses": ([], {"image-input", "error-handling"}),
    "anthropic": (anthropic, {"anth-image-input"}),
}

for name, (arguments, expected) in FORMATS.items():
    command = [os.path.join(os.path.dirname(sys.executable), "llm-comply"), "--format", name]
    command += ["-u", url + "/v1", "-k", "unused", "-m", "brief", "--timeout", "300", "--json"]
    ran = subprocess.run(command + arguments, capture_output=True, text=True)
    results = json.loads(ran.stdout)["results"]
    failed = {one["id"]: one["errors"] for one in results if one["status"] == "failed"}
    assert set(failed) == expected, (name, failed)
    assert sum(one["status"] == "passed" for one in results) >= 6, results

print("all checks passed")
