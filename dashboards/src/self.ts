import { dashboard } from './dashboard.js';
import { graph, stat, table } from './panels.js';
import { quantile, rate, select, sum } from './promql.js';
import { CLUSTER, cluster, instance } from './variables.js';

const HERE = [CLUSTER, 'instance=~"$instance"'];
const AGENT = ['cluster', 'job', 'instance'];
const of = (metric: string, ...more: string[]) => select({ metric }, ...HERE, ...more);
const agents = `group by (${AGENT.join(', ')}) (${of('meshtap_build_info')})`;
/** `process_*` may be anybody's: only of those that are meshtap. */
const own = (vector: string) => `${vector} * on (${AGENT.join(', ')}) group_left () ${agents}`;
const ledger = (by: string[], ...where: string[]) =>
  rate({ metric: 'meshtap_ledger_entries_total', where }, by, { matchers: HERE });

/** meshtap itself: does it see everything, has it room, what does it cost. The same in every dialect. */
export function self() {
  return dashboard({
    name: 'self',
    title: 'meshtap itself',
    description: 'Does meshtap see everything, has it room for what it sees, and what does it cost?',
    variables: [cluster('meshtap_build_info'), instance()],
    sections: [
      { panels: figures() },
      { title: 'The ledger: what became of everything that was seen', panels: entries() },
      { title: 'Room', panels: room() },
      { title: 'Cost', panels: cost() },
      { title: 'Agents', panels: [nodes()] },
    ],
  });
}

function figures() {
  return [
    stat({
      title: 'Agents',
      description: 'How many agents does Prometheus reach?',
      unit: 'short',
      width: 6,
      queries: [{ expr: `count(${of('meshtap_build_info')})`, legend: 'agents' }],
    }),
    stat({
      title: 'Agents down',
      description: 'How many of the targets whose job has “meshtap” in its name can Prometheus not reach?',
      unit: 'short',
      width: 6,
      queries: [{ expr: `count(${of('up', 'job=~".*meshtap.*"')} == 0) or vector(0)`, legend: 'down' }],
      thresholds: [[1, 'red']],
    }),
    stat({
      title: 'Coverage',
      description:
        'Of the requests that were seen, what share was measured? The rest is in the ledger below, with the reason.',
      unit: 'percentunit',
      decimals: 3,
      width: 6,
      queries: [
        {
          expr: `${sum(of('agent:meshtap_requests_measured:rate5m'), [])} / (${sum(of('agent:meshtap_requests_explained:rate5m'), [])} > 0)`,
          legend: 'coverage',
        },
      ],
    }),
    stat({
      title: 'Fullest budget',
      description:
        'How full is the fullest budget of any agent? At 100 % new pairs and series have no names.',
      unit: 'percentunit',
      decimals: 1,
      width: 6,
      queries: [{ expr: `max(${of('agent:meshtap_budget:ratio')})`, legend: 'used' }],
      thresholds: [
        [0.75, 'yellow'],
        [0.9, 'red'],
      ],
    }),
  ];
}

function entries() {
  const lines = (subject: string, title: string, description: string, unit = 'reqps') =>
    graph({
      title,
      description,
      unit,
      width: 8,
      queries: [
        {
          expr: ledger(['outcome'], `subject="${subject}"`, ...(unit === 'reqps' ? ['outcome!="seen"'] : [])),
          legend: '{{outcome}}',
        },
      ],
    });
  return [
    lines(
      'requests',
      'Requests',
      'What became of each request? “answered” and “failed” are measured; the others could not be, and say why.',
    ),
    lines(
      'responses',
      'Responses',
      'Which answers belong to no request that was seen? “joined_midway” is normal after a start.',
    ),
    lines(
      'connections',
      'Connections by protocol',
      'What do connections speak? Of what is not decoded, only TCP is measured.',
      'cps',
    ),
    graph({
      title: 'Order lost',
      description:
        'How often is the thread of a connection lost, a segment too early, or what an HTTP/2 answer says unknown?',
      unit: 'short',
      width: 12,
      queries: [
        {
          expr: ledger(['subject', 'outcome'], 'subject=~"sync|segments|exchanges"'),
          legend: '{{subject}} {{outcome}} per second',
        },
      ],
    }),
    graph({
      title: 'Without names',
      description: 'How much is counted without names, because a budget is spent?',
      unit: 'short',
      width: 12,
      queries: [
        {
          expr: ledger(['subject', 'instance'], 'subject=~"series|pairs|methods"'),
          legend: '{{subject}} of {{instance}} per second',
        },
      ],
    }),
  ];
}

