// The geometry of a timeline: its items, the rows they are drawn in, the ticks of the axis. Independent of the DOM.

/** @import { Gap, Recording, Segment, Timeline, Verdict } from "../types.js" */

import { artistNames, formatConfidence, formatTime, KINDS, SOUNDS, titleOf } from "../format.js";

/** @typedef {{ from: number, to: number }} Range The visible seconds. */

/**
 * What every item has, besides the properties of its segment or gap.
 *
 * @typedef {object} ItemProperties
 * @property {number} number Index in the order of start times.
 * @property {number} position Index among the timeline's segments or gaps.
 * @property {Verdict | null} verdict
 * @property {Recording | null} correction The recording that a user named instead.
 * @property {"" | "accepted" | "rejected" | "corrected" | "named"} decision
 */

/** @typedef {Segment & ItemProperties & { part: "segment", group: "recording" | "cover" }} SegmentItem */
/** @typedef {Gap & ItemProperties & { part: "gap", group: "gap" }} GapItem */
/** @typedef {SegmentItem | GapItem} Item */

/** @type {[Item["group"], string][]} The groups of items, from top to bottom, with their labels. */
export const GROUPS = [
  ["recording", "Recordings"],
  ["cover", "Covers"],
  ["gap", "Not in the library"],
];

/** @type {Record<Verdict["verdict"], Item["decision"]>} */
const DECISIONS = { accept: "accepted", reject: "rejected", correct: "corrected" };

/**
 * The segments and gaps of a timeline, ordered by start time, with the verdicts on them.
 *
 * @param {Timeline} timeline
 * @param {Verdict[]} verdicts
 * @param {Map<number, Recording>} recordings The recordings that corrections name, by id.
 * @returns {Item[]}
 */
export function timelineItems(timeline, verdicts, recordings) {
  const verdictOf = new Map(verdicts.map((verdict) => [`${verdict.part} ${verdict.position}`, verdict]));
  /**
   * @param {Item["part"]} part
   * @param {number} position
   * @returns {ItemProperties}
   */
  const properties = (part, position) => {
    const verdict = verdictOf.get(`${part} ${position}`) ?? null;
    const correction = recordings.get(verdict?.recording_id ?? 0) ?? null;
    const decision = verdict ? (part === "gap" ? "named" : DECISIONS[verdict.verdict]) : "";
    return { number: 0, position, verdict, correction, decision };
  };
  /** @type {Item[]} */
  const segments = timeline.segments.map((segment, position) => ({
    ...segment,
    ...properties("segment", position),
    part: "segment",
    group: segment.kind,
  }));
  /** @type {Item[]} */
  const gaps = timeline.gaps.map((gap, position) => ({
    ...gap,
    ...properties("gap", position),
    part: "gap",
    group: "gap",
  }));
  const all = [...segments, ...gaps].sort((one, other) => one.start - other.start || one.end - other.end);
  return all.map((item, number) => ({ ...item, number }));
}

/**
 * The recording of an item: the correction of a user if there is one, otherwise the match; null for music that is not
 * in the library.
 *
 * @param {Item} item
 */
export function recordingOf(item) {
  return item.correction ?? (item.part === "segment" ? item.recording : null);
}

/**
 * The match of an item; null for gaps and for matches that a user has corrected.
 *
 * @param {Item} item
 */
export function matchOf(item) {
  return item.part === "segment" && !item.correction ? item : null;
}

/** @param {Item} item */
export function soundOf(item) {
  return item.part === "gap" ? item.sound : "";
}

/** @param {Item} item */
export function itemTitle(item) {
  const recording = recordingOf(item);
  if (recording) return titleOf(recording);
  if (item.part === "segment") return "";
  return item.unknown ? `${SOUNDS.music} ${item.unknown}` : SOUNDS[item.sound];
}

/**
 * A description of an item for tooltips and screen readers.
 *
 * @param {Item} item
 */
export function describeItem(item) {
  const recording = recordingOf(item);
  const match = matchOf(item);
  const parts = [itemTitle(item)];
  if (recording) parts.push(`by ${artistNames(recording)}`);
  parts.push(`${formatTime(item.start)} to ${formatTime(item.end)}`);
  if (match) parts.push(KINDS[match.kind], `confidence ${formatConfidence(match.confidence)}`);
  if (item.decision) parts.push(item.decision);
  return parts.join(", ");
}

/**
 * Assign items to rows so that no two items of a row overlap by more than a second.
 *
 * @param {Item[]} items
 */
export function assignRows(items) {
  /** @type {number[]} */
  const ends = [];
  return items.map((item) => {
    let row = ends.findIndex((end) => end <= item.start + 1);
    if (row < 0) row = ends.length;
    ends[row] = item.end;
    return { item, row };
  });
}

/** Seconds between two ticks of the axis. */
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600];

/**
 * The times to label on an axis.
 *
 * @param {Range} range
 * @param {number} width Pixels.
 * @param {number} [distance] Minimum distance of two labels, in pixels.
 */
export function axisTicks({ from, to }, width, distance = 78) {
  const step = STEPS.find((each) => (each / (to - from)) * width >= distance) ?? STEPS[STEPS.length - 1];
  const ticks = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) ticks.push(time);
  return ticks;
}

/**
 * Zoom a range; the time `around` keeps its place on the screen.
 *
 * @param {Range} range
 * @param {number} factor Below 1 zooms in.
 * @param {number} around
 * @param {number} duration Of the timeline, in seconds.
 * @param {number} [minimum] Length of the range, in seconds.
 */
export function zoomRange(range, factor, around, duration, minimum = 4) {
  const length = Math.min(duration, Math.max(Math.min(minimum, duration), (range.to - range.from) * factor));
  const share = (around - range.from) / (range.to - range.from);
  return clampRange({ from: around - share * length, to: around + (1 - share) * length }, duration);
}

/**
 * Move a range so that it lies within the timeline.
 *
 * @param {Range} range
 * @param {number} duration
 */
export function clampRange(range, duration) {
  const length = Math.min(duration, range.to - range.from);
  const from = Math.min(Math.max(0, range.from), duration - length);
  return { from, to: from + length };
}
