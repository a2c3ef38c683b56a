// One job: its progress, then its timeline.

/** @import { Delivery, Job, Recording, Timeline, Verdict, ViewContext } from "../types.js" */
/** @import { Item } from "../timeline/layout.js" */
/** @import { IconName } from "../dom.js" */

import {
  ApiError,
  followJob,
  getJson,
  hasEnded,
  isAbort,
  isAllowed,
  latestOnly,
  messageOf,
  sendJson,
  withQuery,
} from "../api.js";
import { Player } from "../audio/player.js";
import {
  button,
  chip,
  emptyState,
  hueOf,
  menu,
  note,
  notify,
  progressBar,
  reportErrors,
  stateChip,
} from "../components.js";
import { fill, h, icon, refill } from "../dom.js";
import {
  artistNames,
  capitalize,
  formatConfidence,
  formatDateTime,
  formatDuration,
  formatInterval,
  formatShare,
  formatTime,
  KINDS,
  plural,
} from "../format.js";
import { Chart } from "../timeline/chart.js";
import { Detail } from "../timeline/detail.js";
import { itemTitle, matchOf, recordingOf, soundOf, timelineItems } from "../timeline/layout.js";
import { deliveryCard, resend } from "./callbacks.js";
import { inputName } from "./jobs.js";

const FORMATS = {
  json: "JSON, all fields",
  jsonl: "JSON lines",
  csv: "Table (CSV)",
  audacity: "Audacity labels",
  cue: "CUE sheet",
  srt: "Subtitles (SRT)",
  vtt: "Subtitles (WebVTT)",
  tracklist: "Tracklist (text)",
};
const WAVEFORM_POINTS = 2000;
const DETAIL_ZOOM = 8; // from this magnification on, a finer waveform is loaded
const DELIVERY_POLLING = 1000; // milliseconds
const DELIVERY_SOON = 60_000; // milliseconds; a delivery that is due later is not followed

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { path: [id], signal }) {
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  const body = h("div", { class: "stack wide" });
  const card = progressCard();
  /** @type {Job} */
  let job = await getJson(path, { signal });
  draw();

  function draw() {
    fill(main, heading(job, path, reload), body);
    const { result } = job;
    if (job.state === "finished" && result) reportErrors(() => showTimeline(job, result, path, body, signal));
    else showState(job, body, card);
    if (!hasEnded(job)) follow();
  }

  async function reload() {
    job = await getJson(path, { signal });
    draw();
  }

  function follow() {
    const stop = followJob(
      id,
      (changed) => {
        job = changed;
        if (hasEnded(changed)) return;
        showState(changed, body, card);
        if (changed.state === "running") reportErrors(() => showPartial(path, card, signal));
      },
      () => reportErrors(reload), // the view may have been left meanwhile
    );
    signal.addEventListener("abort", stop, { once: true });
  }
}

/**
 * @param {Job} job
 * @param {string} path
 * @param {() => Promise<void>} reload
 */
function heading(job, path, reload) {
  const act = async (/** @type {string} */ action) => {
    await sendJson("POST", `${path}/${action}`);
    await reload();
  };
  const facts = [
    job.seconds ? formatTime(job.seconds) : "",
    job.result ? plural(job.result.songs.length, "song") : "",
    formatDateTime(job.created_at),
  ].filter(Boolean);
  return h(
    "div",
    { class: "head" },
    h(
      "div",
      { class: "room" },
      h("a", { href: "#/jobs", class: "small back" }, "All jobs"),
      h("h1", {}, inputName(job)),
      h("p", { class: "small about" }, stateChip(job.state), ` ${facts.join(" · ")}`),
    ),
    h(
      "div",
      { class: "row" },
      !hasEnded(job) && button("Cancel", () => act("cancel"), { iconName: "cross" }),
      (job.state === "failed" || job.state === "cancelled") &&
        button("Run again", () => act("retry"), { iconName: "again", kind: "main" }),
      job.state === "finished" && downloadMenu(path),
    ),
  );
}

/** @param {string} path */
function downloadMenu(path) {
  const corrected = h("input", { type: "checkbox", checked: true });
  const links = Object.entries(FORMATS).map(([format, label]) => {
    const link = h(
      "a",
      {
        href: "",
        download: "",
        on: {
          click: () => {
            link.href = withQuery(`${path}/export`, { format, corrected: corrected.checked || undefined });
            setTimeout(() => link.closest("details")?.removeAttribute("open"));
          },
        },
      },
      label,
      h("span", { class: "soft small" }, format),
    );
    return h("li", {}, link);
  });
  return menu(
    [icon("download"), "Download"],
    [
      links,
      h("li", {}, h("hr")),
      h("li", {}, h("label", { class: "check menu-check" }, corrected, "Apply corrections")),
    ],
  );
}

/**
 * Show a job that has no timeline: waiting, running, failed or cancelled.
 *
 * @param {Job} job
 * @param {HTMLElement} body
 * @param {ReturnType<typeof progressCard>} card
 */
