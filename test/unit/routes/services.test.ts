import { describe, expect, test } from 'vitest';
import { imageOf } from '../../../src/routes/image.js';
import { readRoute } from '../../../src/routes/route.js';
import { CompiledRoutes } from '../../../src/routes/services.js';

const paths = (...texts: string[]) => texts.map((text) => readRoute(text, 'template'));
const compiled = new CompiledRoutes([
  { service: 'a', namespace: 'x', routes: paths('/x/{in}') },
  { service: 'a', routes: paths('GET /a', '/x/{of}', '/x/{of}/more') },
  { routes: paths('/x/{any}', '/all/*') },
]);
const routeOf = (service: string, namespace: string, method: string, path: string) =>
  compiled.routeOf({ service, namespace }, method, Buffer.from(path));

describe('routes of services', () => {
  test('the narrowest goes first', () => {
    expect(routeOf('a', 'x', 'GET', '/x/1')).toBe('/x/{in}');
    expect(routeOf('a', 'y', 'GET', '/x/1')).toBe('/x/{of}');
    expect(routeOf('b', 'x', 'GET', '/x/1')).toBe('/x/{any}');
  });

  test('all that are meant for a service apply', () => {
    expect(routeOf('a', 'x', 'GET', '/x/1/more')).toBe('/x/{of}/more');
    expect(routeOf('a', 'x', 'GET', '/all/1')).toBe('/all/*');
    expect(routeOf('a', 'x', 'POST', '/a')).toBe('*');
    expect(routeOf('b', 'x', 'GET', '/a')).toBe('*');
  });

  test('there may be none', () => {
    const some = new CompiledRoutes([{ service: 'a', routes: paths('/a') }]);
    expect(some.routeOf({ service: 'b', namespace: '' }, 'GET', Buffer.from('/a'))).toBeUndefined();
  });

  test('a method that nobody knows has a route where all have the same', () => {
    const only = new CompiledRoutes([{ routes: paths('/same', 'GET /get') }]);
    const [none, other, same, get] = [0, 1, 2, 3];
    const image = imageOf(only, {
      methods: ['_OTHER', 'GET', undefined],
      methodWords: 4,
      scopeWords: 4,
      scopes: [undefined, ''],
      idOf: (text) => (text === '/same' ? same : get),
      other,
      none,
    });
    const choices = image.words.subarray(image.route, image.scope);
    const vectors = Array.from({ length: choices.length / 4 }, (_, i) => [
      ...choices.subarray(i * 4, i * 4 + 3),
    ]);
    expect(vectors).toContainEqual([other, get, none]);
    expect(vectors).toContainEqual([same, same, same]);
    expect(vectors[0]).toEqual([other, other, other]);
  });
});

test('a route is a pattern, perhaps with a method before it', () => {
  expect(readRoute('GET /a', 'template')).toMatchObject({ method: 'GET', pattern: { text: '/a' } });
  for (const text of ['', 'get /a', 'PURGE /a', 'a', 'GET', 'GET /a b'])
    expect(() => readRoute(text, 'template'), text).toThrow(/pattern/);
});
