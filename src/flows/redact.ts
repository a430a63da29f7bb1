/**
 * What of a request must not be shown: what may be a secret, or a person.
 *
 * @module
 */
import type { Flow, Http } from './flow.js';
import { httpSummary } from './words.js';

export interface Redaction {
  /** Query strings, and names and passwords in URLs. @default true */
  query?: boolean;
  /** Segments of paths that look like an id become `{id}`. @default true */
  ids?: boolean;
  /** Values of headers, but for those that say nothing of anybody. @default true */
  headers?: boolean;
}

/** Takes out of a flow what must not be shown. */
export function redactor({ query = true, ids = true, headers = true }: Redaction = {}): (flow: Flow) => Flow {
  return (flow) => {
    const { l7 } = flow;
    if (!l7?.http) return flow;
    const http = redactHttp(l7.http, { query, ids, headers });
    if (http === l7.http) return flow;
    const redacted = { ...l7, http };
    // The line for people has the URL in it.
    return { ...flow, l7: redacted, summary: flow.summary === '' ? '' : httpSummary(redacted) };
  };
}

/** What a proxy needs, and no more. */
const HARMLESS = new Set([
  ...['content-length', 'content-type', 'traceparent', 'x-request-id', 'server', 'date'],
  ...['x-envoy-upstream-service-time', ':status', ':method', ':failure', 'grpc-status'],
]);

function redactHttp(http: Http, { query, ids, headers }: Required<Redaction>): Http {
  const url = redactUrl(http.url, { query, ids });
  const secret = headers && http.headers.some(({ key }) => !HARMLESS.has(key.toLowerCase()));
  if (url === http.url && !secret) return http;
  const masked = http.headers.map((header) =>
    HARMLESS.has(header.key.toLowerCase()) ? header : { ...header, value: '***' },
  );
  return { ...http, url, headers: secret ? masked : http.headers };
}

/** A URL, or a path: `http://host/details/42?user=jo` becomes `http://host/details/{id}`. */
export function redactUrl(url: string, { query = true, ids = true }: Redaction = {}): string {
  const [, front = '', path = '', behind = ''] =
    /^((?:[a-z][a-z0-9+.-]*:)?(?:\/\/[^/?#]*)?)([^?#]*)(.*)$/is.exec(url) ?? [];
  const host = query ? front.replace(/\/\/.*@/s, '//') : front;
  return `${host}${ids ? path.split('/').map(maskId).join('/') : path}${query ? '' : behind}`;
}

/** What was cut off ends in an ellipsis, and may be a part of an id. */
const maskId = (segment: string) =>
  segment.endsWith('\u2026') ? '\u2026' : looksLikeId(segment) ? '{id}' : segment;

/**
 * A number, a UUID, eight or more hexadecimal digits, twenty or more letters mixed with digits, an e-mail address. Words,
 * versions (`v1`) and names with a few digits in them are no ids.
 */
function looksLikeId(segment: string): boolean {
  if (/^\d+$/.test(segment)) return true;
  if (!/\d/.test(segment)) return segment.includes('@') || /%40/.test(segment);
  return (
    /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(segment) ||
    /^[0-9a-f]{8,}$/i.test(segment) ||
    /^(?=.*[a-z])[\w.~=-]{20,}$/i.test(segment) ||
    /@|%40/.test(segment)
  );
}
