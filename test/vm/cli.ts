import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { runInGuest } from './guest.js';
import { fetchKernel, kernelNames } from './kernels.js';

const usage = `vm run [options] -- COMMAND [ARGUMENT...]   run one command on another kernel, in a fresh virtual machine
vm list                                     the kernels there are, and their releases (downloads them)

  --kernel NAME      default: the oldest of ${kernelNames('').join(', ')}
  --timeout SECONDS  default: 300
  --memory MIB       default: 2048
  --cpus N           default: 2
  --results DIR      shared with the guest read-write; all else is read-only
  --env NAME=VALUE   may be repeated

The guest sees this machine's files under the same paths, as root. Exit status: the command's own; 124 if it
ran out of time, 125 if the machine died.
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kernel: { type: 'string', default: kernelNames('')[0]! },
    timeout: { type: 'string', default: '300' },
    memory: { type: 'string', default: '2048' },
    cpus: { type: 'string', default: '2' },
    results: { type: 'string' },
    env: { type: 'string', multiple: true, default: [] },
  },
});
const [action, ...command] = positionals;

if (action === 'list') {
  for (const name of kernelNames()) console.log(`${name.padEnd(8)} ${fetchKernel(name).release}`);
} else if (action === 'run' && command.length > 0) {
  const ended = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => ended.abort());
  process.exitCode = await runInGuest({
    kernel: fetchKernel(values.kernel),
    command,
    timeout: Number(values.timeout),
    memory: Number(values.memory),
    cpus: Number(values.cpus),
    env: Object.fromEntries(values.env.map((pair) => pair.split(/=(.*)/s, 2) as [string, string])),
    ...(values.results === undefined ? {} : { results: resolve(values.results) }),
    signal: ended.signal,
  });
} else {
  process.stderr.write(usage);
  process.exitCode = 2;
}
