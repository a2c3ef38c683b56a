// The headings of a request and of its response, as both explorers show them.

import { chip, toggleGroup } from "../components.js";
import { h } from "../dom.js";

/**
 * @param {Record<string, string>} languages The ways to write the request, with their labels.
 * @param {string} language
 * @param {(language: string) => void} onChange
 */
export function requestHeading(languages, language, onChange) {
  return h(
    "div",
    { class: "row between" },
    h("h2", {}, "Request"),
    toggleGroup("Language of the request", languages, language, onChange),
  );
}

/**
 * @param {string | number} status
 * @param {"good" | "bad"} kind
 * @param {number} sentAt When the request was sent, by the clock of performance.now().
 */
export function responseHeading(status, kind, sentAt) {
  const elapsed = `${Math.round(performance.now() - sentAt)} ms`;
  return h(
    "div",
    { class: "row between" },
    h("h2", {}, "Response"),
    h("div", { class: "row" }, chip(status, kind), chip(elapsed)),
  );
}
