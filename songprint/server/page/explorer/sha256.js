// SHA-256 and HMAC. Browsers provide them on secure pages only, and servers in a LAN are often used over plain http.

const CONSTANTS = primes(64).map((prime) => fraction(Math.cbrt(prime)));
const INITIAL_STATE = primes(8).map((prime) => fraction(Math.sqrt(prime)));
const BLOCK = 64; // bytes

/** @param {string | Uint8Array} message */
function toBytes(message) {
  return typeof message === "string" ? new TextEncoder().encode(message) : message;
}

/** @param {string | Uint8Array} message */
export function sha256(message) {
  const bytes = toBytes(message);
  const length = Math.ceil((bytes.length + 9) / BLOCK) * BLOCK;
  const padded = new Uint8Array(length);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(length - 4, bytes.length * 8);
  const state = [...INITIAL_STATE];
  const words = new Uint32Array(64);
  for (let block = 0; block < length; block += BLOCK) {
    for (let index = 0; index < 16; index += 1) words[index] = view.getUint32(block + 4 * index);
    for (let index = 16; index < 64; index += 1) {
      const early = words[index - 15];
      const late = words[index - 2];
      words[index] =
        words[index - 16] +
        (rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3)) +
        words[index - 7] +
        (rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10));
    }
    compress(state, words);
  }
  const result = new DataView(new ArrayBuffer(32));
  for (const [index, word] of state.entries()) result.setUint32(4 * index, word);
  return new Uint8Array(result.buffer);
}

/**
 * @param {number[]} state
 * @param {Uint32Array} words
 */
function compress(state, words) {
  let [a, b, c, d, e, f, g, h] = state;
  for (let index = 0; index < 64; index += 1) {
    const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const temporary1 = (h + sum1 + ((e & f) ^ (~e & g)) + CONSTANTS[index] + words[index]) >>> 0;
    const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const temporary2 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) >>> 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + temporary1) >>> 0, c, b, a, (temporary1 + temporary2) >>> 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, index) => {
    state[index] = (state[index] + value) >>> 0;
  });
}

/**
 * @param {string | Uint8Array} key
 * @param {string | Uint8Array} message
 */
export function hmac(key, message) {
  const bytes = toBytes(key);
  const short = bytes.length > BLOCK ? sha256(bytes) : bytes;
  const pad = (/** @type {number} */ value) =>
    Uint8Array.from({ length: BLOCK }, (_, index) => (short[index] ?? 0) ^ value);
  return sha256(concatenate(pad(0x5c), sha256(concatenate(pad(0x36), toBytes(message)))));
}

/** @param {Uint8Array} bytes */
export function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Uint8Array} first
 * @param {Uint8Array} second
 */
function concatenate(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/**
 * @param {number} word
 * @param {number} bits
 */
function rotate(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

/**
 * The first 32 bits of the fractional part.
 *
 * @param {number} number
 */
function fraction(number) {
  return Math.floor((number % 1) * 2 ** 32);
}

/** @param {number} count */
function primes(count) {
  /** @type {number[]} */
  const found = [];
  for (let number = 2; found.length < count; number += 1)
    if (found.every((prime) => number % prime)) found.push(number);
  return found;
}
