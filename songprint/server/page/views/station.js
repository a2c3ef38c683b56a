// One station: what it plays now, statistics, its airplay history, and its daily reports.

/** @import { ViewContext } from "../types.js" */
/** @import { Play, PlayKind, Station } from "./stations.js" */

import { getJson, isAbort, isAllowed, latestOnly, messageOf, sendJson, withQuery } from "../api.js";
import {
  button,
  chip,
  debounce,
  emptyState,
  field,
  iconButton,
  kindChip,
  note,
  openDialog,
  reportErrors,
  select,
  toggleGroup,
  viewHeader,
} from "../components.js";
import { fill, h, refill } from "../dom.js";
import { formatDay, formatShare, formatTime, plural, spokenDuration } from "../format.js";
import { askForStation, describeNow, nameOfPlay, stationChip } from "./stations.js";

const PAGE_SIZE = 50;
const POLLING = 5000; // milliseconds between two requests
const STATISTICS_EVERY = 12; // polls between two updates of the statistics
const DAY = 86_400_000; // milliseconds
const LONGEST_AUDIO = 600; // seconds that the server returns at once
const MARGIN = 3; // seconds of audio before and after a detection
const FILTERS = { songs: "Songs", unknown: "Unknown music", down: "Outages", "": "All" };
/** @type {Record<PlayKind, string>} */
const KINDS = {
  recording: "Recording",
  cover: "Cover",
  unknown: "Unknown music",
  speech: "Speech",
  silence: "Silence",
  other: "Other sounds",
  down: "Outage",
};
const PERIODS = { 1: "Last 24 hours", 7: "Last 7 days", 30: "Last 30 days" };
const REPORTS = { html: "Page", csv: "CSV", soundexchange: "SoundExchange", cue: "CUE sheet", m3u: "Playlist" };

/**
 * @typedef {object} Statistics
 * @property {Record<string, number>} seconds
 * @property {number} followed Seconds.
 * @property {number} plays
 * @property {number} recordings
 * @property {{ recording_id: number | null, title: string, artists: string[], plays: number, seconds: number }[]} top
 */

/**
 * @param {HTMLElement} main
 * @param {ViewContext} context
 */
