/**
 * What came of DNS lookups, in words, the same for all dialects.
 *
 * @module
 */
import type { DnsCounts } from '../receivers/counts.js';

/** By number: mnemonic and description, of IANA's registry "DNS RCODEs" and of RFC 1035 4.1.1. */
const CODES: readonly (readonly [name: string, words: string])[] = [
  ['NOERROR', 'No Error'],
  ['FORMERR', 'Format Error'],
  ['SERVFAIL', 'Server Failure'],
  ['NXDOMAIN', 'Non-Existent Domain'],
  ['NOTIMP', 'Not Implemented'],
  ['REFUSED', 'Query Refused'],
  ['YXDOMAIN', 'Name Exists when it should not'],
  ['YXRRSET', 'RR Set Exists when it should not'],
  ['NXRRSET', 'RR Set that should exist does not'],
  ['NOTAUTH', 'Server Not Authoritative for zone'],
  ['NOTZONE', 'Name not contained in zone'],
];

/** `NXDOMAIN`; the number where there is no name. */
export const codeName = (code: number): string => CODES[code]?.[0] ?? String(code);

/** `Non-Existent Domain`, as Hubble has it. */
export const codeWords = (code: number): string => CODES[code]?.[1] ?? String(code);

/** `error.type` of an answer: the name of its code; undefined for one that is no error. */
export const lookupError = ({ code }: DnsCounts): string | undefined =>
  code === undefined || code === 0 ? undefined : codeName(code);
