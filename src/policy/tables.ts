import { explain } from '../errors.js';
import { type Automaton, Compiler, type Limits } from '../routes/automaton.js';
import { type Pattern, PatternError } from '../routes/program.js';
import type { Scope } from '../routes/scope.js';
import { walkPath, walkText } from '../routes/walk.js';
import type { Access, HttpRequest, Verdict } from './judge.js';
import {
  DIRECTIONS,
  type Direction,
  type HttpRule,
  type Party,
  type PeerSelector,
  type Policy,
  PolicyError,
  type PortRule,
} from './policy.js';
import { isPeer, selects } from './select.js';

/** A set of rules of a plan: rule n is bit n. The kernel has `MOST_RULES` bits for it. */
export type RuleSet = bigint;

/** HTTP rules that can apply to one endpoint in one direction. */
export const MOST_RULES = 256;

/** What is asked of a request, and which rules ask it. */
interface Question {
  /** The scope of the automaton; undefined if no rule asks. */
  readonly scope: string | undefined;
  /** By number of the pattern in the scope: the rules that ask for it. */
  readonly rules: readonly RuleSet[];
  /** Rules that do not ask. */
  readonly indifferent: RuleSet;
}

/** What peers may do at some ports: all, or what one of the rules allows. */
interface Grant {
  /** Number of a peer selector; undefined for everybody. */
  readonly peer: number | undefined;
  readonly first: number;
  readonly last: number;
  readonly rules: RuleSet | 'all';
}

/** One direction of all endpoints to which the same policies apply. */
export interface Plan {
  /** The HTTP rules by number. */
  readonly rules: readonly HttpRule[];
  readonly method: Question;
  readonly path: Question;
  readonly host: Question;
  readonly grants: readonly Grant[];
}

/** What a peer may do at ports from `first` to `last`; undefined: nothing. */
export interface PortVerdict {
  readonly first: number;
  readonly last: number;
  readonly rules: RuleSet | 'all' | undefined;
}

const LAST_PORT = 65_535;
const ALL_PORTS: PortRule = { ports: [{ first: 0, last: LAST_PORT }] };
type Field = 'method' | 'path' | 'host';

/**
 * Policies in the form in which the kernel judges: a plan by endpoint and direction, a list of ports by plan and peer,
 * three walks of the automaton by request. A request passes if a bit is left of
 * `rules of the port & rules of the method & rules of the path & rules of the host`.
 */
export class PolicyTables {
  readonly automaton: Automaton;
  /** What tells peers apart: peers that the same of these select may do the same. */
  readonly peers: readonly PeerSelector[];
  readonly #policies: readonly Policy[];
  readonly #plans = new Map<string, Plan>();

  /**
   * Compiles policies for the endpoints there are. Throws a `PolicyError` where the automaton would be too large or more
   * than `MOST_RULES` HTTP rules apply to one of them.
   */
  constructor(policies: readonly Policy[], endpoints: readonly Party[], limits: Limits = {}) {
    this.#policies = policies;
    const peers = new Map<string, PeerSelector>();
    for (const peer of policies.flatMap((p) => DIRECTIONS.flatMap((d) => p[d].flatMap((r) => r.peers ?? []))))
      peers.set(JSON.stringify(peer), peer);
    this.peers = [...peers.values()];
    const numbers = new Map([...peers.keys()].map((key, i) => [key, i]));
    const scopes: Scope[] = [];
    for (const endpoint of endpoints) {
      for (const direction of DIRECTIONS) {
        const key = this.#keyOf(endpoint, direction);
        if (key === undefined || this.#plans.has(key)) continue;
        const applying = this.#applying(endpoint, direction);
        this.#plans.set(key, planOf(key, applying, direction, numbers, scopes));
      }
    }
    this.automaton = this.#compile(new Compiler(limits), scopes);
  }

  #compile(compiler: Compiler, scopes: readonly Scope[]): Automaton {
    try {
      return compiler.compile(scopes);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      const rules = [...this.#plans.values()].flatMap(({ rules }) => rules);
      const asks = ({ method, path, host }: HttpRule) =>
        [method, path, host].some((pattern) => pattern?.text === error.pattern);
      throw new PolicyError(rules.find(asks)!.position, explain(error), error);
    }
  }

  /** The plan of one of the endpoints; undefined if no policy applies. */
  planFor(endpoint: Party, direction: Direction): Plan | undefined {
    const key = this.#keyOf(endpoint, direction);
    return key === undefined ? undefined : this.#plans.get(key);
  }

  /** Which of `peers` select a party, ascending. */
  peersOf(party: Party): number[] {
    return [...this.peers.keys()].filter((i) => isPeer(this.peers[i]!, party));
  }

  /** What the kernel answers. */
  judge({ direction, subject, peer, port, request }: Access): Verdict {
    const plan = this.planFor(subject, direction);
    if (!plan) return 'unrestricted';
    const verdict = portVerdicts(plan, this.peersOf(peer)).find(
      ({ first, last }) => first <= port && port <= last,
    );
    const rules = verdict?.rules;
    if (rules === undefined) return 'denied';
    if (rules === 'all' || !request) return 'allowed';
    return (rules & this.#rulesOf(plan, request)) !== 0n ? 'allowed' : 'denied';
  }

  #rulesOf(plan: Plan, { method, target, host }: HttpRequest): RuleSet {
    const bytes = (text: string) => Buffer.from(text, 'latin1');
    const answer = ({ scope, rules, indifferent }: Question, found: (scope: string) => readonly number[]) =>
      scope === undefined
        ? indifferent
        : found(scope).reduce((set, pattern) => set | rules[pattern]!, indifferent);
    return (
      answer(plan.method, (scope) => walkText(this.automaton, scope, bytes(method))) &
      answer(plan.path, (scope) => walkPath(this.automaton, scope, bytes(target))) &
      answer(plan.host, (scope) => walkText(this.automaton, scope, bytes(host)))
    );
  }

  #applying(endpoint: Party, direction: Direction): Policy[] {
    return this.#policies.filter((p) => p[direction].length > 0 && selects(p.subject, endpoint));
  }

