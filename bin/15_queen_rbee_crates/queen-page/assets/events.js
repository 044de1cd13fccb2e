// What happens, as it is told; kept in this tab so that a page that loads itself anew has it too.

import { make, one } from "./dom.js";
import { clock, plain } from "./text.js";

const KEPT = "rbee.events";
const MOST = 300;
const SAVED = 80;
let lines = [];
let pending = [];

function line({ at_ms: at, actor, human, level }) {
  const kind = level === "verbatim" ? "verbatim" : "what";
  return make("li", { class: level }, make("time", {}, clock(at)), make("span", { class: "who" }, actor),
    make("span", { class: kind + " what" }, plain(human)));
}

function flush() {
  const box = one("#events");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(...pending.slice(-MOST).map(line));
  pending = [];
  while (box.childElementCount > MOST) box.firstChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

export function tell(narration) {
  if (narration.level === "progress") return;
  lines.push(narration);
  if (lines.length > MOST) lines.shift();
  // In one frame however many there are: a compiler is talkative.
  if (!pending.length) requestAnimationFrame(flush);
  pending.push(narration);
  if (pending.length > MOST) pending.shift();
}

// What this page saw by itself.
export const note = (human, level = "ours") => tell({ at_ms: Date.now(), actor: "page", human, level });

export function start() {
  try {
    JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").forEach(tell);
  } catch {
    sessionStorage.removeItem(KEPT);
  }
  addEventListener("pagehide", () => sessionStorage.setItem(KEPT, JSON.stringify(lines.slice(-SAVED))));
  one("#clear-events").addEventListener("click", () => {
    lines = [];
    one("#events").replaceChildren();
  });
}
