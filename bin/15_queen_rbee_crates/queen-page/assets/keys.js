// Keys of other users and programs: listed, made and revoked by who may manage.

import { json } from "./api.js";
import { list, make, one, show, write } from "./dom.js";
import { chain, onChange } from "./store.js";
import { age, counted } from "./text.js";

let known = [];
let wasAsked = false;

function say(text) {
  one("#keys-state").textContent = text;
}

async function look() {
  known = (await json("GET", "/v1/keys").catch(() => ({ keys: [] }))).keys;
  draw();
}

function draw() {
  list(one("#keys tbody"), known, (key) => key.name, begin, () => {});
  show(one("#keys"), known.length > 0);
  write(one("#keys-count"), known.length ? counted(known.length, "key", "keys") : "none");
}

function begin({ name, scope, created }) {
  const revoke = make("button", { type: "button", class: "plain" }, "Revoke");
  revoke.addEventListener("click", () => revokeKey(revoke, name));
  const since = age(Date.now() / 1000 - created);
  return make("tr", {}, make("td", { title: name }, name), make("td", {}, scope), make("td", { class: "number" }, since), make("td", { class: "number" }, revoke));
}

// Asked twice, since whoever has it is out then.
async function revokeKey(button, name) {
  if (button.dataset.sure !== "1") {
    button.dataset.sure = "1";
    button.textContent = "Really revoke?";
    setTimeout(() => {
      delete button.dataset.sure;
      button.textContent = "Revoke";
    }, 4000);
    return;
  }
  await json("DELETE", "/v1/keys/" + encodeURIComponent(name)).then(() => say(name + " is revoked"), (error) => say(error.message));
  look();
}

async function makeKey(event) {
  event.preventDefault();
  const [name, scope] = [one("#key-name").value.trim(), one("#key-scope").value];
  if (!name) return say("name it first");
  try {
    const created = await json("POST", "/v1/keys", { name, scope });
    // Told this once, and kept by nobody here.
    say(created.name + ", shown this once: " + created.key);
    one("#key-name").value = "";
  } catch (error) {
    say(error.message);
  }
  look();
}

export function start() {
  one("#make-key").addEventListener("submit", makeKey);
  onChange(() => {
    show(one("#keys-box"), chain.mayManage);
    if (chain.mayManage && !wasAsked) look();
    if (!chain.mayManage) say("");
    wasAsked = chain.mayManage;
  });
}
