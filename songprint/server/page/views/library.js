// The recordings that the server knows: search, add, edit, link, remove; and what should be looked at.

import { fill, h, icon, refill } from "../dom.js";
import { editRecording, linkRecordings, removeRecordings } from "../library/changes.js";
import { showReview } from "../library/review.js";
import { uploadPanel } from "../library/uploads.js";
import { button, choice, empty, head, select, signButton, trying, unhurried } from "../parts.js";
import { address, latest, may, read } from "../service.js";
import { artists, clock, duration, many, moment } from "../words.js";
import { catchDrops } from "./file.js";

const SORTS = {
  "-added_at": "Latest first",
  title: "Title",
  artists: "Artist",
  album: "Album",
  "-year": "Year",
  "-duration": "Length",
};
const PAGE = 100;

export async function show(main, { query, path: [tab], signal }) {
  const totals = h("p", { class: "number" });
  const below = h("div", { class: "stack" });
  const changes = may("write");
  const uploads = uploadPanel({
    signal,
    onAdded: () => trying(() => Promise.all([count(), reload()])),
  });
  let reload = () => {};
  fill(
    main,
    h("div", { class: "head" }, h("div", { class: "grow" }, h("h1", {}, "Library"), totals), changes && uploads.button),
    uploads.element,
    h(
      "div",
      { class: "section row between" },
      choice(
        "What is shown",
        { all: "Recordings", review: "To review" },
        tab === "review" ? "review" : "all",
        (chosen) => {
          history.replaceState(null, "", chosen === "review" ? "#/library/review" : "#/library");
          return open(chosen);
        },
      ),
    ),
    h("div", { class: "section" }, below),
  );
  if (changes) catchDrops(uploads.element, uploads.take, signal);
  await Promise.all([count(), open(tab === "review" ? "review" : "all")]);

  async function count() {
    const stats = await read("v1/stats", { signal });
    totals.textContent = stats.recordings
      ? `${many(stats.recordings, "recording")}, ${duration(stats.duration)} of music`
      : "No music yet";
  }

  async function open(chosen) {
    reload = () => {};
    if (chosen === "review") await showReview(below, { signal, changed: count });
    else reload = await recordings(below, { words: query.get("q") ?? "", changes, changed: count, signal });
  }
}

async function recordings(place, { words, changes, changed, signal }) {
  const chosen = new Map();
  const reading = latest(signal);
  let sort = "-added_at",
    shown = [],
    next = null,
    total = 0;
  const search = h("input", {
    type: "search",
    value: words,
    "aria-label": "Search the library",
    placeholder: "Title, artist, album",
    on: { input: unhurried(() => load(), 200) },
  });
  const list = h("div", { class: "card table" });
  const more = h("div", { class: "row centred" });
  const bar = h("div", {
    class: "selection card row between",
    hidden: true,
    role: "region",
    "aria-label": "What is chosen",
  });
  const found = h("span", { class: "small soft number found", role: "status" });
  const toolbar = h(
    "div",
    { class: "toolbar" },
    h("div", { class: "search grow" }, icon("search"), search),
    select(
      SORTS,
      sort,
      (value) => {
        sort = value;
        return load();
      },
      { "aria-label": "Order" },
    ),
  );
  fill(place, toolbar, bar, found, list, more);
  await load();
  return load;

  async function load() {
    const page = await get("");
    ({ items: shown, next, total } = page);
    draw();
  }

  function get(after) {
    return reading(address("v1/recordings", { q: search.value.trim(), sort, limit: PAGE, after }));
  }

  function draw() {
    toolbar.hidden = !shown.length && !search.value.trim();
    found.textContent = search.value.trim() ? `${many(total, "recording")} found` : "";
    refill(
      list,
      shown.length
        ? table()
        : search.value.trim()
          ? empty("search", "Nothing has all these words")
          : empty(
              "library",
              "The library is empty",
              h(
                "p",
                {},
                changes
                  ? "Add music, or drop files anywhere on this page."
                  : "Somebody with a key for changes has to add music.",
              ),
            ),
    );
    fill(
      more,
      next &&
        button(`Show more of ${total.toLocaleString("en")}`, async () => {
          const page = await get(next);
          shown = [...shown, ...page.items];
          next = page.next;
          draw();
        }),
    );
    selection();
  }

  function table() {
    const all = h("input", {
      type: "checkbox",
      "aria-label": "Choose all that are shown",
      on: {
        change: () => {
          shown.forEach((each) => (all.checked ? chosen.set(each.id, each) : chosen.delete(each.id)));
          draw();
        },
      },
    });
    all.checked = shown.every((each) => chosen.has(each.id));
    return h(
      "table",
      { class: "rows recordings" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          changes && h("th", { scope: "col" }, all),
          ["Title", "Album", "Length", "Added"].map((name) => h("th", { scope: "col" }, name)),
          h("th", { scope: "col" }, h("span", { class: "sr-only" }, "Actions")),
        ),
      ),
      h("tbody", {}, shown.map(row)),
    );
  }

  function row(recording) {
    const pick = h("input", {
      type: "checkbox",
      checked: chosen.has(recording.id),
      "aria-label": `Choose ${recording.title}`,
      on: {
        change: () => {
          if (pick.checked) chosen.set(recording.id, recording);
          else chosen.delete(recording.id);
          selection();
        },
      },
    });
    return h(
      "tr",
      { data: { recording: recording.id } },
      changes && h("td", { class: "pick-cell" }, pick),
      h(
        "td",
        { class: "lead" },
        h("div", { class: "clip title" }, recording.title || "Untitled"),
        h(
          "div",
          { class: "small soft clip" },
          artists(recording),
          recording.work &&
            h("span", { class: "work", title: `Work: ${recording.work}` }, icon("link", "Linked to a work")),
        ),
      ),
      h(
        "td",
        { class: "soft clip", "data-label": "Album" },
        [recording.album, recording.year].filter(Boolean).join(", ") || "–",
      ),
      h("td", { class: "number", "data-label": "Length" }, clock(recording.duration)),
      h("td", { class: "soft", "data-label": "Added" }, moment(recording.added_at)),
      h(
        "td",
        { class: "right actions" },
        changes &&
          signButton("edit", `Edit ${recording.title}`, () => editRecording(recording, load), {
            kind: "quiet compact",
          }),
        changes && signButton("trash", `Remove ${recording.title}`, () => gone([recording]), { kind: "quiet compact" }),
      ),
    );
  }

  function selection() {
    bar.hidden = !chosen.size;
    refill(
      bar,
      h(
        "div",
        { class: "row tight" },
        h("span", {}, h("strong", { class: "number" }, chosen.size), " chosen"),
        button(
          "Clear",
          () => {
            chosen.clear();
            draw();
          },
          { kind: "quiet compact" },
        ),
      ),
      h(
        "div",
        { class: "row" },
        button("Link to one work", () => linkRecordings([...chosen.values()], forget), {
          sign: "link",
          kind: "compact",
          disabled: chosen.size < 2,
        }),
        button("Remove", () => gone([...chosen.values()]), { sign: "trash", kind: "compact danger" }),
      ),
    );
  }

  async function forget() {
    chosen.clear();
    await load();
  }

  async function gone(which) {
    await removeRecordings(which, async () => {
      which.forEach((each) => chosen.delete(each.id));
      await Promise.all([load(), changed()]);
    });
  }
}
