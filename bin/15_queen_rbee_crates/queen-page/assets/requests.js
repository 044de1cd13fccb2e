// Requests under way, and how fast they are.

import { json } from "./api.js";
import { draw, list, make, one, plot, show, write } from "./dom.js";
import { allWaiting, chain, onChange } from "./store.js";
import { age, counted, rate } from "./text.js";

// More than these are summed up.
const SHOWN = 24;

const OPERATIONS = { completion: "answer", chat_completion: "answer", model_pull: "fetch", hive_start: "start of a hive", hive_stop: "stop of a hive", chain_update: "update", hive_install: "install of a hive", hive_update: "update of a hive", hive_uninstall: "removal of a hive", props: "look" };

function begin() {
  return make("tr", {},
    make("td", {}), make("td", { class: "number since" }), make("td", { class: "number events" }),
    make("td", { class: "number rate" }), make("td", { class: "wide" }, plot()), make("td", { class: "end" }));
}

function update(row, request) {
  const what = OPERATIONS[request.operation] ?? request.operation;
  write(row.firstChild, request.subject ? request.subject + " \u00b7 " + what : what);
  row.firstChild.title = row.firstChild.textContent;
  write(one(".since", row), age((Date.now() - request.created_at_ms) / 1000));
  write(one(".events", row), String(request.events));
  write(one(".rate", row), rate(request.rate));
  draw(one("svg", row), chain.rates.get(request.key) ?? []);
  const cell = one(".end", row);
  if (request.job_id && !cell.firstChild) {
    const end = () => json("DELETE", "/v1/jobs/" + request.job_id).catch(() => {});
    cell.append(make("button", { type: "button", class: "plain", onclick: end }, "End"));
  }
}

export function start() {
  const body = one("#requests tbody");
  const totals = one("#totals");
  const line = plot();
  const words = make("span");
  totals.append(line, words);
  onChange(() => {
    const all = chain.requests;
    list(body, all.slice(0, SHOWN), (request) => request.key, begin, update);
    const more = all.length - SHOWN;
    const count = all.length === 0 ? "nothing" : counted(all.length, "request", "requests");
    const waiting = allWaiting();
    const wait = waiting ? ", " + counted(waiting, "waits", "wait") + " for a worker" : "";
    write(one("#requests-count"), count + wait + (more > 0 ? ", the first " + SHOWN + " shown" : ""));
    show(one("#requests"), all.length > 0);
    draw(line, chain.total);
    write(words, chain.total.length ? rate(chain.total.at(-1)) + " tokens" : "");
  });
}
