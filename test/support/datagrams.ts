import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';

/** A process in a cgroup that sends as many UDP datagrams over loopback as it is told to, and reads none. */
export function startSender(cgroup: string) {
  const script = `
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.stdin:
    for i in range(int(line)):
        sender.sendto(b"x", receiver.getsockname())
    print("sent", flush=True)
`;
  const child = spawn('sh', ['-c', 'echo $$ > "$0/cgroup.procs"; exec python3 -c "$1"', cgroup, script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const ended = new Promise((resolve) => child.once('exit', resolve));
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    /** Resolves when all have passed the cgroup's hooks. */
    async send(datagrams: number): Promise<void> {
      child.stdin.write(`${datagrams}\n`);
      await lines.next();
    },
  };
}
