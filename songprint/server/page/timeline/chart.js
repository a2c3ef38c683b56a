// The picture of a timeline: waveform, axis, segments and gaps; zooming, panning, selection, keyboard.

/** @import { Peaks } from "../types.js" */
/** @import { Item, Range } from "./layout.js" */

import { hueOf, iconButton } from "../components.js";
import { Emitter, fill, find, h } from "../dom.js";
import { formatTime } from "../format.js";
import {
  assignRows,
  axisTicks,
  clampRange,
  describeItem,
  GROUPS,
  itemTitle,
  recordingOf,
  soundOf,
  zoomRange,
} from "./layout.js";

const ROW_HEIGHT = 34; // pixels, as are the next three
const ROW_GAP = 4;
const WAVE_HEIGHT = 92;
const OVERVIEW_HEIGHT = 34;
const BAR_STEP = 3; // pixels from one bar of the waveform to the next
const MIN_LABEL = 44; // pixels; narrower items show no title
const DRAG_THRESHOLD = 4; // pixels; a shorter movement is a click
const ZOOM_STEP = 1.8;

/**
 * Emits "select" with an item, "seek" with a time, "range" with the visible range, "toggle" to play or pause and
 * "switch" to hear the other audio.
 *
 * @extends {Emitter<{ select: Item, seek: number, range: Range, toggle: void, switch: void }>}
 */
export class Chart extends Emitter {
  /**
   * @param {number} duration Seconds.
   * @param {Item[]} items
   */
  constructor(duration, items) {
    super();
    this.duration = Math.max(duration, 0.1);
    this.items = items;
    /** @type {Item | null} */
    this.selected = null;
    /** @type {number | null} */
    this.playhead = null;
    /** @type {Peaks | null} Of the whole timeline. */
    this.peaks = null;
    /** @type {Peaks | null} Of the visible range. */
    this.detailPeaks = null;
    /** @type {Range} */
    this.range = { from: 0, to: this.duration };
    /** @type {Map<number, HTMLButtonElement>} Item number to its button. */
    this.buttons = new Map();
    this.wave = h("canvas", { class: "tl-wave", "aria-hidden": "true" });
    this.waveStatus = h("p", { class: "tl-wave-status tiny soft" }, "Loading the waveform…");
    this.axis = h("div", { class: "tl-axis number", "aria-hidden": "true" });
    this.groups = h("div", { class: "tl-groups" });
    this.playheadLine = h("i", { class: "tl-playhead", hidden: true });
    this.overview = h("canvas", { class: "tl-overview", "aria-hidden": "true" });
    this.rangeText = h("span", { class: "small soft number" });
    this.stage = h("div", { class: "tl-stage" }, this.wave, this.waveStatus, this.axis, this.groups, this.playheadLine);
    this.element = h(
      "section",
      { class: "card timeline", "aria-label": "Timeline", "aria-keyshortcuts": "ArrowLeft ArrowRight + - 0 Space b" },
      this.toolbar(),
      this.stage,
      this.overview,
      h(
        "p",
        { class: "tiny soft tl-keys" },
        "Keys: ← → select, + − zoom, 0 show all, Space play or pause, B switch between this file and the recording",
      ),
    );
    this.addListeners();
    new ResizeObserver(() => this.draw()).observe(this.stage);
    this.build();
  }

  toolbar() {
    return h(
      "div",
      { class: "row between tl-tools" },
      this.rangeText,
      h(
        "div",
        { class: "row tight" },
        iconButton("minus", "Zoom out", () => this.zoom(ZOOM_STEP), { kind: "compact" }),
        iconButton("plus", "Zoom in", () => this.zoom(1 / ZOOM_STEP), { kind: "compact" }),
        iconButton("fit", "Show all", () => this.showAll(), { kind: "compact" }),
      ),
    );
  }

  /**
   * Replace the items after verdicts have changed; the visible range and the focus stay.
   *
   * @param {Item[]} items
   */
  replace(items) {
    const focused = [...this.buttons].find(([, button]) => button === document.activeElement)?.[0];
    this.items = items;
    this.selected = this.selected && items[this.selected.number];
    this.build();
    this.draw();
    if (focused !== undefined) this.buttons.get(focused)?.focus();
  }

  build() {
    this.buttons = new Map();
    fill(
      this.groups,
      GROUPS.map(([group, label]) => {
        const items = this.items.filter((item) => item.group === group);
        if (!items.length) return null;
        const placed = assignRows(items);
        const rows = 1 + Math.max(...placed.map(({ row }) => row));
        return h(
          "div",
          { class: "tl-group", role: "group", "aria-label": label },
          h("span", { class: "tl-name" }, label),
          h(
            "div",
            { class: "tl-rows", style: { height: `${rows * (ROW_HEIGHT + ROW_GAP) - ROW_GAP}px` } },
            placed.map(({ item, row }) => this.itemButton(item, row)),
          ),
        );
      }),
    );
  }

