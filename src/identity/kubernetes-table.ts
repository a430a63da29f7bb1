import type { Change } from './kubernetes-reflector.js';

export interface TableOptions<T> {
  /** What tells items apart. */
  id(item: T): string;
  /** What an item is found by: addresses, ports. One that several claim is the last one's. */
  keys(item: T): readonly string[];
}

/** Objects of one kind, found by their id and by what they claim. */
export class Table<T> {
  readonly #options: TableOptions<T>;
  readonly #items = new Map<string, T>();
  readonly #claims = new Map<string, T[]>();

  constructor(options: TableOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#items.size;
  }

  values(): Iterable<T> {
    return this.#items.values();
  }

  get(id: string): T | undefined {
    return this.#items.get(id);
  }

  idOf(item: T): string {
    return this.#options.id(item);
  }

  /** Whether it would change nothing: objects are touched much more often than what is kept of them. */
  unchanged({ type, item }: Change<T>): boolean {
    const before = this.#items.get(this.#options.id(item));
    return type === 'set' && before !== undefined && JSON.stringify(before) === JSON.stringify(item);
  }

  /** Who claims this. */
  find(key: string): T | undefined {
    return this.#claims.get(key)?.at(-1);
  }

  /** Whether something that is found by a key now would not be, or something else would be. */
  displaces({ type, item }: Change<T>): boolean {
    const { id, keys } = this.#options;
    const before = this.#items.get(id(item));
    const after = type === 'set' ? keys(item) : [];
    if (before && keys(before).some((key) => !after.includes(key))) return true;
    return after.some((key) => {
      const holders = this.#claims.get(key);
      return holders !== undefined && !holders.some((holder) => id(holder) === id(item));
    });
  }

  /** The item that was there before. */
  change({ type, item }: Change<T>): T | undefined {
    const { id, keys } = this.#options;
    const name = id(item);
    const before = this.#items.get(name);
    const after = type === 'set' ? keys(item) : [];
    for (const key of before ? keys(before) : []) if (!after.includes(key)) this.#release(key, before!);
    for (const key of after) this.#claim(key, item, before);
    if (type === 'set') this.#items.set(name, item);
    else this.#items.delete(name);
    return before;
  }

  #claim(key: string, item: T, before: T | undefined): void {
    const holders = this.#claims.get(key);
    const place = before && holders ? holders.indexOf(before) : -1;
    // Who has it already does not come before those who came later, only because something else of it changed.
    if (holders && place >= 0) holders[place] = item;
    else if (holders) holders.push(item);
    else this.#claims.set(key, [item]);
  }

  #release(key: string, item: T): void {
    const holders = this.#claims.get(key)?.filter((holder) => holder !== item);
    if (holders && holders.length > 0) this.#claims.set(key, holders);
    else this.#claims.delete(key);
  }
}
