/**
 * Prometheus' text format 0.0.4 and OpenMetrics 1.0
 * (https://prometheus.io/docs/instrumenting/exposition_formats/,
 * https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md), piece by piece, so that
 * whoever writes them out can let others run in between.
 *
 * @module
 */

import type { Attributes, HistogramFamily, MetricFamily, NumberFamily } from '../metrics/family.js';
import { labelName, metricName, unitWord } from './prometheus-names.js';

export type TextFormat = 'text' | 'openmetrics';

export const CONTENT_TYPE: Readonly<Record<TextFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

/** A family, and labels that all of its points carry besides their own. */
export type LabelledFamily = MetricFamily & { readonly labels?: Attributes };

export interface Exposition {
  readonly families: readonly LabelledFamily[];
  /** Becomes `target_info`. */
  readonly resource: Attributes;
}

export interface SerializeOptions {
  readonly format: TextFormat;
  /** Told the name of a family that was left out because another of that name has another type. */
  readonly onConflict?: (name: string) => void;
}

/** Characters in a piece, about: small enough that writing one is well under a millisecond. */
const PIECE = 32 * 1024;

/** The whole text, in pieces. Families of one name are written together, as both formats demand. */
export function* serialize(
  { families, resource }: Exposition,
  { format, onConflict }: SerializeOptions,
): Generator<string> {
  let text = targetInfo(resource, format);
  for (const [name, group] of grouped(families, onConflict)) {
    text += header(name, group[0]!, format);
    for (const family of group) {
      const constant = labelText(family.labels ?? {});
      for (const lines of family.type === 'histogram'
        ? histogramLines(name, family, constant, format)
        : numberLines(name, family, constant)) {
        text += lines;
        if (text.length >= PIECE) {
          yield text;
          text = '';
        }
      }
    }
  }
  yield format === 'openmetrics' ? `${text}# EOF\n` : text;
}

function grouped(families: readonly LabelledFamily[], onConflict?: (name: string) => void) {
  const groups = new Map<string, LabelledFamily[]>();
  for (const family of families) {
    const name = family.prometheusName ?? metricName(family.name, family.unit, family.type);
    const group = groups.get(name);
    if (!group) groups.set(name, [family]);
    else if (group[0]!.type === family.type) group.push(family);
    else onConflict?.(name);
  }
  return groups;
}

function header(name: string, { type, unit, description }: MetricFamily, format: TextFormat): string {
  if (format === 'text') return `# HELP ${name} ${escapedHelp(description)}\n# TYPE ${name} ${type}\n`;
  const base = type === 'counter' ? name.replace(/_total$/, '') : name;
  const word = unitWord(unit);
  return (
    `# TYPE ${base} ${type}\n` +
    (word && base.endsWith(`_${word}`) ? `# UNIT ${base} ${word}\n` : '') +
    `# HELP ${base} ${escaped(description)}\n`
  );
}

function targetInfo(resource: Attributes, format: TextFormat): string {
  const head =
    format === 'text'
      ? '# HELP target_info Target metadata\n# TYPE target_info gauge\n'
      : '# TYPE target info\n# HELP target Target metadata\n';
  return `${head}target_info${braced(labelText(resource))} 1\n`;
}

function* numberLines(name: string, { points }: NumberFamily, constant: string): Generator<string> {
  for (const { attributes, value } of points) {
    yield `${name}${braced(joined(labelText(attributes), constant))} ${number(value)}\n`;
  }
}

function* histogramLines(
  name: string,
  { boundaries, points }: HistogramFamily,
  constant: string,
  format: TextFormat,
): Generator<string> {
  // OpenMetrics wants `1.0`, where Prometheus' own text format has always had `1`.
  const bound = (n: number) => (format === 'openmetrics' && Number.isInteger(n) ? `${n}.0` : number(n));
  const bounds = [...boundaries.map(bound), '+Inf'].map((le) => `le="${le}"} `);
  for (const { attributes, buckets, count, sum } of points) {
    const labels = joined(labelText(attributes), constant);
    const bucket = `${name}_bucket{${labels && `${labels},`}`;
    let lines = '';
    let below = 0;
    for (let i = 0; i < bounds.length; i++) {
      below += buckets[i]!;
      lines += `${bucket}${bounds[i]!}${below}\n`;
    }
    const own = braced(labels);
    yield `${lines}${name}_sum${own} ${number(sum)}\n${name}_count${own} ${count}\n`;
  }
}

/** `a="1",b="2"`. Keys that become one name have their values joined by `;`, as OpenTelemetry's rules say. */
function labelText(attributes: Attributes): string {
  const values = new Map<string, string>();
  for (const key in attributes) {
    const name = labelName(key);
    const value = escaped(String(attributes[key]));
    const other = values.get(name);
    values.set(name, other === undefined ? value : `${other};${value}`);
  }
  let text = '';
  for (const [name, value] of values) text += `${text && ','}${name}="${value}"`;
  return text;
}

function joined(labels: string, constant: string): string {
  return labels && constant ? `${labels},${constant}` : labels || constant;
}

function braced(labels: string): string {
  return labels && `{${labels}}`;
}

function number(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : String(value);
}

function escaped(value: string): string {
  if (!/[\\\n"]/.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

function escapedHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
