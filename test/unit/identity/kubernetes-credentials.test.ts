import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { KubernetesApi } from '../../../src/identity/kubernetes-api.js';
import { fromKubeconfig, inCluster } from '../../../src/identity/kubernetes-credentials.js';
import { temporaryDirectory } from '../../support/bpf.js';

const base = {
  'current-context': 'one',
  contexts: [
    { name: 'one', context: { cluster: 'here', user: 'me' } },
    { name: 'two', context: { cluster: 'there' } },
  ],
  clusters: [
    { name: 'here', cluster: { server: 'https://10.0.0.1:6443' } },
    { name: 'there', cluster: { server: 'https://example.com/proxied', 'tls-server-name': 'kubernetes' } },
  ],
  users: [{ name: 'me', user: { token: 'secret' } }],
};

function write(config: unknown): string {
  const file = join(temporaryDirectory(), 'config');
  writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config));
  return file;
}

test('a kubeconfig: its current context, or another', () => {
  const file = write(base);
  const one = fromKubeconfig(file);
  expect([one.server.href, one.token(), one.tls]).toEqual(['https://10.0.0.1:6443/', 'secret', {}]);
  const two = fromKubeconfig(file, 'two');
  expect([two.server.href, two.token(), two.tls.servername]).toEqual([
    'https://example.com/proxied',
    undefined,
    'kubernetes',
  ]);
});

test('certificates are in the file, or in files beside it', () => {
  const file = write({
    ...base,
    clusters: [
      {
        name: 'here',
        cluster: { server: 'https://10.0.0.1', 'certificate-authority-data': btoa('authority') },
      },
    ],
    users: [{ name: 'me', user: { 'client-certificate': 'me.crt', 'client-key-data': btoa('key') } }],
  });
  writeFileSync(join(file, '../me.crt'), 'certificate');
  const { tls } = fromKubeconfig(file);
  expect([tls.ca?.toString(), tls.cert?.toString(), tls.key?.toString()]).toEqual([
    'authority',
    'certificate',
    'key',
  ]);
});

test.each<[string, unknown, string]>([
  ['that is not YAML', '{', 'it is not YAML'],
  ['of another form', { clusters: [{ name: 'x' }] }, 'clusters.0.cluster'],
  ['without the context', { ...base, 'current-context': 'three' }, 'there is no context "three"'],
  ['without the cluster', { ...base, clusters: null }, 'there is no cluster "here"'],
  [
    'whose user runs a program',
    { ...base, users: [{ name: 'me', user: { exec: { command: 'aws' } } }] },
    'gets its credentials from a program',
  ],
])('a kubeconfig %s is refused, and says why', (_, config, message) => {
  const failing = () => fromKubeconfig(write(config));
  expect(failing).toThrow(message);
  expect(failing).toThrow(expect.objectContaining({ code: 'IDENTITY_FAILED' }));
});

test('a file that is not there', () => {
  expect(() => fromKubeconfig('/no/such/file')).toThrow('/no/such/file can not be read');
});

test('in a pod: the address of the variables, the authority and token of the service account', () => {
  const folder = temporaryDirectory();
  writeFileSync(join(folder, 'ca.crt'), 'authority');
  writeFileSync(join(folder, 'token'), 'first\n');
  const four = inCluster({ KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' }, folder);
  expect([four.server.href, four.token(), four.tls.ca?.toString()]).toEqual([
    'https://10.96.0.1/',
    'first',
    'authority',
  ]);
  expect(inCluster({ KUBERNETES_SERVICE_HOST: 'fd00::1' }, folder).server.host).toBe('[fd00::1]');
  expect(() => inCluster({}, folder)).toThrow('this process is in no pod');
});

test('a token that was replaced is taken when it was refused, and one that is gone for a moment is kept', () => {
  const folder = temporaryDirectory();
  mkdirSync(folder, { recursive: true });
  const token = join(folder, 'token');
  writeFileSync(join(folder, 'ca.crt'), '');
  writeFileSync(token, 'first');
  const cluster = inCluster({ KUBERNETES_SERVICE_HOST: '10.96.0.1' }, folder);
  expect(cluster.token()).toBe('first');
  writeFileSync(token, 'second');
  utimesSync(token, 1, 1);
  expect(cluster.token()).toBe('first');
  expect(cluster.token(true)).toBe('second');
});

test('an API server is believed only by the authority that is named', async () => {
  const folder = temporaryDirectory();
  const [key, cert] = [join(folder, 'tls.key'), join(folder, 'tls.crt')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const how = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', ...how, ...subject], { stdio: 'ignore' });
  const keys = { key: readFileSync(key), cert: readFileSync(cert) };
  const server = createServer(keys, (request, response) => {
    response
      .setHeader('content-type', 'application/json')
      .end(JSON.stringify({ who: request.headers.authorization }));
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as AddressInfo;
  const config = (more: object) =>
    fromKubeconfig(
      write({
        ...base,
        clusters: [{ name: 'here', cluster: { server: `https://localhost:${port}`, ...more } }],
      }),
    );
  const get = async (more: object) => {
    using api = new KubernetesApi(config(more), { connect: 30_000, silence: 30_000 });
    return await api.get('/version', { signal: new AbortController().signal });
  };
  const authority = { 'certificate-authority-data': keys.cert.toString('base64') };
  expect(await get(authority)).toEqual({ who: 'Bearer secret' });
  expect(await get({ 'insecure-skip-tls-verify': true })).toEqual({ who: 'Bearer secret' });
  await expect(get({})).rejects.toThrow(/certificate/);
  await expect(get({ ...authority, 'tls-server-name': 'other' })).rejects.toThrow(/altname/i);
});
