/**
 * The few kinds of panels that all dashboards are made of. Each has a title, a description that says which question it
 * answers, and a unit; what they look like is decided here, once.
 *
 * @module
 */

import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardLinkBuilder,
  type DataTransformerConfig,
  type DynamicConfigValue,
  FieldColorBuilder,
  FieldColorModeId,
  type Panel,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import * as heatmaps from '@grafana/grafana-foundation-sdk/heatmap';
import * as nodegraphs from '@grafana/grafana-foundation-sdk/nodegraph';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import * as stats from '@grafana/grafana-foundation-sdk/stat';
import * as tables from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import { DATASOURCE } from './variables.js';

/** What the SDK's builders have in common. */
export interface Builder<T> {
  build(): T;
}

export interface Query {
  readonly expr: string;
  /** How Grafana names the series: text with `{{label}}`. */
  readonly legend?: string;
  /** @default A, B, C ... */
  readonly id?: string;
}

export interface Link {
  readonly title: string;
  readonly url: string;
}

/** From this value on, in this colour; what is below the first is green. */
export type Threshold = readonly [from: number, color: string];

export interface PanelOptions {
  readonly title: string;
  /** The question it answers, and what to make of the answer. */
  readonly description: string;
  /** As Grafana calls it: `s`, `reqps`, `percentunit`, ... */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** Of 24. */
  readonly width: number;
  readonly height?: number;
  readonly thresholds?: readonly Threshold[];
  /** Where a click on a series leads. */
  readonly links?: readonly Link[];
  readonly decimals?: number;
  readonly max?: number;
}

const GREEN = 'green';

function query({ expr, legend = '__auto', id }: Query, index: number): DataqueryBuilder {
  return new DataqueryBuilder()
    .refId(id ?? String.fromCharCode('A'.charCodeAt(0) + index))
    .expr(expr)
    .legendFormat(legend);
}

const ranges = (queries: readonly Query[]) => queries.map((one, i) => query(one, i).range());
const instants = (queries: readonly Query[], format = PromQueryFormat.TimeSeries) =>
  queries.map((one, i) => query(one, i).instant().format(format));

/** What is recorded twice a minute has no more to tell than that. */
function shortestStep(panel: { interval(interval: string): unknown }, queries: readonly Query[]): void {
  if (queries.every(({ expr }) => !expr.includes('$__rate_interval'))) panel.interval('30s');
}

function thresholds(steps: readonly Threshold[]): ThresholdsConfigBuilder {
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([{ value: null, color: GREEN }, ...steps.map(([value, color]) => ({ value, color }))]);
}

const dataLinks = (links: readonly Link[]) =>
  links.map(({ title, url }) => new DashboardLinkBuilder(title).url(url));

export interface GraphOptions extends PanelOptions {
  readonly stacked?: boolean;
  /** Series that match are red, yellow and so on. */
  readonly colors?: Readonly<Record<string, string>>;
  /** Legend as a table with mean and maximum; for panels with many series. */
  readonly table?: boolean;
}

/** Lines over time. */
export function graph(options: GraphOptions): timeseries.PanelBuilder {
  const {
    title,
    description,
    unit,
    queries,
    width,
    height = 8,
    links = [],
    stacked,
    colors = {},
    table,
  } = options;
  const legend = new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(table ? common.LegendDisplayMode.Table : common.LegendDisplayMode.List)
    .placement(common.LegendPlacement.Bottom)
    .calcs(table ? ['mean', 'max'] : []);
  if (table) legend.sortBy('Max').sortDesc(true);
  const panel = new timeseries.PanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .targets(ranges(queries))
    .unit(unit)
    .span(width)
    .height(height)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassic))
    .min(0)
    .lineWidth(1)
    .fillOpacity(stacked ? 40 : 8)
    .showPoints(common.VisibilityMode.Never)
    .legend(legend)
    .tooltip(
      new common.VizTooltipOptionsBuilder()
        .mode(common.TooltipDisplayMode.Multi)
        .sort(common.SortOrder.Descending),
    )
    .dataLinks(dataLinks(links));
  shortestStep(panel, queries);
  if (stacked) panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  if (options.max !== undefined) panel.max(options.max);
  if (options.decimals !== undefined) panel.decimals(options.decimals);
  if (options.thresholds)
    panel
      .thresholds(thresholds(options.thresholds))
      .thresholdsStyle(
        new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed),
      );
  for (const [series, color] of Object.entries(colors))
    panel.overrideByRegexp(series, [{ id: 'color', value: { mode: 'fixed', fixedColor: color } }]);
  return panel;
}

