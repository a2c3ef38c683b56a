// Identify files: a short query is answered at once, a long recording becomes a job.

/** @import { Job, Report, ViewContext } from "../types.js" */

import { ApiError, followJob, isAbort, messageOf, upload, withQuery } from "../api.js";
import { button, note, progressBar, viewHeader } from "../components.js";
import { fill, h, icon } from "../dom.js";
import { capitalize, formatBytes, formatShare } from "../format.js";
import { resultCards } from "./match.js";

const MAX_QUERY = 60; // seconds; longer files become jobs
const MAX_QUERY_BYTES = 2e6; // the same limit where the browser cannot read the duration
const DURATION_TIMEOUT = 3000; // milliseconds for the browser to read the duration

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export function show(main, { query, signal }) {
  const jobsOnly = query.has("job");
  const input = h("input", {
    type: "file",
    multiple: true,
    class: "sr-only",
    id: "choose",
    accept: "audio/*,video/*",
    on: {
      change: () => {
        addFiles(input.files ?? []);
        input.value = "";
      },
    },
  });
  const hint = jobsOnly
    ? "Each file becomes a job that finds all songs in it."
    : `Files up to ${MAX_QUERY} seconds are identified at once. In longer recordings all songs are found.`;
  const zone = h(
    "div",
    { class: "drop" },
    icon("identify"),
    h(
      "div",
      {},
      h("p", { class: "drop-title" }, "Drop audio or video files here"),
      h("p", { class: "soft small" }, hint),
    ),
    input,
    h("label", { class: "button main", for: "choose" }, "Choose files"),
  );
  const list = h("ul", { class: "stack", "aria-live": "polite" });
  fill(
    main,
    jobsOnly
      ? viewHeader("New job", "Scan a broadcast, a mix or a film for the songs in it.")
      : viewHeader("Identify files", "Audio or video in any format: an excerpt, a mix, a broadcast, a film."),
    zone,
    h("div", { class: "section" }, list),
  );
  acceptDrops(zone, addFiles, signal);

  /** @param {Iterable<File>} files */
  function addFiles(files) {
    const all = [...files];
    for (const file of all) {
      const item = h("li", { class: "card stack" });
      list.prepend(item);
      identifyFile(file, item, { signal, jobsOnly, openTimeline: all.length === 1 });
    }
  }
}

/**
 * Accept files that are dropped anywhere on the page while a view is shown.
 *
 * @param {HTMLElement} zone The element that is highlighted while files are dragged.
 * @param {(files: Iterable<File>) => void} onDrop
 * @param {AbortSignal} signal
 */
export function acceptDrops(zone, onDrop, signal) {
  let depth = 0; // elements entered minus elements left
  const handle = (/** @type {DragEvent} */ event, /** @type {number} */ change) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    zone.classList.toggle("over", depth > 0);
  };
  window.addEventListener("dragenter", (event) => handle(event, 1), { signal });
  window.addEventListener("dragleave", (event) => handle(event, -1), { signal });
  window.addEventListener("dragover", (event) => handle(event, 0), { signal });
  window.addEventListener(
    "drop",
    (event) => {
      handle(event, -depth);
      if (event.dataTransfer?.files.length) onDrop(event.dataTransfer.files);
    },
    { signal },
  );
}

/**
 * @typedef {object} IdentifyOptions
 * @property {AbortSignal} signal
 * @property {boolean} jobsOnly Make a job of short files too.
 * @property {boolean} openTimeline Open the timeline when the job has finished.
 */

/**
 * @param {File} file
 * @param {HTMLElement} item
 * @param {IdentifyOptions} options
 */
