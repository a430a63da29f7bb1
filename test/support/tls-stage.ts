/**
 * The stage of the tests that read inside TLS: the agent is attached before all traffic.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { test as base } from 'vitest';
import { Meter } from './meter.js';
import { Nginx } from './nginx.js';
import { Scope } from './scope.js';
import { Certificate, type TlsVersion } from './tls.js';

const PATIENCE = 600;

/** Waits until so many processes are probed. */
export async function probed(meter: Meter, processes: number): Promise<void> {
  for (let look = 0; ; look++) {
    const found = (await meter.detail())['processes read inside TLS'];
    if (found === processes) return;
    if (look === PATIENCE) throw new Error(`${found} processes are probed, not ${processes}`);
    await sleep(50);
  }
}

/** For one test, which begins with no process at all. */
export const test = base
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern what a fixture depends on
  .extend('scope', async ({}, { onCleanup }) => {
    const scope = new Scope('tls');
    onCleanup(() => scope[Symbol.asyncDispose]());
    return scope;
  })
  .extend('meter', async ({ scope }, { onCleanup }) => {
    const meter = await Meter.attach(scope, { tls: true });
    onCleanup(() => meter.agent[Symbol.asyncDispose]());
    return meter;
  })
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern what a fixture depends on
  .extend('certificate', { scope: 'file' }, async ({}, { onCleanup }) => {
    const certificate = new Certificate();
    onCleanup(() => certificate[Symbol.dispose]());
    return certificate;
  })
  /** A server that starts after the agent: master and two workers. */
  .extend('serve', async ({ scope, meter, certificate }, { onCleanup }) => {
    const servers: Nginx[] = [];
    onCleanup(() => {
      for (const server of servers) server.removeFiles();
    });
    return async (options: { http2?: boolean; only?: TlsVersion } = {}) => {
      const server = await Nginx.start(scope, { tls: certificate, ...options });
      servers.push(server);
      await probed(meter, servers.length * 3);
      return { server, url: (path: string) => server.url(path).replace('http:', 'https:') };
    };
  });
