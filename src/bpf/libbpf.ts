import koffi, { type KoffiFunc, type TypeObject } from 'koffi';
import { MeshtapError } from '../errors.js';

/** The address of something that libbpf owns. */
export type Pointer = bigint;
/** Memory handed to a call; libbpf and the kernel are done with it when the call returns. */
export type Memory = Uint8Array | Uint32Array | BigUint64Array;

/**
 * The part of libbpf that meshtap uses, under its own names: bpf.h, libbpf.h and btf.h of libbpf 1.1. Functions
 * that return an int return -errno on failure; those that return a pointer, `null` with errno set.
 */
export interface Libbpf {
  libbpf_num_possible_cpus(): number;
  libbpf_set_print(print: Pointer | null): Pointer | null;
  libbpf_find_vmlinux_btf_id(name: string, attachType: number): number;

  bpf_object__open_file(path: string, options: null): Pointer | null;
  bpf_object__load(object: Pointer): number;
  bpf_object__close(object: Pointer): void;
  bpf_object__btf(object: Pointer): Pointer | null;
  bpf_object__next_map(object: Pointer, previous: Pointer | null): Pointer | null;
  bpf_object__next_program(object: Pointer, previous: Pointer | null): Pointer | null;
  bpf_object__find_map_by_name(object: Pointer, name: string): Pointer | null;

  bpf_map__name(map: Pointer): string;
  bpf_map__fd(map: Pointer): number;
  bpf_map__is_internal(map: Pointer): boolean;
  bpf_map__set_max_entries(map: Pointer, entries: number): number;
  bpf_map__reuse_fd(map: Pointer, fd: number): number;
  bpf_map__initial_value(map: Pointer, size: BigUint64Array): Pointer | null;

  bpf_program__name(program: Pointer): string;
  bpf_program__fd(program: Pointer): number;
  bpf_program__expected_attach_type(program: Pointer): number;
  bpf_program__attach_uprobe_opts(
    program: Pointer,
    pid: number,
    file: string,
    offset: number,
    options: UprobeOptions,
  ): Pointer | null;
  bpf_link__destroy(link: Pointer): number;

  btf__find_by_name_kind(btf: Pointer, name: string, kind: number): number;
  btf__type_by_id(btf: Pointer, id: number): Pointer | null;
  btf__name_by_offset(btf: Pointer, offset: number): string | null;

  bpf_map_create(
    type: number,
    name: string | null,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    options: Memory | null,
  ): number;
  bpf_map_lookup_elem(fd: number, key: Memory | null, value: Memory): number;
  bpf_map_update_elem(fd: number, key: Memory | null, value: Memory, flags: number): number;
  bpf_map_delete_elem(fd: number, key: Memory): number;
  bpf_map_lookup_and_delete_elem(fd: number, key: Memory | null, value: Memory): number;
  bpf_map_get_next_key(fd: number, previous: Memory | null, next: Memory): number;
  bpf_map_lookup_batch(
    fd: number,
    from: Memory | null,
    next: Memory,
    keys: Memory,
    values: Memory,
    count: Uint32Array,
    options: null,
  ): number;

  ring_buffer__new(fd: number, sample: unknown, context: null, options: null): Pointer | null;
  ring_buffer__consume(ring: Pointer): number;
  ring_buffer__free(ring: Pointer): void;

  bpf_prog_load(
    type: number,
    name: string | null,
    license: string,
    instructions: Memory,
    count: number,
    options: ProgramLoadOptions,
  ): number;
  bpf_prog_test_run_opts(program: number, options: TestRunOptions): number;
  bpf_btf_load(btf: Memory, size: number, options: null): number;
  bpf_link_create(program: number, target: number, attachType: number, options: null): number;
  bpf_link_update(link: number, program: number, options: null): number;
  bpf_obj_pin(fd: number, path: string): number;
  bpf_obj_get(path: string): number;
  bpf_obj_get_info_by_fd(fd: number, info: Memory, size: Uint32Array): number;
}

/** `struct bpf_prog_load_opts`, as far as it is used here. */
export interface ProgramLoadOptions {
  sz: number;
  attempts: number;
  expected_attach_type: number;
  attach_btf_id: number;
  log_level: number;
  log_size: number;
  log_buf: Memory;
}

/** `struct bpf_uprobe_opts` of libbpf.h, as libbpf 1.1 has it. */
export interface UprobeOptions {
  sz: number;
  retprobe: boolean;
}

const uprobeOptions = koffi.struct({
  sz: 'size_t',
  ref_ctr_offset: 'size_t',
  bpf_cookie: 'uint64_t',
  retprobe: 'bool',
  func_name: 'const char *',
});
/** What `UprobeOptions.sz` has to say. */
export const UPROBE_OPTIONS_SIZE: number = koffi.sizeof(uprobeOptions);

/** `struct bpf_test_run_opts` of bpf.h, as far as it is used here. */
export interface TestRunOptions {
  sz: number;
  ctx_in: Memory;
  ctx_size_in: number;
}

