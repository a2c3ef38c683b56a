// Callbacks: their receivers and attempts, and sending them again.

/** @import { Attempt, Delivery, ViewContext } from "../types.js" */

import { isAllowed, latestOnly, sendJson, withQuery } from "../api.js";
import { button, chip, emptyState, openDialog, toggleGroup, viewHeader } from "../components.js";
import { fill, h } from "../dom.js";
import { capitalize, formatDateTime } from "../format.js";

const PAGE_SIZE = 50;
const STATES = { waiting: "Waiting", sending: "Sending", delivered: "Delivered", "given up": "Failed" };
const STATE_KINDS = { waiting: "warn", sending: "accent", delivered: "good", "given up": "bad" };

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { query, signal }) {
  let state = query.get("state") ?? "";
  const getLatest = latestOnly(signal);
  const list = h("div", { class: "stack" });
  const more = h("div", { class: "row centred" });
  fill(
    main,
    viewHeader(
      "Callbacks",
      "Notifications about jobs that were sent to other programs, with all attempts.",
      h("a", { class: "button", href: "#/jobs" }, "Jobs"),
    ),
    h(
      "div",
      { class: "section" },
      toggleGroup("State of the callbacks", { "": "All", ...STATES }, state, (chosen) => {
        state = chosen;
        return load();
      }),
    ),
    h("div", { class: "section stack" }, list, more),
  );
  await load();

  async function load(after = "") {
    /** @type {{ items: Delivery[], next: string | null }} */
    const { items, next } = await getLatest(withQuery("v1/deliveries", { state, limit: PAGE_SIZE, after }));
    if (!after) fill(list, !items.length && h("div", { class: "card" }, emptyState("send", "No callbacks")));
    list.append(...items.map((delivery) => deliveryCard(delivery, load)));
    fill(more, next && button("Show more", () => load(next)));
  }
}

/**
 * One callback with its attempts.
 *
 * @param {Delivery} delivery
 * @param {(() => Promise<void>) | null} [onChange] If given, the card has a link to its job and a button to send again.
 */
export function deliveryCard(delivery, onChange = null) {
  const actions = onChange && [
    h("a", { class: "button quiet compact", href: `#/jobs/${delivery.job_id}` }, "Open the job"),
    isAllowed("write") &&
      button("Send again", () => resend(`v1/jobs/${delivery.job_id}`, onChange), {
        iconName: "send",
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
      h("div", { class: "row" }, chip(STATES[delivery.state], STATE_KINDS[delivery.state]), actions),
    ),
    delivery.attempts.length
      ? h("ol", { class: "attempts small" }, delivery.attempts.map(attemptLine))
      : h("p", { class: "small soft" }, "Not sent yet"),
  );
}

/** @param {Attempt} attempt */
function attemptLine({ at, elapsed, status, error }) {
  return h(
    "li",
    { class: "row" },
    h("span", { class: "soft number" }, formatDateTime(at)),
    chip(status ?? (error ? "No response" : "OK"), error ? "bad" : "good"),
    h("span", { class: "soft wrap result" }, error ? capitalize(error) : `Response after ${elapsed.toFixed(2)} s`),
  );
}

/**
 * Send the callbacks of a job again, after confirmation.
 *
 * @param {string} path Of the job.
 * @param {() => Promise<void>} onChange
 */
export function resend(path, onChange) {
  return openDialog(
    "Send the callbacks again?",
    h("p", {}, "All callbacks of this job are sent now. Failed attempts are repeated."),
    {
      submit: "Send",
      onSubmit: async () => {
        await sendJson("POST", `${path}/deliveries`);
        await onChange();
      },
    },
  );
}
