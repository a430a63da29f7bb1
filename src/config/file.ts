import { LineCounter, type ParsedNode, parseDocument, type YAMLMap } from 'yaml';
import { MeshtapError } from '../errors.js';

/** A configuration file as it was read: its value, and where each key of it stands. */
export interface ConfigFile {
  readonly value: unknown;
  /** `meshtap.yaml:12`, the line of the key, or of the nearest one above it that is there. */
  where(path: readonly PropertyKey[]): string;
}

/** Parses YAML and remembers the lines. Throws CONFIG_INVALID where it is no YAML. */
export function parseFile(text: string, name: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line } = lines.linePos(error.pos[0]);
    throw new MeshtapError('CONFIG_INVALID', `${name}:${line}: this is not YAML: ${error.message}`);
  }
  const where = (path: readonly PropertyKey[]) => {
    let node: ParsedNode | null = document.contents;
    let offset = node?.range[0] ?? 0;
    for (const step of path) {
      const next: { at: ParsedNode; value: ParsedNode | null } | undefined = child(node, step);
      if (!next) break;
      offset = next.at.range[0];
      node = next.value;
    }
    return `${name}:${lines.linePos(offset).line}`;
  };
  return { value: document.toJS(), where };
}

/** What a key or an index leads to, and the node whose line people look for: the key of a map, the item of a list. */
function child(node: ParsedNode | null, step: PropertyKey) {
  if (node && 'items' in node) {
    for (const [index, item] of node.items.entries()) {
      if ('key' in item) {
        const { key, value } = item as YAMLMap<ParsedNode, ParsedNode | null>['items'][number];
        if (String(key) === String(step)) return { at: key, value };
      } else if (index === step) {
        return { at: item as ParsedNode, value: item as ParsedNode };
      }
    }
  }
  return undefined;
}
