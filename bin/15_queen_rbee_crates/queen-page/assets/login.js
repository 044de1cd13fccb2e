// The key of this tab, where one is needed or lets its holder manage.

import { json, key } from "./api.js";
import { one } from "./dom.js";
import { chain, changed } from "./store.js";

// Who may list keys may manage.
export async function look() {
  chain.mayManage = key.get() !== "" && (await json("GET", "/v1/keys").then(() => true, () => false));
  one("#key").textContent = !key.get() ? "Key" : chain.mayManage ? "Key: manage" : "Key";
  changed();
}

export function ask(why) {
  const dialog = one("#login");
  if (why) one("#login-why").textContent = why;
  one("#login-key").value = "";
  if (!dialog.open) dialog.showModal();
}

export function start(whenChanged) {
  const dialog = one("#login");
  one("#key").addEventListener("click", () => ask());
  one("#login form").addEventListener("submit", (event) => {
    const does = event.submitter?.value ?? "use";
    const text = one("#login-key").value.trim();
    if (does === "cancel" || (does === "use" && !text)) return;
    key.set(does === "use" ? text : "");
    whenChanged();
  });
  dialog.addEventListener("close", () => (one("#login-key").value = ""));
}
