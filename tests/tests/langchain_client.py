"""Uses a queen through LangChain's packages for OpenAI, Ollama and Anthropic, as programs would."""

import asyncio
import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

url = sys.argv[1]
turns = [
    SystemMessage("Be brief."),
    HumanMessage("What is the capital of France? Answer with one word."),
]
# One for all: clients of one address share their connections.
loop = asyncio.new_event_loop()


@tool
def look_up(city: str) -> str:
    """Looks a city up."""
    return f"{city} is a city."


class Answer(BaseModel):
    """The capital that was asked for."""

    city: str


def openai(**more):
    key = {"api_key": "unused", "max_retries": 0}
    key["stream_usage"] = True
    return ChatOpenAI(base_url=url + "/v1", model="words", temperature=0, **key, **more)


def ollama(**more):
    return ChatOllama(base_url=url, model="words", temperature=0, **more)


def anthropic(**more):
    key = {"api_key": "unused", "max_retries": 0}
    return ChatAnthropic(base_url=url, model="words", **key, **more)


def check_text(make, length):
    """What `length` calls the longest answer."""
    model = make(**{length: 16})
    whole = model.invoke(turns)
    assert isinstance(whole, AIMessage) and whole.text, whole
    usage = whole.usage_metadata
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0, whole
    added = None
    for chunk in model.stream(turns):
        added = chunk if added is None else added + chunk
    assert added.text == whole.text, (added, whole)
    assert added.usage_metadata["output_tokens"] == usage["output_tokens"], (added, whole)

    async def streamed():
        return "".join([chunk.text async for chunk in model.astream(turns)])

    async def at_once():
        return await asyncio.gather(model.ainvoke(turns), streamed(), streamed())

    again, *texts = loop.run_until_complete(at_once())
    assert [again.text, *texts] == [whole.text] * 3, (again, texts, whole)
    assert [one.text for one in model.batch([turns, turns])] == [whole.text] * 2


def check_tools(make, length, **choice):
    model = make(**{length: 64})
    called = model.bind_tools([look_up], **choice).invoke(turns)
    [call] = called.tool_calls
    assert call["name"] == "look_up" and isinstance(call["args"]["city"], str), called
    added = None
    for chunk in model.bind_tools([look_up], **choice).stream(turns):
        added = chunk if added is None else added + chunk
    assert added.tool_calls[0]["args"] == call["args"], (added, called)
    result = look_up.invoke(call)
    assert isinstance(result, ToolMessage), result
    answer = make(**{length: 8}).bind_tools([look_up]).invoke([*turns, called, result])
    assert isinstance(answer, AIMessage), answer


def check_schema(make, length, **how):
    shaped = make(**{length: 128}).with_structured_output(Answer, **how).invoke(turns)
    assert isinstance(shaped, Answer), shaped


def check_vectors(made):
    assert [len(vector) for vector in made.embed_documents(["Bees.", "Stocks."])] == [576] * 2
    assert len(made.embed_query("Bees.")) == 576


check_text(openai, "max_tokens")
check_text(lambda **more: openai(use_responses_api=True, **more), "max_tokens")
check_text(ollama, "num_predict")
check_text(anthropic, "max_tokens")
check_tools(openai, "max_tokens", tool_choice="required")
check_tools(lambda **more: openai(use_responses_api=True, **more), "max_tokens", tool_choice="required")
check_tools(anthropic, "max_tokens", tool_choice="any")
for method in ("json_schema", "function_calling"):
    check_schema(openai, "max_tokens", method=method)
    check_schema(anthropic, "max_tokens", method=method)
check_schema(ollama, "num_predict", method="json_schema")
# Else it would send tokens of OpenAI's own models.
texts = {"check_embedding_ctx_length": False}
check_vectors(OpenAIEmbeddings(base_url=url + "/v1", model="vectors", api_key="unused", **texts))
check_vectors(OllamaEmbeddings(base_url=url, model="vectors"))
plain = OpenAI(base_url=url + "/v1", model="words", api_key="unused", temperature=0, max_tokens=4)
assert plain.invoke("One, two,")
print("all checks passed")
