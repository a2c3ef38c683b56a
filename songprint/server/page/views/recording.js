// A recording: play it, its tags, its files, and the copies and covers of it in the library.

/** @import { Match, Recording, ViewContext } from "../types.js" */

import { ApiError, getJson, isAbort, isAllowed, messageOf, sendJson, withQuery } from "../api.js";
import { button, chip, emptyState, note, openDialog, reportErrors } from "../components.js";
import { fill, h } from "../dom.js";
import {
  artistNames,
  describeKeyShift,
  describeSpeed,
  formatConfidence,
  formatDateTime,
  formatTime,
  KINDS,
  titleOf,
} from "../format.js";
import { editRecording, linkRecordings, removeRecordings } from "../library/dialogs.js";
import { Similarity } from "../timeline/similarity.js";

/** @typedef {{ path: string, missing_since: string }} RecordingFile */

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { path: [id], signal, refresh }) {
  const address = `v1/recordings/${encodeURIComponent(id)}`;
  /** @type {Recording} */
  let recording;
  try {
    recording = await getJson(address, { signal });
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) {
      showMissing(main);
      return;
    }
    throw error;
  }
  const player = h("audio", {
    controls: true,
    preload: "none",
    src: `${address}/audio`,
    "aria-label": `Play ${titleOf(recording)}`,
  });
  const files = h("ul", { class: "lines card" });
  const related = h("div", { class: "stack", "aria-live": "polite" });
  fill(
    main,
    h("p", { class: "small" }, h("a", { href: "#/library" }, "Library")),
    h(
      "div",
      { class: "head" },
      h(
        "div",
        { class: "room" },
        h("h1", { class: "wrap" }, titleOf(recording)),
        h("p", { class: "wrap" }, artistNames(recording)),
      ),
      isAllowed("write") &&
        h(
          "div",
          { class: "row" },
          button("Edit", () => editRecording(recording, refresh), { iconName: "edit" }),
          button("Remove", () => removeRecordings([recording], leave), { iconName: "trash", kind: "danger" }),
        ),
    ),
    recording.missing_since &&
      note(`No file of this recording exists any more, since ${formatDateTime(recording.missing_since)}.`, "warn"),
    h(
      "div",
      { class: "section recording-page" },
      h("section", { class: "card stack" }, player, tagList(recording)),
      h("section", { class: "stack" }, h("h2", {}, "Files"), files),
      h("section", { class: "stack related" }, h("h2", {}, "Copies and versions"), related),
    ),
  );
  player.addEventListener("error", () => player.replaceWith(note("The audio file is not on this server.", "warn")));
  await Promise.all([showFiles(), showRelated()]);

  async function leave() {
    location.hash = "#/library";
  }

  async function showFiles() {
    /** @type {{ items: RecordingFile[] }} */
    const { items } = await getJson(`${address}/files`, { signal });
    fill(files, items.length ? items.map(fileEntry) : h("li", { class: "soft" }, "No file of this recording is known"));
  }

  async function showRelated() {
    fill(related, h("p", { class: "small soft" }, "Comparing with the library…"));
    try {
      /** @type {{ items: Match[] }} */
      const { items } = await getJson(`${address}/covers`, { signal });
      fill(
        related,
        items.length
          ? items.map((match) => relatedCard(recording, match, refresh))
          : h("div", { class: "card" }, emptyState("versions", "No copies and no versions in the library")),
      );
    } catch (error) {
      if (!isAbort(error)) fill(related, note(messageOf(error), "warn"));
    }
  }
}

/** @param {HTMLElement} main */
function showMissing(main) {
  fill(
    main,
    h("h1", { class: "sr-only" }, "Recording not found"),
    h(
      "div",
      { class: "card" },
      emptyState(
        "question",
        "Recording not found",
        h("p", {}, "It was removed or merged into another recording."),
        h("a", { class: "button main", href: "#/library" }, "Go to the library"),
      ),
    ),
  );
}

/** @param {Recording} recording */
function tagList(recording) {
  /** @type {[string, string | number | null][]} */
  const facts = [
    ["Album", recording.album],
    ["Year", recording.year],
    ["Track", recording.track],
    ["Length", formatTime(recording.duration)],
    ["ISRC", recording.isrc],
    ["Work", recording.work],
    ["Added", formatDateTime(recording.added_at)],
    ["Id", recording.id],
    .../** @type {[string, string][]} */ (
      Object.entries(recording.fields ?? {}).map(([name, value]) => [name, String(value)])
    ),
  ];
  return h(
    "dl",
    { class: "facts" },
    facts
      .filter(([, value]) => value !== null && value !== "")
      .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

/** @param {RecordingFile} file */
function fileEntry({ path, missing_since: missingSince }) {
  return h(
    "li",
    {},
    h("span", { class: "grow wrap mono small" }, path),
    missingSince && chip(`Missing since ${formatDateTime(missingSince)}`, "warn", "warn"),
  );
}

/**
 * @param {Recording} recording
 * @param {Match} match
 * @param {() => Promise<unknown>} onChange
 */
function relatedCard(recording, match, onChange) {
  const other = match.recording;
  const isCopy = match.kind === "recording";
  const isLinked = Boolean(recording.work) && recording.work === other.work;
  const picture = h("div");
  const facts = isCopy
    ? [artistNames(other), other.album, formatTime(other.duration)]
    : [artistNames(other), describeKeyShift(match.key_shift), describeSpeed(match.speed)];
  return h(
    "article",
    { class: "card stack", "aria-label": titleOf(other) },
    h(
      "div",
      { class: "row between" },
      isCopy ? chip("Copy", "accent", "music") : chip(KINDS.cover, "cover", "versions"),
      h("span", { class: "small soft number" }, `Confidence ${formatConfidence(match.confidence)}`),
    ),
    h(
      "div",
      {},
      h("a", { class: "title wrap", href: `#/library/${other.id}` }, titleOf(other)),
      h("div", { class: "small soft wrap" }, facts.filter(Boolean).join(" · ")),
    ),
    h("audio", {
      controls: true,
      preload: "none",
      src: `v1/recordings/${other.id}/audio`,
      "aria-label": `Play ${titleOf(other)}`,
    }),
    h(
      "div",
      { class: "row" },
      !isCopy && button("Show the alignment", showPicture, { kind: "compact", iconName: "versions" }),
      isLinked && chip("Linked", "good", "link"),
      !isLinked &&
        isAllowed("write") &&
        button("Link to one work", () => linkRecordings([recording, other], onChange), {
          kind: "compact",
          iconName: "link",
        }),
      isCopy && isAllowed("admin") && button("Merge into this recording", merge, { kind: "compact" }),
    ),
    picture,
  );

  /** @param {Event} event */
  function showPicture({ currentTarget }) {
    if (currentTarget instanceof HTMLElement) currentTarget.hidden = true;
    const path = withQuery(`v1/recordings/${recording.id}/similarity`, { recording: other.id });
    fill(
      picture,
      new Similarity(path, "Horizontal: this recording. Vertical: the other. Line: the alignment.").element,
    );
  }

  async function merge() {
    const merged = await openDialog(
      "Merge recordings",
      h("p", {}, "This recording receives the files of the other one, and the tags that it lacks."),
      {
        submit: "Merge",
        onSubmit: () =>
          sendJson("POST", "v1/duplicates/decisions", {
            decision: "merge",
            recordings: [recording.id, other.id],
            into: recording.id,
          }),
      },
    );
    if (merged) await reportErrors(onChange);
  }
}
