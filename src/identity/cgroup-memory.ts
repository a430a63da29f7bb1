import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { BoundedMap } from './bounded-map.js';

/**
 * A file of what is known of cgroups, so that the next process can still name those that are gone by then: the kernel
 * may keep what they did for longer than any process lives. Ids are not used twice before the next boot, so it belongs
 * where nothing outlives that: in /run. Where it can not be written, what is known ends with the process.
 */
export class CgroupMemory<V> {
  readonly #file: string;
  readonly #limit: number;
  readonly #known: BoundedMap<bigint, V>;
  /** Written since the file was made anew. Whatever is there at first may end in a line cut short. */
  #lines = Number.POSITIVE_INFINITY;

  /** Reads the file, if there is one. The first note makes it; it never has more than twice `limit` lines. */
  constructor(file: string, limit: number) {
    this.#file = file;
    this.#limit = limit;
    this.#known = new BoundedMap(limit);
    for (const [id, value] of parse<V>(file)) this.#known.set(id, value);
  }

  /** What this process or one before it noted. */
  get(id: bigint): V | undefined {
    return this.#known.get(id);
  }

  note(id: bigint, value: V): void {
    const known = this.#known.get(id);
    if (known === value || JSON.stringify(known) === JSON.stringify(value)) return;
    this.#known.set(id, value);
    try {
      if (this.#lines >= 2 * this.#limit) this.#compact();
      else appendFileSync(this.#file, line([id, value]));
      this.#lines++;
    } catch {
      // What dead cgroups were is not worth more than the process.
    }
  }

  #compact(): void {
    mkdirSync(dirname(this.#file), { recursive: true });
    const next = `${this.#file}.new`;
    writeFileSync(next, [...this.#known.entries()].map(line).join(''), { mode: 0o600 });
    renameSync(next, this.#file);
    this.#lines = this.#known.size;
  }
}

const line = ([id, value]: readonly [bigint, unknown]) => `${id} ${JSON.stringify(value)}\n`;

function parse<V>(file: string): [bigint, V][] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line): [bigint, V][] => {
    const [, id, value] = /^(\d+) (.+)$/.exec(line) ?? [];
    try {
      return id !== undefined && value !== undefined ? [[BigInt(id), JSON.parse(value) as V]] : [];
    } catch {
      // Cut short.
      return [];
    }
  });
}