export interface StatOptions extends PanelOptions {
  /** What a value means, in words. */
  readonly mappings?: readonly ValueMapping[];
  /** Without the line of the past. */
  readonly plain?: boolean;
}

/** One number, with what it was before as a line behind it. */
export function stat(options: StatOptions): stats.PanelBuilder {
  const { title, description, unit, queries, width, height = 4, links = [], mappings = [], plain } = options;
  const panel = new stats.PanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .targets(plain ? instants(queries) : ranges(queries))
    .unit(unit)
    .span(width)
    .height(height)
    .mappings([...mappings])
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .graphMode(plain ? common.BigValueGraphMode.None : common.BigValueGraphMode.Area)
    .colorMode(common.BigValueColorMode.Value)
    .dataLinks(dataLinks(links));
  shortestStep(panel, queries);
  if (options.decimals !== undefined) panel.decimals(options.decimals);
  if (options.thresholds) panel.thresholds(thresholds(options.thresholds));
  else
    panel
      .thresholds(thresholds([]))
      .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Fixed).fixedColor('text'));
  return panel;
}

/** A column of a table: the value of a query, or a label. */
export interface Column {
  /** Title of the column. */
  readonly title: string;
  /** The label, or `Value #ID` for the query of that id. */
  readonly field: string;
  readonly unit?: string;
  readonly decimals?: number;
  readonly thresholds?: readonly Threshold[];
  readonly links?: readonly Link[];
  readonly width?: number;
  /** A bar behind the number. */
  readonly gauge?: boolean;
}

export interface TableOptions extends Omit<PanelOptions, 'links' | 'thresholds' | 'unit'> {
  /** In this order; other labels are not shown. */
  readonly columns: readonly Column[];
  /** Title of the column to sort by, largest first. */
  readonly sortBy: string;
}

/** The present, one row for each set of labels; several queries are joined by their labels. */
export function table(options: TableOptions): Builder<Panel> {
  const { title, description, queries, width, height = 10, columns, sortBy } = options;
  const panel = new tables.PanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .targets(instants(queries, PromQueryFormat.Table))
    .span(width)
    .height(height)
    .showHeader(true)
    .cellHeight(common.TableCellHeight.Sm)
    .sortBy([new common.TableSortByFieldStateBuilder().displayName(sortBy).desc(true)])
    .transformations([
      ...(queries.length > 1 ? [{ id: 'merge', options: {} }] : []),
      { id: 'filterFieldsByName', options: { include: { names: columns.map(({ field }) => field) } } },
      {
        id: 'organize',
        options: {
          excludeByName: {},
          includeByName: {},
          indexByName: Object.fromEntries(columns.map(({ field }, i) => [field, i])),
          renameByName: Object.fromEntries(columns.map(({ field, title }) => [field, title])),
        },
      },
    ]);
  for (const column of columns) panel.overrideByName(column.title, columnProperties(column));
  return { build: () => withoutFooter(panel.build()) };
}

/** The builder gives every table one, which Grafana no longer knows. */
function withoutFooter(panel: Panel): Panel {
  const { footer, ...options } = panel.options as Record<string, unknown>;
  return { ...panel, options };
}

function columnProperties(column: Column): DynamicConfigValue[] {
  const { unit, decimals, links = [], width, gauge } = column;
  const properties: DynamicConfigValue[] = [];
  if (unit) properties.push({ id: 'unit', value: unit });
  if (decimals !== undefined) properties.push({ id: 'decimals', value: decimals });
  if (width) properties.push({ id: 'custom.width', value: width });
  if (links.length > 0) properties.push({ id: 'links', value: links.map((link) => ({ ...link })) });
  if (column.thresholds) {
    properties.push({ id: 'thresholds', value: thresholds(column.thresholds).build() });
    properties.push({ id: 'custom.cellOptions', value: { type: 'color-text' } });
  }
  if (gauge) {
    properties.push({ id: 'custom.cellOptions', value: { type: 'gauge', mode: 'basic' } });
    properties.push({ id: 'min', value: 0 }, { id: 'max', value: 1 });
  }
  return properties;
}

