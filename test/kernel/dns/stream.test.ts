// DNS over TCP as it may come (RFC 7766): cut anywhere, many in a segment, answered in any order, endless, no DNS at all.
import packet, { type Answer, type DecodedPacket, type RecordType } from 'dns-packet';
import { describe, expect } from 'vitest';
import { codeName } from '../../../src/metrics/lookups.js';
import { DnsMeter, side, test as stage } from '../../support/dns.js';
import { GET, OK } from '../../support/messages.js';
import { numbers } from '../../support/random.js';
import { type End, Line, Peer } from '../../support/raw-peer.js';

const test = stage
  .extend('server', { scope: 'file' }, async ({ scope, cable, meter: _ }) => {
    const peer = new Peer(scope, 'server', { netns: cable.client });
    return { peer, address: await peer.listen('127.0.0.1', 53) };
  })
  .extend('connect', { scope: 'file' }, async ({ scope, cable, server }) => {
    const client = new Peer(scope, 'client', { netns: cable.client });
    return () => Line.connect(client, server.peer, server.address);
  });

let id = 1;
const query = (name: string, type: RecordType = 'A') =>
  packet.streamEncode({ type: 'query', id: id++ & 0xffff, flags: 0x100, questions: [{ type, name }] });

/** The answer to a query, as an independent encoder has it. */
function answer(to: Buffer, { rcode = 0, answers = [] as Answer[], more = {} } = {}): Buffer {
  const { id, questions } = packet.streamDecode(to);
  return packet.streamEncode({
    type: 'response',
    id: id!,
    flags: rcode,
    questions: questions!,
    answers,
    ...more,
  });
}

const ADDRESS: Answer = { type: 'A', name: 'one.test', ttl: 60, data: '198.51.100.1' };

/** Every way to cut it in two, and byte by byte. */
const cuts = (bytes: Buffer): Buffer[][] => [
  ...Array.from({ length: bytes.length - 1 }, (_, i) => [bytes.subarray(0, i + 1), bytes.subarray(i + 1)]),
  Array.from(bytes, (byte) => Buffer.of(byte)),
];

const both = ['client', 'server'] as const;
const counted = (lookups: number, more: Record<string, number>) => ({
  'client > server|A asked': lookups,
  'queries seen': lookups,
  'queries answered': lookups,
  'answers seen': lookups,
  ...more,
});

describe('cut at every byte', () => {
  test('on one connection', async ({ meter, connect }) => {
    const bytes = query('one.test');
    const reply = answer(bytes, { answers: [ADDRESS] });
    const total = cuts(bytes).length + cuts(reply).length;
    const seen = await meter.during(async () => {
      const line = await connect();
      for (const pieces of cuts(bytes)) await line.exchange(pieces, reply);
      for (const pieces of cuts(reply)) await line.exchange(bytes, pieces);
      await line.hangUp();
    });
    for (const role of both)
      expect(side(role, seen)).toEqual(
        counted(total, {
          'client > server|A NOERROR 1': total,
          'client > server|A A records': total,
          'connections dns': 1,
        }),
      );
  });

  test('the first bytes of a connection', async ({ meter, connect }) => {
    const bytes = query('one.test');
    const reply = answer(bytes, { rcode: 3 });
    const seen = await meter.during(async () => {
      for (const pieces of cuts(bytes)) {
        const line = await connect();
        await line.exchange(pieces, reply);
        await line.hangUp();
      }
    });
    const total = cuts(bytes).length;
    for (const role of both)
      expect(side(role, seen)).toEqual(
        counted(total, { 'client > server|A NXDOMAIN 0': total, 'connections dns': total }),
      );
  });
});

test('pipelined, answered in another order, several in a segment', async ({ meter, connect }) => {
  const seen = await meter.during(async () => {
    const line = await connect();
    for (let round = 0; round < 10; round++) {
      const queries = Array.from({ length: 20 }, (_, i) => query(`n${i}.test`));
      const replies = queries.map((bytes, i) =>
        answer(bytes, { rcode: i % 4, answers: i % 4 ? [] : [ADDRESS] }),
      );
      await line.client.say(Buffer.concat(queries));
      await line.server.say(Buffer.concat(replies.reverse()));
    }
    await line.hangUp();
  });
  for (const role of both)
    expect(side(role, seen)).toEqual(
      counted(200, {
        'client > server|A NOERROR 1': 50,
        'client > server|A A records': 50,
        'client > server|A FORMERR 0': 50,
        'client > server|A SERVFAIL 0': 50,
        'client > server|A NXDOMAIN 0': 50,
        'connections dns': 1,
      }),
    );
});

