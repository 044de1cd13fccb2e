"""Uses a queen through the official OpenAI package, as a program would."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="unused")
model = client.models.list().data[0].id
messages = [{"role": "user", "content": "What is the capital of France?"}]

whole = client.chat.completions.create(model=model, messages=messages, max_tokens=16, temperature=0)
assert whole.choices[0].message.content, whole
assert whole.choices[0].finish_reason in ("stop", "length"), whole
assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0, whole

stream = client.chat.completions.create(
    model=model, messages=messages, max_tokens=16, temperature=0, stream=True,
    stream_options={"include_usage": True},
)
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text, chunks
reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
assert reasons[-1] in ("stop", "length") and not any(reasons[:-1]), reasons
assert chunks[-1].usage.completion_tokens > 0, chunks[-1]

text = client.completions.create(model=model, prompt="One, two,", max_tokens=4).choices[0].text
assert text

# The configuration has the same file under another name, for vectors.
texts = ["Bees make honey.", "Bees make sweet honey.", "Stocks fell."]
vectors = client.embeddings.create(model="vectors", input=texts)
assert [len(one.embedding) for one in vectors.data] == [576] * 3, vectors
assert vectors.usage.prompt_tokens > 0, vectors
near, far = (sum(a * b for a, b in zip(vectors.data[0].embedding, vectors.data[n].embedding)) for n in (1, 2))
assert far < near <= 1.001, (near, far)
floats = client.embeddings.create(model="vectors", input=texts[0], encoding_format="float").data[0].embedding
assert all(abs(a - b) < 1e-4 for a, b in zip(floats, vectors.data[0].embedding)), "base64 and float differ"
try:
    client.embeddings.create(model=model, input="x")
    raise SystemExit("a model that generates text made a vector")
except openai.BadRequestError as error:
    assert error.param == "model", error

try:
    client.chat.completions.create(model="no-such-model", messages=messages)
    raise SystemExit("an unknown model was answered")
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error

try:
    client.chat.completions.create(model=model, messages=messages, temperature="hot")
    raise SystemExit("a temperature that is no number was accepted")
except openai.BadRequestError as error:
    assert error.param == "temperature", error

# Going away in the middle must leave a server that answers the next request.
abandoned = client.chat.completions.create(model=model, messages=messages, stream=True)
next(iter(abandoned))
abandoned.close()
assert client.chat.completions.create(model=model, messages=messages, max_tokens=4).choices

print("all checks passed")
