// What leaves an isolate, D1 calls and fetches alike, goes through here: counted, limited, broken.

export const LIMIT = 6;

export class Connections {
  #open = 0;
  #cutOffAt = Infinity;
  #fetchesToBreak = [];

  constructor() {
    // Importing a Worker may not reach out at all.
    this.globalScope = true;
    // Nor does one whose isolate was ended reach anything, whatever it still tries.
    this.dead = false;
    this.reset();
  }

  // Begin to count anew. The limit is an invocation's own; of several at once we see the sum.
  reset(invocations = 1) {
    this.limit = LIMIT * invocations;
    this.most = this.#open;
    this.calls = 0;
    this.queries = 0;
    this.fetches = 0;
  }

  // Let `interrupt` be called as that many more calls have been made.
  cutOffAfter(calls, interrupt) {
    this.#cutOffAt = this.calls + calls;
    this.interrupt = interrupt;
  }

  // Break the fetches with these numbers, counted from now: before they are sent, or once answered.
  breakFetches(numbers, when) {
    this.#fetchesToBreak = numbers.map((number) => ({ number: this.fetches + number, when }));
  }

  through(call, queries = 0) {
    // At once, not by a promise that nobody at import awaits.
    if (this.globalScope) throw new Error("Disallowed operation called within global scope");
    if (this.dead) return new Promise(() => {});
    return this.#counted(call, queries);
  }

  async #counted(call, queries) {
    // The platform lets a seventh wait, and cancels it where that is a deadlock.
    if (this.#open >= this.limit) throw new Error(`more than ${this.limit} connections at once`);
    this.calls += 1;
    this.queries += queries;
    this.#open += 1;
    this.most = Math.max(this.most, this.#open);
    try {
      return await call();
    } finally {
      this.#open -= 1;
      if (this.calls >= this.#cutOffAt) {
        this.#cutOffAt = Infinity;
        this.interrupt();
      }
    }
  }

  fetch(original, ...request) {
    return this.through(async () => {
      this.fetches += 1;
      const fault = this.#fetchesToBreak.find(({ number }) => number === this.fetches);
      if (fault?.when === "before") throw new TypeError("Network connection lost.");
      const response = await original(...request);
      if (fault?.when === "after") {
        await response.arrayBuffer();
        throw new TypeError("Network connection lost.");
      }
      return response;
    });
  }
}