async function identifyFile(file, item, options) {
  const { signal, jobsOnly } = options;
  const state = h("p", { class: "small soft" }, "Reading the file");
  const bar = progressBar(null, `Progress of ${file.name}`);
  const result = h("div", { class: "stack" });
  fill(
    item,
    h(
      "div",
      { class: "row between" },
      h("strong", { class: "clip grow" }, file.name),
      h("span", { class: "small soft number" }, formatBytes(file.size)),
    ),
    bar,
    state,
    result,
  );
  const setState = (/** @type {string} */ text, /** @type {number | null} */ share) => {
    state.textContent = text;
    bar.setShare(share);
  };
  const hideState = () => {
    bar.hidden = true;
    state.hidden = true;
  };
  const onProgress = (/** @type {number} */ share) => {
    if (share < 1) setState(`Uploading ${formatShare(share)}`, share);
    else setState("Comparing with the library", null);
  };
  try {
    const report = jobsOnly ? null : await identifyShort(file, { signal, onProgress });
    if (report) {
      hideState();
      fill(result, resultCards(report));
      return;
    }
    const job = await upload("v1/jobs", file, { signal, onProgress });
    await showJob(job, { setState, hideState, result, ...options });
  } catch (error) {
    if (isAbort(error)) return;
    hideState();
    fill(
      result,
      note(messageOf(error), "bad"),
      error instanceof ApiError &&
        error.isTemporary &&
        h(
          "div",
          {},
          button("Try again", () => identifyFile(file, item, options), { iconName: "again", kind: "compact" }),
        ),
    );
  }
}

/**
 * Identify a file that is short enough to be a query.
 *
 * @param {File} file
 * @param {{ signal: AbortSignal, onProgress: (share: number) => void }} options
 * @returns {Promise<Report | null>} Null if the file is too long.
 */
async function identifyShort(file, options) {
  const seconds = await readDuration(file);
  if (seconds === null ? file.size > MAX_QUERY_BYTES : seconds > MAX_QUERY) return null;
  try {
    return await upload(withQuery("v1/identify", { top: 3 }), file, options);
  } catch (error) {
    if (error instanceof ApiError && error.code === "too_long") return null;
    throw error;
  }
}

/**
 * Show the progress of a job until it has ended.
 *
 * @param {Job} job
 * @param {IdentifyOptions & {
 *   setState: (text: string, share: number | null) => void, hideState: () => void, result: HTMLElement,
 * }} options
 * @returns {Promise<void>}
 */
function showJob(job, { setState, hideState, result, signal, openTimeline }) {
  const address = `#/jobs/${job.id}`;
  fill(result, h("div", {}, h("a", { class: "button compact", href: address }, "Open the timeline")));
  return new Promise((resolve) => {
    const stop = followJob(
      job.id,
      (changed) => {
        if (changed.state === "waiting") setState("Waiting in the queue", null);
        else if (changed.state === "running") setState(`Scanning ${formatShare(changed.progress)}`, changed.progress);
        else if (changed.state === "failed") {
          hideState();
          result.prepend(note(capitalize(changed.error?.message ?? "The job failed"), "bad"));
        } else setState(changed.state === "finished" ? "Finished" : "Cancelled", 1);
      },
      (ended) => {
        resolve();
        if (ended.state === "finished" && openTimeline && !signal.aborted) location.hash = address;
      },
    );
    signal.addEventListener("abort", () => {
      stop();
      resolve();
    });
  });
}

/**
 * The duration of a file in seconds; null if the browser cannot read it.
 *
 * @param {File} file
 * @returns {Promise<number | null>}
 */
function readDuration(file) {
  return new Promise((resolve) => {
    const url = URL.createObjectURL(file);
    const audio = document.createElement("audio");
    const finish = (/** @type {number | null} */ seconds) => {
      clearTimeout(timer);
      URL.revokeObjectURL(url);
      audio.removeAttribute("src");
      resolve(Number.isFinite(seconds) ? seconds : null);
    };
    const timer = setTimeout(() => finish(null), DURATION_TIMEOUT);
    audio.preload = "metadata";
    audio.onloadedmetadata = () => finish(audio.duration);
    audio.onerror = () => finish(null);
    audio.src = url;
  });
}
