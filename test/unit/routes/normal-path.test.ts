import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { normalisePath } from '../../../src/routes/normal-path.js';
import { targetText } from '../../support/patterns.js';

describe('paths have one form', () => {
  test.each([
    ['/details/1', '/details/1'],
    ['/details/1?x=/../y', '/details/1'],
    ['/%64etails/%31', '/details/1'],
    ['/a%7Eb%2Dc%5f', '/a~b-c_'],
    ['/a%2fb', '/a%2Fb'],
    ['/a%20b%3f', '/a%20b%3F'],
    ['//details///1/', '/details/1/'],
    ['/caf\xc3\xa9', '/caf%C3%A9'],
    ['/caf%c3%a9', '/caf%C3%A9'],
    ['/%252e%252e/x', '/%252e%252e/x'],
    ['/a/...', '/a/...'],
    ['/a/..b/.c', '/a/..b/.c'],
    ['/a;b=1/c', '/a;b=1/c'],
    ['http://details:9080/details/1', '/details/1'],
    ['HTTPS://details', '/'],
    ['http://details?x', '/'],
    ['http://details//x', '/x'],
  ])('%s is %s', (target, path) => {
    expect(normalisePath(target)).toBe(path);
  });

  test.each([
    ['/details/../admin', 'a dot segment'],
    ['/details/./1', 'a dot segment'],
    ['/details/..', 'a dot segment at the end'],
    ['/details/%2e%2E/admin', 'an encoded dot segment'],
    ['/details/.%2e/admin', 'a dot segment, half encoded'],
    ['/details/..%2Fadmin', 'a dot segment, if %2F is a slash'],
    ['/details/x%2f..%2Fadmin', 'a dot segment, if %2F is a slash'],
    ['/details/..%5cadmin', 'a dot segment, if %5C is a slash'],
    ['/details/..;/admin', 'a dot segment, if parameters are cut off'],
    ['/details/..%3Bx/admin', 'a dot segment, if parameters are cut off'],
    ['/details\\..\\admin', 'a backslash'],
    ['/details/%00', 'NUL'],
    ['/details/%c0%ae%c0%ae/admin', 'overlong UTF-8'],
    ['/details/%4', 'half an escape'],
    ['/details/%zz', 'no escape'],
    ['/details#x', 'a fragment'],
    ['/de tails', 'a space'],
    ['/details\t', 'a control character'],
    ['*', 'no path'],
    ['details:9080', 'an authority'],
    ['details/1', 'no slash'],
    ['ftp://details/1', 'another scheme'],
    ['http:///details', 'no authority'],
    ['', 'nothing'],
  ])('%s is refused: %s', (target) => {
    expect(normalisePath(target)).toBeUndefined();
  });
});

test('the normal form of a normal form is itself, and has nothing in it that is refused', () => {
  fc.assert(
    fc.property(targetText, (target) => {
      const path = normalisePath(target);
      fc.pre(path !== undefined);
      expect(normalisePath(path)).toBe(path);
      expect(path).toMatch(/^(\/([\x21-\x7e](?<![?#\\/%])|%[0-9A-F]{2})*)+$/);
      expect(path).not.toMatch(/\/\/|\/\.\.?(\/|$)/);
    }),
    { numRuns: 3000 },
  );
});
