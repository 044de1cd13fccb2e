// Uses a queen through the npm packages of OpenAI and of Vercel's AI SDK, as programs would.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";

const [url] = process.argv.slice(2);
const question = "What is the capital of France? Answer with one word.";
const schema = {
  type: "object",
  properties: { city: { enum: ["Oslo", "Paris"] } },
  required: ["city"],
  additionalProperties: false,
};
const cities = ["Oslo", "Paris"];

async function checkOpenai() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
  const models = await client.models.list();
  const model = models.data[0].id;
  const messages = [{ role: "user", content: question }];
  const asked = { model, messages, temperature: 0, max_tokens: 16 };
  const whole = await client.chat.completions.create(asked);
  assert(whole.choices[0].message.content, JSON.stringify(whole));

  const stream = await client.chat.completions.create({
    ...asked, stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert(usage.completion_tokens > 0, JSON.stringify(usage));

  const runner = client.chat.completions.stream({ ...asked });
  assert.equal(await runner.finalContent(), text);

  const parsed = await client.chat.completions.parse({
    ...asked, max_tokens: 64,
    response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
  });
  assert(cities.includes(JSON.parse(parsed.choices[0].message.content).city), JSON.stringify(parsed));

  const tools = [{ type: "function", function: { name: "look_up", parameters: schema, strict: true } }];
  const called = await client.chat.completions.create({
    ...asked, max_tokens: 64, tools, tool_choice: "required",
  });
  const [call] = called.choices[0].message.tool_calls;
  assert.equal(called.choices[0].finish_reason, "tool_calls");
  assert(cities.includes(JSON.parse(call.function.arguments).city), JSON.stringify(call));
  const answered = await client.chat.completions.create({
    ...asked, tools, tool_choice: "none",
    messages: [
      ...messages,
      called.choices[0].message,
      { role: "tool", tool_call_id: call.id, content: "It is a city." },
    ],
  });
  assert(answered.choices[0].message.content, JSON.stringify(answered));

  const response = await client.responses.create({
    model, input: question, temperature: 0, max_output_tokens: 16,
  });
  assert(response.output_text, JSON.stringify(response));
  let said = "";
  for await (const event of client.responses.stream({
    model, input: question, temperature: 0, max_output_tokens: 16,
  })) {
    if (event.type === "response.output_text.delta") said += event.delta;
  }
  assert.equal(said, response.output_text);

  const vectors = await client.embeddings.create({ model: "vectors", input: ["Bees.", "Stocks."] });
  assert.deepEqual(vectors.data.map((one) => one.embedding.length), [576, 576]);

  await assert.rejects(
    client.chat.completions.create({ ...asked, model: "no-such-model" }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
  );
  await assert.rejects(
    client.chat.completions.create({ ...asked, temperature: "hot" }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );

  const left = await client.chat.completions.create({ ...asked, max_tokens: 512, stream: true });
  for await (const _ of left) break;
  assert((await client.chat.completions.create({ ...asked, max_tokens: 2 })).choices.length);
  return model;
}

async function checkAi(name) {
  const provider = createOpenAICompatible({
    name: "rbee", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true,
  });
  const asked = { model: provider(name), prompt: question, temperature: 0, maxRetries: 0 };
  const whole = await generateText({ ...asked, maxOutputTokens: 16 });
  assert(whole.text && whole.usage.outputTokens > 0, JSON.stringify(whole.usage));

  const stream = streamText({ ...asked, maxOutputTokens: 16, onError: ({ error }) => { throw error; } });
  let text = "";
  for await (const delta of stream.textStream) text += delta;
  assert.equal(text, whole.text);
  assert((await stream.usage).outputTokens > 0);

  const shaped = await generateText({
    ...asked, maxOutputTokens: 64, output: Output.object({ schema: jsonSchema(schema) }),
  });
  assert(cities.includes(shaped.output.city), JSON.stringify(shaped.output));

  const looked = [];
  const tools = {
    look_up: tool({
      description: "Looks a city up.",
      inputSchema: jsonSchema(schema),
      execute: async ({ city }) => { looked.push(city); return "It is a city."; },
    }),
  };
  const agent = await generateText({
    ...asked, maxOutputTokens: 64, tools, stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  assert.equal(looked.length, 1, JSON.stringify(agent.steps.map((step) => step.content)));
  assert(cities.includes(looked[0]), looked[0]);
  assert.equal(agent.steps.length, 2);

  const { embeddings } = await embedMany({
    model: provider.embeddingModel("vectors"), values: ["Bees.", "Stocks."], maxRetries: 0,
  });
  assert.deepEqual(embeddings.map((one) => one.length), [576, 576]);

  await assert.rejects(
    generateText({ ...asked, model: provider("no-such-model") }),
    (error) => error.statusCode === 404 && /no-such-model/.test(error.message),
  );
}

await checkAi(await checkOpenai());
console.log("all checks passed");
