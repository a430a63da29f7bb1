import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { enums, structs } from '../../src/bpf/generated/counts.js';
import {
  addressText,
  addStripes,
  decodePair,
  decodeSeries,
  httpCounts,
  ledgerLines,
  OVERFLOW_PAIRS,
  overflowSeries,
  prefixKey,
  tcpCounts,
} from '../../src/receivers/ebpf-decode.js';

/** A struct's bytes from the values of its fields, written down by the offsets of the C source. */
function bytesOf<S extends keyof typeof structs>(
  name: S,
  values: Partial<Record<keyof (typeof structs)[S]['fields'], bigint | number | Uint8Array>>,
): Uint8Array {
  const { size, fields } = structs[name] as {
    size: number;
    fields: Record<string, { offset: number; size: number }>;
  };
  const bytes = Buffer.alloc(size);
  for (const [field, value] of Object.entries(values)) {
    const { offset, size: width } = fields[field]!;
    if (value instanceof Uint8Array) bytes.set(value, offset);
    else
      for (let i = 0; i < width; i++)
        bytes[offset + i] = Number((BigInt(value as number) >> BigInt(8 * i)) & 255n);
  }
  return bytes;
}

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[ :]/g, ''), 'hex'));

describe('an address', () => {
  test.each([
    ['00000000000000000000ffff 0a010203', '10.1.2.3'],
    ['00000000000000000000ffff 00000000', '0.0.0.0'],
    ['00000000000000000000000000000001', '::1'],
    ['00000000000000000000000000000000', '::'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'], // RFC 5952, 4.2.3: the first of two runs
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'], // 4.2.2: one field is not shortened
    ['20010DB8AAAABBBBCCCCDDDDEEEE0001', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:1'],
    ['fe8000000000000002000000000000ff', 'fe80::200:0:0:ff'],
  ])('%s is written %s', (bytes, text) => {
    expect(addressText(hex(bytes))).toBe(text);
  });

  test('is written as the platform writes it in a URL', () => {
    const bytes = fc.array(fc.constantFrom(0, 0, 0, 1, 0x20, 0xff), { minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(bytes, (address) => {
        const text = addressText(Uint8Array.from(address));
        if (text.includes('.')) return;
        expect(new URL(`http://[${text}]/`).hostname).toBe(`[${text}]`);
      }),
    );
  });
});

describe('a pair', () => {
  const { ROLE_CLIENT } = enums.role;
  const { PEER_ADDRESS, PEER_CGROUP, PEER_PREFIX, PEER_WORLD } = enums.peer_kind;

  test.each([
    [PEER_ADDRESS, '00000000000000000000ffff 0a010203', { kind: 'address', address: '10.1.2.3' }],
    [PEER_CGROUP, '0100000002000000 0000000000000000', { kind: 'cgroup', cgroup: 0x2_0000_0001n }],
    [PEER_PREFIX, 'f0ffffff 000000000000000000000000', { kind: 'prefix', id: 0xfffffff0 }],
    [PEER_WORLD, '00000000000000000000000000000000', { kind: 'world' }],
  ])('of peer kind %i', (peer_kind, peer, remote) => {
    const key = bytesOf('pair_key', {
      cgroup: 7_000_000_000n,
      peer: hex(peer),
      port: 8080,
      role: ROLE_CLIENT,
      peer_kind,
    });
    expect(decodePair(key).pair).toEqual({
      role: 'client',
      local: { kind: 'cgroup', cgroup: 7_000_000_000n },
      remote,
      port: 8080,
      overflow: false,
    });
  });
});

describe('a request series', () => {
  const pair = decodePair(bytesOf('pair_key', { cgroup: 1, role: enums.role.ROLE_SERVER }));

  test('says what was exchanged', () => {
    const { METHOD_GET } = enums.method;
    const key = bytesOf('http_key', {
      pair: 5,
      status: 503,
      method: METHOD_GET,
      version: enums.http_version.HTTP_1_1,
    });
    expect(decodeSeries(key, pair)).toMatchObject({
      pairIndex: 5,
      pair: pair.pair,
      method: 'GET',
      status: 503,
      failure: undefined,
      version: '1.1',
      scheme: 'http',
    });
  });

  test('says why there is no answer, and never invents a status', () => {
    const { FAILURE_TIMEOUT } = enums.failure;
    const key = bytesOf('http_key', {
      pair: 5,
      method: enums.method.METHOD_OTHER,
      failure: FAILURE_TIMEOUT,
      tls: 1,
    });
    expect(decodeSeries(key, pair)).toMatchObject({
      method: '_OTHER',
      status: undefined,
      failure: 'timeout',
      version: '1.0',
      scheme: 'https',
    });
  });
});

describe('values', () => {
  const life = {};

  test('are summed over stripes, exact beyond 32 bits', () => {
    const counter = fc.bigInt({ min: 0n, max: (1n << 50n) - 1n });
    fc.assert(
      fc.property(fc.array(counter, { minLength: 24, maxLength: 24 }), (raw) => {
        const values = new Uint32Array(new BigUint64Array(raw).buffer); // 3 indices, 4 stripes, 2 words
        for (const index of [0, 1, 2]) {
          const sums = new Float64Array(2);
          addStripes(values, { index, stripes: 4, size: 2 }, sums);
          for (const word of [0, 1]) {
            const expected = [0, 1, 2, 3].reduce(
              (sum, stripe) => sum + raw[(index * 4 + stripe) * 2 + word]!,
              0n,
            );
            expect(BigInt(sums[word]!)).toBe(expected);
          }
        }
      }),
    );
  });

  test('of a pair become counts, in seconds', () => {
    const words = Float64Array.from({ length: structs.pair_value.size / 8 }, (_, i) => i + 1);
    words[12] = 2.5e9; // connect.sum
    const counts = tcpCounts({ label: OVERFLOW_PAIRS[0]!, life, ending: undefined, words, at: 0 }, 2);
    expect(counts).toMatchObject({ opened: 1, closed: 2, reset: 3, timedOut: 4, refused: 5, unreachable: 6 });
    expect(counts).toMatchObject({
      cancelled: 7,
      bytesSent: 8,
      bytesReceived: 9,
      retransmits: 10,
      tls: 11,
      tlsDecoded: 12,
    });
    expect(counts.connect).toEqual({ sum: 2.5, count: 14 + 15 + 16, buckets: Float64Array.of(14, 15, 16) });
    expect(counts.rtt.buckets).toEqual(Float64Array.of(39, 40, 41));
  });

  test('of a series become counts, in seconds', () => {
    const words = Float64Array.from({ length: structs.http_value.size / 8 }, (_, i) => i);
    const counts = httpCounts(
      { label: overflowSeries(OVERFLOW_PAIRS[1]!), life, ending: undefined, words, at: 0 },
      3,
    );
    expect(counts).toMatchObject({ overflow: true, method: '_OTHER', status: undefined });
    expect(counts.pair).toMatchObject({ role: 'server', overflow: true });
    expect(counts.duration).toEqual({ sum: 0, count: 1 + 2 + 3 + 4, buckets: Float64Array.of(1, 2, 3, 4) });
    expect(counts.firstByte).toEqual({
      sum: 25e-9,
      count: 26 + 27 + 28 + 29,
      buckets: Float64Array.of(26, 27, 28, 29),
    });
  });

  test('of the ledger become lines, those of no side only if there is something', () => {
    const entries = enums.ledger_entry.LEDGER_ROOM;
    const words = new Float64Array(structs.ledger.size / 8);
    words[enums.role.ROLE_SERVER * entries + enums.ledger_entry.RESPONSES_JOINED_MIDWAY] = 7;
    words[enums.ledger_entry.LOST_SYNC] = 1;
    const lines = ledgerLines(words);
    expect(lines).toHaveLength(2 * enums.ledger_entry.LEDGER_ENTRIES + 1);
    expect(lines).toContainEqual({
      role: 'server',
      subject: 'responses',
      outcome: 'joined_midway',
      count: 7,
    });
    expect(lines).toContainEqual({ role: 'unknown', subject: 'sync', outcome: 'lost', count: 1 });
    expect(lines).toContainEqual({ role: 'client', subject: 'requests', outcome: 'seen', count: 0 });
    expect(new Set(lines.map(({ subject }) => subject))).toEqual(
      new Set([
        ...['requests', 'responses', 'connections', 'sync', 'segments'],
        ...['queries', 'answers', 'messages', 'lookups', 'names'],
        ...['exchanges', 'methods', 'series', 'pairs'],
      ]),
    );
  });
});

describe('a prefix', () => {
  test.each([
    ['10.1.2.0/24', 120, '00000000000000000000ffff0a010200'],
    ['10.1.2.3/24', 120, '00000000000000000000ffff0a010200'],
    ['10.1.2.3', 128, '00000000000000000000ffff0a010203'],
    ['0.0.0.0/0', 96, '00000000000000000000ffff00000000'],
    ['10.255.255.255/9', 105, '00000000000000000000ffff0a800000'],
    ['fd00::/8', 8, 'fd000000000000000000000000000000'],
    ['::/0', 0, '00000000000000000000000000000000'],
    ['2001:db8::1', 128, '20010db8000000000000000000000001'],
  ])('%s is %i bits of %s', (cidr, bits, address) => {
    const key = Buffer.from(prefixKey(cidr));
    expect(key.readUInt32LE(0)).toBe(bits);
    expect(key.subarray(4).toString('hex')).toBe(address);
  });

  test('that is none is an error', () => {
    expect(() => prefixKey('10.0.0.0/33')).toThrow();
    expect(() => prefixKey('example.org')).toThrow();
  });
});
