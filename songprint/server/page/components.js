// Components that several views share.

/** @import { Child, IconName, Properties } from "./dom.js" */
/** @import { JobState, Kind, Recording } from "./types.js" */

import { isAbort, messageOf } from "./api.js";
import { fill, find, h, icon } from "./dom.js";
import { formatConfidence, JOB_STATES, KINDS } from "./format.js";

/** @typedef {"" | "good" | "warn" | "bad"} Tone */
/** @typedef {(event: Event) => unknown} ClickHandler */
/** @typedef {Properties & { kind?: string, iconName?: IconName }} ButtonOptions */

const NOTIFICATION_SECONDS = 5;
const ERROR_SECONDS = 9;

/**
 * Call the handler and report its errors as a notification.
 *
 * @param {ClickHandler} onClick
 */
const withErrors = (onClick) => (/** @type {Event} */ event) => reportErrors(() => onClick(event));

/**
 * @param {Child} label
 * @param {ClickHandler} onClick
 * @param {ButtonOptions} [options]
 */
export function button(label, onClick, { iconName, kind = "", ...properties } = {}) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`, on: { click: withErrors(onClick) }, ...properties },
    iconName && icon(iconName),
    label,
  );
}

/**
 * A button that shows an icon only; the label is its tooltip and its name for screen readers.
 *
 * @param {IconName} iconName
 * @param {string} label
 * @param {ClickHandler} onClick
 * @param {ButtonOptions} [options]
 */
export function iconButton(iconName, label, onClick, { kind = "quiet", ...properties } = {}) {
  return button(icon(iconName), onClick, { kind: `round ${kind}`, "aria-label": label, title: label, ...properties });
}

/**
 * @param {string | number} text
 * @param {string} [kind]
 * @param {IconName} [iconName]
 */
export function chip(text, kind = "", iconName) {
  return h("span", { class: `chip ${kind}` }, iconName && icon(iconName), text);
}

/** @param {Kind} kind */
export function kindChip(kind) {
  return kind === "cover" ? chip(KINDS.cover, "cover", "versions") : chip(KINDS.recording, "accent", "music");
}

/** @param {JobState} state */
export function stateChip(state) {
  const kinds = { finished: "good", failed: "bad", running: "accent", waiting: "warn", cancelled: "" };
  return chip(JOB_STATES[state] ?? state, kinds[state]);
}

/** @param {number} confidence From 0 to 100. */
export function confidenceLabel(confidence) {
  return h("span", { class: "small" }, "Confidence ", h("strong", { class: "number" }, formatConfidence(confidence)));
}

/**
 * A message within a view. Screen readers announce bad ones at once.
 *
 * @param {Child} text
 * @param {Tone} [tone]
 * @param {IconName} [iconName]
 */
export function note(text, tone = "", iconName = "warn") {
  return h(
    "div",
    { class: `note ${tone}`, role: tone === "bad" ? "alert" : null },
    icon(iconName),
    h("div", { class: "grow wrap" }, text),
  );
}

/**
 * What a view or a list shows when it has no entries.
 *
 * @param {IconName} iconName
 * @param {string} title
 * @param {...Child} content
 */
export function emptyState(iconName, title, ...content) {
  return h("div", { class: "empty" }, icon(iconName), h("strong", {}, title), content);
}

/**
 * A progress bar. `setShare` takes a share from 0 to 1, or null when the share is unknown.
 *
 * @param {number | null} share
 * @param {string} label
 */
export function progressBar(share, label) {
  const indicator = h("i");
  const bar = h(
    "div",
    { class: "progress", role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100" },
    indicator,
  );
  const setShare = (/** @type {number | null} */ value) => {
    bar.classList.toggle("indeterminate", value === null);
    if (value === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", String(Math.round(100 * value)));
    indicator.style.width = value === null ? "" : `${100 * value}%`;
  };
  setShare(share);
  return Object.assign(bar, { setShare });
}

/**
 * A form control with its label and an optional hint.
 *
 * @param {string} label
 * @param {Child} control
 * @param {Child} [hint]
 */
export function field(label, control, hint = "") {
  const hasHint = Array.isArray(hint) ? hint.length > 0 : hint !== "";
  return h("label", { class: "field" }, h("span", {}, label), control, hasHint && h("small", {}, hint));
}

/**
 * @param {Record<string, string>} options Value to label.
 * @param {string} value
 * @param {((value: string) => unknown) | null} onChange
 * @param {Properties} [properties]
 */
export function select(options, value, onChange, properties = {}) {
  const entries = Object.entries(options).map(([key, text]) => h("option", { value: key }, text));
  const element = h("select", properties, entries);
  element.value = value;
  element.addEventListener("change", () => reportErrors(() => onChange?.(element.value)));
  return element;
}

/**
 * A row of buttons, exactly one of which is pressed.
 *
 * @param {string} label
 * @param {Record<string, string>} options Value to label.
 * @param {string} value
 * @param {(value: string) => unknown} onChange
 */
export function toggleGroup(label, options, value, onChange) {
  const buttons = Object.entries(options).map(([key, text]) =>
    h("button", { type: "button", value: key, on: { click: () => choose(key) } }, text),
  );
  const press = (/** @type {string} */ chosen) => {
    for (const each of buttons) each.setAttribute("aria-pressed", String(each.value === chosen));
  };
  press(value);
  return h("div", { class: "tabs", role: "group", "aria-label": label }, buttons);

  /** @param {string} key */
  function choose(key) {
    press(key);
    reportErrors(() => onChange(key));
  }
}

/**
 * The heading of a view with its description and actions.
 *
 * @param {string} title
 * @param {Child} text
 * @param {...Child} actions
 */
export function viewHeader(title, text, ...actions) {
  return h(
    "div",
    { class: "head" },
    h("div", { class: "room" }, h("h1", {}, title), text && h("p", {}, text)),
    actions.length > 0 && h("div", { class: "row" }, actions),
  );
}

/**
 * Show a message in the corner of the page for some seconds.
 *
 * @param {string} text
 * @param {number} [seconds]
 */
export function notify(text, seconds = NOTIFICATION_SECONDS) {
  const close = h("button", { type: "button", "aria-label": "Close this message" }, icon("cross"));
  const message = h("div", {}, h("span", {}, text), close);
  close.addEventListener("click", () => message.remove());
  find(document, "#notifications").append(message);
  setTimeout(() => message.remove(), 1000 * seconds);
}

/**
 * Run an action and report its error as a notification. Cancelled requests are no errors.
 *
 * @param {() => unknown} action
 * @returns {Promise<boolean>} Whether it succeeded.
 */
export async function reportErrors(action) {
  try {
    await action();
    return true;
  } catch (error) {
    if (!isAbort(error)) notify(messageOf(error), ERROR_SECONDS);
    return false;
  }
}

/**
 * Show a dialog with a form until it is submitted or closed. If `onSubmit` fails, the dialog stays open and shows the
 * error. Leaving the view, for example with the browser's Back button, closes the dialog.
 *
 * @param {string} title
 * @param {Child} content
 * @param {object} [options]
 * @param {string} [options.submit] Label of the button that submits.
 * @param {string} [options.cancel] Label of the button that closes; empty for none.
 * @param {string} [options.kind]
 * @param {(form: FormData) => Promise<unknown>} [options.onSubmit]
 * @returns {Promise<boolean>} Whether the form was submitted.
 */
export function openDialog(title, content, { submit = "OK", cancel = "Cancel", kind = "main", onSubmit } = {}) {
  return new Promise((resolve) => {
    const errors = h("div");
    const confirm = h("button", { type: "submit", class: `button ${kind}` }, submit);
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
    const close = () => dialog.close();
    const actions = h("div", { class: "actions" }, cancel && button(cancel, close, { kind: "quiet" }), confirm);
    const form = h("form", { class: "form", method: "dialog" }, content, errors, actions);
    fill(dialog, h("h2", { id: "dialog-title" }, title), form);
    let submitted = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      try {
        await onSubmit?.(new FormData(form));
        submitted = true;
        close();
      } catch (error) {
        fill(errors, note(messageOf(error), "bad"));
      }
      confirm.disabled = false;
    });
    dialog.addEventListener("close", () => {
      window.removeEventListener("hashchange", close);
      dialog.remove();
      resolve(submitted);
    });
    window.addEventListener("hashchange", close);
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A button that opens a list. A click or the keyboard focus elsewhere closes it, and so does Escape.
 *
 * @param {Child} label
 * @param {Child} entries
 */
export function menu(label, entries) {
  const summary = h("summary", { class: "button" }, label);
  const details = h("details", { class: "menu" }, summary, h("ul", {}, entries));
  const closeFromOutside = (/** @type {Event} */ event) => {
    if (!(event.target instanceof Node && details.contains(event.target))) details.open = false;
  };
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    summary.focus();
    details.open = false;
  });
  details.addEventListener("toggle", () => {
    for (const name of ["pointerdown", "focusin"]) {
      if (details.open) document.addEventListener(name, closeFromOutside);
      else document.removeEventListener(name, closeFromOutside);
    }
  });
  return details;
}

/** @param {string} text */
async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    // Browsers provide no clipboard to pages at http:// on another machine.
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  notify("Copied", 2);
}

/**
 * A block of code with a button that copies it.
 *
 * @param {string} text
 * @param {string} label
 */
export function codeBlock(text, label) {
  return h(
    "div",
    { class: "code" },
    h("pre", { tabIndex: 0, role: "region", "aria-label": label }, text),
    iconButton("copy", `Copy: ${label}`, () => copyText(text), { kind: "quiet compact" }),
  );
}

/**
 * Delay calls of an action until there were none for some time.
 *
 * @template {unknown[]} Arguments
 * @param {(...given: Arguments) => unknown} action
 * @param {number} [milliseconds]
 */
export function debounce(action, milliseconds = 250) {
  let timer = 0;
  return (/** @type {Arguments} */ ...given) => {
    clearTimeout(timer);
    timer = window.setTimeout(() => reportErrors(() => action(...given)), milliseconds);
  };
}

/**
 * The hue of a recording's colour. All recordings of one work have the same colour in every view.
 *
 * @param {Pick<Recording, "id" | "work">} recording
 */
export function hueOf(recording) {
  const text = String(recording.work || recording.id);
  let hash = 7;
  for (const letter of text) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return (hash * 137.508) % 360; // the golden angle separates neighbouring hashes
}
