/**
 * Where functions lie in an executable or a shared library: its symbols, as far as they were not stripped.
 *
 * @module
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** Sizes and places in a 64-bit ELF file, little-endian: elf(5), `Elf64_Ehdr`, `Elf64_Phdr`, `Elf64_Shdr`, `Elf64_Sym`. */
const MAGIC = 0x464c457f;
const CLASS_64_LITTLE = 0x0102;
const HEADER = 64;
const SEGMENT = 56;
const SECTION = 64;
const SYMBOL = 24;
const LOAD = 1;
const SYMTAB = 2;
const DYNSYM = 11;
const FUNCTION = 2;
const UNDEFINED = 0;

interface Segment {
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

/**
 * The functions of those names that a file has, with their offsets in the file, as probes want them. None of a file that
 * is not 64-bit ELF. What it exports comes first; what was kept for
 * debuggers is looked at if that is nothing.
 *
 * @throws what reading the file throws
 */
export function functionsOf(file: string, names: readonly string[]): ReadonlyMap<string, number> {
  const fd = openSync(file, 'r');
  try {
    return find(fd, new Set(names));
  } finally {
    closeSync(fd);
  }
}

function find(fd: number, names: ReadonlySet<string>): Map<string, number> {
  const found = new Map<string, number>();
  const header = read(fd, 0, HEADER);
  if (
    header.length < HEADER ||
    header.readUInt32LE(0) !== MAGIC ||
    header.readUInt16LE(4) !== CLASS_64_LITTLE
  )
    return found;
  const segments = table(fd, header, { at: 32, size: 54, entry: SEGMENT })
    .filter((entry) => entry.readUInt32LE(0) === LOAD)
    .map((entry): Segment => ({ offset: word(entry, 8), address: word(entry, 16), size: word(entry, 32) }));
  const sections = table(fd, header, { at: 40, size: 58, entry: SECTION });
  for (const kind of [DYNSYM, SYMTAB]) {
    const section = sections.find((one) => one.readUInt32LE(4) === kind);
    const strings = section && sections[section.readUInt32LE(40)];
    if (!strings) continue;
    for (const [name, address] of functionsIn(contents(fd, section), contents(fd, strings), names)) {
      const segment = segments.find((one) => address >= one.address && address < one.address + one.size);
      if (segment) found.set(name, address - segment.address + segment.offset);
    }
    if (found.size > 0) break;
  }
  return found;
}

/** Names and addresses. Most files have none of these functions, and some have a hundred thousand others. */
function functionsIn(symbols: Buffer, text: Buffer, names: ReadonlySet<string>): Map<string, number> {
  const found = new Map<string, number>();
  if (![...names].some((name) => text.includes(`${name}\0`))) return found;
  const initials = new Set([...names].map((name) => name.charCodeAt(0)));
  for (let at = 0; at + SYMBOL <= symbols.length; at += SYMBOL) {
    const start = symbols.readUInt32LE(at);
    if (!initials.has(text[start]!) || (symbols[at + 4]! & 15) !== FUNCTION) continue;
    const name = text.toString('latin1', start, text.indexOf(0, start));
    if (names.has(name) && symbols.readUInt16LE(at + 6) !== UNDEFINED) found.set(name, word(symbols, at + 8));
  }
  return found;
}

/** Entries of the table that the header tells of: where it begins, their size and number. */
function table(fd: number, header: Buffer, place: { at: number; size: number; entry: number }): Buffer[] {
  const { at, size, entry } = place;
  if (header.readUInt16LE(size) !== entry) return [];
  const bytes = read(fd, word(header, at), entry * header.readUInt16LE(size + 2));
  return Array.from({ length: Math.floor(bytes.length / entry) }, (_, i) =>
    bytes.subarray(i * entry, (i + 1) * entry),
  );
}

/** A symbol table may say anything of its size; this is more than any has. */
const MOST = 256 * 2 ** 20;

const contents = (fd: number, section: Buffer) =>
  read(fd, word(section, 24), Math.min(word(section, 32), MOST));

const word = (bytes: Buffer, at: number) => Number(bytes.readBigUInt64LE(at));

function read(fd: number, position: number, length: number): Buffer {
  if (!Number.isSafeInteger(position)) return Buffer.alloc(0);
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, position));
}
