import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A server and a client in one process: it answers each path with the status in it, over connections kept alive. */
const SCRIPT = `
const http = require('node:http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const server = http.createServer((request, response) => {
  request.resume().on('end', () => { response.statusCode = Number(request.url.slice(1)); response.end('ok'); });
});
const exchange = (method, status, port) => new Promise((resolve, reject) => {
  http.request({ method, port, host: '127.0.0.1', path: '/' + status, agent }, (answer) => answer.resume().on('end', resolve))
    .on('error', reject).end();
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  console.log(port);
  require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
    const { method, status, count } = JSON.parse(line);
    for (let i = 0; i < count; i++) await exchange(method, status, port);
    console.log('done');
  });
});
`;

/** Starts that process in a cgroup. It goes when it is disposed of. */
export async function startExchange(cgroup: string) {
  const join = 'echo $$ > "$0/cgroup.procs"; exec "$1" -e "$2"';
  const child = spawn('sh', ['-c', join, cgroup, process.execPath, SCRIPT], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const port = Number((await lines.next()).value);
  return {
    port,
    /** Resolves when the last answer is there. */
    async request(method: string, status: number, count: number): Promise<void> {
      child.stdin.write(`${JSON.stringify({ method, status, count })}\n`);
      await lines.next();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
