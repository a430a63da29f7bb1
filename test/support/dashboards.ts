/**
 * The committed dashboards and rules, as somebody who loads them sees them.
 *
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

export const DASHBOARDS = join(import.meta.dirname, '../../dashboards');
export const DIALECTS = ['otel', 'hubble', 'istio'] as const;
export type DialectName = (typeof DIALECTS)[number];

export interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly instant?: boolean;
  readonly range?: boolean;
  readonly format?: string;
  readonly legendFormat?: string;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  /** Shortest step of a range. */
  readonly interval?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly transformations?: readonly unknown[];
  readonly options?: Record<string, unknown>;
  readonly fieldConfig?: {
    readonly defaults: Record<string, unknown> & { readonly unit?: string; readonly custom?: object };
    readonly overrides: readonly {
      readonly matcher: { readonly id: string; readonly options?: unknown };
      readonly properties: readonly { readonly id: string; readonly value?: unknown }[];
    }[];
  };
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly query: string | { readonly query: string };
  readonly includeAll?: boolean;
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly links: readonly unknown[];
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
}

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export function dashboardsOf(dialect: DialectName): Dashboard[] {
  const folder = join(DASHBOARDS, dialect, 'dashboards');
  return readdirSync(folder)
    .sort()
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')));
}

export function ruleFilesOf(dialect: DialectName): string[] {
  const folder = join(DASHBOARDS, dialect, 'rules');
  return readdirSync(folder)
    .sort()
    .map((file) => join(folder, file));
}

export function rulesOf(dialect: DialectName): Rule[] {
  return ruleFilesOf(dialect).flatMap((file) =>
    (parse(readFileSync(file, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
      ({ rules }) => rules,
    ),
  );
}

/** Panels with queries; rows have none. */
export function panelsOf({ panels }: Dashboard): (Panel & { readonly targets: readonly Target[] })[] {
  return panels.flatMap((panel) => (panel.targets?.length ? [{ ...panel, targets: panel.targets }] : []));
}

/** A query as Grafana sends it, with its variables filled in; a variable without a value here is All. */
export function filledIn(expr: string, values: Readonly<Record<string, string>>): string {
  return expr.replaceAll(/\$(?:\{([a-z_]\w*)\}|([a-z_]\w*))/g, (_, braced?: string, plain?: string) => {
    const name = braced ?? plain!;
    return values[name] ?? '.*';
  });
}
