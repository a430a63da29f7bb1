import { dashboard } from './dashboard.js';
import { graph } from './panels.js';
import { rate } from './promql.js';
import { CLUSTER, cluster, namespace } from './variables.js';

const matchers = [CLUSTER, 'destination_namespace=~"$namespace"'];

/** What policies allow, forbid and drop, under Hubble's names. */
export function policy() {
  const verdicts = { metric: 'hubble_policy_verdicts_total' };
  const drops = { metric: 'hubble_drop_total' };
  return dashboard({
    name: 'policy',
    title: 'Policy',
    description: 'What policies allow and forbid, and what is dropped because of them.',
    variables: [cluster(), namespace()],
    sections: [
      {
        panels: [
          graph({
            title: 'Verdicts',
            description: 'How much is forwarded, and how much is dropped or would be?',
            unit: 'reqps',
            width: 12,
            stacked: true,
            queries: [{ expr: rate(verdicts, ['action'], { matchers }), legend: '{{action}}' }],
          }),
          graph({
            title: 'Verdicts by rule',
            description: 'Which kind of match decided, and in which direction?',
            unit: 'reqps',
            width: 12,
            queries: [
              {
                expr: rate(verdicts, ['direction', 'match'], { matchers }),
                legend: '{{direction}} {{match}}',
              },
            ],
          }),
          graph({
            title: 'Drops by reason',
            description: 'Why was something dropped?',
            unit: 'pps',
            width: 12,
            queries: [
              { expr: rate(drops, ['reason', 'protocol'], { matchers }), legend: '{{reason}} {{protocol}}' },
            ],
          }),
          graph({
            title: 'Drops by pair',
            description: 'Between whom? The ten pairs with the most.',
            unit: 'pps',
            width: 12,
            queries: [
              {
                expr: `topk(10, ${rate(drops, ['source_service', 'destination_service'], { matchers })})`,
                legend: '{{source_service}} → {{destination_service}}',
              },
            ],
          }),
        ],
      },
    ],
  });
}
