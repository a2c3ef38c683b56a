// What a clip is: a name and how sure it is, or as clearly that there is none.

import { Player } from "../audio/player.js";
import { fill, h, icon } from "../dom.js";
import { button, chip, kindChip, sure, tell } from "../parts.js";
import { address } from "../service.js";
import { artists, clock, KINDS, keyShift, many, percent, speed } from "../words.js";

let playing = null; // one at a time

export function matchCard(match) {
  const { recording } = match;
  const place = match.reference;
  const share = 100 / Math.max(recording.duration, 1);
  const facts = [
    speed(match.speed),
    match.kind === "cover" || Math.abs(match.key_shift) >= 0.1 ? keyShift(match.key_shift) : "",
  ].filter(Boolean);
  return h(
    "article",
    { class: "card match", "aria-label": `${recording.title} by ${artists(recording)}` },
    h("div", { class: "row between" }, kindChip(match.kind), sure(match.confidence)),
    h(
      "div",
      {},
      h("h2", { class: "match-title wrap" }, recording.title || "Untitled"),
      h("p", { class: "wrap" }, artists(recording)),
      (recording.album || recording.year) &&
        h("p", { class: "small soft wrap" }, [recording.album, recording.year].filter(Boolean).join(", ")),
    ),
    h(
      "div",
      { class: "place" },
      h(
        "div",
        { class: "place-bar" },
        h("i", {
          style: { left: `${place.start * share}%`, width: `${Math.max(1, (place.end - place.start) * share)}%` },
        }),
      ),
      h(
        "div",
        { class: "row between small soft number" },
        h("span", {}, `Heard from ${clock(place.start)} to ${clock(place.end)}`),
        h("span", {}, clock(recording.duration)),
      ),
    ),
    match.original &&
      match.original.id !== recording.id &&
      h("p", { class: "small soft" }, `A version of ${match.original.title} by ${artists(match.original)}`),
    h(
      "div",
      { class: "row between" },
      h("span", { class: "small soft" }, facts.join(" · ")),
      playButton(recording, place.start),
    ),
  );
}

export function noMatchCard(report) {
  const guess = report.candidates?.[0];
  return h(
    "article",
    { class: "card match none", "aria-label": "No match" },
    h("div", { class: "dot large" }, icon("none")),
    h(
      "div",
      {},
      h("h2", { class: "match-title" }, "No match"),
      h("p", {}, report.reason ? sentence(report.reason) : "Nothing in this library sounds like it."),
    ),
    h(
      "p",
      { class: "small soft" },
      `${Math.round(report.duration)} s were compared with ${many(report.searched, "recording")}.`,
    ),
    guess &&
      h(
        "details",
        { class: "small" },
        h("summary", {}, "What came nearest"),
        h(
          "ul",
          { class: "guesses" },
          report.candidates
            .slice(0, 3)
            .map((each) =>
              h(
                "li",
                { class: "row between" },
                h("span", { class: "clip grow" }, `${each.recording.title} · ${artists(each.recording)}`),
                chip(`${KINDS[each.kind]}, ${percent(each.confidence)}`),
              ),
            ),
        ),
      ),
  );
}

function playButton(recording, start) {
  const player = new Player();
  const press = button("Play it from there", toggle, { kind: "compact", sign: "play" });
  player.addEventListener("change", () =>
    fill(press, icon(player.playing ? "stop" : "play"), player.playing ? "Stop" : "Play it from there"),
  );
  player.addEventListener("trouble", (event) => tell(event.detail));
  player.load(
    [
      {
        address: (from, seconds) => address(`v1/recordings/${recording.id}/audio`, { start: from, duration: seconds }),
        start,
        rate: 1,
        end: recording.duration,
      },
    ],
    recording.duration - start,
  );
  function toggle() {
    if (player.playing) {
      player.stop();
      return;
    }
    playing?.stop();
    playing = player;
    player.play(0);
  }
  window.addEventListener("hashchange", () => player.close(), { once: true });
  return press;
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
