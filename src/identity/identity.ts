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
export const WORLD: Identity = { service: 'world', namespace: '', workload: '', labels: {}, watched: false };

/** What is asked: an end, and what is known around it. */
export interface Question {
  readonly endpoint: Endpoint;
  /** Port of this end, where this end is the server. */
  readonly port: number | undefined;
  /** Whether this end is the client or the server of the connection. */
  readonly role: Role;
}

/**
 * One source of names. One file per resolver in this folder; each passes `test/contract/resolver.ts`.
 * The chain asks in order and takes the first answer.
 */
export interface Resolver extends AsyncDisposable {
  /** One word; also the file's name. */
  readonly name: string;
  /** Called once before the first question, may read files or connect. Rejects with a MeshtapError. */
  start(signal: AbortSignal): Promise<void>;
  /** Never throws, never waits: `undefined` is "not known here". */
  resolve(question: Question): Identity | undefined;
  /**
   * Prefixes the kernel should fold to one identity, and what to do with the rest.
   * The kernel counts them under `id`, which comes back as `{ kind: 'prefix', id }`.
   */
  prefixes?(): readonly Prefix[];
  /** For `meshtap status`. */
  status(): string;
}
