/** So long after the first signal another is the same one: npm passes on to its child what a terminal has sent to both. */
const ECHO = 1000;

/**
 * Aborts at SIGINT, SIGTERM or SIGHUP, with the signal's name as the reason. Whoever sends another, a second later or
 * more, does not want to wait for the end: then the process ends as if nobody had listened.
 */
export function untilSignal(): AbortSignal {
  const stop = new AbortController();
  let stopped = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const listener = () => {
      if (!stop.signal.aborted) {
        stopped = performance.now();
        stop.abort(name);
      } else if (performance.now() - stopped > ECHO) {
        process.off(name, listener);
        process.kill(process.pid, name);
      }
    };
    process.on(name, listener);
  }
  return stop.signal;
}
