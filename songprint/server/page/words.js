// Numbers as people say them.

/** 3:07, or 1:02:07 from an hour on. With `tenths`: 3:07.4. */
export function clock(seconds, tenths = false) {
  const scale = tenths ? 10 : 1;
  const whole = Math.max(0, tenths ? Math.round(seconds * 10) : Math.floor(seconds + 1e-6));
  const total = Math.floor(whole / scale);
  const hours = Math.floor(total / 3600),
    minutes = Math.floor(total / 60) % 60;
  const rest = String(total % 60).padStart(2, "0") + (tenths ? `.${whole % 10}` : "");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** The same for those who listen to the page. */
export function spoken(seconds) {
  const total = Math.round(seconds);
  const parts = [
    [Math.floor(total / 3600), "hour"],
    [Math.floor(total / 60) % 60, "minute"],
    [total % 60, "second"],
  ];
  const said = parts.filter(([count]) => count).map(([count, unit]) => many(count, unit));
  return said.join(" ") || "0 seconds";
}

export function many(count, one, several = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : several}`;
}

export function duration(seconds) {
  if (seconds >= 36000) return `${Math.round(seconds / 3600).toLocaleString("en")} hours`;
  if (seconds >= 3600) return `${(seconds / 3600).toFixed(1)} hours`;
  return seconds >= 60 ? many(Math.round(seconds / 60), "minute") : many(Math.round(seconds), "second");
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/** What a calibrated probability in per cent comes to. */
export function sureness(confidence) {
  if (confidence >= 99) return "Certain";
  if (confidence >= 95) return "Very sure";
  if (confidence >= 80) return "Sure";
  return confidence >= 50 ? "Likely" : "Unsure";
}

/** A probability is never told as 100 %. */
export function percent(confidence) {
  return `${confidence >= 99 ? Math.min(99.9, confidence).toFixed(1) : Math.round(confidence)} %`;
}

export function speed(ratio) {
  const percent = 100 * (ratio - 1);
  if (Math.abs(percent) < 0.15) return "Same speed";
  return `${Math.abs(percent).toFixed(Math.abs(percent) < 10 ? 1 : 0)} % ${percent > 0 ? "faster" : "slower"}`;
}

export function keyShift(semitones) {
  const rounded = Math.round(semitones * 10) / 10;
  if (Math.abs(rounded) < 0.1) return "Same key";
  return `${many(Math.abs(rounded), "semitone")} ${rounded > 0 ? "higher" : "lower"}`;
}

export function time(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

export function day(iso) {
  const then = new Date(iso);
  if (then.toDateString() === new Date().toDateString()) return "Today";
  return then.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}

export function moment(iso) {
  return iso ? `${day(iso)}, ${time(iso)}` : "";
}

export function fileName(path) {
  return String(path ?? "")
    .split(/[/\\]/)
    .pop();
}

/** "Artist, Artist", or what stands for nothing. */
export function artists(recording, otherwise = "Unknown artist") {
  return recording.artists?.length ? recording.artists.join(", ") : otherwise;
}

export const KINDS = { recording: "Same recording", cover: "Cover" };
export const SOUNDS = { music: "Unknown music", speech: "Speech", silence: "Silence", other: "Other sounds" };
export const STATES = {
  waiting: "Waiting",
  running: "Running",
  finished: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
};