  #keyOf(endpoint: Party, direction: Direction): string | undefined {
    const applying = this.#applying(endpoint, direction);
    if (applying.length === 0) return undefined;
    return `${direction} ${applying.map((policy) => this.#policies.indexOf(policy)).join()}`;
  }
}

/** For all ports in order what a peer may do, given the numbers of the peer selectors that select it. */
export function portVerdicts({ grants }: Plan, peers: readonly number[]): PortVerdict[] {
  const theirs = grants.filter(({ peer }) => peer === undefined || peers.includes(peer));
  const borders = [...new Set([0, ...theirs.flatMap(({ first, last }) => [first, last + 1])])]
    .filter((port) => port <= LAST_PORT)
    .sort((a, b) => a - b);
  const verdicts: PortVerdict[] = [];
  borders.forEach((first, i) => {
    const last = (borders[i + 1] ?? LAST_PORT + 1) - 1;
    const here = theirs.filter((grant) => grant.first <= first && last <= grant.last);
    const rules = here.reduce<PortVerdict['rules']>((sum, grant) => union(sum, grant.rules), undefined);
    const before = verdicts.at(-1);
    if (before && before.rules === rules) verdicts[verdicts.length - 1] = { ...before, last };
    else verdicts.push({ first, last, rules });
  });
  return verdicts;
}

/** What lets all pass at a port makes its HTTP rules superfluous. */
function union(a: RuleSet | 'all' | undefined, b: RuleSet | 'all'): RuleSet | 'all' {
  return a === 'all' || b === 'all' ? 'all' : (a ?? 0n) | b;
}

function planOf(
  key: string,
  policies: readonly Policy[],
  direction: Direction,
  numbers: ReadonlyMap<string, number>,
  scopes: Scope[],
): Plan {
  const rules: HttpRule[] = [];
  const grants: Grant[] = [];
  for (const rule of policies.flatMap((policy) => policy[direction])) {
    const peers = rule.peers ? rule.peers.map((peer) => numbers.get(JSON.stringify(peer))!) : [undefined];
    // A rule that says nothing allows nothing.
    const portRules = rule.ports ?? (rule.peers ? [ALL_PORTS] : []);
    for (const { ports, http } of portRules) {
      let set: RuleSet | 'all' = 'all';
      if (http) {
        set = http.reduce((bits, _, i) => bits | (1n << BigInt(rules.length + i)), 0n);
        rules.push(...http);
      }
      for (const peer of peers) for (const range of ports) grants.push({ peer, ...range, rules: set });
    }
  }
  if (rules.length > MOST_RULES) {
    throw new PolicyError(
      rules[MOST_RULES]!.position,
      `with this rule, more than ${MOST_RULES} HTTP rules apply to one endpoint. Several paths can be one regular expression: (/a|/b)`,
    );
  }
  const ask = (field: Field): Question => {
    const { patterns, ...question } = questionOf(rules, field);
    if (patterns.length === 0) return { ...question, scope: undefined };
    const scope = `${key} ${field}`;
    scopes.push({ name: scope, of: field === 'path' ? 'path' : 'text', patterns });
    return { ...question, scope };
  };
  return { rules, grants, method: ask('method'), path: ask('path'), host: ask('host') };
}

function questionOf(rules: readonly HttpRule[], field: Field) {
  const patterns = new Map<string, { pattern: Pattern; rules: RuleSet }>();
  let indifferent = 0n;
  rules.forEach((rule, i) => {
    const pattern = rule[field];
    const bit = 1n << BigInt(i);
    if (!pattern) {
      indifferent |= bit;
      return;
    }
    const known = patterns.get(pattern.text);
    patterns.set(pattern.text, { pattern, rules: (known?.rules ?? 0n) | bit });
  });
  const all = [...patterns.values()];
  return { patterns: all.map(({ pattern }) => pattern), rules: all.map(({ rules }) => rules), indifferent };
}
