import { createHash } from 'node:crypto';
import { disposeAll } from '../dispose.js';
import type { Endpoint } from '../receivers/counts.js';
import { BoundedMap } from './bounded-map.js';
import { CgroupMemory } from './cgroup-memory.js';
import {
  FIRST_PREFIX_ID,
  type Identity,
  type Prefix,
  type Question,
  type Resolver,
  type ResolverHost,
  UNKNOWN,
  WORLD,
} from './identity.js';

export interface ChainOptions {
  /** Asked in this order. */
  resolvers: readonly Resolver[];
  /** How many answers are kept. @default 65536 */
  limit?: number;
  /** How long an end that may get a name any moment is held back at most, milliseconds. @default 30000 */
  wait?: number;
  /** A file in /run that keeps the names of cgroups for the next process, which may find nobody who knows them. @default none */
  memory?: string;
  /** What the resolvers may ask for. @default nothing */
  host?: ResolverHost;
  /** For tests: milliseconds that only grow. @default performance.now */
  now?: () => number;
}

/** Everyone who can name an end, as one. */
export interface Chain extends AsyncDisposable {
  /** The first answer of the chain; undefined while it may be told any moment. Never throws, never waits. */
  identify(question: Question): Identity | undefined;
  /** What all resolvers want the kernel to fold, under ids of the chain's own. */
  prefixes(): readonly Prefix[];
  /** For `meshtap status`, by resolver. */
  status(): Readonly<Record<string, string>>;
  /** How many ends are held back, and how old what resolvers know is, seconds, by resolver and kind. */
  health(): {
    readonly held: number;
    readonly ages: readonly { readonly resolver: string; readonly kind: string; readonly age: number }[];
  };
}

/** How long an answer counts before the resolvers are asked again, milliseconds. */
const FRESH = 5_000;
/** An end that nobody knows may have been born just now. */
const FRESH_UNKNOWN = 1_000;
/** How long a name outlives the last resolver that knew it; then the address may be another's. */
const DEAD = 300_000;

/** Ends that are held back at most. */
const HELD = 4096;

interface Answer {
  readonly identity: Identity;
  readonly askAgainAt: number;
  /** When some resolver last gave it. */
  readonly knownAt: number;
  /** Who gave it, and at which of its revisions. */
  readonly by: Resolver | undefined;
  readonly revision: number | undefined;
  /** It was waited for somebody better to answer, long enough. */
  readonly gaveUp: boolean;
}

/** Starts the resolvers. If one rejects, those before it are closed and the error is passed on. */
export async function startChain(
  { resolvers, limit = 65_536, wait = 30_000, memory, host, now = () => performance.now() }: ChainOptions,
  signal: AbortSignal,
): Promise<Chain> {
  const started: Resolver[] = [];
  try {
    for (const resolver of resolvers) {
      if (host) resolver.attach?.(host);
      await resolver.start(signal);
      started.push(resolver);
    }
  } catch (error) {
    await disposeAll(started);
    throw error;
  }

  const answers = new BoundedMap<string, Answer>(limit);
  const folded = new FoldedPrefixes(resolvers);

  const held = new Held(wait);
  const past = memory === undefined ? undefined : new CgroupMemory<Identity>(memory, limit);

  const ask = (question: Question): Reply => {
    const { endpoint } = question;
    if (endpoint.kind !== 'prefix') return firstAnswer(resolvers, question);
    const owner = folded.ownerOf(endpoint.id);
    const identity = owner?.resolver.resolve({ ...question, endpoint: { kind: 'prefix', id: owner.id } });
    return { identity, by: owner?.resolver, pending: false };
  };

  return {
    identify(question) {
      const fixed = needsNoResolver(question.endpoint);
      if (fixed) return fixed;
      const key = keyOf(question);
      const before = answers.get(key);
      const time = now();
      const fresh = before && time < before.askAgainAt && before.by?.revision?.() === before.revision;
      if (fresh) return before.identity;
      const { identity, by, pending } = ask(question);
      const { endpoint } = question;
      if (endpoint.kind === 'cgroup') {
        // Nobody else ever gets the id of a cgroup: a good name need not be waited for again.
        const kept = before?.by && !before.gaveUp ? before.identity : past?.get(endpoint.cgroup);
        if (pending && kept) return kept;
        // Names that their source forgets.
        if (!pending && identity && by?.pending) past?.note(endpoint.cgroup, identity);
      }
      if (pending && !before?.gaveUp && held.hold(key, time)) return undefined;
      held.release(key);
      const found = { by, revision: by?.revision?.(), gaveUp: pending };
      const answer = identity
        ? { ...found, identity, askAgainAt: time + FRESH, knownAt: time }
        : { ...found, ...outlived(endpoint, pending ? undefined : before, time) };
      answers.set(key, answer);
      return answer.identity;
    },
    prefixes: () => folded.all(),
    status: () => ({
      ...Object.fromEntries(resolvers.map((resolver) => [resolver.name, resolver.status()])),
      chain: `${answers.size} of ${limit} names kept`,
    }),
    health: () => ({
      held: held.size(now()),
      ages: resolvers.flatMap((resolver) =>
        Object.entries(resolver.ages?.() ?? {}).map(([kind, age]) => ({
          resolver: resolver.name,
          kind,
          age,
        })),
      ),
    }),
    [Symbol.asyncDispose]: () => disposeAll(started),
  };
}

