/**
 * Which library a file is, and where its functions are.
 *
 * @module
 */
import { statSync } from 'node:fs';
import { functionsOf } from '../../bpf/elf.js';
import { MeshtapError } from '../../errors.js';
import { gnutls } from './gnutls.js';
import type { LibraryProbe, TlsLibrary } from './library.js';
import { openssl } from './openssl.js';
import type { MappedFile } from './processes.js';

const LIBRARIES: readonly TlsLibrary[] = [openssl, gnutls];

/** A probe, and where in the file it is to be set. */
export interface PlacedProbe extends LibraryProbe {
  readonly offset: number;
}

type Functions = ReadonlyMap<string, number>;

/** Files that were looked into and may be met again: every program that ever ran here is one. */
const MOST = 512;
const looked = new Map<string, Functions>();

/**
 * The probes for a file that a process has mapped; undefined if it is none of the libraries.
 *
 * @throws MeshtapError `NOT_SUPPORTED` if it is one of them, but lacks what is needed; and what reading the file throws
 */
export function probesFor({ path, here }: MappedFile, isExecutable: boolean): PlacedProbe[] | undefined {
  const library =
    LIBRARIES.find((one) => one.matches(path)) ??
    (isExecutable ? LIBRARIES.find((one) => functionsIn(here, one).size > 0) : undefined);
  if (!library) return undefined;
  const functions = functionsIn(here, library);
  const missing = library.probes.find(({ symbol, optional }) => !optional && !functions.has(symbol));
  if (missing)
    throw new MeshtapError('NOT_SUPPORTED', `${path} has no ${missing.symbol} that could be found`);
  return library.probes
    .filter(({ symbol }) => functions.has(symbol))
    .map((probe) => ({ ...probe, offset: functions.get(probe.symbol)! }));
}

function functionsIn(file: string, library: TlsLibrary): Functions {
  const { dev, ino, size, mtimeMs } = statSync(file);
  const key = [library.name, dev, ino, size, mtimeMs].join(':');
  let functions = looked.get(key);
  if (!functions) {
    functions = functionsOf(file, [...new Set(library.probes.map(({ symbol }) => symbol))]);
    if (looked.size >= MOST) looked.delete(looked.keys().next().value!);
    looked.set(key, functions);
  }
  return functions;
}
