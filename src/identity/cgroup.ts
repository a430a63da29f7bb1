import { EventEmitter } from 'node:events';
import { CgroupIndex } from './cgroup-index.js';
import { CgroupMemory } from './cgroup-memory.js';
import { cgroupMount, isInside, placeOf } from './cgroup-mount.js';
import { nameOf } from './cgroup-name.js';
import type { Identity, Resolver } from './identity.js';

export interface CgroupOptions {
  /** Directory that meshtap is attached to. @default every cgroup counts as watched */
  watched?: string;
  /** How many removed cgroups keep their names. @default 16384 */
  remember?: number;
  /** A file in /run that keeps these names for the next process. @default none */
  memory?: string;
}

/**
 * Names ends by their cgroup: the systemd unit, the container's id, or the directory's own name. `start` rejects with
 * CGROUP_INVALID where no cgroup v2 hierarchy is mounted.
 */
export function cgroup({ watched, remember = 16_384, memory }: CgroupOptions = {}): CgroupResolver {
  let index: CgroupIndex | undefined;
  let past: CgroupMemory<string> | undefined;
  let watchedPath = '/';
  const added = new EventEmitter<{ added: [path: string] }>();

  const pathOf = (id: bigint): string | undefined => {
    const path = index?.pathOf(id) ?? past?.get(id);
    if (path !== undefined) past?.note(id, path);
    return path;
  };

  return {
    name: 'cgroup',
    async start() {
      const place = watched === undefined ? { mount: cgroupMount(), path: '/' } : placeOf(watched);
      watchedPath = place.path;
      index = new CgroupIndex({ mount: place.mount, remember, added: (path) => added.emit('added', path) });
      if (memory !== undefined) past = new CgroupMemory(memory, remember);
    },
    resolve({ endpoint }) {
      if (endpoint.kind !== 'cgroup') return undefined;
      const path = pathOf(endpoint.cgroup);
      if (path === undefined) return undefined;
      return cgroupIdentity(path, isInside(path, watchedPath));
    },
    pathOf,
    onAdded(listener) {
      added.on('added', listener);
      return () => void added.off('added', listener);
    },
    status() {
      if (!index) return 'not started';
      const { existing, gone, unwatched } = index.sizes;
      const missing = unwatched ? `, ${unwatched} without a watch (raise fs.inotify.max_user_watches)` : '';
      return `${existing} cgroups, ${gone} remembered${missing}`;
    },
    async [Symbol.asyncDispose]() {
      index?.[Symbol.dispose]();
      index = undefined;
    },
  };
}

/** A resolver that others of its chain ask for the paths of cgroups. */
export interface CgroupResolver extends Resolver {
  /** From the mount point of the hierarchy, `/` first; of those that are gone too. */
  pathOf(id: bigint): string | undefined;
  /** Tells the path of every cgroup that is there at the start, and of each that is made, until it is called off. */
  onAdded(listener: (path: string) => void): () => void;
}

/** The identity of what runs in a cgroup, by its path. */
export function cgroupIdentity(path: string, watched: boolean): Identity {
  return { ...nameOf(path), namespace: '', labels: {}, watched };
}
