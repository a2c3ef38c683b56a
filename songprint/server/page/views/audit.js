// Who changed what, and when: the audit log as sentences.

import { fill, h } from "../dom.js";
import { button, empty, head } from "../parts.js";
import { address, read } from "../service.js";
import { day, many, time } from "../words.js";

const PAGE = 50;
const NAMED = /^(\d+) ?(.*?)(?: from job ([0-9a-f]{32}))?$/s; // "5 Title", "5" in older logs, "5 Title from job ..."

export async function show(main, { signal }) {
  const list = h("div", { class: "stack wide" });
  const more = h("div", { class: "row centred" });
  const { items: keys } = await read("v1/keys", { signal });
  const names = new Map(keys.map((key) => [key.id, key.name]));
  let shown = "";
  fill(
    main,
    head(
      "Audit log",
      "Who changed what on this server, the latest first.",
      h("a", { class: "button", href: "#/keys" }, "Keys"),
    ),
    list,
    more,
  );
  await load();

  async function load(after = "") {
    const { items, next } = await read(address("v1/audit", { limit: PAGE, after }), { signal });
    for (const entry of items) {
      if (day(entry.at) !== shown) {
        shown = day(entry.at);
        list.append(h("section", { class: "stack tight" }, h("h2", {}, shown), h("ol", { class: "card lines" })));
      }
      list.lastElementChild.querySelector("ol").append(line(entry, names));
    }
    if (!list.children.length) fill(list, h("div", { class: "card" }, empty("clock", "Nothing was changed yet")));
    fill(more, next && button("Earlier", () => load(next)));
  }
}

function line(entry, names) {
  const who = entry.key_id ? nameOf(entry.key_id, names) : "Somebody at the server";
  return h(
    "li",
    { class: "entry" },
    h("time", { class: "small soft number", dateTime: entry.at }, time(entry.at)),
    h("span", { class: "wrap" }, h("strong", {}, who), " ", told(entry, names)),
  );
}

/** What was done, as text and elements. What this page does not know yet is shown as it was written down. */
function told({ action, subject }, names) {
  const sayings = {
    "session.begin": () => "signed in",
    "keys.create": () => {
      const [, id, rest] = subject.match(/^(\S+) ?(.*)$/s);
      const [, name, scope] = rest.match(/^(.*) \((\w+)\)$/s) ?? [null, names.get(id) ?? id, ""];
      return ["made the key ", quoted(name), scope && `, with the right to ${RIGHTS[scope] ?? scope}`];
    },
    "keys.revoke": () => {
      const ended = subject.split(" ").map((id) => quoted(nameOf(id, names)));
      return [ended.length > 1 ? "revoked the keys " : "revoked the key ", listed(ended)];
    },
    "recordings.add": () => {
      const [, id, title, job] = subject.match(NAMED);
      const from = job && [", heard in ", jobLink(job)];
      return ["added ", recording(id, title), from];
    },
    "recordings.remove": () => ["removed ", ofSubject(subject)],
    "recordings.edit": () => {
      const [, which, changed] = subject.match(/^(.*): (.*)$/s);
      return [`changed ${listed(changed.split(", ")).join("")} of `, ofSubject(which)];
    },
    "works.link": () => {
      const [, work, ids] = subject.match(/^(.*): \[(.*)\]$/s);
      return [`linked ${many(ids.split(",").length, "recording")} to the work `, quoted(work)];
    },
    "works.unlink": () => ["unlinked ", ofSubject(subject), " from its work"],
    "verdicts.accept": () => ["accepted ", ofJob(subject)],
    "verdicts.reject": () => ["rejected ", ofJob(subject)],
    "verdicts.correct": () => ["named ", ofJob(subject)],
    "verdicts.take_back": () => ["took back what was said of ", ofJob(subject)],
    "jobs.cancel": () => ["cancelled ", jobLink(subject)],
    "jobs.retry": () => ["queued ", jobLink(subject), " again"],
    "jobs.forget": () => {
      const [, count, age] = subject.match(/^(\d+) that ended (\S+) days ago$/);
      return `deleted ${many(Number(count), "job")} that ended more than ${many(Number(age), "day")} ago`;
    },
  };
  try {
    return sayings[action]();
  } catch {
    return `${action} ${subject}`;
  }
}

const RIGHTS = { identify: "identify", write: "change the library", admin: "do everything" };

function nameOf(id, names) {
  return names.get(id) ?? `${id.slice(0, 8)}…`;
}

function jobLink(id) {
  return h("a", { href: `#/jobs/${id}`, class: "unbroken" }, "a job");
}

/** "JOB segment 3: 17" -> "what is heard in a job: recording 17", with a way to the job. */
function ofJob(subject) {
  const [, job, part, , id] = subject.match(/^(\S+) (segment|gap) (\d+)(?:: (\d+))?$/);
  const what = part === "gap" ? "unknown music in " : "what is heard in ";
  return [what, jobLink(job), id && [": ", recording(id, "")]];
}

function quoted(text) {
  return h("q", {}, text);
}

function ofSubject(subject) {
  const [, id, title] = subject.match(NAMED);
  return recording(id, title);
}

function recording(id, title) {
  return title ? quoted(title) : `recording ${id}`;
}

/** One, another and a third. */
function listed(parts) {
  return parts.flatMap((part, at) => [at ? (at === parts.length - 1 ? " and " : ", ") : "", part]);
}
