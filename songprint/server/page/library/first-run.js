// What the page shows while the library is empty: how to add music.

import { getJson, isAllowed } from "../api.js";
import { button, codeBlock, emptyState } from "../components.js";
import { h, icon } from "../dom.js";

const COMMAND = "songprint add /path/to/music";

/** @param {AbortSignal} [signal] */
export async function isLibraryEmpty(signal) {
  const { recordings } = await getJson("v1/stats", { signal });
  return recordings === 0;
}

/** What views show that need recordings, with the button that leads to adding some. */
export function emptyLibrary() {
  return isAllowed("write")
    ? emptyState(
        "library",
        "The library is empty",
        h("p", {}, "Add recordings first. Everything is compared with them."),
        h("a", { class: "button main", href: "#/library" }, "Add music"),
      )
    : emptyState("library", "The library is empty", h("p", {}, "Adding music needs a key with the scope write."));
}

/**
 * The ways to add the first music.
 *
 * @param {{ chooseFiles: () => void, chooseFolder: () => void }} uploads
 */
export function firstRun({ chooseFiles, chooseFolder }) {
  return h(
    "section",
    { class: "first-run", "aria-labelledby": "first-run-title" },
    h(
      "div",
      { class: "drop" },
      icon("library"),
      h(
        "div",
        {},
        h("h2", { class: "drop-title", id: "first-run-title" }, "Add your music"),
        h("p", { class: "soft small" }, "Drop files anywhere on this page, or choose them. Any audio or video format."),
      ),
      h(
        "div",
        { class: "row centred" },
        button("Choose files", chooseFiles, { kind: "main", iconName: "plus" }),
        button("Choose a folder", chooseFolder, { iconName: "library" }),
      ),
    ),
    h(
      "div",
      { class: "card stack" },
      h("h3", {}, "Music on the server"),
      h(
        "p",
        { class: "soft small" },
        "The command line adds folders of the machine on which Songprint runs, and uses all of its cores. Recordings" +
          " appear here while it runs.",
      ),
      codeBlock(COMMAND, "The command that adds a folder"),
    ),
  );
}
