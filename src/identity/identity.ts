import type { Logger } from 'pino';
import type { Endpoint, Role } from '../receivers/counts.js';
import type { Prefix } from '../receivers/receiver.js';

export { FIRST_PREFIX_ID, type Prefix } from '../receivers/receiver.js';

/**
 * Who an end is. Every field is a label value: short, bounded in number, stable across restarts.
 * What is not known is the empty string, but for `service`, where it is `unknown`.
 */
export interface Identity {
  readonly service: string;
  readonly namespace: string;
  /** Deployment, unit, container: what runs the service. */
  readonly workload: string;
  /** `app`, `version` and the like, where a source has them. */
  readonly labels: Readonly<Record<string, string>>;
  /** True if some meshtap counts this end itself, so that its own side reports each request. */
  readonly watched: boolean;
}

export const UNKNOWN: Identity = {
  service: 'unknown',
  namespace: '',
  workload: '',
  labels: {},
  watched: false,
};
/** Every public address without a name of its own. */
export const WORLD: Identity = { service: 'world', namespace: '', workload: '', labels: {}, watched: false };
/**
 * Something on a machine of the cluster that is no pod: the machine itself, and whoever is behind its address (source
 * address translation). `host` is its like on this machine: a process that nobody put in any cgroup.
 */
export const NODE: Identity = {
  service: 'node',
  namespace: '',
  workload: 'node',
  labels: {},
  watched: false,
};

/** What is asked: an end, and what is known around it. */
export interface Question {
  readonly endpoint: Endpoint;
  /** Port of this end, where this end is the server. */
  readonly port: number | undefined;
  /** Whether this end is the client or the server of the connection. */
  readonly role: Role;
}

/** What a resolver may ask of whoever runs it. */
export interface ResolverHost {
  readonly log: Logger;
  /**
   * Sees to it that what was counted until now keeps the names it has now. To be waited for before an answer about an
   * address becomes another one's. Never rejects.
   */
  settle(): Promise<void>;
  /** What `prefixes` returns has changed. */
  prefixesChanged(): void;
}

/**
 * One source of names. One file per resolver in this folder; each passes `test/contract/resolver.ts`.
 * The chain asks in order and takes the first answer.
 */
export interface Resolver extends AsyncDisposable {
  /** One word; also the file's name. */
  readonly name: string;
  /** Called before `start`, where somebody runs this resolver. */
  attach?(host: ResolverHost): void;
  /** Called once before the first question, may read files or connect. Rejects with a MeshtapError. */
  start(signal: AbortSignal): Promise<void>;
  /** Never throws, never waits: `undefined` is "not known here". */
  resolve(question: Question): Identity | undefined;
  /**
   * Asked where `resolve` has no answer: true if the end is probably one of this resolver's and it may be told any
   * moment. What was counted there is then held back for a while, to be reported under the right name.
   */
  pending?(question: Question): boolean;
  /** Changes whenever an answer may have; an answer given under another revision is not kept. @default never */
  revision?(): number;
  /**
   * Prefixes the kernel should fold to one identity, and what to do with the rest.
   * The kernel counts them under `id`, which comes back as `{ kind: 'prefix', id }`.
   */
  prefixes?(): readonly Prefix[];
  /** For `meshtap status`. */
  status(): string;
  /** By kind of what it knows: seconds since its source last confirmed it. Absent where names do not age. */
  ages?(): Readonly<Record<string, number>>;
}
