// Music that scans found and that is not in the library: play it, add it, forget it.

/** @import { Interval } from "../types.js" */

import { getJson, request, sendJson, withQuery } from "../api.js";
import { button, emptyState, field, iconButton, notify, openDialog } from "../components.js";
import { fill, h } from "../dom.js";
import { fileName, formatDateTime, formatDuration, formatInterval, plural, splitArtists } from "../format.js";

/** @typedef {Interval & { source: string, heard_at: string }} Occurrence */
/** @typedef {{ id: number, duration: number, seconds: number, occurrences: Occurrence[] }} Unknown */

const PAGE_SIZE = 50;
const MAX_OCCURRENCES = 5; // shown at once

/**
 * @param {HTMLElement} place
 * @param {{ signal: AbortSignal, onChange: () => Promise<void> }} options
 */
export async function showUnknown(place, { signal, onChange }) {
  const count = h("p", { class: "small soft number", role: "status" });
  const list = h("div", { class: "stack unknown" });
  const more = h("div", { class: "row centred" });
  let next = "";
  fill(place, h("div", { class: "stack" }, count, list, more));
  await load();

  async function load() {
    /** @type {{ items: Unknown[], next: string | null, total: number }} */
    const page = await getJson(withQuery("v1/unknown", { limit: PAGE_SIZE, after: next }), { signal });
    list.append(...page.items.map(card));
    next = page.next ?? "";
    fill(more, next && button("Show more", load));
    showCount(page.total);
  }

  /** @param {number} total */
  function showCount(total) {
    count.textContent = total ? `${plural(total, "piece")} of music, the most played first` : "";
    if (!total) fill(list, h("div", { class: "card" }, noUnknown()));
  }

  function noUnknown() {
    return emptyState(
      "question",
      "No unknown music",
      h("p", {}, "Scans collect the music that is not in the library."),
      h("a", { class: "button main", href: "#/identify?job" }, "Scan a recording"),
    );
  }

  /** Load the list again from its start. */
  async function reload() {
    next = "";
    fill(list);
    await Promise.all([load(), onChange()]);
  }

  /** @param {Unknown} music */
  function card({ id, seconds, occurrences }) {
    const name = `Unknown music ${id}`;
    const hidden = occurrences.length - MAX_OCCURRENCES;
    return h(
      "article",
      { class: "card stack", "aria-label": name },
      h(
        "div",
        { class: "row between" },
        h(
          "div",
          { class: "room" },
          h("h2", {}, name),
          h(
            "p",
            { class: "small soft number" },
            `${formatDuration(seconds)} in ${plural(occurrences.length, "occurrence")}`,
          ),
        ),
        h(
          "div",
          { class: "row" },
          button("Add to the library", () => add(id), { kind: "compact", iconName: "plus" }),
          iconButton("trash", `Forget unknown music ${id}`, () => forget(id), { kind: "quiet compact" }),
        ),
      ),
      h("audio", { controls: true, preload: "none", src: `v1/unknown/${id}/audio`, "aria-label": `Play ${name}` }),
      h(
        "ul",
        { class: "small soft occurrences" },
        occurrences.slice(0, MAX_OCCURRENCES).map(occurrence),
        hidden > 0 && h("li", {}, `and ${hidden} more`),
      ),
    );
  }

  /** @param {number} id */
  async function add(id) {
    const added = await openDialog(
      `Add unknown music ${id}`,
      [
        field("Title", h("input", { name: "title", required: true, maxLength: 1000 })),
        field("Artists", h("input", { name: "artists", maxLength: 2000 }), "Separate multiple artists with semicolons"),
      ],
      {
        submit: "Add",
        onSubmit: (form) =>
          sendJson("POST", `v1/unknown/${id}/recording`, {
            title: String(form.get("title")).trim(),
            artists: splitArtists(String(form.get("artists") ?? "")),
          }),
      },
    );
    if (!added) return;
    notify("Added to the library");
    await reload();
  }

  /** @param {number} id */
  async function forget(id) {
    const forgotten = await openDialog(
      `Forget unknown music ${id}`,
      h("p", {}, "It is removed from this list, until a later scan finds it again."),
      { submit: "Forget", kind: "danger", onSubmit: () => request("DELETE", `v1/unknown/${id}`) },
    );
    if (forgotten) await reload();
  }
}

/** @param {Occurrence} occurrence */
function occurrence(occurrence) {
  const { source, heard_at: heardAt } = occurrence;
  return h(
    "li",
    { class: "row between" },
    h("span", { class: "grow clip" }, fileName(source) || "A stream"),
    h("span", { class: "number" }, formatInterval(occurrence)),
    h("span", {}, formatDateTime(heardAt)),
  );
}
