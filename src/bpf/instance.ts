import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Cgroup, openCgroup } from './cgroup.js';
import { type CountingOptions, checkLayout, configure, fillFreeQueues, type Maps } from './counting.js';
import { requirePrivileges } from './failure.js';
import { compare, connectionsLost, type Group, groupOf, type Kept, layoutFor } from './layout.js';
import { mergeLedgers } from './ledger.js';
import { BpfLink } from './link.js';
import type { BpfMap } from './map.js';
import { type BpfProgram, type LoadedObject, openObject } from './object.js';
import {
  DESCRIPTION_FORMAT,
  type Description,
  type Generation,
  InstanceDirectory,
  instanceNames,
  peek,
} from './pins.js';

export interface InstanceOptions extends CountingOptions {
  /** Path of the compiled object. */
  readonly object: string;
  /** Directory of the cgroup-v2 hierarchy to watch, with all below it. */
  readonly cgroup: string;
  /** Name of the pins. Without one nothing is pinned, and all ends with this process. */
  readonly instance?: string | undefined;
  /** Forget what a former process counted. @default false */
  readonly fresh?: boolean;
  /** Told of each step, for a log. */
  readonly trace?: (step: string) => void;
}

/** Bytes that live as long as the counts do. What is kept under a name replaces what was, all of it or nothing. */
export interface Memory {
  keep(name: string, bytes: Uint8Array): void;
  kept(name: string): Uint8Array | undefined;
}

/** Programs that count, and the maps they count in. */
export interface Instance extends Disposable {
  readonly cgroup: Cgroup;
  readonly maps: Maps;
  /** Ledgers of programs before these, which are to be added (`finalTotals`). */
  readonly formerLedgers: readonly BpfMap[];
  /** Absent where nothing is pinned. */
  readonly memory?: Memory;
  /** When counting began, milliseconds since the epoch. */
  readonly startedAt: number;
  /** True if the counts of a former process go on. */
  readonly resumed: boolean;
  /** What of a former process' work could not be kept, a sentence each. */
  readonly lost: readonly string[];
  /** Lets go: a pinned instance counts on, another one ends. */
  close(): void;
}

/**
 * Starts to count, or takes over where a former process of the same instance ended.
 *
 * A pinned instance survives its process. The next one of the same name goes on with its maps. If it brings the same
 * object, the programs just stay; if another, each is replaced in one step, so that every packet meets exactly one
 * of the two. If maps do not fit any more, those that still do are kept, and `lost` says what is not.
 *
 * Rejects with `NOT_ROOT`, `CGROUP_INVALID`, `OBJECT_MISSING`, `LIBBPF_MISSING`, `VERIFIER_REFUSED`,
 * `BPFFS_MISSING` or `INSTANCE_BUSY`; then everything is as it was before.
 */
export async function acquire(options: InstanceOptions): Promise<Instance> {
  requirePrivileges();
  const cgroup = openCgroup(options.cgroup);
  return options.instance === undefined
    ? startEphemeral(options, cgroup)
    : startPinned(options, cgroup, options.instance);
}

async function startEphemeral(options: InstanceOptions, cgroup: Cgroup): Promise<Instance> {
  const { trace = () => {} } = options;
  const object = await load(options);
  trace('loaded');
  try {
    fillFreeQueues(object.maps, options.limits);
    const links = object.attach(cgroup.path);
    trace('attached');
    const state = { maps: object.maps, formerLedgers: [], startedAt: Date.now(), resumed: false, lost: [] };
    return running({ cgroup, ...state }, () => {
      for (const link of links) link.close();
      object.close();
    });
  } catch (error) {
    object.close();
    throw error;
  }
}

async function startPinned(options: InstanceOptions, cgroup: Cgroup, instance: string): Promise<Instance> {
  const { trace = () => {} } = options;
  const directory = InstanceDirectory.lock(instance);
  trace('locked');
  try {
    const before = directory.current;
    const started = (!options.fresh && before && resume(before, options, cgroup)) || undefined;
    if (started) trace('resumed');
    const { close, ...state } = started ?? (await replace(directory, options, cgroup, trace));
    return running({ cgroup, memory: directory.current!, ...state }, () => {
      close();
      directory.close();
    });
  } catch (error) {
    if (directory.current) directory.abandon();
    else directory.remove();
    directory.close();
    throw error;
  }
}

interface Started extends Pick<Instance, 'maps' | 'formerLedgers' | 'startedAt' | 'resumed' | 'lost'> {
  close(): void;
}

