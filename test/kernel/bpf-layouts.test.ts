import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { shippedObject } from '../../src/bpf/object.js';

const root = join(import.meta.dirname, '../..');

test('the committed layouts are those of the object', () => {
  const script = join(root, 'scripts/generate-layouts.js');
  const fresh = execFileSync(process.execPath, [script, '--print', shippedObject('meshtap')]).toString();
  const committed = readFileSync(join(root, 'src/bpf/generated/counts.ts'), 'utf8');
  expect(committed, 'run npm run gen').toBe(fresh);
});
