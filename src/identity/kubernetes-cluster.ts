import ipaddr from 'ipaddr.js';
import { BoundedMap } from './bounded-map.js';
import { type Identity, NODE } from './identity.js';
import {
  type Controller,
  canonical,
  type Node,
  type Owner,
  type Pod,
  type Service,
  type Slice,
  type Template,
} from './kubernetes-objects.js';
import type { Change, Sink } from './kubernetes-reflector.js';
import { Table } from './kubernetes-table.js';
import { ownAddresses } from './own-addresses.js';

export interface ClusterOptions {
  /** The node this process runs on. */
  node: string;
  /** Where a pod's service name comes from, the first that has one. */
  serviceName: readonly string[];
  /** The label that pods of meshtap have, and its value. */
  agents: readonly [string, string];
  /** Whether those watch whole machines and not only pods. */
  watchesHosts(): boolean;
  /** How many removed pods of this node keep their names. */
  remember: number;
  /** Waited for before an address passes from one to another. */
  settle(): Promise<void>;
  /** There are public addresses of the cluster that were not known before. */
  prefixesChanged(): void;
}

/** An end, and the pod it is, if that is certain. */
export interface Found {
  readonly identity: Identity;
  readonly pod?: Pick<Pod, 'name' | 'addresses'>;
}

/** Pods that are the same but for their names and addresses. */
interface Group {
  readonly template: Template;
  readonly key: string;
  /** How many there are, by node. */
  readonly nodes: Map<string, number>;
  named?: { readonly revision: number; readonly identities: Readonly<Record<'watched' | 'not', Identity>> };
}

interface StoredPod extends Omit<Pod, 'template'> {
  readonly group: Group;
  /** Whether it came with the pods of this node. */
  readonly own: boolean;
}

/** Public prefixes that are told apart at most. */
const PREFIXES = 1024;

