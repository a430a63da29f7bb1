/** Follows a relay that goes away, tells things twice, and lies about what was lost. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { FlowEvent } from '../../../src/flows/flow.js';
import { FlowHub } from '../../../src/flows/hub.js';
import { nanosecondsOf } from '../../../src/flows/json.js';
import { type GetFlowsRequest, OBSERVER, toMessage } from '../../../src/flows/protocol.js';
import { hubble } from '../../../src/receivers/hubble.js';
import type { RunningReceiver } from '../../../src/receivers/receiver.js';
import { testReceiver } from '../../contract/receiver.js';
import { request, response } from '../../support/flows.js';

const folder = mkdtempSync(join(tmpdir(), 'meshtap-hubble-'));
afterAll(() => rmSync(folder, { recursive: true }));
let sockets = 0;

type Call = ServerWritableStream<GetFlowsRequest, object>;

/** A relay that keeps all its flows and gives them from the time it is asked for, like a real one. */
class Relay {
  readonly address = `unix:${join(folder, `relay-${sockets++}.sock`)}`;
  readonly requests: GetFlowsRequest[] = [];
  readonly #calls = new Set<Call>();
  readonly #sent: FlowEvent[] = [];
  #server: Server | undefined;

  async start(): Promise<this> {
    const server = new Server();
    server.addService(OBSERVER, { GetFlows: (call: Call) => this.#serve(call) });
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(this.address, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
    this.#server = server;
    return this;
  }

  #serve(call: Call): void {
    this.requests.push(call.request);
    this.#calls.add(call);
    call.on('cancelled', () => this.#calls.delete(call));
    const since = call.request.since ? nanosecondsOf(call.request.since) : 0n;
    for (const event of this.#sent) if ('flow' in event && event.time >= since) call.write(toMessage(event));
  }

  get watchers(): number {
    return this.#calls.size;
  }

  /** Keeps it, and tells all who follow. */
  send(event: FlowEvent): void {
    this.#sent.push(event);
    for (const call of this.#calls) call.write(toMessage(event));
  }

  /** Ends every stream: in order, or by dying. */
  hangUp(): void {
    for (const call of this.#calls) call.end();
    this.#calls.clear();
  }

  die(): void {
    this.#server?.forceShutdown();
    this.#calls.clear();
  }
}

const context = (flows?: FlowHub) => ({
  log: pino({ level: 'silent' }),
  boundaries: [0.001, 0.1, 10],
  signal: new AbortController().signal,
  flows,
});

async function following(relay: Relay, hub?: FlowHub): Promise<RunningReceiver> {
  const receiver = await hubble({ server: relay.address, retry: 500 }).start(context(hub));
  onTestFinished(async () => {
    await receiver[Symbol.asyncDispose]();
    relay.die();
  });
  await vi.waitFor(() => expect(relay.watchers).toBe(1), 30_000);
  return receiver;
}

const counted = async (receiver: RunningReceiver) =>
  (await receiver.collect()).http.reduce(
    (sum, { duration, untimed = 0 }) => sum + duration.count + untimed,
    0,
  );
const ledger = async (receiver: RunningReceiver, outcome: string) =>
  (await receiver.collect()).ledger
    .filter((line) => line.subject === 'flows' && line.outcome === outcome)
    .reduce((sum, { count }) => sum + count, 0);
const lost = (count: number): FlowEvent => ({
  time: BigInt(Date.now()) * 1_000_000n,
  node: 'node-a',
  lost: { source: 'HUBBLE_RING_BUFFER', count, cpu: undefined, first: undefined, last: undefined },
});

const busy = await new Relay().start();
afterAll(() => busy.die());
let started: RunningReceiver | undefined;
testReceiver('hubble', {
  create: () => {
    const receiver = hubble({ server: busy.address });
    return {
      ...receiver,
      start: async (given) => {
        const running = await receiver.start(given);
        started ??= running;
        await vi.waitFor(() => expect(busy.watchers).toBeGreaterThan(0), 20_000);
        return running;
      },
    };
  },
  traffic: async () => {
    const before = await ledger(started!, 'answered');
    busy.send(request());
    busy.send(response());
    await vi.waitFor(async () => expect(await ledger(started!, 'answered')).toBe(before + 1), 20_000);
  },
});

describe('hubble', () => {
  test('asks for what comes from now on, and hands each flow to those who watch', async () => {
    const relay = await new Relay().start();
    relay.send({ ...response(), time: 1n });
    const hub = new FlowHub();
    const receiver = await following(relay, hub);
    expect(relay.requests[0]).toMatchObject({
      follow: true,
      whitelist: [{ event_type: [{ type: 129 }, { type: 1 }] }],
    });
    relay.send(request());
    relay.send(response());
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(1), 30_000);
    expect(hub.status()).toMatchObject({ seen: 2, flows: 2 });
    expect(receiver.status()).toMatchObject({ state: 'running', detail: { server: relay.address } });
  });

  test('a relay that comes and goes: each flow is counted once, and none is missed', async () => {
    const relay = await new Relay().start();
    const receiver = await following(relay);
    let sent = 0;
    const send = (count: number) => {
      for (let i = 0; i < count; i++) relay.send(response({ more: { uuid: `flow-${sent++}` } }));
    };
    send(100);
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(sent), 30_000);
    relay.hangUp();
    send(50);
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(sent), 30_000);
    relay.die();
    send(70);
    await vi.waitFor(() => expect(receiver.status()).toMatchObject({ state: 'degraded' }), 30_000);
    expect(await counted(receiver)).toBe(150);
    await relay.start();
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(sent), 30_000);
    send(30);
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(250), 30_000);
    expect(await ledger(receiver, 'seen')).toBe(250);
    expect(receiver.status()).toMatchObject({ state: 'running' });
    // Asked again from where it stopped, a little before.
    expect(relay.requests.length).toBeGreaterThanOrEqual(3);
    const [first, ...again] = relay.requests.map(({ since }) => nanosecondsOf(since!));
    for (const since of again) expect(since).toBeGreaterThanOrEqual(first! - 6_000_000_000n);
  });

  test('the same without ids: flows that are alike but for their time are told apart', async () => {
    const relay = await new Relay().start();
    const receiver = await following(relay);
    for (let i = 0; i < 20; i++) relay.send(response());
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(20), 30_000);
    relay.hangUp();
    await vi.waitFor(() => expect(relay.requests.length).toBe(2), 30_000);
    for (let i = 0; i < 5; i++) relay.send(response());
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(25), 30_000);
  });

