/** The automaton against other engines for regular expressions: JavaScript's own, and RE2's (re2js). */
import fc from 'fast-check';
import { RE2JS } from 're2js';
import { describe, expect, test } from 'vitest';
import { Compiler } from '../../../src/routes/automaton.js';
import { normalisePath } from '../../../src/routes/normal-path.js';
import { PatternError } from '../../../src/routes/program.js';
import { regex } from '../../../src/routes/regex.js';
import type { Scope } from '../../../src/routes/scope.js';
import { walkPath, walkText } from '../../../src/routes/walk.js';
import { latin1, regexText, targetText } from '../../support/patterns.js';

/** The scope without the patterns that match nothing, and its automaton. */
function compiled(of: Scope['of'], texts: readonly string[]) {
  for (let left = [...texts]; ; ) {
    try {
      const scope: Scope = { name: 's', of, patterns: left.map((text) => regex(text)) };
      return { texts: left, automaton: new Compiler().compile([scope]) };
    } catch (error) {
      if (!(error instanceof PatternError) || !error.message.includes('matches no')) throw error;
      left = left.filter((text) => text !== error.pattern);
    }
  }
}

const inJavaScript = (texts: readonly string[], input: string) =>
  texts.flatMap((text, i) => (new RegExp(`^(?:${text})$`).test(input) ? i : []));
const inRe2 = (texts: readonly string[], input: string) =>
  texts.flatMap((text, i) => (RE2JS.matches(text, input) ? i : []));

describe('random patterns', () => {
  const patterns = fc.uniqueArray(regexText, { minLength: 1, maxLength: 6 });

  test('match the paths that other engines say, in their normal form', () => {
    let matched = 0;
    fc.assert(
      fc.property(patterns, fc.array(targetText, { minLength: 20, maxLength: 40 }), (all, targets) => {
        const { texts, automaton } = compiled('path', ['/.*', ...all.map((text) => `/${text}`), ...all]);
        for (const target of targets) {
          const path = normalisePath(target);
          const found = walkPath(automaton, 's', latin1(target));
          expect(found, target).toEqual(path === undefined ? [] : inJavaScript(texts, path));
          expect(found, target).toEqual(path === undefined ? [] : inRe2(texts, path));
          matched += found.length > 1 ? 1 : 0;
        }
      }),
      { numRuns: 200 },
    );
    // The test has seen something else than paths that nothing matches.
    expect(matched).toBeGreaterThan(50);
  });

  test('match the texts that other engines say', () => {
    const text = fc.string({ unit: fc.constantFrom(...'abA1/.-;~%'), maxLength: 8 });
    fc.assert(
      fc.property(patterns, fc.array(text, { minLength: 20, maxLength: 40 }), (all, inputs) => {
        const { texts, automaton } = compiled('text', all);
        for (const input of inputs)
          expect(walkText(automaton, 's', latin1(input)), input).toEqual(inJavaScript(texts, input));
      }),
      { numRuns: 150 },
    );
  });
});

/** What JavaScript writes in another way. */
describe('the syntax of RE2', () => {
  test.each([
    ['[[:alpha:]]+', 'abZ', true],
    ['[[:alpha:]]+', 'ab1', false],
    ['[[:^digit:]]', 'x', true],
    ['(?i)get', 'GeT', true],
    ['(?i:g)et', 'GET', false],
    ['(?P<name>a+)b', 'aab', true],
    ['\\Aab\\z', 'ab', true],
    ['\\Q.*\\E', '.*', true],
    ['\\Q.*\\E', 'ab', false],
    ['[]a]+', ']a', true],
    ['\\pL+', 'ab', true],
    ['\\x61{2}', 'aa', true],
    ['a{,2}', 'a{,2}', true],
    ['(?m)^a$', 'a', true],
    ['a|b', 'ab', false],
    ['a|\\z\\A', '', true],
    ['', '', true],
  ])('%s and %s: %s', (text, input, matches) => {
    const automaton = new Compiler().compile([{ name: 's', of: 'text', patterns: [regex(text)] }]);
    expect(walkText(automaton, 's', latin1(input))).toEqual(matches ? [0] : []);
    expect(RE2JS.matches(text, input)).toBe(matches);
  });

  test.each([
    ['a(?=b)', /RE2/],
    ['(a)\\1', /RE2/],
    ['a(', /RE2/],
    ['a\\b', /word boundary/],
    ['caf\u00e9', /%C3%A9/],
  ])('%s is refused', (text, problem) => {
    expect(() => regex(text)).toThrow(
      expect.objectContaining({ code: 'PATTERN_REFUSED', pattern: text }) as Error,
    );
    try {
      regex(text);
    } catch (error) {
      const { message, hint } = error as PatternError;
      expect(`${message} ${hint}`).toMatch(problem);
    }
  });

  test.each(['details', '/a//b', '/a\\?b=1', '/a%2fb', '/%41', '/a b', '/\\.\\./b'])(
    '%s is refused, for it matches no path',
    (text) => {
      const scope: Scope = { name: 's', of: 'path', patterns: [regex('/.*'), regex(text)] };
      expect(() => new Compiler().compile([scope])).toThrow(/matches no path/);
    },
  );
});

