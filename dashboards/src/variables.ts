/**
 * The variables of the dashboards, and the matchers and links that go with them.
 *
 * @module
 */

import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';
import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { Link } from './panels.js';

/** Whatever Prometheus the reader chose. */
export const DATASOURCE: DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

export function datasource(): DatasourceVariableBuilder {
  return new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus');
}

interface Choice {
  readonly name: string;
  readonly label: string;
  readonly description: string;
  /** `label_values(...)`. */
  readonly values: string;
  /** Whether one may choose all of them; then that is what is chosen at first. @default false */
  readonly all?: boolean;
}

function choice({ name, label, description, values, all = false }: Choice): QueryVariableBuilder {
  const variable = new QueryVariableBuilder(name)
    .label(label)
    .description(description)
    .datasource(DATASOURCE)
    .query({ query: values, refId: name })
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalCaseInsensitiveAsc)
    .includeAll(all)
    .multi(all);
  // `.*` fits what has no such label too: a Prometheus of one cluster, services without namespaces.
  if (all) variable.allValue('.*').current({ text: 'All', value: '$__all', selected: true });
  return variable;
}

export const cluster = (metric = 'service:meshtap_info') =>
  choice({
    name: 'cluster',
    label: 'Cluster',
    description: 'The label `cluster` that your Prometheus puts on what it scrapes; all where there is none.',
    values: `label_values(${metric}, cluster)`,
    all: true,
  });

export const namespace = () =>
  choice({
    name: 'namespace',
    label: 'Namespace',
    description: 'Namespaces of the services; all where there are none.',
    values: 'label_values(service:meshtap_info{cluster=~"$cluster"}, namespace)',
    all: true,
  });

export const service = () =>
  choice({
    name: 'service',
    label: 'Service',
    description: 'The service to look at.',
    values: 'label_values(service:meshtap_info{cluster=~"$cluster", namespace=~"$namespace"}, service)',
  });

export const source = () =>
  choice({
    name: 'source',
    label: 'Client',
    description: 'The service that asks.',
    values:
      'label_values(edge:meshtap_info{cluster=~"$cluster", source_namespace=~"$namespace"}, source_service)',
  });

export const destination = () =>
  choice({
    name: 'destination',
    label: 'Server',
    description: 'The service that is asked; only those that the client asks.',
    values:
      'label_values(edge:meshtap_info{cluster=~"$cluster", source_namespace=~"$namespace", source_service="$source"}, destination_service)',
  });

export const instance = () =>
  choice({
    name: 'instance',
    label: 'Agent',
    description: 'Agents, by the address that Prometheus scrapes.',
    values: 'label_values(meshtap_build_info{cluster=~"$cluster"}, instance)',
    all: true,
  });

export const CLUSTER = 'cluster=~"$cluster"';

const KEPT = '${__url_time_range}&${datasource:queryparam}&${cluster:queryparam}';

/** A link to a service's dashboard. `service` and `namespace` are what Grafana puts there, such as `${__field.labels.service}`. */
export function toService(service: string, namespace: string): Link {
  return {
    title: `Service ${service}`,
    url: `/d/meshtap-service?${KEPT}&var-namespace=${namespace}&var-service=${service}`,
  };
}

/** A link to the dashboard of a pair of services. */
export function toPair(source: string, destination: string): Link {
  return {
    title: `${source} → ${destination}`,
    url: `/d/meshtap-pair?${KEPT}&var-namespace=$__all&var-source=${source}&var-destination=${destination}`,
  };
}

export const LABEL = (name: string) => `\${__field.labels.${name}}`;
export const CELL = (column: string) => `\${__data.fields["${column}"]}`;
