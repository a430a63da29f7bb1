/**
 * The normal form of paths, in which patterns see them. After RFC 3986, 6.2.2, stricter where servers are known to
 * differ. `docs/routes.md` says it for users; `path-symbols.ts` has the same as a part of the automaton.
 *
 * @module
 */

/** Letters and digits, `-`, `.`, `_`, `~` (RFC 3986, 2.3): the same whether percent-encoded or not. */
export const isUnreserved = (byte: number): boolean => /[A-Za-z0-9._~-]/.test(String.fromCharCode(byte));

/** Bytes that stand in no path, encoded or not: NUL, and what UTF-8 never has (RFC 3629), such as in an overlong `/`. */
export const isNeverInPath = (byte: number): boolean =>
  byte === 0 || byte === 0xc0 || byte === 0xc1 || byte >= 0xf5;

/** Bytes that stand in no path as they are: controls, space, `#`, `\`. `?` ends the path, `%` begins another byte. */
export const isNeverRaw = (byte: number): boolean =>
  byte <= 0x20 || byte === 0x7f || byte === 0x23 || byte === 0x5c;

/** `%2F` */
export const escaped = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;

/**
 * The path of a request target in normal form; undefined where no two servers need agree on what it means, so that
 * nobody should be let in for it.
 * @param target as in the request, one character for each byte
 */
export function normalisePath(target: string): string | undefined {
  const path = pathOf(target);
  if (path === undefined) return undefined;
  let normal = '';
  for (let i = 0; i < path.length; i++) {
    let byte = path.charCodeAt(i);
    if (byte === 0x25) {
      const digits = path.slice(i + 1, i + 3);
      if (!/^[0-9a-fA-F]{2}$/.test(digits)) return undefined;
      byte = Number.parseInt(digits, 16);
      i += 2;
      if (isNeverInPath(byte)) return undefined;
      normal += isUnreserved(byte) ? String.fromCharCode(byte) : escaped(byte);
    } else if (isNeverRaw(byte) || isNeverInPath(byte)) {
      return undefined;
    } else if (byte >= 0x80) {
      normal += escaped(byte);
    } else if (byte !== 0x2f || !normal.endsWith('/')) {
      normal += path[i];
    }
  }
  return hasDotSegment(normal) ? undefined : normal;
}

/** What is before the query; of an absolute-form (RFC 9112, 3.2.2) what is behind the authority. */
function pathOf(target: string): string | undefined {
  const [before = ''] = target.split('?', 1);
  if (before.startsWith('/')) return before;
  const absolute = /^https?:\/\/[^\0-\x20/?#@\\\x7f-\xff]+(\/.*)?$/is.exec(before);
  return absolute ? absolute[1] || '/' : undefined;
}

/** `.` and `..`, also where a server might see a slash in `%2F` or `%5C`, or cut a segment at its `;`. */
function hasDotSegment(normal: string): boolean {
  return normal.split(/\/|%2F|%5C/).some((segment) => /^\.\.?(;|%3B|$)/.test(segment));
}