  /**
   * @param {Item} item
   * @param {number} row
   */
  itemButton(item, row) {
    const recording = recordingOf(item);
    const description = describeItem(item);
    const button = h(
      "button",
      {
        type: "button",
        class: `segment ${item.group} ${soundOf(item)} ${item.decision}`,
        "aria-label": description,
        title: description,
        tabIndex: -1,
        data: { number: item.number },
        style: { top: `${row * (ROW_HEIGHT + ROW_GAP)}px`, "--hue": recording ? hueOf(recording) : 0 },
        on: { click: () => this.select(item) },
      },
      h("span", {}, itemTitle(item)),
    );
    this.buttons.set(item.number, button);
    return button;
  }

  /**
   * @param {Item} item
   * @param {{ focus?: boolean }} [options]
   */
  select(item, { focus = false } = {}) {
    this.selected = item;
    if (item.end <= this.range.from || item.start >= this.range.to) this.centerOn((item.start + item.end) / 2);
    this.draw();
    if (focus) this.buttons.get(item.number)?.focus();
    this.emit("select", item);
  }

  /** Mark the selected item; it is the one that the Tab key reaches. */
  markSelected() {
    const reachable = this.selected ?? this.items[0];
    for (const [number, button] of this.buttons) {
      button.setAttribute("aria-pressed", String(number === this.selected?.number));
      button.tabIndex = number === reachable?.number ? 0 : -1;
    }
  }

  /** @param {Peaks | null} peaks Null: the audio is not available. */
  setPeaks(peaks) {
    this.peaks = peaks;
    this.waveStatus.textContent = peaks ? "" : "The audio is no longer available";
    this.draw();
  }

  /** @param {Peaks | null} peaks */
  setDetailPeaks(peaks) {
    this.detailPeaks = peaks;
    this.draw();
  }

  /** @param {number | null} time */
  setPlayhead(time) {
    this.playhead = time;
    const share = time === null ? -1 : (time - this.range.from) / (this.range.to - this.range.from);
    this.playheadLine.hidden = share < 0 || share > 1;
    this.playheadLine.style.left = `${100 * share}%`;
  }

  /**
   * @param {number} factor Below 1 zooms in.
   * @param {number} [around] The time that keeps its place; by default that of the selected item.
   */
  zoom(factor, around) {
    const middle = this.selected
      ? Math.min(Math.max((this.selected.start + this.selected.end) / 2, this.range.from), this.range.to)
      : (this.range.from + this.range.to) / 2;
    this.show(zoomRange(this.range, factor, around ?? middle, this.duration));
  }

  /** @param {Range} range */
  show(range) {
    this.range = clampRange(range, this.duration);
    this.draw();
    this.emit("range", this.range);
  }

  showAll() {
    this.show({ from: 0, to: this.duration });
  }

  /** @param {number} time */
  centerOn(time) {
    const length = this.range.to - this.range.from;
    this.show({ from: time - length / 2, to: time + length / 2 });
  }

  /** @param {MouseEvent} event */
  timeAt(event) {
    const box = this.stage.getBoundingClientRect();
    return this.range.from + ((event.clientX - box.left) / box.width) * (this.range.to - this.range.from);
  }

