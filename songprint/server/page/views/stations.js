// The list of stations: streams that the service follows for good.

/** @import { ViewContext } from "../types.js" */

import { isAbort, isAllowed, latestOnly, messageOf, sendJson, withQuery } from "../api.js";
import { button, chip, emptyState, field, note, openDialog, viewHeader } from "../components.js";
import { fill, h, refill } from "../dom.js";
import { formatDateTime, formatTimeOfDay } from "../format.js";

/** @typedef {"recording" | "cover" | "unknown" | "speech" | "silence" | "other" | "down"} PlayKind */
/** @typedef {"waiting" | "connected" | "silent" | "stalled" | "unreachable" | "stopped"} StationState */

/**
 * @typedef {object} Play
 * @property {number} id
 * @property {PlayKind} kind
 * @property {number | null} recording_id
 * @property {string} title
 * @property {string[]} artists
 * @property {number | null} confidence From 0 to 100.
 * @property {string} announced
 * @property {string} started_at
 * @property {string | null} ended_at Null: it is playing now.
 * @property {number} seconds
 */

/**
 * @typedef {object} Station
 * @property {string} id
 * @property {string} name
 * @property {string} url
 * @property {string} timezone
 * @property {number} history_days
 * @property {number} buffer_minutes
 * @property {boolean} enabled
 * @property {StationState} state
 * @property {string} reason
 * @property {string} since
 * @property {string} announced
 * @property {Play[]} now
 */

const PAGE_SIZE = 100;
const POLLING = 5000; // milliseconds between two requests
const STATES = {
  waiting: "Waiting",
  connected: "Connected",
  silent: "Silent",
  stalled: "Stalled",
  unreachable: "Unreachable",
  stopped: "Stopped",
};

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { signal }) {
  const getLatest = latestOnly(signal);
  const list = h("div", { class: "card table" });
  const mayChange = isAllowed("write");
  let timer = 0;
  fill(
    main,
    viewHeader(
      "Stations",
      "Web radios that the service follows: what they play now, and everything they have played.",
      mayChange && button("Add station", addStation, { kind: "main", iconName: "plus" }),
    ),
    h("div", { class: "section" }, list),
  );
  signal.addEventListener("abort", () => clearTimeout(timer));
  await load();

  async function load() {
    clearTimeout(timer);
    /** @type {{ items: Station[] }} */
    const { items } = await getLatest(withQuery("v1/stations", { limit: PAGE_SIZE }));
    refill(list, items.length ? stationTable(items) : noStations());
    timer = window.setTimeout(poll, POLLING);
  }

  async function poll() {
    await load().catch((error) => {
      if (!isAbort(error)) fill(list, note(messageOf(error), "bad"));
    });
  }

  async function addStation() {
    const station = await askForStation();
    if (station) location.hash = `#/stations/${station.id}`;
  }

  function noStations() {
    return emptyState(
      "stations",
      "No stations yet",
      h("p", {}, "Add the URL of a web radio. Songprint then lists the songs that it plays, day and night."),
      mayChange && button("Add station", addStation, { kind: "main", iconName: "plus" }),
    );
  }
}

/** @param {Station[]} stations */
function stationTable(stations) {
  const header = ["Station", "State", "Since"].map((name) => h("th", { scope: "col" }, name));
  return h(
    "table",
    { class: "rows stations" },
    h("thead", {}, h("tr", {}, header)),
    h("tbody", {}, stations.map(stationRow)),
  );
}

/** @param {Station} station */
function stationRow(station) {
  return h(
    "tr",
    {},
    h(
      "td",
      { class: "lead" },
      h("a", { href: `#/stations/${station.id}`, class: "title clip" }, station.name),
      h("div", { class: "small soft clip" }, describeNow(station)),
    ),
    h("td", { "data-label": "State" }, stationChip(station.state)),
    h("td", { class: "soft", "data-label": "Since" }, formatDateTime(station.since)),
  );
}

/** @param {StationState} state */
export function stationChip(state) {
  const kinds = { connected: "good", silent: "warn", stalled: "warn", unreachable: "bad", waiting: "", stopped: "" };
  return chip(STATES[state], kinds[state]);
}

/**
 * The songs that a station plays, or else its reason or the title that it announces.
 *
 * @param {Station} station
 */
export function describeNow({ now, reason, announced, enabled, url }) {
  if (now.length)
    return now.map((play) => `${nameOfPlay(play)}, since ${formatTimeOfDay(play.started_at)}`).join(" · ");
  return reason || (enabled && announced ? `Announced: ${announced}` : url);
}

/** @param {Pick<Play, "title" | "artists">} play */
export function nameOfPlay({ artists, title }) {
  return [artists.join(", "), title].filter(Boolean).join(" – ") || "Untitled";
}

/**
 * @param {Station} [station] The station to change; without it, a new one is created.
 * @returns {Promise<Station | null>} Null if the dialog was closed.
 */
export async function askForStation(station) {
  /** @type {Station | null} */
  let saved = null;
  const zone = station?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
  await openDialog(
    station ? "Change station" : "Add station",
    [
      field(
        "URL of the stream",
        h("input", {
          name: "url",
          type: "url",
          required: true,
          maxLength: 4000,
          value: station?.url ?? "",
          placeholder: "https://radio.example.org/live.mp3",
        }),
      ),
      field("Name", h("input", { name: "name", maxLength: 200, value: station?.name ?? "" }), "Default: the URL"),
      field(
        "Time zone",
        h("input", { name: "timezone", maxLength: 100, required: true, value: zone }),
        "Of its daily reports, such as Europe/Berlin",
      ),
      h(
        "div",
        { class: "two" },
        numberField("Keep the history, days", "history_days", station?.history_days ?? 400),
        numberField("Keep the audio, minutes", "buffer_minutes", station?.buffer_minutes ?? 60),
      ),
    ],
    {
      submit: station ? "Save" : "Add station",
      onSubmit: async (form) => {
        const given = {
          url: form.get("url"),
          name: form.get("name") || null,
          timezone: form.get("timezone"),
          history_days: Number(form.get("history_days")),
          buffer_minutes: Number(form.get("buffer_minutes")),
        };
        saved = station
          ? await sendJson("PATCH", `v1/stations/${station.id}`, given)
          : await sendJson("POST", "v1/stations", given);
      },
    },
  );
  return saved;
}

/**
 * @param {string} label
 * @param {string} name
 * @param {number} value
 */
function numberField(label, name, value) {
  return field(
    label,
    h("input", { name, type: "number", min: "0", step: "any", required: true, value: String(value) }),
  );
}
