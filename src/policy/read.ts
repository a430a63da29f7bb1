import { readFileSync } from 'node:fs';
import { isMap, isNode, isSeq, LineCounter, parseAllDocuments, type Document as YamlDocument } from 'yaml';
import type { z } from 'zod';
import { keyName, problems as wordsOf } from '../config/problem.js';
import { didYouMean } from '../config/suggest.js';
import { explain, MeshtapError } from '../errors.js';
import { Compiler } from '../routes/automaton.js';
import { type Pattern, PatternError } from '../routes/program.js';
import { regex } from '../routes/regex.js';
import { DOCUMENT, type RawHttp, type RawRule, type RawSelector, type Spec, UNSUPPORTED } from './grammar.js';
import {
  NAMESPACE,
  type PeerSelector,
  type Policy,
  type PortRule,
  type Position,
  placeOf,
  type Requirement,
  type Rule,
  type Selector,
} from './policy.js';

/** One thing that is wrong with a file. */
export interface PolicyProblem extends Position {
  readonly message: string;
}

export interface PolicyFile {
  /** Of the documents without faults. */
  readonly policies: readonly Policy[];
  readonly problems: readonly PolicyProblem[];
}

/** Reads policy files. Throws POLICY_INVALID where one can not be read. */
export function readPolicyFiles(files: readonly string[]): PolicyFile {
  const read = files.map((file) => {
    try {
      return readPolicies(readFileSync(file, 'utf8'), file);
    } catch (error) {
      if (error instanceof MeshtapError) throw error;
      throw new MeshtapError('POLICY_INVALID', `the policy file ${file} can not be read`, { cause: error });
    }
  });
  const policies = read.flatMap((one) => one.policies);
  return { policies, problems: [...read.flatMap((one) => one.problems), ...twice(policies)] };
}

/** Reads the policies of a YAML text, which may have several documents. Never throws. */
export function readPolicies(text: string, file: string): PolicyFile {
  const lines = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  const policies: Policy[] = [];
  const problems: PolicyProblem[] = [];
  for (const document of documents) {
    const [error] = document.errors;
    if (error) {
      problems.push({ ...at(error.pos[0]), message: `this is not YAML: ${error.message}` });
      continue;
    }
    if (document.contents === null) continue;
    const found = new Reader(document, at).read();
    if (found.problems.length > 0) problems.push(...found.problems);
    else policies.push(...found.policies);
  }
  return { policies, problems };
}

/** What is applied twice is replaced by the API server; in files it is a mistake. */
function twice(policies: readonly Policy[]): PolicyProblem[] {
  const seen = new Map<string, Policy>();
  return policies.flatMap((policy) => {
    const key = `${policy.namespace}/${policy.name}`;
    const before = seen.get(key);
    seen.set(key, before ?? policy);
    // Several specs of one document are of one policy.
    if (!before || placeOf(before.position) === placeOf(policy.position)) return [];
    return {
      ...policy.position,
      message: `found a second policy ${key}, the first is at ${placeOf(before.position)}`,
    };
  });
}

type Path = readonly PropertyKey[];

/** Reads one document. */
class Reader {
  readonly #document: YamlDocument;
  readonly #at: (offset: number) => Position;
  readonly #problems: PolicyProblem[] = [];
  #namespace = '';

  constructor(document: YamlDocument, at: (offset: number) => Position) {
    this.#document = document;
    this.#at = at;
  }

