/**
 * How OpenTelemetry names become Prometheus names
 * (https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/).
 *
 * @module
 */

/** UCUM to the words Prometheus uses, as in OpenTelemetry's own translators. */
const UNITS: Readonly<Record<string, string>> = {
  d: 'days',
  h: 'hours',
  min: 'minutes',
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
  By: 'bytes',
  KiBy: 'kibibytes',
  MiBy: 'mebibytes',
  GiBy: 'gibibytes',
  TiBy: 'tibibytes',
  KBy: 'kilobytes',
  MBy: 'megabytes',
  GBy: 'gigabytes',
  TBy: 'terabytes',
  m: 'meters',
  V: 'volts',
  A: 'amperes',
  J: 'joules',
  W: 'watts',
  g: 'grams',
  Cel: 'celsius',
  Hz: 'hertz',
  '%': 'percent',
};

const PER: Readonly<Record<string, string>> = {
  s: 'second',
  m: 'minute',
  h: 'hour',
  d: 'day',
  w: 'week',
  mo: 'month',
  y: 'year',
};

/** `By/s` is `bytes_per_second`; annotations such as `{request}` and the unit `1` say nothing. */
export function unitWord(unit: string): string {
  const [main = '', per] = unit.replaceAll(/\{[^}]*\}/g, '').split('/');
  const word = main === '1' ? '' : (UNITS[main] ?? clean(main));
  if (!per) return word;
  return `${word && `${word}_`}per_${PER[per] ?? clean(per)}`;
}

/**
 * The name of a metric: characters Prometheus has no room for become `_`, the unit comes last, and after it
 * `_ratio` where a gauge's unit is `1` and `_total` where it is a counter, each unless it is there already.
 */
export function metricName(name: string, unit: string, type: 'counter' | 'gauge' | 'histogram'): string {
  let result = clean(name);
  if (type === 'counter') result = result.replace(/_total$/, '');
  const suffix = unit === '1' && type === 'gauge' ? 'ratio' : unitWord(unit);
  if (suffix && result !== suffix && !result.endsWith(`_${suffix}`)) result += `_${suffix}`;
  if (type === 'counter') result += '_total';
  return /^\d/.test(result) ? `_${result}` : result;
}

const cache = new Map<string, string>();

/** The name of a label. Attribute keys come from code, not from traffic, but the cache is bounded all the same. */
export function labelName(key: string): string {
  let name = cache.get(key);
  if (name === undefined) {
    name = key.replaceAll(/[^a-zA-Z0-9_]+/g, '_').replaceAll(/_{2,}/g, '_');
    if (!/^[a-zA-Z_]/.test(name)) name = `key_${name}`;
    if (cache.size >= 1000) cache.clear();
    cache.set(key, name);
  }
  return name;
}

function clean(name: string): string {
  return name
    .replaceAll(/[^a-zA-Z0-9_:]+/g, '_')
    .replaceAll(/_{2,}/g, '_')
    .replaceAll(/^_|_$/g, '');
}
