// Numbers, times and names as text.

/** @import { Recording } from "./types.js" */

/**
 * Format seconds as 3:07, from one hour on as 1:02:07; with `tenths` as 3:07.4.
 *
 * @param {number} seconds
 * @param {boolean} [tenths]
 */
export function formatTime(seconds, tenths = false) {
  const scale = tenths ? 10 : 1;
  const units = Math.max(0, tenths ? Math.round(seconds * 10) : Math.floor(seconds + 1e-6));
  const total = Math.floor(units / scale);
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor(total / 60) % 60;
  const rest = String(total % 60).padStart(2, "0") + (tenths ? `.${units % 10}` : "");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/**
 * Format an interval as 0:30 – 1:00.
 *
 * @param {{ start: number, end: number }} interval
 */
export function formatInterval({ start, end }) {
  return `${formatTime(start)} – ${formatTime(end)}`;
}

/**
 * Format seconds for screen readers, such as 3 minutes 7 seconds.
 *
 * @param {number} seconds
 */
export function spokenDuration(seconds) {
  const total = Math.round(seconds);
  /** @type {[number, string][]} */
  const parts = [
    [Math.floor(total / 3600), "hour"],
    [Math.floor(total / 60) % 60, "minute"],
    [total % 60, "second"],
  ];
  const shown = parts.filter(([count]) => count).map(([count, unit]) => plural(count, unit));
  return shown.join(" ") || "0 seconds";
}

/**
 * Format a count with its noun: 1 song, 2 songs.
 *
 * @param {number} count
 * @param {string} singular
 * @param {string} [several]
 */
export function plural(count, singular, several = `${singular}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? singular : several}`;
}

/**
 * Format a duration in its largest useful unit.
 *
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  if (seconds >= 36000) return `${Math.round(seconds / 3600).toLocaleString("en")} hours`;
  if (seconds >= 3600) return `${(seconds / 3600).toFixed(1)} hours`;
  return seconds >= 60 ? plural(Math.round(seconds / 60), "minute") : plural(Math.round(seconds), "second");
}

/** @param {number} count */
export function formatBytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/**
 * Format a share from 0 to 1 as a percentage.
 *
 * @param {number} share
 */
export function formatShare(share) {
  return `${Math.round(100 * share)}%`;
}

/**
 * Format a confidence from 0 to 100. It never reads 100%, because no match is certain.
 *
 * @param {number} confidence
 */
export function formatConfidence(confidence) {
  return `${confidence >= 99 ? Math.min(99.9, confidence).toFixed(1) : Math.round(confidence)}%`;
}

/**
 * Describe the speed of a match relative to the reference.
 *
 * @param {number} ratio
 */
export function describeSpeed(ratio) {
  const percent = 100 * (ratio - 1);
  if (Math.abs(percent) < 0.15) return "Same speed";
  return `${Math.abs(percent).toFixed(Math.abs(percent) < 10 ? 1 : 0)}% ${percent > 0 ? "faster" : "slower"}`;
}

/**
 * Describe the key of a match relative to the reference.
 *
 * @param {number} semitones
 */
export function describeKeyShift(semitones) {
  const rounded = Math.round(semitones * 10) / 10;
  if (Math.abs(rounded) < 0.1) return "Same key";
  return `${plural(Math.abs(rounded), "semitone")} ${rounded > 0 ? "higher" : "lower"}`;
}

/**
 * The audio track and the channel that contain a match; empty if they are the only track and the mix of all channels.
 *
 * @param {{ track?: number, channel?: string }} found
 */
export function describePart({ track, channel }) {
  return [track ? `Audio track ${track}` : "", channel ? `${channel} channel` : ""].filter(Boolean).join(", ");
}

/** @param {string} iso */
export function formatTimeOfDay(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** @param {string} iso */
export function formatDay(iso) {
  const date = new Date(iso);
  if (date.toDateString() === new Date().toDateString()) return "Today";
  return date.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}

/** @param {string | null | undefined} iso */
export function formatDateTime(iso) {
  return iso ? `${formatDay(iso)}, ${formatTimeOfDay(iso)}` : "";
}

/**
 * The last part of a path.
 *
 * @param {string} path
 */
export function fileName(path) {
  return path.split(/[/\\]/).pop() ?? "";
}

/** @param {Pick<Recording, "artists">} recording */
export function artistNames(recording) {
  return recording.artists?.length ? recording.artists.join(", ") : "Unknown artist";
}

/** @param {Pick<Recording, "title">} recording */
export function titleOf(recording) {
  return recording.title || "Untitled";
}

/**
 * Split text such as "One; Another" into the names of artists.
 *
 * @param {string} text
 */
export function splitArtists(text) {
  return text
    .split(";")
    .map((name) => name.trim())
    .filter(Boolean);
}

/**
 * Text with a capital first letter. Messages of the server may begin with a lower-case letter.
 *
 * @param {string} text
 */
export function capitalize(text) {
  return text && text[0].toUpperCase() + text.slice(1);
}

export const KINDS = { recording: "Same recording", cover: "Cover" };
export const SOUNDS = { music: "Unknown music", speech: "Speech", silence: "Silence", other: "Other sounds" };
export const JOB_STATES = {
  waiting: "Waiting",
  running: "Running",
  finished: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
};
