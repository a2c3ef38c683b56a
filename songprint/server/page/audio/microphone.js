// Records the microphone and measures its level.

import { messageOf } from "../api.js";
import { RATE, Resampler, wav } from "./wav.js";

/** Why the browser provides no microphone to this page; empty if it may provide one. */
export function unavailableReason() {
  const { mediaDevices } = /** @type {Partial<Navigator>} */ (navigator);
  if (mediaDevices) return "";
  if (!window.isSecureContext) {
    return (
      "Browsers allow the microphone on secure pages only: at https:// or at localhost. Open this page at" +
      " http://localhost on the server itself, or set up a proxy with a certificate. Identify accepts files instead."
    );
  }
  return "This browser provides no microphone to web pages. Identify accepts files instead.";
}

/**
 * Explain why the microphone could not be opened.
 *
 * @param {unknown} error
 */
export function describeError(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError")
    return "The microphone is blocked for this page. Allow it in the browser's address bar, then try again.";
  if (name === "NotFoundError") return "No microphone was found. Connect one, then try again.";
  return `The microphone cannot be used: ${messageOf(error)}`;
}

export class Microphone {
  constructor() {
    /** @type {Float32Array[]} */
    this.blocks = [];
    this.samples = 0;
    this.level = 0; // root mean square of the last block
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {AudioContext | null} */
    this.context = null;
  }

  /** Ask for the microphone and start recording. */
  async open() {
    // These filters are made for speech and distort music.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    const resampler = new Resampler(this.context.sampleRate);
    const node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    node.port.onmessage = (/** @type {MessageEvent<Float32Array>} */ { data }) => {
      this.level = Math.sqrt(data.reduce((sum, sample) => sum + sample * sample, 0) / data.length);
      const block = resampler.push(data);
      this.blocks.push(block);
      this.samples += block.length;
    };
    this.context.createMediaStreamSource(this.stream).connect(node);
    await this.context.resume();
  }

  /** Seconds recorded so far. */
  get seconds() {
    return this.samples / RATE;
  }

  /** Everything recorded so far, as a WAV file. */
  toWav() {
    const all = new Float32Array(this.samples);
    let offset = 0;
    for (const block of this.blocks) {
      all.set(block, offset);
      offset += block.length;
    }
    return wav(all);
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.context?.close();
  }
}
