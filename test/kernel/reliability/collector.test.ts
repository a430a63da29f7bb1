import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import type { Page } from '../../support/exposition.js';
import { report } from '../../support/figures.js';
import { askKeys, serveKeys } from '../../support/keys.js';
import {
  arrived,
  type Behaviour,
  grpcReceiver,
  httpReceiver,
  type OtlpReceiver,
} from '../../support/otlp-receiver.js';
import { Scope } from '../../support/scope.js';

const ROLES = ['client', 'server'] as const;
const MEGABYTE = 2 ** 20;
/** Enough that an export that is kept would show. */
const SERIES = 500;
const EXPORTS = 2;
const TROUBLES = ['hang', 'nonsense', 'drip', 'unavailable', 'refuse'] as const satisfies Behaviour[];

let scope: Scope;
let ports: number[];
const instance = `collector-${process.pid}`;

beforeAll(async () => {
  scope = new Scope('collector');
  ({ ports } = await serveKeys(scope));
});

afterAll(async () => {
  await detachInstance(instance);
  await scope[Symbol.asyncDispose]();
});

const memoryOf = ({ pid }: AgentProcess) =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

/** Exports that came to an end, of one way or another. */
const ended = (page: Page) =>
  page.sum('meshtap_exporter_duration_seconds_count', {
    exporter: (name) => name?.startsWith('otlp') ?? false,
  });

test.for([
  { protocol: 'grpc', receive: grpcReceiver },
  { protocol: 'http/protobuf', receive: httpReceiver },
] as const)(
  'a collector that is down, slow or senseless, $protocol: nothing is late, nothing grows',
  PATIENTLY,
  async ({ protocol, receive }, context) => {
    let collector: OtlpReceiver = await receive();
    const { endpoint } = collector;
    const agent = await AgentProcess.start({
      cgroup: scope.path,
      instance,
      config: { exporters: { otlp: { protocol, endpoint, interval: '300ms', timeout: '200ms' } } },
    });
    const first = await agent.scrape();
    let sent = 0;
    /** Makes traffic, sees that it was counted at once, and waits until some more exports were tried. */
    const live = async () => {
      const before = ended(await agent.scrape());
      for (let tried = 0; tried < EXPORTS; ) {
        sent += await askKeys(scope, { ports, from: 0, to: SERIES });
        const page = await agent.scrape();
        for (const role of ROLES) expect(page.requests(role) - first.requests(role)).toBe(sent);
        tried = ended(page) - before;
      }
    };
    await live();
    const before = memoryOf(agent);
    for (const behaviour of TROUBLES) {
      collector.behave(behaviour);
      await live();
    }
    await collector[Symbol.asyncDispose]();
    await live();
    const after = memoryOf(agent);
    expect(after).toBeLessThan(before + 64 * MEGABYTE);
    // Each trouble is told once, not with each attempt.
    const told = agent.running.stderr.split('\n').filter((line) => line.includes('EXPORT_FAILED'));
    expect(told.length).toBeLessThanOrEqual(2 * TROUBLES.length);

    collector = await receive(Number(new URL(endpoint).port));
    await using _ = collector;
    while (collector.requests.length === 0) await sleep(50);
    const { requests } = collector;
    for (const role of ROLES) {
      const points = arrived(requests.slice(0, 1)).filter(
        ({ metric }) => metric === `http.${role}.request.duration`,
      );
      const counted = points.reduce((sum, { point }) => sum + point.count!, 0) - first.requests(role);
      report(context, { at: role, sent, counted, explained: 0, lost: sent - counted, wrong: 0 });
      expect(counted).toBe(sent);
    }
  },
);
