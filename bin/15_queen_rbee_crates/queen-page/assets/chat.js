// Talks side by side, which are all asked at once.

import { json } from "./api.js";
import { list, make, one, show, write } from "./dom.js";
import { chain, models, onChange, provide } from "./store.js";
import { answer, noteBuilds, read, stop } from "./talk.js";
import { rate, short } from "./text.js";

const KEPT = "rbee.talks";
const DRAFT = "rbee.draft";
const MOST = 4;
const SAVE_MS = 1000;

let talks = [];
let named = []; // models, for who does not see the chain
let nextId = 1;
const controllers = new Map(); // by turn
let waiting = false;
let saving;

const begun = (model = "") => ({ id: nextId++, model, turns: [] });

function save() {
  clearTimeout(saving);
  saving = undefined;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(talks));
    sessionStorage.setItem(DRAFT, one("#prompt").value);
  } catch {
    // A talk that is too long to be kept goes on all the same, in this page.
    sessionStorage.removeItem(KEPT);
  }
}

function told() {
  saving ??= setTimeout(save, SAVE_MS);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    render();
  });
}

const messages = (talk) => talk.turns
  .filter((turn) => turn.text || turn.role === "user")
  .map(({ role, text }) => ({ role, content: text }));

const isRunning = (talk) => talk.turns.at(-1)?.state === "running";

function follow(talk, turn, body) {
  const controller = new AbortController();
  controllers.set(turn, controller);
  read(turn, body, controller.signal, told).finally(() => {
    controllers.delete(turn);
    told();
  });
}

function go(talk) {
  const body = { messages: messages(talk), stream: true, stream_options: { include_usage: true } };
  if (talk.model) body.model = talk.model;
  const turn = answer();
  turn.model = talk.model;
  talk.turns.push(turn);
  follow(talk, turn, body);
}

// An answer that was stopped or broke off is gone on with where it ended.
function goOn(talk) {
  const last = talk.turns.at(-1);
  const body = { messages: messages(talk), stream: true, stream_options: { include_usage: true } };
  if (talk.model) body.model = talk.model;
  const { builds, breaks, reloads, began, first } = last;
  Object.assign(last, { ...answer(), text: last.text, thought: last.thought, builds, breaks, reloads, began, first, model: talk.model });
  if (!last.text) body.messages = messages({ turns: talk.turns.slice(0, -1) });
  follow(talk, last, body);
  told();
}

function halt(talk) {
  const turn = talk.turns.at(-1);
  stop(turn, controllers.get(turn));
  told();
}

function send() {
  const box = one("#prompt");
  const text = box.value.trim();
  if (!text || talks.some(isRunning)) return;
  box.value = "";
  for (const talk of talks) {
    talk.turns.push({ role: "user", text });
    go(talk);
  }
  for (const said of document.querySelectorAll(".said")) said.scrollTop = said.scrollHeight;
  told();
}

function beginTurn(turn) {
  if (turn.role === "user") return make("div", { class: "turn user" }, make("span", { class: "unseen" }, "You: "), make("div", { class: "text" }));
  return make("div", { class: "turn" },
    make("span", { class: "unseen" }, "Answer: "),
    make("details", { hidden: true }, make("summary", {}, "Thought"), make("div", { class: "thought" })),
    make("div", { class: "text" }), make("div", { class: "tools", hidden: true }),
    make("div", { class: "waits" }), make("progress", { hidden: true, max: 1, "aria-label": "fetched" }),
    make("div", { class: "failed", role: "alert" }), make("div", { class: "meta" }), make("div", { class: "happened" }));
}

// Adds what is new, so that a long answer costs no more than a short one.
function grow(element, text) {
  const had = element.firstChild?.data ?? "";
  if (text.length > had.length && text.startsWith(had) && element.firstChild) element.firstChild.appendData(text.slice(had.length));
  else write(element, text);
}

function updateTurn(element, turn) {
  grow(one(".text", element), turn.text);
  if (turn.role === "user") return;
  const isRun = turn.state === "running";
  one(".text", element).classList.toggle("caret", isRun && Boolean(turn.text));
  show(one("details", element), Boolean(turn.thought));
  grow(one(".thought", element), turn.thought);
  const tools = one(".tools", element);
  show(tools, turn.tools.length > 0);
  write(tools, turn.tools.map((tool) => "calls " + tool.name + "(" + tool.text + ")").join("\n"));
  const wait = !turn.first && isRun ? turn.waits || "waiting for the first token" : isRun ? turn.waits : "";
  write(one(".waits", element), wait);
  const bar = one("progress", element);
  show(bar, turn.progress !== undefined);
  if (turn.progress !== undefined) bar.value = turn.progress;
  write(one(".failed", element), turn.failure);
  if (isRun) noteBuilds(turn);
  const seconds = ((turn.ended ?? Date.now()) - (turn.first ?? Date.now())) / 1000;
  const parts = turn.builds.map(({ level, hashes }) => level + " " + hashes.map(short).join(" \u2192 "));
  if (turn.first) parts.unshift(turn.tokens + " tokens" + (seconds > 0.3 ? ", " + rate(turn.tokens / seconds) : ""));
  if (turn.model) parts.unshift(turn.model);
  if (turn.state === "stopped" || turn.state === "cancelled") parts.push("stopped");
  if (turn.finish === "length") parts.push("cut at its longest");
  const meta = one(".meta", element);
  list(meta, parts.map((text, at) => ({ text, at })), (part) => part.at, () => make("span"), (span, { text }) => {
    write(span, text);
    span.className = /^(queen|hive|worker) /.test(text) ? "mono" : "";
  });
  const went = [];
  if (turn.reloads) went.push("read on after the page was loaded anew");
  if (turn.breaks) went.push("the stream moved to another process and " + (isRun ? "goes" : "went") + " on");
  write(one(".happened", element), turn.failure ? "" : went.join("; "));
}

