// All jobs, the latest first, as they are now.

import { fill, h, refill } from "../dom.js";
import { button, choice, empty, head, note, progress, stateChip } from "../parts.js";
import { address, latest } from "../service.js";
import { clock, fileName, many, moment, STATES } from "../words.js";

const SEEN_AGAIN = 2500; // milliseconds between two looks while something runs

export async function show(main, { query, signal }) {
  let state = query.get("state") ?? "";
  const reading = latest(signal);
  const list = h("div", { class: "card table" });
  const more = h("div", { class: "row centred" });
  let jobs = [],
    next = null,
    timer = 0;
  fill(
    main,
    head(
      "Jobs",
      "Long recordings, and the songs in them.",
      h("a", { class: "button", href: "#/jobs/callbacks" }, "Callbacks"),
      h("a", { class: "button main", href: "#/file" }, "New job"),
    ),
    h(
      "div",
      { class: "section row" },
      choice("Which jobs", { "": "All", ...STATES }, state, (chosen) => {
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
    ({ items: jobs, next } = await page(""));
    draw();
  }

  function page(after) {
    return reading(address("v1/jobs", { state, limit: 50, after }));
  }

  function draw() {
    refill(
      list,
      jobs.length
        ? table(jobs)
        : empty(
            "jobs",
            state ? `No job is ${STATES[state].toLowerCase()}` : "No jobs yet",
            h("p", {}, "Drop a long recording under Identify, or send one to the API."),
          ),
    );
    fill(
      more,
      next &&
        button("Show more", async () => {
          const added = await page(next);
          jobs = [...jobs, ...added.items];
          next = added.next;
          draw();
        }),
    );
    clearTimeout(timer);
    if (jobs.some((job) => job.state === "running" || job.state === "waiting")) timer = setTimeout(again, SEEN_AGAIN);
  }

  async function again() {
    if (jobs.length > 50) return; // whoever has gone far down does not want it to jump
    await load().catch((error) => {
      if (error.name !== "AbortError") fill(list, note(error.message, "bad"));
    });
  }
}

function table(jobs) {
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
    h(
      "tbody",
      {},
      jobs.map((job) =>
        h(
          "tr",
          {},
          h(
            "td",
            { class: "lead" },
            h("a", { href: `#/jobs/${job.id}`, class: "title clip" }, inputName(job)),
            h("div", { class: "small soft clip" }, job.error ? job.error.message : where(job)),
          ),
          h(
            "td",
            { "data-label": "State" },
            h(
              "div",
              { class: "stack state" },
              stateChip(job.state),
              job.state === "running" && progress(job.progress, "Progress"),
            ),
          ),
          h("td", { class: "number", "data-label": "Length" }, job.seconds ? clock(job.seconds) : "–"),
          h("td", { class: "soft", "data-label": "Submitted" }, moment(job.created_at)),
        ),
      ),
    ),
  );
}

/** What a job listens to, in a word. */
export function inputName(job) {
  const { input } = job;
  const address = input.url ?? input.object ?? input.name ?? input.path ?? "";
  try {
    return fileName(decodeURIComponent(address.split(/[?#]/)[0])) || address || "Upload";
  } catch {
    return fileName(address) || "Upload";
  }
}

function where(job) {
  const { input } = job;
  if (input.type === "url") return input.url;
  if (input.bucket) return `${input.type.toUpperCase()} ${input.bucket}`;
  return job.attempts > 1 ? many(job.attempts, "attempt") : "Uploaded";
}
