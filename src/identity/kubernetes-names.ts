import type { Identity } from './identity.js';
import type { Controller, Owner, Service, Template } from './kubernetes-objects.js';
import { Table } from './kubernetes-table.js';

/** Pods that are the same but for their names and addresses. */
export interface Group {
  readonly template: Template;
  readonly key: string;
  /** How many there are, by node. */
  readonly nodes: Map<string, number>;
  named?: { readonly revision: number; readonly identities: Readonly<Record<'watched' | 'not', Identity>> };
}

/** What pods and services are called. */
export class Names {
  readonly #sources: readonly string[];
  readonly services = new Index<Service>();
  readonly controllers = new Table<Controller>({ id: ({ uid }) => uid, keys: () => [] });
  #revision = 0;

  /** `sources`: where a pod's service name comes from, the first that has one. */
  constructor(sources: readonly string[]) {
    this.#sources = sources;
  }

  /** Services or controllers have changed. */
  changed(): void {
    this.#revision++;
  }

  of(group: Group, watched: boolean): Identity {
    if (group.named?.revision !== this.#revision) {
      const not = this.#name(group.template);
      group.named = { revision: this.#revision, identities: { not, watched: { ...not, watched: true } } };
    }
    return group.named.identities[watched ? 'watched' : 'not'];
  }

  #name(template: Template): Identity {
    const { namespace, labels, attributes } = template;
    const { kind, name: workload } = this.#workload(template);
    const from = (source: string): string | undefined => {
      if (source === 'annotation') return attributes['service.name'];
      if (source === 'service') return this.#serviceOf(template)?.name;
      if (source === 'workload') return workload;
      return labels[source.replace(/^label:/, '')];
    };
    const service = this.#sources.map(from).find(Boolean) ?? workload;
    const app = labels.app ?? labels['app.kubernetes.io/name'];
    const version = attributes['service.version'] ?? labels['app.kubernetes.io/version'] ?? labels.version;
    return {
      service,
      namespace,
      workload,
      labels: { kind, ...(app && { app }), ...(version && { version }) },
      watched: false,
    };
  }

  /** The one at the top: the Deployment of a ReplicaSet, the CronJob of a Job. */
  #workload({ labels, owner }: Template): Pick<Owner, 'kind' | 'name'> {
    const above = this.controllers.get(owner.uid)?.owner;
    if (above) return above;
    // The Deployment controller names its ReplicaSets so. Right before the ReplicaSet is known, and without it.
    const suffix = `-${labels['pod-template-hash']}`;
    if (owner.kind === 'ReplicaSet' && owner.name.endsWith(suffix))
      return { kind: 'Deployment', name: owner.name.slice(0, -suffix.length) };
    return owner;
  }

  /**
   * The service that stands for a pod: of several rather one with an address than a headless one, rather one that
   * selects more than others, rather the one with the shorter name; whatever pods are ready.
   */
  #serviceOf({ namespace, labels }: Template): Service | undefined {
    const rank = ({ clusterAddresses, selector = {}, name }: Service) =>
      [clusterAddresses.length > 0 ? 0 : 1, Object.keys(selector).length, name.length] as const;
    const before = (a: Service, b: Service) => {
      const [ranks, others] = [rank(a), rank(b)];
      const place = ranks.findIndex((value, i) => value !== others[i]);
      return place < 0 ? (a.name < b.name ? -1 : 1) : ranks[place]! - others[place]!;
    };
    return [...this.services.in(namespace)].filter(({ selector }) => fits(selector, labels)).sort(before)[0];
  }

  /** A service is called by its own name, whatever the pods behind it are called. */
  ofService(
    { name, namespace, selector, attributes }: Service,
    all: Iterable<Group>,
    watched: (node: string) => boolean,
  ): Identity {
    const groups = [...all].filter(({ template }) => fits(selector, template.labels));
    const behind = groups.map((group) => this.of(group, false));
    const [first] = behind;
    const one = first && behind.every(({ workload }) => workload === first.workload) ? first : undefined;
    const common = Object.entries(one?.labels ?? {}).filter(([key, value]) =>
      behind.every(({ labels }) => labels[key] === value),
    );
    return {
      service: attributes['service.name'] ?? name,
      namespace,
      workload: one?.workload ?? '',
      labels: Object.fromEntries(common),
      watched: groups.length > 0 && groups.every(({ nodes }) => [...nodes.keys()].every(watched)),
    };
  }
}

/** Things by namespace. */
export class Index<T> {
  readonly #byNamespace = new Map<string, Set<T>>();

  in(namespace: string): Iterable<T> {
    return this.#byNamespace.get(namespace) ?? [];
  }

  add(namespace: string, item: T): void {
    const items = this.#byNamespace.get(namespace);
    if (items) items.add(item);
    else this.#byNamespace.set(namespace, new Set([item]));
  }

  delete(namespace: string, item: T): void {
    const items = this.#byNamespace.get(namespace);
    items?.delete(item);
    if (items?.size === 0) this.#byNamespace.delete(namespace);
  }
}

/** Whether a service's selector selects pods with these labels. */
function fits(selector: Service['selector'], labels: Template['labels']): boolean {
  return selector !== undefined && Object.entries(selector).every(([key, value]) => labels[key] === value);
}
