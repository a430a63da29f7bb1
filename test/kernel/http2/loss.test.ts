// Segments that are lost on the way, and with it come out of order at the other end: both sides still count exactly.
import { expect, onTestFinished } from 'vitest';
import { h2load } from '../../support/load.js';
import { ADDRESSES } from '../../support/netns.js';
import { Nginx } from '../../support/nginx.js';
import { many } from '../../support/scale.js';
import { test } from '../../support/traffic.js';

test.for([1, 5])('%i in 100 segments lost, each way', async (percent, { scope, meter, cable }) => {
  const nginx = await Nginx.start(scope, {
    http2: true,
    netns: cable.server,
    hosts: [ADDRESSES.v4.server],
    service: `server-${percent}`,
  });
  onTestFinished(() => nginx.removeFiles());
  for (const end of ['client', 'server'] as const)
    cable.setInputRules(end, `tcp dport != 0 numgen random mod 100 < ${percent} drop`);
  onTestFinished(() => {
    for (const end of ['client', 'server'] as const) cable.setInputRules(end);
  });
  const urls = ['/ok', '/missing', '/busy', '/files/small'].map((path) =>
    nginx.url(path, ADDRESSES.v4.server),
  );
  const seen = await meter.during(() =>
    h2load(scope, { urls, requests: many(2000), connections: 4, streams: 20, netns: cable.client }),
  );
  expect(cable.retransmits('server')).toBeGreaterThan(0);
  const truth = Object.entries(nginx.takeLog()).map(([name, count]) => [`${name} HTTP/2`, count]);
  seen.expectExchanges(Object.fromEntries(truth), `client > server-${percent}`);
});
