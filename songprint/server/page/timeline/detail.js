// The selected segment or gap: playback of it and of its recording, details of the match, verdicts.

/** @import { Source } from "../audio/player.js" */
/** @import { Job, Recording } from "../types.js" */
/** @import { Item, SegmentItem } from "./layout.js" */

import { isAllowed, sendJson, withQuery } from "../api.js";
import { Player } from "../audio/player.js";
import {
  button,
  chip,
  confidenceLabel,
  emptyState,
  field,
  kindChip,
  note,
  notify,
  openDialog,
  reportErrors,
} from "../components.js";
import { fill, find, h, icon } from "../dom.js";
import {
  artistNames,
  capitalize,
  describeKeyShift,
  describePart,
  describeSpeed,
  formatDateTime,
  formatTime,
  SOUNDS,
  splitArtists,
  spokenDuration,
  titleOf,
} from "../format.js";
import { itemTitle, matchOf, recordingOf } from "./layout.js";
import { pickRecording } from "./recording-picker.js";
import { Similarity } from "./similarity.js";

const SLIDER_STEPS = 1000;
const SIMILARITY_CAPTION =
  "Horizontal: this file. Vertical: the recording. Dark: similar. Line: the alignment. Click to play from there.";

/** Controls that keep the focus when a decision replaces them: after Accept, the focus is on Undo. */
const DECISION_CONTROLS = ".decide > button, .decided > button";

