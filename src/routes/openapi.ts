import { isMap, isNode, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { MeshtapError } from '../errors.js';
import { PatternError } from './program.js';
import { type Template, template } from './template.js';

/** A route of a service. */
export interface OpenApiRoute {
  /** `GET`; undefined for any. */
  readonly method: string | undefined;
  readonly template: Template;
}

/** OpenAPI 3.1.1, "Path Item Object", fixed fields. */
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'] as const;

const server = z.looseObject({
  url: z.string(),
  variables: z.record(z.string(), z.looseObject({ default: z.string() })).optional(),
});
type Server = z.output<typeof server>;
const servers = z.array(server).optional();
const operation = z.looseObject({ servers }).optional();

const DOCUMENT = z.looseObject({
  openapi: z.string().regex(/^3\.[01]\./, 'version 3.0 or 3.1'),
  servers,
  paths: z
    .record(
      z.string(),
      z.looseObject({
        servers,
        $ref: z.string().optional(),
        ...Object.fromEntries(METHODS.map((method) => [method, operation])),
      }),
    )
    .default({}),
});

/**
 * The routes in an OpenAPI document, version 3.0 or 3.1, JSON or YAML. Paths begin with those of the servers' addresses.
 * A path whose operations are in another document has any method.
 *
 * Throws PATTERN_REFUSED with the line if it is no such document, or a path in it is none.
 */
export function openApiRoutes(text: string, file: string): OpenApiRoute[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const refuse = (offset: number, problem: string, cause?: unknown) =>
    new MeshtapError('PATTERN_REFUSED', `${file}:${lines.linePos(offset).line}: ${problem}`, { cause });
  const [fault] = document.errors;
  if (fault) throw refuse(fault.pos[0], `this is neither YAML nor JSON: ${fault.message}`);
  const parsed = DOCUMENT.safeParse(document.toJS());
  if (!parsed.success) {
    const [{ path, message }] = parsed.error.issues as [z.core.$ZodIssue];
    const node = document.getIn(path as unknown[], true);
    const where = path.length > 0 ? `${path.join('.')}: ` : '';
    throw refuse(
      (isNode(node) ? node.range?.[0] : undefined) ?? 0,
      `this is no OpenAPI document: ${where}${message}`,
    );
  }
  const { paths, servers = [ROOT] } = parsed.data;
  return Object.entries(paths).flatMap(([path, item]) => {
    // Extensions stand beside paths.
    if (path.startsWith('x-')) return [];
    const operations = METHODS.flatMap((method) => {
      const one = item[method] as z.output<typeof operation>;
      return one ? [{ method: method.toUpperCase(), servers: one.servers ?? item.servers ?? servers }] : [];
    });
    if (item.$ref !== undefined) operations.push({ method: '', servers: item.servers ?? servers });
    try {
      return operations.flatMap(({ method, servers }) =>
        basesOf(servers).map((base) => ({ method: method || undefined, template: template(base + path) })),
      );
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      throw refuse(offsetOf(document.get('paths'), path), error.message, error);
    }
  });
}

const ROOT: Server = { url: '/' };

/** Paths of the servers' addresses, each once, without a slash at the end. An address may be relative. */
function basesOf(servers: readonly Server[]): string[] {
  const bases = (servers.length > 0 ? servers : [ROOT]).map(({ url, variables = {} }) => {
    const whole = url.replaceAll(/\{([^{}]+)\}/g, (text, name: string) => variables[name]?.default ?? text);
    const path = whole.replace(/^([a-z][a-z0-9+.-]*:)?\/\/[^/]*/i, '').replace(/[?#].*$/, '');
    return path.replace(/\/+$/, '').replace(/^(?=[^/])/, '/');
  });
  return [...new Set(bases)];
}

function offsetOf(paths: unknown, path: string): number {
  const pair = isMap(paths) ? paths.items.find(({ key }) => String(key) === path) : undefined;
  return (isNode(pair?.key) ? pair.key.range?.[0] : undefined) ?? 0;
}
