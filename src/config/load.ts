import { readFileSync } from 'node:fs';
import { MeshtapError } from '../errors.js';
import { parseFile } from './file.js';
import { fromEnvironment, type Override, override } from './overrides.js';
import { keyName, problems } from './problem.js';
import { type Config, schema } from './schema.js';

export interface LoadOptions {
  /** Path of a YAML file; none means defaults. */
  file?: string | undefined;
  /** @default {} */
  environment?: Readonly<Record<string, string | undefined>>;
  /** What stands behind everything else, in place of the schema's defaults. */
  defaults?: readonly Override[];
  /** What the command line says; wins over environment and file. */
  flags?: readonly Override[];
}

/**
 * Reads and checks the configuration. Throws CONFIG_INVALID whose message has one line for each thing that is wrong:
 * file and line (or variable, or flag), key, what was found and what is accepted.
 */
export function loadConfig({ file, environment = {}, defaults = [], flags = [] }: LoadOptions = {}): Config {
  const read = file === undefined ? undefined : parseFile(readText(file), file);
  const overrides = [...fromEnvironment(environment), ...flags];
  const base = override({}, defaults);
  const written = read?.value ?? undefined;
  if (written !== undefined && (typeof written !== 'object' || Array.isArray(written)))
    throw new MeshtapError('CONFIG_INVALID', `${read?.where([])}: expected keys and values`);
  const value = override({ ...(base as object), ...(written as object | undefined) }, overrides);

  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const lines = problems(result.error.issues, value).map(({ path, text }) => {
    const source = overrides.findLast((one) => one.path.every((key, index) => key === path[index]));
    const where = source?.where ?? read?.where(path);
    return [where, keyName(path), text].filter(Boolean).join(': ');
  });
  // In the order of the file.
  lines.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  throw new MeshtapError('CONFIG_INVALID', lines.join('\n'));
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a directory' : String(code);
    throw new MeshtapError('CONFIG_INVALID', `${file}: cannot read the configuration: ${why}`);
  }
}