test('an answer of 64 KiB is passed over behind its first records, however it is cut', async ({
  meter,
  connect,
}) => {
  const bytes = query('one.test', 'TXT');
  const text = { type: 'TXT' as const, name: 'one.test', ttl: 60, data: 'x'.repeat(250) };
  const many = answer(bytes, { answers: Array.from({ length: 240 }, () => text) });
  const small = query('two.test', 'TXT');
  expect(many.length).toBeGreaterThan(60_000);
  const seen = await meter.during(async () => {
    const line = await connect();
    for (let i = 0; i < 5; i++) {
      await line.exchange(Buffer.concat([bytes, small]), Buffer.concat([many, answer(small)]));
      const [at] = [1 + 9_973 * i];
      await line.exchange(Buffer.concat([bytes, small]), [
        many.subarray(0, at),
        many.subarray(at),
        answer(small, { rcode: 3 }),
      ]);
    }
    await line.hangUp();
  });
  const records = side('client', seen)['client > server|TXT TXT records']!;
  for (const role of both)
    expect(side(role, seen)).toEqual({
      'client > server|TXT asked': 20,
      'client > server|TXT NOERROR 0': 15,
      'client > server|TXT NXDOMAIN 0': 5,
      'client > server|TXT TXT records': records,
      'queries seen': 20,
      'queries answered': 20,
      'answers seen': 20,
      'connections dns': 1,
    });
  expect(records % 10).toBe(0); // of each the same ones
  expect(records).toBeGreaterThan(300);
});

describe('what is no query or answer, is counted as such, and what follows is read', () => {
  const whole = query('whole.test');
  const framed = (bytes: Uint8Array) =>
    Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  const header = whole.subarray(2, 14);
  const strange: Record<string, Buffer> = {
    nothing: framed(Buffer.alloc(0)),
    'a header alone': framed(header),
    'a name that does not end': framed(Buffer.concat([header, Buffer.alloc(300, 63)])),
    'a name that goes in circles': framed(Buffer.concat([header, Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])])),
    'a question that is cut': framed(whole.subarray(2, whole.length - 1)),
    'no question': packet.streamEncode({ type: 'query', id: 1, questions: [] }),
    'an update': packet.streamEncode({
      type: 'query',
      id: 1,
      flags: 0x2800,
      questions: [{ type: 'SOA', name: 'a.test' }],
    }),
    'an answer from the client': answer(whole),
  };
  test.for(Object.entries(strange))('%s', async ([, bytes], { meter, connect }) => {
    const seen = await meter.during(async () => {
      const line = await connect();
      await line.exchange(whole, answer(whole));
      await line.client.say(Buffer.concat([bytes, whole, bytes]), bytes);
      await line.server.say(answer(whole));
      await line.hangUp();
    });
    for (const role of both)
      expect(side(role, seen)).toEqual(
        counted(2, { 'client > server|A NOERROR 0': 2, 'messages malformed': 3, 'connections dns': 1 }),
      );
  });
});

test('an answer to what nobody asked is unmatched, as is a second one', async ({ meter, connect }) => {
  const seen = await meter.during(async () => {
    const line = await connect();
    const bytes = query('one.test');
    await line.exchange(bytes, [answer(query('other.test')), answer(bytes), answer(bytes)]);
    await line.hangUp();
  });
  for (const role of both)
    expect(side(role, seen)).toEqual({
      ...counted(1, { 'client > server|A NOERROR 0': 1, 'connections dns': 1 }),
      'answers seen': 3,
      'answers unmatched': 2,
    });
});

test('a query whose connection ends is unanswered', async ({ meter, connect }) => {
  const seen = await meter.during(async () => {
    const line = await connect();
    await line.client.say(query('silence.test', 'SRV'));
    await line.client.reset();
    const unanswered = async () => {
      const { lookups } = await meter.agent.snapshot();
      return lookups.filter(({ counts }) => counts.type === 'SRV' && counts.unanswered > 0).length;
    };
    await expect.poll(unanswered, { timeout: 60_000 }).toBe(2);
  });
  for (const role of both)
    expect(side(role, seen)).toMatchObject({
      'client > server|SRV asked': 1,
      'client > server|SRV unanswered': 1,
    });
});

