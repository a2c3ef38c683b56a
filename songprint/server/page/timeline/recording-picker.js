// A dialog to choose a recording of the library.

/** @import { Recording } from "../types.js" */

import { getJson, withQuery } from "../api.js";
import { debounce, emptyState, openDialog } from "../components.js";
import { fill, h } from "../dom.js";
import { artistNames, formatTime, titleOf } from "../format.js";

const MAX_SHOWN = 30;

/**
 * @param {string} title
 * @returns {Promise<Recording | null>} Null if the dialog was closed.
 */
export async function pickRecording(title) {
  /** @type {Recording | null} */
  let picked = null;
  /** @type {Map<string, Recording>} */
  const found = new Map();
  const list = h("ul", { class: "picker", role: "radiogroup", "aria-label": "Recordings" });
  const search = h("input", {
    type: "search",
    "aria-label": "Search the library",
    placeholder: "Title, artist, album",
    on: { input: debounce(() => load(), 200) },
  });
  await load();
  await openDialog(title, [search, list], {
    submit: "Select",
    onSubmit: async (form) => {
      picked = found.get(String(form.get("recording"))) ?? null;
    },
  });
  return picked;

  async function load() {
    /** @type {{ items: Recording[] }} */
    const { items } = await getJson(withQuery("v1/recordings", { q: search.value, limit: MAX_SHOWN, sort: "title" }));
    found.clear();
    for (const each of items) found.set(String(each.id), each);
    fill(list, items.length ? items.map(option) : emptyState("search", "No recording contains these words"));
  }
}

/** @param {Recording} recording */
function option(recording) {
  return h(
    "li",
    {},
    h(
      "label",
      {},
      h("input", { type: "radio", name: "recording", value: recording.id, required: true }),
      h(
        "span",
        { class: "grow" },
        h("span", { class: "clip block" }, titleOf(recording)),
        h("span", { class: "small soft clip block" }, artistNames(recording)),
      ),
      h("span", { class: "small soft number" }, formatTime(recording.duration)),
    ),
  );
}