  test('what a relay says it lost is said, and changes no count', async () => {
    const relay = await new Relay().start();
    const hub = new FlowHub();
    const receiver = await following(relay, hub);
    relay.send(response());
    relay.send(lost(41));
    relay.send(response());
    relay.send(lost(1));
    // A lie: more than there ever were.
    relay.send(lost(1_000_000));
    relay.send(response());
    await vi.waitFor(async () => expect(await counted(receiver)).toBe(3), 30_000);
    await vi.waitFor(async () => expect(await ledger(receiver, 'lost')).toBe(1_000_042), 30_000);
    expect(await ledger(receiver, 'seen')).toBe(3);
    expect(hub.status()).toMatchObject({ seen: 3, lost: 1_000_042 });
  });

  test('starts without a relay, says so, and finds it when it comes', async () => {
    const relay = new Relay();
    const receiver = await hubble({ server: relay.address, retry: 300 }).start(context());
    onTestFinished(() => receiver[Symbol.asyncDispose]());
    await vi.waitFor(() => expect(receiver.status()).toMatchObject({ state: 'degraded' }), 30_000);
    await expect(receiver.collect()).resolves.toMatchObject({ http: [] });
    await relay.start();
    onTestFinished(() => relay.die());
    await vi.waitFor(() => expect(receiver.status()).toMatchObject({ state: 'running' }), 30_000);
  });

  test('says which file can not be read', async () => {
    const tls = { caFile: join(folder, 'none.pem') };
    await expect(hubble({ server: 'localhost:1', tls }).start(context())).rejects.toMatchObject({
      code: 'FLOWS_FAILED',
      message: expect.stringContaining('none.pem'),
    });
  });
});
