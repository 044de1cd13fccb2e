// What is known of the chain. Who shows it is told once a frame at most, however much comes.

export const chain = {
  link: "connecting", // or open, broken, refused
  refused: undefined,
  queen: undefined,
  binaries: new Map(),
  aliases: [],
  hives: new Map(),
  settings: {}, // by model
  leaving: [], // queens that this one has replaced
  requests: [],
  rates: new Map(), // by request: the last minute's
  total: [],
  doing: new Map(), // by binary: what is done with it
  mayManage: false,
};

const shows = new Set();
const asks = new Map();
let waiting = false;

export const onChange = (show) => shows.add(show);

export function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const show of shows) show();
  });
}

// What one part of the page may ask of another.
export const provide = (name, answer) => asks.set(name, answer);
export const request = (name, ...given) => asks.get(name)?.(...given);

const ROUND_S = 1;
let lastRound = 0;

function tookRequests(list) {
  const now = performance.now();
  const elapsed = (now - lastRound) / 1000;
  const isRound = elapsed >= ROUND_S * 0.7;
  const before = new Map(chain.requests.map((known) => [known.key, known]));
  let sum = 0;
  const alike = new Map();
  chain.requests = list.map((request) => {
    // Without its id a request is known by when it began.
    const began = request.created_at_ms + " " + request.operation + " " + request.subject;
    alike.set(began, (alike.get(began) ?? 0) + 1);
    const key = request.job_id ?? began + " " + alike.get(began);
    const known = before.get(key);
    const rates = chain.rates.get(key) ?? [];
    let rate = rates.at(-1) ?? 0;
    if (known && isRound) {
      rate = Math.max(0, request.events - known.counted) / elapsed;
      rates.push(rate);
      if (rates.length > 60) rates.shift();
    }
    chain.rates.set(key, rates);
    sum += rate;
    const counted = known && !isRound ? known.counted : request.events;
    return { ...request, key, rate, counted };
  });
  const present = new Set(chain.requests.map((known) => known.key));
  for (const key of chain.rates.keys()) if (!present.has(key)) chain.rates.delete(key);
  if (isRound || list.length === 0) {
    lastRound = now;
    chain.total.push(sum);
    if (chain.total.length > 60) chain.total.shift();
  }
}

// What a narration says of the binary that it is about.
function tookNarration({ action, human, level, target }) {
  if (!target || level === "verbatim") return;
  const binary = target.slice(target.lastIndexOf("/") + 1);
  const isLoud = level === "warn" || level === "error";
  const done = (is, why = "") => chain.doing.set(binary, { is, why, since: Date.now() });
  if (action === "build_progress") done("building", human);
  else if (action === "auto_rebuild" && isLoud) done("failed", "it does not build: what the compiler says stands below");
  else if (action === "auto_rebuild") done(/Rebuilding/.test(human) ? "building" : "handing over");
  else if (action === "replace") done(isLoud && /failed/.test(human) ? "rolled back" : "handing over", isLoud ? human : "");
  else if (action === "spawn") done("handing over");
  else if (isLoud && (action === "heal" || action === "supervise")) done("failed", human);
}

export function take(name, data) {
  switch (name) {
    case "queen":
      chain.queen = { ...data, seen: Date.now() };
      break;
    case "binary": {
      chain.binaries.set(data.binary, data);
      const doing = chain.doing.get(data.binary);
      if (data.freshness === "fresh" && doing?.is === "failed") chain.doing.delete(data.binary);
      break;
    }
    case "hives":
      chain.aliases = data;
      for (const alias of chain.hives.keys()) if (!data.includes(alias)) chain.hives.delete(alias);
      break;
    case "hive":
      chain.hives.set(data.alias, { ...data, seen: Date.now() });
      break;
    case "leaving":
      chain.leaving = data;
      break;
    case "settings":
      chain.settings = data;
      break;
    case "requests":
      tookRequests(data);
      break;
    case "narration":
      tookNarration(data);
      break;
  }
  changed();
}

const ofHives = (what) => chain.aliases.flatMap((alias) => chain.hives.get(alias)?.workers[what] ?? []);

export const workers = () => ofHives("workers");

// Those that only finish what they have.
export const leavingWorkers = () => ofHives("leaving");

// How many requests wait for a model to be loaded or for those before them.
export const waitFor = (model, alias) => (alias ? [alias] : chain.aliases).reduce((sum, one) => sum + (chain.hives.get(one)?.workers.waiting?.[model] ?? 0), 0);

export const allWaiting = () => chain.aliases.reduce((sum, alias) => sum + Object.values(chain.hives.get(alias)?.workers.waiting ?? {}).reduce((a, b) => a + b, 0), 0);

// The models of all hives, each once; here rather than to be fetched.
export function models() {
  const all = new Map();
  for (const alias of chain.aliases) {
    for (const model of chain.hives.get(alias)?.models.models ?? []) {
      const known = all.get(model.name);
      if (!known || (model.local && !known.local)) all.set(model.name, { ...model, hive: alias });
    }
  }
  return [...all.values()];
}
