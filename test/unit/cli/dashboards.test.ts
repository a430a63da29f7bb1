import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { parse } from 'yaml';
import { dashboards } from '../../../src/cli/dashboards.js';
import { DASHBOARDS, DIALECTS } from '../../support/dashboards.js';

/** Runs the command into a new directory; what it says is in `said`. */
function written(dialect: string) {
  const out = join(mkdtempSync(join(tmpdir(), 'meshtap-test-')), 'provisioning');
  onTestFinished(() => rmSync(join(out, '..'), { recursive: true }));
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  onTestFinished(() => write.mockRestore());
  const again = (other = dialect) => dashboards({ dialect: other, out });
  again();
  const said = write.mock.calls.join('');
  return { out, again, said, read: (file: string) => readFileSync(join(out, file), 'utf8') };
}

test.each(DIALECTS)('%s: all its dashboards and rules are there, as they are shipped', (dialect) => {
  const { out, read, said } = written(dialect);
  for (const folder of ['dashboards', 'rules']) {
    const files = readdirSync(join(DASHBOARDS, dialect, folder));
    expect(readdirSync(join(out, folder))).toEqual(files);
    for (const file of files)
      expect(read(join(folder, file))).toBe(readFileSync(join(DASHBOARDS, dialect, folder, file), 'utf8'));
    expect(said).toContain(join(out, folder));
  }
});

test('Grafana is told where they are', () => {
  const { out, read } = written('otel');
  const { providers } = parse(read('provisioning/dashboards/meshtap.yaml'));
  expect(providers[0].options.path).toBe(join(out, 'dashboards'));
  expect(parse(read('provisioning/datasources/meshtap.yaml')).datasources[0].type).toBe('prometheus');
});

test('what is meant to be changed stays as it was changed, the rest is written anew', () => {
  const { out, again, read } = written('otel');
  const own = [
    'rules/meshtap-objectives.yaml',
    'provisioning/dashboards/meshtap.yaml',
    'provisioning/prometheus.yml',
  ];
  for (const file of [...own, 'rules/meshtap-alerts.yaml']) writeFileSync(join(out, file), 'changed');
  again('hubble');
  for (const file of own) expect(read(file), file).toBe('changed');
  expect(read('rules/meshtap-alerts.yaml')).toContain('MeshtapAgentDown');
  expect(read('rules/meshtap-recording.yaml')).toContain('hubble_http_requests_total');
});
