// gRPC between two implementations: what the applications saw is what both sides counted.
import { describe, expect } from 'vitest';
import { type Calls, grpcCalls, grpcServer, type Implementation } from '../../support/grpc.js';
import { test } from '../../support/traffic.js';

const IMPLEMENTATIONS: readonly Implementation[] = ['grpc-js', 'python'];
const CODES = Array.from({ length: 17 }, (_, code) => code);

/** `Say OK` as the meter calls it. */
const counted = (tally: Record<string, number>) =>
  Object.fromEntries(
    Object.entries(tally).map(([outcome, count]) => [`POST 200 HTTP/2 meshtap.test.Echo/${outcome}`, count]),
  );

const pairs = IMPLEMENTATIONS.flatMap((client) => IMPLEMENTATIONS.map((server) => ({ client, server })));

describe.for(pairs)('$client calls $server', ({ client, server }) => {
  test('each status, each kind of stream, all at once', async ({ scope, meter }) => {
    const address = await grpcServer(scope, server);
    const plan: Calls[] = CODES.flatMap((code) => [
      { method: 'Say', calls: 5, code },
      { method: 'Watch', calls: 1, code, messages: 3 },
      { method: 'Collect', calls: 1, code, messages: 3 },
      { method: 'Chat', calls: 1, code, messages: 3 },
    ]);
    let tally = {};
    const seen = await meter.during(async () => {
      tally = await grpcCalls(scope, client, {
        address,
        plan: [...plan, { method: 'Nothing', calls: 2 }, { method: 'Say', calls: 50 }],
      });
    });
    expect(tally).toMatchObject({ 'Say OK': 55, 'Say UNAVAILABLE': 5, 'Nothing UNIMPLEMENTED': 2 });
    seen.expectExchanges(counted(tally));
    for (const role of ['client', 'server'] as const)
      expect(seen.ledger(role)).toMatchObject({ 'connections http2': 1 });
  });
});
