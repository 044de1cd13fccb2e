"""Uses a queen through `litellm`, by each of the APIs that it could take it for."""

import asyncio
import json
import os
import sys

# It would ask the network for its list of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

url = sys.argv[1]
question = "What is the capital of France? Answer with one word."
messages = [{"role": "user", "content": question}]
schema = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Paris"], "type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
tools = [
    {
        "type": "function",
        "function": {"name": "look_up", "description": "Looks a city up.", "parameters": schema},
    }
]
cities = ("Oslo", "Paris")
# What each calls the same place.
bases = {"openai": url + "/v1", "ollama": url, "ollama_chat": url, "anthropic": url}


def arguments(provider, model="words", **more):
    base, key = bases[provider], "unused"
    return {"model": f"{provider}/{model}", "api_base": base, "api_key": key, "max_retries": 0, **more}


def check_text(provider):
    asked = arguments(provider, messages=messages, temperature=0, max_tokens=16)
    whole = litellm.completion(**asked)
    text = whole.choices[0].message.content
    assert text, whole
    assert whole.choices[0].finish_reason in ("stop", "length"), whole
    assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0, whole

    chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == text, (provider, streamed, text)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert [reason for reason in reasons if reason] == [whole.choices[0].finish_reason], reasons
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert usages[-1].completion_tokens == whole.usage.completion_tokens, (usages, whole.usage)


async def check_at_once(provider):
    asked = arguments(provider, messages=messages, temperature=0, max_tokens=16)

    async def streamed():
        stream = await litellm.acompletion(**asked, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    whole, text = await asyncio.gather(litellm.acompletion(**asked), streamed())
    assert text and text == whole.choices[0].message.content, (provider, text, whole)


def check_tools(provider, choice):
    asked = arguments(provider, messages=messages, temperature=0, max_tokens=64, tools=tools)
    called = litellm.completion(**asked, tool_choice=choice)
    [call] = called.choices[0].message.tool_calls
    assert call.function.name == "look_up", call
    assert json.loads(call.function.arguments)["city"] in cities, call
    assert called.choices[0].finish_reason == "tool_calls", called

    chunks = list(litellm.completion(**asked, tool_choice=choice, stream=True))
    built = litellm.stream_chunk_builder(chunks, messages=messages)
    [streamed] = built.choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments, (streamed, call)

    result = {"role": "tool", "tool_call_id": call.id, "name": "look_up", "content": "It is a city."}
    turns = [*messages, called.choices[0].message.model_dump(), result]
    answer = litellm.completion(**{**asked, "messages": turns, "max_tokens": 8})
    assert answer.choices[0].message is not None, answer


def check_offered_tools(provider):
    """Tools that the model may call; whether one of this size does is its own affair."""
    asked = arguments(provider, messages=messages, temperature=0, max_tokens=16, tools=tools)
    assert litellm.completion(**asked).choices, provider


def check_schema(provider):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    shaped = litellm.completion(
        **arguments(provider, messages=messages, temperature=0, max_tokens=64, response_format=form)
    )
    assert json.loads(shaped.choices[0].message.content)["city"] in cities, shaped


def check_vectors(provider):
    made = litellm.embedding(**arguments(provider, "vectors", input=["Bees make honey.", "Stocks fell."]))
    assert [len(one["embedding"]) for one in made.data] == [576] * 2, made
    assert made.usage.prompt_tokens > 0, made


def refused(error, **asked):
    """The error of that class that the request must end with."""
    try:
        litellm.completion(**asked)
    except error as raised:
        return raised
    raise SystemExit(f"{asked} was answered")


def check_refusals(provider):
    unknown = refused(litellm.NotFoundError, **arguments(provider, "no-such-model", messages=messages))
    assert "no-such-model" in str(unknown), unknown


for name in bases:
    check_text(name)
    asyncio.run(check_at_once(name))
    check_schema(name)
    check_refusals(name)
for name in ("openai", "anthropic"):
    check_tools(name, "required")
    check_tools(name, {"type": "function", "function": {"name": "look_up"}})
for name in ("ollama", "ollama_chat"):
    check_offered_tools(name)
for name in ("openai", "ollama"):
    check_vectors(name)
print("all checks passed")
