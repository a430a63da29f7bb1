import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MeshtapError } from '../errors.js';
import { bpfFailure, check, loadFailure } from './failure.js';
import { errno, libbpf, loadLogged, memoryAt, openLogged, type Pointer, uint32At } from './libbpf.js';
import { BpfLink } from './link.js';
import { BpfMap } from './map.js';

/** Path of an object that comes with meshtap, for this machine's architecture. */
export function shippedObject(stem: string): string {
  return fileURLToPath(new URL(`../../bpf/${process.arch}/${stem}.bpf.o`, import.meta.url));
}

/** A program in the kernel. */
export interface BpfProgram {
  readonly name: string;
  readonly fd: number;
  /** `enum bpf_attach_type` of linux/bpf.h. */
  readonly attachType: number;
  /** libbpf's `struct bpf_program`; valid as long as the object is open. */
  readonly address: Pointer;
}

/**
 * Opens a compiled object, without the kernel's knowledge: sizes and constants can still be set. Rejects with
 * `OBJECT_MISSING` if there is no such file or it is no BPF object, and with `LIBBPF_MISSING`.
 */
export async function openObject(path: string): Promise<ObjectSpec> {
  if (!existsSync(path)) {
    throw new MeshtapError('OBJECT_MISSING', `there is no BPF object ${path}`, {
      hint: 'npm run build:bpf compiles the objects; a packaged meshtap has them for x64 and arm64',
    });
  }
  const { result: address, log } = await openLogged(path);
  if (address === null) {
    const hint = 'npm run build:bpf compiles it anew';
    throw new MeshtapError('OBJECT_MISSING', `${path} is not a BPF object`, { hint, detail: log });
  }
  return new ObjectSpec(path, address);
}

/** An object before it is loaded: what differs from machine to machine is set here. */
export class ObjectSpec implements Disposable {
  readonly path: string;
  readonly #address: Pointer;
  #owned = true;

  constructor(path: string, address: Pointer) {
    this.path = path;
    this.#address = address;
  }

  /** Names of the maps that the source declares, without those that the compiler makes for globals. */
  get maps(): readonly string[] {
    return mapsOf(this.#address).map((map) => libbpf().bpf_map__name(map));
  }

  /** Sets the capacity of a map. */
  setMaxEntries(map: string, entries: number): void {
    check(`size the map ${map}`, libbpf().bpf_map__set_max_entries(this.#map(map), entries));
  }

  /** Lets the programs use a map that exists. `map` stays the caller's. */
  reuse(name: string, map: BpfMap): void {
    check(`reuse the map ${name}`, libbpf().bpf_map__reuse_fd(this.#map(name), map.fd));
  }

  /**
   * Sets a `const volatile` global. Its bytes are those of `value`; a longer array keeps what it had at its end.
   *
   * @throws MeshtapError `BPF_FAILED` if there is no global of that name with room for `value`.
   */
  setGlobal(name: string, value: Uint32Array | BigUint64Array): void {
    const library = libbpf();
    const place = globalOf(library.bpf_object__btf(this.#address), name);
    if (!place || place.size < value.byteLength) {
      const found = place ? `${place.size} bytes` : 'no such global';
      throw new MeshtapError('BPF_FAILED', `set ${name} of ${this.path}: ${found}`);
    }
    const size = new BigUint64Array(1);
    const start = library.bpf_map__initial_value(this.#map('.rodata'), size);
    if (start === null) throw bpfFailure(`set ${name} of ${this.path}`, errno());
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    memoryAt(start, Number(size[0])).set(bytes, place.offset);
  }

  /**
   * Creates the maps and has the kernel verify the programs. The spec is used up, whatever comes of it. Rejects with
   * `VERIFIER_REFUSED` and the whole log in its `detail`, and with `NOT_ROOT`.
   */
  async load(): Promise<LoadedObject> {
    const { result, log } = await loadLogged(this.#address);
    if (result < 0) {
      this.close();
      throw loadFailure(this.path, result, log);
    }
    this.#owned = false;
    return new LoadedObject(this.#address);
  }

  /** Does nothing once the object is loaded. */
  close(): void {
    if (this.#owned) libbpf().bpf_object__close(this.#address);
    this.#owned = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #map(name: string): Pointer {
    const map = libbpf().bpf_object__find_map_by_name(this.#address, name);
    if (map === null) throw new MeshtapError('BPF_FAILED', `there is no map ${name} in ${this.path}`);
    return map;
  }
}

/** An object in the kernel. Nothing is attached yet. */
export class LoadedObject implements Disposable {
  readonly programs: readonly BpfProgram[];
  /** By name; valid until `close`. */
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly #address: Pointer;
  #open = true;

  constructor(address: Pointer) {
    this.#address = address;
    const library = libbpf();
    this.programs = walk((previous) => library.bpf_object__next_program(address, previous)).map(
      (program) => ({
        name: library.bpf_program__name(program),
        fd: library.bpf_program__fd(program),
        attachType: library.bpf_program__expected_attach_type(program),
        address: program,
      }),
    );
    this.maps = new Map(
      mapsOf(address).map((map) => [
        library.bpf_map__name(map),
        new BpfMap(library.bpf_map__fd(map), { borrowed: true }),
      ]),
    );
  }

  /** Attaches every program to a cgroup-v2 directory; all or none. */
  attach(cgroup: string): BpfLink[] {
    const links: BpfLink[] = [];
    try {
      for (const program of this.programs) links.push(BpfLink.attach(program, cgroup));
      return links;
    } catch (error) {
      for (const link of links) link.close();
      throw error;
    }
  }

  /** Lets go of programs and maps; what is attached or pinned lives on. */
  close(): void {
    if (this.#open) libbpf().bpf_object__close(this.#address);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function mapsOf(object: Pointer): Pointer[] {
  const library = libbpf();
  const all = walk((previous) => library.bpf_object__next_map(object, previous));
  return all.filter((map) => !library.bpf_map__is_internal(map));
}

function walk(next: (previous: Pointer | null) => Pointer | null): Pointer[] {
  const found: Pointer[] = [];
  for (let at = next(null); at !== null; at = next(at)) found.push(at);
  return found;
}

/** BTF_KIND_DATASEC of linux/btf.h, and the bits of `info` that say how many variables it has. */
const KIND_DATASEC = 15;
const VLEN_MASK = 0xffff;
const BTF_TYPE_SIZE = 12n;
const VAR_SECINFO_SIZE = 12n;

/** Where a global lies in .rodata. libbpf has filled in the offsets, which the compiler leaves at 0. */
function globalOf(btf: Pointer | null, name: string): { offset: number; size: number } | undefined {
  if (btf === null) return undefined;
  const library = libbpf();
  const id = library.btf__find_by_name_kind(btf, '.rodata', KIND_DATASEC);
  const section = id > 0 ? library.btf__type_by_id(btf, id) : null;
  if (section === null) return undefined;
  // struct btf_type { name_off, info, size }, then a struct btf_var_secinfo { type, offset, size } per variable
  const count = BigInt(uint32At(section + 4n) & VLEN_MASK);
  for (let i = 0n; i < count; i++) {
    const variable = section + BTF_TYPE_SIZE + i * VAR_SECINFO_SIZE;
    const nameOffset = uint32At(library.btf__type_by_id(btf, uint32At(variable))!);
    if (library.btf__name_by_offset(btf, nameOffset) === name) {
      return { offset: uint32At(variable + 4n), size: uint32At(variable + 8n) };
    }
  }
  return undefined;
}
