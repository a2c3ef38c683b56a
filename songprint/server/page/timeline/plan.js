// A timeline as what is drawn: items in lanes, moments of an axis. Nothing here touches the page.

import { artists, clock, KINDS, SOUNDS, sureness } from "../words.js";

export const LANES = [
  ["recording", "Recordings"],
  ["cover", "Covers"],
  ["gap", "Not in the library"],
];

const DECIDED = { accept: "accepted", reject: "rejected", correct: "corrected" };

/**
 * Segments and gaps in the order in which they start, each with what was decided about it; `recordings` are those that
 * corrections name, by id.
 */
export function items(timeline, verdicts, recordings) {
  const said = new Map(verdicts.map((verdict) => [`${verdict.part} ${verdict.position}`, verdict]));
  const segments = timeline.segments.map((segment, position) => ({
    ...segment,
    part: "segment",
    position,
    lane: segment.kind,
  }));
  const gaps = timeline.gaps.map((gap, position) => ({ ...gap, part: "gap", position, lane: "gap", recording: null }));
  const all = [...segments, ...gaps].sort((one, other) => one.start - other.start || one.end - other.end);
  return all.map((item, number) => {
    const verdict = said.get(`${item.part} ${item.position}`) ?? null;
    const correct = (verdict?.recording_id && recordings.get(verdict.recording_id)) || null;
    return {
      ...item,
      number,
      verdict,
      correct,
      decided: verdict ? (item.part === "gap" ? "named" : DECIDED[verdict.verdict]) : "",
    };
  });
}

/** The recording that an item is of by now: as it was found, or as somebody corrected it. */
export function named(item) {
  return item.correct ?? item.recording;
}

export function titleOf(item) {
  const recording = named(item);
  if (recording) return recording.title || "Untitled";
  return item.unknown ? `${SOUNDS.music} ${item.unknown}` : SOUNDS[item.sound];
}

/** What an item is, for those who listen to the page. */
export function described(item) {
  const recording = named(item);
  const said = [titleOf(item)];
  if (recording) said.push(`by ${artists(recording)}`);
  said.push(`${clock(item.start)} to ${clock(item.end)}`);
  if (item.recording && !item.correct) said.push(KINDS[item.kind], sureness(item.confidence));
  if (item.decided) said.push(item.decided);
  return said.join(", ");
}

/** Rows of a lane: what overlaps by more than a second lies in different ones. */
export function rows(lane) {
  const ends = [];
  return lane.map((item) => {
    let row = ends.findIndex((end) => end <= item.start + 1);
    if (row < 0) row = ends.length;
    ends[row] = item.end;
    return { item, row };
  });
}

const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600];

/** Moments to be named on an axis of that many pixels. */
export function ticks(from, to, width, apart = 78) {
  const step = STEPS.find((each) => (each / (to - from)) * width >= apart) ?? STEPS.at(-1);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return { step, at: found };
}

/** A stretch of time to look at, within bounds; `around` stays where it is on the screen. */
export function zoomed(view, factor, around, duration, least = 4) {
  const length = Math.min(duration, Math.max(Math.min(least, duration), (view.to - view.from) * factor));
  const share = (around - view.from) / (view.to - view.from);
  return bounded({ from: around - share * length, to: around + (1 - share) * length }, duration);
}

export function bounded(view, duration) {
  const length = Math.min(duration, view.to - view.from);
  const from = Math.min(Math.max(0, view.from), duration - length);
  return { from, to: from + length };
}
