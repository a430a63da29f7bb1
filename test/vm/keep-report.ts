import { renameSync, writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';
import type { VitestReport } from './report.js';

/** Writes what vitest's own JSON reporter would, but after each file: a run that is out of time keeps what it found. */
export default class KeepReport implements Reporter {
  readonly #path = process.env.MESHTAP_VM_REPORT!;
  readonly #report: VitestReport = { testResults: [] };

  onTestModuleEnd(module: TestModule): void {
    const { duration, collectDuration } = module.diagnostic();
    const endTime = Date.now();
    this.#report.testResults.push({
      name: module.moduleId,
      status: module.state(),
      message: messages(module.errors()).join('\n'),
      startTime: endTime - duration - collectDuration,
      endTime,
      assertionResults: [...module.children.allTests()].map((test) => ({
        fullName: test.fullName.replaceAll(' > ', ' '),
        status: test.result().state,
        failureMessages: messages(test.result().errors ?? []),
        meta: test.meta(),
      })),
    });
    writeFileSync(`${this.#path}.new`, JSON.stringify(this.#report));
    renameSync(`${this.#path}.new`, this.#path);
  }
}

interface Told {
  message: string;
  stack?: string;
  diff?: string;
}

function messages(errors: readonly Told[]): string[] {
  return errors.map(({ message, stack, diff }) => [stack ?? message, diff].filter(Boolean).join('\n'));
}