describe('scopes', () => {
  const scope = (name: string, ...texts: string[]): Scope => ({
    name,
    of: 'path',
    patterns: texts.map((text) => regex(text)),
  });

  test('begin in states of their own', () => {
    const automaton = new Compiler().compile([scope('a', '/x'), scope('b', '/y', '/[xy]')]);
    expect(walkPath(automaton, 'a', latin1('/x'))).toEqual([0]);
    expect(walkPath(automaton, 'a', latin1('/y'))).toEqual([]);
    expect(walkPath(automaton, 'b', latin1('/x'))).toEqual([1]);
    expect(walkPath(automaton, 'b', latin1('/y'))).toEqual([0, 1]);
  });

  test('with the same patterns share their states', () => {
    const automaton = new Compiler().compile([scope('a', '/x', '/y'), scope('b', '/x', '/y')]);
    expect(automaton.starts.get('a')).toBe(automaton.starts.get('b'));
  });

  test('are compiled the same, whether one after another or at once', () => {
    const compiler = new Compiler();
    compiler.compile([scope('a', '/x')]);
    compiler.compile([scope('b', '/a.*')]);
    const later = compiler.compile([scope('a', '/x'), scope('b', '/a.*')]);
    expect(later).toEqual(new Compiler().compile([scope('a', '/x'), scope('b', '/a.*')]));
  });

  test('that have no patterns match nothing', () => {
    const automaton = new Compiler().compile([scope('a')]);
    expect(walkPath(automaton, 'a', latin1('/'))).toEqual([]);
  });
});

test('automata are the smallest ones', () => {
  const states = (...texts: string[]) => {
    const empty = new Compiler().compile([]).stateCount;
    const automaton = new Compiler().compile([
      { name: 's', of: 'text', patterns: texts.map((text) => regex(text)) },
    ]);
    return automaton.stateCount - empty;
  };
  expect(states('abc|abd|xbc|xbd')).toBe(4);
  expect(states('(a|b)*')).toBe(1);
  expect(states('a*a*a*')).toBe(1);
  // What is at the place n from the end has to be remembered for n places: 2^n (Meyer and Fischer 1971).
  expect(states('(a|b)*a(a|b){6}')).toBe(2 ** 7);
});

describe('an automaton that would be too large', () => {
  const path = (texts: readonly string[]): Scope => ({
    name: 'shop',
    of: 'path',
    patterns: texts.map((text) => regex(text)),
  });
  const harmless = Array.from({ length: 40 }, (_, i) => `/orders/${i}`);
  const explosive = '/(a|b)*a(a|b){30}';

  test('is refused with the pattern that made it explode', () => {
    const all = [...harmless.slice(0, 25), explosive, ...harmless.slice(25)];
    expect(() => new Compiler({ states: 2000 }).compile([path(all)])).toThrow(
      expect.objectContaining({
        code: 'PATTERN_REFUSED',
        pattern: explosive,
        message: expect.stringMatching(/automaton of shop too large, by itself/),
      }) as Error,
    );
  });

  test('is refused where several together are too much', () => {
    const together = ['/.*a.*b.*c', '/.*d.*e.*f', '/.*g.*h.*i', '/.*j.*k.*l'];
    const compiler = new Compiler({ states: 100 });
    expect(() => compiler.compile([path(together.slice(0, 2))])).not.toThrow();
    expect(() => compiler.compile([path(together)])).toThrow(
      expect.objectContaining({ pattern: together[2] }) as Error,
    );
  });

  test('is refused where its table has too many bytes', () => {
    expect(() => new Compiler({ bytes: 4096 }).compile([path(harmless)])).toThrow(/too large/);
  });

  test('leaves the one before in place', () => {
    const compiler = new Compiler({ states: 2000 });
    const before = compiler.compile([path(harmless)]);
    expect(() => compiler.compile([path([...harmless, explosive])])).toThrow(PatternError);
    expect(compiler.compile([path(harmless)])).toEqual(before);
  });
});
