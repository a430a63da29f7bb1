/**
 * A file as containers see it whose images share a layer: through an overlay each, so that it looks like two.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

/** The shared library of that name which a program loads. */
export function libraryOf(program: string, name: string): string {
  const path = execFileSync('sh', ['-c', `ldd "$(command -v ${program})"`], { encoding: 'utf8' });
  const found = path.split('\n').find((line) => line.trim().startsWith(name));
  if (!found) throw new Error(`${program} loads no ${name}`);
  return found.split(' => ')[1]!.split(' ')[0]!;
}

export class SharedLayer implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'meshtap-layer-'));
  /** Two directories with the file in them. */
  readonly views: readonly string[];

  constructor(file: string) {
    const [layer, empty] = ['layer', 'empty'].map((name) => join(this.#directory, name)) as [string, string];
    for (const directory of [layer, empty]) mkdirSync(directory);
    copyFileSync(file, join(layer, basename(file)));
    this.views = ['one', 'two'].map((name) => {
      const view = join(this.#directory, name);
      mkdirSync(view);
      execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${layer}:${empty}`, view]);
      return view;
    });
  }

  [Symbol.dispose](): void {
    // processes that have the file mapped may still be ending
    for (const view of this.views) execFileSync('umount', ['--lazy', view]);
    rmSync(this.#directory, { recursive: true });
  }
}
