// What should be looked at: the same recording twice, and versions of one song that nobody has linked.

import { fill, h, icon } from "../dom.js";
import { button, chip, empty, note, progress } from "../parts.js";
import { address, may, read } from "../service.js";
import { artists, clock, KINDS, many, percent } from "../words.js";
import { linkRecordings, removeRecordings } from "./changes.js";

const DIFFERENT = "songprint.different"; // pairs that somebody has looked at, in this browser

export async function showReview(place, { signal, changed }) {
  const duplicates = h("div", { class: "stack" }),
    versions = h("div", { class: "stack" });
  const bar = progress(0, "Progress of the comparison");
  const state = h("p", { class: "small soft", role: "status" });
  const start = button("Compare all recordings", compare, { sign: "versions" });
  fill(
    place,
    h(
      "section",
      { class: "stack" },
      h(
        "div",
        {},
        h("h2", {}, "Likely the same recording"),
        h("p", { class: "small soft" }, "Two copies in the library, as of a single and of an album."),
      ),
      duplicates,
    ),
    h(
      "section",
      { class: "stack review-versions" },
      h(
        "div",
        { class: "row between" },
        h(
          "div",
          {},
          h("h2", {}, "Likely versions of one song"),
          h("p", { class: "small soft" }, "Linked, they are one song in every answer."),
        ),
        start,
      ),
      bar,
      state,
      versions,
    ),
  );
  bar.hidden = true;
  await look();

  async function look() {
    fill(duplicates, h("p", { class: "small soft" }, "Looking…"));
    let after = "",
      found = 0;
    fill(duplicates);
    do {
      const page = await read(address("v1/duplicates", { limit: 20, after }), { signal });
      for (const { recordings } of page.items) {
        if (isDifferent(recordings)) continue;
        found += 1;
        duplicates.append(pair(recordings, chip(KINDS.recording, "accent", "music"), changed));
      }
      after = page.next;
    } while (after && found < 100);
    if (!found) fill(duplicates, h("div", { class: "card" }, empty("check", "No two are the same")));
  }

  /** Each recording against all others, one request each, so that it can be stopped and others get their turn. */
  async function compare() {
    const known = new Set();
    let after = "",
      done = 0,
      found = 0;
    start.disabled = true;
    bar.hidden = false;
    fill(versions);
    try {
      do {
        const page = await read(address("v1/recordings", { limit: 100, after }), { signal });
        for (const recording of page.items) {
          const { items } = await read(`v1/recordings/${recording.id}/covers`, { signal });
          for (const match of items) {
            const both = [recording, match.recording],
              name = nameOf(both);
            const linked = recording.work && recording.work === match.recording.work;
            if (match.kind !== "cover" || linked || known.has(name) || isDifferent(both)) continue;
            known.add(name);
            found += 1;
            versions.append(
              pair(both, chip(`${KINDS.cover}, ${percent(match.confidence)}`, "cover", "versions"), changed),
            );
          }
          done += 1;
          bar.set(done / page.total);
          state.textContent = `${done} of ${many(page.total, "recording")} compared, ${many(found, "pair")} found`;
        }
        after = page.next;
      } while (after);
      if (!found) fill(versions, h("div", { class: "card" }, empty("check", "No versions that are not linked")));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(versions, note(error.message, "bad"));
    }
    bar.hidden = true;
    start.disabled = false;
  }
}

function pair(recordings, kind, changed) {
  const done = async () => {
    card.remove();
    await changed();
  };
  const side = (recording) =>
    h(
      "div",
      { class: "grow side-of-pair" },
      h("div", { class: "clip title" }, recording.title || "Untitled"),
      h("div", { class: "small soft clip" }, artists(recording)),
      h(
        "div",
        { class: "small soft clip number" },
        [recording.album, clock(recording.duration)].filter(Boolean).join(" · "),
      ),
      h("audio", {
        controls: true,
        preload: "none",
        src: `v1/recordings/${recording.id}/audio`,
        "aria-label": `Listen to ${recording.title}`,
      }),
      may("write") &&
        button("Remove this one", () => removeRecordings([recording], done), { kind: "quiet compact", sign: "trash" }),
    );
  const card = h(
    "article",
    { class: "card pair", "aria-label": `${recordings[0].title} and ${recordings[1].title}` },
    h(
      "div",
      { class: "row between" },
      kind,
      may("write") &&
        h(
          "div",
          { class: "row" },
          button("Link", () => linkRecordings(recordings, done), { sign: "link", kind: "compact" }),
          button(
            "They differ",
            () => {
              remember(recordings);
              card.remove();
            },
            { kind: "quiet compact" },
          ),
        ),
    ),
    h("div", { class: "pair-sides" }, side(recordings[0]), icon("link"), side(recordings[1])),
  );
  return card;
}

function nameOf(recordings) {
  return recordings
    .map((each) => each.id)
    .sort((one, other) => one - other)
    .join("-");
}

function different() {
  try {
    return new Set(JSON.parse(localStorage.getItem(DIFFERENT)));
  } catch {
    return new Set();
  }
}

function isDifferent(recordings) {
  return different().has(nameOf(recordings));
}

function remember(recordings) {
  localStorage.setItem(DIFFERENT, JSON.stringify([...different().add(nameOf(recordings))]));
}
