import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';

// Tests run on emulated machines too (test/vm), where MESHTAP_TIME_SCALE=10 is right.
const scale = Number(process.env.MESHTAP_TIME_SCALE ?? 1);
const timeouts = { testTimeout: 60_000 * scale, hookTimeout: 60_000 * scale };

/** They attach programs and load the machine: one file at a time, after the others. */
const alone = { ...timeouts, fileParallelism: false, sequence: { groupOrder: 1 } };

const projects: TestProjectInlineConfiguration[] = [
  { test: { ...timeouts, name: 'unit', include: ['test/{unit,contract}/**/*.test.ts'] } },
  { test: { ...alone, name: 'kernel', include: ['test/kernel/**/*.test.ts'] } },
];
// They change the machine they run on, or need what only Debian's kernels have: test/vm/guest.ts sets this in a guest.
if (process.env.MESHTAP_VM)
  projects.push({ test: { ...alone, name: 'vm', include: ['test/vm/**/*.test.ts'] } });
// They need the node that test/k8s/run.ts starts.
if (process.env.MESHTAP_K8S)
  projects.push({ test: { ...alone, name: 'k8s', include: ['test/k8s/**/*.test.ts'] } });

export default defineConfig({ test: { pool: 'forks', projects } });
