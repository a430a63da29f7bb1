/**
 * Values of flags, as values of filters. Each throws USAGE for what is none.
 *
 * @module
 */
import { MeshtapError } from '../../errors.js';
import type { EventTypeFilter } from '../../flows/filter.js';
import { TCP_FLAGS, type TcpFlag, type Workload } from '../../flows/flow.js';
import { EVENTS, RESERVED_IDENTITIES, TRACE_POINTS } from '../../flows/words.js';

export function oneOf(names: readonly string[]) {
  return (text: string, flag: string) => {
    if (names.includes(text)) return text;
    throw new MeshtapError('USAGE', `${flag}: found ${text}, expected one of ${names.join(', ')}`);
  };
}

export function workload(text: string): Partial<Workload> {
  const slash = text.indexOf('/');
  return slash < 0 ? { name: text } : { name: text.slice(slash + 1), kind: text.slice(0, slash) };
}

export function identity(text: string, flag: string): number {
  const reserved = RESERVED_IDENTITIES.indexOf(text);
  const number = reserved > 0 ? reserved : Number(text);
  if (text !== '' && Number.isInteger(number) && number >= 0) return number;
  const names = RESERVED_IDENTITIES.slice(1).join(', ');
  throw new MeshtapError('USAGE', `${flag}: found ${text}, expected a number or one of ${names}`);
}

export function header(text: string, flag: string): { key: string; value: string } {
  const colon = text.indexOf(':');
  if (colon < 0) throw new MeshtapError('USAGE', `${flag}: found ${text}, expected KEY:VALUE`);
  return { key: text.slice(0, colon), value: text.slice(colon + 1) };
}

export function eventType(text: string, flag: string): EventTypeFilter {
  const [name = '', sub] = text.split(':');
  const type = Object.hasOwn(EVENTS, name) ? EVENTS[name as keyof typeof EVENTS] : numberOf(name);
  const point = sub === undefined || type !== EVENTS.trace ? -1 : TRACE_POINTS.indexOf(sub);
  const subType = point >= 0 ? point : sub === undefined ? undefined : numberOf(sub);
  if (type === undefined || (sub !== undefined && subType === undefined))
    throw new MeshtapError(
      'USAGE',
      `${flag}: found ${text}, expected one of ${Object.keys(EVENTS).join(', ')}; trace may be followed by : and one of ` +
        TRACE_POINTS.join(', '),
    );
  return subType === undefined ? { type } : { type, match_sub_type: true, sub_type: subType };
}

const numberOf = (text: string) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined);

export function tcpFlags(text: string, flag: string): { [flag in TcpFlag]?: boolean } {
  const names = text
    .toUpperCase()
    .split(',')
    .map((name) => oneOf(TCP_FLAGS)(name.trim(), flag));
  return Object.fromEntries(names.map((name) => [name, true]));
}

const IP_VERSIONS: Readonly<Record<string, string>> = { v4: 'IPv4', v6: 'IPv6', none: 'IP_NOT_USED' };

export function ipVersion(text: string, flag: string): string {
  return IP_VERSIONS[oneOf(Object.keys(IP_VERSIONS))(text, flag)]!;
}
