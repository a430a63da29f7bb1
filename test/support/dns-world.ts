/**
 * The stage of the tests on names of addresses: public addresses behind a cable, a resolver and a web server there, and
 * services that ask and dial.
 *
 * @module
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type DnsMeter, Dnsmasq, PUBLIC, test as stage } from './dns.js';
import { ADDRESSES } from './netns.js';
import { Scope } from './scope.js';

const RECORDS = [
  `host-record=api.example.com,${PUBLIC.a},${PUBLIC.v6}`,
  `host-record=other.example.net,${PUBLIC.a}`,
  `host-record=third.example.org,${PUBLIC.a}`,
  'cname=www.example.org,edge.example.net',
  'cname=edge.example.net,api.example.com',
  `address=/buckets.example.com/${PUBLIC.b}`,
];

interface World {
  /** Lookups (`api.example.com`, `api.example.com AAAA`) and requests (`> 203.0.113.7`) of a service, in order. */
  act(scope: Scope, service: string, steps: readonly string[]): Promise<void>;
}

export const test = stage.extend(
  'world',
  { scope: 'file' },
  async ({ cable }, { onCleanup }): Promise<World> => {
    // Nobody watches these: their other sides are addresses.
    const outside = new Scope('dns-outside');
    const server = new Dnsmasq(outside, cable.server, RECORDS);
    onCleanup(async () => {
      server[Symbol.dispose]();
      await outside[Symbol.asyncDispose]();
    });
    await server.ready();
    const script = `
    const server = require('node:http').createServer((_, response) => response.end('here'));
    server.listen(0, '::', () => console.log(server.address().port));`;
    const web = outside.start('web', [process.execPath, '-e', script], {
      netns: cable.server,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(createInterface(web.stdout!), 'line')) as [string];
    const port = Number(line);
    return {
      async act(scope, service, steps) {
        const client = `
        const { Resolver } = require('node:dns').promises;
        const { get } = require('node:http');
        const resolver = new Resolver();
        resolver.setServers(['${ADDRESSES.v4.server}']);
        const request = (host) => new Promise((resolve, reject) =>
          get({ host, port: ${port}, agent: false }, (it) => it.resume().on('close', resolve)).on('error', reject));
        (async () => {
          for (const step of ${JSON.stringify(steps)}) {
            const [first, second] = step.split(' ');
            if (first === '>') await request(second);
            else await resolver.resolve(first, second ?? 'A');
          }
        })().catch((error) => { console.error(error); process.exitCode = 1; });`;
        const { status, stderr } = await scope.run(service, [process.execPath, '-e', client], {
          netns: cable.client,
        });
        if (status !== 0) throw new Error(stderr);
      },
    };
  },
);

/** Requests by pair of services, as the client's side has them. */
export async function requests({ agent }: DnsMeter, source: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  const { requests } = await agent.snapshot();
  for (const { ends, counts } of requests) {
    if (ends.role !== 'client' || ends.source.service !== source) continue;
    const to = ends.destination.service;
    found[to] = (found[to] ?? 0) + counts.duration.count;
  }
  return found;
}
