// Messages as they may come: sent again, too late, forged, truncated, garbage. An independent encoder makes them.
import packet, { type Answer, type DecodedPacket, type RecordType } from 'dns-packet';
import { describe, expect } from 'vitest';
import { DatagramPeer, type DatagramSocket } from '../../support/datagram-peer.js';
import { side, test as stage } from '../../support/dns.js';
import { numbers } from '../../support/random.js';

const LOOPBACK = '127.0.0.1';
const SERVER = { host: LOOPBACK, port: 53 };

const test = stage
  .extend('peers', { scope: 'file' }, async ({ scope, cable, meter: _ }) => {
    const server = new DatagramPeer(scope, 'server', cable.client);
    const client = new DatagramPeer(scope, 'client', cable.client);
    return { client, server: await server.open({ port: 53 }), serverPeer: server };
  })
  .extend('ask', { scope: 'file' }, async ({ peers }) => {
    const { client, server } = peers;
    /** Asks from a socket of its own, and lets the server see it. */
    return async (query: Uint8Array, socket?: DatagramSocket) => {
      const from = socket ?? (await client.open({ to: SERVER }));
      await from.send(query);
      const { host, port } = await server.receive();
      return {
        from,
        again: async () => {
          await from.send(query);
          await server.receive();
        },
        answer: async (bytes: Uint8Array) => {
          await server.send(bytes, { host, port });
          await from.receive();
        },
      };
    };
  });

let id = 1;
const query = (name: string, type: RecordType = 'A') =>
  packet.encode({ type: 'query', id: id++, questions: [{ type, name }] });

/** An answer to a query, with its id and question unless it is given others. */
function answer(
  to: Uint8Array,
  more: { id?: number; rcode?: number; flags?: number; name?: string; answers?: Answer[] } = {},
) {
  const asked = packet.decode(Buffer.from(to));
  const questions = more.name ? [{ ...asked.questions![0]!, name: more.name }] : asked.questions!;
  const flags = (more.flags ?? 0) | (more.rcode ?? 0);
  return packet.encode({
    type: 'response',
    id: more.id ?? asked.id!,
    flags,
    questions,
    answers: more.answers ?? [],
  });
}

test('a query that is sent again before it is answered is one', async ({ meter, ask }) => {
  const bytes = query('again.test');
  const seen = await meter.during(async () => {
    const { again, answer: reply } = await ask(bytes);
    await again();
    await again();
    await reply(answer(bytes));
  });
  for (const role of ['client', 'server'])
    expect(side(role, seen)).toEqual({
      'client > server|A asked': 1,
      'client > server|A NOERROR 0': 1,
      'queries seen': 1,
      'queries repeated': 2,
      'queries answered': 1,
      'answers seen': 1,
    });
});

test('an answer counts once', async ({ meter, ask }) => {
  const bytes = query('twice.test');
  const seen = await meter.during(async () => {
    const { answer: reply } = await ask(bytes);
    for (let i = 0; i < 3; i++) await reply(answer(bytes, { rcode: 2 }));
  });
  expect(side('client', seen)).toMatchObject({
    'client > server|A SERVFAIL 0': 1,
    'answers seen': 3,
    'answers unmatched': 2,
  });
});

describe('answers are believed only by the socket that asked', () => {
  const address: Answer[] = [{ type: 'A', name: 'forged.test', ttl: 60, data: '203.0.113.66' }];
  const forged = (seen: Record<string, number>) => {
    expect(side('client', seen)).toMatchObject({ 'answers unmatched': 1 });
    expect(Object.keys(side('client', seen)).filter((name) => name.includes('NOERROR'))).toEqual([]);
  };

  test('another id', async ({ meter, ask }) => {
    const bytes = query('forged.test');
    forged(
      await meter.during(async () => {
        const { answer: reply } = await ask(bytes);
        await reply(answer(bytes, { id: 60_000, answers: address }));
      }),
    );
  });

  test('another question', async ({ meter, ask }) => {
    const bytes = query('forged.test');
    forged(
      await meter.during(async () => {
        const { answer: reply } = await ask(bytes);
        await reply(answer(bytes, { name: 'forget.test', answers: address }));
      }),
    );
  });

  test('another socket of the same process', async ({ meter, ask, peers }) => {
    const bytes = query('forged.test');
    const other = await peers.client.open();
    forged(
      await meter.during(async () => {
        await ask(bytes);
        await peers.server.send(answer(bytes, { answers: address }), { host: LOOPBACK, port: other.port });
        await other.receive();
      }),
    );
  });

  test('from a port that is not that of DNS', async ({ meter, ask, peers }) => {
    const bytes = query('forged.test');
    const open = await peers.client.open();
    const liar = await peers.serverPeer.open();
    const seen = await meter.during(async () => {
      await open.send(bytes, SERVER);
      await peers.server.receive();
      await liar.send(answer(bytes, { answers: address }), { host: LOOPBACK, port: open.port });
      await open.receive();
    });
    void ask;
    expect(side('client', seen)).toEqual({ 'client > server|A asked': 1, 'queries seen': 1 });
  });

  test('letters of either case are the same question', async ({ meter, ask }) => {
    const bytes = query('MiXed.TeST');
    const seen = await meter.during(async () => {
      const { answer: reply } = await ask(bytes);
      await reply(answer(bytes, { name: 'mixed.test' }));
    });
    expect(side('client', seen)).toMatchObject({ 'client > server|A NOERROR 0': 1 });
  });
});