  addListeners() {
    this.stage.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(event.deltaY / 250), this.timeAt(event));
        else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX);
        else return;
        event.preventDefault();
      },
      { passive: false },
    );
    this.addDragging(this.wave);
    this.addDragging(this.axis);
    const moveTo = (/** @type {PointerEvent} */ event) => {
      const box = this.overview.getBoundingClientRect();
      this.centerOn(((event.clientX - box.left) / box.width) * this.duration);
    };
    this.overview.addEventListener("pointerdown", (event) => {
      this.overview.setPointerCapture(event.pointerId);
      moveTo(event);
    });
    this.overview.addEventListener("pointermove", (event) => {
      if (event.buttons) moveTo(event);
    });
    this.element.addEventListener("keydown", (event) => this.handleKey(event));
  }

  /**
   * Dragging the element pans; a click seeks.
   *
   * @param {HTMLElement} element
   */
  addDragging(element) {
    /** @type {number | null} */
    let last = null;
    let hasMoved = false;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      last = event.clientX;
      hasMoved = false;
    });
    element.addEventListener("pointermove", (event) => {
      if (last === null || (Math.abs(event.clientX - last) < DRAG_THRESHOLD && !hasMoved)) return;
      hasMoved = true;
      this.pan(last - event.clientX);
      last = event.clientX;
    });
    element.addEventListener("pointerup", (event) => {
      if (!hasMoved && last !== null) this.emit("seek", this.timeAt(event));
      last = null;
    });
    element.addEventListener("pointercancel", () => {
      last = null;
    });
  }

  /** @param {number} pixels */
  pan(pixels) {
    const shift = (pixels / this.stage.clientWidth) * (this.range.to - this.range.from);
    this.show({ from: this.range.from + shift, to: this.range.to + shift });
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const selectNumber = (/** @type {number} */ number) => {
      const item = this.items[number];
      if (item) this.select(item, { focus: true });
    };
    const current = this.selected?.number ?? -1;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowRight: () => selectNumber(current + 1),
      ArrowLeft: () => selectNumber(current - 1),
      Home: () => selectNumber(0),
      End: () => selectNumber(this.items.length - 1),
      "+": () => this.zoom(1 / ZOOM_STEP),
      "=": () => this.zoom(1 / ZOOM_STEP),
      "-": () => this.zoom(ZOOM_STEP),
      0: () => this.showAll(),
      " ": () => this.emit("toggle", undefined),
      b: () => this.emit("switch", undefined),
    };
    const action = actions[event.key];
    // On a button of the toolbar, the space key presses it.
    const isPress = event.key === " " && event.target instanceof Element && event.target.closest(".tl-tools");
    if (!action || isPress) return;
    event.preventDefault();
    action();
  }

  draw() {
    const width = this.stage.clientWidth;
    if (!width) return;
    const { from, to } = this.range;
    const length = to - from;
    const isAll = length >= this.duration - 0.01;
    this.rangeText.textContent = isAll
      ? `${formatTime(this.duration)} in total`
      : `${formatTime(from)} to ${formatTime(to)} of ${formatTime(this.duration)}`;
    this.overview.hidden = isAll;
    for (const item of this.items) this.placeItem(item, width);
    fill(
      this.axis,
      axisTicks(this.range, width).map((time) =>
        h("span", { style: { left: `${(100 * (time - from)) / length}%` } }, formatTime(time, length < 8)),
      ),
    );
    this.markSelected();
    this.setPlayhead(this.playhead);
    const finest = this.detailPeaks ?? this.peaks;
    drawWave(this.wave, WAVE_HEIGHT, this.range, [finest, this.peaks], { selected: this.selected });
    const all = { from: 0, to: this.duration };
    if (!isAll) drawWave(this.overview, OVERVIEW_HEIGHT, all, [this.peaks], { frame: this.range });
  }

  /**
   * @param {Item} item
   * @param {number} width Of the stage, in pixels.
   */
  placeItem(item, width) {
    const button = this.buttons.get(item.number);
    if (!button) return;
    const { from, to } = this.range;
    const length = to - from;
    button.style.left = `${(100 * (item.start - from)) / length}%`;
    button.style.width = `max(3px, ${(100 * (item.end - item.start)) / length}% - 1.5px)`;
    const visible = ((Math.min(item.end, to) - Math.max(item.start, from)) / length) * width;
    button.classList.toggle("narrow", visible < MIN_LABEL);
    // Keep the title visible when the item starts before the range.
    find(button, "span").style.left = `${Math.max(0, ((from - item.start) / length) * width)}px`;
  }
}

/**
 * Draw the loudness as bars. The selected interval has another colour; a frame marks a range.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} height Pixels.
 * @param {Range} range
 * @param {(Peaks | null)[]} sources The finest first; the coarse one is used where it does not cover the range.
 * @param {{ selected?: Item | null, frame?: Range }} marks
 */
function drawWave(canvas, height, range, [finest, coarse = finest], { selected, frame }) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const context = canvas.getContext("2d");
  if (!width || !context) return;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const plainColour = style.getPropertyValue("--wave");
  const selectedColour = style.getPropertyValue("--wave-selected");
  const length = range.to - range.from;
  for (let x = 0; x < width; x += BAR_STEP) {
    const start = range.from + (x / width) * length;
    const end = range.from + ((x + BAR_STEP) / width) * length;
    const loudness = maxLoudness(finest, start, end) ?? maxLoudness(coarse, start, end);
    const bar = loudness === null ? 1 : Math.max(1.5, loudness * (height - 8));
    const isSelected = selected && end > selected.start && start < selected.end;
    context.fillStyle = isSelected ? selectedColour : plainColour;
    context.fillRect(x, (height - bar) / 2, BAR_STEP - 1, bar);
  }
  if (frame) {
    const left = (frame.from / length) * width;
    const right = (frame.to / length) * width;
    context.fillStyle = style.getPropertyValue("--wave-frame");
    context.fillRect(left, 0, Math.max(3, right - left), height);
  }
}

/**
 * The maximum loudness of an interval; null where the peaks do not cover it.
 *
 * @param {Peaks | null} peaks
 * @param {number} start
 * @param {number} end
 */
function maxLoudness(peaks, start, end) {
  if (!peaks || end <= peaks.start || start >= peaks.end) return null;
  const step = (peaks.end - peaks.start) / peaks.peaks.length;
  const first = Math.max(0, Math.floor((start - peaks.start) / step));
  const last = Math.min(peaks.peaks.length, Math.max(first + 1, Math.ceil((end - peaks.start) / step)));
  return peaks.peaks.slice(first, last).reduce((loudest, peak) => Math.max(loudest, peak), 0);
}
