import type { TlsProgram } from '../../bpf/inside-tls.js';

/** A function of the library, and what runs there. */
export interface LibraryProbe {
  readonly symbol: string;
  readonly program: TlsProgram;
  /** @default false: when it is called */
  readonly atReturn?: boolean;
  /** Not every version has it. @default false */
  readonly optional?: boolean;
}

/** A TLS library whose plaintext can be read. One file per library in this folder. */
export interface TlsLibrary {
  /** One word; also the file's name. */
  readonly name: string;
  /** Whether a file that a process has mapped, by its absolute path, is this library. It may be in executables, too. */
  matches(file: string): boolean;
  /** All of them but the optional ones, or bytes would pass unseen. */
  readonly probes: readonly LibraryProbe[];
}
