// Lines of workers that wait for a reader, and the bytes of a pipe made into lines.

/** The lines of one stream of a worker. Iterate over it; it ends with the worker. */
export class Lines {
  /** How many lines were dropped because nobody read them in time. */
  lost = 0;
  #kept = [];
  #first = 0;
  #bytes = 0;
  #limit;
  #waiting = [];
  #end; // {error?}, once no more will come

  constructor(limit) {
    this.#limit = limit;
  }

  /** Give a line to the reader that waits, or keep it. The oldest are dropped beyond the limit. */
  push(line) {
    const reader = this.#waiting.shift();
    if (reader) return reader.resolve({ value: line, done: false });
    this.#kept.push(line);
    this.#bytes += line.length;
    while (this.#bytes > this.#limit && this.#kept.length - this.#first > 1) {
      this.#take();
      this.lost++;
    }
  }

  end(error) {
    if (this.#end) return;
    this.#end = { error };
    for (const reader of this.#waiting.splice(0)) this.#finish(reader);
  }

  [Symbol.asyncIterator]() {
    // return() is called by a break: what is kept stays for the next loop.
    return { next: () => this.#next(), return: async () => ({ value: undefined, done: true }) };
  }

  #next() {
    return new Promise((resolve, reject) => {
      if (this.#first < this.#kept.length) return resolve({ value: this.#take(), done: false });
      if (this.#end) return this.#finish({ resolve, reject });
      this.#waiting.push({ resolve, reject });
    });
  }

  #take() {
    const line = this.#kept[this.#first];
    this.#kept[this.#first++] = undefined;
    this.#bytes -= line.length;
    if (this.#first > 1024 && this.#first * 2 > this.#kept.length) {
      this.#kept = this.#kept.slice(this.#first); // else each line would move all others
      this.#first = 0;
    }
    return line;
  }

  #finish({ resolve, reject }) {
    if (this.#end.error) reject(this.#end.error);
    else resolve({ value: undefined, done: true });
  }
}

/** Calls back with each line of what is written to it. */
export function splitter(line) {
  let rest = [];
  return (chunk) => {
    let from = 0;
    for (let at; (at = chunk.indexOf(10, from)) >= 0; from = at + 1) {
      const last = chunk.subarray(from, at);
      line((rest.length ? Buffer.concat([...rest, last]) : last).toString("utf8"));
      rest = [];
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  };
}