/** The ledger that the programs of a generation write to; those of former programs have more behind it. */
const LEDGER = 'ledgers';
/** A ledger of programs that ended before this generation began. */
const FORMER_LEDGER = /^ledgers_\d+$/;
/** One that is about to be written to when the programs are replaced. */
const NEXT_LEDGER = 'ledgers_next';

const ledgersOf = (maps: Maps): [string, BpfMap][] => [...maps].filter(([name]) => name.startsWith(LEDGER));

/** Goes on with what is there, if it is exactly what these options would make. */
function resume(before: Generation, options: InstanceOptions, cgroup: Cgroup): Started | undefined {
  const description = before.description();
  if (description?.object !== hashOf(options.object)) return undefined;
  const { groups } = compare(description, layoutFor(options));
  if (groups.size < ALL_GROUPS || !isRunning(before, description, cgroup)) return undefined;
  const maps = before.maps();
  const formerLedgers = ledgersOf(maps).flatMap(([name, map]) => (name === LEDGER ? [] : [map]));
  const close = () => closeAll(maps.values());
  return { maps, formerLedgers, startedAt: description.startedAt, resumed: true, lost: [], close };
}

/** Whether the programs of a generation are those that see this cgroup's packets now. */
function isRunning(generation: Generation, { programs }: Description, cgroup: Cgroup): boolean {
  const links = generation.links();
  try {
    return Object.entries(programs).every(([name, id]) => {
      const info = links.get(name)?.info();
      return info?.program === id && info.cgroup === cgroup.id;
    });
  } finally {
    closeAll(links.values());
  }
}

/** Makes a new generation out of what can be kept of the one before, and puts it in force. */
async function replace(
  directory: InstanceDirectory,
  options: InstanceOptions,
  cgroup: Cgroup,
  trace: (step: string) => void,
): Promise<Started> {
  const before = directory.current;
  const kept = before && !options.fresh ? keep(before, cgroup, options) : NOTHING;
  const former = before ? before.maps() : new Map<string, BpfMap>();
  const formerLinks = before ? before.links() : new Map<string, BpfLink>();
  const links: BpfLink[] = [];
  let formerLedgers: BpfMap[] = [];
  let object: LoadedObject | undefined;
  try {
    const keepsLedger = kept.groups.has('ledger');
    const keepsConnections = kept.groups.has('connections');
    const reused = [...former].filter(
      ([name]) => kept.groups.has(groupOf(name)) && (keepsConnections || name !== LEDGER),
    );
    object = await load(options, new Map(reused));
    trace('loaded');
    const countsKept = kept.groups.has('counts');
    if (!countsKept) fillFreeQueues(object.maps, options.limits);

    const next = directory.begin();
    for (const [name, map] of object.maps) next.pinMap(name, map);
    if (keepsLedger) formerLedgers = keepLedgers(former, keepsConnections);
    for (const [i, map] of formerLedgers.entries()) next.pinMap(`${LEDGER}_${i}`, map);
    // If this process ends between here and the commit, the programs count on with the ledger they then have.
    if (before && keepsLedger && !keepsConnections)
      before.pinMap(nextLedger(former), object.maps.get(LEDGER)!);
    if (before && countsKept) next.keepAllOf(before);
    trace('pinned the maps');
    for (const program of object.programs) {
      const link = replaceOrAttach(formerLinks.get(program.name), program, cgroup);
      links.push(link);
      trace(`attached ${program.name}`);
      next.pinLink(program.name, link);
      trace(`pinned ${program.name}`);
    }
    const startedAt = (countsKept && before?.description()?.startedAt) || Date.now();
    next.describe({
      format: DESCRIPTION_FORMAT,
      ...layoutFor(options),
      object: hashOf(options.object),
      cgroup: { path: cgroup.path, id: String(cgroup.id) },
      startedAt,
      programs: Object.fromEntries(links.map((link, i) => [object!.programs[i]!.name, link.info().program])),
    });
    trace('described');
    directory.commit();
    trace('committed');
    const close = () => closeAll([object!, ...formerLedgers]);
    return { maps: object.maps, formerLedgers, startedAt, resumed: countsKept, lost: kept.lost, close };
  } catch (error) {
    closeAll([...(object ? [object] : []), ...formerLedgers]);
    throw error;
  } finally {
    const passedOn = new Set(formerLedgers);
    closeAll([
      ...links,
      ...[...former.values()].filter((map) => !passedOn.has(map)),
      ...formerLinks.values(),
    ]);
  }
}

