// Random conversations, made and read back by an independent implementation of HPACK, cut at random: whatever it says was
// exchanged is counted, on both sides.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { many } from '../../support/scale.js';
import { test } from '../../support/traffic.js';

interface Conversation {
  /** What the client says, then the server, in pieces (base64). */
  readonly rounds: readonly (readonly [readonly string[], readonly string[]])[];
  /** Outcomes, as the meter names them. */
  readonly expected: Readonly<Record<string, number>>;
  readonly interim: number;
}

const SCRIPT = join(import.meta.dirname, '../../fixtures/http2/conversations.py');
const SEED = Number(process.env.MESHTAP_SEED ?? Math.floor(Math.random() * 1e6));

function conversations(seed: number, count: number): Conversation[] {
  const output = execFileSync('/usr/bin/python3', [SCRIPT, String(seed), String(count)], {
    maxBuffer: 1 << 30,
    encoding: 'utf8',
  });
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Conversation);
}

const pieces = (texts: readonly string[]) => texts.map((text) => Buffer.from(text, 'base64'));

test(`random conversations (MESHTAP_SEED=${SEED})`, async ({ meter, connect }) => {
  const all = conversations(SEED, many(80));
  while (all.length > 0) {
    const some = all.splice(0, 16);
    const sum: Record<string, number> = {};
    let interim = 0;
    for (const conversation of some) {
      interim += conversation.interim;
      for (const [name, count] of Object.entries(conversation.expected)) sum[name] = (sum[name] ?? 0) + count;
    }
    const seen = await meter.during(() =>
      Promise.all(
        some.map(async ({ rounds }) => {
          const line = await connect();
          for (const [client, server] of rounds) {
            await line.client.say(...pieces(client));
            await line.server.say(...pieces(server));
          }
          await line.hangUp();
        }),
      ),
    );
    seen.expectExchanges(sum);
    seen.expectLedger({ 'connections http2': some.length, ...(interim && { 'responses interim': interim }) });
  }
});
