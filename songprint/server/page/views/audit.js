// The audit log: who changed what and when, as sentences.

/** @import { Child } from "../dom.js" */
/** @import { AuditEntry, Key, ViewContext } from "../types.js" */

import { getJson, withQuery } from "../api.js";
import { button, emptyState, viewHeader } from "../components.js";
import { fill, h } from "../dom.js";
import { formatDay, formatTimeOfDay, plural } from "../format.js";

/** @typedef {Map<string, string>} KeyNames Key id to name. */

const PAGE_SIZE = 50;
const RECORDING = /^(\d+) ?(.*?)(?: from job ([0-9a-f]{32}))?$/s; // "5 Title from job ID"; older entries have an id only

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { signal }) {
  const list = h("div", { class: "stack wide" });
  const more = h("div", { class: "row centred" });
  /** @type {{ items: Key[] }} */
  const { items: keys } = await getJson("v1/keys", { signal });
  const names = new Map(keys.map((key) => [key.id, key.name]));
  let lastDay = "";
  let dayList = h("ol");
  fill(
    main,
    viewHeader(
      "Audit log",
      "All changes on this server, the latest first.",
      h("a", { class: "button", href: "#/keys" }, "Keys"),
    ),
    list,
    more,
  );
  await load();

  async function load(after = "") {
    /** @type {{ items: AuditEntry[], next: string | null }} */
    const { items, next } = await getJson(withQuery("v1/audit", { limit: PAGE_SIZE, after }), { signal });
    for (const entry of items) {
      const day = formatDay(entry.at);
      if (day !== lastDay) {
        lastDay = day;
        dayList = h("ol", { class: "card lines" });
        list.append(h("section", { class: "stack tight" }, h("h2", {}, day), dayList));
      }
      dayList.append(entryLine(entry, names));
    }
    if (!list.children.length) fill(list, h("div", { class: "card" }, emptyState("clock", "No changes yet")));
    fill(more, next && button("Show earlier changes", () => load(next)));
  }
}

/**
 * @param {AuditEntry} entry
 * @param {KeyNames} names
 */
function entryLine(entry, names) {
  const actor = entry.key_id ? keyName(entry.key_id, names) : entry.actor || "A local user";
  return h(
    "li",
    { class: "entry" },
    h("time", { class: "small soft number", dateTime: entry.at }, formatTimeOfDay(entry.at)),
    h("span", { class: "wrap" }, h("strong", {}, actor), " ", describe(entry, names)),
  );
}

/**
 * What was done. Entries that this page cannot parse are shown unchanged.
 *
 * @param {AuditEntry} entry
 * @param {KeyNames} names
 * @returns {Child}
 */
function describe({ action, subject }, names) {
  const description = DESCRIPTIONS[action];
  try {
    return description ? description(subject, names) : `${action} ${subject}`;
  } catch {
    return `${action} ${subject}`;
  }
}

/** @type {Record<string, (subject: string, names: KeyNames) => Child>} Action to its description. */
const DESCRIPTIONS = {
  "session.begin": () => "signed in",
  "server.start": (subject) => `started the server at ${subject}`,
  "library.rebuild": (subject) => ["rebuilt the index", subject && `: ${subject}`],
  "unknown.forget": (subject) => `forgot unknown music: ${subject}`,
  "keys.create": (subject, names) => {
    const [, id, rest] = parse(/^(\S+) ?(.*)$/s, subject);
    const [, name, scope] = rest.match(/^(.*) \((\w+)\)$/s) ?? ["", names.get(id) ?? id, ""];
    return ["created the key ", quote(name), scope && ` with the scope ${scope}`];
  },
  "keys.revoke": (subject, names) => {
    const revoked = subject.split(" ").map((id) => quote(keyName(id, names)));
    return [revoked.length > 1 ? "revoked the keys " : "revoked the key ", enumerate(revoked)];
  },
  "recordings.add": (subject) => {
    const [, id, title, job] = parse(RECORDING, subject);
    return ["added ", recordingName(id, title), job && [" from ", jobLink(job)]];
  },
  "recordings.add_many": (subject) => {
    const [, count, ids] = parse(/^(\d+) recordings: (.*)$/, subject);
    return `added ${plural(Number(count), "recording")} (${ids})`;
  },
  "recordings.remove": (subject) => ["removed ", parseRecording(subject)],
  "recordings.edit": (subject) => {
    const [, recording, fields] = parse(/^(.*): (.*)$/s, subject);
    return ["changed ", enumerate(fields.split(", ")), " of ", parseRecording(recording)];
  },
  "works.link": (subject) => {
    const [, work, ids] = parse(/^(.*): \[(.*)\]$/s, subject);
    return [`linked ${plural(ids.split(",").length, "recording")} to the work `, quote(work)];
  },
  "works.unlink": (subject) => ["unlinked ", parseRecording(subject), " from its work"],
  "verdicts.accept": (subject) => ["accepted ", parseVerdict(subject)],
  "verdicts.reject": (subject) => ["rejected ", parseVerdict(subject)],
  "verdicts.correct": (subject) => ["corrected ", parseVerdict(subject)],
  "verdicts.take_back": (subject) => ["deleted the verdict on ", parseVerdict(subject)],
  "templates.create": (subject) => `created the template ${subject}`,
  "templates.modify": (subject) => `changed the template ${subject}`,
  "templates.delete": (subject) => `deleted the template ${subject}`,
  "jobs.cancel": (subject) => ["cancelled ", jobLink(subject)],
  "jobs.retry": (subject) => ["restarted ", jobLink(subject)],
  "jobs.resend": (subject) => ["sent the callbacks of ", jobLink(subject), " again"],
  "jobs.forget": (subject) => {
    const [, count, age] = parse(/^(\d+) that ended (\S+) days ago$/, subject);
    return `deleted ${plural(Number(count), "job")} that ended more than ${plural(Number(age), "day")} ago`;
  },
};

/**
 * @param {RegExp} pattern
 * @param {string} text
 */
function parse(pattern, text) {
  const found = text.match(pattern);
  if (!found) throw new Error(`${text} does not match ${pattern}`);
  return found;
}

/**
 * @param {string} id
 * @param {KeyNames} names
 */
function keyName(id, names) {
  return names.get(id) ?? `${id.slice(0, 8)}…`;
}

/** @param {string} id */
function jobLink(id) {
  return h("a", { href: `#/jobs/${id}`, class: "unbroken" }, "a job");
}

/**
 * "JOB segment 3: 17" becomes "a match in a job: recording 17".
 *
 * @param {string} subject
 * @returns {Child}
 */
function parseVerdict(subject) {
  const [, job, part, , id] = parse(/^(\S+) (segment|gap) (\d+)(?:: (\d+))?$/, subject);
  return [part === "gap" ? "unknown music in " : "a match in ", jobLink(job), id && [": ", recordingName(id, "")]];
}

/** @param {string} text */
function quote(text) {
  return h("q", {}, text);
}

/** @param {string} subject */
function parseRecording(subject) {
  const [, id, title] = parse(RECORDING, subject);
  return recordingName(id, title);
}

/**
 * @param {string} id
 * @param {string} title
 */
function recordingName(id, title) {
  return title ? quote(title) : `recording ${id}`;
}

/**
 * Join parts as "one, two and three".
 *
 * @param {Child[]} parts
 * @returns {Child[]}
 */
function enumerate(parts) {
  return parts.flatMap((part, index) => [index ? (index === parts.length - 1 ? " and " : ", ") : "", part]);
}
