/** The dashboards are what Grafana's own types say a dashboard is, in the oldest and in a new version of Grafana. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { type Dashboard, DIALECTS, dashboardsOf } from '../../support/dashboards.js';

const ROOT = join(import.meta.dirname, '../../..');

/** Panels by type, and the file of Grafana's schema that describes them. */
const PANELS: Readonly<Record<string, string>> = {
  timeseries: 'timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen',
  stat: 'stat/panelcfg/x/StatPanelCfg_types.gen',
  table: 'table/panelcfg/x/TablePanelCfg_types.gen',
  heatmap: 'heatmap/panelcfg/x/HeatmapPanelCfg_types.gen',
  nodeGraph: 'nodegraph/panelcfg/x/NodeGraphPanelCfg_types.gen',
};
const WITH_FIELDS = ['timeseries', 'heatmap'];

interface Schema {
  readonly name: string;
  readonly version: RegExp;
  /** An older Grafana leaves alone what came later; a newer one should know all of it. */
  readonly strict: boolean;
}

const SCHEMAS: readonly Schema[] = [
  { name: 'grafana-schema-10', version: /^10\.0\./, strict: false },
  { name: '@grafana/schema', version: /^1[2-9]\./, strict: true },
];

/** Everything may be left out, as Grafana has defaults; what is there has to be right. */
const SOME = `type Some<T> = T extends readonly (infer U)[] ? readonly Some<U>[]
  : T extends object ? { readonly [K in keyof T]?: Some<T[K]> } : T;`;

/** The dashboard as a program that compiles only if Grafana's types allow it. */
function program({ name: schema, strict }: Schema, dashboard: Dashboard): string {
  // Only what is written where the type is expected is searched for properties that the type does not have.
  const value = (name: string, type: string, json: unknown) =>
    strict
      ? `export const ${name}: Some<${type}> = ${JSON.stringify(json, undefined, 1)};`
      : `const raw_${name} = ${JSON.stringify(json, undefined, 1)} as const; export const ${name}: Some<${type}> = raw_${name};`;
  const composable = `${schema}/dist/esm/raw/composable`;
  const imports = Object.entries(PANELS).map(
    ([type, file]) => `import type * as ${type} from '${composable}/${file}';`,
  );
  const panels = dashboard.panels.flatMap((panel) => {
    const { type, options, fieldConfig, id } = panel;
    if (!PANELS[type]) return [];
    const custom = WITH_FIELDS.includes(type) ? fieldConfig?.defaults.custom : undefined;
    return [
      value(`options${id}`, `${type}.Options`, options),
      ...(custom ? [value(`custom${id}`, `${type}.FieldConfig`, custom)] : []),
    ];
  });
  return [
    `import type { Dashboard } from '${schema}';`,
    ...imports,
    SOME,
    value('dashboard', 'Dashboard', dashboard),
    ...panels,
  ].join('\n');
}

/** In JSON an enum is its value, and types that know only the enum's name would refuse every one. */
function enumsAsUnions(text: string): string {
  return text.replaceAll(
    /(?:export )?declare (?:const )?enum (\w+) \{(.*?)\n\}/gs,
    (_, name: string, body: string) =>
      `export type ${name} = ${[...body.matchAll(/= ("[^"]*"|-?\d+)/g)].map(([, value]) => value).join(' | ')};`,
  );
}

function problems(sources: ReadonlyMap<string, string>): string[] {
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    target: ts.ScriptTarget.ES2022,
    // In JSON null stands for what is not there.
    strict: false,
    noEmit: true,
    skipLibCheck: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.fileExists = (file) => sources.has(file) || fileExists(file);
  host.readFile = (file) => sources.get(file) ?? readFile(file);
  host.getSourceFile = (file, version) => {
    const text = sources.get(file) ?? readFile(file);
    if (text === undefined) return undefined;
    return ts.createSourceFile(file, /grafana/.test(file) ? enumsAsUnions(text) : text, version);
  };
  const compiled = ts.createProgram([...sources.keys()], options, host);
  return ts
    .getPreEmitDiagnostics(compiled)
    .map(
      ({ file, start, messageText }) =>
        `${file?.fileName}:${file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line + 1 : ''} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    );
}

const sourcesFor = (schema: Schema, change = (dashboard: Dashboard): Dashboard => dashboard) =>
  new Map(
    DIALECTS.flatMap((dialect) =>
      dashboardsOf(dialect).map((dashboard): [string, string] => [
        join(ROOT, `test/unit/dashboards/${dialect}-${dashboard.uid}.ts`),
        program(schema, change(dashboard)),
      ]),
    ),
  );

describe.each(SCHEMAS)('$name', (schema) => {
  test('allows every dashboard and every panel', () => {
    expect(problems(sourcesFor(schema))).toEqual([]);
  });

  test('refuses what is wrong', () => {
    const wrong = (one: Dashboard) => ({
      ...one,
      links: [{ title: 1 }],
      panels: [{ ...one.panels[0]!, gridPos: 1 }],
    });
    const found = problems(sourcesFor(schema, wrong as unknown as (one: Dashboard) => Dashboard));
    expect(found.length).toBeGreaterThanOrEqual(dashboardsOf('otel').length);
  });

  test('is of the version that it should be', () => {
    const file = join(ROOT, 'node_modules', schema.name, 'package.json');
    expect(JSON.parse(readFileSync(file, 'utf8')).version).toMatch(schema.version);
  });
});
