import { expect, test } from 'vitest';
import { type JsonSchema, jsonSchema } from '../../../src/config/json-schema.js';
import { variableOf } from '../../../src/config/overrides.js';

const INTRODUCTION = `<!-- Generated from src/config/schema.ts by \`npx vitest run test/unit/config -u\`. -->

# Configuration

\`meshtap run\` works without any. One YAML file (\`--config FILE\`, or \`MESHTAP_CONFIG\`) changes what should be
otherwise:

\`\`\`yaml
# yaml-language-server: $schema=./node_modules/meshtap/meshtap.schema.json
cgroup: /sys/fs/cgroup/kubepods.slice
dialects: [otel, hubble]
identity:
  static:
    - { cidr: 10.20.0.0/16, port: 5432, service: postgres, namespace: data }
exporters:
  prometheus: { listen: 0.0.0.0:9464 }
  otlp: { endpoint: http://collector:4317 }
\`\`\`

Every key can be set by an environment variable too: \`MESHTAP_\`, the key in capitals, two underscores between
levels. Lists are written with commas, whole sections as YAML. Flags win over variables, variables over the file.
Durations are \`500ms\`, \`10s\`, \`5m\`, \`1h\`. Paths of files are relative to the working directory.

\`meshtap config check FILE\` tells what is wrong with a file: line, key, what was found and what is accepted.

| key | variable | default | |
|---|---|---|---|
`;

/** One row for each key, and for the keys below it. */
function rows({ properties = {} }: JsonSchema, above: readonly string[] = []): string[] {
  return Object.entries(properties).flatMap(([key, schema]) => {
    const path = [...above, key];
    const inside = schema.type === 'array' && schema.items?.properties ? schema.items : undefined;
    return [
      row(path.join('.'), variableOf(path), schema),
      ...rows(schema, path),
      // Items of a list have no variables of their own.
      ...Object.entries(inside?.properties ?? {}).map(([name, item]) =>
        row(`${path.join('.')}[].${name}`, '', item),
      ),
    ];
  });
}

function row(key: string, variable: string, schema: JsonSchema): string {
  const choice = schema.enum ?? schema.items?.enum;
  const cells = [
    `\`${key}\``,
    variable && `\`${variable}\``,
    schema.default === undefined || schema.properties ? '' : `\`${JSON.stringify(schema.default)}\``,
    `${schema.description ?? ''}${choice ? ` One of ${choice.map((value) => `\`${value}\``).join(', ')}.` : ''}`,
  ];
  return `| ${cells.join(' | ')} |`;
}

test('docs/reference/configuration.md is the schema of today', async () => {
  const page = `${INTRODUCTION}${rows(jsonSchema).join('\n')}\n`;
  await expect(page).toMatchFileSnapshot('../../../docs/reference/configuration.md');
});