/** How often which duration, over time, from Prometheus' buckets. */
export function heatmap(options: PanelOptions): heatmaps.PanelBuilder {
  const { title, description, unit, queries, width, height = 8 } = options;
  return new heatmaps.PanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .targets(
      queries.map((one, i) =>
        query({ legend: '{{le}}', ...one }, i)
          .range()
          .format(PromQueryFormat.Heatmap),
      ),
    )
    .span(width)
    .height(height)
    .calculate(false)
    .yAxis(new heatmaps.YAxisConfigBuilder().unit(unit))
    .color(
      new heatmaps.HeatmapColorOptionsBuilder()
        .mode(heatmaps.HeatmapColorMode.Scheme)
        .scheme('Turbo')
        .scale(heatmaps.HeatmapColorScale.Exponential)
        .exponent(0.5)
        .steps(64),
    )
    .cellValues(new heatmaps.CellValuesBuilder().unit('reqps'))
    .tooltip(
      new heatmaps.HeatmapTooltipBuilder()
        .mode(common.TooltipDisplayMode.Single)
        .yHistogram(true)
        .showColorScale(true),
    );
}

export interface NodeGraphOptions extends Omit<PanelOptions, 'unit' | 'queries' | 'links'> {
  /** Labels `id`, `title` and `subtitle`; the value stands in the node. */
  readonly nodes: string;
  /** Label `id`; the part of the ring that is red, 0 to 1. */
  readonly failed: string;
  /** Label `id`; the part of the ring that is green, 0 to 1. */
  readonly healthy: string;
  /** Labels `id`, `source` and `target`; the value stands at the line. */
  readonly edges: string;
  /** Label `id`; the second value at the line. */
  readonly edgesFailed: string;
  readonly statUnit: string;
  /** Where a node, and where a line, leads. */
  readonly nodeLink: Link;
  readonly edgeLink: Link;
}

/** Who talks to whom. Nodes and edges are tables each, joined by the label `id`. */
export function nodeGraph(options: NodeGraphOptions): nodegraphs.PanelBuilder {
  const { title, description, width, height = 14, statUnit, nodeLink, edgeLink } = options;
  const { nodes, failed, healthy, edges, edgesFailed } = options;
  const join = (...ids: string[]): DataTransformerConfig => ({
    id: 'joinByField',
    filter: { id: 'byRefId', options: `/^(?:${ids.join('|')})$/` },
    options: { byField: 'id', mode: 'outer' },
  });
  // The panel goes by the names of fields; renaming changes only what they are displayed as, a calculation has its own.
  const named = (id: string, name: string): DataTransformerConfig => ({
    id: 'calculateField',
    options: {
      mode: 'binary',
      binary: { left: `Value #${id}`, operator: '*', right: '1' },
      alias: name,
      replaceFields: false,
    },
  });
  return (
    new nodegraphs.PanelBuilder()
      .title(title)
      .description(description)
      .datasource(DATASOURCE)
      .targets(
        instants(
          [
            { id: 'nodes', expr: nodes },
            { id: 'nodes_failed', expr: failed },
            { id: 'nodes_healthy', expr: healthy },
            { id: 'edges', expr: edges },
            { id: 'edges_failed', expr: edgesFailed },
          ],
          PromQueryFormat.Table,
        ),
      )
      .span(width)
      .height(height)
      .nodes(
        new nodegraphs.NodeOptionsBuilder()
          .mainStatUnit(statUnit)
          .arcs([
            new nodegraphs.ArcOptionBuilder().field('arc__failed').color('red'),
            new nodegraphs.ArcOptionBuilder().field('arc__healthy').color('green'),
          ]),
      )
      .edges(new nodegraphs.EdgeOptionsBuilder().mainStatUnit(statUnit).secondaryStatUnit('percentunit'))
      // On one field each: the panel offers the links of every field, and nodes and edges have no other in common.
      .overrideByName('title', [{ id: 'links', value: [nodeLink] }])
      .overrideByName('source', [{ id: 'links', value: [edgeLink] }])
      .transformations([
        join('nodes', 'nodes_failed', 'nodes_healthy'),
        join('edges', 'edges_failed'),
        named('nodes', 'mainstat'),
        named('nodes_failed', 'arc__failed'),
        named('nodes_healthy', 'arc__healthy'),
        named('edges', 'mainstat'),
        named('edges_failed', 'secondarystat'),
      ])
  );
}
