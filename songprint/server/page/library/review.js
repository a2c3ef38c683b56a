// Recordings to review: likely duplicates, and likely versions of one song that are not linked.

/** @import { Match, Recording } from "../types.js" */

import { getJson, isAbort, isAllowed, messageOf, sendJson, withQuery } from "../api.js";
import { button, chip, emptyState, note, progressBar, reportErrors } from "../components.js";
import { fill, h, icon } from "../dom.js";
import { artistNames, formatConfidence, formatTime, KINDS, plural, titleOf } from "../format.js";
import { linkRecordings, removeRecordings } from "./dialogs.js";

const DIFFERENT_KEY = "songprint.different"; // pairs that were marked as different in this browser
const MAX_DUPLICATES = 100;

/** @typedef {{ signal: AbortSignal, onChange: () => Promise<void> }} ReviewOptions */

/**
 * @param {HTMLElement} place
 * @param {ReviewOptions} options
 */
export async function showReview(place, options) {
  const duplicates = h("div", { class: "stack" });
  const versions = h("div", { class: "stack" });
  const bar = progressBar(0, "Progress of the comparison");
  const state = h("p", { class: "small soft", role: "status" });
  const start = button("Compare all recordings", compare, { iconName: "versions" });
  fill(
    place,
    h(
      "section",
      { class: "stack" },
      sectionHeading("Likely duplicates", "The same recording twice, for example from a single and from an album."),
      duplicates,
    ),
    h(
      "section",
      { class: "stack review-versions" },
      h(
        "div",
        { class: "row between" },
        sectionHeading("Likely versions of one song", "Once linked, results count them as one song."),
        start,
      ),
      bar,
      state,
      versions,
    ),
  );
  bar.hidden = true;
  await showDuplicates(duplicates, options);

  async function compare() {
    start.disabled = true;
    bar.hidden = false;
    fill(versions);
    try {
      await compareAll(versions, options, (done, total, found) => {
        bar.setShare(done / total);
        state.textContent = `Compared ${done} of ${plural(total, "recording")}, found ${plural(found, "pair")}`;
      });
    } catch (error) {
      if (isAbort(error)) return;
      fill(versions, note(messageOf(error), "bad"));
    }
    bar.hidden = true;
    start.disabled = false;
  }
}

/**
 * @param {string} title
 * @param {string} text
 */
function sectionHeading(title, text) {
  return h("div", {}, h("h2", {}, title), h("p", { class: "small soft" }, text));
}

/**
 * @param {HTMLElement} list
 * @param {ReviewOptions} options
 */
async function showDuplicates(list, { signal, onChange }) {
  fill(list);
  let after = "";
  let found = 0;
  do {
    /** @type {{ items: { recordings: Recording[] }[], next: string | null }} */
    const { items, next } = await getJson(withQuery("v1/duplicates", { limit: 20, after }), { signal });
    for (const { recordings } of items) {
      found += 1;
      list.append(duplicatesCard(recordings, onChange));
    }
    after = next ?? "";
  } while (after && found < MAX_DUPLICATES);
  if (!found) fill(list, h("div", { class: "card" }, emptyState("check", "No duplicates")));
}

/**
 * Compare each recording with all others and list covers that are not linked. One request per recording keeps the
 * comparison cancellable and leaves the server free for other requests in between.
 *
 * @param {HTMLElement} list
 * @param {ReviewOptions} options
 * @param {(done: number, total: number, found: number) => void} onProgress
 */
async function compareAll(list, { signal, onChange }, onProgress) {
  /** @type {Set<string>} */
  const pairs = new Set();
  let after = "";
  let done = 0;
  do {
    /** @type {{ items: Recording[], next: string | null, total: number }} */
    const { items, next, total } = await getJson(withQuery("v1/recordings", { limit: 100, after }), { signal });
    for (const recording of items) {
      /** @type {{ items: Match[] }} */
      const { items: matches } = await getJson(`v1/recordings/${recording.id}/covers`, { signal });
      for (const match of matches) {
        const pair = [recording, match.recording];
        const isLinked = recording.work && recording.work === match.recording.work;
        if (match.kind !== "cover" || isLinked || pairs.has(pairId(pair)) || isMarkedDifferent(pair)) continue;
        pairs.add(pairId(pair));
        const label = chip(`${KINDS.cover}, confidence ${formatConfidence(match.confidence)}`, "cover", "versions");
        list.append(pairCard(pair, label, onChange));
      }
      done += 1;
      onProgress(done, total, pairs.size);
    }
    after = next ?? "";
  } while (after);
  if (!pairs.size) fill(list, h("div", { class: "card" }, emptyState("check", "No unlinked versions")));
}

