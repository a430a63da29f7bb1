/** The built program, without any privilege: an agent that replays flows, and `observe` that asks it. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { writeLine } from '../../../src/flows/jsonpb.js';
import { meshtap, startMeshtap } from '../../support/cli.js';
import { request, response, workload } from '../../support/flows.js';
import { freePort } from '../../support/free-port.js';

const MAIN = join(import.meta.dirname, '../../../dist/cli/main.js');
const FLOWS = join(import.meta.dirname, '../../fixtures/flows/flows.jsonl');
const folder = mkdtempSync(join(tmpdir(), 'meshtap-observe-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Root without capabilities may do no more than anybody, but can read this clone wherever it lies. */
const within =
  process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'] : [];

const instance = `observe-test-${process.pid}`;
const lines = (text: string) => text.trim().split('\n').filter(Boolean);

test('an agent replays a pipe: metrics, flows, status', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const writer = openSync(pipe, 'r+');
  const port = await freePort();
  const agent = startMeshtap(
    [
      'run',
      '--replay',
      pipe,
      '--instance',
      instance,
      '--prometheus',
      `127.0.0.1:${port}`,
      '--dialect',
      'hubble',
    ],
    { within, env: { XDG_RUNTIME_DIR: folder } },
  );
  await agent.says(/counting/);
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const send = (...events: Parameters<typeof writeLine>[0][]) =>
    writeSync(writer, events.map((event) => `${writeLine(event)}\n`).join(''));

  send(
    request(),
    response({ url: 'http://reviews/reviews/42?user=jo' }),
    response({ code: 503, latency: 250 }),
  );
  await vi.waitFor(
    async () => {
      const answered = [
        ...(await metrics()).matchAll(/^hubble_http_responses_total\{.*status_code="(\d+)".*\} (\d+)$/gm),
      ];
      expect(answered.map(([, code, count]) => `${code}: ${count}`)).toEqual(['200: 1', '503: 1']);
    },
    { timeout: 30_000, interval: 100 },
  );

  const observe = (...args: string[]) =>
    meshtap(['observe', '--instance', instance, ...args], { env: { XDG_RUNTIME_DIR: folder } });
  const failed = await observe('--http-status', '5+');
  expect(failed).toMatchObject({ code: 0, stderr: '' });
  expect(failed.stdout).toMatch(
    /^.+ shop\/productpage-5f7b9-x2x4z:40000 \(ID:20011\) <- shop\/reviews-5f7b9-x2x4z:9080 \(ID:20007\) http-response FORWARDED \(.*\)\n$/,
  );
  const { stdout: json } = await observe('--http-status', '200', '-o', 'jsonpb');
  expect(JSON.parse(json).flow.l7.http.url).toBe('http://reviews/reviews/{id}');
  expect(lines((await observe('--slower-than', '200ms')).stdout)).toHaveLength(1);
  expect(
    lines((await observe('--slower-than', '1ms', '--last', '1', '-o', 'json')).stdout).map(
      (line) => JSON.parse(line).flow.l7.http.code,
    ),
  ).toEqual([503]);
  expect(lines((await observe('--last', '2')).stdout)).toHaveLength(2);
  expect((await observe('--since', '1h', '--until', '30m')).stdout).toBe('');
  expect(await observe('--http-path', '(')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^meshtap: filter http_path/),
  });

  const follower = startMeshtap(
    ['observe', '--instance', instance, '-f', '--last', '1', '--from-pod', 'shop/cart'],
    {
      env: { XDG_RUNTIME_DIR: folder },
    },
  );
  // Flows go on until one is seen, so the follower has been there for it.
  const cart = workload('cart', { address: '10.0.0.9', port: 1 });
  const sending = setInterval(() => send(request(), request({ client: cart })), 50);
  await follower
    .says(/shop\/cart-5f7b9-x2x4z:1 .* -> shop\/reviews.* http-request FORWARDED/)
    .finally(() => clearInterval(sending));
  const ended = await follower.stop('SIGINT');
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(lines(ended.stdout).filter((line) => !line.includes('shop/cart'))).toEqual([]);

  expect(await agent.stop()).toMatchObject({ code: 0, stderr: expect.not.stringContaining('"level":50') });
  closeSync(writer);
  expect(await observe()).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`no agent named ${instance} has flows`),
  });
});

