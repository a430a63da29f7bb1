/**
 * The stage of the tests on DNS: two network namespaces with a cable between them, a real server, and what an agent
 * counts and names of it.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test as base, onTestFinished } from 'vitest';
import { type Agent, createAgent } from '../../src/agent.js';
import { cgroup } from '../../src/identity/cgroup.js';
import { dns } from '../../src/identity/dns.js';
import { staticTable } from '../../src/identity/static.js';
import { codeName } from '../../src/metrics/lookups.js';
import { type EbpfOptions, ebpf } from '../../src/receivers/ebpf.js';
import { ADDRESSES, Namespaces } from './netns.js';
import { Scope } from './scope.js';

type Numbers = Record<string, number>;

/** Of documentation (RFC 5737, 3849): public ones, and nobody's. All are the server namespace's. */
export const PUBLIC = {
  a: '203.0.113.7',
  b: '203.0.113.8',
  v6: '2001:db8::7',
} as const;

/** An address that is translated, where a test says so. */
export const VIRTUAL = '10.96.0.10';

const POLL = 50;
const QUIET = 3;
const PATIENCE = 200;

/** What an agent says of lookups. */
export class DnsMeter {
  readonly agent: Agent;

  constructor(agent: Agent) {
    this.agent = agent;
  }

  static async attach(
    scope: Scope,
    options: Pick<EbpfOptions, 'limits' | 'idleAfter'> = {},
  ): Promise<DnsMeter> {
    const names = staticTable({
      entries: [
        { address: ADDRESSES.v4.server, service: 'far' },
        { address: VIRTUAL, service: 'virtual' },
      ],
    });
    return new DnsMeter(
      await createAgent({
        receivers: [ebpf({ cgroup: scope.path, ...options })],
        resolvers: [names, cgroup({ watched: scope.path }), dns()],
      }),
    );
  }

  /**
   * What came in until all was quiet: `client|client > server|A asked`, `... |A NXDOMAIN 0`, `... |A CNAME records`,
   * `... |A unanswered`, and lines of the ledger, `client|queries seen`.
   */
  async during(traffic: () => Promise<unknown>): Promise<Numbers> {
    const before = await this.#read();
    await traffic();
    let last = await this.#read();
    for (let poll = 0, quiet = 0; poll < PATIENCE && quiet < QUIET; poll++) {
      await sleep(POLL);
      const next = await this.#read();
      quiet = JSON.stringify(next) === JSON.stringify(last) ? quiet + 1 : 0;
      last = next;
    }
    const changed = Object.entries(last).map(([name, value]) => [name, value - (before[name] ?? 0)] as const);
    return Object.fromEntries(changed.filter(([, value]) => value !== 0));
  }

  async #read(): Promise<Numbers> {
    const { lookups } = await this.agent.snapshot();
    const { counts } = await this.agent.status();
    if ('failed' in counts) throw new Error(counts.failed);
    const numbers: Numbers = {};
    const add = (name: string, value: number) => {
      if (value !== 0) numbers[name] = (numbers[name] ?? 0) + value;
    };
    for (const { ends, counts: row } of lookups) {
      const { type, code, addresses, queries, unanswered, records, duration } = row;
      const at = `${ends.role}|${ends.source.service} > ${ends.destination.service}|${type}`;
      add(`${at} asked`, queries);
      add(`${at} unanswered`, unanswered);
      if (code !== undefined) add(`${at} ${codeName(code)} ${addresses}`, duration.count);
      for (const [record, count] of Object.entries(records)) add(`${at} ${record} records`, count);
    }
    for (const { role, subject, outcome, count } of counts.ledger)
      if (['queries', 'answers', 'messages', 'connections', 'lookups', 'names'].includes(subject))
        add(`${role}|${subject} ${outcome}`, count);
    return numbers;
  }
}

/** The lines of one side, without it. */
export function side(role: string, numbers: Numbers): Numbers {
  const own = Object.entries(numbers).filter(([name]) => name.startsWith(`${role}|`));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(role.length + 1), value]));
}

/** A running dnsmasq that writes down what it is asked and what it says. */
export class Dnsmasq implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'meshtap-dns-'));

  /** `lines` are of its configuration. Listens at port 53 of everything that the namespace has. */
  constructor(scope: Scope, netns: string, lines: readonly string[], service = 'server') {
    const options = ['no-resolv', 'no-hosts', 'bind-interfaces', 'log-queries', `log-facility=${this.#log}`];
    const file = join(this.#directory, 'dnsmasq.conf');
    const pid = `pid-file=${join(this.#directory, 'pid')}`;
    writeFileSync(file, [...options, pid, 'user=root', 'keep-in-foreground', ...lines, ''].join('\n'));
    scope.start(service, ['dnsmasq', `--conf-file=${file}`], {
      netns,
      stdio: 'ignore',
    });
  }

  get #log() {
    return join(this.#directory, 'log');
  }

  /** Resolves when it answers. */
  async ready(): Promise<this> {
    for (let attempt = 0; attempt < 400; attempt++) {
      try {
        if (readFileSync(this.#log, 'utf8').includes('started')) return this;
      } catch {
        // not yet
      }
      await sleep(25);
    }
    throw new Error('dnsmasq does not start');
  }

  /** Lines of its log from now on. */
  watch(): () => string[] {
    const before = readFileSync(this.#log, 'utf8').length;
    return () => readFileSync(this.#log, 'utf8').slice(before).split('\n').filter(Boolean);
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** What the resolver of programs in a namespace does until the test ends: `ip netns exec` puts this in the place of /etc/resolv.conf. */
export function configureResolver(netns: string, ...lines: string[]): void {
  const directory = `/etc/netns/${netns}`;
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}/resolv.conf`, lines.map((line) => `${line}\n`).join(''));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
}

const ip = (netns: string, ...args: string[]) => execFileSync('ip', ['-n', netns, ...args]);

export const test = base
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern what a fixture depends on
  .extend('scope', { scope: 'file' }, async ({}, { onCleanup }) => {
    const scope = new Scope('dns');
    onCleanup(() => scope[Symbol.asyncDispose]());
    return scope;
  })
  /** What is counted, from before all traffic. */
  .extend('meter', { scope: 'file' }, async ({ scope }, { onCleanup }) => {
    const meter = await DnsMeter.attach(scope);
    onCleanup(() => meter.agent[Symbol.asyncDispose]());
    return meter;
  })
  .extend('cable', { scope: 'file' }, async ({ scope: _ }, { onCleanup }) => {
    const namespaces = new Namespaces();
    onCleanup(() => namespaces[Symbol.dispose]());
    for (const address of Object.values(PUBLIC)) {
      const length = address.includes(':') ? 128 : 32;
      ip(namespaces.server, 'address', 'add', `${address}/${length}`, 'dev', 'cable');
      const via = address.includes(':') ? ADDRESSES.v6.server : ADDRESSES.v4.server;
      ip(namespaces.client, 'route', 'add', `${address}/${length}`, 'via', via);
    }
    return namespaces;
  });
