// Plays one of several sounds that run along each other, and goes from one to another at the place that corresponds.
//
// A side is { address(start, seconds), start, rate, end }: at `t` seconds along the first side it is at
// `start + rate * t`.
// The server decodes: what a browser cannot play it can.

const CHUNK = 8; // seconds that are fetched at once; a side's chunks begin at multiples of it
const AHEAD = 3; // seconds before the end of a chunk at which the next one is put behind it
const RATE = 44100; // Hz of what the server sends: so no chunk is resampled by itself

export class Player extends EventTarget {
  constructor() {
    super();
    this.sides = [];
    this.side = 0;
    this.turn = 0;
    this.chunks = new Map();
    this.sources = [];
    this.at = 0;
    this.began = null;
  }

  /** What is played from now on; `length` is in seconds along the first side. */
  load(sides, length) {
    this.halt();
    Object.assign(this, { sides, length, side: 0, at: 0 });
    this.chunks.clear();
    this.changed();
  }

  get playing() {
    return this.began !== null || this.loading;
  }

  /** Where it is, in seconds along the first side. */
  get position() {
    if (!this.began) return this.at;
    const heard = Math.max(0, this.context.currentTime - this.began.when);
    return Math.min(this.length, this.began.at + heard / this.sides[this.side].rate);
  }

  async play(at = this.at, side = this.side) {
    const mine = ++this.turn;
    this.context ??= new AudioContext({ sampleRate: RATE });
    this.loading = true;
    this.changed();
    try {
      const local = this.local(side, at);
      const chunk = await this.chunk(side, Math.floor(local / CHUNK));
      await this.context.resume();
      if (mine !== this.turn) return;
      // Whoever switched while it played goes on from where it is by now.
      const now = this.began ? this.position : at;
      this.silence();
      Object.assign(this, { side, at: now, loading: false });
      const offset = this.local(side, now) - CHUNK * Math.floor(local / CHUNK);
      const when = this.context.currentTime + 0.03;
      this.began = { when, at: now };
      this.follow(mine, Math.floor(local / CHUNK), chunk, when, Math.max(0, offset));
    } catch (error) {
      if (mine !== this.turn) return;
      this.halt();
      this.dispatchEvent(new CustomEvent("trouble", { detail: error.message }));
    }
    this.changed();
  }

  async follow(mine, number, chunk, when, offset) {
    const source = new AudioBufferSourceNode(this.context, { buffer: chunk });
    source.connect(this.context.destination);
    source.start(when, offset);
    this.sources.push(source);
    const ends = when + chunk.duration - offset;
    const goesOn = chunk.duration >= CHUNK - 0.01 && CHUNK * (number + 1) < (this.sides[this.side].end ?? Infinity);
    this.sides.forEach((_, side) => this.chunk(side, Math.floor(this.local(side, this.at) / CHUNK)).catch(() => {}));
    await this.until(mine, ends - AHEAD);
    if (mine !== this.turn) return;
    if (goesOn && this.position < this.length) {
      const next = await this.chunk(this.side, number + 1).catch(() => null);
      if (mine !== this.turn) return;
      if (next) {
        this.follow(mine, number + 1, next, Math.max(ends, this.context.currentTime), 0);
        return;
      }
    }
    await this.until(mine, ends);
    if (mine === this.turn) this.stop();
  }

  /** Until the clock of the sound says so, this is no longer wanted, or all has been played. */
  async until(mine, when) {
    while (mine === this.turn && this.context.currentTime < when) {
      if (this.position >= this.length) {
        this.stop();
        return;
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 60);
      });
    }
  }

  /** Go over to another side, at the place that corresponds. */
  switchTo(side) {
    if (this.playing) this.play(this.position, side);
    else {
      this.side = side;
      this.changed();
    }
  }

  seek(at) {
    const bounded = Math.min(Math.max(0, at), this.length);
    if (!this.playing) {
      this.at = bounded;
      this.changed();
      return;
    }
    this.silence();
    this.began = null;
    this.play(bounded);
  }

  pause() {
    this.at = this.position;
    this.halt();
    this.changed();
  }

  stop() {
    this.halt();
    this.at = 0;
    this.changed();
  }

  halt() {
    this.turn += 1;
    this.loading = false;
    this.silence();
    this.began = null;
  }

  close() {
    this.halt();
    this.context?.close();
    this.context = null;
  }

  silence() {
    for (const source of this.sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.sources = [];
  }

  local(side, at) {
    return Math.max(0, this.sides[side].start + at * this.sides[side].rate);
  }

  chunk(side, number) {
    const key = `${side}:${number}`;
    if (!this.chunks.has(key)) {
      const fetched = this.fetch(this.sides[side].address(number * CHUNK, CHUNK));
      fetched.catch(() => this.chunks.delete(key));
      this.chunks.set(key, fetched);
      if (this.chunks.size > 24) this.chunks.delete(this.chunks.keys().next().value);
    }
    return this.chunks.get(key);
  }

  async fetch(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? "It cannot be played");
    return this.context.decodeAudioData(await answer.arrayBuffer());
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}
