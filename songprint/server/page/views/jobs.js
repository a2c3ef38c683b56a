// The list of jobs, the latest first.

/** @import { Job, ViewContext } from "../types.js" */

import { isAbort, latestOnly, messageOf, withQuery } from "../api.js";
import { button, emptyState, note, progressBar, stateChip, toggleGroup, viewHeader } from "../components.js";
import { fill, h, refill } from "../dom.js";
import { capitalize, fileName, formatDateTime, formatTime, JOB_STATES, plural } from "../format.js";

const PAGE_SIZE = 50;
const POLLING = 2500; // milliseconds between two requests while a job waits or runs

/** @typedef {{ items: Job[], next: string | null }} Page */

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { query, signal }) {
  let state = query.get("state") ?? "";
  const getLatest = latestOnly(signal);
  const list = h("div", { class: "card table" });
  const more = h("div", { class: "row centred" });
  /** @type {Job[]} */
  let jobs = [];
  /** @type {string | null} */
  let next = null;
  let timer = 0;
  fill(
    main,
    viewHeader(
      "Jobs",
      "Long recordings that are scanned for the songs in them.",
      h("a", { class: "button", href: "#/jobs/callbacks" }, "Callbacks"),
      h("a", { class: "button main", href: "#/identify?job" }, "New job"),
    ),
    h(
      "div",
      { class: "section row" },
      toggleGroup("State of the jobs", { "": "All", ...JOB_STATES }, state, (chosen) => {
        state = chosen;
        history.replaceState(null, "", chosen ? `#/jobs?state=${chosen}` : "#/jobs");
        return load();
      }),
    ),
    h("div", { class: "section stack" }, list, more),
  );
  signal.addEventListener("abort", () => clearTimeout(timer));
  await load();

  async function load() {
    clearTimeout(timer);
    ({ items: jobs, next } = await getPage(""));
    draw();
  }

  /**
   * @param {string} after
   * @returns {Promise<Page>}
   */
  function getPage(after) {
    return getLatest(withQuery("v1/jobs", { state, limit: PAGE_SIZE, after }));
  }

  async function showMore() {
    const page = await getPage(next ?? "");
    jobs = [...jobs, ...page.items];
    next = page.next;
    draw();
  }

  function draw() {
    refill(list, jobs.length ? jobTable(jobs) : noJobs(state));
    fill(more, next && button("Show more", showMore));
    clearTimeout(timer);
    const isActive = jobs.some((job) => job.state === "running" || job.state === "waiting");
    if (isActive) timer = window.setTimeout(poll, POLLING);
  }

  async function poll() {
    // Loading again would drop the further pages and move the list.
    if (jobs.length > PAGE_SIZE) return;
    await load().catch((error) => {
      if (!isAbort(error)) fill(list, note(messageOf(error), "bad"));
    });
  }
}

/** @param {string} state */
function noJobs(state) {
  if (state in JOB_STATES) return emptyState("jobs", `No ${state} jobs`);
  return emptyState(
    "jobs",
    "No jobs yet",
    h("p", {}, "Upload a long recording, or send one to the API."),
    h("a", { class: "button main", href: "#/identify?job" }, "New job"),
  );
}

/** @param {Job[]} jobs */
function jobTable(jobs) {
  return h(
    "table",
    { class: "rows jobs" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Recording", "State", "Length", "Submitted"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h("tbody", {}, jobs.map(jobRow)),
  );
}

/** @param {Job} job */
function jobRow(job) {
  return h(
    "tr",
    {},
    h(
      "td",
      { class: "lead" },
      h("a", { href: `#/jobs/${job.id}`, class: "title clip" }, inputName(job)),
      h("div", { class: "small soft clip" }, job.error ? capitalize(job.error.message) : describeInput(job)),
    ),
    h(
      "td",
      { "data-label": "State" },
      h(
        "div",
        { class: "stack state" },
        stateChip(job.state),
        job.state === "running" && progressBar(job.progress, `Progress of ${inputName(job)}`),
      ),
    ),
    h("td", { class: "number", "data-label": "Length" }, job.seconds ? formatTime(job.seconds) : "–"),
    h("td", { class: "soft", "data-label": "Submitted" }, formatDateTime(job.created_at)),
  );
}

/**
 * The file name of a job's input.
 *
 * @param {Job} job
 */
export function inputName({ input }) {
  const address = input.url ?? input.object ?? input.name ?? input.path ?? "";
  try {
    return fileName(decodeURIComponent(address.split(/[?#]/)[0])) || address || "Upload";
  } catch {
    return fileName(address) || "Upload";
  }
}

/** @param {Job} job */
function describeInput({ input, attempts }) {
  if (input.type === "url") return input.url;
  if (input.bucket) return `${input.type.toUpperCase()} ${input.bucket}`;
  return attempts > 1 ? plural(attempts, "attempt") : "Uploaded";
}
