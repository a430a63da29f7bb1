import type { MeshtapError } from '../errors.js';
import { bpfFailure } from './failure.js';
import { destroyLink, errno, libbpf, type Pointer, UPROBE_OPTIONS_SIZE } from './libbpf.js';
import type { BpfProgram } from './object.js';

export interface UprobeTarget {
  /** The process, with all its threads; not its children. -1 = every process of the machine that has the file mapped. */
  readonly pid: number;
  /** The file that it has mapped, under a name by which this process finds it. */
  readonly file: string;
  /** The function, for people. */
  readonly symbol: string;
  /** Where it begins in the file. */
  readonly offset: number;
  /** Run when the function returns, not when it is called. */
  readonly atReturn: boolean;
}

/** A program at a function. It ends when it is disposed of, not with the process. */
export class Uprobe implements AsyncDisposable {
  #link: Pointer | undefined;

  private constructor(link: Pointer) {
    this.#link = link;
  }

  /** @throws MeshtapError `BPF_FAILED` if there is no such process, file or place in it. */
  static attach(program: BpfProgram, target: UprobeTarget): Uprobe {
    const { pid, file, offset, atReturn } = target;
    const options = { sz: UPROBE_OPTIONS_SIZE, retprobe: atReturn };
    const link = libbpf().bpf_program__attach_uprobe_opts(program.address, pid, file, offset, options);
    if (link === null) throw failure(target, errno());
    return new Uprobe(link);
  }

  /** Takes about 100 ms, of which this thread spends nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    if (link !== undefined) await destroyLink(link);
  }
}

const failure = ({ pid, file, symbol }: UprobeTarget, errno: number): MeshtapError =>
  bpfFailure(`probe ${symbol} of ${file}${pid === -1 ? '' : ` in process ${pid}`}`, errno);
