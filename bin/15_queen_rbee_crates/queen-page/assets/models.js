// Models: in the store, to be fetched, loaded; fetched, loaded, unloaded and removed by who may manage.

import { ask, job, json, Refused } from "./api.js";
import { list, make, one, show, write } from "./dom.js";
import { events } from "./sse.js";
import { chain, leavingWorkers, models, onChange, request, waitFor, workers } from "./store.js";
import { bytes, counted } from "./text.js";

function begin(model) {
  const use = make("button", { type: "button", class: "plain", onclick: () => request("chat with", model.name) }, "Chat");
  const act = make("button", { type: "button", class: "plain act", hidden: true });
  act.addEventListener("click", () => (act.dataset.does === "remove" ? remove(act, model) : fetchModel(model.name, model.hive)));
  const turn = make("button", { type: "button", class: "plain turn", hidden: true });
  turn.addEventListener("click", () => (turn.dataset.does === "unload" ? unload(turn, model.name) : load(model.name, model.hive)));
  return make("tr", {}, make("td", { title: model.description ?? model.name }, model.name, make("span", { class: "settings" })),
    make("td", { class: "number" }, bytes(model.size_bytes)), make("td", { class: "where dim" }), make("td", { class: "number" }, act, turn, use));
}

function update(row, model) {
  const loaded = workers().some((worker) => worker.model === model.name);
  const leaving = leavingWorkers().some((worker) => worker.model === model.name);
  const where = loaded ? "loaded" : leaving ? "finishes its answers" : model.local ? "in the store" : "to be fetched";
  const waiting = waitFor(model.name);
  write(one(".where", row), where + (waiting ? ", " + counted(waiting, "waits", "wait") : ""));
  write(one(".settings", row), settings(model));
  const turn = one(".turn", row);
  show(turn, chain.mayManage && (loaded || (model.local && !leaving)));
  turn.dataset.does = loaded ? "unload" : "load";
  write(turn, loaded ? "Unload" : "Load");
  const act = one(".act", row);
  show(act, chain.mayManage && !loaded && !leaving);
  act.dataset.does = model.local ? "remove" : "fetch";
  if (!act.disabled && act.dataset.sure !== "1") write(act, model.local ? "Remove" : "Fetch");
}

// What the configuration sets, and beneath it what the model's makers recommend.
function settings({ name, sampling }) {
  const own = chain.settings[name] ?? {};
  const set = Object.entries(own).map(([key, value]) => key + " " + value);
  const rest = Object.entries(sampling ?? {}).filter(([key]) => !(key in own));
  const recommended = rest.map(([key, value]) => key + " " + value).join(", ");
  return [set.length ? "set: " + set.join(", ") : "", recommended ? "by its makers: " + recommended : ""].filter(Boolean).join(" \u00b7 ");
}

// Asked twice, since it is gone then.
async function remove(button, model) {
  if (button.dataset.sure !== "1") {
    button.dataset.sure = "1";
    button.textContent = "Really remove?";
    setTimeout(() => delete button.dataset.sure, 4000);
    return;
  }
  delete button.dataset.sure;
  const path = "/v1/models/store/" + encodeURIComponent(model.name) + "?hive=" + encodeURIComponent(model.hive);
  const freed = await json("DELETE", path).catch((error) => error);
  say(freed instanceof Error ? freed.message : model.name + " is removed, " + bytes(freed.freed_bytes) + " are free");
}

function say(text) {
  one("#pull-state").textContent = text;
}

// Of every hive that has it loaded: it ends when it has answered what it has.
async function unload(button, model) {
  const hives = chain.aliases.filter((alias) => chain.hives.get(alias)?.workers.workers.some((worker) => worker.model === model));
  const path = (alias) => "/v1/models/unload?hive=" + encodeURIComponent(alias);
  button.disabled = true;
  const all = Promise.all(hives.map((alias) => json("POST", path(alias), { model })));
  await all.then(() => say(model + " is unloaded when it has answered what it has"), (error) => say(error.message));
  button.disabled = false;
}

const fetchModel = (model, hive) => follow({ operation: "model_pull", model, hive }, "fetching ", " is here");
const load = (model, hive) => follow({ operation: "model_load", model, hive }, "loading ", " is loaded");

// Does it by a job, and says how far that is.
async function follow(request, doing, done) {
  const { model } = request;
  try {
    const created = await job(request);
    say(doing + model);
    for await (const { name, data } of events(await ask("GET", created.sse_url))) {
      const told = JSON.parse(data || "null");
      if (name === "progress") {
        const of = told.total_bytes ? " of " + bytes(told.total_bytes) + ", " + Math.floor((100 * told.done_bytes) / told.total_bytes) + " %" : "";
        say(told.target + ": " + bytes(told.done_bytes) + of);
      } else if (name === "narration" && told.level !== "progress") say(told.human);
      else if (name === "error") return say(told.error.message);
      else if (name === "end") return say(told.state === "completed" ? model + done : model + ": " + told.state);
    }
    say("the connection broke; " + doing + model + " goes on and shows under way");
  } catch (error) {
    say(error instanceof Refused ? error.message : "the server does not answer");
  }
}

export function start() {
  const body = one("#models tbody");
  one("#pull").addEventListener("submit", (event) => {
    event.preventDefault();
    const model = one("#pull-name").value.trim();
    if (model) fetchModel(model);
    else say("name a model first");
  });
  onChange(() => {
    const all = models();
    list(body, all, (model) => model.name, begin, update);
    const loaded = new Set(workers().map((worker) => worker.model));
    const here = all.filter((model) => model.local || loaded.has(model.name)).length;
    const none = chain.aliases.length ? "no hive runs; the first prompt starts one" : "";
    write(one("#models-count"), all.length ? counted(here, "is", "are") + " here, " + (all.length - here) + " can be fetched" : none);
    show(one("#models"), all.length > 0);
    show(one("#models-box"), chain.link !== "refused");
    show(one("#pull"), chain.mayManage);
  });
}
