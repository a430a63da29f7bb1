/**
 * meshtap inside of your own program, served by the stock exporter of OpenTelemetry.
 *
 *     npx tsx examples/embed.ts /sys/fs/cgroup/system.slice 9464
 *
 * Then `curl localhost:9464/metrics` shows, for each pair of services, method and status:
 *
 *     http_server_request_duration_count{source_service="shop",destination_service="nginx",...} 3
 */
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { createAgent } from 'meshtap';
import { ebpf } from 'meshtap/receivers';

const [, , cgroup = '/sys/fs/cgroup', port = '9464'] = process.argv;
const agent = await createAgent({ receivers: [ebpf({ cgroup })] });
const reader = new PrometheusExporter({
  host: '127.0.0.1',
  port: Number(port),
  metricProducers: [agent.producer],
});
const provider = new MeterProvider({ readers: [reader] });

// Your program. Neither meshtap nor the stock exporter keeps a process alive.
const work = setInterval(() => {}, 60_000);

process.once('SIGINT', async () => {
  clearInterval(work);
  await provider.shutdown();
  await agent[Symbol.asyncDispose]();
});