export async function show(main, { path, signal }) {
  const address = `v1/stations/${encodeURIComponent(path[0])}`;
  /** @type {Station} */
  let station = await getJson(address, { signal });
  const getLatest = latestOnly(signal);
  const head = h("div");
  const now = h("div", { class: "card stack" });
  const statistics = h("div", { class: "stack" });
  const list = h("div", { class: "card table" });
  const more = h("div", { class: "row centred" });
  const player = h("audio", {
    controls: true,
    hidden: true,
    class: "station-audio",
    "aria-label": "Audio of the play",
  });
  let [filter, words, days] = ["songs", "", "1"];
  /** @type {Play[]} */
  let plays = [];
  /** @type {string | null} */
  let next = null;
  let timer = 0;
  let polls = 0;

  const search = h("input", {
    type: "search",
    class: "history-search",
    placeholder: "Title, artist, album",
    "aria-label": "Search the history",
  });
  search.addEventListener(
    "input",
    debounce(() => {
      words = search.value;
      reportErrors(loadPlays);
    }),
  );
  fill(
    main,
    head,
    h("div", { class: "section" }, now),
    h(
      "section",
      { class: "section stack", "aria-label": "Statistics" },
      h(
        "div",
        { class: "row" },
        h("h2", { class: "room" }, "What it played"),
        select(PERIODS, days, choosePeriod, { "aria-label": "Period", class: "period" }),
      ),
      statistics,
    ),
    h(
      "section",
      { class: "section stack", "aria-label": "History" },
      h("h2", {}, "History"),
      h("div", { class: "row" }, toggleGroup("Kinds of plays", FILTERS, filter, chooseFilter), search),
      player,
      list,
      more,
    ),
    reportSection(address, station),
  );
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    player.pause();
  });
  drawHead();
  await Promise.all([loadPlays(), loadStatistics()]);
  timer = window.setTimeout(poll, POLLING);

  function drawHead() {
    const actions = isAllowed("write") && [
      station.enabled
        ? button("Stop", () => change("stop"), { iconName: "stop" })
        : button("Start", () => change("start"), { kind: "main", iconName: "play" }),
      iconButton("edit", "Change the station", edit),
      iconButton("trash", "Remove the station", remove),
    ];
    refill(head, viewHeader(station.name, h("a", { href: "#/stations" }, "All stations"), actions));
    refill(
      now,
      h("div", { class: "row" }, stationChip(station.state), h("strong", { class: "wrap room" }, describeNow(station))),
      h("div", { class: "small soft wrap" }, station.url),
    );
  }

  async function poll() {
    try {
      station = await getJson(address, { signal });
      drawHead();
      // Loading again would drop the further pages and move the list.
      if (plays.length <= PAGE_SIZE && player.paused) await loadPlays();
      polls++;
      if (polls % STATISTICS_EVERY === 0) await loadStatistics();
    } catch (error) {
      if (isAbort(error)) return;
      fill(now, note(messageOf(error), "bad"));
    }
    timer = window.setTimeout(poll, POLLING);
  }

  /** @param {"start" | "stop"} action */
  async function change(action) {
    station = await sendJson("POST", `${address}/${action}`);
    drawHead();
  }

  async function edit() {
    const changed = await askForStation(station);
    if (!changed) return;
    station = changed;
    drawHead();
  }

  async function remove() {
    await openDialog(
      `Remove ${station.name}?`,
      h("p", {}, "This deletes the station with its history and its audio. It cannot be undone."),
      {
        submit: "Remove",
        kind: "danger",
        onSubmit: async () => {
          await sendJson("DELETE", address);
          location.hash = "#/stations";
        },
      },
    );
  }

  /** @param {string} chosen */
  function chooseFilter(chosen) {
    filter = chosen;
    return loadPlays();
  }

  /** @param {string} chosen */
  function choosePeriod(chosen) {
    days = chosen;
    return loadStatistics();
  }

  async function loadStatistics() {
    const end = new Date();
    const start = new Date(end.getTime() - Number(days) * DAY);
    /** @type {Statistics} */
    const found = await getJson(
      withQuery(`${address}/statistics`, { from: start.toISOString(), to: end.toISOString(), top: 5 }),
      { signal },
    );
    refill(statistics, statisticsCards(found));
  }

  /** @param {string} after */
  function getPage(after) {
    const kinds = filter === "songs" ? ["recording", "cover"] : filter ? [filter] : [];
    const query = withQuery("v1/plays", { station: station.id, q: words, limit: PAGE_SIZE, after });
    return getLatest(query + kinds.map((kind) => `&kind=${kind}`).join(""));
  }

  async function loadPlays() {
    ({ items: plays, next } = await getPage(""));
    drawPlays();
  }

  async function showMore() {
    const page = await getPage(next ?? "");
    plays = [...plays, ...page.items];
    next = page.next;
    drawPlays();
  }

  function drawPlays() {
    const nothing = emptyState("clock", words || filter ? "Nothing found" : "Nothing has played yet");
    refill(list, plays.length ? playTable(plays, station, playAudio) : nothing);
    fill(more, next && button("Show more", showMore));
  }

  /** @param {Play} play */
  async function playAudio(play) {
    const start = Date.parse(play.started_at) - MARGIN * 1000;
    const end = play.ended_at ? Date.parse(play.ended_at) + MARGIN * 1000 : Date.now();
    player.src = withQuery(`${address}/audio`, {
      from: new Date(start).toISOString(),
      to: new Date(Math.min(end, start + LONGEST_AUDIO * 1000)).toISOString(),
    });
    player.hidden = false;
    await player.play().catch(() => {
      throw new Error("The audio of this time is not, or no longer, on this server");
    });
  }
}

