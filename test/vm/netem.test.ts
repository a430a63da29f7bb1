import { afterAll, beforeAll, expect, test } from 'vitest';
import { Network } from './network.js';

let network: Network;
beforeAll(async () => {
  network = await Network.create();
});
afterAll(() => network[Symbol.asyncDispose]());

const load = { requests: 2000, connections: 16 };

const troubles = [
  { name: 'a good cable', netem: '' },
  { name: '1 % loss', netem: 'loss 1%' },
  { name: '5 % reordering', netem: 'delay 5ms reorder 5%' },
  { name: '5 % duplicates', netem: 'duplicate 5%' },
  { name: '200 ms delay', netem: 'delay 200ms' },
];

for (const { name, netem } of troubles) {
  test(name, async () => {
    const t = Date.now();
    network.trouble(netem);
    const client = await network.send(load);
    const t1 = Date.now();
    network.trouble();
    const server = await network.takeServerLog();
    console.log(name, t1 - t, Date.now() - t1, JSON.stringify(client));
    expect(client).toMatchObject({ broken: {}, unanswered: {}, wrong: 0 });
    expect(server).toEqual(client.complete);
  });
}
