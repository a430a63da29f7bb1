import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UnreadableFlow } from '../../../src/flows/json.js';
import { readLine, writeLine } from '../../../src/flows/jsonpb.js';
import { createPrinter, FORMATS } from '../../../src/flows/print.js';
import { OBSERVER, toMessage } from '../../../src/flows/protocol.js';
import { parseDuration, parseWhen } from '../../../src/flows/time-format.js';
import { FlowCounter } from '../../../src/receivers/flow-counts.js';
import { flow, response } from '../../support/flows.js';

const GetFlows = OBSERVER.GetFlows!;

describe('a line of JSON', () => {
  test('is read in either spelling of names, enums and numbers', () => {
    const camel = {
      flow: {
        time: '2026-01-02T03:04:05+01:00',
        verdict: 2,
        nodeName: 'a',
        isReply: false,
        trafficDirection: 1,
        dropReasonDesc: 133,
        eventType: { type: 1, subType: 133 },
        destination: { podName: 'web', clusterName: 'c', identity: '77' },
        l4: { TCP: { destinationPort: '80', sourcePort: 1.0, flags: { SYN: true, ACK: false } } },
        l7: { type: 'RESPONSE', latencyNs: 12, http: { code: '200' } },
        IP: { ipVersion: 'IPv6' },
        traceContext: { parent: { traceId: 'ab' } },
        source: null,
      },
    };
    expect(readLine(JSON.stringify(camel))).toMatchObject({
      time: BigInt(Date.UTC(2026, 0, 2, 2, 4, 5)) * 1_000_000n,
      flow: {
        ...{ verdict: 'DROPPED', node: 'a', reply: false, direction: 'INGRESS', dropReason: 'POLICY_DENIED' },
        ...{
          event: { type: 1, subType: 133 },
          transport: 'TCP',
          tcpFlags: ['SYN'],
          ipVersion: 6,
          traceId: 'ab',
        },
        destination: { pod: 'web', cluster: 'c', identity: 77, port: 80 },
        l7: { type: 'RESPONSE', latency: 12, http: { code: 200 } },
      },
    });
  });

  test('says again what it said, also what nobody here understands', () => {
    const line =
      '{"flow":{"time":"2026-01-02T03:04:05.000000001Z","new_field":{"x":[1]},"socket_cookie":"18446744073709551615","is_reply":false}}';
    expect(JSON.parse(writeLine(readLine(line)!))).toMatchObject(JSON.parse(line));
  });

  test('says what a flow is, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.bigInt(1n, 10n ** 19n),
        fc.string(),
        fc.nat(),
        fc.boolean(),
        (time, url, latency, reply) => {
          const { l7 } = response().flow;
          const made = flow({ time, reply, l7: { ...l7!, latency, http: { ...l7!.http!, url } } });
          expect(readLine(writeLine(made))).toEqual(made);
        },
      ),
    );
  });
});

test('whatever stands in a line, it is read or said to be unreadable, and what is read can be shown', () => {
  const names = [
    ...[
      'time',
      'verdict',
      'IP',
      'l4',
      'source',
      'destination',
      'Type',
      'l7',
      'event_type',
      'is_reply',
      'Summary',
    ],
    ...['ethernet', 'interface', 'trace_context', 'ip_trace_id', 'destination_service', 'file', 'auth_type'],
    ...['node_labels', 'drop_reason_desc', 'ingress_allowed_by', '__proto__', 'constructor', 'socket_cookie'],
  ];
  const inner = [
    ...names,
    'TCP',
    'flags',
    'SYN',
    'http',
    'code',
    'headers',
    'labels',
    'workloads',
    'identity',
    'type',
  ];
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.jsonValue({ maxDepth: 1 }),
      tie('object'),
      fc.array(tie('object'), { maxLength: 2 }),
    ),
    object: fc.dictionary(fc.constantFrom(...inner), tie('value'), { maxKeys: 4 }),
  }));
  const flows = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6 });
  let read = 0;
  fc.assert(
    fc.property(flows, (made) => {
      let event: ReturnType<typeof readLine>;
      try {
        event = readLine(JSON.stringify({ flow: made }));
      } catch (error) {
        expect(error).toBeInstanceOf(UnreadableFlow);
        return;
      }
      read++;
      expect(event).toBeDefined();
      new FlowCounter([1]).add(event!);
      for (const format of FORMATS) createPrinter({ format }).print(event!);
      // What can not be sent as it is, is sent without what nobody understands.
      expect(() => GetFlows.responseSerialize(toMessage(event!))).not.toThrow();
    }),
    { numRuns: 2_000 },
  );
  expect(read).toBeGreaterThan(100);
});

test('no control reaches a terminal, whatever others sent', () => {
  fc.assert(
    fc.property(fc.constantFrom(...FORMATS), fc.string({ unit: 'binary' }), (format, text) => {
      const printer = createPrinter({ format, nodes: true });
      const { l7 } = response().flow;
      const end = { ...response().flow.source, pod: text, names: [text] };
      const made = flow({
        node: text,
        summary: text,
        source: end,
        l7: { ...l7!, dns: undefined, http: undefined },
      });
      const node = { state: 'NODE_ERROR', nodes: [text], message: text } as const;
      const lost = { source: 'HUBBLE_RING_BUFFER', count: 1, cpu: 0, first: 1n, last: 2n } as const;
      const printed = [made, { time: 1n, node: text, nodes: node }, { time: 1n, node: text, lost }]
        .map((event) => printer.print(event))
        .flatMap(({ out = '', error = '' }) => [out, error]);
      expect([...printed, printer.end()].join('')).not.toMatch(/(?!\n)[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
    }),
  );
});

test.each([
  ['5m', 300_000],
  ['1h30m', 5_400_000],
  ['250ms', 250],
  ['1.5s', 1500],
  ['10us', 0.01],
])('%s is a duration', (text, expected) => expect(parseDuration(text)).toBeCloseTo(expected, 6));

test.each(['', '5', 'm', '5 m', '-5m', '5x'])('%j is none', (text) =>
  expect(parseDuration(text)).toBeUndefined(),
);

test('a time, as people write it', () => {
  const now = Date.UTC(2026, 5, 7, 8, 9, 10);
  const at = (text: string) => parseWhen(text, now);
  const seconds = (...date: [number, number, number, number?, number?, number?]) =>
    BigInt(Date.UTC(...date)) * 1_000_000n;
  expect(at('10s')).toBe(seconds(2026, 5, 7, 8, 9, 0));
  expect(at('2026-01-02T03:04:05.123456789Z')).toBe(seconds(2026, 0, 2, 3, 4, 5) + 123_456_789n);
  expect(at('2026-01-02T03:04+01:00')).toBe(seconds(2026, 0, 2, 2, 4));
  expect(at('2026-01-02T03Z')).toBe(seconds(2026, 0, 2, 3));
  expect(at('Fri, 02 Jan 2026 03:04:05 +0000')).toBe(seconds(2026, 0, 2, 3, 4, 5));
  expect(at('yesterday')).toBeUndefined();
  expect(at('2026-13-45')).toBeUndefined();
});
