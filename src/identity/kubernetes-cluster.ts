import { BoundedMap } from './bounded-map.js';
import { type Identity, NODE } from './identity.js';
import { type Group, Index, Names } from './kubernetes-names.js';
import {
  type Controller,
  canonical,
  type Node,
  type Pod,
  type Service,
  type Slice,
} from './kubernetes-objects.js';
import { PublicPrefixes } from './kubernetes-prefixes.js';
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

interface StoredPod extends Omit<Pod, 'template'> {
  readonly group: Group;
  /** Whether it came with the pods of this node. */
  readonly own: boolean;
}

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
  readonly #groups = new Map<string, Group>();
  readonly #groupsOf = new Index<Group>();
  readonly #names: Names;
  /** Nodes where meshtap runs, and how often. */
  readonly #agents = new Map<string, number>();
  /** Pods of this node by what their cgroups are called after. */
  readonly #here = new Map<string, StoredPod>();
  readonly #gone: BoundedMap<string, Found>;
  readonly #prefixes: PublicPrefixes;
  #revision = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#gone = new BoundedMap(options.remember);
    this.#names = new Names(options.serviceName);
    this.#prefixes = new PublicPrefixes(options.prefixesChanged);
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
    return this.#prefixes.values();
  }

  /** Who runs in the cgroups of a pod. */
  inCgroup(uid: string): Found | undefined {
    const pod = this.#here.get(uid) ?? this.#pods.get(uid);
    return pod ? { pod, identity: this.#names.of(pod.group, true) } : this.#gone.get(uid);
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
    return ownAddresses().has(address) ? this.#onNode({ name: this.#options.node }, port) : undefined;
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
    return { pod, identity: this.#names.of(pod.group, this.#watched(pod.node)) };
  }

  #serviceIdentity(service: Service): Identity {
    const watched = (node: string) => this.#watched(node);
    return this.#names.ofService(service, this.#groupsOf.in(service.namespace), watched);
  }

  /** Whether some meshtap runs on that node: this one, or another of the cluster. */
  #watched(node: string): boolean {
    return node !== '' && (node === this.#options.node || this.#agents.has(node));
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
        const begun = new Set(changes.flatMap(({ item: { uid, ended } }) => (ended ? [] : uid)));
        const brief = changes.filter(({ type, item }) => type === 'set' && this.#wasBrief(item, begun));
        if (brief.length > 0)
          await sink.apply(brief.map(({ item }) => ({ type: 'set', item: { ...item, ended: false } })));
        await sink.apply(changes);
      },
    };
  }

  /** `begun`: pods that were told of together with this. */
  #wasBrief({ ended, addresses, uid }: Pod, begun: ReadonlySet<string>): boolean {
    const before = this.#pods.get(uid);
    const known = before ? !before.ended && before.addresses.length === 0 : begun.has(uid);
    return ended && known && addresses.every((address) => this.#pods.find(address) === undefined);
  }

  /** Of the pods of one list most share a few templates: each is kept once. */
  #groupOf(template: Pod['template']): Group {
    const key = JSON.stringify(template);
    let group = this.#groups.get(key);
    if (!group) {
      group = { template, key, nodes: new Map() };
      this.#groups.set(key, group);
    }
    return group;
  }

  #podChanged({ type, item }: Change<StoredPod>, before: StoredPod | undefined): void {
    if (before) this.#leave(before);
    if (type === 'set') this.#enter(item);
    else if (item.own) {
      const { name, addresses, cgroupUid } = item;
      this.#gone.set(cgroupUid, { pod: { name, addresses }, identity: this.#names.of(item.group, true) });
    }
  }

  #enter(pod: StoredPod): void {
    const { group, own, cgroupUid, node, addresses } = pod;
    count(group.nodes, node, 1);
    // Again, if it lost its last pod just before this one came.
    this.#groups.set(group.key, group);
    this.#groupsOf.add(group.template.namespace, group);
    if (own) this.#here.set(cgroupUid, pod);
    if (this.#isAgent(pod)) count(this.#agents, node, 1);
    for (const address of addresses) this.#prefixes.add(address, { ipv4: 24, ipv6: 64 });
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
        if (before) this.#names.services.delete(before.namespace, before);
        if (type === 'set') this.#names.services.add(item.namespace, item);
        for (const address of item.otherAddresses) this.#prefixes.add(address);
        this.#names.changed();
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
        for (const address of item.addresses) this.#prefixes.add(address);
        for (const prefix of item.podPrefixes) this.#prefixes.add(prefix);
      },
    });
  }

  controllerSink(kind: string): Sink<Controller> {
    return this.#sink(this.#names.controllers, {
      mine: (controller) => controller.kind === kind,
      changed: () => this.#names.changed(),
    });
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

const WATCHED_NODE: Identity = { ...NODE, watched: true };

function count(counts: Map<string, number>, key: string, by: number): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum > 0) counts.set(key, sum);
  else counts.delete(key);
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
