/** Closes all, last one first, each even if another fails. Rejects with the first failure when all are closed. */
export async function disposeAll(opened: readonly AsyncDisposable[]): Promise<void> {
  const failures: unknown[] = [];
  for (const one of opened.toReversed()) {
    try {
      await one[Symbol.asyncDispose]();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
