/** Numbers for people. */
import type { EdgeEnd } from '../../../metrics/edges.js';

const NONE = '–';

/** `12.3`, `1,204` */
export const rate = (perSecond: number): string =>
  perSecond.toLocaleString('en', { maximumFractionDigits: perSecond < 100 ? 1 : 0 });

/** `4.0 %`; nothing of nothing. */
export const share = (part: number, of: number): string =>
  of > 0 ? `${((100 * part) / of).toFixed(1)} %` : NONE;

/** `0.52 ms`, `1.2 s` */
export function time(seconds: number | null): string {
  if (seconds === null) return NONE;
  if (seconds >= 1) return `${Number(seconds.toPrecision(3))} s`;
  return `${Number((1000 * seconds).toPrecision(3))} ms`;
}

export const whole = (count: number): string => count.toLocaleString('en');

/** `shop/cart` */
export const name = ({ service, namespace }: EdgeEnd): string =>
  namespace === '' ? service : `${namespace}/${service}`;

/** `10:00:06` */
export const clock = (milliseconds: number): string =>
  new Date(milliseconds).toLocaleTimeString('en', { hour12: false });