describe('not all that uses the port is DNS', () => {
  test('HTTP is HTTP', async ({ meter, connect }) => {
    const seen = await meter.during(async () => {
      const line = await connect();
      for (let i = 0; i < 5; i++) await line.exchange([GET.slice(0, 1 + i), GET.slice(1 + i)], OK);
      await line.hangUp();
    });
    for (const role of both) expect(side(role, seen)).toEqual({ 'connections http1': 1 });
    const { requests } = await meter.agent.snapshot();
    const answered = requests.filter(({ ends, counts }) => ends.role === 'client' && counts.status === 200);
    expect(answered.map(({ counts }) => counts.duration.count)).toEqual([5]);
  });

  test.for<[what: string, as: string, speak: (line: { client: End; server: End }) => Promise<void>]>([
    [
      'a TLS client',
      'tls',
      ({ client }) => client.say(Buffer.from('16030102000100', 'hex'), Buffer.from('01fc0303', 'hex')),
    ],
    ['HTTP/2', 'http2', ({ client }) => client.say('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
    ['a server that speaks first', 'other', ({ server }) => server.say(answer(query('one.test')))],
    ['zeros', 'other', ({ client }) => client.say(Buffer.alloc(200))],
    ['text', 'other', ({ client }) => client.say('hello, how are you?\r\n')],
    ['too little', 'other', ({ client }) => client.say(query('one.test').subarray(0, 8))],
  ])('%s', async ([, as, speak], { meter, connect }) => {
    const seen = await meter.during(async () => {
      const line = await connect();
      await speak(line);
      await line.hangUp();
    });
    for (const role of both) expect(side(role, seen)).toEqual({ [`connections ${as}`]: 1 });
  });
});

test('a connection that was open before is read from its next query on', async ({ scope, server, cable }) => {
  const client = new Peer(scope, 'early', { netns: cable.client });
  const line = await Line.connect(client, server.peer, server.address);
  const bytes = query('one.test');
  await line.exchange(bytes, answer(bytes));
  await line.client.say(query('before.test'));
  const meter = await DnsMeter.attach(scope);
  await using _ = meter.agent;
  const seen = await meter.during(async () => {
    await line.server.say(answer(query('before.test')));
    for (let i = 0; i < 3; i++) {
      const next = query('one.test');
      await line.exchange(next, answer(next, { answers: [ADDRESS] }));
    }
  });
  for (const role of both)
    expect(side(role, seen)).toEqual({
      'early > server|A asked': 3,
      'early > server|A NOERROR 1': 3,
      'early > server|A A records': 3,
      'queries seen': 3,
      'queries answered': 3,
      'answers seen': 4,
      'answers unmatched': 1,
      'connections dns': 1,
    });
});

test('random conversations are understood as by another implementation', async ({ meter, connect }) => {
  const below = numbers('streams');
  const TYPES = ['A', 'AAAA', 'MX', 'NS', 'TXT', 'SRV', 'PTR', 'CAA'] as const;
  const label = () => 'abcdefghijklmnopqrstuvwxyz'.slice(0, 1 + below(26)).repeat(1 + below(2));
  const name = () =>
    Array.from({ length: 1 + below(5) }, label)
      .join('.')
      .slice(-250);
  const pieces = (bytes: Buffer) => {
    const at = Array.from({ length: below(6) }, () => below(bytes.length)).sort((a, b) => a - b);
    return [0, ...at].map((from, i) => bytes.subarray(from, at[i]));
  };
  const expected: Record<string, number> = {};
  const add = (key: string, n = 1) => {
    if (n > 0) expected[`client > server|${key}`] = (expected[`client > server|${key}`] ?? 0) + n;
  };
  let total = 0;
  const seen = await meter.during(async () => {
    for (let connection = 0; connection < 10; connection++) {
      const line = await connect();
      for (let round = 0; round < 5; round++) {
        const queries = Array.from({ length: 1 + below(12) }, () =>
          query(name(), TYPES[below(TYPES.length)]!),
        );
        const replies = queries.map((bytes) => {
          const owner = packet.streamDecode(bytes).questions![0]!.name;
          const a: Answer = { type: 'A', name: below(2) ? owner : name(), ttl: 1, data: '198.51.100.9' };
          const mx: Answer = { type: 'MX', name: name(), ttl: 1, data: { exchange: name() } };
          const txt: Answer = { type: 'TXT', name: owner, ttl: 1, data: 'x'.repeat(below(200)) };
          const rcode = below(3) ? 0 : below(6);
          return answer(bytes, {
            rcode,
            answers: Array.from({ length: below(6) }, () => [a, mx, txt][below(3)]!),
          });
        });
        replies.sort(() => below(3) - 1);
        await line.exchange(pieces(Buffer.concat(queries)), pieces(Buffer.concat(replies)));
        total += queries.length;
        for (const reply of replies) {
          const read = packet.streamDecode(reply) as DecodedPacket & { rcode: string };
          const type = ['A', 'AAAA', 'MX', 'TXT', 'SRV', 'PTR', 'CAA', 'NS'].find(
            (it) => it === read.questions![0]!.type,
          )!;
          const count = (record: string) => read.answers!.filter((it) => it.type === record).length;
          const code = (read as unknown as { flags: number }).flags & 15;
          add(`${type} asked`);
          add(`${type} ${codeName(code)} ${count('A')}`);
          for (const record of ['A', 'MX', 'TXT']) add(`${type} ${record} records`, count(record));
        }
      }
      await line.hangUp();
    }
  });
  for (const role of both)
    expect(side(role, seen)).toEqual({
      ...expected,
      'queries seen': total,
      'queries answered': total,
      'answers seen': total,
      'connections dns': 10,
    });
});
