import fc from 'fast-check';

/** Few letters, so that things meet, and what is special in paths and in patterns. */
const LETTERS = ['a', 'b', 'A', '1', '/', '.', '-', '%41', '%2F', '%3B', ';', '~'];
const CLASSES = ['[ab]', '[^/]', '[^a]', '[a-z]', '[0-9]', '\\d', '\\w', '.', '\\.', '\\W', '[^/.]'];

/** Regular expressions that RE2 and JavaScript read the same, for text without newlines. */
export const regexText: fc.Arbitrary<string> = fc.letrec<{ node: string }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    { weight: 4, arbitrary: fc.constantFrom(...LETTERS.map((text) => text.replace('.', '\\.'))) },
    { weight: 3, arbitrary: fc.constantFrom(...CLASSES) },
    { weight: 5, arbitrary: fc.tuple(tie('node'), tie('node')).map(([a, b]) => `${a}${b}`) },
    { weight: 2, arbitrary: fc.tuple(tie('node'), tie('node')).map(([a, b]) => `(${a}|${b})`) },
    {
      weight: 3,
      arbitrary: fc
        .tuple(tie('node'), fc.constantFrom('*', '+', '?', '*?', '{2}', '{1,3}', '{0,2}', '{2,}'))
        .map(([a, many]) => `(?:${a})${many}`),
    },
    { weight: 1, arbitrary: tie('node').map((a) => `^${a}`) },
    { weight: 1, arbitrary: tie('node').map((a) => `${a}$`) },
  ),
})).node;

/** Request targets, one character for each byte; more than half of them have a normal form. */
export const targetText: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom('/', '/', '/', '/', '//', '', 'http://h/', 'HTTPS://h:80', '*'),
    fc.array(
      fc.oneof(
        { weight: 20, arbitrary: fc.constantFrom(...LETTERS) },
        {
          weight: 3,
          arbitrary: fc.constantFrom(
            '%2e',
            '%2E',
            '%61',
            '%7e',
            '%2f',
            '%5c',
            '%25',
            '%2',
            '%zz',
            '%00',
            '%C0',
            '%c3%a9',
          ),
        },
        {
          weight: 1,
          arbitrary: fc.constantFrom(
            '?',
            '#',
            '\\',
            ' ',
            '\x7f',
            '\xe9',
            '\xff',
            '..',
            '../',
            './',
            ':',
            '@',
          ),
        },
      ),
      { maxLength: 9 },
    ),
  )
  .map(([start, rest]) => start + rest.join(''));

export const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
