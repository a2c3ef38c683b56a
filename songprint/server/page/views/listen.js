// Identify music from the microphone.

/** @import { Recording, Report, ViewContext } from "../types.js" */

import { isAbort, messageOf, request, withQuery } from "../api.js";
import { describeError, Microphone, unavailableReason } from "../audio/microphone.js";
import { button, note } from "../components.js";
import { fill, find, h, icon, svg } from "../dom.js";
import { artistNames, formatDateTime, formatTime, plural } from "../format.js";
import { emptyLibrary, isLibraryEmpty } from "../library/first-run.js";
import { resultCards } from "./match.js";

const FIRST_QUERY = 3; // seconds of sound in the first query
const QUERY_STEP = 1; // seconds of sound that each further query adds at least
const LAST_QUERY = 12; // seconds of sound after which there is no further query
const QUIET = 0.15; // level below which the page asks the user to move closer
const RING_LENGTH = 2 * Math.PI * 94; // of the progress ring around the button, in SVG units
const HISTORY_KEY = "songprint.history";
const HISTORY_LENGTH = 30;
const READY = "Hold this device near the music";

/**
 * An entry of the history in this browser; `match` is null if nothing was found.
 *
 * @typedef {object} HistoryEntry
 * @property {string} at
 * @property {(Pick<Recording, "title" | "artists"> & { kind: string, start: number }) | null} match
 */

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export function show(main, { signal }) {
  const circle = { cx: 100, cy: 100, r: 94 };
  const ring = svg("circle", {
    ...circle,
    class: "ring",
    "stroke-dasharray": RING_LENGTH,
    "stroke-dashoffset": RING_LENGTH,
  });
  const halo = h("i", { class: "halo" });
  const label = h("span", {}, "Listen");
  const listenButton = h(
    "button",
    { type: "button", class: "listen-button", on: { click: () => (listening ? stop() : start()) } },
    halo,
    svg("svg", { viewBox: "0 0 200 200", "aria-hidden": "true" }, svg("circle", { ...circle, class: "track" }), ring),
    icon("listen"),
    label,
  );
  const state = h("p", { class: "listen-state", role: "status" }, READY);
  const result = h("div", { class: "listen-result", "aria-live": "polite" });
  const past = h("section", { class: "stack" });
  fill(main, h("h1", { class: "sr-only" }, "Listen"), h("div", { class: "listen" }, listenButton, state, result), past);
  showHistory(past);
  showIfEmpty();

  const reason = unavailableReason();
  if (reason) {
    listenButton.disabled = true;
    fill(state, "No microphone");
    fill(result, note(reason, "warn"));
  }

  /** @type {AbortController | null} */
  let listening = null;
  signal.addEventListener("abort", () => listening?.abort());

  /** Recording is pointless while there is nothing to compare with. */
  async function showIfEmpty() {
    const isEmpty = await isLibraryEmpty(signal).catch(() => false); // requests of the view itself report errors
    if (!isEmpty || signal.aborted) return;
    listening?.abort();
    fill(find(main, ".listen"), emptyLibrary());
  }

  async function start() {
    const current = new AbortController();
    listening = current;
    const microphone = new Microphone();
    current.signal.addEventListener("abort", () => microphone.close());
    fill(result);
    listenButton.classList.add("on");
    label.textContent = "Stop";
    state.textContent = "Listening…";
    try {
      await microphone.open();
    } catch (error) {
      if (!current.signal.aborted) fill(result, note(describeError(error), "bad"));
      finish(current, READY);
      return;
    }
    showLevel(microphone, current.signal);
    try {
      const report = await identify(microphone, current.signal);
      if (current.signal.aborted) return;
      finish(current, report.matches.length ? "Match found" : "No match", "Listen again");
      fill(result, resultCards(report));
      addToHistory(report);
      showHistory(past);
    } catch (error) {
      if (isAbort(error)) return;
      fill(result, note(messageOf(error), "bad"));
      finish(current, READY);
    }
  }

  function stop() {
    if (listening) finish(listening, READY);
  }

  /**
   * @param {AbortController} current
   * @param {string} stateText
   * @param {string} [buttonText]
   */
  function finish(current, stateText, buttonText = "Listen") {
    current.abort();
    if (listening !== current) return;
    listening = null;
    listenButton.classList.remove("on");
    label.textContent = buttonText;
    state.textContent = stateText;
    ring.setAttribute("stroke-dashoffset", String(RING_LENGTH));
    halo.style.transform = "";
  }

  /**
   * @param {Microphone} microphone
   * @param {AbortSignal} stopped
   */
  function showLevel(microphone, stopped) {
    if (stopped.aborted) return;
    const level = Math.max(0, Math.min(1, 1 + Math.log10(microphone.level + 1e-5) / 3)); // a range of 60 dB
    halo.style.transform = `scale(${1 + 0.28 * level})`;
    const progress = Math.min(1, microphone.seconds / LAST_QUERY);
    ring.setAttribute("stroke-dashoffset", String(RING_LENGTH * (1 - progress)));
    const isQuiet = microphone.seconds > 2 && level < QUIET;
    state.textContent = isQuiet
      ? "The sound is very quiet. Move closer to the music"
      : `Listening… ${Math.floor(microphone.seconds)} s`;
    requestAnimationFrame(() => showLevel(microphone, stopped));
  }
}

