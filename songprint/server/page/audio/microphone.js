// The microphone: its level, and what it heard so far.

import { Resampler, wav } from "./wav.js";

/** Why there is no microphone here, in words; empty if there may be one. */
export function forbidden() {
  if (navigator.mediaDevices?.getUserMedia) return "";
  if (!window.isSecureContext) {
    return (
      "Browsers give the microphone to secure pages only: those at https:// and at localhost. Open this page at" +
      " http://localhost on the server itself, or put a proxy with a certificate before it. Identify takes a file instead."
    );
  }
  return "This browser has no microphone for pages. Identify takes a file instead.";
}

/** What a failure to open the microphone means. */
export function refusal(error) {
  if (error.name === "NotAllowedError")
    return "The microphone is blocked for this page. Allow it in the browser's address bar, then try again.";
  if (error.name === "NotFoundError") return "No microphone was found. Connect one, then try again.";
  return `The microphone cannot be used: ${error.message}`;
}

export class Microphone {
  constructor() {
    this.blocks = [];
    this.samples = 0;
    this.level = 0;
  }

  async open() {
    // What makes a voice clear makes music unclear.
    const wanted = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    const resampler = new Resampler(this.context.sampleRate);
    const node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => {
      this.level = Math.sqrt(data.reduce((sum, sample) => sum + sample * sample, 0) / data.length);
      const block = resampler.push(data);
      this.blocks.push(block);
      this.samples += block.length;
    };
    this.context.createMediaStreamSource(this.stream).connect(node);
    await this.context.resume();
  }

  /** Seconds heard so far. */
  get seconds() {
    return this.samples / 16000;
  }

  /** Everything heard so far, as a file. */
  heard() {
    const all = new Float32Array(this.samples);
    let at = 0;
    for (const block of this.blocks) {
      all.set(block, at);
      at += block.length;
    }
    return wav(all);
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }
}