export class Detail {
  /**
   * @param {Job} job
   * @param {number} duration Of the timeline, in seconds.
   * @param {Player} player
   * @param {() => Promise<unknown>} onChange Called after a decision.
   */
  constructor(job, duration, player, onChange) {
    this.job = job;
    this.duration = duration;
    this.player = player;
    this.onChange = onChange;
    /** @type {Item | null} */
    this.item = null;
    this.element = h("section", { class: "card detail", "aria-label": "Selected segment" });
    this.sources = h("div", { class: "sources", role: "group", "aria-label": "Audio to play" });
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: SLIDER_STEPS,
      value: 0,
      "aria-label": "Position in the segment",
    });
    this.slider.addEventListener("input", () =>
      player.seek((Number(this.slider.value) / SLIDER_STEPS) * player.length),
    );
    this.times = h("div", { class: "row between tiny soft number" });
    this.playButton = h("button", {
      type: "button",
      class: "button main round play",
      on: { click: () => this.togglePlaying() },
    });
    player.on("change", () => this.updatePlayer());
    player.on("error", (message) => notify(message));
    fill(this.element, emptyState("music", "Nothing selected", h("p", {}, "Select a segment or a gap to play it.")));
  }

  /**
   * Show an item and load its audio into the player.
   *
   * @param {Item} item
   */
  show(item) {
    const recording = recordingOf(item);
    const isSame = this.item?.number === item.number && recordingOf(this.item)?.id === recording?.id;
    this.item = item;
    if (!isSame) this.load(item, recording);
    const keepsFocus = Boolean(document.activeElement?.closest(".decide, .decided"));
    const match = matchOf(item);
    fill(
      this.element,
      description(item, recording),
      this.playerControls(),
      facts(item, recording),
      match?.kind === "cover" && this.similarity(match),
      this.decisions(item),
    );
    this.updatePlayer();
    if (!keepsFocus) return;
    /** @type {HTMLElement | null} */
    const control = this.element.querySelector(DECISION_CONTROLS);
    control?.focus({ preventScroll: true });
  }

  /**
   * @param {Item} item
   * @param {Recording | null} recording
   */
  load(item, recording) {
    const addressOf = (/** @type {string} */ path) => (/** @type {number} */ start, /** @type {number} */ seconds) =>
      withQuery(path, { start, duration: seconds });
    /** @type {Source[]} */
    const sources = [
      {
        name: "This file",
        address: addressOf(`v1/jobs/${this.job.id}/audio`),
        start: item.start,
        rate: 1,
        end: this.duration,
      },
    ];
    const match = matchOf(item);
    if (recording)
      sources.push({
        name: "Recording",
        address: addressOf(`v1/recordings/${recording.id}/audio`),
        start: match ? match.reference_start : 0,
        rate: match ? match.speed : 1,
        end: recording.duration,
      });
    this.player.load(sources, item.end - item.start);
  }

  /** On narrow screens the player is between the chart and the list, so a selection in either may hide it. */
  scrollToPlayer() {
    if (matchMedia("(max-width: 899px)").matches) find(this.element, ".player").scrollIntoView({ block: "nearest" });
  }

  /** @param {SegmentItem} item */
  similarity({ start, end, recording }) {
    const path = withQuery(`v1/jobs/${this.job.id}/similarity`, { start, end, recording: recording.id });
    return new Similarity(path, SIMILARITY_CAPTION, (seconds) => this.player.seek(seconds)).element;
  }

  playerControls() {
    fill(
      this.sources,
      this.player.sources.map((source, number) =>
        h(
          "button",
          { type: "button", class: "source", on: { click: () => this.player.switchTo(number) } },
          h("b", { "aria-hidden": "true" }, "AB"[number]),
          source.name,
        ),
      ),
    );
    return h(
      "div",
      { class: "player" },
      h("div", { class: "row" }, this.playButton, h("div", { class: "grow" }, this.slider, this.times)),
      this.player.sources.length > 1 && this.sources,
    );
  }

  updatePlayer() {
    const { player } = this;
    if (!player.sources.length) return;
    const name = player.sources[player.source].name.toLowerCase();
    fill(this.playButton, icon(player.isPlaying ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", player.isPlaying ? "Pause" : `Play ${name}`);
    this.playButton.classList.toggle("loading", player.loading);
    for (const [number, each] of [...this.sources.children].entries())
      each.setAttribute("aria-pressed", String(number === player.source));
    this.updatePosition();
  }

  updatePosition() {
    const { player } = this;
    const { position } = player;
    this.slider.value = String(player.length ? (SLIDER_STEPS * position) / player.length : 0);
    this.slider.setAttribute("aria-valuetext", `${spokenDuration(position)} of ${spokenDuration(player.length)}`);
    const times = player.sources.map((source) => formatTime(source.start + position * source.rate, true));
    fill(
      this.times,
      times.map((time, number) => h("span", {}, `${"AB"[number]} ${time}`)),
    );
  }

  togglePlaying() {
    if (this.player.isPlaying) this.player.pause();
    else this.player.play();
  }

  /** @param {Item} item */
  decisions(item) {
    if (!isAllowed("write")) return item.verdict && h("p", { class: "small soft" }, describeDecision(item));
    if (item.verdict) {
      const isRejected = item.decision === "rejected";
      return h(
        "div",
        { class: "decided" },
        note(describeDecision(item), isRejected ? "bad" : "good", isRejected ? "cross" : "check"),
        button("Undo", () => this.decide(item, null), { kind: "quiet compact" }),
      );
    }
    if (item.part === "gap") {
      return h(
        "div",
        { class: "row decide" },
        button("Add to the library", () => this.addRecording(item), { kind: "main", iconName: "plus" }),
        button("Choose a recording", () => this.correct(item), { iconName: "search" }),
      );
    }
    return h(
      "div",
      { class: "row decide" },
      button("Accept", () => this.decide(item, { verdict: "accept" }), { iconName: "check" }),
      button("Reject", () => this.decide(item, { verdict: "reject" }), { iconName: "cross" }),
      button("Correct", () => this.correct(item), { iconName: "edit" }),
    );
  }

  /**
   * @param {Item} item
   * @param {{ verdict: string, recording?: number } | null} verdict Null removes the verdict.
   */
  async decide(item, verdict) {
    const path = `v1/jobs/${this.job.id}/${item.part}s/${item.position}/verdict`;
    await reportErrors(async () => {
      await sendJson(verdict ? "POST" : "DELETE", path, verdict ?? undefined);
      await this.onChange();
    });
  }

  /** @param {Item} item */
  async correct(item) {
    const recording = await pickRecording("Choose the correct recording");
    if (recording) await this.decide(item, { verdict: "correct", recording: recording.id });
  }

  /** @param {Item} item */
  async addRecording(item) {
    const interval = `${formatTime(item.start)} to ${formatTime(item.end)}`;
    await openDialog(
      "Add this music to the library",
      [
        h(
          "p",
          { class: "soft small" },
          `The audio from ${interval} becomes a recording of the library. Later queries and jobs identify it.`,
        ),
        field("Title", h("input", { name: "title", required: true, maxLength: 1000 })),
        field("Artists", h("input", { name: "artists", maxLength: 1000 }), "Separate multiple artists with semicolons"),
        field("Album", h("input", { name: "album", maxLength: 1000 })),
      ],
      {
        submit: "Add recording",
        onSubmit: async (form) => {
          const added = await sendJson("POST", `v1/jobs/${this.job.id}/gaps/${item.position}/recording`, {
            title: form.get("title"),
            artists: splitArtists(String(form.get("artists"))),
            album: form.get("album"),
          });
          notify(`Added ${added.recording.title} to the library`);
          await this.onChange();
        },
      },
    );
  }
}

/**
 * @param {Item} item
 * @param {Recording | null} recording
 */
function description(item, recording) {
  const match = matchOf(item);
  const original = match?.original;
  return h(
    "div",
    { class: "stack tight" },
    h("div", { class: "row between" }, statusChip(item), match && confidenceLabel(match.confidence)),
    h(
      "div",
      {},
      h("h2", { class: "match-title wrap" }, itemTitle(item)),
      recording && h("p", { class: "wrap" }, artistNames(recording)),
      recording?.album && h("p", { class: "small soft wrap" }, recording.album),
      item.part === "gap" &&
        item.unknown &&
        !recording &&
        h("p", { class: "small soft" }, "The number is the same wherever this music occurs."),
      original &&
        original.id !== recording?.id &&
        h("p", { class: "small soft wrap" }, `A version of ${titleOf(original)} by ${artistNames(original)}`),
    ),
  );
}

/** @param {Item} item */
function statusChip(item) {
  if (item.correction) return chip(capitalize(item.decision), "good", "edit");
  if (item.part === "segment") return kindChip(item.kind);
  return chip(
    item.sound === "music" ? "Not in the library" : SOUNDS[item.sound],
    "",
    item.sound === "music" ? "question" : undefined,
  );
}

/**
 * @param {Item} item
 * @param {Recording | null} recording
 */
function facts(item, recording) {
  const match = matchOf(item);
  const rows = [["In this file", `${formatTime(item.start, true)} to ${formatTime(item.end, true)}`]];
  if (match) {
    rows.push(
      ["In the recording", `${formatTime(match.reference_start, true)} to ${formatTime(match.reference_end, true)}`],
      ["Speed", describeSpeed(match.speed)],
      ["Key", describeKeyShift(match.key_shift)],
    );
    if (describePart(match)) rows.push(["Found", describePart(match)]);
  } else rows.push(["Length", spokenDuration(item.end - item.start)]);
  if (recording?.isrc) rows.push(["ISRC", recording.isrc]);
  return h(
    "dl",
    { class: "facts" },
    rows.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "number" }, value)]),
  );
}

/** @param {Item} item */
function describeDecision(item) {
  const text = `${capitalize(item.decision)} · ${formatDateTime(item.verdict?.at)}`;
  return item.part === "segment" && item.decision === "corrected"
    ? `${text}. Identified as ${titleOf(item.recording)} before`
    : text;
}
