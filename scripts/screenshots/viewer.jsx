/**
 * Draws one dashboard from a real Prometheus with Grafana's own data frames, transformations, field configuration and
 * components. What Grafana does not publish as a component (heatmap, node graph) is drawn in `pictures.jsx`.
 */
import {
  applyFieldOverrides,
  createTheme,
  FieldType,
  getDisplayProcessor,
  getFieldDisplayValues,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { BigValue, PanelChrome, Table, TimeSeries } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { lastValueFrom } from 'rxjs';
import { Heatmap, NodeGraph } from './pictures.jsx';

const theme = createTheme({ colors: { mode: 'dark' } });
// Grafana keeps the editors to itself; what is needed to apply a property is only where it goes.
const PROPERTIES = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds', 'mappings', 'links', 'noValue'];
standardFieldConfigEditorRegistry.setInit(() =>
  PROPERTIES.map((id) => ({
    id,
    path: id,
    name: id,
    settings: {},
    editor: () => null,
    override: () => null,
    process: (value) => value,
    shouldApply: () => true,
  })),
);
standardTransformersRegistry.setInit(() =>
  [...new Map(Object.values(standardTransformers).map((one) => [one.id, one])).values()].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation,
    editor: () => null,
  })),
);

const COLUMNS = 24;
const CELL = 38;
const WIDTH = 1600;

/** `{{label}}` as Grafana fills it in. */
const legend = (format, labels) => format.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');

const filledIn = (text, values) =>
  text.replaceAll(/\$(?:\{([a-z_]\w*)\}|([a-z_]\w*))/g, (_, braced, plain) => values[braced ?? plain] ?? '.*');

async function ask({ prometheus, from, to, step }, path, expr) {
  const range = path === 'query_range' ? `&start=${from}&end=${to}&step=${step}` : `&time=${to}`;
  const answer = await (await fetch(`${prometheus}/api/v1/${path}?query=${encodeURIComponent(expr)}${range}`)).json();
  if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`);
  return answer.data.result;
}

/** The frames that Grafana's Prometheus data source makes of an answer. */
async function framesOf(target, several, settings) {
  const expr = filledIn(target.expr, settings.values);
  const result = await ask(settings, target.range ? 'query_range' : 'query', expr);
  const samples = ({ values, value }) => values ?? [value];
  if (target.format === 'table') {
    const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].filter((name) => name !== '__name__');
    const rows = result.map(({ metric, value }) => ({ metric, value: Number(value[1]), time: value[0] * 1000 }));
    return [
      toDataFrame({
        refId: target.refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: rows.map(({ time }) => time) },
          ...labels.map((name) => ({ name, type: FieldType.string, values: rows.map(({ metric }) => metric[name] ?? '') })),
          { name: several ? `Value #${target.refId}` : 'Value', type: FieldType.number, values: rows.map(({ value }) => value) },
        ],
      }),
    ];
  }
  return result.map((series) => {
    const name = legend(target.legendFormat, series.metric);
    return toDataFrame({
      refId: target.refId,
      name,
      fields: [
        { name: 'Time', type: FieldType.time, values: samples(series).map(([at]) => at * 1000) },
        {
          name: 'Value',
          type: FieldType.number,
          labels: series.metric,
          config: { displayNameFromDS: name },
          values: samples(series).map(([, value]) => Number(value)),
        },
      ],
    });
  });
}

/** Properties of a panel type's own are not in the registry of the standard ones. */
function withCustom(frames, { defaults, overrides }) {
  for (const frame of frames)
    for (const field of frame.fields) {
      field.config.custom = { ...defaults.custom, ...field.config.custom };
      for (const { matcher, properties } of overrides) {
        if (matcher.id !== 'byName' || matcher.options !== field.name) continue;
        for (const { id, value } of properties)
          if (id.startsWith('custom.')) field.config.custom[id.slice(7)] = value;
      }
    }
  return frames;
}