test('a truncated answer is one', async ({ meter, ask }) => {
  const bytes = query('long.test', 'TXT');
  const seen = await meter.during(async () => {
    const { answer: reply } = await ask(bytes);
    await reply(answer(bytes, { flags: packet.TRUNCATED_RESPONSE }));
  });
  expect(side('client', seen)).toMatchObject({ 'client > server|TXT NOERROR 0': 1 });
});

test('a query without an answer is unanswered in the end', async ({ meter, ask }) => {
  const seen = await meter.during(async () => {
    await ask(query('silence.test', 'SRV'));
    const unanswered = async () => {
      const { lookups } = await meter.agent.snapshot();
      return lookups.some(({ counts }) => counts.type === 'SRV' && counts.unanswered > 0);
    };
    await expect.poll(unanswered, { timeout: 60_000 }).toBe(true);
  });
  expect(side('client', seen)).toMatchObject({
    'client > server|SRV asked': 1,
    'client > server|SRV unanswered': 1,
  });
  const families = await meter.agent.collect();
  const lookups = families.find(({ name }) => name === 'dns.lookup.duration')!;
  expect(lookups.points).toContainEqual(
    expect.objectContaining({
      attributes: expect.objectContaining({ 'dns.question.type': 'SRV', 'error.type': 'timeout' }),
    }),
  );
});

test('garbage is in the ledger, and nothing else comes of it', async ({ meter, peers }) => {
  const below = numbers('garbage');
  const bytes = (length: number) => Uint8Array.from({ length }, () => below(256));
  const whole = query('cut.short.test');
  const garbage = [
    ...Array.from({ length: 100 }, () => bytes(1 + below(11))),
    ...Array.from({ length: whole.length - 1 }, (_, length) => whole.subarray(0, length + 1)),
    packet.encode({ type: 'query', id: 1, questions: [] }),
    packet.encode({ type: 'query', id: 1, flags: 0x2800, questions: [{ type: 'SOA', name: 'update.test' }] }),
    Buffer.concat([whole.subarray(0, 12), Buffer.alloc(300, 63)]), // a name that does not end
    Buffer.concat([whole.subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])]), // one that goes in circles
  ];
  const socket = await peers.client.open({ to: SERVER });
  const seen = await meter.during(async () => {
    for (const datagram of garbage) {
      await socket.send(datagram);
      await peers.server.receive();
    }
  });
  // Each passes both ends.
  expect(seen).toEqual({ 'unknown|messages malformed': 2 * garbage.length });
});

describe('random messages', () => {
  const TYPES = ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'PTR', 'SRV', 'TXT', 'SOA', 'CAA'] as const;
  /** Those that have a label of their own among records. */
  const RECORDS = new Set(['A', 'AAAA', 'CNAME', 'PTR', 'SRV', 'TXT', 'MX']);
  const CODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

  test('are understood as by another implementation', async ({ meter, ask }) => {
    const below = numbers('messages');
    const label = () =>
      Array.from({ length: 1 + below(12) }, () => 'abcdefghijklmnopqrstuvwxyz0123456789'[below(36)]).join('');
    const name = () => Array.from({ length: 1 + below(5) }, label).join('.');
    const record = (owner: string): Answer => {
      const base = { name: below(3) ? owner : name(), ttl: below(1000) };
      const type = TYPES[below(TYPES.length)]!;
      switch (type) {
        case 'A':
          return { ...base, type, data: `198.51.${below(256)}.${below(256)}` };
        case 'AAAA':
          return { ...base, type, data: `2001:db8::${below(65_536).toString(16)}` };
        case 'MX':
          return { ...base, type, data: { preference: 1, exchange: name() } };
        case 'SRV':
          return { ...base, type, data: { port: 80, target: name() } };
        case 'TXT':
          return { ...base, type, data: label() };
        case 'SOA':
          return { ...base, type, data: { mname: name(), rname: name() } };
        case 'CAA':
          return { ...base, type, data: { flags: 0, tag: 'issue', value: label() } };
        default:
          return { ...base, type, data: name() };
      }
    };

    const expected: Record<string, number> = {};
    const add = (key: string, n = 1) => {
      expected[`client > server|${key}`] = (expected[`client > server|${key}`] ?? 0) + n;
    };
    const seen = await meter.during(async () => {
      for (let i = 0; i < 400; i++) {
        const type = TYPES[below(TYPES.length)]!;
        const owner = name();
        const bytes = query(owner, type);
        const rcode = below(3) ? 0 : below(CODES.length);
        const answers = rcode === 0 ? Array.from({ length: below(9) }, () => record(owner)) : [];
        const reply = answer(bytes, { rcode, answers });
        const exchange = await ask(bytes);
        await exchange.answer(reply);
        await exchange.from.close();
        // What the other implementation reads in these bytes.
        const read = packet.decode(reply) as DecodedPacket & { rcode: string };
        const types = read.answers!.map((it) => it.type);
        add(`${type} asked`);
        add(`${type} ${read.rcode} ${types.filter((it) => it === 'A' || it === 'AAAA').length}`);
        for (const it of types) add(`${type} ${RECORDS.has(it) ? it : '_OTHER'} records`);
      }
    });
    for (const role of ['client', 'server'])
      expect(side(role, seen)).toEqual({
        ...expected,
        'queries seen': 400,
        'queries answered': 400,
        'answers seen': 400,
      });
  });
});
