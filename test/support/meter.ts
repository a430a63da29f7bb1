/**
 * What an agent counted while something happened: the difference of two sweeps, and what the ledger says of it.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { type Agent, createAgent } from '../../src/agent.js';
import type { HistogramCounts, HttpCounts, Role, TcpCounts } from '../../src/receivers/counts.js';
import { type EbpfOptions, ebpf } from '../../src/receivers/ebpf.js';
import type { Scope } from './scope.js';

type Numbers = Record<string, number>;

const ROLES: readonly Role[] = ['client', 'server'];
/** Lines that follow from the exchanges, and segments that came early, which is the network's doing. */
const ORDINARY = new Set([
  ...['requests seen', 'requests answered', 'requests failed'],
  ...['responses seen', 'responses matched', 'segments early'],
]);
const POLL = 20;
/** Nothing changed in so many polls: it is over. */
const QUIET = 3;
const PATIENCE = 150;

/** Everything countable in one sweep, flat: a name and a number each. */
interface Reading {
  readonly requests: Numbers;
  readonly tcp: Numbers;
  readonly ledger: Numbers;
  readonly durations: Numbers;
  readonly firstBytes: Numbers;
  readonly budgets: Numbers;
}

export class Meter {
  readonly agent: Agent;

  private constructor(agent: Agent) {
    this.agent = agent;
  }

  static async attach(scope: Scope, options: Pick<EbpfOptions, 'tls'> = {}): Promise<Meter> {
    return new Meter(await createAgent({ receivers: [ebpf({ cgroup: scope.path, ...options })] }));
  }

  /** What the receiver says of itself, by name. */
  async detail(): Promise<Readonly<Record<string, string | number>>> {
    const status = (await this.agent.status()).receivers.ebpf!;
    if (status.state === 'failed') throw new Error(status.reason);
    return status.detail;
  }

  /** What was counted until all was quiet again: no more requests under way than before. Connections may stay open. */
  async during(traffic: () => Promise<unknown>): Promise<Seen> {
    const before = await this.#read();
    await traffic();
    let last = await this.#read();
    for (let poll = 0, quiet = 0; poll < PATIENCE && quiet < QUIET; poll++) {
      await sleep(POLL);
      const next = await this.#read();
      const same = JSON.stringify(next) === JSON.stringify(last);
      const over = ROLES.every((role) => inFlight(next.ledger, role) <= inFlight(before.ledger, role));
      quiet = same && over ? quiet + 1 : 0;
      last = next;
    }
    return new Seen(before, last);
  }

  /** Entries used of each budget. */
  async budgets(): Promise<Numbers> {
    return (await this.#read()).budgets;
  }

  async #read(): Promise<Reading> {
    const { requests, connections } = await this.agent.snapshot();
    const { counts } = await this.agent.status();
    if ('failed' in counts) throw new Error(counts.failed);
    const reading = { requests: {}, tcp: {}, ledger: {}, durations: {}, firstBytes: {}, budgets: {} };
    for (const { ends, counts } of requests) {
      const pair = `${ends.role}|${ends.source.service} > ${ends.destination.service}`;
      const exchange = `${pair}|${exchangeName(counts)}`;
      add(reading.requests, exchange, counts.duration.count);
      addHistogram(reading.durations, exchange, counts.duration);
      addHistogram(reading.firstBytes, exchange, counts.firstByte);
    }
    for (const { ends, counts } of connections) {
      const pair = `${ends.role}|${ends.source.service} > ${ends.destination.service}`;
      for (const [name, value] of Object.entries(tcpNumbers(counts)))
        add(reading.tcp, `${pair}|${name}`, value);
    }
    for (const { role, subject, outcome, count } of counts.ledger)
      add(reading.ledger, `${role}|${subject} ${outcome}`, count);
    for (const { name, used } of counts.budgets) add(reading.budgets, name, used);
    return reading;
  }
}

/** `GET 200`, `POST 200 reset`, `GET closed`, `GET 200 HTTP/1.0`, `POST 200 HTTP/2 echo.Echo/Say OK`, `GET 200 https`. */
function exchangeName({ method, status, failure, version, scheme, overflow, rpc }: HttpCounts): string {
  if (overflow) return 'overflow';
  const protocol = version === '1.1' ? undefined : `HTTP/${version}`;
  const call = rpc && `${rpc.service}/${rpc.method} ${rpc.status ?? '-'}`;
  const inside = scheme === 'https' ? scheme : undefined;
  return [method, status, failure, protocol, call, inside].filter((part) => part !== undefined).join(' ');
}