function beginTalk(talk) {
  const choose = make("select", { "aria-label": "Model", onchange: () => { talk.model = choose.value; told(); } });
  const stopIt = make("button", { type: "button", class: "stop", hidden: true, onclick: () => halt(talk) }, "Stop");
  const onIt = make("button", { type: "button", class: "on", hidden: true, onclick: () => goOn(talk) }, "Go on");
  const shut = make("button", { type: "button", class: "plain shut", "aria-label": "Close this talk", onclick: () => close(talk) }, "\u00d7");
  const said = make("div", { class: "said", tabIndex: 0, role: "log", "aria-label": "Talk" });
  const empty = make("p", { class: "empty" }, "What is asked below is asked here. An answer goes on while the chain is replaced, and says by which builds it came.");
  return make("article", { class: "talk", data: { id: String(talk.id) } }, make("div", { class: "head" }, choose, onIt, stopIt, shut), empty, said);
}

function options(select, chosen) {
  const seen = models().map((model) => model.name);
  const names = seen.length ? seen : named;
  const all = ["", ...names, ...(chosen && !names.includes(chosen) ? [chosen] : [])];
  const now = [...select.options].map((option) => option.value);
  if (all.length !== now.length || all.join("\n") !== now.join("\n")) {
    select.replaceChildren(...all.map((name) => make("option", { value: name }, name || "the default model")));
  }
  if (select.value !== chosen) select.value = chosen;
}

function updateTalk(element, talk) {
  options(one("select", element), talk.model);
  const said = one(".said", element);
  const atEnd = said.scrollHeight - said.scrollTop - said.clientHeight < 60;
  const last = talk.turns.at(-1);
  const turns = talk.turns.length ? talk.turns.map((turn, at) => ({ turn, at })) : [];
  list(said, turns, ({ turn, at }) => at + turn.role, ({ turn }) => beginTurn(turn), (line, { turn }) => updateTurn(line, turn));
  show(one(".empty", element), talk.turns.length === 0);
  show(said, talk.turns.length > 0);
  show(one(".stop", element), isRunning(talk));
  show(one(".on", element), ["stopped", "failed", "cancelled"].includes(last?.state));
  show(one(".shut", element), talks.length > 1);
  if (atEnd) said.scrollTop = said.scrollHeight;
}

function render() {
  list(one("#talks"), talks, (talk) => talk.id, beginTalk, updateTalk);
  one("#add-talk").disabled = talks.length >= MOST;
  one("#send").disabled = talks.some(isRunning);
}

function close(talk) {
  if (isRunning(talk)) halt(talk);
  talks = talks.filter((other) => other !== talk);
  told();
}

// Somebody who is not told of the chain may be told of models.
export async function nameModels() {
  const list = await json("GET", "/v1/models").catch(() => undefined);
  named = list?.data.map((model) => model.id) ?? [];
  told();
}

export function start() {
  try {
    talks = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  } catch {
    talks = [];
  }
  if (!talks.length) talks = [begun()];
  nextId = Math.max(...talks.map((talk) => talk.id)) + 1;
  const box = one("#prompt");
  box.value = sessionStorage.getItem(DRAFT) ?? "";
  for (const talk of talks) {
    const last = talk.turns.at(-1);
    if (last?.state !== "running") continue;
    if (last.job) {
      last.reloads += 1;
      follow(talk, last);
    } else {
      last.state = "failed";
      last.failure = "the page was loaded anew before the server had taken the request";
    }
  }
  addEventListener("pagehide", save);
  one("#ask").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  one("#add-talk").addEventListener("click", () => {
    const used = talks.map((talk) => talk.model);
    const other = models().find((model) => model.local && !used.includes(model.name));
    if (talks.length < MOST) talks.push(begun(other?.name ?? ""));
    told();
  });
  one("#new-talk").addEventListener("click", () => {
    talks.filter(isRunning).forEach(halt);
    talks = talks.map((talk) => begun(talk.model));
    told();
    box.focus();
  });
  provide("chat with", (model) => {
    const free = talks.find((talk) => !isRunning(talk)) ?? talks[0];
    free.model = model;
    document.body.dataset.view = "chat";
    told();
    box.focus();
  });
  onChange(() => told());
  render();
  for (const said of document.querySelectorAll(".said")) said.scrollTop = said.scrollHeight;
}
