// Requests to the queen, with the key that this tab has.

const KEY = "rbee.key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

// What the queen refused, in her words.
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? "the server answered " + status);
    this.status = status;
    this.code = error?.code ?? "";
  }
}

export async function ask(method, path, { body, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (key.get()) all.authorization = "Bearer " + key.get();
  if (body !== undefined) all["content-type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers: all,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(response.status, said.error);
}

export const json = async (method, path, body) => {
  const response = await ask(method, path, { body });
  return response.status === 204 ? undefined : response.json();
};

// Begins a job; its events are read by whoever wants them.
export const job = (request) => json("POST", "/v1/jobs", request);

export const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));
