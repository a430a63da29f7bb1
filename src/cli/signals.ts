/** Aborts at SIGINT, SIGTERM or SIGHUP, with the signal's name as the reason. A second one is not waited for. */
export function untilSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stop.abort(name));
  return stop.signal;
}