const testRunOptions = koffi.struct({
  sz: 'size_t',
  data_in: 'void *',
  data_out: 'void *',
  data_size_in: 'uint32_t',
  data_size_out: 'uint32_t',
  ctx_in: 'void *',
  ctx_out: 'void *',
  ctx_size_in: 'uint32_t',
  ctx_size_out: 'uint32_t',
  retval: 'uint32_t',
  repeat: 'int',
  duration: 'uint32_t',
  flags: 'uint32_t',
  cpu: 'uint32_t',
  batch_size: 'uint32_t',
});
/** What `TestRunOptions.sz` has to say. */
export const TEST_RUN_OPTIONS_SIZE: number = koffi.sizeof(testRunOptions);

const options = koffi.struct({
  sz: 'size_t',
  attempts: 'int',
  expected_attach_type: 'int',
  prog_btf_fd: 'uint32_t',
  prog_flags: 'uint32_t',
  prog_ifindex: 'uint32_t',
  kern_version: 'uint32_t',
  attach_btf_id: 'uint32_t',
  attach_prog_fd: 'uint32_t',
  attach_btf_obj_fd: 'uint32_t',
  fd_array: 'void *',
  func_info: 'void *',
  func_info_cnt: 'uint32_t',
  func_info_rec_size: 'uint32_t',
  line_info: 'void *',
  line_info_cnt: 'uint32_t',
  line_info_rec_size: 'uint32_t',
  log_level: 'uint32_t',
  log_size: 'uint32_t',
  log_buf: 'void *',
});
/** What `ProgramLoadOptions.sz` has to say. */
export const PROGRAM_LOAD_OPTIONS_SIZE: number = koffi.sizeof(options);

const pointer = 'void *';
const object = pointer;
const map = pointer;
const program = pointer;
const btf = pointer;

/** Result and arguments of each function. */
const signatures: Record<keyof Libbpf, [result: string, parameters: (string | TypeObject)[]]> = {
  libbpf_num_possible_cpus: ['int', []],
  libbpf_set_print: [pointer, [pointer]],
  libbpf_find_vmlinux_btf_id: ['int', ['string', 'int']],

  bpf_object__open_file: [object, ['string', pointer]],
  bpf_object__load: ['int', [object]],
  bpf_object__close: ['void', [object]],
  bpf_object__btf: [btf, [object]],
  bpf_object__next_map: [map, [object, map]],
  bpf_object__next_program: [program, [object, program]],
  bpf_object__find_map_by_name: [map, [object, 'string']],

  bpf_map__name: ['string', [map]],
  bpf_map__fd: ['int', [map]],
  bpf_map__is_internal: ['bool', [map]],
  bpf_map__set_max_entries: ['int', [map, 'uint32_t']],
  bpf_map__reuse_fd: ['int', [map, 'int']],
  bpf_map__initial_value: [pointer, [map, pointer]],

  bpf_program__name: ['string', [program]],
  bpf_program__fd: ['int', [program]],
  bpf_program__expected_attach_type: ['int', [program]],
  bpf_program__attach_uprobe_opts: [
    pointer,
    [program, 'int', 'string', 'size_t', koffi.pointer(uprobeOptions)],
  ],
  bpf_link__destroy: ['int', [pointer]],

  btf__find_by_name_kind: ['int', [btf, 'string', 'uint32_t']],
  btf__type_by_id: [pointer, [btf, 'uint32_t']],
  btf__name_by_offset: ['string', [btf, 'uint32_t']],

  bpf_map_create: ['int', ['int', 'string', 'uint32_t', 'uint32_t', 'uint32_t', pointer]],
  bpf_map_lookup_elem: ['int', ['int', pointer, pointer]],
  bpf_map_update_elem: ['int', ['int', pointer, pointer, 'uint64_t']],
  bpf_map_delete_elem: ['int', ['int', pointer]],
  bpf_map_lookup_and_delete_elem: ['int', ['int', pointer, pointer]],
  bpf_map_get_next_key: ['int', ['int', pointer, pointer]],
  bpf_map_lookup_batch: ['int', ['int', pointer, pointer, pointer, pointer, pointer, pointer]],

  ring_buffer__new: [pointer, ['int', pointer, pointer, pointer]],
  ring_buffer__consume: ['int', [pointer]],
  ring_buffer__free: ['void', [pointer]],

  bpf_prog_load: ['int', ['int', 'string', 'string', pointer, 'size_t', koffi.pointer(options)]],
  bpf_prog_test_run_opts: ['int', ['int', koffi.pointer(testRunOptions)]],
  bpf_btf_load: ['int', [pointer, 'size_t', pointer]],
  bpf_link_create: ['int', ['int', 'int', 'int', pointer]],
  bpf_link_update: ['int', ['int', 'int', pointer]],
  bpf_obj_pin: ['int', ['int', 'string']],
  bpf_obj_get: ['int', ['string']],
  bpf_obj_get_info_by_fd: ['int', ['int', pointer, pointer]],
};

