/** The latest so many items. */
export class Ring<T> {
  readonly limit: number;
  readonly #items: T[] = [];
  /** Where the oldest is, once it is full. */
  #oldest = 0;

  /** @param limit at least 1 */
  constructor(limit: number) {
    this.limit = limit;
  }

  get size(): number {
    return this.#items.length;
  }

  push(item: T): void {
    if (this.#items.length < this.limit) {
      this.#items.push(item);
      return;
    }
    this.#items[this.#oldest] = item;
    this.#oldest = (this.#oldest + 1) % this.limit;
  }

  /** The oldest `count` that fit, oldest first. */
  first(count: number, fits: (item: T) => boolean): T[] {
    const found: T[] = [];
    for (let i = 0; i < this.size && found.length < count; i++) {
      const item = this.#at(i);
      if (fits(item)) found.push(item);
    }
    return found;
  }

  /** The newest `count` that fit, oldest first. */
  last(count: number, fits: (item: T) => boolean): T[] {
    const found: T[] = [];
    for (let i = this.size - 1; i >= 0 && found.length < count; i--) {
      const item = this.#at(i);
      if (fits(item)) found.push(item);
    }
    return found.reverse();
  }

  #at(place: number): T {
    return this.#items[(this.#oldest + place) % this.#items.length]!;
  }
}
