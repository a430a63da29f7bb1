import { expect, test } from 'vitest';
import { hubble } from '../../../src/metrics/dialects/hubble.js';
import { otel } from '../../../src/metrics/dialects/otel.js';
import { resolve } from '../../../src/metrics/model.js';
import { counts, histogram, http, identity, named, pair } from '../../support/counts.js';

const sweep = counts({
  http: [http(pair('server', named('web'), named('caller')), { duration: histogram([0.01]) })],
});
const labels = { kind: 'Deployment', pod: 'caller-x', address: '10.0.0.1' };
const snapshot = resolve(sweep, () => ({
  source: identity('caller', { labels }),
  destination: identity('web', { labels: { kind: 'Deployment' } }),
}));

const extras = (families: ReturnType<ReturnType<typeof otel>['families']>) =>
  families.map(({ points }) => {
    const keys = Object.keys(points[0]!.attributes).filter((key) => /pod|ip$|address|kind/.test(key));
    return Object.fromEntries(keys.map((key) => [key, points[0]!.attributes[key]]));
  });

test('a pod and its address are labels where the source of names gives them, and only there', () => {
  for (const found of extras(otel().families(snapshot)))
    expect(found).toEqual({ 'source.pod': 'caller-x', 'source.address': '10.0.0.1' });
  for (const found of extras(hubble().families(snapshot)))
    expect(found).toEqual({ source_pod: 'caller-x', source_ip: '10.0.0.1' });
});