function room() {
  return [
    graph({
      title: 'Budgets used',
      description: 'Will an agent run out of room? Raise its limits, or fold addresses, before it does.',
      unit: 'percentunit',
      max: 1,
      width: 12,
      queries: [{ expr: of('agent:meshtap_budget:ratio'), legend: '{{instance}} {{budget}}' }],
      thresholds: [[0.9, 'red']],
    }),
    graph({
      title: 'Samples in a scrape',
      description: 'How much does each agent give Prometheus to store?',
      unit: 'short',
      width: 12,
      queries: [{ expr: own(of('scrape_samples_scraped')), legend: '{{instance}}' }],
    }),
  ];
}

function cost() {
  const slowest = (metric: string, by: string[], where: string[]) =>
    quantile(0.99, rate({ metric, where }, ['le', ...by], { matchers: HERE }));
  return [
    graph({
      title: 'CPU',
      description:
        'How many cores does each agent take? What the kernel programs take is not in here: see the docs on overhead.',
      unit: 'none',
      decimals: 3,
      width: 8,
      queries: [
        {
          expr: own(rate({ metric: 'process_cpu_time_seconds_total' }, AGENT, { matchers: HERE })),
          legend: '{{instance}}',
        },
      ],
    }),
    graph({
      title: 'Memory',
      description:
        'How much memory does each agent take? That of the kernel maps comes on top and does not change.',
      unit: 'bytes',
      width: 8,
      queries: [{ expr: own(of('process_memory_usage_bytes')), legend: '{{instance}}' }],
    }),
    graph({
      title: 'Scrapes, as Prometheus sees them',
      description: 'How long does each scrape take, and does it stay far below the interval?',
      unit: 's',
      width: 8,
      queries: [{ expr: own(of('scrape_duration_seconds')), legend: '{{instance}}' }],
    }),
    graph({
      title: 'Collections, p99',
      description: 'How long does reading the kernel maps and naming what is in them take?',
      unit: 's',
      width: 8,
      queries: [
        {
          expr: slowest('meshtap_collection_duration_seconds_bucket', ['instance'], ['outcome="success"']),
          legend: '{{instance}}',
        },
      ],
    }),
    graph({
      title: 'Exports, p99',
      description: 'How long does each exporter take to write, or to send?',
      unit: 's',
      width: 8,
      queries: [
        {
          expr: slowest(
            'meshtap_exporter_duration_seconds_bucket',
            ['instance', 'exporter'],
            ['outcome="success"'],
          ),
          legend: '{{instance}} {{exporter}}',
        },
      ],
    }),
    graph({
      title: 'Collections and exports that fail',
      description: 'Does an agent fail to read its maps, or to deliver what it read?',
      unit: 'cps',
      width: 8,
      queries: [
        {
          expr: rate(
            { metric: 'meshtap_exporter_duration_seconds_count', where: ['outcome="failure"'] },
            ['instance', 'exporter'],
            { matchers: HERE },
          ),
          legend: '{{instance}} {{exporter}}',
        },
        {
          expr: rate(
            { metric: 'meshtap_collection_duration_seconds_count', where: ['outcome="failure"'] },
            ['instance'],
            { matchers: HERE },
          ),
          legend: '{{instance}} collection',
        },
      ],
    }),
  ];
}

function nodes() {
  return table({
    title: 'Agents',
    description: 'Which version of meshtap runs where, on which kernel and Node.js?',
    width: 24,
    height: 8,
    queries: [
      { id: 'info', expr: of('meshtap_build_info') },
      { id: 'memory', expr: own(of('process_memory_usage_bytes')) },
      { id: 'coverage', expr: of('agent:meshtap_coverage:ratio_rate5m') },
    ],
    sortBy: 'Memory',
    columns: [
      { title: 'Agent', field: 'instance' },
      { title: 'meshtap', field: 'version' },
      { title: 'Kernel', field: 'kernel' },
      { title: 'Node.js', field: 'node' },
      { title: 'Machine', field: 'arch' },
      { title: 'Memory', field: 'Value #memory', unit: 'bytes' },
      { title: 'Coverage', field: 'Value #coverage', unit: 'percentunit', decimals: 2 },
    ],
  });
}
