// The heads of a request and of its response, as both explorers show them.

import { h } from "../dom.js";
import { chip, choice } from "../parts.js";

/** `ways` are those in which the request can be written, and `choose` hears which one is wanted. */
export function requestHead(ways, chosen, choose) {
  return h(
    "div",
    { class: "row between" },
    h("h2", {}, "Request"),
    choice("How the request is written", ways, chosen, choose),
  );
}

/** `kind` is "good" or "bad"; `began` is when the request was sent, by the clock of performance.now(). */
export function responseHead(status, kind, began) {
  const took = `${Math.round(performance.now() - began)} ms`;
  return h(
    "div",
    { class: "row between" },
    h("h2", {}, "Response"),
    h("div", { class: "row" }, chip(status, kind), chip(took)),
  );
}
