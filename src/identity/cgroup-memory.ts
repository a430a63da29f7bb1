import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { BoundedMap } from './bounded-map.js';

/**
 * A file of cgroups that were asked for, so that the next process can still name those that are gone by then: the
 * kernel may keep what they did for longer than any process lives. Ids are not used twice before the next boot, so
 * it belongs where nothing outlives that: in /run. Where it can not be written, names end with the process.
 */
export class CgroupMemory {
  readonly #file: string;
  readonly #limit: number;
  readonly #known: BoundedMap<bigint, string>;
  /** Written since the file was made anew. Whatever is there at first may end in a line cut short. */
  #lines = Number.POSITIVE_INFINITY;

  /** Reads the file, if there is one. The first note makes it; it never has more than twice `limit` lines. */
  constructor(file: string, limit: number) {
    this.#file = file;
    this.#limit = limit;
    this.#known = new BoundedMap(limit);
    for (const [id, path] of parse(file)) this.#known.set(id, path);
  }

  /** What this process or one before it noted. */
  pathOf(id: bigint): string | undefined {
    return this.#known.get(id);
  }

  note(id: bigint, path: string): void {
    if (this.#known.get(id) !== undefined) return;
    this.#known.set(id, path);
    try {
      if (this.#lines >= 2 * this.#limit) this.#compact();
      else appendFileSync(this.#file, line([id, path]));
      this.#lines++;
    } catch {
      // The names of dead cgroups are not worth more than the process.
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

const line = ([id, path]: readonly [bigint, string]) => `${id} ${JSON.stringify(path)}\n`;

function parse(file: string): [bigint, string][] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line): [bigint, string][] => {
    const [, id, path] = /^(\d+) (".*")$/.exec(line) ?? [];
    return id !== undefined && path !== undefined ? [[BigInt(id), JSON.parse(path) as string]] : [];
  });
}
