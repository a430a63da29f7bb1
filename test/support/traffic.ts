/**
 * The stage of the tests on real traffic. Each part is made for the file that asks for it, and goes with it:
 *
 *     test('...', async ({ meter, line }) => {
 *       const seen = await meter.during(async () => { ... });
 *       seen.expectExchanges({ 'GET 200': 1 });
 *
 * @module
 */
import { test as base } from 'vitest';
import { Meter } from './meter.js';
import { Nginx } from './nginx.js';
import { Line, Peer } from './raw-peer.js';
import { Scope } from './scope.js';

export const test = base
  /** The cgroup that is watched. */
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern what a fixture depends on
  .extend('scope', { scope: 'file' }, async ({}, { onCleanup }) => {
    const scope = new Scope('traffic');
    onCleanup(() => scope[Symbol.asyncDispose]());
    return scope;
  })
  /** What is counted. The agent is attached before all traffic. */
  .extend('meter', { scope: 'file' }, async ({ scope }, { onCleanup }) => {
    const meter = await Meter.attach(scope);
    onCleanup(() => meter.agent[Symbol.asyncDispose]());
    return meter;
  })
  .extend('nginx', { scope: 'file' }, async ({ scope, meter: _ }, { onCleanup }) => {
    const nginx = await Nginx.start(scope);
    onCleanup(() => nginx.removeFiles());
    return nginx;
  })
  /** Makes a connection between two scripted processes in the services `client` and `server`. */
  .extend('connect', { scope: 'file' }, async ({ scope, meter: _ }) => {
    const client = new Peer(scope, 'client');
    const server = new Peer(scope, 'server');
    const address = await server.listen();
    return () => Line.connect(client, server, address);
  });
