// The load tier, run inside a guest: every BPF object loads, attaches to a cgroup, and lets a request pass; the
// receiver, which sets constants that the verifier then knows, counts one; and `meshtap status` knows the kernel.
// Usage: load.ts REPORT [OBJECT...]; without objects, all that were built for this machine.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { release } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { FeatureReport } from '../../src/bpf/features.js';
import type { BpfLink } from '../../src/bpf/link.js';
import { openObject } from '../../src/bpf/object.js';
import { DEFAULT_BOUNDARIES } from '../../src/config/boundaries.js';
import { explain, MeshtapError } from '../../src/errors.js';
import { ebpf } from '../../src/receivers/ebpf.js';
import type { Found, Outcome } from './report.js';

const [report, ...given] = process.argv.slice(2);
const built = fileURLToPath(new URL(`../../bpf/${process.arch}/`, import.meta.url));
const objects =
  given.length > 0
    ? given
    : readdirSync(built)
        .filter((name) => name.endsWith('.bpf.o'))
        .map((name) => join(built, name));
const outcomes: Outcome[] = [];

const [, mount] = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8'))!;
const cgroup = join(mount!, 'meshtap-load');
mkdirSync(cgroup);
writeFileSync(join(cgroup, 'cgroup.procs'), String(process.pid));

for (const path of objects) {
  const name = basename(path, '.bpf.o');
  let links: BpfLink[] = [];
  const loaded = await attempt(`${name} loads`, async () => (await openObject(path)).load());
  if (!loaded) continue;
  // What reads inside TLS is attached to functions of processes: test/kernel/tls does it.
  if (name !== 'tls')
    await attempt(`${name} attaches`, () => {
      links = loaded.attach(cgroup);
    });
  if (links.length > 0) await attempt(`${name} lets a request pass`, exchange);
  for (const link of links) link.close();
  loaded.close();
}
await attempt('a request is counted on both sides', count);
const features = (await attempt('status has a feature table', featureTable)) ?? [];
await attempt('the feature table is right', () => checkFeatures(features));
const states = Object.fromEntries(features.map(({ name, state }) => [name, state]));
writeFileSync(report!, JSON.stringify({ outcomes, features: states } satisfies Found));
process.exitCode = outcomes.every(({ result }) => result === 'passed') ? 0 : 1;

async function attempt<T>(test: string, action: () => T | Promise<T>): Promise<T | undefined> {
  try {
    const value = await action();
    outcomes.push({ test, result: 'passed' });
    console.log(`passed: ${test}`);
    return value;
  } catch (error) {
    const log = error instanceof MeshtapError && error.detail ? `\n${error.detail.slice(-4000)}` : '';
    outcomes.push({ test, result: 'failed', detail: explain(error) + log });
    console.log(`FAILED: ${test}: ${explain(error)}`);
    return undefined;
  }
}

/** One request and its answer over loopback, by sockets of this cgroup. */
async function exchange(): Promise<void> {
  const server = createServer((_request, response) => response.end('here')).listen(0, '127.0.0.1');
  try {
    await once(server, 'listening');
    const request = get({ port: (server.address() as AddressInfo).port, agent: false });
    const [response] = await once(request, 'response', { signal: AbortSignal.timeout(30_000) });
    const body = await text(response);
    if (response.statusCode !== 200 || body !== 'here')
      throw new Error(`answer ${response.statusCode} "${body}"`);
  } finally {
    server.close();
  }
}

/** The same watched by the receiver: each side counts it once, with its status. */
async function count(): Promise<void> {
  const receiver = await ebpf({ cgroup }).start({
    log: pino({ level: 'silent' }),
    boundaries: DEFAULT_BOUNDARIES,
    signal: new AbortController().signal,
  });
  try {
    await exchange();
    const { http } = await receiver.collect();
    const seen = http.map(({ pair, status, duration }) => `${pair.role} ${status} x${duration.count}`).sort();
    if (seen.join() !== 'client 200 x1,server 200 x1')
      throw new Error(`counted ${seen.join(', ') || 'nothing'}`);
  } finally {
    await receiver[Symbol.asyncDispose]();
  }
}

function featureTable(): FeatureReport[] {
  const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  return JSON.parse(execFileSync(process.execPath, [main, 'status', '--json'], { encoding: 'utf8' }))
    .features;
}

/** Debian's kernels are mainline's as far as this goes, and their configurations leave none of it out. */
function checkFeatures(features: readonly FeatureReport[]): void {
  const number = (version: string) => {
    const [major, minor] = version.split('.').map(Number);
    return major! * 1000 + minor!;
  };
  const wrong = features.filter(({ since, state }) => {
    return state !== (number(release()) >= number(since) ? 'supported' : 'not supported');
  });
  const words = wrong.map(
    ({ name, since, state, reason }) => `${name}, since ${since}, is ${state} (${reason})`,
  );
  if (wrong.length > 0) throw new Error(words.join('; '));
  if (features.length === 0) throw new Error('the table is empty');
}
