/**
 * One service of the demo, a process of its own: answers, after it has asked those it depends on. Does nothing before
 * it is told to, so that it can be put into its cgroup before it opens a socket; ends when its parent does.
 *
 * @module
 */
import { Agent, createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { orders, say } from './child.js';
import type { ServiceOrders } from './plan.js';

const { failEvery, slowEvery, calls } = await orders<ServiceOrders>();
const agent = new Agent({ keepAlive: true });
let requests = 0;

/** Whoever it asks may fail: the answer is then poorer, and an answer all the same. */
const ask = (url: string) =>
  new Promise<void>((resolve) => {
    get(url, { agent }, (response) => response.resume().on('close', resolve)).on('error', () => resolve());
  });

const server = createServer(async (_, response) => {
  const number = ++requests;
  await Promise.all(calls.map(ask));
  if (slowEvery && number % slowEvery.requests === 0) await sleep(slowEvery.milliseconds);
  if (failEvery && number % failEvery.requests === 0) response.statusCode = failEvery.status;
  response.end(`${number}\n`);
});
server.listen(0, '127.0.0.1', () => say({ port: (server.address() as AddressInfo).port }));