function tcpNumbers({ pair, life, ending, connect, rtt, ...counters }: TcpCounts): Numbers {
  return {
    ...counters,
    connect: connect.count,
    connectSeconds: connect.sum,
    rtt: rtt.count,
    rttSeconds: rtt.sum,
  };
}

const add = (numbers: Numbers, name: string, value: number) => {
  numbers[name] = (numbers[name] ?? 0) + value;
};

function addHistogram(numbers: Numbers, name: string, { buckets, sum }: HistogramCounts): void {
  buckets.forEach((count, index) => {
    add(numbers, `${name}|${index}`, count);
  });
  add(numbers, `${name}|seconds`, sum);
}

/** Requests that are not accounted for (yet). */
function inFlight(ledger: Numbers, role: Role): number {
  let left = ledger[`${role}|requests seen`] ?? 0;
  for (const [name, count] of Object.entries(ledger))
    if (name.startsWith(`${role}|requests `) && !name.endsWith(' seen')) left -= count;
  return left;
}

/** The same for answers that were begun. */
function unaccountedAnswers(ledger: Numbers, role: Role): number {
  let left = ledger[`${role}|responses seen`] ?? 0;
  for (const [name, count] of Object.entries(ledger))
    if (name.startsWith(`${role}|responses `) && !name.endsWith(' seen')) left -= count;
  return left;
}

/** Names in which something was counted, with their differences. */
function difference(before: Numbers, after: Numbers): Numbers {
  const changed = Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)] as const);
  return Object.fromEntries(changed.filter(([, value]) => value !== 0));
}

/** The entries whose name begins so, under the rest of their name. */
function below(numbers: Numbers, prefix: string): Numbers {
  const own = Object.entries(numbers).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(prefix.length), value]));
}

export class Seen {
  readonly #counted: Omit<Reading, 'budgets'>;

  constructor(before: Reading, after: Reading) {
    this.#counted = {
      requests: difference(before.requests, after.requests),
      tcp: difference(before.tcp, after.tcp),
      ledger: difference(before.ledger, after.ledger),
      durations: difference(before.durations, after.durations),
      firstBytes: difference(before.firstBytes, after.firstBytes),
    };
  }

  /** Exchanges that one side counted, by pair of services and by outcome: `{ 'shop > stock|GET 200': 3 }`. */
  requests(role: Role): Numbers {
    return below(this.#counted.requests, `${role}|`);
  }

  /** What the ledger gained for one side: `{ 'requests seen': 3, ... }`. */
  ledger(role: Role | 'unknown'): Numbers {
    return below(this.#counted.ledger, `${role}|`);
  }

  /** What one side counted of a pair's connections, without what stayed 0. */
  tcp(role: Role, pair = 'client > server'): Numbers {
    return below(this.#counted.tcp, `${role}|${pair}|`);
  }

  /** How often the exchange fell into each bucket, by its index, and how many `seconds` they were together. */
  latency(role: Role, kind: 'durations' | 'firstBytes', exchange: string, pair = 'client > server'): Numbers {
    return below(this.#counted[kind], `${role}|${pair}|${exchange}|`);
  }

  /** Both sides counted exactly these exchanges of the services `client` and `server`, and the ledger is even. */
  expectExchanges(expected: Numbers, pair = 'client > server'): void {
    const named = Object.fromEntries(
      Object.entries(expected)
        .filter(([, count]) => count > 0)
        .map(([name, count]) => [`${pair}|${name}`, count]),
    );
    expect({ client: this.requests('client'), server: this.requests('server') }).toEqual({
      client: named,
      server: named,
    });
    this.expectReconciled();
  }

  /** The ledger of either side gained these lines besides those that follow from the exchanges. */
  expectLedger(expected: Numbers): void {
    for (const role of ROLES) {
      const lines = Object.entries(this.ledger(role)).filter(([name]) => !ORDINARY.has(name));
      expect({ role, ...Object.fromEntries(lines) }).toEqual({ role, ...expected });
    }
  }

  /** Every request and every answer seen is in exactly one line of the ledger, and none is under way. */
  expectReconciled(): void {
    for (const role of ROLES) {
      const { ledger } = this.#counted;
      const counted = Object.entries(this.requests(role)).reduce((sum, [, count]) => sum + count, 0);
      expect({
        role,
        'requests in flight': inFlight(ledger, role),
        'answers unaccounted': unaccountedAnswers(ledger, role),
        'requests answered or failed': this.#sum(role, 'requests answered', 'requests failed'),
      }).toEqual({
        role,
        'requests in flight': 0,
        'answers unaccounted': 0,
        'requests answered or failed': counted,
      });
    }
  }

  #sum(role: Role, ...lines: string[]): number {
    const ledger = this.ledger(role);
    return lines.reduce((sum, line) => sum + (ledger[line] ?? 0), 0);
  }
}
