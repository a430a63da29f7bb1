/**
 * The load of the demo: requests at a steady rate over connections that stay open, whatever the answers take.
 *
 * @module
 */
import { Agent, get } from 'node:http';
import { orders, say } from './child.js';
import type { LoadOrders } from './plan.js';

const { url, perSecond } = await orders<LoadOrders>();
const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const begun = performance.now();
let sent = 0;

// A timer fires late now and then: what is due is counted from the beginning, so the rate holds.
setInterval(() => {
  const due = ((performance.now() - begun) / 1000) * perSecond;
  for (; sent < due; sent++) get(url, { agent }, (response) => response.resume()).on('error', () => {});
}, 10);
say({ port: 0 });