function showState(job, body, card) {
  if (job.state === "failed") {
    fill(body, note(capitalize(job.error?.message ?? "The job failed"), "bad"));
    return;
  }
  if (job.state === "cancelled") {
    fill(body, note("The job was cancelled.", "", "cross"));
    return;
  }
  if (!body.contains(card.element)) fill(body, card.element);
  card.update(job);
}

/**
 * Show the segments that a running job has found so far.
 *
 * @param {string} path
 * @param {ReturnType<typeof progressCard>} card
 * @param {AbortSignal} signal
 */
async function showPartial(path, card, signal) {
  /** @type {Job} */
  const { partial } = await getJson(path, { signal });
  if (partial?.segments.length) card.showFound(partial);
}

function progressCard() {
  const bar = progressBar(null, "Progress of the job");
  const state = h("strong");
  const share = h("span", { class: "number soft" });
  const element = h(
    "div",
    { class: "card stack" },
    h("div", { class: "row between" }, state, share),
    bar,
    h("p", { class: "small soft" }, "You can leave this page. The job continues and stays listed under Jobs."),
  );
  const found = h("div", { class: "card table list", hidden: true });
  const whole = h("div", { class: "stack" }, element, found);
  let shown = 0;
  const showFound = (/** @type {Timeline} */ timeline) => {
    if (timeline.segments.length === shown) return;
    shown = timeline.segments.length;
    found.hidden = false;
    refill(found, itemTable(timelineItems(timeline, [], new Map()), null));
  };
  const update = (/** @type {Job} */ job) => {
    const isRunning = job.state === "running";
    bar.setShare(isRunning ? job.progress : null);
    state.textContent = isRunning ? "Scanning" : "Waiting in the queue";
    share.textContent = isRunning ? formatShare(job.progress) : "";
  };
  return { element: whole, update, showFound };
}

/**
 * @param {Job} job
 * @param {Timeline} timeline
 * @param {string} path
 * @param {HTMLElement} body
 * @param {AbortSignal} signal
 */
async function showTimeline(job, timeline, path, body, signal) {
  const player = new Player();
  let items = timelineItems(timeline, [], new Map());
  const chart = new Chart(timeline.duration, items);
  const detail = new Detail(job, timeline.duration, player, refresh);
  const list = h("div", { class: "card table list" });
  const callbacks = h("div", { class: "stack" });
  fill(
    body,
    timeline.warnings.map((text) => note(capitalize(text), "warn")),
    !timeline.complete && note("The scan did not reach the end of the recording.", "warn"),
    chart.element,
    h(
      "div",
      { class: "beside" },
      h(
        "div",
        { class: "stack" },
        h(
          "div",
          { class: "row between" },
          h("h2", {}, "Segments and gaps"),
          h("p", { class: "soft" }, summarize(timeline)),
        ),
        list,
      ),
      detail.element,
    ),
    callbacks,
  );
  let frame = 0;
  signal.addEventListener("abort", () => {
    player.close();
    cancelAnimationFrame(frame);
  });
  chart.on("select", (item) => {
    detail.show(item);
    detail.scrollToPlayer();
    markRow(item);
  });
  chart.on("toggle", () => {
    if (chart.selected) detail.togglePlaying();
  });
  chart.on("switch", () => {
    if (player.sources.length > 1) player.switchTo(1 - player.source);
  });
  chart.on("seek", seek);
  player.on("change", () => {
    cancelAnimationFrame(frame);
    updatePlayhead();
  });
  drawList();
  loadWaveform(chart, path, timeline.duration, signal);
  reportErrors(() => showDeliveries(path, callbacks, signal));
  await refresh();

  function updatePlayhead() {
    if (!chart.selected) return;
    detail.updatePosition();
    chart.setPlayhead(chart.selected.start + player.position);
    if (player.isPlaying) frame = requestAnimationFrame(updatePlayhead);
  }

  async function refresh() {
    /** @type {Job} */
    const { verdicts } = await getJson(path, { signal });
    items = timelineItems(timeline, verdicts, await correctedRecordings(verdicts, signal));
    chart.replace(items);
    drawList();
    if (chart.selected) {
      detail.show(chart.selected);
      markRow(chart.selected);
    }
  }

  /** @param {number} time */
  function seek(time) {
    const present = items.filter((each) => each.start <= time && time < each.end);
    const item = present.find((each) => each.part === "segment") ?? present[0];
    if (!item) return;
    if (chart.selected?.number !== item.number) chart.select(item);
    player.seek(time - item.start);
  }

  function drawList() {
    refill(
      list,
      items.length
        ? itemTable(items, (item) => chart.select(item))
        : emptyState("none", "The recording has no segments and no gaps"),
    );
  }

  /** @param {Item} item */
  function markRow(item) {
    /** @type {NodeListOf<HTMLElement>} */
    const rows = list.querySelectorAll("tr[data-number]");
    for (const row of rows) row.classList.toggle("selected", Number(row.dataset.number) === item.number);
  }
}

/**
 * @param {Item[]} items
 * @param {((item: Item) => void) | null} choose Null if items cannot be selected.
 */
