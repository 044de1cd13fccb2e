// Models: in the store, to be fetched, loaded; fetched and removed by who may manage.

import { ask, job, json, Refused } from "./api.js";
import { list, make, one, show, write } from "./dom.js";
import { events } from "./sse.js";
import { chain, models, onChange, request, workers } from "./store.js";
import { bytes, counted } from "./text.js";

function begin(model) {
  const use = make("button", { type: "button", class: "plain", onclick: () => request("chat with", model.name) }, "Chat");
  const act = make("button", { type: "button", class: "plain act", hidden: true });
  act.addEventListener("click", () => (act.dataset.does === "remove" ? remove(act, model) : fetchModel(model.name, model.hive)));
  return make("tr", {}, make("td", { title: model.description ?? model.name }, model.name),
    make("td", { class: "number" }, bytes(model.size_bytes)), make("td", { class: "where dim" }), make("td", { class: "number" }, act, use));
}

function update(row, model) {
  const loaded = workers().filter((worker) => worker.model === model.name).length;
  const where = loaded ? "loaded" : model.local ? "in the store" : "to be fetched";
  write(one(".where", row), where);
  const act = one(".act", row);
  show(act, chain.mayManage && !loaded);
  act.dataset.does = model.local ? "remove" : "fetch";
  if (!act.disabled && act.dataset.sure !== "1") write(act, model.local ? "Remove" : "Fetch");
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

async function fetchModel(model, hive) {
  try {
    const created = await job({ operation: "model_pull", model, hive });
    say("fetching " + model);
    for await (const { name, data } of events(await ask("GET", created.sse_url))) {
      const told = JSON.parse(data || "null");
      if (name === "progress") {
        const of = told.total_bytes ? " of " + bytes(told.total_bytes) + ", " + Math.floor((100 * told.done_bytes) / told.total_bytes) + " %" : "";
        say(told.target + ": " + bytes(told.done_bytes) + of);
      } else if (name === "narration" && told.level !== "progress") say(told.human);
      else if (name === "error") return say(told.error.message);
      else if (name === "end") return say(told.state === "completed" ? model + " is here" : model + ": " + told.state);
    }
    say("the connection broke; the fetch goes on and shows under way");
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
