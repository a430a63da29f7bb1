import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Exporter } from '../../../src/exporters/exporter.js';
import type { OtlpOptions } from '../../../src/exporters/otlp.js';
import { otlpGrpc } from '../../../src/exporters/otlp-grpc.js';
import { otlpHttp } from '../../../src/exporters/otlp-http.js';
import type { MetricFamily, NumberPoint } from '../../../src/metrics/family.js';
import { contractFamily, testExporter } from '../../contract/exporter.js';
import { exporterContext } from '../../support/exporter-context.js';
import {
  arrived,
  type Behaviour,
  grpcReceiver,
  httpReceiver,
  type OtlpReceiver,
  plain,
} from '../../support/otlp-receiver.js';

interface Way {
  name: string;
  receiver(port?: number): Promise<OtlpReceiver>;
  exporter(options: OtlpOptions): Exporter;
}

const ways: Way[] = [
  { name: 'otlp-grpc', receiver: grpcReceiver, exporter: otlpGrpc },
  { name: 'otlp-http', receiver: httpReceiver, exporter: otlpHttp },
];

/** The newest value of each point of a counter. */
function newest(requests: OtlpReceiver['requests'], metric: string): Map<string, number> {
  return new Map(
    arrived(requests)
      .filter((point) => point.metric === metric)
      .map(({ attributes, value }) => [String(attributes.which), value!]),
  );
}

const gauge = (name: string, points: NumberPoint[]): MetricFamily => ({
  type: 'gauge',
  name,
  description: '',
  unit: '',
  points,
});

const outcomes = (families: readonly MetricFamily[]) =>
  Object.fromEntries(
    families.flatMap(({ points }) =>
      points.map((point) => [point.attributes.outcome, 'count' in point ? point.count : Number.NaN]),
    ),
  ) as Record<string, number | undefined>;

