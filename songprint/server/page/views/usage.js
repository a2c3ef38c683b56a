// Minutes of audio by day and key, as they are billed.

/** @import { Key, UsageRow, ViewContext } from "../types.js" */

import { getJson, isAllowed, latestOnly, session, withQuery } from "../api.js";
import { emptyState, toggleGroup, viewHeader } from "../components.js";
import { fill, h, svg } from "../dom.js";
import { plural } from "../format.js";

/** @typedef {{ key: string, jobs: number, queries: number, minutes: number, days: number }} KeyTotal */
/** @typedef {(key: string) => string} KeyName */

const PERIODS = { 7: "7 days", 30: "30 days", 90: "90 days" };
const DEFAULT_DAYS = 30;
const OTHERS = "others"; // stands for all keys that have no shade of their own; real ids are longer
const SHADES = 6; // colours of the bars
const CHART_HEIGHT = 190; // in SVG units, as is the width
const CHART_WIDTH = 1000;
const DAY = 86_400_000; // milliseconds

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { signal }) {
  const getLatest = latestOnly(signal);
  const chart = h("figure", { class: "card usage-chart" });
  const table = h("div", { class: "card table" });
  const csv = h("a", { class: "button", download: "usage.csv" }, "Download CSV");
  let days = DEFAULT_DAYS;
  fill(
    main,
    viewHeader("Usage", "Minutes of audio in jobs and queries, whether or not songs were found in it.", csv),
    h(
      "div",
      { class: "section" },
      toggleGroup("Period", PERIODS, String(days), (chosen) => {
        days = Number(chosen);
        return load();
      }),
    ),
    h("div", { class: "section stack" }, chart, table),
  );
  await load();

  async function load() {
    const since = isoDay(days - 1);
    csv.href = withQuery("v1/usage.csv", { since });
    /** @type {{ items: UsageRow[] }} */
    const { items } = await getLatest(withQuery("v1/usage", { since }));
    const names = await keyNames(signal);
    /** @type {KeyName} */
    const nameOf = (key) => {
      if (key === OTHERS) return "All others";
      return names.get(key) ?? (key ? `${key.slice(0, 8)}…` : "Local, without a key");
    };
    const totals = totalsByKey(items);
    chart.hidden = !items.length;
    drawChart(chart, mergeSmallKeys(items, totals), nameOf, days);
    fill(table, items.length ? totalsTable(totals, nameOf) : emptyState("usage", "No usage in this period"));
  }
}

/**
 * The names of the keys that the session may see.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, string>>}
 */
async function keyNames(signal) {
  if (!isAllowed("admin")) return new Map(session.key ? [[session.key.id, session.key.name]] : []);
  /** @type {{ items: Key[] }} */
  const { items } = await getJson("v1/keys", { signal });
  return new Map(items.map((key) => [key.id, key.name]));
}

/**
 * The totals of each key, the most minutes first.
 *
 * @param {UsageRow[]} rows
 */
function totalsByKey(rows) {
  /** @type {Map<string, KeyTotal>} */
  const totals = new Map();
  for (const { key, jobs, queries, minutes } of rows) {
    const total = totals.get(key) ?? { key, jobs: 0, queries: 0, minutes: 0, days: 0 };
    totals.set(key, {
      key,
      jobs: total.jobs + jobs,
      queries: total.queries + queries,
      minutes: total.minutes + minutes,
      days: total.days + 1,
    });
  }
  return [...totals.values()].sort((one, other) => other.minutes - one.minutes);
}

/**
 * The minutes of each key by day. If there are more keys than shades, the smallest share one.
 *
 * @param {UsageRow[]} rows
 * @param {KeyTotal[]} totals
 */
function mergeSmallKeys(rows, totals) {
  const hasOthers = totals.length > SHADES;
  const keys = totals.map((total) => total.key).slice(0, hasOthers ? SHADES - 1 : SHADES);
  /** @type {Map<string, Map<string, number>>} */
  const minutes = new Map([...keys, ...(hasOthers ? [OTHERS] : [])].map((key) => [key, new Map()]));
  for (const row of rows) {
    const byDay = minutes.get(row.key) ?? minutes.get(OTHERS);
    byDay?.set(row.day, (byDay.get(row.day) ?? 0) + row.minutes);
  }
  return minutes;
}

