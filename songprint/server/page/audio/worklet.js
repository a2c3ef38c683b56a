// In the browser's audio thread: hand on what the microphone hears, as one channel.

registerProcessor(
  "microphone",
  class extends AudioWorkletProcessor {
    constructor() {
      super();
      this.held = new Float32Array(2048);
      this.count = 0;
    }

    process([channels]) {
      const frames = channels[0]?.length ?? 0;
      for (let frame = 0; frame < frames; frame += 1) {
        let sum = 0;
        for (const channel of channels) sum += channel[frame];
        this.held[this.count] = sum / channels.length;
        this.count += 1;
        if (this.count === this.held.length) {
          this.port.postMessage(this.held.slice());
          this.count = 0;
        }
      }
      return true;
    }
  },
);
