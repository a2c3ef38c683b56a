// The recordings of the library: search, add, edit, link, remove; and those to review.

/** @import { Recording, ViewContext } from "../types.js" */

import { getJson, isAllowed, latestOnly, withQuery } from "../api.js";
import { button, debounce, emptyState, iconButton, reportErrors, select, toggleGroup } from "../components.js";
import { fill, h, icon, refill } from "../dom.js";
import { artistNames, formatDateTime, formatDuration, formatTime, plural, titleOf } from "../format.js";
import { editRecording, linkRecordings, removeRecordings } from "../library/dialogs.js";
import { emptyLibrary, firstRun } from "../library/first-run.js";
import { showReview } from "../library/review.js";
import { showUnknown } from "../library/unknown.js";
import { uploadPanel } from "../library/uploads.js";
import { acceptDrops } from "./identify.js";

const SORT_ORDERS = {
  "-added_at": "Latest first",
  title: "Title",
  artists: "Artist",
  album: "Album",
  "-year": "Year",
  "-duration": "Length",
};
const TABS = { all: "Recordings", review: "To review" };
const WRITER_TABS = { ...TABS, unknown: "Unknown music" };
const PAGE_SIZE = 100;

/** @typedef {{ items: Recording[], next: string | null, total: number }} Page */

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { query, path: [tab], signal }) {
  const totals = h("p", { class: "number" });
  const place = h("div", { class: "stack" });
  const canChange = isAllowed("write");
  const uploads = uploadPanel({
    signal,
    onAdded: () => reportErrors(() => Promise.all([showTotals(), reload()])),
  });
  let reload = async () => {};
  let isEmpty = false;
  const parts = h(
    "div",
    { class: "section row between" },
    toggleGroup("Part of the library", canChange ? WRITER_TABS : TABS, tab ?? "all", (chosen) => {
      history.replaceState(null, "", chosen === "all" ? "#/library" : `#/library/${chosen}`);
      return open(chosen);
    }),
  );
  fill(
    main,
    h(
      "div",
      { class: "head" },
      h("div", { class: "grow" }, h("h1", {}, "Library"), totals),
      canChange && uploads.button,
    ),
    uploads.element,
    parts,
    h("div", { class: "section" }, place),
  );
  if (canChange) acceptDrops(uploads.element, uploads.addFiles, signal);
  await showTotals();
  await open(tab);

  async function showTotals() {
    const stats = await getJson("v1/stats", { signal });
    totals.textContent = stats.recordings
      ? `${plural(stats.recordings, "recording")}, ${formatDuration(stats.duration)} of music`
      : "No recordings yet";
    const wasEmpty = isEmpty;
    isEmpty = stats.recordings === 0;
    parts.hidden = isEmpty && tab !== "unknown";
    uploads.button.hidden = isEmpty; // the first run has its own buttons
    if (wasEmpty && !isEmpty) await open(tab);
  }

  /** @param {string} chosen */
  async function open(chosen) {
    reload = async () => {};
    if (chosen === "unknown") await showUnknown(place, { signal, onChange: showTotals });
    else if (isEmpty) fill(place, canChange ? firstRun(uploads) : emptyLibrary());
    else if (chosen === "review") await showReview(place, { signal, onChange: showTotals });
    else reload = await showRecordings(place, { words: query.get("q") ?? "", canChange, onChange: showTotals, signal });
  }
}

/**
 * @param {HTMLElement} place
 * @param {{ words: string, canChange: boolean, onChange: () => Promise<void>, signal: AbortSignal }} options
 * @returns {Promise<() => Promise<void>>} Loads the list again.
 */
