import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { FlowHub } from '../../../src/flows/hub.js';
import { writeLine } from '../../../src/flows/jsonpb.js';
import type { RunningReceiver } from '../../../src/receivers/receiver.js';
import { replay } from '../../../src/receivers/replay.js';
import { testReceiver } from '../../contract/receiver.js';
import { request, response } from '../../support/flows.js';

const folder = mkdtempSync(join(tmpdir(), 'meshtap-replay-'));
const pipe = join(folder, 'pipe');
execFileSync('mkfifo', [pipe]);
const toPipe = openSync(pipe, 'r+');
afterAll(() => {
  closeSync(toPipe);
  rmSync(folder, { recursive: true });
});

const context = (flows?: FlowHub) => ({
  log: pino({ level: 'silent' }),
  boundaries: [0.001, 0.1, 10],
  signal: new AbortController().signal,
  flows,
});

const lineOf = async (receiver: RunningReceiver, outcome: string) =>
  (await receiver.collect()).ledger
    .filter((line) => line.subject === 'flows' && line.outcome === outcome)
    .reduce((sum, { count }) => sum + count, 0);

// Several read the same pipe at times, so each is asked for what the first one has.
let started: RunningReceiver | undefined;
testReceiver('replay', {
  create: () => {
    const receiver = replay({ file: pipe });
    return {
      ...receiver,
      start: async (given) => {
        const running = await receiver.start(given);
        started ??= running;
        return running;
      },
    };
  },
  traffic: async () => {
    const before = await lineOf(started!, 'answered');
    writeSync(toPipe, `${writeLine(request())}\n${writeLine(response())}\n`);
    await vi.waitFor(async () => expect(await lineOf(started!, 'answered')).toBe(before + 1), 20_000);
  },
});

describe('replay', () => {
  test('reads a file to its end, and keeps the counts', async () => {
    const file = join(folder, 'flows.jsonl');
    const events = [request(), response(), response({ code: 503, latency: 250 })];
    writeFileSync(file, events.map((event) => `${writeLine(event)}\n`).join(''));
    await using receiver = await replay({ file }).start(context());
    await vi.waitFor(() => expect(receiver.status()).toMatchObject({ detail: { input: 'ended', flows: 3 } }));
    const { http } = await receiver.collect();
    expect(http.map(({ status, duration }) => [status, duration.count, duration.sum])).toEqual([
      [200, 1, 0.005],
      [503, 1, 0.25],
    ]);
    expect(receiver.status().state).toBe('running');
  });

  test('leaves out lines that are none, and says how many', async () => {
    const long = JSON.stringify({ flow: { Summary: 'x'.repeat(2 ** 21) } });
    const bad = [
      '{',
      '[]',
      'null',
      '{"flow":7}',
      '{"flow":{"l7":{"http":{"code":"x"}}}}',
      '{"flow":{"time":"now"}}',
      long,
    ];
    const input = Readable.from([`${[...bad, writeLine(response())].join('\n')}\n\n{"agent_event":{}}\n`]);
    await using receiver = await replay({ input }).start(context());
    await vi.waitFor(() => expect(receiver.status()).toMatchObject({ detail: { input: 'ended' } }));
    // `null` is an empty message, as [] is none at all.
    expect(await lineOf(receiver, 'unreadable')).toBe(6);
    expect(await lineOf(receiver, 'answered')).toBe(1);
  });

  test('reads a line that comes in pieces, also within a character', async () => {
    const bytes = Buffer.from(`${writeLine(response({ url: 'http://reviews/größe' }))}`);
    const hub = new FlowHub({ redact: false });
    const input = Readable.from([...bytes].map((byte) => Buffer.of(byte)));
    await using receiver = await replay({ input }).start(context(hub));
    await vi.waitFor(() => expect(receiver.status()).toMatchObject({ detail: { input: 'ended' } }));
    expect(hub.kept()[0]?.l7?.http?.url).toBe('http://reviews/größe');
  });

  test('says what can not be read', async () => {
    await expect(replay({ file: join(folder, 'none') }).start(context())).rejects.toMatchObject({
      code: 'FLOWS_FAILED',
    });
    await expect(replay({}).start(context())).rejects.toMatchObject({ code: 'FLOWS_FAILED' });
  });
});
