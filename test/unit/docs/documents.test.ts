/** Holds the documents to the code: links lead somewhere, code is the examples' own, lists are complete. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS, footprintOf } from '../../../src/bpf/counting.js';
import { enums, maps } from '../../../src/bpf/generated/counts.js';
import { LEDGER_WORDS, ledgerLines } from '../../../src/receivers/ebpf-decode.js';

const ROOT = resolve(import.meta.dirname, '../../..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

const FOLDERS = ['.', 'docs', 'bpf-src', 'bench', 'dashboards', 'examples', 'test'];
const documents = FOLDERS.filter((folder) => existsSync(join(ROOT, folder))).flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: folder !== '.', encoding: 'utf8' })
    .filter((file) => file.endsWith('.md') && !file.includes('node_modules'))
    .map((file) => join(folder, file)),
);

/** What links can point at within a file: headings as GitHub names them. */
function anchors(markdown: string): string[] {
  const headings = markdown.replaceAll(/^```.*?^```/gms, '').matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, text]) =>
    text!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe('links', () => {
  test('there are documents', () => {
    expect(documents).toEqual(expect.arrayContaining(['README.md', join('docs', 'architecture.md')]));
  });

  test.each(documents)('of %s lead somewhere', (document) => {
    const prose = read(document)
      .replaceAll(/^```.*?^```/gms, '')
      .replaceAll(/`[^`\n]*`/g, '');
    const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!);
    const broken = links
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? document : join(dirname(document), path);
        if (!existsSync(join(ROOT, file))) return true;
        return anchor !== undefined && !anchors(read(file)).includes(anchor);
      });
    expect(broken).toEqual([]);
  });
});

test('code in the README is a part of an example', () => {
  const parts = [...read('README.md').matchAll(/<!-- code (\S+) -->\n+```ts\n(.*?)```/gs)];
  expect(parts.length).toBeGreaterThan(0);
  for (const [, file, code] of parts) expect(read(file!)).toContain(code);
});

test('each error code has a section', () => {
  const [, union = ''] = /type ErrorCode =(.*?);/s.exec(read('src/errors.ts')) ?? [];
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code!);
  const sections = [...read('docs/troubleshooting.md').matchAll(/^### (\w+)$/gm)].map(([, code]) => code!);
  expect(sections).toEqual(codes);
});

test('each line of the ledger has a row', () => {
  const one = enums.ledger_entry.LEDGER_ENTRIES;
  const lines = ledgerLines(new Float64Array(LEDGER_WORDS))
    .slice(0, enums.ledger_entry.LEDGER_ENTRIES)
    .map(({ subject, outcome }) => `${subject} ${outcome}`);
  expect(one).toBe(lines.length);
  const [, table = ''] = /## The ledger(.*?)\n## /s.exec(read('docs/troubleshooting.md')) ?? [];
  expect([...table.matchAll(/^\| `([^`]+)` /gm)].map(([, line]) => line)).toEqual(lines);
});

test('each map has a row with its size', () => {
  const [, table = ''] = /## Maps(.*?)\n## /s.exec(read('bpf-src/README.md')) ?? [];
  const rows = [...table.matchAll(/^\| `(\w+)` \|[^|]+\|[^|]+\| ([^|]+) \|/gm)];
  const told = Object.fromEntries(rows.map(([, map, size]) => [map, size!.replaceAll(',', '')]));
  const sizeOf = ({ type, key, value }: (typeof maps)[keyof typeof maps]) =>
    HASHES.has(type) ? `${key.size} + ${value.size}` : String(value.size);
  expect(told).toEqual(Object.fromEntries(Object.entries(maps).map(([map, it]) => [map, sizeOf(it)])));
});

test("the README says what the kernel's share of memory is", () => {
  const mebibytes = (cpus: number) =>
    Math.round(Object.values(footprintOf(DEFAULT_LIMITS, cpus).parts).reduce((a, b) => a + b) / 2 ** 20);
  const each = footprintOf(DEFAULT_LIMITS, 2).perConnection;
  const kibibytes = (...names: (keyof typeof each)[]) => names.reduce((sum, it) => sum + each[it]!, 0) / 1024;
  const prose = read('README.md').replaceAll('\n', ' ');
  expect(prose).toContain(`${mebibytes(2)} MiB on two CPUs, ${mebibytes(8)} MiB on eight or more`);
  expect(prose).toContain(`${kibibytes('connections')} KiB for each open connection`);
  expect(prose).toContain(`${kibibytes('connections', 'http2_streams')} KiB if it speaks HTTP/2`);
  expect(prose).toContain(`${kibibytes('connections', 'dns_streams')} KiB if DNS`);
  expect(prose).toContain(`${kibibytes('reassembly')} KiB more once segments came out of order`);
});

/** BPF_MAP_TYPE_HASH, LRU_HASH and LPM_TRIE of linux/bpf.h: their keys take memory too. */
const HASHES: ReadonlySet<number> = new Set([1, 9, 11]);

test('the package has what it promises, and nothing of the tests', () => {
  const json = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files }] = JSON.parse(json) as [{ files: { path: string }[] }];
  const packed = files.map(({ path }) => path);
  const { exports, bin } = JSON.parse(read('package.json'));
  const promised = [...Object.values(exports), ...Object.values(bin)].flatMap((target) =>
    typeof target === 'string' ? target : Object.values(target as Record<string, string>),
  );
  expect(packed).toEqual(
    expect.arrayContaining([
      ...promised.map((path) => path.replace('./', '')),
      ...['x64', 'arm64'].map((machine) => `bpf/${machine}/meshtap.bpf.o`),
      ...['observer', 'flow', 'relay', 'health'].map((name) => `proto/${name}.proto`),
      ...['README.md', 'LICENSE', 'CHANGELOG.md', 'meshtap.schema.json', 'bpf-src/README.md'],
      ...documents.filter((document) => /^docs\//.test(document)),
    ]),
  );
  expect(packed.filter((path) => /^(test|bench|src|\.ci)\//.test(path))).toEqual([]);
});
