// The keys of the server: list, create, revoke.

/** @import { Key, NewKey, ViewContext } from "../types.js" */

import { getJson, sendJson, session, signIn } from "../api.js";
import {
  button,
  chip,
  codeBlock,
  emptyState,
  field,
  iconButton,
  note,
  notify,
  openDialog,
  reportErrors,
  select,
  viewHeader,
} from "../components.js";
import { fill, h, refill } from "../dom.js";
import { formatDateTime } from "../format.js";

const SCOPES = {
  identify: "Identify: send queries and jobs, read results",
  write: "Write: also change the library",
  admin: "Admin: also manage keys",
};

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { refresh }) {
  const list = h("div", { class: "card table" });
  const audit = h("a", { class: "button", href: "#/keys/audit" }, "Audit log");
  fill(
    main,
    viewHeader(
      "Keys",
      "Create one key for each program and each person, so that you can see their usage and revoke them separately.",
      audit,
      button("New key", createKey, { kind: "main", iconName: "plus" }),
    ),
    session.open &&
      h(
        "div",
        { class: "section" },
        note(
          "This server has no keys, so it accepts requests from this machine only. Once the first key exists, every " +
            "request needs one, and so does this page. Start with an admin key for yourself.",
          "",
          "keys",
        ),
      ),
    h("div", { class: "section" }, list),
  );
  await load();

  /** @returns {Promise<Key[]>} */
  async function getKeys() {
    return (await getJson("v1/keys")).items;
  }

  async function load() {
    const keys = await getKeys();
    // Keys under another key cannot read the audit log.
    audit.hidden = Boolean(keys.find((key) => key.id === session.key?.id)?.parent);
    refill(list, keys.length ? keyTable(keys, revoke) : emptyState("keys", "No keys yet"));
  }

  async function createKey() {
    const created = await askForKey(await getKeys());
    if (!created) return;
    await showSecrets(created);
    if (session.open) {
      // The first key: from now on this page needs it too.
      await signIn(created.token);
      await refresh();
    } else await load();
  }

  /** @param {Key} key */
  async function revoke(key) {
    await openDialog(
      `Revoke ${key.name}?`,
      h("p", {}, "The server then rejects requests with this key and with all keys under it. This cannot be undone."),
      {
        submit: "Revoke",
        kind: "danger",
        onSubmit: async () => {
          await sendJson("DELETE", `v1/keys/${encodeURIComponent(key.id)}`);
          notify(`Revoked ${key.name}`);
        },
      },
    );
    // The session ends if its own key was revoked.
    if (!(await reportErrors(load))) await refresh();
  }
}

/**
 * @param {Key[]} keys
 * @returns {Promise<NewKey | null>} Null if the dialog was closed.
 */
async function askForKey(keys) {
  const parents = Object.fromEntries(keys.filter((key) => !key.revoked_at).map((key) => [key.id, key.name]));
  /** @type {NewKey | null} */
  let created = null;
  await openDialog(
    "New key",
    [
      field(
        "Name",
        h("input", { name: "name", required: true, maxLength: 200, placeholder: "The program or person that uses it" }),
      ),
      field("Scope", select(SCOPES, session.open ? "admin" : "identify", null, { name: "scope" })),
      h(
        "div",
        { class: "two" },
        field(
          "Requests per second",
          h("input", { name: "rate", type: "number", min: "0.01", step: "any", placeholder: "No limit" }),
        ),
        field(
          "Parent key",
          select({ "": "None", ...parents }, "", null, { name: "parent" }),
          "Limits the scope; revoking the parent revokes this key",
        ),
      ),
    ],
    {
      submit: "Create key",
      onSubmit: async (form) => {
        created = await sendJson("POST", "v1/keys", {
          name: form.get("name"),
          scope: form.get("scope"),
          rate: Number(form.get("rate")) || null,
          parent: form.get("parent") || null,
        });
      },
    },
  );
  return created;
}

/** @param {NewKey} key */
function showSecrets(key) {
  return openDialog(
    `Key ${key.name}`,
    [
      note("The token and the secret key are shown only once. Copy them now.", "warn"),
      field("Token for this page and the REST API", codeBlock(key.token, "Token")),
      field("SecretId for signed requests", codeBlock(key.id, "SecretId")),
      field("SecretKey for signed requests", codeBlock(key.secret_key, "SecretKey")),
    ],
    { submit: "I have copied them", cancel: "" },
  );
}

/**
 * @param {Key[]} keys
 * @param {(key: Key) => Promise<void>} revoke
 */
function keyTable(keys, revoke) {
  const names = new Map(keys.map((key) => [key.id, key.name]));
  const ordered = [...keys].sort((one, other) => Number(Boolean(one.revoked_at)) - Number(Boolean(other.revoked_at)));
  return h(
    "table",
    { class: "rows keys" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Name", "Scope", "Limit", "Created"].map((name) => h("th", { scope: "col" }, name)),
        h("th", { scope: "col" }, h("span", { class: "sr-only" }, "Actions")),
      ),
    ),
    h(
      "tbody",
      {},
      ordered.map((key) => keyRow(key, names, revoke)),
    ),
  );
}

/**
 * @param {Key} key
 * @param {Map<string, string>} names Key id to name.
 * @param {(key: Key) => Promise<void>} revoke
 */
function keyRow(key, names, revoke) {
  return h(
    "tr",
    { class: key.revoked_at ? "past" : "" },
    h(
      "td",
      { class: "lead" },
      h("div", { class: "clip title" }, key.name),
      h("div", { class: "mono soft clip" }, key.id),
      key.parent && h("div", { class: "small soft clip" }, `Parent: ${names.get(key.parent) ?? key.parent}`),
    ),
    h("td", { "data-label": "Scope" }, chip(key.scope, key.scope === "admin" ? "warn" : "")),
    h("td", { class: "number", "data-label": "Limit" }, key.rate ? `${key.rate} per second` : "None"),
    h("td", { class: "soft", "data-label": "Created" }, formatDateTime(key.created_at)),
    h(
      "td",
      { class: "right actions" },
      key.revoked_at
        ? chip("Revoked", "bad")
        : iconButton("trash", `Revoke ${key.name}`, () => revoke(key), { kind: "quiet compact" }),
    ),
  );
}