/**
 * A group of duplicates, and the decisions about it.
 *
 * @param {Recording[]} group
 * @param {() => Promise<void>} onChange
 */
function duplicatesCard(group, onChange) {
  const ids = group.map((each) => each.id);
  const finish = async () => {
    card.remove();
    await onChange();
  };
  /** @param {Record<string, unknown>} decision */
  const decide = (decision) =>
    reportErrors(async () => {
      await sendJson("POST", "v1/duplicates/decisions", { recordings: ids, ...decision });
      await finish();
    });
  const sides = group.map((recording) =>
    recordingSide(
      recording,
      isAllowed("admin") &&
        button("Merge into this recording", () => decide({ decision: "merge", into: recording.id }), {
          kind: "compact",
          title: "It receives the files of the others, and the tags that it lacks",
        }),
      isAllowed("write") && removeButton(recording, finish),
    ),
  );
  const card = h(
    "article",
    { class: "card pair", "aria-label": group.map(titleOf).join(" and ") },
    h(
      "div",
      { class: "row between" },
      chip(KINDS.recording, "accent", "music"),
      h(
        "div",
        { class: "row" },
        isAllowed("write") &&
          button("Link as versions", () => linkRecordings(group, finish), { iconName: "link", kind: "compact" }),
        isAllowed("admin") &&
          button(group.length === 2 ? "Keep both" : "Keep all", () => decide({ decision: "keep" }), {
            kind: "quiet compact",
          }),
      ),
    ),
    h(
      "div",
      { class: group.length === 2 ? "pair-sides" : "group-sides" },
      group.length === 2 ? [sides[0], icon("link"), sides[1]] : sides,
    ),
  );
  return card;
}

/**
 * @param {Recording[]} pair
 * @param {HTMLElement} label
 * @param {() => Promise<void>} onChange
 */
function pairCard(pair, label, onChange) {
  const finish = async () => {
    card.remove();
    await onChange();
  };
  const markAsDifferent = () => {
    markDifferent(pair);
    card.remove();
  };
  const [one, other] = pair;
  const card = h(
    "article",
    { class: "card pair", "aria-label": `${titleOf(one)} and ${titleOf(other)}` },
    h(
      "div",
      { class: "row between" },
      label,
      isAllowed("write") &&
        h(
          "div",
          { class: "row" },
          button("Link", () => linkRecordings(pair, finish), { iconName: "link", kind: "compact" }),
          button("Mark as different", markAsDifferent, { kind: "quiet compact" }),
        ),
    ),
    h(
      "div",
      { class: "pair-sides" },
      recordingSide(one, isAllowed("write") && removeButton(one, finish)),
      icon("link"),
      recordingSide(other, isAllowed("write") && removeButton(other, finish)),
    ),
  );
  return card;
}

/**
 * @param {Recording} recording
 * @param {() => Promise<void>} onRemove
 */
function removeButton(recording, onRemove) {
  return button("Remove this recording", () => removeRecordings([recording], onRemove), {
    kind: "quiet compact",
    iconName: "trash",
  });
}

/**
 * @param {Recording} recording
 * @param {(HTMLElement | false)[]} actions
 */
function recordingSide(recording, ...actions) {
  return h(
    "div",
    { class: "side-of-pair" },
    h("div", { class: "clip title", title: recording.title }, titleOf(recording)),
    h("div", { class: "small soft clip" }, artistNames(recording)),
    h(
      "div",
      { class: "small soft clip number" },
      [recording.album, formatTime(recording.duration)].filter(Boolean).join(" · "),
    ),
    h("audio", {
      controls: true,
      preload: "none",
      src: `v1/recordings/${recording.id}/audio`,
      "aria-label": `Play ${titleOf(recording)}`,
    }),
    ...actions,
  );
}

/** @param {Recording[]} pair */
function pairId(pair) {
  return pair
    .map((each) => each.id)
    .sort((one, other) => one - other)
    .join("-");
}

/** @returns {Set<string>} */
function markedPairs() {
  try {
    return new Set(JSON.parse(localStorage.getItem(DIFFERENT_KEY) ?? "[]"));
  } catch {
    return new Set();
  }
}

/** @param {Recording[]} pair */
function isMarkedDifferent(pair) {
  return markedPairs().has(pairId(pair));
}

/** @param {Recording[]} pair */
function markDifferent(pair) {
  localStorage.setItem(DIFFERENT_KEY, JSON.stringify([...markedPairs().add(pairId(pair))]));
}
