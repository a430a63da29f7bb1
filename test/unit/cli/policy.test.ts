import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { meshtap } from '../../support/cli.js';

const DETAILS = join(import.meta.dirname, '../../fixtures/policy/details-l7-policy.yaml');

function fileWith(text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-policy-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'policy.yaml');
  writeFileSync(file, text);
  return file;
}

test('explains what a policy would do, and that nothing is enforced', async () => {
  const { code, stdout, stderr } = await meshtap(['policy', 'check', DETAILS]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toMatch(
    new RegExp(
      `^details-l7-access-policy, in namespace default \\(${DETAILS}:2:1\\)
  applies to endpoints with app=details in namespace default
  ingress: denied by default, allowed are
    from endpoints with app=productpage in namespace default: TCP port 9080, only HTTP requests with
      method GET and path /details/\\.\\*
  egress: not restricted by this policy

1 policy, no errors\\. Automaton: \\d+ states, .*\\.

This version of meshtap checks policies and enforces none: all traffic passes\\.
$`,
    ),
  );
});

test('tells every fault with its place', async () => {
  const file = fileWith('kind: NetworkPolicy\n---\na: [\n');
  const { code, stdout, stderr } = await meshtap(['policy', 'check', DETAILS, file]);
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr.split('\n').filter(Boolean)).toEqual([
    `meshtap: ${file}:1:1: kind: found "NetworkPolicy", expected one of CiliumNetworkPolicy`,
    expect.stringMatching(`^${file}:\\d+:\\d+: this is not YAML: `),
  ]);
});

test('tells of two policies of one name', async () => {
  const file = fileWith(`# Again\n\n${readFileSync(DETAILS, 'utf8')}`);
  const { code, stderr } = await meshtap(['policy', 'check', DETAILS, file]);
  expect(code).toBe(1);
  expect(stderr).toBe(
    `meshtap: ${file}:4:1: found a second policy default/details-l7-access-policy, the first is at ${DETAILS}:2:1\n`,
  );
});

test('says the same as JSON', async () => {
  const good = await meshtap(['policy', 'check', '--json', DETAILS]);
  expect(good.code).toBe(0);
  expect(JSON.parse(good.stdout)).toMatchObject({
    valid: true,
    enforced: false,
    problems: [],
    policies: [
      {
        name: 'details-l7-access-policy',
        namespace: 'default',
        egress: [],
        ingress: [
          {
            ports: [{ ports: [{ first: 9080, last: 9080 }], http: [{ method: 'GET', path: '/details/.*' }] }],
          },
        ],
      },
    ],
    automaton: { states: expect.any(Number), bytes: expect.any(Number) },
  });
  const file = fileWith('kind: NetworkPolicy\n');
  const bad = await meshtap(['policy', 'check', '--json', file]);
  expect(bad.code).toBe(1);
  expect(JSON.parse(bad.stdout)).toMatchObject({
    valid: false,
    enforced: false,
    problems: [{ file, line: 1, column: 1, message: expect.stringContaining('NetworkPolicy') }],
  });
});

test('a file that is not there is a fault', async () => {
  const { code, stderr } = await meshtap(['policy', 'check', '/nowhere/policy.yaml']);
  expect(code).toBe(1);
  expect(stderr).toContain('/nowhere/policy.yaml');
});
