/**
 * What the kernel has, as bpftool sees it.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';

/** Ids of the links to a cgroup, and of the programs and maps behind them. */
export interface Attached {
  readonly links: readonly number[];
  readonly programs: readonly number[];
  readonly maps: readonly number[];
}

// biome-ignore lint/suspicious/noExplicitAny: its JSON
const bpftool = (...args: string[]): any =>
  JSON.parse(execFileSync('bpftool', ['-j', ...args], { encoding: 'utf8', maxBuffer: 1 << 28 }) || '[]');

const idsOf = (objects: readonly { id: number }[]) => objects.map(({ id }) => id);

export function attachedTo(cgroup: string): Attached {
  const id = statSync(cgroup).ino;
  const all: { id: number; prog_id: number; cgroup_id?: number }[] = bpftool('link', 'show');
  const links = all.filter((link) => link.cgroup_id === id);
  const programs = links.map(({ prog_id }) => prog_id);
  const maps = programs.flatMap((program) => bpftool('prog', 'show', 'id', String(program)).map_ids ?? []);
  return { links: idsOf(links), programs, maps: [...new Set<number>(maps)] };
}

/** Those that are still there. The kernel frees programs and maps a moment after the last user is gone. */
export function leftOf({ links, programs, maps }: Attached): Attached {
  const here = (kind: string) => new Set(idsOf(bpftool(kind, 'show')));
  const [allLinks, allPrograms, allMaps] = ['link', 'prog', 'map'].map(here) as [
    Set<number>,
    Set<number>,
    Set<number>,
  ];
  return {
    links: links.filter((id) => allLinks.has(id)),
    programs: programs.filter((id) => allPrograms.has(id)),
    maps: maps.filter((id) => allMaps.has(id)),
  };
}

/** Entries of the maps with that name among these, by name; only of maps that have keys. */
export function entriesOf(maps: readonly number[]): Record<string, number> {
  const entries: Record<string, number> = {};
  for (const id of maps) {
    const { name, type } = bpftool('map', 'show', 'id', String(id));
    if (/hash|trie/.test(type)) entries[name] = bpftool('map', 'dump', 'id', String(id)).length;
  }
  return entries;
}
