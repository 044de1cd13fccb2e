// The levels of the chain, of every host.

import { list, make, one, show, write, writePath } from "./dom.js";
import { chain, onChange, waitFor } from "./store.js";
import { age, bytes, counted, short } from "./text.js";

const WORDS = {
  serving: "good", ready: "good", fresh: "good",
  stale: "wait", starting: "work", building: "work", "handing over": "work", draining: "wait",
  failed: "bad", stuck: "bad", "rolled back": "bad", stopped: "off",
};

// Handing over ends when the new build is seen, or was never seen.
const LONGEST_DOING_MS = 120_000;

function judged(health, state, level) {
  const role = health?.role ?? (level === "hive" ? "rbee-hive" : undefined);
  const binary = chain.binaries.get(role);
  let doing = chain.doing.get(role);
  if (doing && Date.now() - doing.since > LONGEST_DOING_MS && doing.is !== "failed") doing = undefined;
  if (!health) return state === "starting" && doing ? { word: doing.is, why: doing.why } : { word: state, why: "" };
  if (health.status !== "ok") return { word: health.status, why: "" };
  // Of an older build or not, it takes nothing new.
  if (state === "draining") return { word: state, why: "" };
  const isOld = binary?.freshness === "fresh" && binary.exe_hash && binary.exe_hash !== health.exe_hash;
  const isStale = binary?.freshness === "stale";
  if (doing && (isOld || isStale || doing.is === "rolled back")) return { word: doing.is, why: doing.why || reasons(binary) };
  if (isStale) return { word: "stale", why: reasons(binary) };
  if (isOld) return { word: "stale", why: "runs an older build than there is, " + short(binary.exe_hash) };
  if (binary?.freshness === "unknown") return { word: "serving", why: "cargo has to be asked: " + binary.reasons[0] };
  return { word: "serving", why: "" };
}

function reasons(binary) {
  const [first, ...more] = binary?.reasons ?? [];
  if (!first) return "";
  const root = chain.queen?.health.source_root;
  return (root ? first.replaceAll(root + "/", "") : first).replaceAll("`", "") + (more.length ? "; and " + counted(more.length, "more", "more") : "");
}

function rows() {
  const rows = [];
  if (chain.queen) {
    const { health, seen, auto_update } = chain.queen;
    const note = auto_update ? "" : "sources are not followed here";
    rows.push({ level: "queen", name: "", key: "queen", health, seen, state: "serving", note });
    rows.push(...chain.leaving.map((one) => left("queen", "", one)));
  }
  for (const alias of chain.aliases) {
    const hive = chain.hives.get(alias);
    if (!hive) continue;
    const { memory_total_bytes: total, memory_available_bytes: free, devices } = hive.capabilities ?? {};
    const cores = devices?.map((device) => (device.cores ? counted(device.cores, "core", "cores") : device.name)).join(", ");
    const note = hive.detail ?? [hive.host, cores].filter(Boolean).join(" \u00b7 ");
    rows.push({
      level: "hive", name: alias, key: "hive " + alias, health: hive.health, seen: hive.seen, note,
      state: hive.state, isBad: hive.state === "failed", used: total ? total - free : undefined, total,
    });
    rows.push(...(hive.leaving ?? []).map((one) => left("hive", alias, one)));
    for (const worker of [...hive.workers.workers, ...(hive.workers.leaving ?? [])]) {
      rows.push({
        level: "worker", name: worker.model, key: "worker " + alias + " " + worker.id, health: worker.health, seen: hive.seen,
        state: worker.state === "ready" ? "serving" : worker.state, isBad: worker.state === "failed", memory: worker.memory_bytes,
        note: worker.detail ?? [does(worker, alias), worker.device].filter(Boolean).join(" \u00b7 "),
      });
    }
  }
  return rows;
}

