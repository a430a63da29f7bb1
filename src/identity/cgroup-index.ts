import { type FSWatcher, lstatSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { BoundedMap } from './bounded-map.js';

/** One directory that exists now. Its id is its inode number: the cgroup id of the kernel (`cgroup_id()`). */
interface Node {
  readonly id: bigint;
  readonly path: string;
  readonly children: Map<string, Node>;
  readonly watcher: FSWatcher | undefined;
}

export interface CgroupIndexOptions {
  /** Mount point of cgroup v2. */
  mount: string;
  /** How many removed cgroups are remembered. */
  remember: number;
  /** How many existing directories are kept at most. @default 65536 */
  limit?: number;
  /** Told of every directory: those that are there, and then each that is made. @default nobody */
  added?: (path: string) => void;
}

/**
 * The path of every cgroup by its id, kept up to date by inotify: a cgroup that lives for a few milliseconds is known
 * because its creation was seen, and stays known when it is gone. What inotify missed (no watches left, a directory
 * made while its parent was not yet watched) is found by walking the tree, once for each id that is asked for.
 */
export class CgroupIndex implements Disposable {
  readonly #mount: string;
  readonly #limit: number;
  readonly #added: (path: string) => void;
  readonly #byId = new Map<bigint, Node>();
  /** Paths of removed cgroups. Ids are not used again before 2^32 others were (`kernfs_new_node`). */
  readonly #gone: BoundedMap<bigint, string>;
  /** Ids that a walk did not find: not worth another one. */
  readonly #lost: BoundedMap<bigint, true>;
  readonly #root: Node | undefined;
  #walkAgainAt = 0;
  #unwatched = 0;

  constructor({ mount, remember, limit = 65_536, added = () => {} }: CgroupIndexOptions) {
    this.#added = added;
    this.#mount = mount;
    this.#limit = limit;
    this.#gone = new BoundedMap(remember);
    this.#lost = new BoundedMap(remember);
    this.#root = this.#add('/');
  }

  /** Directories that exist, that are remembered, and that could not be watched. */
  get sizes(): { existing: number; gone: number; unwatched: number } {
    return { existing: this.#byId.size, gone: this.#gone.size, unwatched: this.#unwatched };
  }

  /** Path from the mount point, `/` first. */
  pathOf(id: bigint): string | undefined {
    const known = this.#byId.get(id)?.path ?? this.#gone.get(id);
    if (known !== undefined || this.#lost.get(id)) return known;
    if (!this.#walk()) return undefined;
    const found = this.#byId.get(id)?.path;
    if (found === undefined) this.#lost.set(id, true);
    return found;
  }

  /** Looks at everything again; false if it is too early for that. Takes at most a twentieth of the time. */
  #walk(): boolean {
    const begun = performance.now();
    if (!this.#root || begun < this.#walkAgainAt) return false;
    this.#descend(this.#root);
    const ended = performance.now();
    this.#walkAgainAt = ended + Math.max(1000, 20 * (ended - begun));
    return true;
  }

  #descend(node: Node): void {
    const present = new Set(this.#list(node.path));
    for (const name of node.children.keys()) if (!present.has(name)) this.#look(node, name);
    for (const name of present) {
      const before = node.children.get(name);
      this.#look(node, name);
      const child = node.children.get(name);
      if (child && child === before) this.#descend(child);
    }
  }

  /** Brings what is known of one name in a directory up to date. */
  #look(parent: Node, name: string): void {
    const path = join(parent.path, name);
    const known = parent.children.get(name);
    const id = this.#idOf(path);
    if (known && known.id === id) return;
    if (known) {
      parent.children.delete(name);
      this.#remove(known);
    }
    const child = id === undefined ? undefined : this.#add(path, id);
    if (child) parent.children.set(name, child);
  }

  /** Takes in a directory and all below it. The watch comes first, so that nothing can fall between. */
  #add(path: string, id = this.#idOf(path)): Node | undefined {
    if (id === undefined || this.#byId.size >= this.#limit) return undefined;
    const children = new Map<string, Node>();
    const node: Node = { id, path, children, watcher: this.#watch(path, (name) => this.#look(node, name)) };
    this.#byId.set(id, node);
    this.#added(path);
    for (const name of this.#list(path)) {
      const child = this.#add(join(path, name));
      if (child) children.set(name, child);
    }
    return node;
  }

  #remove(node: Node): void {
    for (const child of node.children.values()) this.#remove(child);
    node.watcher?.close();
    if (!node.watcher) this.#unwatched--;
    this.#byId.delete(node.id);
    this.#gone.set(node.id, node.path);
  }

  #watch(path: string, changed: (name: string) => void): FSWatcher | undefined {
    try {
      const watcher = watch(join(this.#mount, path), { persistent: false }, (event, name) => {
        // `change` is a write to a control file; `rename` is what is made or removed.
        if (event === 'rename' && name !== null) changed(name);
      });
      // The directory went away while it was being watched; its parent tells as well.
      watcher.on('error', () => {});
      return watcher;
    } catch {
      this.#unwatched++;
      return undefined;
    }
  }

  #list(path: string): string[] {
    try {
      const entries = readdirSync(join(this.#mount, path), { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    } catch {
      return [];
    }
  }

  #idOf(path: string): bigint | undefined {
    const stat = lstatSync(join(this.#mount, path), { bigint: true, throwIfNoEntry: false });
    return stat?.isDirectory() ? stat.ino : undefined;
  }

  [Symbol.dispose](): void {
    for (const { watcher } of this.#byId.values()) watcher?.close();
    this.#byId.clear();
  }
}