interface Reply {
  readonly identity: Identity | undefined;
  readonly by: Resolver | undefined;
  /** Somebody asked before the one who answered may know better any moment. */
  readonly pending: boolean;
}

function firstAnswer(resolvers: readonly Resolver[], question: Question): Reply {
  let pending = false;
  for (const resolver of resolvers) {
    const identity = resolver.resolve(question);
    if (identity) return { identity, by: resolver, pending };
    pending ||= resolver.pending?.(question) ?? false;
  }
  return { identity: undefined, by: undefined, pending };
}

/** Ends that nobody can name yet, since when. */
class Held {
  readonly #wait: number;
  readonly #since = new Map<string, number>();

  constructor(wait: number) {
    this.#wait = wait;
  }

  /** Whether there is more time and room to wait. */
  hold(key: string, time: number): boolean {
    const since = this.#since.get(key);
    if (since !== undefined) return time - since < this.#wait;
    if (this.size(time) >= HELD) return false;
    this.#since.set(key, time);
    return this.#wait > 0;
  }

  release(key: string): void {
    this.#since.delete(key);
  }

  /** Those that nobody asked for again are not waited for. A Map keeps the order of insertion: the oldest come first. */
  size(time: number): number {
    for (const [key, since] of this.#since) {
      if (time - since < this.#wait + FRESH) break;
      this.#since.delete(key);
    }
    return this.#since.size;
  }
}

/** Nobody knows the end, or nobody does any more. */
function outlived(
  endpoint: Endpoint,
  before: Answer | undefined,
  time: number,
): Pick<Answer, 'identity' | 'askAgainAt' | 'knownAt'> {
  const askAgainAt = time + FRESH_UNKNOWN;
  // A cgroup's id is never given to another one, so its name may stay as long as there is room.
  const stays = before && (endpoint.kind === 'cgroup' || time - before.knownAt < DEAD);
  if (stays) return { identity: before.identity, knownAt: before.knownAt, askAgainAt };
  const identity = NAMELESS[endpoint.kind] ?? UNKNOWN;
  return { identity, askAgainAt, knownAt: Number.NEGATIVE_INFINITY };
}

/** Whom nobody knows, by kind. */
const NAMELESS: Partial<Record<Endpoint['kind'], Identity>> = {
  // The kernel gives a cgroup only for sockets that it watches itself.
  cgroup: { ...UNKNOWN, watched: true },
  // A name is better than this, and worth nothing to those who want none.
  name: WORLD,
};

/** Ends that say themselves who they are. */
function needsNoResolver(endpoint: Endpoint): Identity | undefined {
  if (endpoint.kind === 'world') return WORLD;
  if (endpoint.kind !== 'named') return undefined;
  const { service, namespace = '', workload = '', watched = false } = endpoint;
  return { service, namespace, workload, labels: {}, watched };
}

function keyOf({ endpoint, port, role }: Question): string {
  return `${endpoint.kind} ${whoIs(endpoint)} ${port ?? ''} ${role}`;
}

function whoIs(endpoint: Endpoint): string | bigint | number {
  switch (endpoint.kind) {
    case 'cgroup':
      return endpoint.cgroup;
    case 'prefix':
      return endpoint.id;
    case 'address':
      return endpoint.address;
    case 'name':
      return `${endpoint.names.join()} ${endpoint.more}`;
    default:
      return '';
  }
}

/**
 * Each resolver numbers its own prefixes; the kernel gets numbers made from the prefixes themselves. So no two
 * resolvers share one, and what is counted under a number survives a restart with another table: it can become
 * unknown, but never another prefix's.
 */
class FoldedPrefixes {
  readonly #resolvers: readonly Resolver[];
  readonly #owners = new Map<number, { readonly resolver: Resolver; readonly id: number }>();

  constructor(resolvers: readonly Resolver[]) {
    this.#resolvers = resolvers;
  }

  /** The first resolver that names a prefix decides about it. */
  all(): Prefix[] {
    const all = new Map<string, Prefix>();
    this.#owners.clear();
    for (const resolver of this.#resolvers) {
      for (const { cidr, id } of resolver.prefixes?.() ?? []) {
        if (all.has(cidr)) continue;
        all.set(cidr, { cidr, id: typeof id === 'number' ? this.#number(cidr, resolver, id) : id });
      }
    }
    return [...all.values()];
  }

  ownerOf(number: number) {
    return this.#owners.get(number);
  }

  #number(cidr: string, resolver: Resolver, id: number): number {
    let number = createHash('sha256').update(cidr).digest().readUInt32LE();
    while (number < FIRST_PREFIX_ID || this.#owners.has(number)) number = (number + 1) >>> 0;
    this.#owners.set(number, { resolver, id });
    return number;
  }
}
