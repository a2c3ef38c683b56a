// Runs in the browser's audio thread: sends the input of the microphone, mixed to one channel, to the page.

const BLOCK = 2048; // samples per message

registerProcessor(
  "microphone",
  class extends AudioWorkletProcessor {
    constructor() {
      super();
      this.block = new Float32Array(BLOCK);
      this.count = 0;
    }

    /** @param {Float32Array[][]} inputs */
    process([channels]) {
      const frames = channels[0]?.length ?? 0;
      for (let frame = 0; frame < frames; frame += 1) {
        let sum = 0;
        for (const channel of channels) sum += channel[frame];
        this.block[this.count] = sum / channels.length;
        this.count += 1;
        if (this.count === BLOCK) {
          this.port.postMessage(this.block.slice());
          this.count = 0;
        }
      }
      return true;
    }
  },
);
