/** The picture. What it shows is in the table as well, so that nobody has to see it. */
import type { Core, ElementDefinition, StylesheetJson } from 'cytoscape';
import type { EdgeEnd } from '../../../metrics/edges.js';
import type { WireEdge } from '../wire.js';
import cytoscape from './cytoscape.js';
import { byId } from './dom.js';
import { keyOf } from './filter.js';
import { name, rate, share } from './format.js';
import { positions } from './layout.js';

export interface GraphEvents {
  edge(key: string): void;
  service(name: string): void;
}

/** With more edges than this, texts on them would only hide each other. */
const LABELLED = 60;
const groupOf = ({ namespace }: EdgeEnd) => `namespace:${namespace}`;

export class Graph {
  readonly #cy: Core;
  /** Of what is drawn now, in order. */
  #drawn = '';

  constructor({ edge, service }: GraphEvents) {
    this.#cy = cytoscape({
      container: byId('graph'),
      style: styles(),
      // While it is moved a picture of it is: thousands of edges can not be drawn sixty times a second everywhere.
      textureOnViewport: true,
      boxSelectionEnabled: false,
      minZoom: 0.05,
      maxZoom: 3,
    });
    this.#cy.on('tap', 'edge', ({ target }) => edge(target.data('key')));
    this.#cy.on('tap', 'node:childless', ({ target }) => service(target.data('label')));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#cy.style(styles()));
    byId('closer').addEventListener('click', () => this.#zoom(1.3));
    byId('farther').addEventListener('click', () => this.#zoom(1 / 1.3));
    byId('fit').addEventListener('click', () => this.#fit());
    // The panel beside it comes and goes.
    new ResizeObserver(() => this.#fit()).observe(byId('graph'));
  }

  /** Draws these edges and the services at their ends. What is there already changes in its place. */
  show(edges: readonly WireEdge[], chosen: string | undefined): void {
    const drawn = edges.map(keyOf).sort().join('\n');
    const labelled = edges.length <= LABELLED;
    this.#cy.batch(() => {
      if (drawn !== this.#drawn) this.#rebuild(edges);
      for (const edge of edges) this.#update(edge, labelled, chosen);
    });
    if (drawn !== this.#drawn) this.#fit();
    this.#drawn = drawn;
  }

  #rebuild(edges: readonly WireEdge[]): void {
    const ends = new Map(
      edges.flatMap(({ source, destination }) => [source, destination]).map((end) => [name(end), end]),
    );
    const places = Array.from(ends, ([id, { namespace }]) => ({ id, namespace })).sort((a, b) =>
      a.id < b.id ? -1 : 1,
    );
    const calls = edges.map(({ source, destination }) => ({
      source: name(source),
      target: name(destination),
    }));
    const at = positions(places, calls);
    const groups = [...new Set(places.map(({ namespace }) => namespace))].filter(
      (namespace) => namespace !== '',
    );
    const elements: ElementDefinition[] = [
      ...groups.map((namespace) => ({ data: { id: groupOf({ namespace, service: '' }), label: namespace } })),
      ...Array.from(ends, ([id, end]) => ({
        data: { id, label: end.service, ...(end.namespace !== '' && { parent: groupOf(end) }) },
        position: { ...(at.get(id) ?? { x: 0, y: 0 }) },
      })),
      ...edges.map((edge) => ({
        data: {
          id: keyOf(edge),
          key: keyOf(edge),
          source: name(edge.source),
          target: name(edge.destination),
        },
      })),
    ];
    this.#cy.elements().remove();
    this.#cy.add(elements);
  }

  #update(edge: WireEdge, labelled: boolean, chosen: string | undefined): void {
    const drawn = this.#cy.getElementById(keyOf(edge));
    const requests = edge.rate?.requests ?? 0;
    const errors = edge.rate && edge.rate.errors > 0 ? ` · ${share(edge.rate.errors, requests)}` : '';
    const data = {
      label: labelled && requests > 0 ? `${rate(requests)}/s${errors}` : '',
      // In steps, so that a rate that wavers is not drawn anew each time.
      width: 1 + Math.min(5, Math.round(Math.log10(1 + requests) * 2) / 2),
    };
    for (const [key, value] of Object.entries(data)) if (drawn.data(key) !== value) drawn.data(key, value);
    const classes = keyOf(edge) === chosen ? [edge.state, 'chosen'] : [edge.state];
    if (drawn.classes().join(' ') !== classes.join(' ')) drawn.classes(classes);
  }

  #fit(): void {
    this.#cy.resize();
    this.#cy.fit(undefined, 30);
    // A map of a few would be drawn as large as the screen.
    if (this.#cy.zoom() > 1.3) {
      this.#cy.zoom(1.3);
      this.#cy.center();
    }
  }

  #zoom(by: number): void {
    const [x, y] = [this.#cy.width() / 2, this.#cy.height() / 2];
    this.#cy.zoom({ level: this.#cy.zoom() * by, renderedPosition: { x, y } });
  }
}

/** In the colours of the page, light or dark. */
function styles(): StylesheetJson {
  const computed = getComputedStyle(document.documentElement);
  const colour = (variable: string) => computed.getPropertyValue(`--${variable}`).trim();
  const line = (state: string, style: 'solid' | 'dashed' | 'dotted') => ({
    selector: `edge.${state}`,
    style: { 'line-color': colour(state), 'target-arrow-color': colour(state), 'line-style': style },
  });
  return [
    {
      selector: 'node',
      style: {
        label: 'data(label)',
        color: colour('text'),
        'background-color': colour('node'),
        width: 26,
        height: 26,
        'font-size': 13,
        'min-zoomed-font-size': 7,
        'text-valign': 'bottom',
        'text-margin-y': 3,
      },
    },
    {
      selector: ':parent',
      style: {
        shape: 'round-rectangle',
        'background-color': colour('panel'),
        'border-color': colour('rule'),
        'border-width': 1,
        color: colour('faint'),
        'font-size': 34,
        'min-zoomed-font-size': 5,
        'text-valign': 'top',
        padding: '24px',
      },
    },
    {
      selector: 'edge',
      style: {
        width: 'data(width)',
        'curve-style': 'bezier',
        'target-arrow-shape': 'triangle',
        label: 'data(label)',
        color: colour('text'),
        'font-size': 11,
        'min-zoomed-font-size': 8,
        'text-background-color': colour('ground'),
        'text-background-opacity': 0.85,
        'text-background-padding': '2px',
      },
    },
    line('ok', 'solid'),
    line('errors', 'solid'),
    line('failing', 'dashed'),
    { selector: 'edge.failing', style: { 'z-index': 1 } },
    line('idle', 'dotted'),
    {
      selector: 'edge.chosen',
      style: { 'underlay-color': colour('accent'), 'underlay-opacity': 0.35, 'underlay-padding': 6 },
    },
  ];
}
