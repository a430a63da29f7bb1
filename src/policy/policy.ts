/**
 * What a policy says, whatever it was read from.
 *
 * @module
 */
import { MeshtapError } from '../errors.js';
import type { Pattern } from '../routes/program.js';

/** A place in a file; lines and columns begin with 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** `policy.yaml:12:7` */
export const placeOf = ({ file, line, column }: Position): string => `${file}:${line}:${column}`;

/** Policies that can not be had together, and the place of the rule with which it is too much. */
export class PolicyError extends MeshtapError {
  readonly position: Position;
  /** What is wrong there. */
  readonly problem: string;

  constructor(position: Position, problem: string, cause?: unknown) {
    super('POLICY_INVALID', `${placeOf(position)}: ${problem}`, { cause });
    this.name = 'PolicyError';
    this.position = position;
    this.problem = problem;
  }
}

/** Labels that an endpoint has to have. All requirements hold at once. */
export interface Requirement {
  /** A label; `NAMESPACE` for the namespace. */
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /** Of `In` and `NotIn`. */
  readonly values: readonly string[];
}

/** The label that Cilium gives the namespace of a pod. */
export const NAMESPACE = 'io.kubernetes.pod.namespace';

export type Selector = readonly Requirement[];

export const ENTITIES = ['all', 'world', 'cluster', 'host', 'remote-node'] as const;
export type Entity = (typeof ENTITIES)[number];

/** Who is at the other end. */
export type PeerSelector =
  | { readonly endpoints: Selector }
  | { readonly entity: Entity }
  /** Addresses outside of the cluster. */
  | { readonly cidr: string; readonly except: readonly string[] };

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** A request that is let in: all of what is given holds at once. */
export interface HttpRule {
  readonly method?: Pattern;
  /** For the normal form of the path. */
  readonly path?: Pattern;
  /** For the value of Host or `:authority`, whatever its case. */
  readonly host?: Pattern;
  readonly position: Position;
}

export interface PortRule {
  readonly ports: readonly PortRange[];
  /** One of them has to hold for each request; undefined for whatever is sent there. */
  readonly http?: readonly HttpRule[];
}

/** Lets in (or out) what it names. */
export interface Rule {
  /** Any of them; undefined for everybody. Not undefined where `ports` is. */
  readonly peers?: readonly PeerSelector[];
  /** Any of them; undefined for all TCP ports. */
  readonly ports?: readonly PortRule[];
  readonly position: Position;
}

export const DIRECTIONS = ['ingress', 'egress'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export interface Policy {
  readonly name: string;
  readonly namespace: string;
  readonly position: Position;
  /** The endpoints to which it applies. */
  readonly subject: Selector;
  /** If there is any rule of a direction, all is denied in that direction but what a rule lets pass. */
  readonly ingress: readonly Rule[];
  readonly egress: readonly Rule[];
}

/** Who may talk, as far as policies tell ends apart. */
export type Party =
  | {
      readonly kind: 'endpoint';
      readonly namespace: string;
      readonly labels: Readonly<Record<string, string>>;
    }
  /** Something outside of the cluster. */
  | { readonly kind: 'world'; readonly address: string }
  | { readonly kind: 'host' }
  | { readonly kind: 'remote-node' };
