// Windows in which recordings are changed. Each calls `done` when it has changed something.

import { h } from "../dom.js";
import { asked, button, field, select, tell } from "../parts.js";
import { send } from "../service.js";
import { artists, many } from "../words.js";

export async function editRecording(recording, done) {
  const text = (name, more = {}) => h("input", { name, value: recording[name] ?? "", ...more });
  const unlink =
    recording.work &&
    button(
      "Unlink",
      async () => {
        unlink.closest("label").querySelector("input").value = "";
      },
      { kind: "compact" },
    );
  const edited = await asked(
    "Edit the recording",
    [
      field("Title", text("title", { required: true, maxLength: 1000 })),
      field(
        "Artists",
        h("input", { name: "artists", value: recording.artists.join("; "), maxLength: 2000 }),
        "Several are parted by semicolons",
      ),
      field("Album", text("album", { maxLength: 1000 })),
      h(
        "div",
        { class: "two" },
        field("Year", text("year", { type: "number", min: 1000, max: 2999 })),
        field("Track", text("track", { type: "number", min: 1, max: 99999 })),
      ),
      h(
        "div",
        { class: "two" },
        field(
          "ISRC",
          text("isrc", { maxLength: 12, pattern: "[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", title: "As DEA123456789" }),
        ),
        field("Work", text("work", { maxLength: 200 }), "Recordings of one song have the same"),
      ),
    ],
    {
      yes: "Save",
      onYes: async (form) => {
        const number = (name) => (form.get(name) ? Number(form.get(name)) : null);
        const change = {
          title: form.get("title").trim(),
          artists: form
            .get("artists")
            .split(";")
            .map((name) => name.trim())
            .filter(Boolean),
          album: form.get("album").trim(),
          year: number("year"),
          track: number("track"),
          isrc: form.get("isrc").trim(),
          work: form.get("work").trim(),
        };
        await send("PATCH", `v1/recordings/${recording.id}`, change);
      },
    },
  );
  if (edited) {
    tell("Saved");
    await done();
  }
}

export async function linkRecordings(recordings, done) {
  const works = [...new Set(recordings.map((each) => each.work).filter(Boolean))];
  const originals = Object.fromEntries(recordings.map((each) => [each.id, `${each.title} · ${artists(each)}`]));
  const linked = await asked(
    "Link to one work",
    [
      h("p", { class: "soft small" }, "They are then one song in every answer, and one row in every count."),
      h(
        "ul",
        { class: "plain-list small" },
        recordings.map((each) => h("li", { class: "wrap" }, `${each.title} · ${artists(each)}`)),
      ),
      field(
        "Work",
        h("input", { name: "work", value: works[0] ?? "", maxLength: 200, placeholder: "Left empty, it gets a name" }),
        works.length > 1 ? "They belonged to different works until now" : "An ISWC, a MusicBrainz work, or any name",
      ),
      field(
        "The original, by which the song is named",
        select({ "": "The oldest", ...originals }, "", null, { name: "original" }),
      ),
    ],
    {
      yes: "Link",
      onYes: async (form) => {
        await send("PUT", "v1/works", {
          recordings: recordings.map((each) => each.id),
          work: form.get("work").trim() || null,
          original: Number(form.get("original")) || null,
        });
      },
    },
  );
  if (linked) {
    tell(`${many(recordings.length, "recording")} are one song now`);
    await done();
  }
}

export async function removeRecordings(recordings, done) {
  const what = recordings.length === 1 ? recordings[0].title : many(recordings.length, "recording");
  const removed = await asked(
    `Remove ${what}?`,
    h(
      "p",
      {},
      "They are not found any more. Files that were uploaded here are deleted; those added from elsewhere stay.",
    ),
    {
      yes: "Remove",
      kind: "danger",
      onYes: async () => {
        for (const recording of recordings) await send("DELETE", `v1/recordings/${recording.id}`);
      },
    },
  );
  if (removed) {
    tell(`${what} removed`);
    await done();
  }
}
