// The API explorer: fill in requests, send them, and copy the program that sends them.

/** @import { ViewContext } from "../types.js" */

import { session } from "../api.js";
import { toggleGroup, viewHeader } from "../components.js";
import { fill, h } from "../dom.js";

const TABS = { rest: "REST API", tencent: "Tencent API" };

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { path: [tab], signal }) {
  const place = h("div", { class: "section" });
  // Requests of the Tencent API need a key for their signature.
  const first = tab in TABS ? tab : session.open ? "rest" : "tencent";
  fill(
    main,
    viewHeader("API explorer", "Fill in a request, send it, and copy the program that sends it."),
    toggleGroup("API", TABS, first, open),
    place,
  );
  await open(first);

  /** @param {string} chosen */
  async function open(chosen) {
    history.replaceState(null, "", `#/explorer/${chosen}`);
    if (chosen === "rest") await (await import("../explorer/rest.js")).showRest(place, { signal });
    else (await import("../explorer/tencent.js")).showTencent(place, { signal });
  }
}
