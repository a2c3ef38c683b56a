// What the browser provides to audio/worklet.js: TypeScript's library of the DOM lacks the scope of audio worklets.

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

declare function registerProcessor(
  name: string,
  processor: new () => AudioWorkletProcessor & { process(inputs: Float32Array[][]): boolean },
): void;
