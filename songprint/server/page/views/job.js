// One job: how far it is, then its timeline.

import { Player } from "../audio/player.js";
import { fill, h, icon, refill } from "../dom.js";
import { button, chip, empty, hue, menu, note, progress, stateChip, tell, trying } from "../parts.js";
import { address, follow, latest, may, read, send } from "../service.js";
import { Chart } from "../timeline/chart.js";
import { Detail } from "../timeline/detail.js";
import { items, named, titleOf } from "../timeline/plan.js";
import { artists, clock, duration, KINDS, many, moment, percent } from "../words.js";
import { deliveryCard, resend } from "./callbacks.js";
import { inputName } from "./jobs.js";

const FORMATS = {
  json: "JSON, everything",
  jsonl: "JSON lines",
  csv: "Table (CSV)",
  audacity: "Labels for Audacity",
  cue: "CUE sheet",
  srt: "Subtitles (SRT)",
  vtt: "Subtitles (WebVTT)",
  tracklist: "Tracklist, text",
};
const POINTS = 2000; // of a waveform
const FOLLOWED = 1000; // milliseconds between two looks at callbacks that are on their way
const SOON = 60_000; // milliseconds until the next attempt for which the page keeps looking

export async function show(main, { path: [id], signal }) {
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  const body = h("div", { class: "stack wide" });
  let job = await read(path, { signal });
  draw();

  function draw() {
    fill(main, heading(job, path, again), body);
    if (job.state === "finished") trying(() => finished(job, path, body, signal));
    else pending(job, body);
    if (job.state === "waiting" || job.state === "running") listen();
  }

  async function again() {
    job = await read(path, { signal });
    draw();
  }

  function listen() {
    const stop = follow(
      id,
      (now) => {
        job = now;
        if (!ended(now)) pending(now, body);
      },
      () => trying(again), // nobody waits for it, and the view may be left meanwhile
    );
    signal.addEventListener("abort", stop, { once: true });
  }
}

const ended = (job) => ["finished", "failed", "cancelled"].includes(job.state);

function heading(job, path, again) {
  const act = (what) =>
    trying(async () => {
      await send("POST", `${path}/${what}`);
      await again();
    });
  const facts = [
    job.seconds ? clock(job.seconds) : "",
    job.result && many(job.result.songs.length, "song"),
    moment(job.created_at),
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
      !ended(job) && button("Cancel", () => act("cancel"), { sign: "cross" }),
      (job.state === "failed" || job.state === "cancelled") &&
        button("Try again", () => act("retry"), { sign: "again", kind: "main" }),
      job.state === "finished" && downloads(path),
    ),
  );
}

