// The result of a query: a card for each match, or one that reports that there is none.

/** @import { Match, Recording, Report } from "../types.js" */

import { withQuery } from "../api.js";
import { Player } from "../audio/player.js";
import { button, chip, confidenceLabel, kindChip, note, notify } from "../components.js";
import { fill, h, icon } from "../dom.js";
import {
  artistNames,
  capitalize,
  describeKeyShift,
  describePart,
  describeSpeed,
  formatConfidence,
  formatTime,
  KINDS,
  plural,
  titleOf,
} from "../format.js";

const MAX_SHOWN = 3; // matches, and candidates

/** @type {Player | null} Only one recording plays at a time. */
let activePlayer = null;

/** @param {Report} report */
export function resultCards(report) {
  return [
    report.matches.length ? withoutCopies(report.matches).slice(0, MAX_SHOWN).map(matchCard) : noMatchCard(report),
    report.warnings.map((text) => note(capitalize(text), "warn")),
  ];
}

/**
 * The matches without further copies of the same recording, such as those of a single and of an album.
 *
 * @param {Match[]} matches The best first.
 * @returns {{ match: Match, copies: number }[]}
 */
function withoutCopies(matches) {
  /** @type {Map<string, { match: Match, copies: number }>} */
  const unique = new Map();
  for (const match of matches) {
    const { title, artists } = match.recording;
    const name = JSON.stringify([match.kind, title, artists]);
    const same = unique.get(name);
    const copies = 1 + (match.alternatives?.length ?? 0);
    if (same) same.copies += copies;
    else unique.set(name, { match, copies });
  }
  return [...unique.values()];
}

/** @param {{ match: Match, copies: number }} result */
function matchCard({ match, copies }) {
  const { recording, original, reference } = match;
  const widthPerSecond = 100 / Math.max(recording.duration, 1);
  const facts = [
    copies > 1 ? `${copies} copies in the library` : "",
    describeSpeed(match.speed),
    match.kind === "cover" || Math.abs(match.key_shift) >= 0.1 ? describeKeyShift(match.key_shift) : "",
    describePart(match),
  ].filter(Boolean);
  return h(
    "article",
    { class: "card match", "aria-label": `${titleOf(recording)} by ${artistNames(recording)}` },
    h("div", { class: "row between" }, kindChip(match.kind), confidenceLabel(match.confidence)),
    h(
      "div",
      {},
      h("h2", { class: "match-title wrap" }, titleOf(recording)),
      h("p", { class: "wrap" }, artistNames(recording)),
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
          style: {
            left: `${reference.start * widthPerSecond}%`,
            width: `${Math.max(1, (reference.end - reference.start) * widthPerSecond)}%`,
          },
        }),
      ),
      h(
        "div",
        { class: "row between small soft number" },
        h("span", {}, `Matches ${formatTime(reference.start)} to ${formatTime(reference.end)}`),
        h("span", {}, formatTime(recording.duration)),
      ),
    ),
    original &&
      original.id !== recording.id &&
      h("p", { class: "small soft" }, `A version of ${titleOf(original)} by ${artistNames(original)}`),
    h(
      "div",
      { class: "row between" },
      h("span", { class: "small soft" }, facts.join(" · ")),
      playButton(recording, reference.start),
    ),
  );
}

/** @param {Report} report */
function noMatchCard(report) {
  const candidates = (report.candidates ?? []).slice(0, MAX_SHOWN);
  return h(
    "article",
    { class: "card match none", "aria-label": "No match" },
    h("div", { class: "dot large" }, icon("none")),
    h(
      "div",
      {},
      h("h2", { class: "match-title" }, "No match"),
      h("p", {}, asSentence(report.reason || "No recording of the library matches")),
    ),
    h(
      "p",
      { class: "small soft" },
      `Compared ${Math.round(report.duration)} s of audio with ${plural(report.searched, "recording")}.`,
    ),
    candidates.length > 0 &&
      h(
        "details",
        { class: "small" },
        h("summary", {}, "Closest candidates"),
        h(
          "ul",
          { class: "candidates" },
          candidates.map(({ recording, kind, confidence }) =>
            h(
              "li",
              { class: "row between" },
              h("span", { class: "clip grow" }, `${titleOf(recording)} · ${artistNames(recording)}`),
              chip(`${KINDS[kind]}, ${formatConfidence(confidence)}`),
            ),
          ),
        ),
      ),
  );
}

/**
 * A button that plays a recording of the library from a time on.
 *
 * @param {Recording} recording
 * @param {number} start Seconds.
 */
function playButton(recording, start) {
  const player = new Player();
  const label = `Play from ${formatTime(start)}`;
  const element = button(label, toggle, { kind: "compact", iconName: "play" });
  player.on("change", () => fill(element, icon(player.isPlaying ? "stop" : "play"), player.isPlaying ? "Stop" : label));
  player.on("error", (message) => notify(message));
  const address = (/** @type {number} */ from, /** @type {number} */ seconds) =>
    withQuery(`v1/recordings/${recording.id}/audio`, { start: from, duration: seconds });
  player.load([{ name: "Recording", address, start, rate: 1, end: recording.duration }], recording.duration - start);
  window.addEventListener("hashchange", () => player.close(), { once: true });
  return element;

  function toggle() {
    if (player.isPlaying) {
      player.stop();
      return;
    }
    activePlayer?.stop();
    activePlayer = player;
    player.play(0);
  }
}

/** @param {string} text */
function asSentence(text) {
  return `${capitalize(text)}${/[.!?]$/.test(text) ? "" : "."}`;
}
