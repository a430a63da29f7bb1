/**
 * Load generators, and what they say they did. All are bounded in count or time.
 *
 * @module
 */
import type { Scope } from './scope.js';

export interface LoadOptions {
  readonly urls: readonly string[];
  readonly requests: number;
  readonly connections: number;
  /** Requests a second over each connection; h2load only. @default as many as it can */
  readonly rate?: number;
  /** Over HTTP/2, with so many streams open at a time on each connection; h2load only. @default HTTP/1.1 */
  readonly streams?: number;
  /** @default 'client' */
  readonly service?: string;
  readonly netns?: string | undefined;
}

/** Answers by the first digit of their status, as `2xx`. */
export type Classes = Record<'2xx' | '3xx' | '4xx' | '5xx', number>;

/** h2load, over connections kept alive; it takes turns among the URLs, which share host and port. */
export async function h2load(scope: Scope, options: LoadOptions): Promise<Classes> {
  const { urls, requests, connections, rate, streams, service = 'client', netns } = options;
  const protocol = streams === undefined ? ['--h1'] : ['-m', streams];
  const bounds = [...protocol, '-n', requests, '-c', connections, '-t', Math.min(2, connections)].map(String);
  if (rate !== undefined) bounds.push(`--rps=${rate}`);
  const headers = ['-H', ':authority: test']; // its own is malformed where the address is of IPv6
  const { stdout, stderr } = await scope.run(service, ['h2load', ...bounds, ...headers, ...urls], { netns });
  const done = find(stdout, /(\d+) done, \d+ succeeded, \d+ failed, 0 errored, 0 timeout/, stderr);
  if (done[0] !== requests) throw new Error(`h2load has ${done[0]} of ${requests} answers`);
  const [ok, moved, wrong, failed] = find(stdout, /(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/, stderr);
  return { '2xx': ok!, '3xx': moved!, '4xx': wrong!, '5xx': failed! };
}

/** ApacheBench, HTTP/1.0, to one URL. It knows 2xx and others. */
export async function ab(
  scope: Scope,
  { urls, requests, connections, service = 'client', netns, keepAlive }: LoadOptions & { keepAlive: boolean },
): Promise<{ ok: number; other: number }> {
  const bounds = ['-q', '-n', requests, '-c', connections].map(String);
  const command = ['ab', ...bounds, ...(keepAlive ? ['-k'] : []), urls[0]!];
  const { stdout, stderr } = await scope.run(service, command, { netns });
  const [complete] = find(stdout, /Complete requests: +(\d+)/, stderr);
  const other = /Non-2xx responses: +(\d+)/.exec(stdout);
  const non2xx = other ? Number(other[1]) : 0;
  return { ok: complete! - non2xx, other: non2xx };
}

/** wrk, as fast as it can for a time. When it is over it leaves at most one request per connection unfinished. */
export async function wrk(
  scope: Scope,
  { url, seconds, connections }: { url: string; seconds: number; connections: number },
): Promise<number> {
  const bounds = [`-d${seconds}s`, `-c${connections}`, '-t2'];
  const { stdout, stderr } = await scope.run('client', ['wrk', ...bounds, url]);
  return find(stdout, /(\d+) requests in/, stderr)[0]!;
}

/** curl's own measurements of one request, seconds. */
export async function curl(
  scope: Scope,
  ...args: string[]
): Promise<{ status: number; total: number; firstByte: number; connected: number }> {
  const format = '%{http_code} %{time_total} %{time_starttransfer} %{time_connect}';
  const { stdout, stderr, status } = await scope.run('client', [
    ...['curl', '-sS', '--noproxy', '*', '-o', '/dev/null', '-w', format],
    ...args,
  ]);
  if (status !== 0) throw new Error(`curl ended with ${status}: ${stderr}`);
  const [code, total, firstByte, connected] = stdout.split(' ').map(Number);
  return { status: code!, total: total!, firstByte: firstByte!, connected: connected! };
}

function find(output: string, pattern: RegExp, complaints: string): number[] {
  const match = pattern.exec(output);
  if (!match) throw new Error(`no ${pattern} in the report:\n${output}\n${complaints}`);
  return match.slice(1).map(Number);
}
