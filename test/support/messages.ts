/**
 * HTTP/1 messages for scripted peers, and the ways to cut them.
 *
 * @module
 */

export const GET = 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n';
export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

export const request = (method: string, ...headers: string[]): string =>
  `${[`${method} /a HTTP/1.1`, 'Host: a', ...headers].join('\r\n')}\r\n\r\n`;

export const answer = (status: number, ...headers: string[]): string =>
  `${[`HTTP/1.1 ${status} Reason`, ...headers].join('\r\n')}\r\n\r\n`;

/** A body in chunks of these texts. */
export const chunked = (...texts: string[]): string =>
  [...texts, ''].map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('');

/** Every way to cut a text in two. */
export const cuts = (text: string): [string, string][] =>
  Array.from({ length: text.length - 1 }, (_, i) => [text.slice(0, i + 1), text.slice(i + 1)]);

/** One byte each. */
export const bytesOf = (text: string): string[] => text.split('');
