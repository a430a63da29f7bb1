import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Compiler } from '../../../src/routes/automaton.js';
import { type LearnOptions, RouteLearner } from '../../../src/routes/learn.js';
import type { Template } from '../../../src/routes/template.js';
import { walkPath } from '../../../src/routes/walk.js';

function learned(paths: readonly string[], options?: LearnOptions): string[] {
  const learner = new RouteLearner(options);
  for (const path of paths) learner.add(path);
  return learner.templates().map(({ text }) => text);
}

const often = (...paths: string[]) => [...paths, ...paths, ...paths];
const numbers = Array.from({ length: 30 }, (_, i) => i + 1);

describe('what identifies something becomes a parameter', () => {
  test.each([
    ['numbers', numbers.map((i) => `/details/${i}`), ['/details/{id}', '/*']],
    ['UUIDs', numbers.map(() => `/orders/${randomUUID()}/items`), ['/orders/{uuid}/items', '/*']],
    ['hashes', numbers.map((i) => `/c/${(i + 1e15).toString(16).padStart(40, 'a')}`), ['/c/{hash}', '/*']],
    ['dates', numbers.map((i) => `/d/2026-01-${String(i).padStart(2, '0')}`), ['/d/{date}', '/*']],
    ['two in one path', numbers.map((i) => `/u/${i}/p/${i}`), ['/u/{id}/p/{id2}', '/*']],
    ['queries do not count', numbers.map((i) => `/search?q=${i}`), ['/search', '/*']],
    ['words do not', often('/users/me', '/users/all', '/'), ['/', '/users/me', '/users/all', '/*']],
    ['but many of them do', often(...numbers.map((i) => `/u/a${i}x/p`)), ['/u/{name}/p', '/*']],
    ['a trailing slash stays', often('/a/', '/a'), ['/a', '/a/', '/*']],
    ['what is seen once or twice is none', ['/a', '/a', '/b'], ['/*']],
    ['what has no normal form is none', often('/a/../b', '/%00', 'x'), ['/*']],
  ])('%s', (_, paths, templates) => {
    expect([...learned(paths)].sort()).toEqual([...templates].sort());
  });
});

test('there are no more than allowed, and the rest has its own', () => {
  const paths = often(...Array.from({ length: 500 }, (_, i) => `/p${i % 15}/q${i % 14}/r${i % 13}`));
  const templates = learned(paths, { templates: 10 });
  expect(templates).toHaveLength(11);
  expect(templates.at(-1)).toBe('/*');
});

const SEGMENTS = [
  'a',
  'b',
  'c',
  'd',
  'e',
  '1',
  '22',
  '2026-01-02',
  '1234567890123456',
  'deadbeefdeadbeef',
  '',
];
const path = fc
  .array(fc.constantFrom(...SEGMENTS), { minLength: 1, maxLength: 4 })
  .map((segments) => `/${segments.join('/')}`.replaceAll(/\/+/g, '/'));

/** By path: the text of its template. */
function routes(templates: readonly Template[], paths: readonly string[]): string[] {
  const automaton = new Compiler().compile([{ name: 's', of: 'path', patterns: templates }]);
  return paths.map((one) => templates[walkPath(automaton, 's', Buffer.from(one))[0]!]!.text);
}

test('a path that has a template keeps it, whatever is seen later', () => {
  let kept = 0;
  fc.assert(
    fc.property(
      fc.array(path, { minLength: 10, maxLength: 120 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 12 }),
      (paths, support, words, templates) => {
        const learner = new RouteLearner({ support, words, templates });
        const all = [...new Set(paths)];
        let before = all.map(() => '/*');
        for (let i = 0; i < paths.length; i += 10) {
          for (const one of paths.slice(i, i + 10)) learner.add(one);
          const found = learner.templates();
          expect(found.length).toBeLessThanOrEqual(templates + 1);
          expect(new Set(found.map(({ text }) => text)).size).toBe(found.length);
          const now = routes(found, all);
          now.forEach((route, j) => {
            if (before[j] === '/*') return;
            expect(route, all[j]).toBe(before[j]);
            kept++;
          });
          before = now;
        }
      },
    ),
    { numRuns: 150 },
  );
  expect(kept).toBeGreaterThan(200);
});

test('memory is bounded by what may be learned, not by what is seen', () => {
  const learner = new RouteLearner({ templates: 5 });
  const random = (i: number, salt: number) => `w${(i * 2_654_435_761 * salt) % 9973}`;
  for (let i = 0; i < 20_000; i++)
    learner.add(`/${random(i, 1)}/${random(i, 3)}/${random(i, 7)}/${random(i, 9)}`);
  expect(learner.templates().length).toBeLessThanOrEqual(6);
  expect(learner.places).toBeLessThanOrEqual(5 * 40 + 4);
});