/**
 * Send queries of increasing length until there is a match or the sound is long enough.
 *
 * @param {Microphone} microphone
 * @param {AbortSignal} signal
 * @returns {Promise<Report>}
 */
async function identify(microphone, signal) {
  let needed = FIRST_QUERY;
  for (;;) {
    while (microphone.seconds < needed) await pause(80, signal);
    const seconds = microphone.seconds;
    const response = await request("POST", withQuery("v1/identify", { top: 3 }), {
      body: microphone.toWav(),
      headers: { "content-type": "audio/wav" },
      signal,
    });
    /** @type {Report} */
    const report = await response.json();
    if (report.matches.length || seconds >= LAST_QUERY) return report;
    needed = Math.min(LAST_QUERY, Math.max(seconds, needed + QUERY_STEP));
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function pause(milliseconds, signal) {
  signal.throwIfAborted();
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}

/** @returns {HistoryEntry[]} The latest first. */
function history() {
  try {
    return JSON.parse(localStorage.getItem(HISTORY_KEY) ?? "[]");
  } catch {
    return [];
  }
}

/** @param {Report} report */
function addToHistory({ matches: [match] }) {
  /** @type {HistoryEntry} */
  const entry = { at: new Date().toISOString(), match: null };
  if (match) {
    const { title, artists } = match.recording;
    entry.match = { title, artists, kind: match.kind, start: match.reference.start };
  }
  localStorage.setItem(HISTORY_KEY, JSON.stringify([entry, ...history()].slice(0, HISTORY_LENGTH)));
}

/** @param {HTMLElement} place */
function showHistory(place) {
  const entries = history();
  if (!entries.length) {
    fill(place);
    return;
  }
  const clear = () => {
    localStorage.removeItem(HISTORY_KEY);
    showHistory(place);
  };
  fill(
    place,
    h(
      "div",
      { class: "row between" },
      h("h2", {}, "History on this device"),
      button("Clear", clear, {
        kind: "quiet compact",
        title: `Delete ${plural(entries.length, "entry", "entries")} from this browser`,
      }),
    ),
    h("ul", { class: "card lines history" }, entries.map(historyEntry)),
  );
}

/** @param {HistoryEntry} entry */
function historyEntry({ at, match }) {
  return h(
    "li",
    {},
    h(
      "span",
      { class: `dot ${match?.kind ?? ""}` },
      icon(match ? (match.kind === "cover" ? "versions" : "music") : "none"),
    ),
    h(
      "div",
      { class: "grow" },
      h("div", { class: "clip" }, match ? match.title : "No match"),
      h(
        "div",
        { class: "small soft wrap" },
        match ? `${artistNames(match)} · at ${formatTime(match.start)}` : "No recording of the library matches",
      ),
    ),
    h("span", { class: "small soft number" }, formatDateTime(at)),
  );
}
