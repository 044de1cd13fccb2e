// Looks on, shows what is told, and loads the page anew when the queen has another one.

import { ask, job, pause, Refused } from "./api.js";
import * as chainView from "./chain.js";
import * as chat from "./chat.js";
import { one } from "./dom.js";
import * as happenings from "./events.js";
import * as keysView from "./keys.js";
import * as login from "./login.js";
import * as modelsView from "./models.js";
import * as requestsView from "./requests.js";
import { events } from "./sse.js";
import { chain, changed, take } from "./store.js";
import { short } from "./text.js";

const OWN = one("meta[name=rbee-page]").content;
const BUILD = "rbee.build";
const RELOADED = "rbee.reloaded";
let controller;

function link(state, why) {
  chain.link = state;
  chain.refused = why;
  changed();
}

// Of which build the queen was when this tab saw her last, whether or not the page is another since.
function noteQueen({ health, page }) {
  const known = sessionStorage.getItem(BUILD);
  if (known && known !== health.exe_hash) happenings.note("The queen was replaced: build " + short(known) + " \u2192 " + short(health.exe_hash));
  sessionStorage.setItem(BUILD, health.exe_hash);
  if (page !== OWN) reload(page);
}

// At most thrice for one version: a page that is never had must not be asked for for ever.
function reload(page) {
  const [version, times] = (sessionStorage.getItem(RELOADED) ?? " 0").split(" ");
  const again = version === page ? Number(times) + 1 : 1;
  if (again > 3) return;
  sessionStorage.setItem(RELOADED, page + " " + again);
  happenings.note("The page has changed and is loaded anew");
  location.reload();
}

async function lookOn(signal) {
  let tries = 0;
  for (;;) {
    try {
      const response = await ask("GET", "/v1/events", { signal });
      for await (const { name, data } of events(response)) {
        tries = 0;
        const told = JSON.parse(data);
        if (chain.link !== "open") link("open");
        if (name === "narration") happenings.tell(told);
        if (name === "queen") noteQueen(told);
        take(name, told);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status === 401) return refused(error);
    }
    if (signal.aborted) return;
    tries += 1;
    if (tries > 4) link("broken");
    await pause(Math.min(200 * tries, 3000));
  }
}

function refused({ code, message }) {
  if (code === "token_wrong" || code === "token_missing") {
    link("refused", "This key is for chatting only: the chain is shown to this machine's user, and to who has a key with `--scope manage`.");
    chat.nameModels();
    return;
  }
  const why = code === "key_missing" ? "This server lets in who has a key." : code === "key_wrong" ? "This key is not, or no longer, one of this server\u2019s." : message;
  link("refused", why);
  login.ask(why);
}

function begin() {
  controller?.abort();
  controller = new AbortController();
  link("connecting");
  login.look();
  lookOn(controller.signal);
}

for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => (document.body.dataset.view = button.dataset.to));
}
new MutationObserver(() => {
  for (const button of document.querySelectorAll("nav button")) {
    button.setAttribute("aria-pressed", String(button.dataset.to === document.body.dataset.view));
  }
  sessionStorage.setItem("rbee.view", document.body.dataset.view);
}).observe(document.body, { attributeFilter: ["data-view"] });
document.body.dataset.view = sessionStorage.getItem("rbee.view") ?? "chain";

one("#update").addEventListener("click", () => job({ operation: "chain_update" }).catch((error) => happenings.note(error.message, "error")));

happenings.start();
chainView.start();
requestsView.start();
modelsView.start();
keysView.start();
chat.start();
login.start(begin);
begin();
