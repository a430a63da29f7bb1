/** How times are printed and written on the command line, under Hubble's names. */
import { milliseconds, nanoseconds } from './flow.js';
import { parseTimestamp } from './json.js';

const two = (number: number) => String(number).padStart(2, '0');
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

const day = (date: Date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
const clock = (date: Date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

function zone(date: Date, colon = ':'): string {
  const minutes = -date.getTimezoneOffset();
  const sign = minutes < 0 ? '-' : '+';
  return `${sign}${two(Math.floor(Math.abs(minutes) / 60))}${colon}${two(Math.abs(minutes) % 60)}`;
}

const zoneOrZ = (date: Date) => (date.getTimezoneOffset() === 0 ? 'Z' : zone(date));

/** `.123`, without zeros at the end; nothing if there is no fraction. */
const fraction = (time: bigint, digits: number) =>
  `.${String(time % 1_000_000_000n)
    .padStart(9, '0')
    .slice(0, digits)}`.replace(/\.?0+$/, '');

const rfc3339 = (date: Date, time: bigint, digits: number) =>
  `${day(date)}T${clock(date)}${digits === 0 ? '' : fraction(time, digits)}${zoneOrZ(date)}`;

/** Local time. */
export const TIME_FORMATS = {
  StampMilli: (date: Date) =>
    `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${clock(date)}.${String(date.getMilliseconds()).padStart(3, '0')}`,
  YearMonthDay: day,
  YearMonthDayHour: (date: Date) => `${day(date)}T${two(date.getHours())}${zoneOrZ(date)}`,
  YearMonthDayHourMinute: (date: Date) =>
    `${day(date)}T${two(date.getHours())}:${two(date.getMinutes())}${zoneOrZ(date)}`,
  RFC3339: (date: Date, time: bigint) => rfc3339(date, time, 0),
  RFC3339Milli: (date: Date, time: bigint) => rfc3339(date, time, 3),
  RFC3339Micro: (date: Date, time: bigint) => rfc3339(date, time, 6),
  RFC3339Nano: (date: Date, time: bigint) => rfc3339(date, time, 9),
  RFC1123Z: (date: Date) =>
    `${DAYS[date.getDay()]}, ${two(date.getDate())} ${MONTHS[date.getMonth()]} ${date.getFullYear()} ${clock(date)} ${zone(date, '')}`,
} as const;

export type TimeFormat = keyof typeof TIME_FORMATS;

/** A time in nanoseconds since the epoch, for people; `N/A` for none. */
export const formatTime = (time: bigint, format: TimeFormat = 'StampMilli'): string =>
  time === 0n ? 'N/A' : TIME_FORMATS[format](new Date(milliseconds(time)), time);

const UNITS = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 } as const;

/** Milliseconds of a duration such as `1h30m`, `5m`, `250ms`; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  const parts = text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g);
  return [...parts].reduce(
    (sum, [, number, unit]) => sum + Number(number) * UNITS[unit as keyof typeof UNITS],
    0,
  );
}

/**
 * Nanoseconds since the epoch of what people write: a duration before `now` (`5m`), or a time as one of `TIME_FORMATS`
 * prints it. Undefined if it is neither.
 */
export function parseWhen(text: string, now = Date.now()): bigint | undefined {
  const ago = parseDuration(text);
  if (ago !== undefined) return nanoseconds(now - ago);
  const exact = parseTimestamp(text);
  if (exact !== undefined) return exact;
  // Without a zone: local time. Without a year: this one.
  const [, date, hour = '00', minute = '00', offset] =
    /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d))?(Z|[+-]\d\d:\d\d))?$/.exec(text) ?? [];
  const written = date
    ? `${date}T${hour}:${minute}:00${offset ?? ''}`
    : /^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\.\d{3}$/.test(text)
      ? text.replace(/^(\S+ +\d+)/, `$1 ${new Date(now).getFullYear()}`)
      : /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$/.test(text)
        ? text
        : '';
  const milliseconds = Date.parse(written);
  return Number.isNaN(milliseconds) ? undefined : nanoseconds(milliseconds);
}
