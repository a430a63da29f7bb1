// What is known and counted of DNS lies in the kernel, so it outlives the agent.
import { execFileSync } from 'node:child_process';
import { expect } from 'vitest';
import { AgentProcess, detachInstance, PATIENTLY } from '../../support/agent.js';
import { PUBLIC } from '../../support/dns.js';
import { test } from '../../support/dns-world.js';
import { Scope } from '../../support/scope.js';

const A = `> ${PUBLIC.a}`;

test('names outlive the agent, and so does what was counted', PATIENTLY, async ({ world }) => {
  await using scope = new Scope('dns-restart');
  const instance = `dns-${process.pid}`;
  const options = {
    cgroup: scope.path,
    instance,
    config: { dialects: ['otel' as const, 'hubble' as const] },
  };
  let agent = await AgentProcess.start(options);
  try {
    await world.act(scope, 'shop', ['api.example.com', A]);
    const before = await agent.scrape();
    const to = { source_service: 'shop', destination_service: 'api.example.com' };
    expect(before.requests('client', to)).toBe(1);
    expect(before.sum('dns_lookup_duration_seconds_count', { source_service: 'shop' })).toBe(1);
    await agent.kill();
    await world.act(scope, 'shop', [A, 'api.example.com', A]);
    agent = await AgentProcess.start(options);
    const after = await agent.scrape();
    expect(after.requests('client', to)).toBe(3);
    const lookups = { source_service: 'shop', dns_question_type: 'A', dns_response_code: 'NOERROR' };
    expect(after.sum('dns_lookup_duration_seconds_count', lookups)).toBe(2);
    expect(
      after.sum('hubble_dns_responses_total', {
        source_service: 'shop',
        rcode: 'No Error',
        qtypes: 'A',
        ips_returned: '1',
      }),
    ).toBe(2);
    execFileSync('promtool', ['check', 'metrics'], { input: after.text });
  } finally {
    await agent.kill();
    await detachInstance(instance);
  }
});
