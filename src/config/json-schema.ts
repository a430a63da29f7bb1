import { z } from 'zod';
import { schema } from './schema.js';

/** The part of JSON Schema that zod writes for our schema. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: false | JsonSchema;
  readonly items?: JsonSchema;
}

/** The configuration as JSON Schema, for editors; `meshtap.schema.json` is this. */
export const jsonSchema = z.toJSONSchema(schema, { io: 'input' }) as JsonSchema;

/** The schema of one key, undefined if there is no such key. */
export function schemaAt(path: readonly PropertyKey[]): JsonSchema | undefined {
  let at: JsonSchema | undefined = jsonSchema;
  for (const key of path) {
    if (at === undefined) return undefined;
    at =
      typeof key === 'number'
        ? at.items
        : (at.properties?.[String(key)] ?? (at.additionalProperties || undefined));
  }
  return at;
}
