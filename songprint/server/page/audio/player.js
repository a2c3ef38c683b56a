// Plays one of several aligned sources and switches between them at the corresponding position.
//
// The server decodes all audio, so formats that a browser cannot play work too.

import { messageOf } from "../api.js";
import { Emitter } from "../dom.js";
import { capitalize } from "../format.js";

const CHUNK = 8; // seconds per request; chunks start at multiples of it, so that they can be cached
const LEAD = 3; // seconds before the end of a chunk at which the next one is scheduled
const CACHED_CHUNKS = 24;
const RATE = 44100; // Hz of the server's audio: no chunk is resampled on its own, which would click at its ends

/**
 * Audio on the server. At `t` seconds of the first source, this one is at `start + rate * t`.
 *
 * @typedef {object} Source
 * @property {string} name
 * @property {(start: number, seconds: number) => string} address
 * @property {number} start Seconds.
 * @property {number} rate
 * @property {number} end Seconds.
 */

/**
 * Emits "change" when the state changes and "error" with a message when playing fails. Positions are seconds of the
 * first source.
 *
 * @extends {Emitter<{ change: void, error: string }>}
 */
export class Player extends Emitter {
  constructor() {
    super();
    /** @type {Source[]} */
    this.sources = [];
    this.source = 0; // index of the source that plays
    this.length = 0; // seconds
    this.paused = 0; // position while nothing plays
    this.loading = false;
    /** @type {{ when: number, position: number } | null} The audio context's time and the position of the start. */
    this.started = null;
    this.generation = 0; // increases whenever pending work becomes obsolete
    /** @type {Map<string, Promise<AudioBuffer>>} */
    this.chunks = new Map();
    /** @type {AudioBufferSourceNode[]} */
    this.nodes = [];
    /** @type {AudioContext | null} */
    this.context = null;
  }

  /**
   * Replace the sources and stop.
   *
   * @param {Source[]} sources
   * @param {number} length Seconds.
   */
  load(sources, length) {
    this.halt();
    Object.assign(this, { sources, length, source: 0, paused: 0 });
    this.chunks.clear();
    this.emit("change", undefined);
  }

  get isPlaying() {
    return this.started !== null || this.loading;
  }

  get position() {
    if (!this.started || !this.context) return this.paused;
    const elapsed = Math.max(0, this.context.currentTime - this.started.when);
    return Math.min(this.length, this.started.position + elapsed / this.sources[this.source].rate);
  }

  async play(position = this.paused, source = this.source) {
    const generation = ++this.generation;
    const context = this.context ?? new AudioContext({ sampleRate: RATE });
    this.context = context;
    this.loading = true;
    this.emit("change", undefined);
    try {
      const number = Math.floor(this.localTime(source, position) / CHUNK);
      const chunk = await this.chunk(source, number);
      await context.resume();
      if (generation !== this.generation) return;
      // The previous source has played on while the chunk was loading.
      const now = this.started ? this.position : position;
      this.silence();
      Object.assign(this, { source, paused: now, loading: false });
      const offset = this.localTime(source, now) - CHUNK * number;
      const when = context.currentTime + 0.03;
      this.started = { when, position: now };
      this.playChunks(context, number, chunk, when, Math.max(0, offset));
    } catch (error) {
      if (generation !== this.generation) return;
      this.halt();
      this.emit("error", messageOf(error));
    }
    this.emit("change", undefined);
  }

  /**
   * Play a chunk, and schedule the next one before it ends.
   *
   * @param {AudioContext} context
   * @param {number} number
   * @param {AudioBuffer} chunk
   * @param {number} when Time of the audio context.
   * @param {number} offset Seconds into the chunk.
   */
  async playChunks(context, number, chunk, when, offset) {
    const generation = this.generation;
    const node = new AudioBufferSourceNode(context, { buffer: chunk });
    node.connect(context.destination);
    node.start(when, offset);
    this.nodes.push(node);
    const end = when + chunk.duration - offset;
    const hasNext = chunk.duration >= CHUNK - 0.01 && CHUNK * (number + 1) < this.sources[this.source].end;
    this.prefetch();
    await this.waitUntil(context, end - LEAD);
    if (generation !== this.generation) return;
    if (hasNext && this.position < this.length) {
      const next = await this.chunk(this.source, number + 1).catch(() => null);
      if (generation !== this.generation) return;
      if (next) {
        this.playChunks(context, number + 1, next, Math.max(end, context.currentTime), 0);
        return;
      }
    }
    await this.waitUntil(context, end);
    if (generation === this.generation) this.stop();
  }

  /** Load what all sources play at this position, so that switching is immediate. */
  prefetch() {
    for (const source of this.sources.keys())
      this.chunk(source, Math.floor(this.localTime(source, this.paused) / CHUNK)).catch(() => {});
  }

  /**
   * Wait for a time of the audio context; return earlier when the playback changes or ends.
   *
   * @param {AudioContext} context
   * @param {number} when
   */
  async waitUntil(context, when) {
    const generation = this.generation;
    while (generation === this.generation && context.currentTime < when) {
      if (this.position >= this.length) {
        this.stop();
        return;
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 60);
      });
    }
  }

  /**
   * Switch to another source at the corresponding position.
   *
   * @param {number} source
   */
  switchTo(source) {
    if (this.isPlaying) this.play(this.position, source);
    else {
      this.source = source;
      this.emit("change", undefined);
    }
  }

  /** @param {number} position */
  seek(position) {
    const bounded = Math.min(Math.max(0, position), this.length);
    if (!this.isPlaying) {
      this.paused = bounded;
      this.emit("change", undefined);
      return;
    }
    this.silence();
    this.started = null;
    this.play(bounded);
  }

  pause() {
    this.paused = this.position;
    this.halt();
    this.emit("change", undefined);
  }

  stop() {
    this.halt();
    this.paused = 0;
    this.emit("change", undefined);
  }

  halt() {
    this.generation += 1;
    this.loading = false;
    this.silence();
    this.started = null;
  }

  close() {
    this.halt();
    this.context?.close();
    this.context = null;
  }

  silence() {
    for (const node of this.nodes) {
      node.onended = null;
      node.stop();
      node.disconnect();
    }
    this.nodes = [];
  }

  /**
   * The time in a source that corresponds to a position.
   *
   * @param {number} source
   * @param {number} position
   */
  localTime(source, position) {
    return Math.max(0, this.sources[source].start + position * this.sources[source].rate);
  }

  /**
   * @param {number} source
   * @param {number} number
   * @returns {Promise<AudioBuffer>}
   */
  chunk(source, number) {
    const key = `${source}:${number}`;
    const cached = this.chunks.get(key);
    if (cached) return cached;
    const loaded = this.fetchChunk(this.sources[source].address(number * CHUNK, CHUNK));
    loaded.catch(() => this.chunks.delete(key));
    this.chunks.set(key, loaded);
    const [oldest] = this.chunks.keys();
    if (this.chunks.size > CACHED_CHUNKS) this.chunks.delete(oldest);
    return loaded;
  }

  /** @param {string} address */
  async fetchChunk(address) {
    const response = await fetch(address);
    if (!response.ok) {
      const { detail } = await response.json().catch(() => ({}));
      throw new Error(capitalize(detail ?? "The audio cannot be played"));
    }
    if (!this.context) throw new Error("The player is closed");
    return this.context.decodeAudioData(await response.arrayBuffer());
  }
}
