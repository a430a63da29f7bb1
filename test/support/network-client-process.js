// network-client-process.js OPTIONS: sends a known mix of requests. Prints their number at every hundredth, and in the last line, as
// JSON, what became of them.
// OPTIONS, as JSON: { host, port, requests, connections, timeout (ms), abandon }. With `abandon`, large answers are
// given up after their first bytes. Plain JavaScript, so that an emulated machine starts it fast.
import { Agent, request } from 'node:http';

const { host, port, requests, connections, timeout = 60_000, abandon = false } = JSON.parse(process.argv[2]);
const agent = new Agent({ keepAlive: true, maxSockets: connections });
/** Each by `METHOD STATUS`, or `METHOD` where no status came. */
const report = { complete: {}, broken: {}, unanswered: {}, wrong: 0 };

const mix = [
  { method: 'GET', path: '/files/100', bytes: 100 },
  { method: 'GET', path: '/files/10000', bytes: 10_000 },
  { method: 'GET', path: '/chunked/10000', bytes: 10_000 },
  { method: 'GET', path: '/missing' },
  { method: 'GET', path: '/busy' },
  { method: 'HEAD', path: '/files/100000', bytes: 0 },
  { method: 'POST', path: '/accept', body: 100 },
  { method: 'POST', path: '/accept', body: 100_000 },
  { method: 'POST', path: '/accept', body: 30_000, chunked: true },
  { method: 'GET', path: '/files/100', bytes: 100 },
  { method: 'GET', path: '/chunked/100', bytes: 100 },
  { method: 'GET', path: '/files/100000', bytes: 100_000 },
];
/** Every fiftieth. What is given up is larger than all buffers, so that it can not be complete already. */
const largest = abandon ? 20_000_000 : 1_000_000;
const large = [
  { method: 'GET', path: `/files/${largest}`, bytes: largest, abandon },
  { method: 'GET', path: `/chunked/${largest}`, bytes: largest, abandon },
];

let sent = 0;
await Promise.all(
  Array.from({ length: connections }, async () => {
    while (sent < requests) {
      const answer = exchange(sent++);
      if (sent % 100 === 0) console.log(sent);
      await answer;
    }
  }),
);
agent.destroy();
console.log(JSON.stringify(report));

/** One request of the mix, settled when its answer is complete, has broken off, or will not come. */
function exchange(number) {
  const kind = number % 50 === 49 ? large[((number - 49) / 50) % 2] : mix[number % mix.length];
  return new Promise((resolve) => {
    const settle = (outcome, name) => {
      report[outcome][name] = (report[outcome][name] ?? 0) + 1;
      resolve();
    };
    const headers = kind.body && !kind.chunked ? { 'content-length': kind.body } : {};
    const message = request({ host, port, agent, method: kind.method, path: kind.path, headers });
    let connected = false;
    let answered = false;
    message.on('socket', (socket) => {
      connected = !socket.connecting;
      if (connected) return;
      socket.once('connect', () => (connected = true));
      // an answer may be complete before its request is; what then happens to the rest has no listener
      socket.on('error', () => {});
    });
    message.setTimeout(timeout, () => message.destroy(new Error('timeout')));
    message.on('response', (response) => {
      answered = true;
      let bytes = 0;
      response.on('data', (chunk) => {
        bytes += chunk.length;
        if (kind.abandon) message.destroy();
      });
      response.on('error', () => {}); // 'close' follows
      response.on('close', () => {
        if (response.complete && kind.bytes !== undefined && bytes !== kind.bytes) report.wrong++;
        settle(response.complete ? 'complete' : 'broken', `${kind.method} ${response.statusCode}`);
      });
    });
    message.on('error', () => {
      if (answered) return;
      if (connected) settle('unanswered', kind.method);
      else resolve(); // nothing left this machine: that was no request
    });
    if (kind.chunked) {
      for (let left = kind.body; left > 0; left -= 3_000) message.write(Buffer.alloc(3_000, 97));
      message.end();
    } else {
      message.end(kind.body ? Buffer.alloc(kind.body, 97) : undefined);
    }
  });
}
