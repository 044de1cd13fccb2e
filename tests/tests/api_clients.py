"""Uses a queen through the official packages of Anthropic, Ollama and OpenAI, as programs would."""

import json
import sys

import anthropic
import ollama
import openai
import pydantic

url = sys.argv[1]
question = "What is the capital of France? Answer with one word."
schema = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Paris"]}},
    "required": ["city"],
}


def refused(error, call, **arguments):
    """The error of that class that the call must end with."""
    try:
        call(**arguments)
    except error as raised:
        return raised
    raise SystemExit(f"{arguments} was answered")


def check_anthropic():
    client = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)
    model = client.models.list().data[0].id
    turn = {"role": "user", "content": question}
    # The package has no argument for what the API still takes.
    steady = {"extra_body": {"temperature": 0}}
    whole = client.messages.create(
        model=model, max_tokens=16, messages=[turn], system="Be brief.", **steady
    )
    assert whole.type == "message" and whole.content[0].type == "text", whole
    assert whole.stop_reason in ("end_turn", "max_tokens"), whole
    counted = client.messages.count_tokens(model=model, messages=[turn], system="Be brief.")
    assert counted.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    assert whole.usage.input_tokens + whole.usage.cache_read_input_tokens > 0, whole

    with client.messages.stream(
        model=model, max_tokens=16, messages=[turn], system="Be brief.", **steady
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and text == final.content[0].text == whole.content[0].text, (text, final, whole)
    assert final.usage.output_tokens == whole.usage.output_tokens, (final, whole)

    stop = text[len(text) // 2:][:2]
    stopped = client.messages.create(
        model=model, max_tokens=16, messages=[turn], system="Be brief.", stop_sequences=[stop],
        **steady,
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop), stopped

    begun = {"role": "assistant", "content": "The capital of France is"}
    goes_on = client.messages.create(model=model, max_tokens=4, messages=[turn, begun], **steady)
    assert "Paris" in goes_on.content[0].text, goes_on

    tool = {"name": "look_up", "description": "Looks a city up.", "input_schema": schema}
    called = client.messages.create(
        model=model, max_tokens=64, messages=[turn], tools=[tool],
        tool_choice={"type": "tool", "name": "look_up"}, **steady,
    )
    use = called.content[-1]
    assert called.stop_reason == "tool_use" and use.type == "tool_use", called
    assert use.name == "look_up" and use.input["city"] in ("Oslo", "Paris"), use
    with client.messages.stream(
        model=model, max_tokens=64, messages=[turn], tools=[tool], tool_choice={"type": "any"},
        **steady,
    ) as stream:
        streamed = stream.get_final_message().content[-1]
    assert streamed.type == "tool_use" and streamed.input == use.input, streamed
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "It is a city."}
    answer = client.messages.create(
        model=model, max_tokens=8, tools=[tool],
        messages=[
            turn,
            {"role": "assistant", "content": [block.model_dump() for block in called.content]},
            {"role": "user", "content": [result]},
        ],
    )
    assert answer.content, answer

    unknown = refused(
        anthropic.NotFoundError, client.messages.create,
        model="no-such-model", max_tokens=4, messages=[turn],
    )
    assert unknown.body["error"]["type"] == "not_found_error", unknown.body
    refused(
        anthropic.BadRequestError, client.messages.create,
        model=model, max_tokens=4, messages=[turn],
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
    )

    # Going away in the middle must leave a server that answers the next request.
    with client.messages.stream(model=model, max_tokens=512, messages=[turn]) as stream:
        next(iter(stream))
    assert client.messages.create(model=model, max_tokens=2, messages=[turn]).content


def check_ollama():
    client = ollama.Client(host=url)
    model = openai.OpenAI(base_url=url + "/v1", api_key="unused").models.list().data[0].id
    turn = {"role": "user", "content": question}
    options = {"temperature": 0, "num_predict": 16}
    whole = client.chat(model=model, messages=[turn], options=options)
    assert whole.done and whole.message.content, whole
    assert whole.done_reason in ("stop", "length"), whole
    assert whole.eval_count > 0 and whole.eval_duration > 0 and whole.total_duration > 0, whole

    lines = list(client.chat(model=model, messages=[turn], options=options, stream=True))
    text = "".join(line.message.content for line in lines)
    assert text == whole.message.content, (text, whole)
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True], lines

    said = client.generate(model=model, prompt=question, options=options)
    assert said.response == whole.message.content, (said, whole)
    raw = client.generate(model=model, prompt="One, two,", raw=True, options={"num_predict": 4})
    assert raw.response and raw.eval_count <= 4, raw
    shaped = client.chat(
        model=model, messages=[turn], format=schema, options={"temperature": 0, "num_predict": 64}
    )
    assert json.loads(shaped.message.content)["city"] in ("Oslo", "Paris"), shaped
    assert client.generate(model=model).done_reason == "load"

    assert model in [loaded.model for loaded in client.ps().models], client.ps()
    assert client.show(model).capabilities, client.show(model)
    client.list()

    vectors = client.embed(model="vectors", input=["Bees make honey.", "Stocks fell."])
    assert [len(vector) for vector in vectors.embeddings] == [576] * 2, vectors
    assert list(client.embeddings("vectors", "Stocks fell.").embedding)[:2], vectors

    unknown = refused(ollama.ResponseError, client.chat, model="no-such-model", messages=[turn])
    assert unknown.status_code == 404, unknown
    mirostat = refused(
        ollama.ResponseError, client.chat, model=model, messages=[turn], options={"mirostat": 2}
    )
    assert mirostat.status_code == 400 and "mirostat" in mirostat.error, mirostat
    assert refused(ollama.ResponseError, client.pull, model="smollm2:135m").status_code == 401


class Answer(pydantic.BaseModel):
    city: str


def check_responses():
    client = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)
    model = client.models.list().data[0].id
    assert client.models.retrieve(model.upper()).id == model
    asked = {"model": model, "instructions": "Be brief.", "input": question, "temperature": 0}
    whole = client.responses.create(**asked, max_output_tokens=16)
    assert whole.output_text and whole.status in ("completed", "incomplete"), whole
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens, whole

    with client.responses.stream(**asked, max_output_tokens=16) as stream:
        events = list(stream)
        final = stream.get_final_response()
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text == whole.output_text, (text, final, whole)
    assert [event.sequence_number for event in events] == list(range(len(events))), events

    tool = {"type": "function", "name": "look_up", "parameters": schema, "strict": True}
    called = client.responses.create(
        **asked, tools=[tool], tool_choice="required", max_output_tokens=64
    )
    call = called.output[-1]
    assert call.type == "function_call" and call.name == "look_up", called
    assert json.loads(call.arguments)["city"] in ("Oslo", "Paris"), call
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "It is a city."}
    conversation = [{"role": "user", "content": question}, call.model_dump(), result]
    answer = client.responses.create(
        model=model, input=conversation, tools=[tool], tool_choice="none", max_output_tokens=8
    )
    assert answer.output, answer

    parsed = client.responses.parse(**asked, text_format=Answer, max_output_tokens=128)
    assert isinstance(parsed.output_parsed, Answer), parsed

    kept = refused(
        openai.BadRequestError, client.responses.create,
        model=model, input="Hi", previous_response_id=whole.id,
    )
    assert kept.param == "previous_response_id", kept
    refused(openai.NotFoundError, client.responses.create, model="no-such-model", input="Hi")


check_anthropic()
check_ollama()
check_responses()
print("all checks passed")
