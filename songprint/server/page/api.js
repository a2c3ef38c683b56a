// Requests to the server, and the session of the signed-in user.

/** @import { Job } from "./types.js" */

import { capitalize } from "./format.js";

/** @typedef {{ signal?: AbortSignal }} ReadOptions */
/** @typedef {{ json?: unknown, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal }} RequestOptions */
/** @typedef {{ onProgress?: (share: number) => void, signal?: AbortSignal }} UploadOptions */

/** An error response of the server; the message says what to do. Status 0: there was no response. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{ detail?: string, title?: string, code?: string } | null} body
   */
  constructor(status, body) {
    super(capitalize(body?.detail || body?.title || `The server responded with status ${status}`));
    this.status = status;
    this.code = body?.code ?? "";
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

const NO_RESPONSE = { detail: "The server does not respond. Check that it is running and that you are online." };
const SCOPES = ["identify", "write", "admin"]; // each one includes those before it
const SIGNED_OUT = {
  signedIn: false,
  key: /** @type {{ id: string, name: string } | null} */ (null),
  scope: "",
  csrf: "",
  open: false,
};

/** The current session. `open`: the server has no keys, and users of its machine have all rights. */
export const session = { ...SIGNED_OUT };

/**
 * Whether the session has a scope. This hides controls only; the server enforces scopes.
 *
 * @param {string} scope
 */
export function isAllowed(scope) {
  return SCOPES.indexOf(scope) <= SCOPES.indexOf(session.scope);
}

/**
 * @param {unknown} error
 * @returns {boolean} Whether the error only means that a request was cancelled.
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Send a request and return the response. Raises ApiError unless the status is 2xx.
 *
 * @param {string} method
 * @param {string} path
 * @param {RequestOptions} [options]
 */
export async function request(method, path, { json, body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (json !== undefined) {
    sent["content-type"] = "application/json";
    body = JSON.stringify(json);
  }
  if (method !== "GET" && session.csrf) sent["x-csrf-token"] = session.csrf;
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, NO_RESPONSE);
  }
  if (response.status === 401) window.dispatchEvent(new Event("signed-out"));
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => null));
  return response;
}

/**
 * @param {string} path
 * @param {ReadOptions} [options]
 * @returns {Promise<any>}
 */
export async function getJson(path, options) {
  return (await request("GET", path, options)).json();
}

/**
 * A `getJson` whose calls cancel the one before, so that a late response never replaces a newer one.
 *
 * @param {AbortSignal} signal
 */
export function latestOnly(signal) {
  let current = new AbortController();
  return (/** @type {string} */ path) => {
    current.abort();
    current = new AbortController();
    return getJson(path, { signal: AbortSignal.any([signal, current.signal]) });
  };
}

/**
 * Send JSON and return the JSON of the response; null if it has none.
 *
 * @param {string} method
 * @param {string} path
 * @param {unknown} [json]
 * @returns {Promise<any>}
 */
export async function sendJson(method, path, json) {
  const response = await request(method, path, { json });
  return response.status === 204 ? null : response.json();
}

/**
 * Send a file as the body of a POST request. `onProgress` receives the share that was sent, from 0 to 1.
 *
 * @param {string} path
 * @param {File} file
 * @param {UploadOptions} [options]
 * @returns {Promise<any>} The JSON of the response.
 */
export function upload(path, file, { onProgress, signal } = {}) {
  return new Promise((resolve, reject) => {
    // fetch() does not report the progress of uploads.
    const sent = new XMLHttpRequest();
    sent.open("POST", path);
    sent.setRequestHeader("content-type", file.type || "application/octet-stream");
    sent.setRequestHeader("x-file-name", encodeURIComponent(file.name));
    if (session.csrf) sent.setRequestHeader("x-csrf-token", session.csrf);
    sent.upload.onprogress = (event) => onProgress?.(event.lengthComputable ? event.loaded / event.total : 0);
    sent.onload = () => {
      let body = null;
      try {
        body = JSON.parse(sent.responseText);
      } catch {
        // Not JSON: the error message then names the status.
      }
      if (sent.status === 401) window.dispatchEvent(new Event("signed-out"));
      if (sent.status < 300) resolve(body);
      else reject(new ApiError(sent.status, body));
    };
    sent.onerror = () => reject(new ApiError(0, NO_RESPONSE));
    sent.onabort = () => reject(new DOMException("The upload was cancelled", "AbortError"));
    signal?.addEventListener("abort", () => sent.abort());
    sent.send(file);
  });
}

/**
 * A path with query parameters; empty ones are left out.
 *
 * @param {string} path
 * @param {Record<string, string | number | boolean | null | undefined>} [parameters]
 */
export function withQuery(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined && value !== null && value !== "") query.set(name, String(value));
  return query.size ? `${path}?${query}` : path;
}

/** Load the session from the server into `session`. */
export async function loadSession() {
  Object.assign(session, SIGNED_OUT);
  try {
    const loaded = await getJson("v1/session");
    Object.assign(session, {
      signedIn: true,
      key: loaded.key ? { id: loaded.key, name: loaded.name } : null,
      scope: loaded.scope,
      csrf: loaded.csrf ?? "",
      open: !loaded.key,
    });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 401)) throw error;
  }
  return session;
}

/** @param {string} token */
export async function signIn(token) {
  await sendJson("POST", "v1/session", { token });
  return loadSession();
}

export async function signOut() {
  await sendJson("DELETE", "v1/session");
  return loadSession();
}

/** @param {Job} job */
export function hasEnded(job) {
  return ["finished", "failed", "cancelled"].includes(job.state);
}

/**
 * Receive the changes of a job until it has ended.
 *
 * @param {string} jobId
 * @param {(job: Job) => void} onChange
 * @param {(job: Job) => void} [onEnd]
 * @returns {() => void} Stops receiving.
 */
export function followJob(jobId, onChange, onEnd = () => {}) {
  const source = new EventSource(`v1/jobs/${encodeURIComponent(jobId)}/events`);
  const receive = (/** @type {MessageEvent} */ event) => {
    const job = JSON.parse(event.data);
    onChange(job);
    if (hasEnded(job)) {
      source.close();
      onEnd(job);
    }
  };
  source.addEventListener("job", receive);
  source.onmessage = receive;
  return () => source.close();
}
