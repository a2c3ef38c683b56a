// The picture of a timeline: waveform, axis, lanes of segments; zoom, pan, selection, keyboard.

import { fill, h } from "../dom.js";
import { hue, signButton } from "../parts.js";
import { clock } from "../words.js";
import { bounded, described, LANES, named, rows, ticks, titleOf, zoomed } from "./plan.js";

const ROW = 34,
  GAP = 4,
  WAVE = 92,
  OVERVIEW = 34; // pixels

/**
 * `items` as plan.js makes them. Emits "select" (detail: item), "seek" (seconds), "toggle", "switch" and "view".
 */
export class Chart extends EventTarget {
  constructor(duration, items) {
    super();
    Object.assign(this, {
      duration: Math.max(duration, 0.1),
      items,
      selected: null,
      playhead: null,
      peaks: null,
      detail: null,
    });
    this.view = { from: 0, to: this.duration };
    this.wave = h("canvas", { class: "tl-wave", "aria-hidden": "true" });
    this.axis = h("div", { class: "tl-axis number", "aria-hidden": "true" });
    this.lanes = h("div", { class: "tl-lanes" });
    this.head = h("i", { class: "tl-playhead", hidden: true });
    this.overview = h("canvas", { class: "tl-overview", "aria-hidden": "true" });
    this.span = h("span", { class: "small soft number" });
    this.stage = h("div", { class: "tl-stage" }, this.wave, this.axis, this.lanes, this.head);
    this.element = h(
      "section",
      { class: "card timeline", "aria-label": "Timeline", "aria-keyshortcuts": "ArrowLeft ArrowRight + - 0 Space b" },
      h(
        "div",
        { class: "row between tl-tools" },
        this.span,
        h(
          "div",
          { class: "row tight" },
          signButton("minus", "Zoom out", () => this.zoom(1.8), { kind: "compact" }),
          signButton("plus", "Zoom in", () => this.zoom(1 / 1.8), { kind: "compact" }),
          signButton("fit", "Show all", () => this.show({ from: 0, to: this.duration }), { kind: "compact" }),
        ),
      ),
      this.stage,
      this.overview,
      h(
        "p",
        { class: "tiny soft tl-keys" },
        "Keys: ← → choose, + − zoom, 0 all, space plays, B changes between this file and the recording",
      ),
    );
    this.listen();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.stage);
    this.build();
  }

  /** Other items, or others' verdicts: the view stays, and so does the focus. */
  replace(items) {
    const focused = this.lanes.contains(document.activeElement) ? document.activeElement.dataset.number : null;
    this.items = items;
    this.selected = this.selected && items[this.selected.number];
    this.build();
    this.draw();
    if (focused !== null) this.buttons.get(Number(focused))?.focus();
  }

  build() {
    this.buttons = new Map();
    fill(
      this.lanes,
      LANES.map(([lane, label]) => {
        const inside = this.items.filter((item) => item.lane === lane);
        if (!inside.length) return null;
        const placed = rows(inside),
          deep = 1 + Math.max(...placed.map(({ row }) => row));
        return h(
          "div",
          { class: "tl-lane", role: "group", "aria-label": label },
          h("span", { class: "tl-name" }, label),
          h(
            "div",
            { class: "tl-row", style: { height: `${deep * (ROW + GAP) - GAP}px` } },
            placed.map(({ item, row }) => this.segment(item, row)),
          ),
        );
      }),
    );
  }

  segment(item, row) {
    const recording = named(item);
    const made = h(
      "button",
      {
        type: "button",
        class: `segment ${item.lane} ${item.sound ?? ""} ${item.decided}`,
        "aria-label": described(item),
        title: described(item),
        tabIndex: -1,
        data: { number: item.number },
        style: { top: `${row * (ROW + GAP)}px`, "--hue": recording ? hue(recording) : 0 },
        on: { click: () => this.select(item) },
      },
      h("span", {}, titleOf(item)),
    );
    this.buttons.set(item.number, made);
    return made;
  }

  select(item, { focus = false } = {}) {
    this.selected = item;
    this.mark();
    if (item.end <= this.view.from || item.start >= this.view.to) {
      const length = this.view.to - this.view.from,
        middle = (item.start + item.end) / 2;
      this.show({ from: middle - length / 2, to: middle + length / 2 });
    }
    this.draw();
    if (focus) this.buttons.get(item.number)?.focus();
    this.emit("select", item);
  }

  mark() {
    const first = this.selected ?? this.items[0];
    for (const [number, button] of this.buttons) {
      button.setAttribute("aria-pressed", String(number === this.selected?.number));
      button.tabIndex = number === first?.number ? 0 : -1;
    }
  }

  setPeaks(peaks) {
    this.peaks = peaks;
    this.draw();
  }
  setDetail(peaks) {
    this.detail = peaks;
    this.draw();
  }

  setPlayhead(seconds) {
    this.playhead = seconds;
    const share = seconds === null ? -1 : (seconds - this.view.from) / (this.view.to - this.view.from);
    this.head.hidden = share < 0 || share > 1;
    this.head.style.left = `${100 * share}%`;
  }

  zoom(factor, around) {
    const middle = this.selected
      ? Math.min(Math.max((this.selected.start + this.selected.end) / 2, this.view.from), this.view.to)
      : (this.view.from + this.view.to) / 2;
    this.show(zoomed(this.view, factor, around ?? middle, this.duration));
  }

  show(view) {
    this.view = bounded(view, this.duration);
    this.draw();
    this.emit("view", this.view);
  }

  listen() {
    const at = (event) => {
      const box = this.stage.getBoundingClientRect();
      return this.view.from + ((event.clientX - box.left) / box.width) * (this.view.to - this.view.from);
    };
    this.stage.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(event.deltaY / 250), at(event));
        else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX);
        else return;
        event.preventDefault();
      },
      { passive: false },
    );
    this.drag(this.wave, at);
    this.drag(this.axis, at);
    const overview = (event) => {
      const box = this.overview.getBoundingClientRect(),
        length = this.view.to - this.view.from;
      const middle = ((event.clientX - box.left) / box.width) * this.duration;
      this.show({ from: middle - length / 2, to: middle + length / 2 });
    };
    this.overview.addEventListener("pointerdown", (event) => {
      this.overview.setPointerCapture(event.pointerId);
      overview(event);
    });
    this.overview.addEventListener("pointermove", (event) => {
      if (event.buttons) overview(event);
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  /** A click goes there, a drag moves what is shown. */
  drag(element, at) {
    let from = null,
      moved = false;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      from = event.clientX;
      moved = false;
    });
    element.addEventListener("pointermove", (event) => {
      if (from === null || (Math.abs(event.clientX - from) < 4 && !moved)) return;
      moved = true;
      this.pan(from - event.clientX);
      from = event.clientX;
    });
    element.addEventListener("pointerup", (event) => {
      if (!moved && from !== null) this.emit("seek", at(event));
      from = null;
    });
    element.addEventListener("pointercancel", () => {
      from = null;
    });
  }

  pan(pixels) {
    const shift = (pixels / this.stage.clientWidth) * (this.view.to - this.view.from);
    this.show({ from: this.view.from + shift, to: this.view.to + shift });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (to) => {
      const item = this.items[to];
      if (item) this.select(item, { focus: true });
    };
    const now = this.selected?.number ?? -1;
    const does = {
      ArrowRight: () => step(now + 1),
      ArrowLeft: () => step(now - 1),
      Home: () => step(0),
      End: () => step(this.items.length - 1),
      "+": () => this.zoom(1 / 1.8),
      "=": () => this.zoom(1 / 1.8),
      "-": () => this.zoom(1.8),
      0: () => this.show({ from: 0, to: this.duration }),
      " ": () => this.emit("toggle"),
      b: () => this.emit("switch"),
    }[event.key];
    if (!does || (event.key === " " && event.target.closest(".tl-tools"))) return;
    event.preventDefault();
    does();
  }

  draw() {
    const width = this.stage.clientWidth;
    if (!width) return;
    const { from, to } = this.view,
      length = to - from;
    this.span.textContent =
      length >= this.duration - 0.01
        ? `${clock(this.duration)} in all`
        : `${clock(from)} to ${clock(to)} of ${clock(this.duration)}`;
    this.overview.hidden = length >= this.duration - 0.01;
    for (const item of this.items) {
      const { style } = this.buttons.get(item.number);
      style.left = `${(100 * (item.start - from)) / length}%`;
      style.width = `max(3px, ${(100 * (item.end - item.start)) / length}% - 1.5px)`;
      const button = this.buttons.get(item.number);
      const pixels = ((Math.min(item.end, to) - Math.max(item.start, from)) / length) * width;
      button.classList.toggle("narrow", pixels < 44);
      // The name stays in sight.
      button.firstChild.style.left = `${Math.max(0, ((from - item.start) / length) * width)}px`;
    }
    const { at } = ticks(from, to, width);
    fill(
      this.axis,
      at.map((moment) =>
        h("span", { style: { left: `${(100 * (moment - from)) / length}%` } }, clock(moment, length < 8)),
      ),
    );
    this.mark();
    this.setPlayhead(this.playhead);
    paint(this.wave, WAVE, this.view, this.detail ?? this.peaks, this.peaks, this.selected);
    if (!this.overview.hidden)
      paint(this.overview, OVERVIEW, { from: 0, to: this.duration }, this.peaks, this.peaks, null, this.view);
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Bars of how loud it is; what is selected stands out, what is `framed` has a frame. */
function paint(canvas, height, view, peaks, coarse, selected, framed = null) {
  const scale = window.devicePixelRatio || 1,
    width = canvas.clientWidth;
  if (!width) return;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  const middle = height / 2,
    length = view.to - view.from;
  for (let x = 0; x < width; x += 3) {
    const start = view.from + (x / width) * length,
      end = view.from + ((x + 3) / width) * length;
    const loud = loudest(peaks, start, end) ?? loudest(coarse, start, end);
    const high = loud === null ? 1 : Math.max(1.5, loud * (height - 8));
    context.fillStyle =
      selected && end > selected.start && start < selected.end ? colour("--wave-selected") : colour("--wave");
    context.fillRect(x, middle - high / 2, 2, high);
  }
  if (framed) {
    const left = (framed.from / length) * width,
      right = (framed.to / length) * width;
    context.fillStyle = colour("--wave-frame");
    context.fillRect(left, 0, Math.max(3, right - left), height);
  }
}

function loudest(peaks, start, end) {
  if (!peaks || end <= peaks.start || start >= peaks.end) return null;
  const each = (peaks.end - peaks.start) / peaks.peaks.length;
  const first = Math.max(0, Math.floor((start - peaks.start) / each)),
    last = Math.min(peaks.peaks.length, Math.max(first + 1, Math.ceil((end - peaks.start) / each)));
  let most = 0;
  for (let at = first; at < last; at += 1) most = Math.max(most, peaks.peaks[at]);
  return most;
}
