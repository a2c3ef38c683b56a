// Everything that the page asks of the server.

/** An answer that is an error: one line that says what to do. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || `The server answered with ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
  }
}

const UNREACHED = { detail: "The server cannot be reached. Is it still running?" };
/** Who is signed in; `open`: the server has no keys, and whoever is at its machine may do everything. */
export const session = { signedIn: false, key: null, scope: "", csrf: "", open: false };

/** May whoever is signed in do this? The server decides; this only hides what it would refuse. */
export function may(scope) {
  const order = ["identify", "write", "admin"];
  return order.indexOf(scope) <= order.indexOf(session.scope);
}

export async function ask(method, path, { json, body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (json !== undefined) {
    sent["content-type"] = "application/json";
    body = JSON.stringify(json);
  }
  if (method !== "GET" && session.csrf) sent["x-csrf-token"] = session.csrf;
  let answer;
  try {
    answer = await fetch(path, { method, headers: sent, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, UNREACHED);
  }
  if (answer.status === 401) window.dispatchEvent(new Event("signed-out"));
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => null));
  return answer;
}

export async function read(path, options) {
  return (await ask("GET", path, options)).json();
}

/** Reads of which only the latest is of interest: each ends the one before it, so that no late answer takes its place. */
export function latest(signal) {
  let mine = new AbortController();
  return (path) => {
    mine.abort();
    mine = new AbortController();
    return read(path, { signal: AbortSignal.any([signal, mine.signal]) });
  };
}

export async function send(method, path, json, options) {
  const answer = await ask(method, path, { json, ...options });
  return answer.status === 204 ? null : answer.json();
}

/** Send a file as the body of a request, and hear how far it is (0 to 1); aborted with `signal`. */
export function upload(path, file, { onProgress, signal, headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("content-type", file.type || "application/octet-stream");
    request.setRequestHeader("x-file-name", encodeURIComponent(file.name ?? ""));
    if (session.csrf) request.setRequestHeader("x-csrf-token", session.csrf);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress?.(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () => {
      let answer = null;
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        /* no JSON: the status says it all */
      }
      if (request.status === 401) window.dispatchEvent(new Event("signed-out"));
      if (request.status < 300) resolve(answer);
      else reject(new Problem(request.status, answer));
    };
    request.onerror = () => reject(new Problem(0, UNREACHED));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

/** An address with a query; what is empty is left out. */
export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export async function whoAmI() {
  const nobody = { signedIn: false, key: null, scope: "", csrf: "", open: false };
  Object.assign(session, nobody);
  try {
    const said = await read("v1/session");
    Object.assign(session, {
      signedIn: true,
      key: said.key ? { id: said.key, name: said.name } : null,
      scope: said.scope,
      csrf: said.csrf ?? "",
      open: !said.key,
    });
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  return session;
}

export async function signIn(token) {
  await send("POST", "v1/session", { token });
  return whoAmI();
}

export async function signOut() {
  await send("DELETE", "v1/session");
  return whoAmI();
}

/** Live news of a job until it has ended; returns a function that stops listening. */
export function follow(jobId, onJob, onEnd = () => {}) {
  const source = new EventSource(`v1/jobs/${encodeURIComponent(jobId)}/events`);
  const hear = (event) => {
    const job = JSON.parse(event.data);
    onJob(job);
    if (["finished", "failed", "cancelled"].includes(job.state)) {
      source.close();
      onEnd(job);
    }
  };
  source.addEventListener("job", hear);
  source.onmessage = hear;
  return () => source.close();
}
