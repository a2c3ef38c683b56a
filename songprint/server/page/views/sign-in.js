// Sign in with the token of a key, which the server exchanges for a cookie that scripts cannot read.

/** @import { ViewContext } from "../types.js" */

import { ApiError, messageOf, signIn } from "../api.js";
import { field, note } from "../components.js";
import { fill, h } from "../dom.js";

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export function show(main, { refresh }) {
  const errors = h("div");
  const token = h("input", {
    type: "password",
    name: "token",
    autocomplete: "current-password",
    required: true,
    spellcheck: false,
    placeholder: "sp_…",
  });
  const submit = h("button", { type: "submit", class: "button main" }, "Sign in");
  const form = h(
    "form",
    { class: "card form sign-in" },
    h("div", {}, h("h1", {}, "Sign in"), h("p", { class: "soft" }, "This server requires a key.")),
    field("Token of your key", token, "The server's administrator creates a key with: songprint keys create"),
    errors,
    submit,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await signIn(token.value.trim());
      await refresh();
    } catch (error) {
      const isUnknown = error instanceof ApiError && error.status === 401;
      fill(errors, note(isUnknown ? "The token is not valid, or its key was revoked." : messageOf(error), "bad"));
      token.select();
    }
    submit.disabled = false;
  });
  fill(main, form);
  token.focus();
}
