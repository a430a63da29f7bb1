import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { containerOfPath, nameOf, podOfPath } from '../../../src/identity/cgroup-name.js';

interface Layout {
  from: string;
  path: string;
  service: string;
  workload: string;
  /** The full id, where it is in a container. */
  container?: string;
  /** The uid, where it is in a pod. */
  pod?: string;
}

const layouts: Layout[] = JSON.parse(
  readFileSync(new URL('../../fixtures/cgroup-paths.json', import.meta.url), 'utf8'),
);

test.each(layouts)('$from: $path', ({ path, service, workload, container, pod }) => {
  expect(nameOf(path)).toEqual({ service, workload });
  expect(containerOfPath(path)).toBe(container);
  expect(podOfPath(path)).toBe(pod);
});

test('any path has a name, and no name is longer than a directory can be', () => {
  const part = fc
    .string({ minLength: 1, maxLength: 255, unit: 'binary' })
    .filter((text) => !text.includes('/'));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const { service, workload } = nameOf(`/${parts.join('/')}`);
      expect(service.length).toBeGreaterThan(0);
      expect(service.length).toBeLessThanOrEqual(255);
      expect(workload.length).toBeLessThanOrEqual(255);
    }),
  );
});