/**
 * The ledgers of a former generation that stay beside the one of the next. Those of programs that were replaced
 * earlier are final, and become one; others may be written to until the programs are replaced now.
 */
function keepLedgers(former: Maps, goesOn: boolean): BpfMap[] {
  const ledgers = ledgersOf(former).filter(([name]) => !goesOn || name !== LEDGER);
  if (goesOn) return ledgers.map(([, map]) => map);
  const final = ledgers.flatMap(([name, map]) => (FORMER_LEDGER.test(name) ? [map] : []));
  const others = ledgers.flatMap(([name, map]) => (FORMER_LEDGER.test(name) ? [] : [map]));
  return final.length > 0 ? [mergeLedgers(final), ...others] : others;
}

/** A name that a process which ended at the same place has not left behind. */
function nextLedger(former: Maps): string {
  let name = NEXT_LEDGER;
  for (let n = 2; former.has(name); n++) name = `${NEXT_LEDGER}${n}`;
  return name;
}

const INTERRUPTED = 'a start before this one ended half way, or the programs were detached';
const ALL_GROUPS = 5;
const NOTHING: Kept = { groups: new Set<Group>(), lost: [] };

function keep(before: Generation, cgroup: Cgroup, options: InstanceOptions): Kept {
  const description = before.description();
  if (!description) return { ...NOTHING, lost: ['All counts start again at 0: another version kept them.'] };
  const kept = compare(description, layoutFor(options));
  if (!kept.groups.has('connections') || isRunning(before, description, cgroup)) return kept;
  // Others have run meanwhile, or nobody: what is remembered of open connections is out of date.
  const groups = new Set([...kept.groups].filter((group) => group !== 'connections'));
  // The connections of a cgroup that was removed are gone with it.
  const lost = description.cgroup.id === String(cgroup.id) ? [connectionsLost(INTERRUPTED)] : [];
  return { groups, lost: [...kept.lost, ...lost] };
}

/** A link of the same hook and cgroup gets the new program; otherwise the program gets a link. */
function replaceOrAttach(former: BpfLink | undefined, program: BpfProgram, cgroup: Cgroup): BpfLink {
  const info = former?.info();
  if (!former || info?.cgroup !== cgroup.id || info.attachType !== program.attachType) {
    return BpfLink.attach(program, cgroup.path);
  }
  former.update(program);
  return former;
}

async function load(options: InstanceOptions, reused: Maps = new Map()): Promise<LoadedObject> {
  using spec = await openObject(options.object);
  configure(spec, options);
  for (const name of spec.maps) {
    const map = reused.get(name);
    if (map) spec.reuse(name, map);
  }
  const object = await spec.load();
  try {
    checkLayout(object.maps);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

const hashOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

function closeAll(resources: Iterable<{ close(): void }>): void {
  for (const resource of resources) resource.close();
}

function running(state: Omit<Instance, 'close' | typeof Symbol.dispose>, close: () => void): Instance {
  let open = true;
  const closeOnce = () => {
    if (open) close();
    open = false;
  };
  return { ...state, close: closeOnce, [Symbol.dispose]: closeOnce };
}

/**
 * Ends a pinned instance: detaches its programs and forgets its counts. False if there is none.
 *
 * @throws MeshtapError `INSTANCE_BUSY` while an agent runs it, `NOT_ROOT`, `BPFFS_MISSING`.
 */
export function detach({ instance }: { instance: string }): boolean {
  requirePrivileges();
  using directory = InstanceDirectory.lock(instance);
  return directory.remove();
}

/** What is known of a pinned instance from outside. */
export interface InstanceReport {
  readonly name: string;
  /** The agent that runs it; undefined if it counts on its own. */
  readonly pid: number | undefined;
  /** Path of its cgroup. */
  readonly cgroup: string;
  readonly startedAt: number;
}

/**
 * The pinned instances of this machine.
 *
 * @throws MeshtapError `NOT_ROOT`, `BPFFS_MISSING`.
 */
export function listInstances(): InstanceReport[] {
  requirePrivileges();
  return instanceNames().flatMap((name) => {
    const { generation, pid } = peek(name);
    const description = generation?.description();
    if (!description) return [];
    return [{ name, pid, cgroup: description.cgroup.path, startedAt: description.startedAt }];
  });
}
