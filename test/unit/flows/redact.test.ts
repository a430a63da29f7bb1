import { describe, expect, test } from 'vitest';
import { redactor, redactUrl } from '../../../src/flows/redact.js';
import { response } from '../../support/flows.js';

describe('a URL', () => {
  test.each([
    ['http://host/details/42?user=jo#x', 'http://host/details/{id}'],
    ['/a/b', '/a/b'],
    ['/?q', '/'],
    ['', ''],
    ['https://jo:secret@host:8443/x', 'https://host:8443/x'],
    ['/users/550e8400-e29b-41d4-a716-446655440000/cart', '/users/{id}/cart'],
    ['/o/507f1f77bcf86cd799439011', '/o/{id}'],
    ['/commit/9fceb02', '/commit/9fceb02'],
    ['/commit/9fceb02d', '/commit/{id}'],
    ['/deadbeef', '/deadbeef'],
    ['/t/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9', '/t/{id}'],
    ['/mail/jo@example.com', '/mail/{id}'],
    ['/mail/jo%40example.com', '/mail/{id}'],
    ['/api/v1/products', '/api/v1/products'],
    ['/static/app2.js', '/static/app2.js'],
    ['/very-long-name-of-a-resource-in-words', '/very-long-name-of-a-resource-in-words'],
    ['*', '*'],
    ['/users/4711\u2026', '/users/\u2026'],
    ['/users/4711?token=cut\u2026', '/users/{id}'],
  ])('%s', (url, expected) => expect(redactUrl(url)).toBe(expected));

  test('by halves', () => {
    expect(redactUrl('/details/42?user=jo', { query: false })).toBe('/details/{id}?user=jo');
    expect(redactUrl('/details/42?user=jo', { ids: false })).toBe('/details/42');
  });
});

describe('a flow', () => {
  const { flow } = response({ url: 'http://host/details/42?user=jo', code: 200, latency: 3.7 });
  const http = flow.l7!.http!;
  const headers = [
    { key: 'Authorization', value: 'Bearer secret' },
    { key: 'Content-Length', value: '17' },
  ];

  test('its line for people too', () => {
    const shown = redactor()({ ...flow, summary: 'HTTP/1.1 200 3ms (GET http://host/details/42?user=jo)' });
    expect(shown.summary).toBe('HTTP/1.1 200 3ms (GET http://host/details/{id})');
    expect(shown.l7!.http!.url).toBe('http://host/details/{id}');
  });

  test('values of headers, but for the harmless', () => {
    const shown = redactor()({ ...flow, l7: { ...flow.l7!, http: { ...http, headers } } });
    expect(shown.l7!.http!.headers).toEqual([
      { key: 'Authorization', value: '***' },
      { key: 'Content-Length', value: '17' },
    ]);
  });

  test('nothing, if nothing is to be', () => {
    const full = { ...flow, l7: { ...flow.l7!, http: { ...http, headers } } };
    expect(redactor({ query: false, ids: false, headers: false })(full)).toBe(full);
    const { flow: harmless } = response({ url: '/a' });
    expect(redactor()(harmless)).toBe(harmless);
  });
});