/** What is known of a cluster, and what its ends are called. */
export class ClusterState {
  readonly #options: ClusterOptions;
  readonly #pods = new Table<StoredPod>({
    id: ({ uid }) => uid,
    keys: ({ addresses, node, nodePorts }) =>
      nodePorts.length > 0 ? [...addresses, ...nodePorts.map((port) => `${node} ${port}`)] : addresses,
  });
  readonly #services = new Table<Service>({
    id: ({ namespace, name }) => `${namespace}/${name}`,
    keys: ({ clusterAddresses, otherAddresses, ports, nodePorts }) => [
      ...clusterAddresses,
      ...otherAddresses.flatMap((address) => ports.map((port) => `${address} ${port}`)),
      ...nodePorts.map((port) => `* ${port}`),
    ],
  });
  readonly #slices = new Table<Slice>({
    id: ({ namespace, name }) => `${namespace}/${name}`,
    keys: ({ addresses }) => addresses,
  });
  readonly #nodes = new Table<Node>({
    id: ({ name }) => name,
    keys: ({ addresses, gateways }) => [...addresses, ...gateways],
  });
  readonly #controllers = new Table<Controller>({ id: ({ uid }) => uid, keys: () => [] });
  readonly #groups = new Map<string, Group>();
  readonly #groupsOf = new Index<Group>();
  readonly #servicesOf = new Index<Service>();
  /** Nodes where meshtap runs, and how often. */
  readonly #agents = new Map<string, number>();
  /** Pods of this node by what their cgroups are called after. */
  readonly #here = new Map<string, StoredPod>();
  readonly #gone: BoundedMap<string, Found>;
  readonly #prefixes = new Set<string>();
  #revision = 0;
  /** Of services and controllers, from which groups get their names. */
  #names = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#gone = new BoundedMap(options.remember);
  }

  /** Grows with everything that may change an answer. */
  get revision(): number {
    return this.#revision;
  }

  get sizes(): { pods: number; services: number; nodes: number } {
    return { pods: this.#pods.size, services: this.#services.size, nodes: this.#nodes.size };
  }

  /** Public prefixes that hold addresses of the cluster. */
  get prefixes(): Iterable<string> {
    return this.#prefixes;
  }

  /** Who runs in the cgroups of a pod. */
  inCgroup(uid: string): Found | undefined {
    const pod = this.#here.get(uid) ?? this.#pods.get(uid);
    return pod ? { pod, identity: this.#identityOf(pod.group, true) } : this.#gone.get(uid);
  }

  /** Who has an address; `port` if it was dialled. */
  at(text: string, port: number | undefined): Found | undefined {
    const address = canonical(text);
    const service =
      port === undefined
        ? undefined
        : (this.#services.find(address) ?? this.#services.find(`${address} ${port}`));
    if (service) return { identity: this.#serviceIdentity(service) };
    const pod = this.#pods.find(address);
    if (pod) return this.#found(pod);
    const node = this.#nodes.find(address);
    if (node) return this.#onNode(node, port);
    const slice = this.#slices.find(address);
    if (slice) {
      const { namespace, service: name } = slice;
      return { identity: { service: name, namespace, workload: '', labels: {}, watched: false } };
    }
    // Bridges and tunnels of this node, which its object does not tell of.
    return ownAddresses().has(text) ? this.#onNode({ name: this.#options.node }, port) : undefined;
  }

  #onNode({ name }: Pick<Node, 'name'>, port: number | undefined): Found {
    if (port !== undefined) {
      const service = this.#services.find(`* ${port}`);
      if (service) return { identity: this.#serviceIdentity(service) };
      const pod = this.#pods.find(`${name} ${port}`);
      if (pod) return this.#found(pod);
    }
    const watched = this.#options.watchesHosts() && this.#watched(name);
    return { identity: watched ? WATCHED_NODE : NODE };
  }

  #found(pod: StoredPod): Found {
    return { pod, identity: this.#identityOf(pod.group, this.#watched(pod.node)) };
  }

  /** Whether some meshtap runs on that node: this one, or another of the cluster. */
  #watched(node: string): boolean {
    return node !== '' && (node === this.#options.node || this.#agents.has(node));
  }

  #identityOf(group: Group, watched: boolean): Identity {
    if (group.named?.revision !== this.#names) {
      const not = this.#name(group.template);
      group.named = { revision: this.#names, identities: { not, watched: { ...not, watched: true } } };
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
    const service = this.#options.serviceName.map(from).find(Boolean) ?? workload;
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
    const above = this.#controllers.get(owner.uid)?.owner;
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
    return [...this.#servicesOf.in(namespace)]
      .filter(({ selector }) => fits(selector, labels))
      .sort(before)[0];
  }

  /** A service is called by its own name, whatever the pods behind it are called. */
  #serviceIdentity({ name, namespace, selector, attributes }: Service): Identity {
    const groups = [...this.#groupsOf.in(namespace)].filter(({ template }) =>
      fits(selector, template.labels),
    );
    const behind = groups.map((group) => this.#identityOf(group, false));
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
      watched:
        groups.length > 0 &&
        groups.every(({ nodes }) => [...nodes.keys()].every((node) => this.#watched(node))),
    };
  }

  /** The pods of this node, or those of all others. */
  podSink(own: boolean): Sink<Pod> {
    const sink = this.#sink<Pod, StoredPod>(this.#pods, {
      mine: (pod) => pod.own === own,
      convert: ({ type, item: { template, ...pod } }) => {
        const before = this.#pods.get(pod.uid);
        if (type === 'set' && (own || !pod.ended)) {
          const addresses = pod.ended ? [] : pod.addresses;
          const item = { ...pod, addresses, own, group: this.#groupOf(template) };
          return before && samePod(before, item) ? undefined : { type, item };
        }
        // One that was scheduled to this node leaves the others: that is not its end.
        return before && before.own === own ? { type: 'delete', item: before } : undefined;
      },
      changed: (change, before) => this.#podChanged(change, before),
    });
    return {
      replace: sink.replace,
      apply: async (changes) => {
        // What was counted at its address, and for nobody until now, is its own, though it ended before its address
        // was told.
        const brief = changes.filter(({ type, item }) => type === 'set' && this.#wasBrief(item));
        if (brief.length > 0)
          await sink.apply(brief.map(({ item }) => ({ type: 'set', item: { ...item, ended: false } })));
        await sink.apply(changes);
      },
    };
  }

  #wasBrief({ ended, addresses, uid }: Pod): boolean {
    const before = this.#pods.get(uid);
    if (!ended || !before || before.ended || before.addresses.length > 0) return false;
    return addresses.every((address) => this.#pods.find(address) === undefined);
  }

  #groupOf(template: Template): Group {
    const key = JSON.stringify(template);
    return this.#groups.get(key) ?? { template, key, nodes: new Map() };
  }

  #podChanged({ type, item }: Change<StoredPod>, before: StoredPod | undefined): void {
    if (before) this.#leave(before);
    if (type === 'set') this.#enter(item);
    else if (item.own) {
      const { name, addresses, cgroupUid } = item;
      this.#gone.set(cgroupUid, { pod: { name, addresses }, identity: this.#identityOf(item.group, true) });
    }
  }

  #enter(pod: StoredPod): void {
    const { group, own, cgroupUid, node, addresses } = pod;
    count(group.nodes, node, 1);
    this.#groups.set(group.key, group);
    this.#groupsOf.add(group.template.namespace, group);
    if (own) this.#here.set(cgroupUid, pod);
    if (this.#isAgent(pod)) count(this.#agents, node, 1);
    for (const address of addresses) this.#tellApart(address, { ipv4: 24, ipv6: 64 });
  }

  #leave(pod: StoredPod): void {
    const { group, cgroupUid, node } = pod;
    // A static pod that was made anew has the same cgroup.
    if (this.#here.get(cgroupUid) === pod) this.#here.delete(cgroupUid);
    if (this.#isAgent(pod)) count(this.#agents, node, -1);
    count(group.nodes, node, -1);
    if (group.nodes.size > 0) return;
    this.#groups.delete(group.key);
    this.#groupsOf.delete(group.template.namespace, group);
  }

  #isAgent({ running, group }: StoredPod): boolean {
    const [label, value] = this.#options.agents;
    return running && group.template.labels[label] === value;
  }

  serviceSink(): Sink<Service> {
    return this.#sink(this.#services, {
      changed: ({ type, item }, before) => {
        if (before) this.#servicesOf.delete(before.namespace, before);
        if (type === 'set') this.#servicesOf.add(item.namespace, item);
        for (const address of item.otherAddresses) this.#tellApart(address);
        this.#names++;
      },
    });
  }

  sliceSink(): Sink<Slice> {
    return this.#sink(this.#slices, {
      // Most have pods only, which are known without them.
      convert: (change) => {
        if (change.type === 'set' && change.item.addresses.length > 0)
          return this.#slices.unchanged(change) ? undefined : change;
        const before = this.#slices.get(this.#slices.idOf(change.item));
        return before && { type: 'delete', item: before };
      },
    });
  }

  nodeSink(): Sink<Node> {
    return this.#sink(this.#nodes, {
      changed: ({ item }) => {
        for (const address of item.addresses) this.#tellApart(address);
        for (const prefix of item.podPrefixes) this.#tellApart(prefix);
      },
    });
  }

  controllerSink(kind: string): Sink<Controller> {
    return this.#sink(this.#controllers, {
      mine: (controller) => controller.kind === kind,
      changed: () => this.#names++,
    });
  }

  /**
   * Public addresses are one peer to the kernel unless it is told which are not. Those of pods are told apart by
   * prefixes that hold many.
   */
  #tellApart(text: string, bits: { readonly ipv4?: number; readonly ipv6?: number } = {}): void {
    if (!text.includes('/') && !ipaddr.isValid(text)) return;
    const [address, length] = text.includes('/')
      ? ipaddr.parseCIDR(text)
      : ([ipaddr.process(text), undefined] as const);
    if (address.range() !== 'unicast') return;
    const width = length ?? bits[address.kind()] ?? (address.kind() === 'ipv4' ? 32 : 128);
    const network = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
    const prefix = `${network.networkAddressFromCIDR(`${address}/${width}`)}/${width}`;
    if (this.#prefixes.has(prefix) || this.#prefixes.size >= PREFIXES) return;
    this.#prefixes.add(prefix);
    this.#options.prefixesChanged();
  }

  /** Takes changes of one kind into its table, after whoever has an address now got what was counted for it. */
  #sink<T, S = T>(table: Table<S>, { convert, mine = () => true, changed }: Intake<T, S>): Sink<T> {
    const turn = (change: Change<T>): Change<S>[] => {
      if (convert) return [convert(change)].filter((converted) => converted !== undefined);
      const same = change as unknown as Change<S>;
      return table.unchanged(same) ? [] : [same];
    };
    const take = async (changes: readonly Change<S>[]) => {
      if (changes.some((change) => table.displaces(change))) await this.#options.settle();
      for (const change of changes) {
        const before = table.change(change);
        changed?.(change, before);
      }
      if (changes.length > 0) this.#revision++;
    };
    return {
      apply: (changes) => take(changes.flatMap(turn)),
      replace: (items) => {
        const here = new Set(items.map((item) => table.idOf(item as never)));
        const missing = [...table.values()].filter((item) => mine(item) && !here.has(table.idOf(item)));
        return take([
          ...missing.map((item) => ({ type: 'delete', item }) as const),
          ...items.flatMap((item) => turn({ type: 'set', item })),
        ]);
      },
    };
  }
}

interface Intake<T, S> {
  /** @default as it is, if it is not what is there already */
  convert?(change: Change<T>): Change<S> | undefined;
  /** What a new list of everything replaces. @default all of the table */
  mine?(item: S): boolean;
  changed?(change: Change<S>, before: S | undefined): void;
}

/** Things by namespace. */
class Index<T> {
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

const WATCHED_NODE: Identity = { ...NODE, watched: true };

function count(counts: Map<string, number>, key: string, by: number): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum > 0) counts.set(key, sum);
  else counts.delete(key);
}

/** Whether a service's selector selects pods with these labels. */
function fits(selector: Service['selector'], labels: Template['labels']): boolean {
  return selector !== undefined && Object.entries(selector).every(([key, value]) => labels[key] === value);
}

function samePod(a: StoredPod, b: StoredPod): boolean {
  return (
    a.group === b.group &&
    a.own === b.own &&
    a.node === b.node &&
    a.running === b.running &&
    a.ended === b.ended &&
    a.addresses.join() === b.addresses.join() &&
    a.nodePorts.join() === b.nodePorts.join()
  );
}
