// Helpers that create DOM elements. Strings become text nodes, so text from files or other users is never parsed as HTML.

/** @typedef {Node | string | number | boolean | null | undefined | Child[]} Child */

/**
 * Attributes, properties and listeners of an element; see `h`.
 *
 * @typedef {Record<string, unknown> & { on?: Record<string, (event: any) => unknown> }} Properties
 */

const SVG = "http://www.w3.org/2000/svg";
const ATTRIBUTES = new Set(["class", "for", "role", "list"]);

/**
 * Create an element with properties and children.
 *
 * `class`, `for` and names with a dash are attributes; `on` holds listeners, `style` CSS properties, `data` data
 * attributes; everything else is a property of the element. Children may be nested lists; null, undefined, false and
 * "" are skipped.
 *
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) setProperty(element, key, value);
  element.append(...nodes(children));
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {string} key
 * @param {any} value
 */
function setProperty(element, key, value) {
  if (value === undefined || value === null) return;
  if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  else if (key === "style") for (const [rule, text] of Object.entries(value)) element.style.setProperty(rule, text);
  else if (key === "data") Object.assign(element.dataset, value);
  else if (ATTRIBUTES.has(key) || key.includes("-")) {
    if (value !== false) element.setAttribute(key, value === true ? "true" : value);
  } else Object.assign(element, { [key]: value });
}

/**
 * Replace the children of an element.
 *
 * @template {Element} E
 * @param {E} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/**
 * Replace the children of an element and keep the keyboard focus at the same position among its controls.
 *
 * @template {Element} E
 * @param {E} element
 * @param {...Child} children
 */
export function refill(element, ...children) {
  const position = focusable(element).indexOf(/** @type {HTMLElement} */ (document.activeElement));
  fill(element, ...children);
  const controls = focusable(element);
  if (position >= 0) controls[Math.min(position, controls.length - 1)]?.focus({ preventScroll: true });
  return element;
}

/** @param {Element} element */
function focusable(element) {
  /** @type {NodeListOf<HTMLElement>} */
  const found = element.querySelectorAll("a, button, input, select, [tabindex='0']");
  return [...found].filter((each) => !each.matches(":disabled"));
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
function nodes(children) {
  return children.flatMap((child) => {
    if (Array.isArray(child)) return nodes(child);
    if (child instanceof Node) return [child];
    return child === null || child === undefined || child === "" || typeof child === "boolean" ? [] : [String(child)];
  });
}

/**
 * Create an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[Name]}
 */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...nodes(children));
  return element;
}

/**
 * Find an element that must exist.
 *
 * @param {ParentNode} parent
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function find(parent, selector) {
  const found = parent.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`No element matches ${selector}`);
  return found;
}

/**
 * An event source with typed payloads.
 *
 * @template {Record<string, any>} Events Event name to payload.
 */
export class Emitter {
  /** @type {Map<keyof Events, ((payload: any) => void)[]>} */
  #listeners = new Map();

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(payload: Events[Name]) => void} listener
   */
  on(name, listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} payload
   */
  emit(name, payload) {
    for (const listener of this.#listeners.get(name) ?? []) listener(payload);
  }
}

/** SVG paths of each icon, in a square of 24 units. */
const PATHS = {
  listen: ["M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3z", "M5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21"],
  identify: ["M14 3H7a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2V8z", "M14 3v5h5M12 18v-6M9.5 14.5 12 12l2.5 2.5"],
  jobs: ["M4 6h16M4 12h10M4 18h13", "M18 10.5v3"],
  stations: ["M12 11v10M9 21h6", "M8.5 11.5a5 5 0 1 1 7 0M5.5 14.5a9 9 0 1 1 13 0", "M12 7.5v.1"],
  library: ["M4 4v16M9 4v16M14 4.5l5 15"],
  usage: ["M4 20h16M7 20v-6M12 20V5M17 20v-9"],
  keys: ["M8 12a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 13l9-9M17 7l2.5 2.5M14.5 9.5l2 2"],
  explorer: ["M8 7l-5 5 5 5M16 7l5 5-5 5M13.5 4l-3 16"],
  play: ["M7 4.5v15l12-7.5z"],
  stop: ["M6 6h12v12H6z"],
  pause: ["M8 5v14M16 5v14"],
  check: ["M4.5 12.5l5 5 10-11"],
  cross: ["M6 6l12 12M18 6L6 18"],
  edit: ["M4 20h4L19 9l-4-4L4 16zM13 7l4 4"],
  trash: ["M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13"],
  search: ["M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5"],
  plus: ["M12 5v14M5 12h14"],
  minus: ["M5 12h14"],
  link: ["M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-6-6l-1 1", "M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 6 6l1-1"],
  download: ["M12 4v11M7.5 11 12 15.5 16.5 11M5 20h14"],
  warn: ["M12 4 2.5 20h19zM12 10v4.5M12 17.5v.1"],
  none: [
    "M4 4l16 16",
    "M9 5.2A3 3 0 0 1 15 6v5M9 9v2a3 3 0 0 0 4.5 2.6",
    "M5.5 11a6.5 6.5 0 0 0 10.6 5M18.5 11a6.6 6.6 0 0 1-.4 2.3M12 17.5V21",
  ],
  again: ["M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6"],
  send: ["M4 12 20 4l-5 16-3.5-6.5z"],
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  music: [
    "M9 18V6l11-2v12",
    "M6.5 15.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM17.5 13.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  ],
  sun: [
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
    "M12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  ],
  moon: ["M20 14A8.5 8.5 0 0 1 10 4a8.5 8.5 0 1 0 10 10z"],
  system: ["M3 5h18v11H3zM9 20h6M12 16v4"],
  out: ["M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9"],
  clock: ["M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.5l3 1.8"],
  fit: ["M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"],
  more: ["M12 5.5v.1M12 12v.1M12 18.5v.1"],
  versions: ["M4 8h11v11H4z", "M9 8V4h11v11h-5"],
  question: ["M9 9a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2V14M12 17.5v.1"],
};

/** @typedef {keyof typeof PATHS} IconName */

/**
 * Create an icon. Without a label it is hidden from screen readers.
 *
 * @param {IconName} name
 * @param {string} [label]
 */
export function icon(name, label = "") {
  const hidden = { "aria-hidden": "true" };
  const drawn = svg("svg", {
    viewBox: "0 0 24 24",
    class: "icon",
    ...(label ? { role: "img", "aria-label": label } : hidden),
  });
  drawn.append(...PATHS[name].map((d) => svg("path", { d })));
  return drawn;
}