/** @param {number} daysAgo */
function isoDay(daysAgo) {
  return new Date(Date.now() - DAY * daysAgo).toISOString().slice(0, 10);
}

/**
 * @param {HTMLElement} figure
 * @param {Map<string, Map<string, number>>} minutes By key and day.
 * @param {KeyName} nameOf
 * @param {number} period Days.
 */
function drawChart(figure, minutes, nameOf, period) {
  const days = Array.from({ length: period }, (_, index) => isoDay(period - 1 - index));
  const sums = days.map((day) => sum([...minutes.values()].map((byDay) => byDay.get(day) ?? 0)));
  const maximum = Math.max(1, ...sums);
  const total = sum([...minutes.values()].flatMap((byDay) => [...byDay.values()]));
  const top = roundUp(maximum);
  const lines = [0, 0.5, 1].map((share) => {
    const y = CHART_HEIGHT * (1 - share);
    return svg("line", { x1: 0, x2: CHART_WIDTH, y1: y, y2: y, class: "grid" });
  });
  fill(
    figure,
    h(
      "figcaption",
      { class: "row between" },
      h(
        "div",
        {},
        h("strong", { class: "big number" }, total.toLocaleString("en")),
        h("span", { class: "soft" }, ` ${total === 1 ? "minute" : "minutes"} in ${period} days`),
      ),
      h(
        "ul",
        { class: "row legend-list" },
        [...minutes.keys()].map((key, shade) =>
          h("li", { class: "small" }, h("i", { class: `shade-${shade}` }), nameOf(key)),
        ),
      ),
    ),
    h(
      "div",
      { class: "plot" },
      h(
        "div",
        { class: "scale tiny soft number", "aria-hidden": "true" },
        [top, top / 2, 0].map((value) => h("span", {}, value.toLocaleString("en"))),
      ),
      svg(
        "svg",
        {
          viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `Minutes by day: ${plural(total, "minute")} in total, at most ${plural(maximum, "minute")} a day`,
        },
        lines,
        dayBars(days, minutes, nameOf, top),
      ),
    ),
    h(
      "div",
      { class: "row between tiny soft days" },
      [days[0], days[Math.floor(period / 2)], days[period - 1]].map((day) => h("span", {}, shortDay(day))),
    ),
  );
}

/**
 * Stacked bars, one stack per day.
 *
 * @param {string[]} days
 * @param {Map<string, Map<string, number>>} minutes
 * @param {KeyName} nameOf
 * @param {number} top Minutes of the highest possible bar.
 */
function dayBars(days, minutes, nameOf, top) {
  const step = CHART_WIDTH / days.length;
  const width = Math.min(34, 0.68 * step);
  return days.flatMap((day, index) => {
    let y = CHART_HEIGHT;
    return [...minutes].map(([key, byDay], shade) => {
      const value = byDay.get(day) ?? 0;
      if (!value) return null;
      const height = Math.max(1.5, (value / top) * CHART_HEIGHT);
      y -= height;
      return svg(
        "rect",
        { x: index * step + (step - width) / 2, y, width, height, rx: 3, class: `shade-${shade}` },
        svg("title", {}, `${day}, ${nameOf(key)}: ${plural(value, "minute")}`),
      );
    });
  });
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** @param {string} day */
function shortDay(day) {
  return new Date(`${day}T12:00:00Z`).toLocaleDateString([], { day: "numeric", month: "short" });
}

/**
 * The next round number.
 *
 * @param {number} value
 */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 10].map((step) => step * power).find((round) => round >= value) ?? value;
}

/**
 * @param {KeyTotal[]} totals
 * @param {KeyName} nameOf
 */
function totalsTable(totals, nameOf) {
  return h(
    "table",
    { class: "totals" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "Key"),
        ["Days", "Jobs", "Queries", "Minutes"].map((label) => h("th", { scope: "col", class: "right" }, label)),
      ),
    ),
    h(
      "tbody",
      {},
      totals.map((total) =>
        h(
          "tr",
          {},
          h("td", { class: "wrap" }, nameOf(total.key)),
          [total.days, total.jobs, total.queries, total.minutes].map((value) =>
            h("td", { class: "right number" }, value.toLocaleString("en")),
          ),
        ),
      ),
    ),
  );
}
