/** A set of the numbers below `size`, divided into blocks that can be divided further. */
export class Partition {
  count: number;
  /** All numbers, block after block. */
  readonly #elements: Int32Array;
  readonly #place: Int32Array;
  readonly #block: Int32Array;
  readonly #first: Int32Array;
  readonly #past: Int32Array;
  /** How many at the beginning of a block are marked. */
  readonly #marked: Int32Array;
  #touched: number[] = [];

  /** Numbers with the same key are in one block. */
  constructor(keys: Int32Array) {
    const size = keys.length;
    this.#elements = Int32Array.from({ length: size }, (_, i) => i).sort((a, b) => keys[a]! - keys[b]!);
    this.#place = new Int32Array(size);
    this.#block = new Int32Array(size);
    this.#first = new Int32Array(size + 1);
    this.#past = new Int32Array(size + 1);
    this.#marked = new Int32Array(size + 1);
    let block = -1;
    let last: number | undefined;
    this.#elements.forEach((element, place) => {
      if (keys[element] !== last) {
        last = keys[element];
        this.#first[++block] = place;
      }
      this.#past[block] = place + 1;
      this.#place[element] = place;
      this.#block[element] = block;
    });
    this.count = block + 1;
  }

  blockOf(element: number): number {
    return this.#block[element]!;
  }

  /** The numbers of a block, as they lie now. */
  members(block: number): Int32Array {
    return this.#elements.subarray(this.#first[block]!, this.#past[block]!);
  }

  mark(element: number): void {
    const block = this.#block[element]!;
    const place = this.#place[element]!;
    const to = this.#first[block]! + this.#marked[block]!;
    if (place < to) return;
    if (this.#marked[block]! === 0) this.#touched.push(block);
    const other = this.#elements[to]!;
    this.#elements[place] = other;
    this.#place[other] = place;
    this.#elements[to] = element;
    this.#place[element] = to;
    this.#marked[block]!++;
  }

  /** Parts marked from unmarked ones. The smaller half becomes the new block. */
  split(): void {
    for (const block of this.#touched) {
      const [first, past] = [this.#first[block]!, this.#past[block]!];
      const middle = first + this.#marked[block]!;
      this.#marked[block] = 0;
      if (middle === past) continue;
      const made = this.count++;
      if (middle - first <= past - middle) {
        this.#first[made] = first;
        this.#past[made] = this.#first[block] = middle;
      } else {
        this.#first[made] = this.#past[block] = middle;
        this.#past[made] = past;
      }
      for (const element of this.members(made)) this.#block[element] = made;
    }
    this.#touched = [];
  }
}