function itemTable(items, choose) {
  const columns = ["Time", "Title", "Confidence", "Decision"];
  return h(
    "table",
    {},
    h(
      "thead",
      { class: "sr-only" },
      h(
        "tr",
        {},
        columns.map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h(
      "tbody",
      {},
      items.map((item) => itemRow(item, choose && (() => choose(item)))),
    ),
  );
}

/** @type {Record<string, [string, IconName]>} The colour and icon of each decision. */
const DECISION_CHIPS = {
  accepted: ["good", "check"],
  rejected: ["bad", "cross"],
  corrected: ["good", "edit"],
  named: ["good", "edit"],
};

/**
 * @param {Item} item
 * @param {(() => void) | null} choose
 */
function itemRow(item, choose) {
  const recording = recordingOf(item);
  const match = matchOf(item);
  return h(
    "tr",
    { class: `${item.group} ${item.decision}`, data: { number: item.number } },
    h("td", { class: "number soft when" }, formatInterval(item)),
    h(
      "td",
      { class: "lead" },
      h(
        "button",
        { type: "button", class: "pick", disabled: !choose, on: choose ? { click: choose } : {} },
        h("i", {
          class: `swatch ${item.group} ${soundOf(item)}`,
          style: { "--hue": recording ? hueOf(recording) : 0 },
        }),
        h(
          "span",
          { class: "grow" },
          h("span", { class: "clip block name" }, itemTitle(item)),
          recording && h("span", { class: "small soft clip block" }, artistNames(recording)),
        ),
      ),
    ),
    h(
      "td",
      { class: "small soft right" },
      match && [
        match.kind === "cover" && h("span", { class: "roomy" }, `${KINDS.cover}, `),
        formatConfidence(match.confidence),
      ],
    ),
    h(
      "td",
      { class: "right verdict" },
      item.decision && [
        chip("", ...DECISION_CHIPS[item.decision]),
        h("span", { class: "sr-only" }, capitalize(item.decision)),
      ],
    ),
  );
}

/**
 * The recordings that corrections name, by id. Recordings that were removed since are left out.
 *
 * @param {Verdict[]} verdicts
 * @param {AbortSignal} signal
 * @returns {Promise<Map<number, Recording>>}
 */
async function correctedRecordings(verdicts, signal) {
  const ids = new Set(verdicts.map((verdict) => verdict.recording_id));
  const recordings = new Map();
  const load = async (/** @type {number | null} */ id) => {
    const recording = id && (await getJson(`v1/recordings/${id}`, { signal }).catch(() => null));
    if (recording) recordings.set(id, recording);
  };
  await Promise.all([...ids].map(load));
  return recordings;
}

/** @param {Timeline} timeline */
function summarize(timeline) {
  if (!timeline.songs.length) return "No song of the library";
  const share = timeline.songs.reduce((sum, song) => sum + song.share, 0);
  const songs = plural(timeline.songs.length, "song");
  return `${songs}, ${formatShare(Math.min(1, share))} of ${formatDuration(timeline.duration)}`;
}

/**
 * Load the waveform, and a finer one of the visible range when the chart is magnified.
 *
 * @param {Chart} chart
 * @param {string} path
 * @param {number} duration Seconds.
 * @param {AbortSignal} signal
 */
async function loadWaveform(chart, path, duration, signal) {
  const load = (range = {}) => getJson(withQuery(`${path}/peaks`, { points: WAVEFORM_POINTS, ...range }), { signal });
  try {
    chart.setPeaks(await load());
  } catch (error) {
    if (isAbort(error)) return;
    chart.setPeaks(null);
    if (!(error instanceof ApiError && error.code === "no_audio")) notify(messageOf(error));
    return;
  }
  let timer = 0;
  chart.on("range", ({ from, to }) => {
    clearTimeout(timer);
    if ((to - from) * DETAIL_ZOOM > duration) {
      chart.setDetailPeaks(null);
      return;
    }
    timer = window.setTimeout(
      async () => chart.setDetailPeaks(await load({ start: from.toFixed(2), end: to.toFixed(2) }).catch(() => null)),
      350,
    );
  });
}

/**
 * Show the callbacks of a job, and poll while one of them is about to be sent.
 *
 * @param {string} path
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 */
async function showDeliveries(path, place, signal) {
  const getLatest = latestOnly(signal);
  let timer = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  await load();

  async function load() {
    clearTimeout(timer);
    /** @type {{ items: Delivery[] }} */
    const { items } = await getLatest(`${path}/deliveries`);
    if (!items.length) return;
    refill(
      place,
      h(
        "div",
        { class: "row between" },
        h("h2", {}, "Callbacks"),
        isAllowed("write") && button("Send again", () => resend(path, load), { iconName: "send", kind: "compact" }),
      ),
      items.map((delivery) => deliveryCard(delivery)),
    );
    if (!signal.aborted && items.some(isPending))
      timer = window.setTimeout(() => load().catch(() => {}), DELIVERY_POLLING);
  }
}

/** @param {Delivery} delivery */
function isPending({ state, due_at: due }) {
  return state === "sending" || (state === "waiting" && Date.parse(due ?? "") < Date.now() + DELIVERY_SOON);
}