describe.each(ways)('$name', ({ name, receiver, exporter }) => {
  testExporter(name, {
    async harness() {
      const end = await receiver();
      return {
        exporter: exporter({ endpoint: end.endpoint, interval: 100 }),
        values: () =>
          vi.waitUntil(
            () => {
              const found = newest(end.requests, 'contract');
              return found.size > 0 && found;
            },
            { timeout: 10_000 },
          ),
        [Symbol.asyncDispose]: () => end[Symbol.asyncDispose](),
      };
    },
    async broken() {
      return {
        exporter: exporter({ endpoint: 'https://127.0.0.1:1', caFile: '/does/not/exist' }),
        code: 'CONFIG_INVALID',
        async [Symbol.asyncDispose]() {},
      };
    },
  });

  const open: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
  });

  async function setup(
    collect: () => MetricFamily[],
    options: OtlpOptions = {},
    behaviour: Behaviour = 'ok',
  ) {
    const end = await receiver();
    end.behave(behaviour);
    const context = exporterContext(collect);
    const running = await exporter({ endpoint: end.endpoint, interval: 200, timeout: 150, ...options }).start(
      context,
    );
    open.push(end, running);
    return { end, running, context };
  }

  const histogramFamily = (counts: number[]): MetricFamily => ({
    type: 'histogram',
    name: 'took',
    description: 'x',
    unit: 's',
    startedAt: 1_700_000_000_123,
    boundaries: [0.1, 1],
    points: [
      {
        attributes: { n: 5, yes: true, text: 'ü' },
        buckets: Float64Array.from(counts),
        count: counts.reduce((a, b) => a + b),
        sum: 12.5,
      },
    ],
  });

  it('writes what the protos say', async () => {
    const { end } = await setup(() => [
      histogramFamily([1, 2, 3]),
      {
        type: 'gauge',
        name: 'level',
        description: '',
        unit: '{thing}',
        points: [{ attributes: {}, value: 4 }],
      },
      contractFamily(new Map([['it', 2 ** 53 - 1]])),
    ]);
    await vi.waitUntil(() => end.requests.length > 0);
    const { request } = end.requests[0]!;
    expect(plain(request.resource_metrics[0]!.resource.attributes)).toEqual({
      'service.name': 'meshtap-test',
    });
    const [scope] = request.resource_metrics[0]!.scope_metrics;
    expect(scope!.scope.name).toBe('meshtap');
    const [took, level, contract] = scope!.metrics;
    expect(took).toMatchObject({
      name: 'took',
      unit: 's',
      histogram: {
        aggregation_temporality: 'AGGREGATION_TEMPORALITY_CUMULATIVE',
        data_points: [
          {
            count: 6,
            sum: 12.5,
            bucket_counts: [1, 2, 3],
            explicit_bounds: [0.1, 1],
            start_time_unix_nano: 1_700_000_000_123_000_000,
          },
        ],
      },
    });
    expect(plain(took!.histogram!.data_points[0]!.attributes)).toEqual({ n: 5, yes: true, text: 'ü' });
    expect(level).toMatchObject({ gauge: { data_points: [{ as_double: 4 }] } });
    expect(contract).toMatchObject({
      sum: { is_monotonic: true, data_points: [{ as_double: 2 ** 53 - 1 }] },
    });
  });

  describe('with delta temporality', () => {
    it('sends differences that add up, each from where the last ended', async () => {
      let value = 5;
      const counts = [1, 0, 4];
      const began = Date.now();
      const family = (): MetricFamily => ({
        ...contractFamily(
          new Map([
            ['it', value],
            ['idle', 3],
          ]),
        ),
        startedAt: began,
      });
      const { end } = await setup(() => [family(), { ...histogramFamily(counts), startedAt: began }], {
        temporality: 'delta',
      });
      await vi.waitUntil(() => end.requests.length > 0);
      value = 12;
      counts[1] = 2;
      await vi.waitUntil(() => end.requests.length > 1);
      const points = arrived(end.requests);
      expect(new Set(points.map(({ temporality }) => temporality))).toEqual(
        new Set(['AGGREGATION_TEMPORALITY_DELTA']),
      );
      const mine = points.filter(({ attributes }) => attributes.which === 'it');
      expect(mine.map((point) => point.value)).toEqual([5, 7]);
      expect(mine[1]!.point.start_time_unix_nano).toBe(mine[0]!.point.time_unix_nano);
      expect(points.filter(({ attributes }) => attributes.which === 'idle')).toHaveLength(1);
      const took = points.filter(({ metric }) => metric === 'took').map(({ point }) => point.bucket_counts);
      expect(took).toEqual([
        [1, 0, 4],
        [0, 2, 0],
      ]);
    });

    it('loses nothing and tells nothing twice while the receiver is away', async () => {
      let value = 5;
      const began = Date.now();
      const { end } = await setup(
        () => [{ ...contractFamily(new Map([['it', value++]])), startedAt: began }],
        { temporality: 'delta' },
        'refuse',
      );
      await vi.waitUntil(() => end.seen() > 2);
      end.behave('ok');
      await vi.waitUntil(() => end.requests.length > 2);
      const points = arrived(end.requests).filter(({ metric }) => metric === 'contract');
      const sum = points.reduce((total, point) => total + point.value!, 0);
      // Each collection counts one more, so what was delivered is the value at the last delivery.
      expect(sum).toBeGreaterThanOrEqual(5 + 2 + points.length - 1);
      expect(points[0]!.value).toBe(sum - (points.length - 1));
      for (let i = 1; i < points.length; i++)
        expect(points[i]!.point.start_time_unix_nano).toBe(points[i - 1]!.point.time_unix_nano);
    });

    it('leaves what an earlier process counted to that process', async () => {
      let value = 1000;
      const { end } = await setup(
        () => [{ ...contractFamily(new Map([['it', value]])), startedAt: Date.now() - 86_400_000 }],
        { temporality: 'delta' },
      );
      const first = setTimeout(() => {
        value = 1003;
      }, 500);
      await vi.waitUntil(() => end.requests.length > 0, { timeout: 5000 });
      clearTimeout(first);
      expect(arrived(end.requests).map((point) => point.value)).toEqual([3]);
    });
  });

  it('splits what a receiver would refuse for its size', async () => {
    const filler = 'x'.repeat(400);
    const points = Array.from({ length: 4000 }, (_, i) => ({
      attributes: { which: String(i), filler },
      value: i,
    }));
    const families = [0, 1, 2].map((f) => gauge(`contract.${f}`, points));
    const { end } = await setup(() => families, { interval: 3000, timeout: 3000 });
    await vi.waitUntil(() => arrived(end.requests).length >= 12_000, { timeout: 15_000, interval: 200 });
    const all = end.requests.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(all).toBeGreaterThan(4 * 1024 * 1024);
    for (const { bytes } of end.requests) expect(bytes).toBeLessThan(4 * 1024 * 1024);
    for (let f = 0; f < 3; f++) expect(newest(end.requests, `contract.${f}`).size).toBe(4000);
  });

  it.each<Behaviour>(
    name === 'otlp-http' ? ['refuse', 'unavailable', 'hang', 'drip'] : ['refuse', 'unavailable', 'hang'],
  )('counts failures, logs them once, and recovers from a receiver that does: %s', async (behaviour) => {
    const { end, running, context } = await setup(
      () => [contractFamily(new Map([['it', 1]]))],
      {},
      behaviour,
    );
    await vi.waitUntil(() => (outcomes(running.families!()).failure ?? 0) >= 3, { timeout: 15_000 });
    expect(context.lines.filter(({ level }) => level >= 40)).toHaveLength(1);
    expect(context.lines[0]!.msg).toContain('can not be reached');
    end.behave('ok');
    await vi.waitUntil(() => end.requests.length > 0, { timeout: 15_000 });
    await vi.waitUntil(() => (outcomes(running.families!()).success ?? 0) > 0, { timeout: 15_000 });
    expect(context.lines.map(({ msg }) => msg)).toEqual([
      expect.stringContaining('can not be reached'),
      expect.stringMatching(/^sending works again after \d+ failed exports$/),
    ]);
  });

  it('takes an answer that makes no sense for what it is: an answer', async () => {
    const { end, running } = await setup(() => [contractFamily(new Map([['it', 1]]))], {}, 'nonsense');
    await vi.waitUntil(() => end.requests.length > 2, { timeout: 15_000 });
    await vi.waitUntil(() => (outcomes(running.families!()).success ?? 0) > 1, { timeout: 15_000 });
  });

  it('finds a receiver that was not there at first', async () => {
    const gone = await receiver();
    const port = Number(new URL(gone.endpoint).port);
    await gone[Symbol.asyncDispose]();
    const context = exporterContext(() => [contractFamily(new Map([['it', 1]]))]);
    const running = await exporter({ endpoint: gone.endpoint, interval: 300, timeout: 200 }).start(context);
    open.push(running);
    await vi.waitUntil(() => (outcomes(running.families!()).failure ?? 0) > 0, { timeout: 15_000 });
    const end = await receiver(port);
    open.push(end);
    await vi.waitUntil(() => end.requests.length > 0, { timeout: 15_000 });
    expect(context.lines.filter(({ level }) => level >= 40)).toHaveLength(1);
  });

  it('tries again within one export', async () => {
    const { end, running } = await setup(
      () => [contractFamily(new Map([['it', 1]]))],
      { interval: 10_000, timeout: 9_000 },
      'unavailable',
    );
    const stopped = running[Symbol.asyncDispose]();
    await vi.waitUntil(() => end.seen() > 0);
    end.behave('ok');
    await stopped;
    expect(newest(end.requests, 'contract')).toEqual(new Map([['it', 1]]));
    expect(outcomes(running.families!())).toEqual({ success: 1, failure: 0 });
  });

  it.each<Behaviour>(name === 'otlp-http' ? ['hang', 'drip'] : ['hang'])(
    'stops though the receiver does: %s',
    async (behaviour) => {
      const { end, running } = await setup(
        () => [contractFamily(new Map([['it', 1]]))],
        { interval: 60_000, timeout: 60_000 },
        behaviour,
      );
      await running[Symbol.asyncDispose]();
      expect(end.seen()).toBeGreaterThan(0);
    },
  );

  it('keeps one collection at most, however slow the receiver', async () => {
    let collections = 0;
    const points = Array.from({ length: 1000 }, (_, i) => ({ attributes: { which: String(i) }, value: i }));
    const { running } = await setup(
      () => {
        collections++;
        return [gauge('many', points)];
      },
      { interval: 50, timeout: 50 },
      'hang',
    );
    await vi.waitUntil(() => (outcomes(running.families!()).failure ?? 0) >= 10, { timeout: 15_000 });
    const failures = outcomes(running.families!()).failure!;
    // Each collection was sent or given up before the next was made.
    expect(collections - failures).toBeLessThanOrEqual(1);
  });
});
