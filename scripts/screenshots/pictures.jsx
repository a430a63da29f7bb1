/** The two kinds of panels that Grafana does not publish as components, drawn much like Grafana draws them. */
import { getValueFormat } from '@grafana/data';
import { interpolateTurbo } from 'd3-scale-chromatic';

const AXIS = { left: 64, bottom: 24, top: 6, right: 8 };

/** Prometheus' buckets are cumulative; a cell is what came in between two of them. */
export function Heatmap({ frames, unit, range, width, height, theme }) {
  const value = (frame) => frame.fields.find(({ name }) => name !== 'Time');
  const bound = (frame) => Number((value(frame).labels?.le ?? frame.name).replace('+Inf', 'Infinity'));
  const rows = frames.filter(({ length }) => length > 0).sort((a, b) => bound(a) - bound(b));
  const times = [...new Set(rows.flatMap((frame) => [...frame.fields[0].values]))].sort((a, b) => a - b);
  const lookup = rows.map((frame) => new Map(frame.fields[0].values.map((at, i) => [at, value(frame).values[i]])));
  const cells = rows.map((_, r) =>
    times.map((at) => Math.max(0, (lookup[r].get(at) ?? 0) - (lookup[r - 1]?.get(at) ?? 0))),
  );
  const most = Math.max(...cells.flat(), Number.MIN_VALUE);
  // Buckets that nothing ever falls into are not worth the room.
  const used = rows.map((_, r) => r).filter((r) => cells[r].some((n) => n > 0));
  const [low, high] = [Math.max(0, used[0] - 1), Math.min(rows.length - 1, used.at(-1) + 1)];
  const shown = rows.map((_, r) => r).slice(low, high + 1);
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const [w, h] = [width - AXIS.left - AXIS.right, (height - AXIS.top - AXIS.bottom) / shown.length];
  const step = times.length > 1 ? times[1] - times[0] : to - from;
  const x = (at) => AXIS.left + ((at - from) / (to - from)) * w;
  const text = (seconds) => (Number.isFinite(seconds) ? formatted(unit, seconds) : '+Inf');
  const every = Math.ceil(14 / h);
  return (
    <svg width={width} height={height} role="img" fill={theme.colors.text.secondary} fontSize="11">
      {shown.map((r, i) => {
        const y = AXIS.top + (shown.length - 1 - i) * h;
        return (
          <g key={bound(rows[r])}>
            {i % every === 0 && (
              <text x={AXIS.left - 6} y={y + h / 2 + 4} textAnchor="end">
                {text(bound(rows[r]))}
              </text>
            )}
            {cells[r].map((n, t) =>
              n > 0 && times[t] - step >= from ? (
                <rect
                  key={times[t]}
                  x={x(times[t] - step)}
                  y={y}
                  width={(step / (to - from)) * w - 0.5}
                  height={h - 1}
                  fill={interpolateTurbo(0.1 + 0.85 * (n / most) ** 0.5)}
                />
              ) : null,
            )}
          </g>
        );
      })}
      {[0, 0.25, 0.5, 0.75, 1].map((part) => (
        <text key={part} x={AXIS.left + part * w} y={height - 6} textAnchor={part === 1 ? 'end' : 'middle'}>
          {new Date(from + part * (to - from)).toISOString().slice(11, 16)}
        </text>
      ))}
    </svg>
  );
}

function formatted(unit, value) {
  const { text, suffix = '' } = getValueFormat(unit)(value, value < 0.001 ? 0 : undefined);
  return `${text}${suffix}`;
}

/** Layers from left to right by who asks whom. */
export function NodeGraph({ frames, width, height, theme }) {
  const column = (frame, name) => frame.fields.find((field) => field.name === name)?.values ?? [];
  const edgesFrame = frames.find((frame) => frame.fields.some(({ name }) => name === 'source'));
  const nodesFrame = frames.find((frame) => frame !== edgesFrame);
  const rows = (frame, names) =>
    [...column(frame, 'id').keys()].map((i) => Object.fromEntries(names.map((name) => [name, column(frame, name)[i]])));
  const nodes = rows(nodesFrame, ['id', 'title', 'subtitle', 'mainstat', 'arc__failed', 'arc__healthy']);
  const edges = rows(edgesFrame, ['id', 'source', 'target', 'mainstat', 'secondarystat']);

  const layer = new Map(nodes.map(({ id }) => [id, 0]));
  for (let i = 0; i < nodes.length; i++)
    for (const { source, target } of edges)
      if (source !== target && layer.get(target) <= layer.get(source) && layer.get(source) < nodes.length)
        layer.set(target, layer.get(source) + 1);
  const last = Math.max(...layer.values(), 1);
  const at = new Map(
    nodes.map(({ id }) => {
      const peers = nodes.filter((other) => layer.get(other.id) === layer.get(id)).map((other) => other.id);
      const x = 90 + (layer.get(id) / last) * (width - 180);
      return [id, { x, y: ((peers.indexOf(id) + 1) / (peers.length + 1)) * (height - 30) }];
    }),
  );
  const rate = (value) => formatted('reqps', value ?? 0);
  const R = 34;
  const around = 2 * Math.PI * R;
  return (
    <svg width={width} height={height} role="img" fill={theme.colors.text.primary} fontSize="12" textAnchor="middle">
      <defs>
        <marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" orient="auto">
          <path d="M0,0 L8,4 L0,8 z" fill={theme.colors.text.secondary} />
        </marker>
      </defs>
      {edges.map(({ id, source, target, mainstat, secondarystat }) => {
        const [a, b] = [at.get(source), at.get(target)];
        if (!a || !b) return null;
        const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
        const [dx, dy] = [((b.x - a.x) / length) * (R + 3), ((b.y - a.y) / length) * (R + 3)];
        const failed = secondarystat > 0 ? `, ${formatted('percentunit', secondarystat)}` : '';
        return (
          <g key={id}>
            <line
              x1={a.x + dx}
              y1={a.y + dy}
              x2={b.x - dx}
              y2={b.y - dy}
              stroke={theme.colors.text.secondary}
              strokeWidth="1.5"
              markerEnd="url(#arrow)"
            />
            <text x={(a.x + b.x) / 2} y={(a.y + b.y) / 2 - 8} fill={theme.colors.text.secondary}>
              {rate(mainstat)}
              {failed}
            </text>
          </g>
        );
      })}
      {nodes.map(({ id, title, mainstat, arc__failed: failed = 0 }) => {
        const { x, y } = at.get(id);
        return (
          <g key={id}>
            <circle cx={x} cy={y} r={R} fill={theme.colors.background.secondary} stroke="#73bf69" strokeWidth="4" />
            <circle
              cx={x}
              cy={y}
              r={R}
              fill="none"
              stroke="#f2495c"
              strokeWidth="4"
              strokeDasharray={`${(failed || 0) * around} ${around}`}
              transform={`rotate(-90 ${x} ${y})`}
            />
            <text x={x} y={y + 4}>
              {rate(mainstat)}
            </text>
            <text x={x} y={y + R + 18}>
              {title}
            </text>
          </g>
        );
      })}
    </svg>
  );
}
