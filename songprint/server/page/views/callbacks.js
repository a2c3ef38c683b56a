// Callbacks: what was sent where, each attempt, and sending them again.

import { fill, h } from "../dom.js";
import { asked, button, chip, choice, empty, head } from "../parts.js";
import { address, latest, may, send } from "../service.js";
import { moment } from "../words.js";

const STATES = { waiting: "Waiting", sending: "Being sent", delivered: "Delivered", "given up": "Given up" };
const KINDS = { delivered: "good", waiting: "warn", sending: "accent", "given up": "bad" };

export async function show(main, { query, signal }) {
  let state = query.get("state") ?? "";
  const reading = latest(signal);
  const list = h("div", { class: "stack" });
  const more = h("div", { class: "row centred" });
  fill(
    main,
    head(
      "Callbacks",
      "What was sent to those who asked to be told, and every attempt.",
      h("a", { class: "button", href: "#/jobs" }, "Jobs"),
    ),
    h(
      "div",
      { class: "section" },
      choice("Which callbacks", { "": "All", ...STATES }, state, (chosen) => {
        state = chosen;
        return load();
      }),
    ),
    h("div", { class: "section stack" }, list, more),
  );
  await load();

  async function load(after = "") {
    const { items, next } = await reading(address("v1/deliveries", { state, limit: 50, after }));
    if (!after) fill(list, !items.length && h("div", { class: "card" }, empty("send", "No callbacks")));
    list.append(...items.map((delivery) => deliveryCard(delivery, load)));
    fill(more, next && button("Show more", () => load(next)));
  }
}

/** One callback with its attempts; with `changed` also a way to its job, and to send it again. */
export function deliveryCard(delivery, changed = null) {
  const tools = changed && [
    h("a", { class: "button quiet compact", href: `#/jobs/${delivery.job_id}` }, "Its job"),
    may("write") &&
      button("Send again", () => resend(`v1/jobs/${delivery.job_id}`, () => changed()), {
        sign: "send",
        kind: "compact",
      }),
  ];
  return h(
    "div",
    { class: "card stack" },
    h(
      "div",
      { class: "row between" },
      h("span", { class: "mono wrap room" }, delivery.url),
      h("div", { class: "row" }, chip(STATES[delivery.state], KINDS[delivery.state]), tools),
    ),
    delivery.attempts.length
      ? h("ol", { class: "attempts small" }, delivery.attempts.map(attemptLine))
      : h("p", { class: "small soft" }, "Not sent yet"),
  );
}

function attemptLine(attempt) {
  return h(
    "li",
    { class: "row" },
    h("span", { class: "soft number" }, moment(attempt.at)),
    chip(attempt.status ?? (attempt.error ? "No answer" : "OK"), attempt.error ? "bad" : "good"),
    h("span", { class: "soft wrap told" }, attempt.error ?? `answered after ${attempt.elapsed.toFixed(2)} s`),
  );
}

export function resend(path, changed) {
  return asked("Send the callbacks again?", h("p", {}, "They are sent now, and again until they arrive."), {
    yes: "Send",
    onYes: async () => {
      await send("POST", `${path}/deliveries`);
      await changed();
    },
  });
}
