// A file: a short clip is named at once, a long recording becomes a job.

import { fill, h, icon } from "../dom.js";
import { button, head, note, progress } from "../parts.js";
import { address, follow, upload } from "../service.js";
import { bytes } from "../words.js";
import { matchCard, noMatchCard } from "./match.js";

const CLIP = 60; // seconds: up to this a file is a clip, and has one name
const SMALL = 2e6; // bytes of a file whose length the browser cannot tell
const PATIENCE = 3000; // milliseconds that the browser may take to tell it

export function show(main, { signal }) {
  const input = h("input", {
    type: "file",
    multiple: true,
    class: "sr-only",
    id: "choose",
    accept: "audio/*,video/*",
    on: {
      change: () => {
        take(input.files);
        input.value = "";
      },
    },
  });
  const zone = h(
    "div",
    { class: "drop" },
    icon("file"),
    h(
      "div",
      {},
      h("p", { class: "drop-title" }, "Drop music or video here"),
      h("p", { class: "soft small" }, "A short clip gets its name at once. In a long recording all songs are found."),
    ),
    input,
    h("label", { class: "button main", for: "choose" }, "Choose files"),
  );
  const list = h("ul", { class: "stack", "aria-live": "polite" });
  fill(
    main,
    head("Identify a file", "Any format of audio or video: an excerpt, a mix, a broadcast, a film."),
    zone,
    h("div", { class: "section" }, list),
  );
  catchDrops(zone, take, signal);

  function take(files) {
    for (const file of files) {
      const item = h("li", { class: "card stack" });
      list.prepend(item);
      work(file, item, signal, files.length === 1);
    }
  }
}

/** Files may be dropped anywhere on the page while this view is shown. */
export function catchDrops(zone, take, signal) {
  let depth = 0;
  const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const over = (event, change) => {
    if (!holds(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    zone.classList.toggle("over", depth > 0);
  };
  window.addEventListener("dragenter", (event) => over(event, 1), { signal });
  window.addEventListener("dragleave", (event) => over(event, -1), { signal });
  window.addEventListener("dragover", (event) => over(event, 0), { signal });
  window.addEventListener(
    "drop",
    (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth = 0;
      zone.classList.remove("over");
      take(event.dataTransfer.files);
    },
    { signal },
  );
}

async function work(file, item, signal, alone) {
  const state = h("span", { class: "small soft" }, "Looking at it");
  const bar = progress(null, `Progress of ${file.name}`);
  const below = h("div", { class: "stack" });
  fill(
    item,
    h(
      "div",
      { class: "row between" },
      h("strong", { class: "clip grow" }, file.name),
      h("span", { class: "small soft number" }, bytes(file.size)),
    ),
    bar,
    state,
    below,
  );
  const told = (text, share) => {
    state.textContent = text;
    bar.set(share);
  };
  const sending = {
    signal,
    onProgress: (share) =>
      told(
        share < 1 ? `Sending, ${Math.round(100 * share)} %` : "Comparing with the library",
        share < 1 ? share : null,
      ),
  };
  try {
    const seconds = await lengthOf(file);
    if (seconds === null ? file.size <= SMALL : seconds <= CLIP) {
      const report = await upload(address("v1/identify", { top: 3 }), file, sending).catch((error) => {
        if (error.code !== "too_long") throw error;
      });
      if (report) {
        answered(report, below, bar, state);
        return;
      }
    }
    const job = await upload("v1/jobs", file, sending);
    await followed(job, { told, below, bar, signal, alone });
  } catch (error) {
    if (error.name === "AbortError") return;
    bar.hidden = true;
    state.hidden = true;
    fill(
      below,
      note(error.message, "bad"),
      h(
        "div",
        {},
        button("Try again", () => work(file, item, signal, alone), { sign: "again", kind: "compact" }),
      ),
    );
  }
}

function answered(report, below, bar, state) {
  bar.hidden = true;
  state.hidden = true;
  fill(
    below,
    report.matches.length ? report.matches.slice(0, 3).map(matchCard) : noMatchCard(report),
    report.warnings.map((text) => note(text, "warn")),
  );
}

function followed(job, { told, below, bar, signal, alone }) {
  const link = h("a", { class: "button compact", href: `#/jobs/${job.id}` }, "Open the timeline");
  fill(below, h("div", {}, link));
  return new Promise((resolve) => {
    const stop = follow(
      job.id,
      (now) => {
        const words = {
          waiting: "Waiting for its turn",
          running: `Listening, ${Math.round(100 * now.progress)} %`,
          cancelled: "Cancelled",
          finished: "Finished",
          failed: "",
        };
        told(words[now.state], now.state === "waiting" ? null : now.state === "running" ? now.progress : 1);
        if (now.state === "failed") {
          bar.hidden = true;
          below.prepend(note(now.error?.message ?? "It failed", "bad"));
        }
      },
      (ended) => {
        resolve();
        if (ended.state === "finished" && alone && !signal.aborted) location.hash = `#/jobs/${job.id}`;
      },
    );
    signal.addEventListener("abort", () => {
      stop();
      resolve();
    });
  });
}

/** Seconds of a file as the browser reads them; null if it cannot. */
function lengthOf(file) {
  return new Promise((resolve) => {
    const url = URL.createObjectURL(file);
    const player = document.createElement("audio");
    const done = (seconds) => {
      URL.revokeObjectURL(url);
      player.removeAttribute("src");
      resolve(Number.isFinite(seconds) ? seconds : null);
    };
    const timer = setTimeout(() => done(null), PATIENCE);
    player.preload = "metadata";
    player.onloadedmetadata = () => {
      clearTimeout(timer);
      done(player.duration);
    };
    player.onerror = () => {
      clearTimeout(timer);
      done(null);
    };
    player.src = url;
  });
}
