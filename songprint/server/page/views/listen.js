// One large button: what is playing?

import { forbidden, Microphone, refusal } from "../audio/microphone.js";
import { fill, h, icon, svg } from "../dom.js";
import { button, note } from "../parts.js";
import { address, ask } from "../service.js";
import { artists, clock, many, moment } from "../words.js";
import { matchCard, noMatchCard } from "./match.js";

const FIRST_TRY = 3; // seconds of sound
const AGAIN = 1; // seconds of sound until the next try
const LAST_TRY = 12;
const HISTORY = "songprint.heard";
const KEPT = 30;
const ROUND = 2 * Math.PI * 94; // of the ring around the button

export function show(main, { signal }) {
  const ring = svg("circle", {
    cx: 100,
    cy: 100,
    r: 94,
    class: "ring",
    "stroke-dasharray": ROUND,
    "stroke-dashoffset": ROUND,
  });
  const halo = h("i", { class: "halo" });
  const label = h("span", {}, "Listen");
  const press = h(
    "button",
    { type: "button", class: "listen-button", on: { click: () => (listening ? stop() : start()) } },
    halo,
    svg(
      "svg",
      { viewBox: "0 0 200 200", "aria-hidden": "true" },
      svg("circle", { cx: 100, cy: 100, r: 94, class: "track" }),
      ring,
    ),
    icon("listen"),
    label,
  );
  const state = h("p", { class: "listen-state", role: "status" }, "Hold this device near the music");
  const result = h("div", { class: "listen-result", "aria-live": "polite" });
  const past = h("section", { class: "stack" });
  fill(main, h("h1", { class: "sr-only" }, "Listen"), h("div", { class: "listen" }, press, state, result), past);
  showPast(past);

  const why = forbidden();
  if (why) {
    press.disabled = true;
    fill(state, "No microphone");
    fill(result, note(why, "warn"));
  }

  let listening = null;
  signal.addEventListener("abort", () => listening?.abort());

  async function start() {
    listening = new AbortController();
    const mine = listening;
    const microphone = new Microphone();
    mine.signal.addEventListener("abort", () => microphone.close());
    fill(result);
    press.classList.add("on");
    label.textContent = "Stop";
    state.textContent = "Listening…";
    try {
      await microphone.open();
    } catch (error) {
      if (!mine.signal.aborted) fill(result, note(refusal(error), "bad"));
      finish(mine, "Hold this device near the music");
      return;
    }
    meter(microphone, mine);
    try {
      const report = await recognise(microphone, mine.signal);
      if (mine.signal.aborted) return;
      finish(mine, report.matches.length ? "Found" : "Not found");
      fill(
        result,
        report.matches.length ? report.matches.slice(0, 3).map((match) => matchCard(match)) : noMatchCard(report),
      );
      remember(report);
      showPast(past);
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(result, note(error.message, "bad"));
      finish(mine, "Hold this device near the music");
    }
  }

  function stop() {
    finish(listening, "Hold this device near the music");
  }

  function finish(mine, text) {
    mine.abort();
    if (listening !== mine) return;
    listening = null;
    press.classList.remove("on");
    label.textContent = text === "Found" || text === "Not found" ? "Listen again" : "Listen";
    state.textContent = text;
    ring.setAttribute("stroke-dashoffset", ROUND);
    halo.style.transform = "";
  }

  function meter(microphone, mine) {
    const draw = () => {
      if (mine.signal.aborted) return;
      const loudness = Math.max(0, Math.min(1, 1 + Math.log10(microphone.level + 1e-5) / 3)); // 60 dB
      halo.style.transform = `scale(${1 + 0.28 * loudness})`;
      ring.setAttribute("stroke-dashoffset", ROUND * (1 - Math.min(1, microphone.seconds / LAST_TRY)));
      const quiet = microphone.seconds > 2 && loudness < 0.15;
      state.textContent = quiet
        ? "Very quiet here. Go nearer to the music"
        : `Listening… ${Math.floor(microphone.seconds)} s`;
      requestAnimationFrame(draw);
    };
    draw();
  }
}

/** Ask with more and more sound until the server is sure, or there was enough of it. */
async function recognise(microphone, signal) {
  let wanted = FIRST_TRY;
  for (;;) {
    while (microphone.seconds < wanted) await pause(80, signal);
    const seconds = microphone.seconds;
    const answer = await ask("POST", address("v1/identify", { top: 3 }), {
      body: microphone.heard(),
      headers: { "content-type": "audio/wav" },
      signal,
    });
    const report = await answer.json();
    if (report.matches.length || seconds >= LAST_TRY) return report;
    wanted = Math.min(LAST_TRY, Math.max(seconds, wanted + AGAIN));
  }
}

function pause(milliseconds, signal) {
  signal.throwIfAborted();
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}

function history() {
  try {
    return JSON.parse(localStorage.getItem(HISTORY)) ?? [];
  } catch {
    return [];
  }
}

function remember(report) {
  const match = report.matches[0];
  const heard = { at: new Date().toISOString(), found: Boolean(match) };
  if (match)
    Object.assign(heard, {
      id: match.recording.id,
      title: match.recording.title,
      artists: match.recording.artists,
      kind: match.kind,
      confidence: match.confidence,
      place: match.reference.start,
    });
  localStorage.setItem(HISTORY, JSON.stringify([heard, ...history()].slice(0, KEPT)));
}

function showPast(past) {
  const heard = history();
  if (!heard.length) {
    fill(past);
    return;
  }
  fill(
    past,
    h(
      "div",
      { class: "row between" },
      h("h2", { id: "heard" }, "Heard on this device"),
      button(
        "Forget",
        () => {
          localStorage.removeItem(HISTORY);
          showPast(past);
        },
        { kind: "quiet compact", title: `Forget ${many(heard.length, "entry", "entries")}` },
      ),
    ),
    h(
      "ul",
      { class: "card lines heard" },
      heard.map((each) =>
        h(
          "li",
          {},
          h(
            "span",
            { class: `dot ${each.found ? each.kind : ""}` },
            icon(each.found ? (each.kind === "cover" ? "versions" : "music") : "none"),
          ),
          h(
            "div",
            { class: "grow" },
            h("div", { class: "clip" }, each.found ? each.title : "No match"),
            h(
              "div",
              { class: "small soft wrap" },
              each.found ? `${artists(each)} · at ${clock(each.place)}` : "Nothing in the library sounded like it",
            ),
          ),
          h("span", { class: "small soft number" }, moment(each.at)),
        ),
      ),
    ),
  );
}
