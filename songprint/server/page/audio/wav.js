// Samples -> WAV at the rate that the server wants.

export const RATE = 16000; // Hz, mono: what there is to recognise lies below 8 kHz
const ZEROS = 16; // of the sinc on each side: 80 dB down where it would fold back
const EDGE = 0.94; // of half the lower rate is kept

/** Changes the sample rate of a stream; what comes out is the same however the stream is cut. */
export class Resampler {
  constructor(from, to = RATE) {
    this.step = from / to; // input samples per output sample
    this.width = ZEROS * Math.max(1, this.step); // of the filter on each side, in input samples
    this.cut = EDGE * Math.min(1, 1 / this.step);
    this.held = new Float32Array(Math.ceil(this.width)); // silence before the beginning
    this.start = -this.held.length; // which input sample held[0] is
    this.next = 0; // the output sample that comes next
  }

  push(samples) {
    const all = new Float32Array(this.held.length + samples.length);
    all.set(this.held);
    all.set(samples, this.held.length);
    const end = this.start + all.length;
    const made = [];
    for (; ; this.next += 1) {
      const center = this.next * this.step;
      if (center + this.width >= end) break;
      let sum = 0;
      for (let at = Math.ceil(center - this.width); at <= center + this.width; at += 1) {
        sum += (all[at - this.start] ?? 0) * this.weight(at - center);
      }
      made.push(sum);
    }
    const keep = Math.max(0, Math.floor(this.next * this.step - this.width) - this.start);
    this.held = all.subarray(Math.min(keep, all.length));
    this.start += Math.min(keep, all.length);
    return Float32Array.from(made);
  }

  weight(distance) {
    const x = distance * this.cut;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return this.cut * sinc * (0.5 + 0.5 * Math.cos((Math.PI * distance) / this.width)); // Hann window
  }
}

/** A WAV file of 16 bit, mono. */
export function wav(samples, rate = RATE) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (offset, text) => [...text].forEach((letter, at) => view.setUint8(offset + at, letter.charCodeAt(0)));
  words(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  words(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  words(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, at) =>
    view.setInt16(44 + 2 * at, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true),
  );
  return new Blob([view], { type: "audio/wav" });
}
