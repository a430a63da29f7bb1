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
import { ADDRESSES, Namespaces } from './netns.js';
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
  .extend('cable', { scope: 'file' }, async ({ scope: _ }, { onCleanup }) => {
    const namespaces = new Namespaces();
    onCleanup(() => namespaces[Symbol.dispose]());
    return namespaces;
  })
  .extend('cabled', { scope: 'file' }, async ({ scope, meter: _, cable }) => {
    const client = new Peer(scope, 'client', { netns: cable.client });
    const server = new Peer(scope, 'server', { netns: cable.server });
    const address = await server.listen(ADDRESSES.v4.server);
    return { client, connect: () => Line.connect(client, server, address) };
  })
  /** The same as `connect`, with a namespace for each service, and the cable between them whole after the test. */
  .extend('network', async ({ cable, cabled }, { onCleanup }) => {
    onCleanup(() => {
      for (const end of ['client', 'server'] as const) cable.setInputRules(end);
    });
    return { ...cabled, cable };
  })
  /** Makes a connection between two scripted processes in the services `client` and `server`. */
  .extend('connect', { scope: 'file' }, async ({ scope, meter: _ }) => {
    const client = new Peer(scope, 'client');
    const server = new Peer(scope, 'server');
    const address = await server.listen();
    return () => Line.connect(client, server, address);
  });
