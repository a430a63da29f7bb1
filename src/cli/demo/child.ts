/**
 * A process of the demo, as it speaks with its parent.
 *
 * @module
 */

/** What the parent says first. From then on the process ends when the parent does, however that came about. */
export function orders<T>(): Promise<T> {
  process.on('disconnect', () => process.exit());
  // Ctrl-C reaches every process of the terminal; the parent decides what it means.
  process.on('SIGINT', () => {});
  return new Promise((resolve) => process.once('message', (message) => resolve(message as T)));
}

/** Tells the parent that the work has begun. */
export function say(ready: { port: number }): void {
  process.send?.(ready);
}