function downloads(path) {
  const corrected = h("input", { type: "checkbox", checked: true });
  const links = Object.entries(FORMATS).map(([format, label]) => {
    const link = h(
      "a",
      {
        href: "",
        download: "",
        on: {
          click: () => {
            link.href = address(`${path}/export`, { format, corrected: corrected.checked || undefined });
            setTimeout(() => link.closest("details").removeAttribute("open"));
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
      h("li", {}, h("label", { class: "check menu-check" }, corrected, "With corrections")),
    ],
  );
}

function pending(job, body) {
  if (job.state === "failed") {
    fill(body, note(job.error?.message ?? "It failed.", "bad"));
    return;
  }
  if (job.state === "cancelled") {
    fill(body, note("It was cancelled.", "", "cross"));
    return;
  }
  let bar = body.querySelector(".pending .progress");
  if (!bar) {
    bar = progress(null, "Progress of the job");
    fill(
      body,
      h(
        "div",
        { class: "card pending stack" },
        h("div", { class: "row between" }, h("strong"), h("span", { class: "number soft" })),
        bar,
        h("p", { class: "small soft" }, "You may leave this page. The job goes on, and is listed under Jobs."),
      ),
    );
  }
  bar.set(job.state === "running" ? job.progress : null);
  body.querySelector("strong").textContent = job.state === "running" ? "Listening to it" : "Waiting for its turn";
  body.querySelector(".number").textContent = job.state === "running" ? `${Math.round(100 * job.progress)} %` : "";
}

async function finished(job, path, body, signal) {
  const timeline = job.result;
  const player = new Player();
  let all = items(timeline, [], new Map());
  const chart = new Chart(timeline.duration, all);
  const detail = new Detail(job, player, refresh);
  const list = h("div", { class: "card table list" });
  const below = h("div", { class: "stack" });
  const summary = h("p", { class: "soft" }, said(timeline));
  fill(
    body,
    timeline.warnings.map((text) => note(text, "warn")),
    !timeline.complete && note("The recording was not read to its end.", "warn"),
    chart.element,
    h(
      "div",
      { class: "beside" },
      h("div", { class: "stack" }, h("div", { class: "row between" }, h("h2", {}, "What is heard"), summary), list),
      detail.element,
    ),
    below,
  );
  signal.addEventListener("abort", () => {
    player.close();
    cancelAnimationFrame(frame);
  });
  chart.addEventListener("select", ({ detail: item }) => {
    detail.show(item);
    markRow(item);
  });
  chart.addEventListener("toggle", () => {
    if (chart.selected) detail.toggle();
  });
  chart.addEventListener("switch", () => {
    if (player.sides.length > 1) player.switchTo(1 - player.side);
  });
  chart.addEventListener("seek", ({ detail: at }) => seek(at));
  let frame = 0;
  const follow = () => {
    detail.tick();
    chart.setPlayhead(chart.selected.start + player.position);
    if (player.playing) frame = requestAnimationFrame(follow);
  };
  player.addEventListener("change", () => {
    cancelAnimationFrame(frame);
    if (chart.selected) follow();
  });
  rows();
  waveform(chart, path, timeline.duration, signal);
  trying(() => deliveries(path, below, signal));
  await refresh();

  async function refresh() {
    const { verdicts } = await read(path, { signal });
    all = items(timeline, verdicts, await recordingsOf(verdicts, signal));
    chart.replace(all);
    rows();
    if (chart.selected) {
      detail.show(chart.selected);
      markRow(chart.selected);
    }
  }

  function seek(at) {
    const item =
      all.find((each) => each.start <= at && at < each.end && each.recording) ??
      all.find((each) => each.start <= at && at < each.end);
    if (!item) return;
    if (chart.selected?.number !== item.number) chart.select(item);
    player.seek(at - item.start);
  }

  function rows() {
    refill(
      list,
      all.length
        ? h(
            "table",
            {},
            h(
              "thead",
              { class: "sr-only" },
              h(
                "tr",
                {},
                ["From", "What", "Kind", "Decision"].map((name) => h("th", { scope: "col" }, name)),
              ),
            ),
            h(
              "tbody",
              {},
              all.map((item) => row(item, () => chart.select(item))),
            ),
          )
        : empty("none", "Nothing was heard"),
    );
  }

  function markRow(item) {
    for (const each of list.querySelectorAll("tr[data-number]"))
      each.classList.toggle("selected", Number(each.dataset.number) === item.number);
  }
}

function row(item, choose) {
  const recording = named(item);
  const signs = {
    accepted: ["good", "check"],
    rejected: ["bad", "cross"],
    corrected: ["good", "edit"],
    named: ["good", "edit"],
  };
  const [kind, sign] = signs[item.decided] ?? [];
  return h(
    "tr",
    { class: `${item.lane} ${item.decided}`, data: { number: item.number } },
    h("td", { class: "number soft when" }, clock(item.start)),
    h(
      "td",
      { class: "lead" },
      h(
        "button",
        { type: "button", class: "pick", on: { click: choose } },
        h("i", {
          class: `swatch ${item.lane} ${item.sound ?? ""}`,
          style: { "--hue": recording ? hue(recording) : 0 },
        }),
        h(
          "span",
          { class: "grow" },
          h("span", { class: "clip block name" }, titleOf(item)),
          recording && h("span", { class: "small soft clip block" }, artists(recording)),
        ),
      ),
    ),
    h(
      "td",
      { class: "small soft right" },
      item.recording && !item.correct && [
        item.kind === "cover" && h("span", { class: "roomy" }, `${KINDS.cover}, `),
        percent(item.confidence),
      ],
    ),
    h(
      "td",
      { class: "right verdict" },
      sign && chip("", kind, sign),
      item.decided && h("span", { class: "sr-only" }, item.decided),
    ),
  );
}

/** The recordings that corrections name; one that was removed since is left out. */
async function recordingsOf(verdicts, signal) {
  const ids = [...new Set(verdicts.map((verdict) => verdict.recording_id).filter(Boolean))];
  const found = await Promise.all(ids.map((id) => read(`v1/recordings/${id}`, { signal }).catch(() => null)));
  return new Map(found.filter(Boolean).map((recording) => [recording.id, recording]));
}

function said(timeline) {
  const known = timeline.songs.reduce((sum, song) => sum + song.share, 0);
  if (!timeline.songs.length) return "No song of the library";
  const share = Math.round(100 * Math.min(1, known));
  return `${many(timeline.songs.length, "song")}, ${share} % of ${duration(timeline.duration)}`;
}

/** The whole waveform, and a finer one of what is looked at closely. */
async function waveform(chart, path, length, signal) {
  const get = (range) => read(address(`${path}/peaks`, { points: POINTS, ...range }), { signal });
  try {
    chart.setPeaks(await get({}));
  } catch (error) {
    if (error.name !== "AbortError" && error.code !== "no_audio") tell(error.message);
    return; // without the audio there are lanes all the same
  }
  let timer = 0;
  chart.addEventListener("view", ({ detail: { from, to } }) => {
    clearTimeout(timer);
    if ((to - from) * 8 > length) {
      chart.setDetail(null);
      return;
    }
    timer = setTimeout(
      async () => chart.setDetail(await get({ start: from.toFixed(2), end: to.toFixed(2) }).catch(() => null)),
      350,
    );
  });
}

/** The callbacks, followed for as long as one of them is on its way: whoever sends one again sees what became of it. */
async function deliveries(path, below, signal) {
  const reading = latest(signal);
  let timer = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  await load();

  async function load() {
    clearTimeout(timer);
    const { items: owed } = await reading(`${path}/deliveries`);
    if (!owed.length) return;
    refill(
      below,
      h(
        "div",
        { class: "row between" },
        h("h2", {}, "Callbacks"),
        may("write") && button("Send again", () => resend(path, load), { sign: "send", kind: "compact" }),
      ),
      owed.map((delivery) => deliveryCard(delivery)),
    );
    if (!signal.aborted && owed.some(onItsWay)) timer = setTimeout(() => load().catch(() => {}), FOLLOWED);
  }
}

const onItsWay = ({ state, due_at: due }) =>
  state === "sending" || (state === "waiting" && Date.parse(due) < Date.now() + SOON);
