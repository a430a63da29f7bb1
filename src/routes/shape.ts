import type { Shape } from './template.js';

/** Segments that identify something, by what they look like; the same as the automaton takes for each. */
const SHAPES: readonly (readonly [Exclude<Shape, 'any'>, RegExp])[] = [
  ['number', /^\d+$/],
  ['date', /^\d{4}-\d\d-\d\d$/],
  ['uuid', /^[\dA-F]{8}-([\dA-F]{4}-){3}[\dA-F]{12}$/i],
  ['hash', /^[\dA-F]{16,}$/i],
];

/** What a segment looks like; undefined for a word. Depends on nothing but the segment, so that no sample changes it. */
export function shapeOf(segment: string): Exclude<Shape, 'any'> | undefined {
  return SHAPES.find(([, pattern]) => pattern.test(segment))?.[0];
}
