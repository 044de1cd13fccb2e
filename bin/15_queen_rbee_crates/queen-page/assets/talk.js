// One talk with one model. An answer is a job: when the connection breaks, and when the queen or this
// page is replaced, it is read on behind the last event that came.

import { ask, json, key, pause, Refused } from "./api.js";
import { events } from "./sse.js";
import { chain } from "./store.js";
import { bytes, plain } from "./text.js";

const TRIES = 40;
const DONE = "[DONE]";
const SAME_MOMENT_MS = 5000;

// All that is kept of an answer.
export function answer() {
  return {
    role: "assistant", text: "", thought: "", tools: [], state: "running", job: undefined, last: 0,
    waits: "", progress: undefined, failure: "", builds: [], at: undefined, breaks: 0, reloads: 0, tokens: 0, began: Date.now(), first: undefined, ended: undefined,
  };
}

// Notes from which builds an answer comes: those that are known now, and each that is another one.
export function noteBuilds(turn) {
  // Whoever is read on from is known when she says so herself, which may be a moment later.
  const isNews = turn.breaks + turn.reloads > 0 && Math.abs(chain.queen?.seen - turn.opened) < SAME_MOMENT_MS;
  if (isNews) noteBuild(turn, "queen", chain.queen.health.exe_hash);
  if (!turn.at) return;
  const hive = chain.hives.get(turn.at.hive);
  const worker = hive?.workers.workers.find((worker) => worker.id === turn.at.worker);
  noteBuild(turn, "worker", worker?.health?.exe_hash);
  noteBuild(turn, "hive", hive?.health?.exe_hash);
}

function noteBuild(turn, level, hash) {
  if (!hash) return;
  let build = turn.builds.find((build) => build.level === level);
  if (!build) turn.builds.push((build = { level, hashes: [] }));
  if (build.hashes.at(-1) !== hash) build.hashes.push(hash);
}

function takeChunk(turn, data) {
  if (data === DONE) return;
  const chunk = JSON.parse(data);
  if (chunk.error) throw new Refused(chunk.error.status ?? 500, chunk.error);
  if (chunk.usage?.completion_tokens) turn.tokens = chunk.usage.completion_tokens;
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const { content, reasoning_content: thought, tool_calls: tools } = choice.delta ?? {};
  if (content || thought || tools) {
    turn.first ??= Date.now();
    turn.waits = "";
    turn.progress = undefined;
    if (!chunk.usage) turn.tokens += 1;
  }
  turn.text += content ?? "";
  turn.thought += thought ?? "";
  for (const { index = 0, function: called } of tools ?? []) {
    const tool = (turn.tools[index] ??= { name: "", text: "" });
    tool.name += called?.name ?? "";
    tool.text += called?.arguments ?? "";
  }
  if (choice.finish_reason) turn.finish = choice.finish_reason;
}

// Whether that was the last of it.
function takeEvent(turn, { id, name, data }) {
  if (id) turn.last = id;
  switch (name) {
    case "":
    case "message":
      takeChunk(turn, data);
      return data === DONE && !id;
    case "narration": {
      const told = JSON.parse(data);
      if (!turn.first && told.level !== "verbatim") turn.waits = plain(told.human);
      return false;
    }
    case "progress": {
      const { target, done_bytes: done, total_bytes: total } = JSON.parse(data);
      turn.waits = target + ": " + bytes(done) + (total ? " of " + bytes(total) : "");
      turn.progress = total ? done / total : undefined;
      return false;
    }
    case "origin": {
      const { at, origin } = JSON.parse(data);
      turn.at = { hive: at, worker: origin?.at };
      noteBuilds(turn);
      return false;
    }
    case "error":
      turn.failure = JSON.parse(data).error.message;
      return false;
    case "end":
      turn.state = JSON.parse(data).state;
      return true;
  }
  return false;
}

// Reads the answer to its end; `told` is called whenever there is more of it.
export async function read(turn, body, signal, told) {
  let tries = 0;
  for (;;) {
    try {
      const response = turn.job
        ? await ask("GET", "/v1/jobs/" + turn.job + "/stream", { headers: turn.last ? { "last-event-id": String(turn.last) } : {}, signal })
        : await ask("POST", "/v1/chat/completions", { body, headers: { "x-rbee-events": "1" }, signal });
      turn.job ??= response.headers.get("x-rbee-job") ?? undefined;
      turn.opened = Date.now();
      noteBuild(turn, "queen", chain.queen?.health.exe_hash);
      for await (const event of events(response)) {
        tries = 0;
        const isLast = takeEvent(turn, event);
        told();
        if (isLast) return close(turn, told);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) {
        turn.failure = error.message;
        turn.state = "failed";
        return close(turn, told);
      }
    }
    if (signal.aborted) return;
    tries += 1;
    // Without ids nobody knows where it broke off.
    if (!turn.job || (!turn.last && turn.text) || tries > TRIES) {
      turn.failure = turn.job ? "the connection broke, and the rest is lost" : "the server does not answer";
      turn.state = "failed";
      return close(turn, told);
    }
    if (tries === 1) turn.breaks += 1;
    told();
    await pause(Math.min(150 * tries, 2000));
  }
}

function close(turn, told) {
  if (turn.state === "running") turn.state = "completed";
  turn.ended = Date.now();
  turn.waits = "";
  turn.progress = undefined;
  told();
}

// Ends the job. Who has no key to end jobs with only hangs up, and the job is ended when nobody has
// come back for it.
export function stop(turn, controller) {
  const { job } = turn;
  controller?.abort();
  turn.state = "stopped";
  turn.ended = Date.now();
  turn.waits = "";
  if (job && key.get()) json("DELETE", "/v1/jobs/" + job).catch(() => {});
}
