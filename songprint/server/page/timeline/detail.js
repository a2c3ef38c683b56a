// One segment, or one gap: hear both sides, see why, decide.

import { fill, h, icon } from "../dom.js";
import { asked, button, chip, field, kindChip, note, sure, tell, trying } from "../parts.js";
import { address, may, send } from "../service.js";
import { artists, clock, keyShift, moment, SOUNDS, spoken, speed } from "../words.js";
import { chooseRecording } from "./choose.js";
import { named, titleOf } from "./plan.js";
import { Similarity } from "./similarity.js";

/** `changed()` is called when something was decided. */
export class Detail {
  constructor(job, player, changed) {
    Object.assign(this, { job, player, changed });
    this.element = h("section", { class: "card detail", "aria-label": "Selected stretch" });
    this.sides = h("div", { class: "sides", role: "group", "aria-label": "Which side is heard" });
    this.bar = h("input", {
      type: "range",
      min: 0,
      max: 1000,
      value: 0,
      "aria-label": "Place in the stretch",
      on: { input: () => player.seek((this.bar.value / 1000) * player.length) },
    });
    this.times = h("div", { class: "row between tiny soft number" });
    this.press = h("button", { type: "button", class: "button main round play", on: { click: () => this.toggle() } });
    player.addEventListener("change", () => this.showPlaying());
    player.addEventListener("trouble", (event) => tell(event.detail));
    this.clear();
  }

  clear() {
    fill(
      this.element,
      h(
        "div",
        { class: "empty" },
        icon("music"),
        h("p", {}, "Choose a stretch of the timeline to hear it and to decide."),
      ),
    );
  }

  /** Show this item; the player is loaded with its sides. */
  show(item) {
    const same = this.item?.number === item.number && named(this.item)?.id === named(item)?.id;
    this.item = item;
    const recording = named(item);
    if (!same) this.load(item, recording);
    const deciding = Boolean(document.activeElement.closest(".decide, .decided"));
    fill(
      this.element,
      h(
        "div",
        { class: "stack tight" },
        h(
          "div",
          { class: "row between" },
          whatItIs(item),
          item.recording && !item.correct && sure(item.confidence),
        ),
        h(
          "div",
          {},
          h("h2", { class: "match-title wrap" }, titleOf(item)),
          recording && h("p", { class: "wrap" }, artists(recording)),
          recording?.album && h("p", { class: "small soft wrap" }, recording.album),
          item.unknown && !recording && h("p", { class: "small soft" }, "It has this number wherever it is heard."),
          item.original &&
            recording &&
            item.original.id !== recording.id &&
            h("p", { class: "small soft wrap" }, `A version of ${item.original.title} by ${artists(item.original)}`),
        ),
      ),
      this.listening(recording),
      this.facts(item, recording),
      item.kind === "cover" && !item.correct && new Similarity(this.job, item, this.player).element,
      this.decisions(item),
    );
    this.showPlaying();
    // Whoever has pressed Accept can press Undo next.
    if (deciding) this.element.querySelector(".decide > button, .decided > button")?.focus({ preventScroll: true });
  }

  load(item, recording) {
    const length = item.end - item.start;
    const of = (path) => (start, seconds) => address(path, { start, duration: seconds });
    const sides = [
      {
        name: "This file",
        address: of(`v1/jobs/${this.job.id}/audio`),
        start: item.start,
        rate: 1,
        end: this.job.result.duration,
      },
    ];
    if (recording && item.reference_start !== undefined && !item.correct) {
      sides.push({
        name: "The recording",
        address: of(`v1/recordings/${recording.id}/audio`),
        start: item.reference_start,
        rate: item.speed,
        end: recording.duration,
      });
    } else if (recording) {
      sides.push({
        name: "The recording",
        address: of(`v1/recordings/${recording.id}/audio`),
        start: 0,
        rate: 1,
        end: recording.duration,
      });
    }
    this.player.load(sides, length);
  }

  listening() {
    fill(
      this.sides,
      this.player.sides.map((side, number) =>
        h(
          "button",
          { type: "button", class: "side", value: number, on: { click: () => this.player.switchTo(number) } },
          h("b", { "aria-hidden": "true" }, "AB"[number]),
          side.name,
        ),
      ),
    );
    return h(
      "div",
      { class: "listening" },
      h("div", { class: "row" }, this.press, h("div", { class: "grow" }, this.bar, this.times)),
      this.player.sides.length > 1 && this.sides,
    );
  }

