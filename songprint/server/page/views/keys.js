// Who may ask this server, and for what.

import { fill, h, refill } from "../dom.js";
import { asked, button, chip, code, empty, field, head, note, select, signButton, tell, trying } from "../parts.js";
import { read, send, session, signIn } from "../service.js";
import { moment } from "../words.js";

const SCOPES = {
  identify: "Identify: ask and read",
  write: "Write: also change the library",
  admin: "Admin: also see and make keys",
};

export async function show(main, { refresh }) {
  const list = h("div", { class: "card table" });
  const audit = h("a", { class: "button", href: "#/keys/audit" }, "Audit log");
  fill(
    main,
    head(
      "Keys",
      "A key for each program and each person: so you see who used how much, and can end one without the others.",
      audit,
      button("New key", make, { kind: "main", sign: "plus" }),
    ),
    session.open &&
      h(
        "div",
        { class: "section" },
        note(
          "There are no keys yet, so this server answers this machine alone. As soon as there is one, everybody needs " +
            "one, and this page asks for it too: begin with an admin key for yourself.",
          "",
          "keys",
        ),
      ),
    h("div", { class: "section" }, list),
  );
  await load();

  async function load() {
    const { items } = await read("v1/keys");
    const names = new Map(items.map((key) => [key.id, key.name]));
    // Whoever rules a part alone does not see what others did.
    audit.hidden = Boolean(items.find((key) => key.id === session.key?.id)?.parent);
    const ordered = [...items].sort((one, other) => Boolean(one.revoked_at) - Boolean(other.revoked_at));
    refill(
      list,
      items.length
        ? h(
            "table",
            { class: "rows keys" },
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["Name", "Rights", "Limit", "Made", ""].map((name) =>
                  h("th", { scope: "col" }, name || h("span", { class: "sr-only" }, "Actions")),
                ),
              ),
            ),
            h(
              "tbody",
              {},
              ordered.map((key) =>
                h(
                  "tr",
                  { class: key.revoked_at ? "past" : "" },
                  h(
                    "td",
                    { class: "lead" },
                    h("div", { class: "clip title" }, key.name),
                    h("div", { class: "mono soft clip" }, key.id),
                    key.parent &&
                      h("div", { class: "small soft clip" }, `under ${names.get(key.parent) ?? key.parent}`),
                  ),
                  h("td", { "data-label": "Rights" }, chip(key.scope, key.scope === "admin" ? "warn" : "")),
                  h("td", { class: "number", "data-label": "Limit" }, key.rate ? `${key.rate} a second` : "None"),
                  h("td", { class: "soft", "data-label": "Made" }, moment(key.created_at)),
                  h(
                    "td",
                    { class: "right actions" },
                    key.revoked_at
                      ? chip("Revoked", "bad")
                      : signButton("trash", `Revoke ${key.name}`, () => revoke(key), { kind: "quiet compact" }),
                  ),
                ),
              ),
            ),
          )
        : empty("keys", "No keys yet"),
    );
    return items;
  }

  async function make() {
    const { items } = await read("v1/keys");
    const parents = Object.fromEntries(items.filter((key) => !key.revoked_at).map((key) => [key.id, key.name]));
    let made = null;
    await asked(
      "New key",
      [
        field(
          "Name",
          h("input", { name: "name", required: true, maxLength: 200, placeholder: "Whose it is: a program, a person" }),
        ),
        field("Rights", select(SCOPES, session.open ? "admin" : "identify", null, { name: "scope" })),
        h(
          "div",
          { class: "two" },
          field(
            "Requests a second",
            h("input", { name: "rate", type: "number", min: "0.01", step: "any", placeholder: "No limit" }),
          ),
          field(
            "Under another key",
            select({ "": "None", ...parents }, "", null, { name: "parent" }),
            "It ends with that one, and has no more rights",
          ),
        ),
      ],
      {
        yes: "Make the key",
        onYes: async (form) => {
          made = await send("POST", "v1/keys", {
            name: form.get("name"),
            scope: form.get("scope"),
            rate: Number(form.get("rate")) || null,
            parent: form.get("parent") || null,
          });
        },
      },
    );
    if (!made) return;
    await asked(
      `The key ${made.name}`,
      [
        note("The token and the secret key are shown this once. Copy them now.", "warn"),
        field("Token, for this page and the REST API", code(made.token, "the token")),
        field("SecretId, for signed requests", code(made.id, "the SecretId")),
        field("SecretKey", code(made.secret_key, "the SecretKey")),
      ],
      { yes: "I have copied them", no: "" },
    );
    if (session.open) {
      // from now on this page needs the key too
      await signIn(made.token);
      refresh();
    } else await load();
  }

  async function revoke(key) {
    await asked(
      `Revoke ${key.name}?`,
      h(
        "p",
        {},
        "Programs with this key, and with keys made under it, are refused from now on. This cannot be undone.",
      ),
      {
        yes: "Revoke",
        kind: "danger",
        onYes: async () => {
          await send("DELETE", `v1/keys/${encodeURIComponent(key.id)}`);
          tell(`${key.name} was revoked`);
        },
      },
    );
    if (!(await trying(load))) refresh();
  }
}