async function dataOf(panel, settings) {
  const raw = await Promise.all(panel.targets.map((one) => framesOf(one, panel.targets.length > 1, settings)));
  const transformed = await lastValueFrom(transformDataFrame(panel.transformations ?? [], raw.flat()));
  const data = applyFieldOverrides({
    data: transformed,
    fieldConfig: panel.fieldConfig ?? { defaults: {}, overrides: [] },
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  return withCustom(data, panel.fieldConfig);
}

function Body({ panel, data, range, width, height }) {
  if (data.every(({ length }) => length === 0))
    return <div style={{ padding: 24, opacity: 0.6, textAlign: 'center' }}>No data</div>;
  switch (panel.type) {
    case 'timeseries':
      return (
        <TimeSeries
          frames={data}
          structureRev={1}
          timeRange={range}
          timeZone="utc"
          width={width}
          height={height}
          legend={panel.options.legend}
          options={panel.options}
        />
      );
    case 'stat': {
      const [value] = getFieldDisplayValues({
        data,
        theme,
        fieldConfig: panel.fieldConfig,
        reduceOptions: panel.options.reduceOptions,
        replaceVariables: (text) => text,
        sparkline: panel.options.graphMode === 'area',
        timeZone: 'utc',
      });
      const { graphMode, colorMode, justifyMode } = panel.options;
      return (
        <BigValue
          value={value.display}
          sparkline={value.sparkline}
          textMode="value"
          {...{ graphMode, colorMode, justifyMode, theme, width, height }}
        />
      );
    }
    case 'table':
      return <Table data={sorted(data[0], panel.options.sortBy)} width={width - 16} height={height} />;
    case 'heatmap':
      return <Heatmap frames={data} unit={panel.options.yAxis.unit} range={range} {...{ width, height, theme }} />;
    case 'nodeGraph':
      return <NodeGraph frames={data} {...{ width, height, theme }} />;
    default:
      throw new Error(`no picture for ${panel.type}`);
  }
}

function sorted(frame, [{ displayName, desc }]) {
  const key = frame.fields.find(({ name, config }) => name === displayName || config.displayName === displayName);
  const order = [...key.values.keys()].sort((a, b) => (desc ? -1 : 1) * (key.values[a] - key.values[b]));
  const fields = frame.fields.map((field) => ({ ...field, values: order.map((i) => field.values[i]) }));
  for (const field of fields) field.display ??= getDisplayProcessor({ field, theme });
  return { ...frame, fields };
}

function Dashboard({ dashboard, data, range }) {
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <ThemeContext.Provider value={theme}>
      <h1>{dashboard.title}</h1>
      <div className="grid" id="grid" style={{ height: bottom * CELL }}>
        {dashboard.panels.map((panel) => {
          const { x, y, w, h } = panel.gridPos;
          const [width, height] = [(w * WIDTH) / COLUMNS - 8, h * CELL - 8];
          return (
            <div key={panel.id} style={{ left: (x * WIDTH) / COLUMNS + 4, top: y * CELL, width, height }}>
              {panel.type === 'row' ? (
                <h2>{panel.title}</h2>
              ) : (
                <PanelChrome title={panel.title} width={width} height={height}>
                  {(width, height) => <Body panel={panel} data={data.get(panel.id)} {...{ range, width, height }} />}
                </PanelChrome>
              )}
            </div>
          );
        })}
      </div>
    </ThemeContext.Provider>
  );
}

/** Called by the script that opened this page; gives the titles of panels that have nothing to show. */
window.draw = async (dashboard, settings) => {
  const values = { __rate_interval: `${settings.window}s`, ...settings.values };
  const data = new Map();
  for (const panel of dashboard.panels)
    if (panel.targets?.length) data.set(panel.id, await dataOf(panel, { ...settings, values }));
  const { dateTime } = await import('@grafana/data');
  const [from, to] = [dateTime(settings.from * 1000), dateTime(settings.to * 1000)];
  const title = filledIn(dashboard.title, values);
  createRoot(document.getElementById('root')).render(
    <Dashboard
      dashboard={{ ...dashboard, title, panels: dashboard.panels.map((panel) => ({ ...panel, title: filledIn(panel.title, values) })) }}
      data={data}
      range={{ from, to, raw: { from, to } }}
    />,
  );
  await new Promise((resolve) => setTimeout(resolve, 1500));
  return dashboard.panels
    .filter(({ id }) => data.has(id) && data.get(id).every(({ length }) => length === 0))
    .map(({ title }) => title);
};
