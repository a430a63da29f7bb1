import { closeSync, constants, createReadStream, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { MeshtapError } from '../errors.js';
import { readLines } from '../flows/jsonpb.js';
import type { FlowLimits } from './flow-counts.js';
import { FlowReceiver } from './flow-receiver.js';
import type { Receiver } from './receiver.js';

export interface ReplayOptions {
  /** A file of flows, or a named pipe, which is read for as long as the receiver runs, whoever writes. */
  file?: string;
  /** The flows themselves, such as `process.stdin`. @default what `file` holds */
  input?: Readable;
  /** @default 2048 pairs, 8192 series */
  limits?: Partial<FlowLimits>;
}

/**
 * Counts flows that somebody wrote down, as `hubble observe -o jsonpb` does: one `GetFlowsResponse` in JSON on each line.
 * Needs no privilege and no particular kernel. The counts stay when the flows end.
 *
 * Starting rejects with FLOWS_FAILED if there is nothing to read.
 */
export function replay({ file, input, limits }: ReplayOptions): Receiver {
  return {
    name: 'replay',
    async start(context) {
      context.signal.throwIfAborted();
      const source = input ?? open(file);
      let ended = false;
      let complaints = 0;
      return new FlowReceiver({
        context,
        limits,
        trouble: () => undefined,
        detail: () => ({ input: ended ? 'ended' : 'open' }),
        async read(to, signal) {
          const stop = () => source.destroy();
          signal.addEventListener('abort', stop);
          const onBadLine = (reason: string, line: number) => {
            to.addUnreadable();
            if (complaints++ < COMPLAINTS) context.log.warn({ file, line, reason }, 'a line is left out');
          };
          try {
            for await (const event of readLines(source, { onBadLine })) to.add(event);
            ended = true;
          } catch (error) {
            if (!signal.aborted) throw error;
          } finally {
            signal.removeEventListener('abort', stop);
          }
        },
      });
    },
  };
}

/** Lines that are complained about; the ledger counts all. */
const COMPLAINTS = 10;

function open(file: string | undefined): Readable {
  if (file === undefined) throw new MeshtapError('FLOWS_FAILED', 'replay needs a file or an input');
  try {
    // To be one of its writers keeps a pipe open between others, and opening it from waiting for one.
    const handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(handle).isFIFO()) return createReadStream(file, { fd: handle });
    closeSync(handle);
    return new Socket({
      fd: openSync(file, constants.O_RDWR | constants.O_NONBLOCK),
      readable: true,
      writable: false,
    });
  } catch (cause) {
    throw new MeshtapError('FLOWS_FAILED', `${file}: can not be read`, { cause });
  }
}
