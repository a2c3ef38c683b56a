// Dialogs that change recordings. Each calls `onChange` after a change.

/** @import { Recording } from "../types.js" */

import { sendJson } from "../api.js";
import { field, notify, openDialog, select } from "../components.js";
import { h } from "../dom.js";
import { artistNames, plural, splitArtists, titleOf } from "../format.js";

/** @param {Recording} recording */
function fullName(recording) {
  return `${titleOf(recording)} · ${artistNames(recording)}`;
}

/**
 * @param {Recording} recording
 * @param {() => Promise<unknown>} onChange
 */
export async function editRecording(recording, onChange) {
  const input = (/** @type {"title" | "album" | "year" | "track" | "isrc" | "work"} */ name, properties = {}) =>
    h("input", { name, value: recording[name] ?? "", ...properties });
  const isrc = { maxLength: 12, pattern: "[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", title: "Such as DEA123456789" };
  const saved = await openDialog(
    "Edit recording",
    [
      field("Title", input("title", { required: true, maxLength: 1000 })),
      field(
        "Artists",
        h("input", { name: "artists", value: recording.artists.join("; "), maxLength: 2000 }),
        "Separate multiple artists with semicolons",
      ),
      field("Album", input("album", { maxLength: 1000 })),
      h(
        "div",
        { class: "two" },
        field("Year", input("year", { type: "number", min: 1000, max: 2999 })),
        field("Track", input("track", { type: "number", min: 1, max: 99999 })),
      ),
      h(
        "div",
        { class: "two" },
        field("ISRC", input("isrc", isrc)),
        field("Work", input("work", { maxLength: 200 }), "Shared by all recordings of a song"),
      ),
    ],
    {
      submit: "Save",
      onSubmit: async (form) => {
        const text = (/** @type {string} */ name) => String(form.get(name) ?? "").trim();
        await sendJson("PATCH", `v1/recordings/${recording.id}`, {
          title: text("title"),
          artists: splitArtists(text("artists")),
          album: text("album"),
          year: Number(text("year")) || null,
          track: Number(text("track")) || null,
          isrc: text("isrc"),
          work: text("work"),
        });
      },
    },
  );
  if (saved) {
    notify("Saved");
    await onChange();
  }
}

/**
 * @param {Recording[]} recordings
 * @param {() => Promise<unknown>} onChange
 */
export async function linkRecordings(recordings, onChange) {
  const works = [...new Set(recordings.map((each) => each.work).filter(Boolean))];
  const originals = Object.fromEntries(recordings.map((each) => [each.id, fullName(each)]));
  const linked = await openDialog(
    "Link to one work",
    [
      h("p", { class: "soft small" }, "Results and statistics count linked recordings as one song."),
      h(
        "ul",
        { class: "plain-list small" },
        recordings.map((each) => h("li", { class: "wrap" }, fullName(each))),
      ),
      field(
        "Work",
        h("input", { name: "work", value: works[0] ?? "", maxLength: 200, placeholder: "Generated if empty" }),
        works.length > 1
          ? "The recordings belong to different works now"
          : "An ISWC, the id of a MusicBrainz work, or any name",
      ),
      field(
        "Original",
        select({ "": "The oldest recording", ...originals }, "", null, { name: "original" }),
        "The song takes its title and artists",
      ),
    ],
    {
      submit: "Link",
      onSubmit: async (form) => {
        await sendJson("PUT", "v1/works", {
          recordings: recordings.map((each) => each.id),
          work: String(form.get("work")).trim() || null,
          original: Number(form.get("original")) || null,
        });
      },
    },
  );
  if (linked) {
    notify(`Linked ${plural(recordings.length, "recording")} as one song`);
    await onChange();
  }
}

/**
 * @param {Recording[]} recordings
 * @param {() => Promise<unknown>} onChange
 */
export async function removeRecordings(recordings, onChange) {
  const name = recordings.length === 1 ? titleOf(recordings[0]) : plural(recordings.length, "recording");
  const removed = await openDialog(
    `Remove ${name}?`,
    h(
      "p",
      {},
      "Removed recordings are no longer identified. Files uploaded to the server are deleted; all other files stay.",
    ),
    {
      submit: "Remove",
      kind: "danger",
      onSubmit: async () => {
        for (const recording of recordings) await sendJson("DELETE", `v1/recordings/${recording.id}`);
      },
    },
  );
  if (removed) {
    notify(`Removed ${name}`);
    await onChange();
  }
}