// A queen or hive that another one has replaced: it finishes what it has.
function left(level, name, { pid, exe_hash, started_at_ms, requests }) {
  const health = { status: "ok", exe_hash, pid, uptime_s: (Date.now() - started_at_ms) / 1000 };
  const subjects = [...new Set(requests.map((request) => request.subject).filter(Boolean))];
  const note = "finishes " + counted(requests.length, "request", "requests") + (subjects.length ? ": " + subjects.join(", ") : "");
  return { level, name, key: level + " " + name + " " + pid, health, seen: Date.now(), state: "draining", note };
}

function does({ state, model, active_requests: active }, alias) {
  if (state === "draining") return "finishes " + counted(active, "answer", "answers");
  const waiting = waitFor(model, alias);
  return (active ? "answers " + active : "idle") + (waiting ? ", " + counted(waiting, "waits", "wait") : "");
}

function begin({ level, name }) {
  const kind = make("span", { class: "kind" }, level);
  const meter = make("meter", { hidden: true, min: 0, max: 1, high: 0.9 });
  return make("tr", { data: { level } },
    make("td", { title: name }, kind, name),
    make("td", { class: "state" }, make("span", { class: "dot" }), make("span", { class: "word" })),
    make("td", {}, make("span", { class: "mono build" })),
    make("td", { class: "wide number age" }),
    make("td", { class: "wide number memory" }, meter, make("span")),
    make("td", { class: "note" }, make("span", { class: "plain" }), make("span", { class: "why" })));
}

function update(row, { level, health, seen, state, note, used, total, memory, isBad }) {
  const { word, why } = judged(health, state, level);
  const cell = one(".state", row);
  cell.dataset.is = WORDS[word] ?? "off";
  write(one(".word", row), word);
  const build = one(".build", row);
  const hash = short(health?.exe_hash);
  if (build.textContent && hash && build.textContent !== hash) {
    build.classList.remove("new");
    // Begins the animation anew.
    void build.offsetWidth;
    build.classList.add("new");
  }
  write(build, hash);
  build.title = health ? health.exe_hash + ", process " + health.pid : "";
  write(one(".age", row), health ? age(health.uptime_s + (Date.now() - seen) / 1000) : "");
  const meter = one("meter", row);
  show(meter, total > 0);
  if (total > 0) {
    meter.value = used / total;
    meter.title = bytes(used) + " of " + bytes(total) + " in use";
    meter.setAttribute("aria-label", meter.title);
  }
  write(meter.nextSibling, total > 0 ? bytes(used) : bytes(memory));
  write(one(".plain", row), why ? "" : note);
  const reason = one(".why", row);
  writePath(reason, why);
  reason.classList.toggle("bad", word === "failed" || word === "rolled back");
  one(".plain", row).classList.toggle("failed", Boolean(isBad));
}

function verdict(all) {
  const count = new Map();
  for (const row of all) {
    const { word } = judged(row.health, row.state, row.level);
    count.set(word, (count.get(word) ?? 0) + 1);
  }
  const bad = ["rolled back", "failed", "stuck", "building", "handing over", "stale", "starting"].filter((word) => count.has(word));
  if (!all.length) return "";
  if (bad.length) return bad.map((word) => count.get(word) + " " + word).join(", ");
  if (chain.queen && !chain.queen.auto_update) return counted(all.length, "level", "levels");
  return "every process runs what its sources say";
}

export function start() {
  const body = one("#levels tbody");
  onChange(() => {
    const all = rows();
    list(body, all, (row) => row.key, begin, update);
    write(one("#verdict"), verdict(all));
    const link = one("#link");
    const words = {
      connecting: ["work", "connecting"],
      open: ["good", "live \u00b7 build " + short(chain.queen?.health.exe_hash)],
      broken: ["wait", "no queen answers; asking again"],
      refused: ["bad", "not let in"],
    };
    const [is, text] = words[chain.link];
    link.dataset.is = is;
    write(one(".words", link), text);
    show(one("#closed"), chain.link === "refused");
    show(one("#levels"), chain.link !== "refused");
    write(one("#closed"), chain.refused ?? "");
    show(one("#update"), chain.mayManage);
  });
  // What ages does so without news.
  setInterval(() => {
    for (const row of rows()) {
      const element = body.known?.get(row.key);
      if (element) update(element, row);
    }
  }, 5000);
}
