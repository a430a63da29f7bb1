/**
 * An exporter of your own: one line of JSON for each pair of services, every ten seconds.
 *
 *     npx tsx examples/own-exporter.ts /sys/fs/cgroup/system.slice
 *
 *     {"source":"curl","destination":"nginx","requests":3}
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
        const duration = (await collect()).find(({ name }) => name === 'http.server.request.duration');
        if (duration?.type !== 'histogram') return;
        for (const { attributes, count } of duration.points) {
          const { 'source.service': source, 'destination.service': destination } = attributes;
          process.stdout.write(`${JSON.stringify({ source, destination, requests: count })}\n`);
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

const cgroup = process.argv[2] ?? '/sys/fs/cgroup';
const agent = await createAgent({ receivers: [ebpf({ cgroup })], exporters: [lines()] });
process.once('SIGINT', () => agent[Symbol.asyncDispose]());
