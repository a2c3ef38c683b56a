// How a cover corresponds to the recording: every moment of one against every moment of the other, and the path along
// which they agree.

import { fill, h } from "../dom.js";
import { note } from "../parts.js";
import { address, read } from "../service.js";
import { keyShift, speed } from "../words.js";

export class Similarity {
  constructor(job, item, player) {
    this.canvas = h("canvas", {
      class: "similarity",
      width: 10,
      height: 10,
      role: "img",
      tabIndex: 0,
      "aria-label": "It is being compared",
    });
    this.caption = h("figcaption", { class: "small soft" }, "Comparing…");
    this.canvas.setAttribute("aria-label", "Comparing…");
    this.player = player;
    this.element = h("figure", { class: "similarity-figure" }, this.canvas, this.caption);
    this.load(job, item);
  }

  async load(job, item) {
    try {
      const picture = await read(
        address(`v1/jobs/${job.id}/similarity`, { start: item.start, end: item.end, recording: item.recording.id }),
      );
      this.draw(picture);
      this.canvas.setAttribute(
        "aria-label",
        picture.path.length
          ? `Along the path they agree: ${keyShift(picture.key_shift)}, ${speed(picture.speed)}`
          : "No part corresponds",
      );
      fill(
        this.caption,
        "Across: this file. Up: the recording. Dark: alike. The line: how they go together. A click plays from there.",
      );
    } catch (error) {
      fill(this.element, note(error.message));
    }
  }

  /** `pixels` are bytes in base64, row after row, along the query; the first row is the recording's beginning. */
  draw({ query, reference, width, height, pixels, path }) {
    const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
    const { canvas } = this,
      context = canvas.getContext("2d");
    const style = getComputedStyle(canvas),
      ink = rgb(style.color),
      paper = rgb(style.backgroundColor);
    canvas.width = width;
    canvas.height = height;
    const image = context.createImageData(width, height);
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        const share = bytes[row * width + column] / 255,
          at = 4 * ((height - 1 - row) * width + column);
        for (let part = 0; part < 3; part += 1) image.data[at + part] = paper[part] + (ink[part] - paper[part]) * share;
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    const x = (seconds) => ((seconds - query.start) / (query.end - query.start)) * width;
    const y = (seconds) => height - ((seconds - reference.start) / (reference.end - reference.start)) * height;
    context.strokeStyle = style.getPropertyValue("--path");
    context.lineWidth = Math.max(1.5, width / 160);
    for (const line of path) {
      context.beginPath();
      line.forEach(([along, up], at) => (at ? context.lineTo(x(along), y(up)) : context.moveTo(x(along), y(up))));
      context.stroke();
    }
    canvas.onclick = (event) => {
      const box = canvas.getBoundingClientRect();
      this.player.seek(((event.clientX - box.left) / box.width) * (query.end - query.start));
    };
  }
}

function rgb(colour) {
  return colour
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
}
