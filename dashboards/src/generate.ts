/**
 * Writes what `dashboards/` holds: `npm run gen:dashboards`. A test compares the committed files with what this makes.
 *
 * @module
 */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { stringify } from 'yaml';
import { alertingRules, OBJECTIVES_FILE, objectiveRules } from './alerts.js';
import { DIALECTS, type Dialect } from './dialects.js';
import { overview } from './overview.js';
import { pairDashboard } from './pair.js';
import { policy } from './policy.js';
import { type Group, recordingRules } from './rules.js';
import { self } from './self.js';
import { serviceDashboard } from './service.js';
import { tcpDns } from './tcp-dns.js';

/** All files of one dialect: path below its folder, and text. */
export function filesOf(dialect: Dialect): Map<string, string> {
  const dashboards = [
    overview(dialect),
    serviceDashboard(dialect),
    pairDashboard(dialect),
    tcpDns(dialect),
    ...(dialect.policy ? [policy()] : []),
    self(),
  ];
  const files = new Map<string, string>();
  for (const one of dashboards)
    files.set(
      `dashboards/${one.uid?.replace('meshtap-', '')}.json`,
      `${JSON.stringify(one, undefined, 1)}\n`,
    );
  files.set('rules/meshtap-recording.yaml', rules([...recordingRules(dialect), objectiveRules()]));
  files.set('rules/meshtap-alerts.yaml', rules(alertingRules(dialect)));
  files.set('rules/meshtap-objectives.yaml', OBJECTIVES_FILE);
  return files;
}

function rules(groups: readonly Group[]): string {
  return `# Generated; meshtap dashboards writes it anew. What services promise is in meshtap-objectives.yaml.\n${stringify({ groups }, { lineWidth: 0, blockQuote: 'literal' })}`;
}

/** The files of every dialect, by their path below `dashboards/`. */
export function allFiles(): Map<string, string> {
  return new Map(
    DIALECTS.flatMap((dialect) =>
      [...filesOf(dialect)].map(([path, text]): [string, string] => [join(dialect.name, path), text]),
    ),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = join(import.meta.dirname, '..');
  for (const { name } of DIALECTS) rmSync(join(root, name), { recursive: true, force: true });
  for (const [path, text] of allFiles()) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