describe('without an agent', () => {
  test('reads standard input, and stops when it ends', async () => {
    const child = spawn(
      process.execPath,
      [MAIN, 'observe', '--input-file', '-', '--verdict', 'DROPPED', '-o', 'json'],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    );
    child.stdin.end(readFileSync(FLOWS));
    const printed = lines(await text(child.stdout)).map((line) => JSON.parse(line));
    expect(printed.filter(({ flow }) => flow).map(({ flow }) => flow.verdict)).toEqual([
      'DROPPED',
      'DROPPED',
      'DROPPED',
    ]);
  });

  test('stops at a signal while it waits for input, and when nobody reads', async () => {
    const waiting = spawn(process.execPath, [MAIN, 'observe', '--input-file', '-'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    waiting.stdin.write(readFileSync(FLOWS));
    await once(waiting.stdout, 'data');
    waiting.kill('SIGTERM');
    expect(await once(waiting, 'exit')).toEqual([0, null]);

    const unread = spawn(process.execPath, [MAIN, 'observe', '--input-file', '-'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    unread.stdin.on('error', () => undefined);
    unread.stdout.once('data', () => unread.stdout.destroy());
    const feeding = setInterval(() => unread.stdin.write(readFileSync(FLOWS)), 20);
    const [code] = await once(unread, 'exit');
    clearInterval(feeding);
    expect(code).toBe(0);
  });

  test('the last of those that fit; the first', async () => {
    const uuids = async (...args: string[]) =>
      lines(
        (await meshtap(['observe', '--input-file', FLOWS, '-o', 'json', '--protocol', 'http', ...args]))
          .stdout,
      )
        .map((line) => JSON.parse(line))
        .filter(({ flow }) => flow)
        .map(({ flow }) => Number(flow.uuid.slice(-2)));
    expect(await uuids('--last', '2')).toEqual([16, 17]);
    expect(await uuids('--first', '2')).toEqual([1, 2]);
    expect(await uuids('--slower-than', '200ms')).toEqual([6, 17]);
    expect(await uuids('--last', '0')).toEqual([]);
  });

  test('--redact', async () => {
    const { stdout } = await meshtap(['observe', '--input-file', FLOWS, '--redact', '--protocol', 'http']);
    expect(stdout).not.toMatch(/user=jo|u=normal|reviews\/\d/);
    expect(stdout).toContain('http://reviews:9080/reviews/{id}');
  });

  test('says which line can not be read', async () => {
    const child = spawn(process.execPath, [MAIN, 'observe', '--input-file', '-'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.stdin.end(`${writeLine(request())}\nnonsense\n`);
    expect(lines(await text(child.stdout))).toHaveLength(1);
    expect(await text(child.stderr)).toBe('meshtap: -:2: left out: this is not JSON\n');
  });

  test.each([
    [['--input-file', '/nowhere'], 1, 'there is no such file'],
    [['--first', '1', '--follow'], 2, '--first goes with none of'],
    [['-o', 'table', '--follow'], 2, 'a table is printed when it ends'],
    [['--last', 'x'], 2, '--last: found x, expected a number'],
    [['--since', 'x'], 2, '--since: found x'],
    [['--slower-than', 'x'], 2, '--slower-than: found x'],
    [['--server', '127.0.0.1:1'], 1, '127.0.0.1:1 gives no flows'],
  ])('%o', async (args, code, words) => {
    expect(await meshtap(['observe', ...args])).toMatchObject({
      code,
      stderr: expect.stringContaining(words),
    });
  });
});