async function showRecordings(place, { words, canChange, onChange, signal }) {
  /** @type {Map<number, Recording>} */
  const selected = new Map();
  const getLatest = latestOnly(signal);
  let sort = "-added_at";
  /** @type {Recording[]} */
  let shown = [];
  /** @type {string | null} */
  let next = null;
  let total = 0;
  const search = h("input", {
    type: "search",
    value: words,
    "aria-label": "Search the library",
    placeholder: "Title, artist, album",
    on: { input: debounce(() => load(), 200) },
  });
  const list = h("div", { class: "card table" });
  const more = h("div", { class: "row centred" });
  const selectionBar = h("div", {
    class: "selection card row between",
    hidden: true,
    role: "region",
    "aria-label": "Selected recordings",
  });
  const found = h("span", { class: "small soft number found", role: "status" });
  const selectAll = h("input", {
    type: "checkbox",
    "aria-label": "Select all shown recordings",
    on: {
      change: () => {
        for (const each of shown) setSelected(each, selectAll.checked);
        draw();
      },
    },
  });
  const order = select(
    SORT_ORDERS,
    sort,
    (value) => {
      sort = value;
      return load();
    },
    { "aria-label": "Sort by" },
  );
  const toolbar = h("div", { class: "toolbar" }, h("div", { class: "search grow" }, icon("search"), search), order);
  fill(place, toolbar, selectionBar, found, list, more);
  await load();
  return load;

  async function load() {
    ({ items: shown, next, total } = await getPage(""));
    draw();
  }

  /**
   * @param {string} after
   * @returns {Promise<Page>}
   */
  function getPage(after) {
    return getLatest(withQuery("v1/recordings", { q: search.value.trim(), sort, limit: PAGE_SIZE, after }));
  }

  async function showMore() {
    const page = await getPage(next ?? "");
    shown = [...shown, ...page.items];
    next = page.next;
    draw();
  }

  function draw() {
    const isSearch = Boolean(search.value.trim());
    toolbar.hidden = !shown.length && !isSearch;
    found.textContent = isSearch ? `${plural(total, "recording")} found` : "";
    refill(list, shown.length ? recordingTable() : noRecordings(isSearch));
    fill(more, next && button(`Show more of ${total.toLocaleString("en")}`, showMore));
    drawSelection();
  }

  /** @param {boolean} isSearch */
  function noRecordings(isSearch) {
    if (isSearch)
      return emptyState("search", "No recording contains all these words", button("Show all recordings", clearSearch));
    return emptyLibrary();
  }

  async function clearSearch() {
    search.value = "";
    await load();
    search.focus();
  }

  function recordingTable() {
    return h(
      "table",
      { class: "rows recordings" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          canChange && h("th", { scope: "col" }, selectAll),
          ["Title", "Album", "Length", "Added"].map((name) => h("th", { scope: "col" }, name)),
          h("th", { scope: "col" }, h("span", { class: "sr-only" }, "Actions")),
        ),
      ),
      h("tbody", {}, shown.map(recordingRow)),
    );
  }

  /** @param {Recording} recording */
  function recordingRow(recording) {
    const title = titleOf(recording);
    const checkbox = h("input", {
      type: "checkbox",
      checked: selected.has(recording.id),
      "aria-label": `Select ${title}`,
      on: {
        change: () => {
          setSelected(recording, checkbox.checked);
          drawSelection();
        },
      },
    });
    const actions = [
      iconButton("edit", `Edit ${title}`, () => editRecording(recording, load), { kind: "quiet compact" }),
      iconButton("trash", `Remove ${title}`, () => remove([recording]), { kind: "quiet compact" }),
    ];
    return h(
      "tr",
      { data: { recording: recording.id } },
      canChange && h("td", { class: "pick-cell" }, checkbox),
      h(
        "td",
        { class: "lead" },
        h("a", { class: "clip title", href: `#/library/${recording.id}` }, title),
        h(
          "div",
          { class: "small soft clip" },
          artistNames(recording),
          recording.work &&
            h("span", { class: "work", title: `Work: ${recording.work}` }, icon("link", "Linked to a work")),
        ),
      ),
      h(
        "td",
        { class: "soft clip", "data-label": "Album" },
        [recording.album, recording.year].filter(Boolean).join(", ") || "–",
      ),
      h("td", { class: "number", "data-label": "Length" }, formatTime(recording.duration)),
      h("td", { class: "soft", "data-label": "Added" }, formatDateTime(recording.added_at)),
      h("td", { class: "right actions" }, canChange && actions),
    );
  }

  /**
   * @param {Recording} recording
   * @param {boolean} isSelected
   */
  function setSelected(recording, isSelected) {
    if (isSelected) selected.set(recording.id, recording);
    else selected.delete(recording.id);
  }

  function drawSelection() {
    const count = shown.filter((each) => selected.has(each.id)).length;
    selectAll.checked = count > 0 && count === shown.length;
    selectAll.indeterminate = count > 0 && count < shown.length;
    selectionBar.hidden = !selected.size;
    const clear = () => {
      selected.clear();
      draw();
    };
    refill(
      selectionBar,
      h(
        "div",
        { class: "row tight" },
        h("span", {}, h("strong", { class: "number" }, selected.size), " selected"),
        button("Clear", clear, { kind: "quiet compact" }),
      ),
      h(
        "div",
        { class: "row" },
        button("Link to one work", () => linkRecordings([...selected.values()], clearAndLoad), {
          iconName: "link",
          kind: "compact",
          disabled: selected.size < 2,
        }),
        button("Remove", () => remove([...selected.values()]), { iconName: "trash", kind: "compact danger" }),
      ),
    );
  }

  async function clearAndLoad() {
    selected.clear();
    await load();
  }

  /** @param {Recording[]} recordings */
  async function remove(recordings) {
    await removeRecordings(recordings, async () => {
      for (const each of recordings) selected.delete(each.id);
      await Promise.all([load(), onChange()]);
    });
  }
}
