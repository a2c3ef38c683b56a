// The cross-similarity of a cover and its reference as a picture, with the alignment drawn on it.

/** @import { SimilarityPicture } from "../types.js" */

import { getJson, messageOf } from "../api.js";
import { note } from "../components.js";
import { fill, h } from "../dom.js";
import { describeKeyShift, describeSpeed } from "../format.js";

export class Similarity {
  /**
   * @param {string} path Of the request for the picture.
   * @param {string} caption
   * @param {(seconds: number) => void} [onSeek] Receives the clicked time, from the start of the picture.
   */
  constructor(path, caption, onSeek) {
    this.canvas = h("canvas", {
      class: "similarity",
      width: 10,
      height: 10,
      role: "img",
      tabIndex: 0,
      "aria-label": "Computing the alignment…",
    });
    this.caption = h("figcaption", { class: "small soft" }, "Computing the alignment…");
    this.onSeek = onSeek;
    this.element = h("figure", { class: "similarity-figure" }, this.canvas, this.caption);
    this.load(path, caption);
  }

  /**
   * @param {string} path
   * @param {string} caption
   */
  async load(path, caption) {
    try {
      /** @type {SimilarityPicture} */
      const picture = await getJson(path);
      this.draw(picture);
      const description = picture.path.length
        ? `Alignment: ${describeKeyShift(picture.key_shift)}, ${describeSpeed(picture.speed)}`
        : "No alignment";
      this.canvas.setAttribute("aria-label", description);
      fill(this.caption, caption);
    } catch (error) {
      fill(this.element, note(messageOf(error)));
    }
  }

  /** @param {SimilarityPicture} picture */
  draw({ query, reference, width, height, pixels, path }) {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    if (!context) return;
    canvas.width = width;
    canvas.height = height;
    const style = getComputedStyle(canvas);
    const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
    context.putImageData(shade(context, bytes, rgb(style.color), rgb(style.backgroundColor)), 0, 0);
    const x = (/** @type {number} */ time) => ((time - query.start) / (query.end - query.start)) * width;
    const y = (/** @type {number} */ time) =>
      height - ((time - reference.start) / (reference.end - reference.start)) * height;
    context.strokeStyle = style.getPropertyValue("--path");
    context.lineWidth = Math.max(1.5, width / 160);
    for (const line of path) {
      context.beginPath();
      for (const [queryTime, referenceTime] of line) context.lineTo(x(queryTime), y(referenceTime));
      context.stroke();
    }
    canvas.onclick = (event) => {
      const box = canvas.getBoundingClientRect();
      this.onSeek?.(((event.clientX - box.left) / box.width) * (query.end - query.start));
    };
  }
}

/**
 * An image of bytes: 0 is `light`, 255 is `dark`. The first row is drawn at the bottom.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Uint8Array} bytes
 * @param {number[]} dark
 * @param {number[]} light
 */
function shade(context, bytes, dark, light) {
  const { width, height } = context.canvas;
  const image = context.createImageData(width, height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const share = bytes[row * width + column] / 255;
      const offset = 4 * ((height - 1 - row) * width + column);
      for (let channel = 0; channel < 3; channel += 1)
        image.data[offset + channel] = light[channel] + (dark[channel] - light[channel]) * share;
      image.data[offset + 3] = 255;
    }
  }
  return image;
}

/** @param {string} colour Such as rgb(1, 2, 3). */
function rgb(colour) {
  return (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
}
