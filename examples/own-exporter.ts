/**
 * An exporter of your own: one line of JSON for each thing that a service asked another, every ten seconds.
 *
 *     npx tsx examples/own-exporter.ts /sys/fs/cgroup/system.slice 10000
 *
 *     {"source":"shop","destination":"nginx","method":"GET","status":200,"requests":3}
 */
import { createAgent } from 'meshtap';
import type { Exporter } from 'meshtap/exporters';
import { ebpf } from 'meshtap/receivers';

interface LinesOptions {
  /** Milliseconds between two reports. @default 10000 */
  interval?: number;
}

function lines({ interval = 10_000 }: LinesOptions = {}): Exporter {
  return {
    name: 'lines',
    async start({ collect, log }) {
      const report = async () => {
        const duration = (await collect()).find(({ name }) => name === 'http.client.request.duration');
        if (duration?.type !== 'histogram') return;
        for (const { attributes, count: requests } of duration.points) {
          const line = {
            source: attributes['source.service'],
            destination: attributes['destination.service'],
            method: attributes['http.request.method'],
            status: attributes['http.response.status_code'],
            requests,
          };
          process.stdout.write(`${JSON.stringify(line)}\n`);
        }
      };
      // A collection that fails is told and tried again: an exporter never ends the agent.
      const timer = setInterval(
        () => report().catch((error) => log.warn({ err: error }, 'no report')),
        interval,
      );
      return {
        address: 'stdout',
        async [Symbol.asyncDispose]() {
          clearInterval(timer);
          await report();
        },
      };
    },
  };
}

const [, , cgroup = '/sys/fs/cgroup', interval = '10000'] = process.argv;
const agent = await createAgent({
  receivers: [ebpf({ cgroup })],
  exporters: [lines({ interval: Number(interval) })],
});
process.once('SIGINT', () => agent[Symbol.asyncDispose]());
