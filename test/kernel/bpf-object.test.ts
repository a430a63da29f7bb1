import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BpfLink } from '../../src/bpf/link.js';
import { type LoadedObject, openObject } from '../../src/bpf/object.js';
import { MeshtapError } from '../../src/errors.js';
import { temporaryDirectory } from '../support/bpf.js';
import { makeCgroup } from '../support/cgroup.js';
import { compileFixture } from '../support/fixtures.js';

const root = join(import.meta.dirname, '../..');

async function errorOf(call: () => unknown): Promise<MeshtapError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof MeshtapError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** Sends UDP datagrams over loopback from inside a cgroup. */
function sendFrom(cgroup: string, datagrams: number): void {
  const script = [
    'import socket',
    'r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.bind(("127.0.0.1", 0))',
    's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)',
    `for i in range(${datagrams}): s.sendto(b"x", r.getsockname())`,
  ].join('\n');
  execFileSync('sh', ['-c', 'echo $$ > "$0/cgroup.procs"; exec python3 -c "$1"', cgroup, script]);
}

describe('an object', () => {
  test('is sized and given its constants before it is loaded, and counts once it is attached', async () => {
    const cgroup = makeCgroup('object');
    const spec = await openObject(compileFixture('counting'));
    expect(spec.maps).toEqual(['packets', 'numbers', 'spare']);
    spec.setGlobal('step', new BigUint64Array([1n << 40n]));
    spec.setMaxEntries('numbers', 5000);
    using object = await spec.load();
    expect(object.programs.map((program) => program.name)).toEqual(['ingress', 'egress']);
    expect(object.maps.get('numbers')!.maxEntries).toBe(5000);

    const links = object.attach(cgroup.path);
    expect(links.map((link) => link.info().cgroup)).toEqual([cgroup.id, cgroup.id]);
    sendFrom(cgroup.path, 50);
    const { count, values } = object.maps.get('packets')!.read();
    expect(count).toBe(2);
    expect([...new BigUint64Array(values.slice().buffer)]).toEqual([50n << 40n, 50n << 40n]);

    for (const link of links) link.close();
    sendFrom(cgroup.path, 50);
    expect(new BigUint64Array(object.maps.get('packets')!.read().values.slice().buffer)[0]).toBe(50n << 40n);
  });

  test('attaches all of its programs or none', async () => {
    const cgroup = makeCgroup('none');
    using full = await (await openObject(compileFixture('counting'))).load();
    const egress = full.programs.find((program) => program.name === 'egress')!;
    const most = 64; // BPF_CGROUP_MAX_PROGS
    const links = Array.from({ length: most }, () => BpfLink.attach(egress, cgroup.path));
    using object = await (await openObject(compileFixture('counting'))).load();
    expect(() => object.attach(cgroup.path)).toThrow(/attach egress to .*: E2BIG/);
    sendFrom(cgroup.path, 3);
    const ingress = (of: LoadedObject) => of.maps.get('packets')!.read(1).values;
    expect([...ingress(object)]).toEqual([...new Uint8Array(8)]);
    for (const link of links) link.close();
    expect(object.attach(cgroup.path).map((link) => link.close())).toHaveLength(2);
  });

  test('that the verifier refuses says why in one line, and all of it on request', async () => {
    const error = await errorOf(async () => (await openObject(compileFixture('refused'))).load());
    expect(error.code).toBe('VERIFIER_REFUSED');
    expect(error.message).toMatch(
      /^the verifier refused program careless of .*refused\.bpf\.o: R\d invalid mem access '(map_value_or_null|mem_or_null)' \(\d+ lines omitted\)$/,
    );
    expect(error.detail).toMatch(/call bpf_map_lookup_elem#1/);
    expect(error.detail).toMatch(/processed \d+ insns/);
  });

  test('that is missing or is none is named', async () => {
    expect((await errorOf(() => openObject('/nowhere/x.bpf.o'))).code).toBe('OBJECT_MISSING');
    const file = join(temporaryDirectory(), 'x.bpf.o');
    writeFileSync(file, 'not an object');
    const error = await errorOf(() => openObject(file));
    expect(error.code).toBe('OBJECT_MISSING');
    expect(error.message).toBe(`${file} is not a BPF object`);
  });

  test('refuses a constant that it does not have', async () => {
    using spec = await openObject(compileFixture('counting'));
    expect((await errorOf(() => spec.setGlobal('steps', new Uint32Array(1)))).message).toContain(
      'no such global',
    );
    expect((await errorOf(() => spec.setGlobal('step', new BigUint64Array(2)))).message).toContain('8 bytes');
  });
});

describe('loading', () => {
  /** Has the built agent open and load the fixture; prints the error's code and text. */
  function loadElsewhere(environment: NodeJS.ProcessEnv, wrapper: string[] = []) {
    const program = `
      import { openObject } from './dist/bpf/object.js';
      try { await (await openObject(process.argv[1])).load(); console.log('loaded'); }
      catch (error) { console.log(error.code, error.message, error.hint); }`;
    const object = compileFixture('counting');
    const node = [process.execPath, '--input-type=module', '-e', program, object];
    const [command, ...rest] = [...wrapper, ...node];
    const run = spawnSync(command!, rest, { cwd: root, env: { ...process.env, ...environment } });
    expect(run.stderr.toString()).toBe('');
    return run.stdout.toString();
  }

  test('without libbpf names the package to install', async () => {
    expect(loadElsewhere({ MESHTAP_LIBBPF: 'libbpf.so.99' })).toMatch(
      /^LIBBPF_MISSING libbpf can not be loaded from libbpf\.so\.99 .*apt-get install libbpf1/,
    );
  });

  test('without privileges says so', async () => {
    const drop = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--'];
    expect(loadElsewhere({}, drop)).toMatch(/^NOT_ROOT load .*counting\.bpf\.o.* Run as root/);
  });
});

describe('a map', () => {
  async function loadMaps(entries: number) {
    const spec = await openObject(compileFixture('counting'));
    spec.setMaxEntries('numbers', entries);
    return spec.load();
  }

  test('is read whole in batches, however full its buckets are', async () => {
    using object = await loadMaps(20_000);
    const numbers = object.maps.get('numbers')!;
    expect(numbers.read().count).toBe(0);
    const written = new Map<number, number>();
    for (const size of [1, 300, 20_000]) {
      for (let i = written.size; i < size; i++) {
        written.set(Math.imul(i, 2_654_435) >>> 0, i);
        numbers.update(new Uint32Array([Math.imul(i, 2_654_435) >>> 0]), new Uint32Array([i]));
      }
      const { count, keys, values } = numbers.read();
      expect(count).toBe(size);
      const foundKeys = new Uint32Array(keys.slice().buffer);
      const foundValues = new Uint32Array(values.slice().buffer);
      expect(new Map([...foundKeys].map((key, i) => [key, foundValues[i]]))).toEqual(written);
    }
  });

  test('of the kind array is read up to an index', async () => {
    using object = await loadMaps(1);
    const packets = object.maps.get('packets')!;
    packets.update(new Uint32Array([1]), new BigUint64Array([77n]));
    expect(packets.read(1).values.length).toBe(8);
    expect([...new BigUint64Array(packets.read(2).values.slice().buffer)]).toEqual([0n, 77n]);
    expect(packets.read(3).count).toBe(2);
    expect(packets.read(0).count).toBe(0);
  });

  test('gives, takes and forgets single entries', async () => {
    using object = await loadMaps(2);
    const numbers = object.maps.get('numbers')!;
    const value = new Uint32Array(1);
    expect(numbers.lookup(new Uint32Array([5]), value)).toBe(false);
    numbers.update(new Uint32Array([5]), new Uint32Array([9]));
    expect(numbers.lookup(new Uint32Array([5]), value)).toBe(true);
    expect(value[0]).toBe(9);
    numbers.update(new Uint32Array([6]), value);
    expect(() => numbers.update(new Uint32Array([7]), value)).toThrow(/update numbers: E2BIG/);
    expect(
      numbers
        .keys()
        .map((key) => new Uint32Array(key.buffer)[0])
        .sort(),
    ).toEqual([5, 6]);
    expect(numbers.delete(new Uint32Array([5]))).toBe(true);
    expect(numbers.delete(new Uint32Array([5]))).toBe(false);
  });

  test('of the kind queue takes what is pushed until it is full', async () => {
    using object = await loadMaps(1);
    const spare = object.maps.get('spare')!;
    for (const value of [1, 2, 3]) spare.push(new Uint32Array([value]));
    expect(() => spare.push(new Uint32Array([4]))).toThrow(/push to spare: E2BIG/);
  });
});
