// Minutes of audio by day and key, as they are billed.

import { fill, h, svg } from "../dom.js";
import { choice, empty, head } from "../parts.js";
import { address, latest, may, read, session } from "../service.js";
import { many } from "../words.js";

const SPANS = { 7: "7 days", 30: "30 days", 90: "90 days" };
const REST = Symbol("all other keys");
const SHADES = 6; // of bars: keys beyond them share the last one
const HEIGHT = 190,
  WIDTH = 1000;

export async function show(main, { signal }) {
  const reading = latest(signal);
  const chart = h("figure", { class: "card usage-chart" });
  const table = h("div", { class: "card table" });
  const csv = h("a", { class: "button", download: "usage.csv" }, "Download CSV");
  let days = 30;
  fill(
    main,
    head("Usage", "Minutes of audio that jobs and clips had, whether songs were found in it or not.", csv),
    h(
      "div",
      { class: "section" },
      choice("How long back", SPANS, "30", (chosen) => {
        days = Number(chosen);
        return load();
      }),
    ),
    h("div", { class: "section stack" }, chart, table),
  );
  await load();

  async function load() {
    const since = isoDay(days - 1);
    csv.href = address("v1/usage.csv", { since });
    const { items } = await reading(address("v1/usage", { since }));
    const keys = [...new Set(items.map((row) => row.key))];
    const names = may("admin")
      ? new Map((await read("v1/keys", { signal })).items.map((key) => [key.id, key.name]))
      : new Map([[session.key?.id, session.key?.name]]);
    const name = (key) =>
      key === REST ? "All others" : (names.get(key) ?? (key ? `${key.slice(0, 8)}…` : "This machine"));
    chart.hidden = !items.length;
    const sums = byKey(items, keys);
    draw(chart, ...gathered(items, keys, sums), name, days);
    fill(table, items.length ? totals(sums, name) : empty("usage", "Nothing was used in this time"));
  }
}

/** What each key had in all these days, the most minutes first. */
function byKey(items, keys) {
  const sums = keys.map((key) =>
    items
      .filter((row) => row.key === key)
      .reduce(
        (sum, row) => ({ ...sum, jobs: sum.jobs + row.jobs, minutes: sum.minutes + row.minutes, days: sum.days + 1 }),
        { key, jobs: 0, minutes: 0, days: 0 },
      ),
  );
  return sums.sort((one, other) => other.minutes - one.minutes);
}

/** The rows and keys of a chart that has a shade for each: most are of their own, the others are one. */
function gathered(items, keys, sums) {
  if (keys.length <= SHADES) return [items, keys];
  const kept = sums.slice(0, SHADES - 1).map((sum) => sum.key);
  const days = new Map();
  const rows = items.filter((row) => {
    if (!kept.includes(row.key)) days.set(row.day, (days.get(row.day) ?? 0) + row.minutes);
    return kept.includes(row.key);
  });
  return [[...rows, ...[...days].map(([day, minutes]) => ({ day, key: REST, minutes }))], [...kept, REST]];
}

function isoDay(back) {
  return new Date(Date.now() - 86400000 * back).toISOString().slice(0, 10);
}

function draw(figure, items, keys, name, days) {
  const each = Array.from({ length: days }, (_, at) => isoDay(days - 1 - at));
  const most = Math.max(
    1,
    ...each.map((day) => items.filter((row) => row.day === day).reduce((sum, row) => sum + row.minutes, 0)),
  );
  const top = nice(most),
    step = WIDTH / days,
    thick = Math.min(34, 0.68 * step);
  const bars = each.flatMap((day, at) => {
    let from = HEIGHT;
    return keys.flatMap((key, number) => {
      const minutes = items.find((row) => row.day === day && row.key === key)?.minutes ?? 0;
      if (!minutes) return [];
      const high = Math.max(1.5, (minutes / top) * HEIGHT);
      from -= high;
      return svg(
        "rect",
        { x: at * step + (step - thick) / 2, y: from, width: thick, height: high, rx: 3, class: `shade-${number}` },
        svg("title", {}, `${day}, ${name(key)}: ${many(minutes, "minute")}`),
      );
    });
  });
  const lines = [0, 0.5, 1].map((share) =>
    svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT * (1 - share), y2: HEIGHT * (1 - share), class: "grid" }),
  );
  const total = items.reduce((sum, row) => sum + row.minutes, 0);
  fill(
    figure,
    h(
      "figcaption",
      { class: "row between" },
      h(
        "div",
        {},
        h("strong", { class: "big number" }, total.toLocaleString("en")),
        h("span", { class: "soft" }, ` ${total === 1 ? "minute" : "minutes"} in ${days} days`),
      ),
      h(
        "ul",
        { class: "row legend-list" },
        keys.map((key, number) =>
          h("li", { class: "small" }, h("i", { class: `shade-${number}` }), name(key)),
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
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `Minutes of each day; ${many(total, "minute")} in all, at most ${many(most, "minute")} a day`,
        },
        lines,
        bars,
      ),
    ),
    h(
      "div",
      { class: "row between tiny soft days" },
      [each[0], each[Math.floor(days / 2)], each.at(-1)].map((day) => h("span", {}, shortDay(day))),
    ),
  );
}

function shortDay(day) {
  return new Date(`${day}T12:00:00Z`).toLocaleDateString([], { day: "numeric", month: "short" });
}

/** The next round number. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 10].map((step) => step * power).find((round) => round >= value);
}

function totals(sums, name) {
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
        ["Days", "Jobs and clips", "Minutes"].map((label) => h("th", { scope: "col", class: "right" }, label)),
      ),
    ),
    h(
      "tbody",
      {},
      sums.map((row) =>
        h(
          "tr",
          {},
          h("td", { class: "wrap" }, name(row.key)),
          [row.days, row.jobs, row.minutes].map((value) =>
            h("td", { class: "right number" }, value.toLocaleString("en")),
          ),
        ),
      ),
    ),
  );
}
