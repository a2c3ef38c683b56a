// An address that belongs to no view.

import { emptyState } from "../components.js";
import { fill, h } from "../dom.js";

/** @param {HTMLElement} main */
export function show(main) {
  fill(
    main,
    h("h1", { class: "sr-only" }, "Not found"),
    h(
      "div",
      { class: "card" },
      emptyState(
        "question",
        "Not found",
        h("p", {}, "There is no page at this address."),
        h("a", { class: "button main", href: "#/listen" }, "Go to the start page"),
      ),
    ),
  );
}
