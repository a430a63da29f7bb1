/** Elements, made of text and never of markup: names and paths are written by others. */

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** The element of the page that has this id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Writes only what changed, so that a reader is not disturbed and nothing is painted for nothing. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** A table of texts; the first column heads its rows. */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): HTMLTableElement {
  const head = columns.map(({ title, number = false }) =>
    element('th', { scope: 'col', className: number ? 'number' : '' }, title),
  );
  const body = rows.map((cells) =>
    element(
      'tr',
      {},
      ...cells.map((cell, i) => {
        const { number = false, wide = false } = columns[i] ?? {};
        return element('td', { className: number ? 'number' : wide ? 'wide' : '' }, cell);
      }),
    ),
  );
  return element(
    'table',
    {},
    element('caption', { className: 'note' }, caption),
    element('thead', {}, element('tr', {}, ...head)),
    element('tbody', {}, ...body),
  );
}

export interface Column {
  title: string;
  number?: boolean;
  wide?: boolean;
}

type Cell = string | Node;
