// Parts that several views are made of.

import { fill, h, icon } from "./dom.js";
import { KINDS, percent, STATES, sureness } from "./words.js";

/** Whatever goes wrong in what a click does, is told. */
const guarded = (onClick) => onClick && ((event) => trying(() => onClick(event)));

export function button(label, onClick, { sign, kind = "", title, ...more } = {}) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`, title, on: { click: guarded(onClick) }, ...more },
    sign && icon(sign),
    label,
  );
}

/** A button with a sign alone; the label is for those who cannot see it. */
export function signButton(sign, label, onClick, { kind = "quiet", ...more } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: `button round ${kind}`,
      "aria-label": label,
      title: label,
      on: { click: guarded(onClick) },
      ...more,
    },
    icon(sign),
  );
}

export function chip(text, kind = "", sign = "") {
  return h("span", { class: `chip ${kind}` }, sign && icon(sign), text);
}

export function kindChip(kind) {
  return kind === "cover" ? chip(KINDS.cover, "cover", "versions") : chip(KINDS.recording, "accent", "music");
}

export function stateChip(state) {
  const kinds = { finished: "good", failed: "bad", running: "accent", waiting: "warn" };
  return chip(STATES[state] ?? state, kinds[state] ?? "");
}

export function sure(confidence) {
  return h(
    "span",
    {},
    h("strong", {}, sureness(confidence)),
    h("span", { class: "soft number" }, ` ${percent(confidence)}`),
  );
}

export function note(text, kind = "", sign = "warn") {
  return h(
    "div",
    { class: `note ${kind}`, role: kind === "bad" ? "alert" : null },
    icon(sign),
    h("div", { class: "grow wrap" }, text),
  );
}

export function empty(sign, title, ...text) {
  return h("div", { class: "empty" }, icon(sign), h("strong", {}, title), ...text);
}

export function progress(share, label) {
  const bar = h(
    "div",
    { class: "progress", role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100" },
    h("i"),
  );
  bar.set = (value) => {
    bar.classList.toggle("unsure", value === null);
    if (value === null) {
      bar.removeAttribute("aria-valuenow");
      bar.firstChild.style.width = "";
      return;
    }
    bar.setAttribute("aria-valuenow", String(Math.round(100 * value)));
    bar.firstChild.style.width = `${100 * value}%`;
  };
  bar.set(share);
  return bar;
}

export function field(label, input, hint = "") {
  return h("label", { class: "field" }, h("span", {}, label), input, hint.length > 0 && h("small", {}, hint));
}

export function select(options, value, onChange, more = {}) {
  const made = h(
    "select",
    { on: { change: () => trying(() => onChange?.(made.value)) }, ...more },
    Object.entries(options).map(([key, text]) => h("option", { value: key }, text)),
  );
  made.value = value;
  return made;
}

/** A row of buttons of which one is down. */
export function choice(label, options, value, onChange) {
  const made = h("div", { class: "tabs", role: "group", "aria-label": label });
  const show = (chosen) =>
    [...made.children].forEach((each) => each.setAttribute("aria-pressed", String(each.value === chosen)));
  made.append(
    ...Object.entries(options).map(([key, text]) =>
      h(
        "button",
        {
          type: "button",
          value: key,
          on: {
            click: () => {
              show(key);
              trying(() => onChange(key));
            },
          },
        },
        text,
      ),
    ),
  );
  show(value);
  return made;
}

export function head(title, text, ...actions) {
  return h(
    "div",
    { class: "head" },
    h("div", { class: "room" }, h("h1", {}, title), text && h("p", {}, text)),
    actions.length > 0 && h("div", { class: "row" }, actions),
  );
}

/** Say something in the corner, for some seconds. */
export function tell(text, seconds = 5) {
  const said = h(
    "div",
    {},
    h("span", {}, text),
    h("button", { type: "button", "aria-label": "Close this note", on: { click: () => said.remove() } }, icon("cross")),
  );
  document.getElementById("notes").append(said);
  setTimeout(() => said.remove(), 1000 * seconds);
}

/** Do something, and say so if it fails. True: it went well. */
export async function trying(action) {
  try {
    await action();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") tell(error.message, 9);
    return false;
  }
}

/**
 * A window over the page, until it is answered. `content` may hold a form's fields; `onYes` gets them, and the window
 * stays open with the message of the error if that fails. Resolves to whether it was done.
 */
export function asked(title, content, { yes = "OK", kind = "main", onYes = async () => {}, no = "Cancel" } = {}) {
  return new Promise((resolve) => {
    const trouble = h("div");
    const confirm = h("button", { type: "submit", class: `button ${kind}` }, yes);
    const form = h(
      "form",
      { class: "form", method: "dialog" },
      content,
      trouble,
      h("div", { class: "actions" }, no && button(no, () => dialog.close(), { kind: "quiet" }), confirm),
    );
    const heading = h("h2", { id: "dialog-title" }, title);
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, form);
    let done = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      try {
        await onYes(new FormData(form), form);
        done = true;
        dialog.close();
      } catch (error) {
        fill(trouble, note(error.message, "bad"));
      }
      confirm.disabled = false;
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A button that opens a list, until something else is pressed or the keyboard goes elsewhere. */
export function menu(label, entries) {
  const summary = h("summary", { class: "button" }, label);
  const made = h("details", { class: "menu" }, summary, h("ul", {}, entries));
  const elsewhere = (event) => {
    if (!made.contains(event.target)) made.open = false;
  };
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !made.open) return;
    summary.focus();
    made.open = false;
  });
  made.addEventListener("toggle", () => {
    for (const event of ["pointerdown", "focusin"]) {
      if (made.open) document.addEventListener(event, elsewhere);
      else document.removeEventListener(event, elsewhere);
    }
  });
  return made;
}

export async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    // http on another host: browsers have no clipboard there
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell("Copied", 2);
}

export function code(text, label) {
  return h(
    "div",
    { class: "code" },
    h("pre", { tabIndex: 0, role: "region", "aria-label": label }, text),
    signButton("copy", `Copy ${label}`, () => copy(text), { kind: "quiet compact" }),
  );
}

/** Calls that come in a hurry are answered once, when they pause. */
export function unhurried(action, milliseconds = 250) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => trying(() => action(...given)), milliseconds);
  };
}

/** The same song has the same colour everywhere. */
export function hue(recording) {
  const text = String(recording.work || recording.id);
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return (sum * 137.508) % 360;
}