  read(): PolicyFile {
    const value = this.#value();
    // One word on a document of another kind, not one on each of its keys.
    const kind = DOCUMENT.shape.kind.safeParse((value as { kind?: unknown } | null)?.kind);
    const parsed = DOCUMENT.safeParse(value);
    if (!kind.success || !parsed.success) {
      const issues = parsed.error?.issues ?? [];
      this.#report(
        kind.success ? issues : issues.filter(({ path }) => path[0] === 'kind' || path.length === 0),
        value,
      );
      return { policies: [], problems: this.#problems };
    }
    const { metadata, spec, specs = [] } = parsed.data;
    this.#namespace = metadata.namespace;
    const policy = (one: Spec, path: Path): Policy => ({
      name: metadata.name,
      namespace: metadata.namespace,
      position: this.#positionOf([]),
      subject: this.#selector(one.endpointSelector, [...path, 'endpointSelector'], true),
      ingress: (one.ingress ?? []).map((rule, i) => this.#rule(rule, [...path, 'ingress', i])),
      egress: (one.egress ?? []).map((rule, i) => this.#rule(rule, [...path, 'egress', i])),
    });
    const policies = [
      ...(spec ? [policy(spec, ['spec'])] : []),
      ...specs.map((one, i) => policy(one, ['specs', i])),
    ];
    return { policies, problems: this.#problems };
  }

  #value(): unknown {
    try {
      return this.#document.toJS();
    } catch (error) {
      // Aliases that stand for too much.
      this.#problem([], `this is not YAML: ${explain(error)}`);
      return undefined;
    }
  }

  #rule(rule: RawRule, path: Path): Rule {
    const peers = Object.entries(rule).flatMap(([key, value]): PeerSelector[] => {
      if (key === 'toPorts' || value === undefined) return [];
      return (value as unknown[]).map((item, i) => this.#peer(key, item, [...path, key, i]));
    });
    const ports = rule.toPorts?.map(({ ports, rules }, i): PortRule => {
      const http = rules?.http.map((one, j) => this.#http(one, [...path, 'toPorts', i, 'rules', 'http', j]));
      return {
        ports: ports.map(({ port, endPort }) => ({ first: Number(port), last: endPort ?? Number(port) })),
        ...(http && { http }),
      };
    });
    return {
      ...(peers.length > 0 && { peers }),
      ...(ports && { ports }),
      position: this.#positionOf(path),
    };
  }

  #peer(key: string, item: unknown, path: Path): PeerSelector {
    if (key.endsWith('Endpoints')) return { endpoints: this.#selector(item as RawSelector, path, false) };
    if (key.endsWith('Entities')) return { entity: item as 'all' };
    if (key.endsWith('CIDR')) return { cidr: item as string, except: [] };
    const { cidr, except = [] } = item as { cidr: string; except?: string[] };
    return { cidr, except };
  }

  /** A policy applies in its own namespace, and so do its rules if they do not say another one. */
  #selector({ matchLabels = {}, matchExpressions = [] }: RawSelector, path: Path, own: boolean): Selector {
    const requirements = [
      ...Object.entries(matchLabels).map(
        ([key, value]): Requirement => ({
          key: this.#label(key, [...path, 'matchLabels', key], own),
          operator: 'In',
          values: [value],
        }),
      ),
      ...matchExpressions.map(
        ({ key, operator, values = [] }, i): Requirement => ({
          key: this.#label(key, [...path, 'matchExpressions', i, 'key'], own),
          operator,
          values,
        }),
      ),
    ];
    if (requirements.some(({ key }) => key === NAMESPACE)) return requirements;
    return [...requirements, { key: NAMESPACE, operator: 'In', values: [this.#namespace] }];
  }

  /** A label without the prefix that says where it comes from. */
  #label(key: string, path: Path, own: boolean): string {
    const [, source, name] = /^(?:([a-z0-9-]+):)?(.*)$/s.exec(key)!;
    if (source !== undefined && source !== 'k8s' && source !== 'any')
      this.#problem(path, `${key}: labels of ${source} are not supported, only those of k8s`);
    if (name === NAMESPACE && own)
      this.#problem(path, `${key}: a policy selects endpoints of its own namespace, ${this.#namespace}`);
    if (name!.startsWith('io.cilium.') || (name!.startsWith('io.kubernetes.') && name !== NAMESPACE))
      this.#problem(path, `${key}: this label is not supported`);
    return name!;
  }

  #http(rule: RawHttp, path: Path) {
    const pattern = (field: keyof RawHttp) => {
      const text = rule[field];
      const read = text === undefined ? undefined : this.#pattern(text, field, [...path, field]);
      return read && { [field]: read };
    };
    return {
      ...pattern('method'),
      ...pattern('path'),
      ...pattern('host'),
      position: this.#positionOf(path),
    };
  }

  #pattern(text: string, field: keyof RawHttp, path: Path): Pattern | undefined {
    try {
      const pattern = regex(text, { ignoreCase: field === 'host' });
      // What matches nothing, or is too much by itself, is told where it stands.
      const of = field === 'path' ? 'path' : 'text';
      new Compiler().compile([{ name: 'this rule', of, patterns: [pattern] }]);
      return pattern;
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      this.#problem(path, explain(error));
      return undefined;
    }
  }

  #report(issues: readonly z.core.$ZodIssue[], value: unknown): void {
    for (const issue of issues) {
      if (issue.code === 'unrecognized_keys') {
        for (const key of issue.keys) this.#unknown(key, [...issue.path, key]);
      } else {
        for (const { path, text } of wordsOf([issue], value))
          this.#problem(path, [keyName(path), text].filter(Boolean).join(': '));
      }
    }
  }

  #unknown(key: string, path: Path): void {
    const fault = UNSUPPORTED.has(key) ? `${key} is not supported` : 'found a key that does not exist';
    const meant = UNSUPPORTED.has(key) ? undefined : didYouMean(key, KEYS);
    this.#problem(path, `${keyName(path)}: ${fault}${meant ? `. ${meant}` : ''}`);
  }

  #problem(path: Path, message: string): void {
    this.#problems.push({ ...this.#positionOf(path), message });
  }

  /** Where a key stands, or an item of a list, or the nearest of those around it that is there. */
  #positionOf(path: Path): Position {
    let node: unknown = this.#document.contents;
    let offset = startOf(node) ?? 0;
    for (const step of path) {
      const pair = isMap(node)
        ? node.items.find(({ key }) => String(key) === String(step))
        : isSeq(node)
          ? { key: node.items[step as number], value: node.items[step as number] }
          : undefined;
      const at = startOf(pair?.key);
      if (at === undefined) break;
      offset = at;
      node = pair!.value;
    }
    return this.#at(offset);
  }
}

const startOf = (node: unknown): number | undefined => (isNode(node) ? node.range?.[0] : undefined);

const KEYS = [
  ...['endpointSelector', 'ingress', 'egress', 'description', 'matchLabels', 'matchExpressions'],
  ...['fromEndpoints', 'fromEntities', 'fromCIDR', 'fromCIDRSet', 'toEndpoints', 'toEntities', 'toCIDR'],
  ...[
    'toCIDRSet',
    'toPorts',
    'ports',
    'port',
    'endPort',
    'protocol',
    'rules',
    'http',
    'method',
    'path',
    'host',
  ],
];