  showPlaying() {
    const { player } = this;
    if (!player.sides.length) return;
    fill(this.press, icon(player.playing ? "pause" : "play"));
    this.press.setAttribute(
      "aria-label",
      player.playing ? "Pause" : `Play ${player.sides[player.side].name.toLowerCase()}`,
    );
    this.press.classList.toggle("loading", Boolean(player.loading));
    [...this.sides.children].forEach((each, number) =>
      each.setAttribute("aria-pressed", String(number === player.side)),
    );
    this.tick();
  }

  tick() {
    const { player } = this,
      at = player.position;
    this.bar.value = player.length ? (1000 * at) / player.length : 0;
    this.bar.setAttribute("aria-valuetext", `${spoken(at)} of ${spoken(player.length)}`);
    const [file, recording] = player.sides.map((side) => clock(side.start + at * side.rate, true));
    fill(this.times, h("span", {}, `A ${file}`), recording && h("span", {}, `B ${recording}`));
  }

  toggle() {
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  facts(item, recording) {
    const rows = [["In this file", `${clock(item.start, true)} to ${clock(item.end, true)}`]];
    if (item.recording && !item.correct) {
      rows.push(
        ["In the recording", `${clock(item.reference_start, true)} to ${clock(item.reference_end, true)}`],
        ["Speed", speed(item.speed)],
        ["Key", keyShift(item.key_shift)],
      );
    } else rows.push(["Length", spoken(item.end - item.start)]);
    if (recording?.isrc) rows.push(["ISRC", recording.isrc]);
    return h(
      "dl",
      { class: "facts" },
      rows.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "number" }, value)]),
    );
  }

  decisions(item) {
    if (!may("write")) return item.verdict ? h("p", { class: "small soft" }, said(item)) : null;
    if (item.verdict) {
      const bad = item.decided === "rejected";
      return h(
        "div",
        { class: "decided" },
        note(said(item), bad ? "bad" : "good", bad ? "cross" : "check"),
        button("Undo", () => this.decide(item, null), { kind: "quiet compact" }),
      );
    }
    if (!item.recording) {
      return h(
        "div",
        { class: "row decide" },
        button("Name it", () => this.name(item), { kind: "main", sign: "edit" }),
        button("It is in the library", () => this.correct(item), { sign: "search" }),
      );
    }
    return h(
      "div",
      { class: "row decide" },
      button("Accept", () => this.decide(item, { verdict: "accept" }), { sign: "check" }),
      button("Reject", () => this.decide(item, { verdict: "reject" }), { sign: "cross" }),
      button("Correct", () => this.correct(item), { sign: "edit" }),
    );
  }

  async decide(item, decision) {
    const path = `v1/jobs/${this.job.id}/${item.part}s/${item.position}/verdict`;
    await trying(async () => {
      await send(decision ? "POST" : "DELETE", path, decision ?? undefined);
      await this.changed();
    });
  }

  async correct(item) {
    const recording = await chooseRecording("Which recording is it?");
    if (recording) await this.decide(item, { verdict: "correct", recording: recording.id });
  }

  async name(item) {
    await asked(
      "Name this music",
      [
        h(
          "p",
          { class: "soft small" },
          `The stretch from ${clock(item.start)} to ${clock(item.end)} becomes a recording, and is found from then on.`,
        ),
        field("Title", h("input", { name: "title", required: true, maxLength: 1000 })),
        field(
          "Artists",
          h("input", { name: "artists", maxLength: 1000, placeholder: "Several are parted by semicolons" }),
        ),
        field("Album", h("input", { name: "album", maxLength: 1000 })),
      ],
      {
        yes: "Add to the library",
        onYes: async (form) => {
          const list = String(form.get("artists"))
            .split(";")
            .map((name) => name.trim())
            .filter(Boolean);
          const added = await send("POST", `v1/jobs/${this.job.id}/gaps/${item.position}/recording`, {
            title: form.get("title"),
            artists: list,
            album: form.get("album"),
          });
          tell(`${added.recording.title} was added to the library`);
          await this.changed();
        },
      },
    );
  }
}

/** What was found, or that somebody knew better: how sure it was then no longer matters. */
function whatItIs(item) {
  if (item.correct) return chip(capital(item.decided), "good", "edit");
  if (item.recording) return kindChip(item.kind);
  return chip(SOUNDS[item.sound], "", item.sound === "music" ? "question" : "");
}

function said({ decided, verdict, recording }) {
  const told = `${capital(decided)} · ${moment(verdict.at)}`;
  return decided === "corrected" ? `${told}. It was found as ${recording.title || "Untitled"}` : told;
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}
