// Who asks: the token of a key, once, for a cookie that scripts cannot read.

import { fill, h } from "../dom.js";
import { field, note } from "../parts.js";
import { signIn } from "../service.js";

export function show(main, { refresh }) {
  const trouble = h("div");
  const token = h("input", {
    type: "password",
    name: "token",
    autocomplete: "current-password",
    required: true,
    spellcheck: false,
    placeholder: "sp_…",
  });
  const enter = h("button", { type: "submit", class: "button main" }, "Sign in");
  const form = h(
    "form",
    { class: "card form sign-in" },
    h("div", {}, h("h1", {}, "Sign in"), h("p", { class: "soft" }, "This server knows people by their keys.")),
    field("Token of your key", token, "Whoever runs the server makes one with: songprint keys create"),
    trouble,
    enter,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    enter.disabled = true;
    try {
      await signIn(token.value.trim());
      refresh();
    } catch (error) {
      fill(
        trouble,
        note(error.status === 401 ? "This token is not known, or its key was revoked." : error.message, "bad"),
      );
      token.select();
    }
    enter.disabled = false;
  });
  fill(main, form);
  token.focus();
}
