"""Uses a queen through the command line and the library `llm`, as a person and a program would."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

url = sys.argv[1]
question = "What is the capital of France? Answer with one word."
schema = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Paris"], "type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
cities = ("Oslo", "Paris")


def check_llm():
    home = pathlib.Path(tempfile.mkdtemp())
    models = home / "extra-openai-models.yaml"
    models.write_text(
        f"- model_id: rbee\n  model_name: words\n  api_base: {url}/v1\n"
        "  supports_schema: true\n  supports_tools: true\n"
    )
    os.environ["LLM_USER_PATH"] = str(home)
    command = [sys.executable, "-m", "llm", "-m", "rbee", "-o", "temperature", "0"]

    def run(*arguments):
        ran = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert ran.returncode == 0, ran
        return ran.stdout

    streamed = run("-o", "max_tokens", "16", question)
    whole = run("-o", "max_tokens", "16", "--no-stream", question)
    assert streamed.strip() and streamed == whole, (streamed, whole)
    shaped = run("--schema", json.dumps(schema), question)
    assert json.loads(shaped)["city"] in cities, shaped
    goes_on = run("-o", "max_tokens", "8", "-c", "And of Norway?")
    assert goes_on.strip(), goes_on

    import llm

    model = llm.get_model("rbee")
    looked = []

    def look_up(city: str) -> str:
        """Looks a city up."""
        looked.append(city)
        return "It is a city."

    # Whether a model of this size calls it is its own affair; its turns must be.
    chain = model.chain("Look Paris up.", tools=[look_up], options={"max_tokens": 48, "temperature": 0})
    assert chain.text() is not None
    assert model.prompt(question, system="Be brief.", max_tokens=8).text()


check_llm()
print("all checks passed")
