import { type Logger, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '../config/schema.js';

/** The log of the command line: on stderr, lines for people on a terminal and JSON elsewhere, unless told. */
export function createLog({ level, format }: Config['log']): Logger {
  const forPeople = format === 'pretty' || (format === 'auto' && process.stderr.isTTY === true);
  const options = { level, base: null, timestamp: stdTimeFunctions.isoTime };
  if (!forPeople) return pino(options, pino.destination({ dest: 2, sync: true }));
  const colorize = process.stderr.isTTY === true && !process.env.NO_COLOR;
  return pino(options, pretty({ destination: 2, sync: true, colorize, translateTime: 'SYS:HH:MM:ss.l' }));
}
