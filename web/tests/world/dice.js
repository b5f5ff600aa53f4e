// Chance that is the same in every run of a test: a small generator with a seed (sfc32). Keys are WebCrypto's, and differ each time.

export class Dice {
  constructor(seed) {
    this.state = new Uint32Array([seed, Math.floor(seed / 2 ** 32), 0x9e3779b9, 1]);
    for (let round = 0; round < 15; round += 1) this.next();
  }

  /** An integer of 32 bits. */
  next() {
    const [a, b, c, counter] = this.state;
    const result = (a + b + counter) >>> 0;
    this.state[0] = b ^ (b >>> 9);
    this.state[1] = c + (c << 3);
    this.state[2] = ((c << 21) | (c >>> 11)) + result;
    this.state[3] = counter + 1;
    return result;
  }

  /** From 0 to below `end`. */
  below(end) {
    return this.next() % end;
  }

  /** From `start` to below `end`. */
  between(start, end) {
    return start + this.below(end - start);
  }

  coin() {
    return this.below(2) === 0;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  bytes(length) {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}
