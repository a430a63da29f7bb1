import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

const MAIN = join(import.meta.dirname, '../../dist/cli/main.js');

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** This process' environment without settings of meshtap and colours, and with these. */
const environment = (more: Record<string, string> = {}): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MESHTAP_'))),
  NO_COLOR: '1',
  ...more,
});

export interface MeshtapOptions {
  env?: Record<string, string>;
  /** Another copy of the program. @default the built one */
  main?: string;
  /** A command that runs it, such as one that enters a namespace; it has to keep the process id. @default none */
  within?: readonly string[];
  /** User to run as. @default this one */
  uid?: number;
}

/** Runs the built `meshtap` to its end. */
export function meshtap(
  args: readonly string[],
  { env, main = MAIN, uid }: MeshtapOptions = {},
): Promise<Result> {
  return new Promise((resolve) => {
    const options = { env: environment(env), ...(uid !== undefined && { uid, gid: uid }) };
    const child = execFile(process.execPath, [main, ...args], options, (_, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
    child.stdin?.end();
  });
}

/** Starts the built `meshtap`; it is killed at the end of the test if it still runs then. */
export function startMeshtap(
  args: readonly string[],
  { env, main = MAIN, within = [] }: MeshtapOptions = {},
): Running {
  const [command, ...rest] = [...within, process.execPath, main, ...args];
  const child = spawn(command!, rest, {
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const running = new Running(child);
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await running.ended;
  });
  return running;
}

export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Result & { signal: NodeJS.Signals | null }>;
  stdout = '';
  stderr = '';

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = once(child, 'close').then(([code, signal]) => ({
      code,
      signal,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Waits for a pattern on stdout or stderr; rejects if the process ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const outputs = [this.child.stdout!, this.child.stderr!];
      const look = () => {
        const found = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
        if (!found) return;
        for (const output of outputs) output.off('data', look);
        resolve(found);
      };
      for (const output of outputs) output.on('data', look);
      look();
      this.ended.then(({ code, signal, stdout, stderr }) =>
        reject(new Error(`ended (${signal ?? code}) without ${pattern}:\n${stdout}${stderr}`)),
      );
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM') {
    this.child.kill(signal);
    return this.ended;
  }
}
