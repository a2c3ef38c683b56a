// The frame around the views: which one is shown, who is signed in, light or dark.

import { fill, h, icon, refill } from "./dom.js";
import { button, note, signButton, trying } from "./parts.js";
import { may, session, signOut, whoAmI } from "./service.js";

// Name in the address -> module, what it is called, the rights it needs.
const VIEWS = {
  listen: { label: "Listen", scope: "identify" },
  file: { label: "Identify", scope: "identify" },
  jobs: { label: "Jobs", scope: "identify" },
  library: { label: "Library", scope: "identify" },
  usage: { label: "Usage", scope: "identify" },
  keys: { label: "Keys", scope: "admin" },
  explorer: { label: "API", scope: "identify" },
};
const THEMES = { system: "light", light: "dark", dark: "system" };
const THEME_SIGNS = { system: "system", light: "sun", dark: "moon" };

const main = document.getElementById("main");
let leave = () => {};
let turn = 0;

/** #/jobs/abc?state=failed -> { name: "jobs", path: ["abc"], query } */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name: VIEWS[name] ? name : "listen", path: rest.filter(Boolean), query: new URLSearchParams(query) };
}

/** Some views lead to others: jobs to a job and to the callbacks, keys to the audit log. */
function moduleOf(shown, [inner]) {
  if (shown === "jobs" && inner) return inner === "callbacks" ? inner : "job";
  return shown === "keys" && inner === "audit" ? inner : shown;
}

async function show({ focus = true } = {}) {
  const mine = ++turn;
  const { name, path, query } = place();
  const shown = session.signedIn ? name : "sign-in";
  const module = await import(`./views/${moduleOf(shown, path)}.js`);
  if (mine !== turn) return;
  leave();
  leave = () => {};
  frame(name);
  main.replaceChildren();
  window.scrollTo(0, 0);
  const stop = new AbortController();
  leave = () => stop.abort();
  try {
    await module.show(main, { path, query, signal: stop.signal, refresh: start });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (mine === turn)
      fill(
        main,
        note(error.message, "bad"),
        h(
          "p",
          {},
          button("Try again", () => show(), { sign: "again" }),
        ),
      );
  }
  const title = main.querySelector("h1")?.textContent ?? VIEWS[name].label;
  if (mine === turn) document.title = `${title} · Songprint`;
  if (focus && mine === turn) main.focus({ preventScroll: true });
}

function frame(current) {
  const nav = document.getElementById("nav");
  nav.hidden = !session.signedIn;
  fill(
    nav,
    Object.entries(VIEWS)
      .filter(([, view]) => may(view.scope))
      .map(([name, view]) =>
        h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, icon(name), view.label),
      ),
  );
  const theme = document.documentElement.dataset.theme;
  refill(
    document.getElementById("account"),
    session.key && h("span", { class: "who", title: `Signed in with the key ${session.key.name}` }, session.key.name),
    signButton(
      THEME_SIGNS[theme],
      `Colours: ${theme}. Change them`,
      () => {
        const next = THEMES[theme];
        document.documentElement.dataset.theme = next;
        localStorage.setItem("songprint.theme", next);
        frame(current);
      },
      { kind: "quiet compact" },
    ),
    session.key &&
      signButton(
        "out",
        "Sign out",
        () =>
          trying(async () => {
            await signOut();
            start();
          }),
        { kind: "quiet compact" },
      ),
  );
}

async function start() {
  try {
    await whoAmI();
  } catch (error) {
    fill(main, note(error.message, "bad"), h("p", {}, button("Try again", start, { sign: "again" })));
    return;
  }
  await show({ focus: false });
}

window.addEventListener("hashchange", () => show());
window.addEventListener("signed-out", () => {
  if (session.signedIn) {
    session.signedIn = false;
    start();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
