import { describe, expect, test } from 'vitest';
import { Compiler } from '../../../src/routes/automaton.js';
import { bySpeciality, template } from '../../../src/routes/template.js';
import { walkPath } from '../../../src/routes/walk.js';

/** The template that a path gets. */
function routeOf(texts: readonly string[], target: string): string | undefined {
  const patterns = texts.map((text) => template(text)).sort(bySpeciality);
  const automaton = new Compiler().compile([{ name: 's', of: 'path', patterns }]);
  const [best] = walkPath(automaton, 's', Buffer.from(target));
  return best === undefined ? undefined : patterns[best]!.text;
}

test.each([
  ['/details/{id}', '/details/1', true],
  ['/details/{id}', '/details/1?x=/2', true],
  ['/details/{id}', '/details/group%2Fproject', true],
  ['/details/{id}', '/details/', false],
  ['/details/{id}', '/details/1/2', false],
  ['/details/{id}', '/details/1/', false],
  ['/files/{name}.json', '/files/a.json', true],
  ['/files/{name}.json', '/files/.json', false],
  ['/{a}-{b}/x', '/1-2/x', true],
  ['/static/*', '/static/', true],
  ['/static/*', '/static/css/a.css', true],
  ['/static/*', '/static', false],
  ['/*', '/', true],
  ['/', '/', true],
  ['/caf\u00e9/{id}', '/caf%c3%a9/1', true],
  ['/%7euser', '/~user', true],
  ['/a%2fb', '/a%2Fb', true],
  ['/a.b', '/axb', false],
])('%s and %s: %s', (text, target, matches) => {
  expect(routeOf([text], target)).toBe(matches ? text : undefined);
});

describe('the most special template goes first, however they are given', () => {
  const texts = [
    '/*',
    '/users/*',
    '/users/{id}',
    '/users/{id}/posts',
    '/users/me',
    '/users/{id}.json',
    '/{any}/x',
  ];
  test.each([
    ['/users/me', '/users/me'],
    ['/users/17', '/users/{id}'],
    ['/users/17.json', '/users/{id}.json'],
    ['/users/17/posts', '/users/{id}/posts'],
    ['/users/17/other', '/users/*'],
    ['/users/x', '/users/{id}'],
    ['/other/x', '/{any}/x'],
    ['/other', '/*'],
  ])('%s is %s', (target, route) => {
    expect(routeOf(texts, target)).toBe(route);
    expect(routeOf([...texts].reverse(), target)).toBe(route);
  });
});

test.each([
  ['details', /begin with \//],
  ['/a/*/b', /\* before its end/],
  ['/a//b', /empty segment/],
  ['/a/../b', /in no path/],
  ['/a?b', /in no path/],
  ['/a b', /in no path/],
  ['/a/%zz', /in no path/],
  ['/{id}/{id}', /two parameters \{id\}/],
  ['/{id', /other half/],
  ['/{}', /without a name/],
])('%s is refused', (text, problem) => {
  expect(() => template(text)).toThrow(problem);
});
