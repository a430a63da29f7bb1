import { describe, expect, test } from 'vitest';
import { openApiRoutes } from '../../../src/routes/openapi.js';

const routesOf = (text: string) =>
  openApiRoutes(text, 'api.yaml').map(({ method, template }) => `${method ?? 'any'} ${template.text}`);

const YAML = `openapi: 3.1.0
info: {title: Details, version: '1'}
servers:
- url: https://{region}.example.com/api/{version}/
  variables: {region: {default: eu}, version: {default: v1}}
- url: /internal
paths:
  /details/{id}:
    summary: One
    parameters: []
    get: {responses: {}}
    delete: {responses: {}, servers: [{url: 'http://admin.example.com'}]}
  /files/{name}.json:
    servers: [{url: files/}]
    post: {}
  /elsewhere:
    $ref: other.yaml#/paths/elsewhere
  x-note: {}
`;

test('paths with their methods, behind the paths of servers', () => {
  expect(routesOf(YAML)).toEqual([
    'GET /api/v1/details/{id}',
    'GET /internal/details/{id}',
    'DELETE /details/{id}',
    'POST /files/files/{name}.json',
    'any /api/v1/elsewhere',
    'any /internal/elsewhere',
  ]);
});

test('JSON, version 3.0, no servers, no paths', () => {
  expect(routesOf(JSON.stringify({ openapi: '3.0.3', paths: { '/': { head: {} } } }))).toEqual(['HEAD /']);
  expect(routesOf('openapi: 3.1.0\ncomponents: {}\n')).toEqual([]);
});

describe('is refused with its line', () => {
  test.each([
    ['swagger: "2.0"\npaths: {}\n', /^api\.yaml:1: this is no OpenAPI document: openapi/],
    [
      'info: {}\nopenapi: 2.0.0\n',
      /^api\.yaml:2: this is no OpenAPI document: openapi: version 3\.0 or 3\.1/,
    ],
    ['openapi: 3.0.0\npaths:\n  /a: []\n', /^api\.yaml:3: this is no OpenAPI document: paths\.\/a/],
    ['openapi: 3.0.0\npaths:\n  a:\n    get: {}\n', /^api\.yaml:3: the pattern "a" does not begin with \//],
    ['openapi: 3.0.0\npaths:\n  /{:\n    get: {}\n', /^api\.yaml:3: the pattern "\/\{" has a \{ without/],
    ['a: [\n', /^api\.yaml:\d: this is neither YAML nor JSON/],
    ['', /^api\.yaml:1: this is no OpenAPI document/],
  ])('%j', (text, message) => {
    expect(() => openApiRoutes(text, 'api.yaml')).toThrow(message);
  });
});
