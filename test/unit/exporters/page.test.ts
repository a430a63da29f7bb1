import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import bcrypt from 'bcryptjs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type ServicePageOptions, servePage } from '../../../src/exporters/page/service-page.js';
import type { WireDetails, WireMap } from '../../../src/exporters/page/wire.js';
import { request, response, workload } from '../../support/flows.js';
import { Mesh } from '../../support/mesh.js';
import { scrape } from '../../support/scrape.js';

const mesh = () => new Mesh({ services: 5, edges: 6, namespaces: 1 });

async function start(options: Partial<ServicePageOptions> = {}) {
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const page = await servePage({ port: 0, agent: mesh(), onError, ...options });
  onTestFinished(() => page[Symbol.asyncDispose]());
  const get = async (path: string, headers: Record<string, string> = {}) =>
    scrape(`${page.address}${path}`, { headers });
  const json = async <T>(path: string) => JSON.parse((await get(path)).body.toString()) as T;
  return { page, errors, get, json };
}

describe('what is served', () => {
  test('a page that loads everything from here, under a policy that lets it load nothing else', async () => {
    const { get } = await start();
    const page = await get('');
    expect(page.status).toBe(200);
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': expect.stringContaining("default-src 'none'; script-src 'self';"),
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
    });
    const named = [...page.body.toString().matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!);
    expect(named).toContain('main.js');
    for (const path of named) expect([path, (await get(path)).status]).toEqual([path, 200]);
    expect((await get('cytoscape.js', { 'accept-encoding': 'gzip' })).body.length).toBeLessThan(200_000);
  });

  test('nothing else, and nothing but GET and HEAD', async () => {
    const { page, get } = await start();
    for (const path of [
      '../package.json',
      '%2e%2e/service-page.js',
      'cytoscape.LICENSE',
      'metrics',
      'map.json/',
    ])
      expect([path, (await get(path)).status]).toEqual([path, 404]);
    for (const method of ['POST', 'PUT', 'DELETE'])
      expect((await scrape(`${page.address}map.json`, { method })).status).toBe(405);
    expect((await scrape(`${page.address}map.json`, { method: 'HEAD' })).body).toHaveLength(0);
  });

  test('503 and why, if the counts can not be read', async () => {
    const agent = Object.assign(mesh(), { snapshot: () => Promise.reject(new Error('no counts')) });
    const { get, errors } = await start({ agent });
    const answer = await get('map.json');
    expect([answer.status, answer.body.toString()]).toEqual([503, 'the counts can not be read: no counts\n']);
    expect(errors).toHaveLength(1);
  });
});

describe('who may see it', () => {
  test('nobody under a name that is not its own: a page elsewhere may have its name point here', async () => {
    const { get } = await start();
    for (const host of ['evil.example', 'evil.example:9465', '127.0.0.1.evil.example'])
      expect([host, (await get('map.json', { host })).status]).toEqual([host, 421]);
    for (const host of ['127.0.0.1', 'localhost:9465', '[::1]:9465', '10.0.0.7:80'])
      expect([host, (await get('map.json', { host })).status]).toEqual([host, 200]);
  });

  test('with a password only, where the web configuration has one', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'meshtap-page-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const webConfigFile = join(directory, 'web.yml');
    writeFileSync(webConfigFile, JSON.stringify({ basic_auth_users: { eve: bcrypt.hashSync('secret', 4) } }));
    const { get } = await start({ webConfigFile });
    const authorization = `Basic ${Buffer.from('eve:secret').toString('base64')}`;
    for (const path of ['', 'main.js', 'map.json', 'edge.json']) expect((await get(path)).status).toBe(401);
    expect((await get('map.json', { authorization })).status).toBe(200);
    // A name is fine where a password is asked for.
    expect((await get('', { authorization, host: 'map.example' })).status).toBe(200);
  });

  test('PORT_IN_USE, before anything else is there', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as { port: number };
    await expect(servePage({ port, agent: mesh(), onError() {} })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
    });
  });
});

describe('the numbers', () => {
  test('rates come with the second look, and nobody looks who is not asked', async () => {
    const agent = mesh();
    let looks = 0;
    const snapshot = () => {
      looks++;
      return agent.snapshot();
    };
    const counting = { flows: agent.flows, snapshot };
    const { json } = await start({ agent: counting });
    expect(looks).toBe(0);
    const first = await json<WireMap>('map.json');
    expect(first).toMatchObject({ seconds: null, edges: expect.any(Array) });
    expect(first.edges).toHaveLength(6);
    expect(first.edges[0]).toMatchObject({ rate: null, state: 'idle', p50: null });
    // Those who ask at the same time are told the same.
    await Promise.all([json('map.json'), json('map.json'), json('edge.json?source=nobody')]).catch(() => {});
    expect(looks).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const second = await json<WireMap>('map.json');
    expect(looks).toBe(2);
    for (const [i, { rate, total }] of second.edges.entries()) {
      const came = total.requests - first.edges[i]!.total.requests;
      expect(came).toBeGreaterThan(0);
      expect(rate!.requests * second.seconds!).toBeCloseTo(came, 6);
    }
  });

  test('one edge: its statuses, its histogram, its latest flows and no others', async () => {
    const agent = mesh();
    const { json, get } = await start({ agent });
    const { edges } = await json<WireMap>('map.json');
    const { source, destination, total } = edges[0]!;
    const query = new URLSearchParams({
      ...{ source: source.service, sourceNamespace: source.namespace },
      ...{ destination: destination.service, destinationNamespace: destination.namespace },
    });
    const details = await json<WireDetails>(`edge.json?${query}`);
    expect(details.flows).toBeNull();
    expect(details.outcomes).toEqual([
      { name: '200', error: false, total: total.requests - total.errors, recent: 0 },
      { name: '503', error: true, total: total.errors, recent: 0 },
    ]);
    expect(details.buckets.reduce((sum, bucket) => sum + bucket.total, 0)).toBe(total.requests);

    const end = (of: typeof source) => workload(of.service, { namespace: of.namespace });
    const between = { client: end(source), server: end(destination), url: 'http://x/y?card=4242', code: 503 };
    const another = { client: end(destination), server: end(source) };
    for (const flow of [request(between), response(between), response(another)]) agent.flows.publish(flow);
    const { flows } = await json<WireDetails>(`edge.json?${query}`);
    expect(flows).toMatchObject([
      { type: 'http-response', error: true, latency: 5, summary: 'HTTP/1.1 503 5ms (GET http://x/y)' },
      { type: 'http-request', error: false, latency: null },
    ]);
    expect((await get('edge.json?source=nobody&destination=else')).status).toBe(404);
  });
});
