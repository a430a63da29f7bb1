import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { DemoCgroups } from './cgroups.js';
import { LOAD, type LoadOrders, SERVICES, type ServiceOrders } from './plan.js';

/** The processes of the demo. When one of them ends by itself, `failed` rejects. */
export class DemoProcesses implements AsyncDisposable {
  readonly #cgroups: DemoCgroups;
  readonly #children = new Map<string, ChildProcess>();
  #fail: (reason: Error) => void = () => {};
  /** Never resolves. */
  readonly failed = new Promise<never>((_, reject) => {
    this.#fail = reject;
  });

  constructor(cgroups: DemoCgroups) {
    this.#cgroups = cgroups;
    // Whoever waits for something else meanwhile asks for it later.
    this.failed.catch(() => {});
  }

  /** Starts the services, each when those it asks are there, and then the load. */
  async start(): Promise<void> {
    const urls = new Map<string, string>();
    for (const { name, calls, ...schedule } of SERVICES) {
      const orders: ServiceOrders = { ...schedule, calls: calls.map((called) => urls.get(called) ?? '') };
      urls.set(name, `http://127.0.0.1:${await this.#spawn(name, 'service.js', orders)}/`);
    }
    const orders: LoadOrders = { url: urls.get(LOAD.calls) ?? '', perSecond: LOAD.perSecond };
    await this.#spawn(LOAD.name, 'load.js', orders);
  }

  /** The port that the process listens at, once it does. */
  async #spawn(name: string, script: string, orders: object): Promise<number> {
    const child = fork(new URL(script, import.meta.url), {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#children.set(name, child);
    child.on('error', (error) => this.#fail(error));
    child.on('exit', (code, signal) => {
      if (this.#children.delete(name))
        this.#fail(new Error(`${name} ended: ${signal ?? `exit code ${code}`}`));
    });
    this.#cgroups.move(child.pid as number, name);
    child.send(orders);
    const [{ port }] = (await Promise.race([once(child, 'message'), this.failed])) as [{ port: number }];
    return port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const children = [...this.#children.values()];
    // From here on an end is no failure.
    this.#children.clear();
    await Promise.all(
      children.map(async (child) => {
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      }),
    );
  }
}
