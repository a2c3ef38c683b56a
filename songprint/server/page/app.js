// The frame around the views: navigation, session, colour scheme.

/** @import { IconName } from "./dom.js" */
/** @import { ViewContext } from "./types.js" */

import { getJson, isAbort, isAllowed, loadSession, messageOf, session, signOut } from "./api.js";
import { button, iconButton, note } from "./components.js";
import { fill, find, h, icon, refill } from "./dom.js";

/** @typedef {{ label: string, scope: string, isPublic?: boolean }} View `isPublic`: shown without a session. */

/** @type {Record<string, View>} The first part of an address to its view. */
const VIEWS = {
  listen: { label: "Listen", scope: "identify" },
  identify: { label: "Identify", scope: "identify" },
  jobs: { label: "Jobs", scope: "identify" },
  stations: { label: "Stations", scope: "identify" },
  library: { label: "Library", scope: "identify" },
  usage: { label: "Usage", scope: "identify" },
  keys: { label: "Keys", scope: "admin" },
  explorer: { label: "API", scope: "identify", isPublic: true },
};
/** @type {Record<string, { icon: IconName, next: string }>} */
const THEMES = {
  system: { icon: "system", next: "light" },
  light: { icon: "sun", next: "dark" },
  dark: { icon: "moon", next: "system" },
};

const main = find(document, "#main");
let leaving = new AbortController();
let navigation = 0;

/** #/jobs/abc?state=failed is the view "jobs" with the path ["abc"] and a query. */
function currentAddress() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name = "", ...rest] = path.split("/").map(decode);
  return { name: name || "listen", path: rest.filter(Boolean), query: new URLSearchParams(query) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * The module of a view. Jobs, keys and the library have views of their own below them.
 *
 * @param {string} name
 * @param {string[]} path
 */
function moduleName(name, [first, ...rest]) {
  if (name === "jobs" && first && !rest.length) return first === "callbacks" ? "callbacks" : "job";
  if (name === "library" && /^\d+$/.test(first ?? "") && !rest.length) return "recording";
  if (name === "stations" && first && !rest.length) return "station";
  if (name === "keys" && first === "audit" && !rest.length) return "audit";
  const tabs = { library: ["review", "unknown"], explorer: ["rest", "tencent"] }[name] ?? [];
  return Object.hasOwn(VIEWS, name) && (!first || (tabs.includes(first) && !rest.length)) ? name : "not-found";
}

async function showView({ focus = true } = {}) {
  const current = ++navigation;
  const { name, path, query } = currentAddress();
  const isOpen = session.signedIn || VIEWS[name]?.isPublic;
  /** @type {{ show: (main: HTMLElement, context: ViewContext) => unknown }} */
  const module = await import(`./views/${isOpen ? moduleName(name, path) : "sign-in"}.js`);
  if (current !== navigation) return;
  leaving.abort();
  leaving = new AbortController();
  showFrame(name);
  main.replaceChildren();
  window.scrollTo(0, 0);
  try {
    await module.show(main, { path, query, signal: leaving.signal, refresh: start });
  } catch (error) {
    if (isAbort(error)) return;
    if (current === navigation) showError(error, () => showView());
  }
  if (current !== navigation) return;
  const title = main.querySelector("h1")?.textContent ?? VIEWS[name]?.label;
  document.title = title ? `${title} · Songprint` : "Songprint";
  if (focus) main.focus({ preventScroll: true });
}

/**
 * @param {unknown} error
 * @param {() => unknown} retry
 */
function showError(error, retry) {
  fill(main, note(messageOf(error), "bad"), h("p", {}, button("Try again", retry, { iconName: "again" })));
}

/** @param {string} current The name of the view. */
function showFrame(current) {
  const nav = find(document, "#nav");
  nav.hidden = !session.signedIn;
  fill(
    nav,
    Object.entries(VIEWS)
      .filter(([, view]) => isAllowed(view.scope))
      .map(([name, view]) =>
        h(
          "a",
          { href: `#/${name}`, "aria-current": name === current ? "page" : null },
          icon(/** @type {IconName} */ (name)),
          view.label,
        ),
      ),
  );
  refill(
    find(document, "#account"),
    session.key && h("span", { class: "who", title: `Signed in with the key ${session.key.name}` }, session.key.name),
    themeButton(current),
    session.key && iconButton("out", "Sign out", signOutAndReload, { kind: "quiet compact" }),
    !session.signedIn && VIEWS[current]?.isPublic && h("a", { class: "button compact", href: "#/listen" }, "Sign in"),
  );
}

async function signOutAndReload() {
  await signOut();
  await start();
}

/** @param {string} view */
function themeButton(view) {
  const theme = document.documentElement.dataset.theme ?? "system";
  const { icon: iconName, next } = THEMES[theme] ?? THEMES.system;
  return iconButton(
    iconName,
    `Colour scheme: ${theme}. Switch to ${next}`,
    () => {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("songprint.theme", next);
      showFrame(view);
    },
    { kind: "quiet compact" },
  );
}

async function start() {
  try {
    await loadSession();
  } catch (error) {
    showError(error, start);
    return;
  }
  await openLibraryIfEmpty();
  await showView({ focus: false });
}

/** The start page of an empty library is the view that fills it. */
async function openLibraryIfEmpty() {
  if (currentAddress().name !== "listen" || location.hash || !session.signedIn || !isAllowed("write")) return;
  const { recordings } = await getJson("v1/stats").catch(() => ({ recordings: 1 }));
  if (recordings === 0) history.replaceState(null, "", "#/library");
}

window.addEventListener("hashchange", () => showView());
window.addEventListener("signed-out", () => {
  if (session.signedIn) {
    session.signedIn = false;
    start();
  }
});
find(document, ".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