let loaded: Libbpf | undefined;

/**
 * The system's libbpf, loaded at the first call. The environment variable `MESHTAP_LIBBPF` names another file.
 *
 * @throws MeshtapError `LIBBPF_MISSING` if there is none, or one older than 1.0.
 */
export function libbpf(): Libbpf {
  loaded ??= load(process.env.MESHTAP_LIBBPF || 'libbpf.so.1');
  return loaded;
}

function load(file: string): Libbpf {
  try {
    const library = koffi.load(file);
    const bindings = Object.entries(signatures).map(([name, [result, parameters]]) => [
      name,
      library.func(name, result, parameters),
    ]);
    const functions = Object.fromEntries(bindings) as Libbpf;
    functions.libbpf_set_print(null); // a library does not write to standard error
    return functions;
  } catch (cause) {
    throw new MeshtapError('LIBBPF_MISSING', `libbpf can not be loaded from ${file}`, {
      hint: 'Install it: apt-get install libbpf1 (Debian, Ubuntu), dnf install libbpf (Fedora), apk add libbpf (Alpine)',
      cause,
    });
  }
}

/** errno of the last call that returned `null`. */
export const errno = (): number => koffi.errno();

/** Four bytes of what libbpf owns, in the machine's order. */
export const uint32At = (address: Pointer): number => koffi.decode.uint32(address);

/** A window on memory that libbpf owns; valid as long as libbpf keeps it. */
export const memoryAt = (address: Pointer, bytes: number): Uint8Array =>
  new Uint8Array(koffi.view(address, bytes));

/** `libbpf_print_fn_t` of libbpf.h: level, format, va_list. */
const printType = koffi.proto('int', ['int', pointer, pointer]);
/** LIBBPF_INFO; above it is debugging. */
const WARNINGS_AND_INFO = 1;
/** Enough for `va_list` on every architecture: 24 bytes on x86-64, 32 on arm64. */
const VA_LIST_BYTES = 32;

/** What a call returned, and what libbpf had to say meanwhile. */
export interface Logged<T> {
  readonly result: T;
  readonly log: string;
}

/** Opens an object file; `null` if it is none. */
export const openLogged = (path: string): Promise<Logged<Pointer | null>> =>
  withLog(async (functions) => functions.bpf_object__open_file(path, null));

/** Loads an object in another thread, because a verifier can take seconds; 0 or -errno. */
export const loadLogged = (object: Pointer): Promise<Logged<number>> =>
  withLog(
    ({ bpf_object__load }) =>
      new Promise((resolve, reject) => {
        const load = bpf_object__load as KoffiFunc<typeof bpf_object__load>;
        load.async(object, (error, result) => (error ? reject(error) : resolve(result)));
      }),
  );

/**
 * Ends a link in another thread, because the kernel waits until nobody runs the program any more: about 100 ms at a
 * function of an application.
 */
export const destroyLink = (link: Pointer): Promise<number> =>
  new Promise((resolve, reject) => {
    const destroy = libbpf().bpf_link__destroy as KoffiFunc<Libbpf['bpf_link__destroy']>;
    destroy.async(link, (error, result) => (error ? reject(error) : resolve(result)));
  });

/** libbpf has one printer for the whole process, so that calls with a log wait for each other. */
let lastLogged: Promise<unknown> = Promise.resolve();

async function withLog<T>(call: (libbpf: Libbpf) => Promise<T>): Promise<Logged<T>> {
  const mine = lastLogged.then(() => capture(call));
  lastLogged = mine.catch(() => {}); // told to whoever asked for it
  return mine;
}

async function capture<T>(call: (libbpf: Libbpf) => Promise<T>): Promise<Logged<T>> {
  const functions = libbpf();
  const vsnprintf = koffi.load(null).func('vsnprintf', 'int', [pointer, 'size_t', pointer, pointer]);
  let log = '';
  const print = koffi.register((level: number, format: Pointer, values: Pointer) => {
    if (level > WARNINGS_AND_INFO) return 0;
    // Formatting uses a va_list up, and the length is not known before: measure with a copy.
    const copy = memoryAt(values, VA_LIST_BYTES).slice();
    const text = Buffer.alloc(vsnprintf(null, 0, format, copy) + 1);
    vsnprintf(text, text.length, format, values);
    log += text.toString('utf8', 0, text.length - 1);
    return 0;
  }, koffi.pointer(printType));
  functions.libbpf_set_print(print);
  try {
    return { result: await call(functions), log };
  } finally {
    functions.libbpf_set_print(null);
    koffi.unregister(print);
  }
}

/** LOCK_EX | LOCK_NB of sys/file.h. */
const LOCK_EXCLUSIVE_NOW = 2 | 4;

/** Takes the lock (flock) of an open file or directory if nobody has it; it goes with the file descriptor. */
export function tryLock(fd: number): boolean {
  const flock = koffi.load(null).func('flock', 'int', ['int', 'int']);
  return flock(fd, LOCK_EXCLUSIVE_NOW) === 0;
}
