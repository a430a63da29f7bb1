import { createServer } from 'node:net';
import { expect, it, vi } from 'vitest';
import { otelPrometheus } from '../../../src/exporters/otel-prometheus.js';
import { createCollector } from '../../../src/metrics/collector.js';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { testExporter } from '../../contract/exporter.js';
import { counts, histogram, http, identifyNamed, named, pair } from '../../support/counts.js';
import { exporterContext } from '../../support/exporter-context.js';
import { freePort } from '../../support/free-port.js';
import { samples, scrape } from '../../support/scrape.js';

testExporter('otel-prometheus', {
  async harness() {
    const port = await freePort();
    return {
      exporter: otelPrometheus({ port }),
      values: () =>
        vi.waitUntil(
          async () => {
            const { body } = await scrape(`http://127.0.0.1:${port}/metrics`);
            const found = samples(body.toString(), 'contract_total', 'which');
            return found.size > 0 && found;
          },
          { timeout: 10_000 },
        ),
      async [Symbol.asyncDispose]() {},
    };
  },
  async broken() {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as { port: number };
    return {
      exporter: otelPrometheus({ port }),
      code: 'PORT_IN_USE',
      async [Symbol.asyncDispose]() {
        taken.close();
      },
    };
  },
});

it('shows the names of our own endpoint', async () => {
  const sweep = counts({
    http: [http(pair('server', named('b'), named('a')), { duration: histogram([0.1]) })],
  });
  const { collect } = createCollector({
    sources: () => [{ collect: async () => sweep }],
    identify: identifyNamed(),
    dialects: [otel(), hubble()],
  });
  const port = await freePort();
  await using running = await otelPrometheus({ port }).start(exporterContext(collect));
  const text = (await scrape(running.address)).body.toString();
  expect(samples(text, 'http_server_request_duration_seconds_count', 'destination_service')).toEqual(
    new Map([['b', 1]]),
  );
  expect(samples(text, 'hubble_http_responses_total', 'status_code')).toEqual(new Map([['200', 1]]));
  expect(samples(text, 'target_info', 'service_name')).toEqual(new Map([['meshtap-test', 1]]));
});
