import { defineConfig } from 'vitest/config';

// Tests run on emulated machines too (test/vm), where MESHTAP_TIME_SCALE=10 is right.
const scale = Number(process.env.MESHTAP_TIME_SCALE ?? 1);
const timeouts = { testTimeout: 20_000 * scale, hookTimeout: 20_000 * scale };

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      { test: { ...timeouts, name: 'unit', include: ['test/{unit,contract}/**/*.test.ts'] } },
      {
        // They attach programs and load the machine: one file at a time, after the others.
        test: {
          ...timeouts,
          name: 'kernel',
          include: ['test/kernel/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
