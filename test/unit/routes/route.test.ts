import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Compiler } from '../../../src/routes/automaton.js';
import { regex } from '../../../src/routes/regex.js';
import { inOrder, type Route, routeOf } from '../../../src/routes/route.js';
import { template } from '../../../src/routes/template.js';
import { walkPath } from '../../../src/routes/walk.js';

/** `GET /details/{id}`, `~/details/[0-9]+` */
function route(text: string): Route {
  const [, method, pattern] = /^(?:([A-Z]+) )?(.*)$/.exec(text)!;
  const read = pattern!.startsWith('~') ? regex(pattern!.slice(1)) : template(pattern!);
  return { ...(method && { method }), pattern: read };
}

function routed(texts: readonly string[], request: string): string | undefined {
  const routes = inOrder(texts.map(route));
  const patterns = routes.map(({ pattern }) => pattern);
  const automaton = new Compiler().compile([{ name: 's', of: 'path', patterns }]);
  const [method, target] = request.split(' ') as [string, string];
  const found = routeOf(routes, walkPath(automaton, 's', Buffer.from(target)), method);
  return found && [found.method, found.pattern.text].filter(Boolean).join(' ');
}

const ROUTES = [
  '/*',
  '~/details/[0-9]+',
  '~/details/[a-z]+(/.*)?',
  'GET /details/{id}',
  '/details/{id}',
  '/details/*',
  'POST /details/all',
  '~/x/.*',
];

describe('the best route that the method fits', () => {
  test.each([
    ['GET /details/1', 'GET /details/{id}'],
    ['PUT /details/1', '/details/{id}'],
    ['POST /details/all', 'POST /details/all'],
    ['PUT /details/all', '/details/{id}'],
    ['GET /details/all/more', '/details/*'],
    ['GET /x/y', '/*'],
  ])('%s is %s', (request, text) => {
    expect(routed(ROUTES, request)).toBe(text);
  });

  test('regular expressions in the order given, where no template matches', () => {
    const some = ROUTES.filter((text) => !text.includes('*') || text.startsWith('~')).filter(
      (t) => !t.includes('{'),
    );
    expect(routed(some, 'GET /details/1')).toBe('/details/[0-9]+');
    expect(routed(['~/a.*', 'GET ~/ab'], 'GET /ab')).toBe('/a.*');
    expect(routed(['GET ~/ab', '~/a.*'], 'GET /ab')).toBe('GET /ab');
    expect(routed(some, 'GET /other')).toBeUndefined();
  });
});

test('the order of templates does not depend on how they are given', () => {
  const templates = ROUTES.filter((text) => !text.startsWith('~'));
  const order = inOrder(templates.map(route)).map(({ method, pattern }) => [method, pattern.text]);
  fc.assert(
    fc.property(fc.shuffledSubarray(templates, { minLength: templates.length }), (shuffled) => {
      expect(inOrder(shuffled.map(route)).map(({ method, pattern }) => [method, pattern.text])).toEqual(
        order,
      );
    }),
  );
});
