// Choose a recording of the library, by typing words of its name.

import { fill, h } from "../dom.js";
import { asked, empty, unhurried } from "../parts.js";
import { address, read } from "../service.js";
import { artists, clock } from "../words.js";

/** The recording that was chosen, null if none was; `not` is left out. */
export async function chooseRecording(title, { not = null } = {}) {
  let chosen = null;
  const list = h("ul", { class: "choose", role: "radiogroup", "aria-label": "Recordings" });
  const search = h("input", {
    type: "search",
    "aria-label": "Search the library",
    placeholder: "Title, artist, album",
    on: { input: unhurried(() => look(search.value), 200) },
  });
  const found = new Map();
  const look = async (words) => {
    const { items } = await read(address("v1/recordings", { q: words, limit: 30, sort: "title" }));
    found.clear();
    items.filter((each) => each.id !== not).forEach((each) => found.set(String(each.id), each));
    fill(
      list,
      found.size
        ? [...found.values()].map((recording) =>
            h(
              "li",
              {},
              h(
                "label",
                {},
                h("input", { type: "radio", name: "recording", value: recording.id, required: true }),
                h(
                  "span",
                  { class: "grow" },
                  h("span", { class: "clip block" }, recording.title || "Untitled"),
                  h("span", { class: "small soft clip block" }, artists(recording)),
                ),
                h("span", { class: "small soft number" }, clock(recording.duration)),
              ),
            ),
          )
        : empty("search", "No recording has these words"),
    );
  };
  await look("");
  await asked(title, [search, list], {
    yes: "This one",
    onYes: async (form) => {
      chosen = found.get(form.get("recording")) ?? null;
    },
  });
  return chosen;
}
