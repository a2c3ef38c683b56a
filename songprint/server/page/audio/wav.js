// Resampling, and WAV files of the samples.

export const RATE = 16000; // Hz, mono: the encoders use nothing above 8 kHz
const ZERO_CROSSINGS = 16; // of the sinc on each side of its centre; 80 dB attenuation of aliases
const PASSBAND = 0.94; // share of the band below the lower Nyquist frequency that is kept

/** Changes the sample rate of a stream. The output does not depend on how the stream is split into blocks. */
export class Resampler {
  /**
   * @param {number} from Hz.
   * @param {number} [to] Hz.
   */
  constructor(from, to = RATE) {
    this.step = from / to; // input samples per output sample
    this.halfWidth = ZERO_CROSSINGS * Math.max(1, this.step); // of the filter, in input samples
    this.cutoff = PASSBAND * Math.min(1, 1 / this.step);
    /** @type {Float32Array} */
    this.buffer = new Float32Array(Math.ceil(this.halfWidth)); // starts with silence before the stream
    this.bufferStart = -this.buffer.length; // position of buffer[0] in the stream
    this.nextOutput = 0;
  }

  /**
   * @param {Float32Array} samples The next block.
   * @returns {Float32Array} The output samples that are complete.
   */
  push(samples) {
    const input = new Float32Array(this.buffer.length + samples.length);
    input.set(this.buffer);
    input.set(samples, this.buffer.length);
    const end = this.bufferStart + input.length;
    const output = [];
    for (; ; this.nextOutput += 1) {
      const center = this.nextOutput * this.step;
      if (center + this.halfWidth >= end) break;
      let sum = 0;
      for (let index = Math.ceil(center - this.halfWidth); index <= center + this.halfWidth; index += 1) {
        sum += (input[index - this.bufferStart] ?? 0) * this.weight(index - center);
      }
      output.push(sum);
    }
    const unused = Math.max(0, Math.floor(this.nextOutput * this.step - this.halfWidth) - this.bufferStart);
    const dropped = Math.min(unused, input.length);
    this.buffer = input.subarray(dropped);
    this.bufferStart += dropped;
    return Float32Array.from(output);
  }

  /**
   * The filter: a sinc with a Hann window.
   *
   * @param {number} distance From its centre, in input samples.
   */
  weight(distance) {
    const x = distance * this.cutoff;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return this.cutoff * sinc * (0.5 + 0.5 * Math.cos((Math.PI * distance) / this.halfWidth));
  }
}

/**
 * A mono WAV file with 16 bits per sample.
 *
 * @param {Float32Array} samples From -1 to 1.
 * @param {number} [rate] Hz.
 */
export function wav(samples, rate = RATE) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const bytes = new Uint8Array(view.buffer);
  const writeText = (/** @type {number} */ offset, /** @type {string} */ text) =>
    bytes.set(new TextEncoder().encode(text), offset);
  writeText(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  writeText(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  writeText(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  for (const [index, sample] of samples.entries())
    view.setInt16(44 + 2 * index, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
  return new Blob([view], { type: "audio/wav" });
}