/** @param {Statistics} found */
function statisticsCards({ seconds, followed, plays, recordings, top }) {
  const total = followed || 1;
  /** @type {[string, number][]} */
  const rows = [
    ["Songs of the library", seconds.songs],
    ["Unknown music", seconds.unknown],
    ["Speech", seconds.speech],
    ["Silence and other sounds", seconds.silence + seconds.other],
  ];
  return h(
    "div",
    { class: "station-statistics" },
    h(
      "div",
      { class: "card stack" },
      h("h3", {}, `${plural(plays, "play")} of ${plural(recordings, "recording")}`),
      rows.map(([name, value]) =>
        h(
          "div",
          { class: "share" },
          h("span", { class: "room" }, name),
          h("span", { class: "number" }, formatShare(value / total)),
          h("meter", { value: String(value / total), "aria-label": name }),
        ),
      ),
      h(
        "p",
        { class: "small soft" },
        `${spokenDuration(followed)} followed, ${seconds.down ? `${spokenDuration(seconds.down)} of outages` : "no outages"}`,
      ),
    ),
    h(
      "div",
      { class: "card stack" },
      h("h3", {}, "Top songs"),
      top.length
        ? h(
            "ol",
            { class: "top-songs" },
            top.map((song) => h("li", {}, nameOfPlay(song), h("span", { class: "soft" }, ` ${song.plays}×`))),
          )
        : h("p", { class: "soft" }, "No songs in this period"),
    ),
  );
}

/**
 * @param {Play[]} plays
 * @param {Station} station
 * @param {(play: Play) => Promise<void>} playAudio
 */
function playTable(plays, station, playAudio) {
  const oldest = Date.now() - station.buffer_minutes * 60_000;
  const header = ["Play", "Started", "Length", ""].map((name) =>
    h("th", { scope: "col" }, name || h("span", { class: "sr-only" }, "Audio")),
  );
  return h(
    "table",
    { class: "rows plays" },
    h("thead", {}, h("tr", {}, header)),
    h(
      "tbody",
      {},
      plays.map((play) => {
        const isSong = play.kind === "recording" || play.kind === "cover";
        const name = isSong ? nameOfPlay(play) : KINDS[play.kind];
        return h(
          "tr",
          {},
          h(
            "td",
            { class: "lead" },
            h("div", { class: "title clip" }, name),
            h(
              "div",
              { class: "small soft clip" },
              isSong ? kindChip(play.kind === "cover" ? "cover" : "recording") : play.announced,
            ),
          ),
          h("td", { "data-label": "Started", class: "soft" }, timeIn(station, play.started_at)),
          h(
            "td",
            { "data-label": "Length", class: "number" },
            play.ended_at ? formatTime(play.seconds) : chip("Now", "accent"),
          ),
          h(
            "td",
            { class: "actions" },
            play.kind !== "down" &&
              Date.parse(play.started_at) > oldest &&
              iconButton("play", `Play ${name}`, () => playAudio(play)),
          ),
        );
      }),
    ),
  );
}

/**
 * A time in the time zone of the station.
 *
 * @param {Station} station
 * @param {string} iso
 */
function timeIn(station, iso) {
  const time = new Date(iso).toLocaleTimeString([], { timeZone: station.timezone, timeStyle: "medium" });
  return `${formatDay(iso)}, ${time}`;
}

/**
 * @param {string} address
 * @param {Station} station
 */
function reportSection(address, station) {
  const yesterday = new Date(Date.now() - DAY).toLocaleDateString("sv", { timeZone: station.timezone });
  const day = h("input", { type: "date", value: yesterday, required: true });
  const links = h("div", { class: "row" });
  const draw = () =>
    refill(
      links,
      Object.entries(REPORTS).map(([format, name]) =>
        h(
          "a",
          { class: "button", href: withQuery(`${address}/report`, { day: day.value, format }), target: "_blank" },
          name,
        ),
      ),
    );
  day.addEventListener("change", draw);
  draw();
  return h(
    "section",
    { class: "section stack", "aria-label": "Daily report" },
    h("h2", {}, "Daily report"),
    h("div", { class: "card row" }, field(`Day in ${station.timezone}`, day), links),
  );
}
