/**
 * What is kept of the objects of Kubernetes. Fields and their meaning are those of the API reference
 * (kubernetes.io/docs/reference/kubernetes-api).
 *
 * @module
 */
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** As receivers write addresses: IPv6 in the short form of RFC 5952, IPv4-mapped ones with dots. */
export function canonical(address: string): string {
  if (isIPv4(address) || !ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' ? (parsed as ipaddr.IPv6).toRFC5952String() : parsed.toString();
}

const canonicals = (addresses: readonly (string | undefined)[]): string[] => [
  ...new Set(addresses.flatMap((address) => (address ? canonical(address) : []))),
];

interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
  readonly ownerReferences?: readonly {
    readonly kind: string;
    readonly name: string;
    readonly uid: string;
    readonly controller?: boolean;
  }[];
}

export interface Owner {
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

/** What is the same for all pods of one template. */
export interface Template {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Those of OpenTelemetry, without their prefix: `service.name`. */
  readonly attributes: Readonly<Record<string, string>>;
  /** The controller, or the pod itself where nobody controls it. */
  readonly owner: Owner;
}

export interface Pod {
  readonly uid: string;
  /** In the paths of its cgroups, where that is not the uid: a static pod has the hash of its manifest there. */
  readonly cgroupUid: string;
  readonly name: string;
  readonly template: Template;
  /** Where it runs; empty until it was scheduled. */
  readonly node: string;
  /** Its own, as receivers write them; none for one with the node's network. Not its own any more once it has ended. */
  readonly addresses: readonly string[];
  readonly ended: boolean;
  /** Ports of the node that lead to it. */
  readonly nodePorts: readonly number[];
  readonly running: boolean;
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Which pods it stands for; undefined if somebody else says which addresses. */
  readonly selector: Readonly<Record<string, string>> | undefined;
  /** Addresses that no other service has. None for a headless one. */
  readonly clusterAddresses: readonly string[];
  /** Addresses that may be shared with others at other ports: of load balancers and external ones. */
  readonly otherAddresses: readonly string[];
  readonly ports: readonly number[];
  /** Ports at every node. */
  readonly nodePorts: readonly number[];
}

/** Addresses of a service that are no pod's. */
export interface Slice {
  readonly name: string;
  readonly namespace: string;
  readonly service: string;
  readonly addresses: readonly string[];
}

export interface Node {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podPrefixes: readonly string[];
  /** Its addresses among pods. */
  readonly gateways: readonly string[];
}

/** A ReplicaSet or a Job, and who made it. */
export interface Controller {
  readonly kind: string;
  readonly uid: string;
  readonly owner: Owner | undefined;
}

/** Of OpenTelemetry's annotations (semantic conventions, "Specify resource attributes using Kubernetes annotations"). */
const ATTRIBUTE = 'resource.opentelemetry.io/';

/**
 * Labels that tell the pods of one template apart. A service that selects a single pod by one of them does not name it:
 * the service of all of them does.
 */
const OF_ONE_POD =
  /^(statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index|batch\.kubernetes\.io\/job-completion-index)$/;

export interface RawPod {
  readonly metadata: Metadata;
  readonly spec: {
    readonly nodeName?: string;
    readonly hostNetwork?: boolean;
    readonly containers?: readonly {
      readonly ports?: readonly { readonly containerPort: number; readonly hostPort?: number }[];
    }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip?: string }[];
    readonly containerStatuses?: readonly { readonly state?: { readonly terminated?: unknown } }[];
  };
}

export function podOf({ metadata, spec, status = {} }: RawPod): Pod {
  const uid = metadata.uid ?? '';
  const { hostNetwork = false, nodeName = '', containers = [] } = spec;
  const ended = hasEnded(metadata, status);
  const ports = containers.flatMap(({ ports = [] }) => ports);
  return {
    uid,
    cgroupUid: metadata.annotations?.['kubernetes.io/config.hash'] ?? uid,
    name: metadata.name,
    template: {
      namespace: metadata.namespace ?? '',
      labels: Object.fromEntries(
        Object.entries(metadata.labels ?? {}).filter(([label]) => !OF_ONE_POD.test(label)),
      ),
      attributes: attributesOf(metadata),
      owner: controllerOfPod(metadata, nodeName),
    },
    node: nodeName,
    ended,
    addresses: hostNetwork ? [] : canonicals([status.podIP, ...(status.podIPs ?? []).map(({ ip }) => ip)]),
    nodePorts: ended
      ? []
      : ports.flatMap(({ containerPort, hostPort }) => (hostNetwork ? containerPort : hostPort || [])),
    running: status.phase === 'Running' && !ended,
  };
}

/** A static pod is controlled by its node, which is at the end of its name. */
function controllerOfPod(metadata: Metadata, node: string): Owner {
  const owner = ownerOf(metadata);
  if (owner && owner.kind !== 'Node') return owner;
  const suffix = `-${node}`;
  const { name } = metadata;
  return {
    kind: 'Pod',
    name: owner && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name,
    uid: '',
  };
}

/** Whether its address may be another's by now: when all of it has ended, which is before the object is deleted. */
function hasEnded(
  { deletionTimestamp }: Metadata,
  { phase, containerStatuses = [] }: NonNullable<RawPod['status']>,
) {
  if (phase === 'Succeeded' || phase === 'Failed') return true;
  return (
    deletionTimestamp !== undefined &&
    containerStatuses.length > 0 &&
    containerStatuses.every(({ state }) => state?.terminated !== undefined)
  );
}

export interface RawService {
  readonly metadata: Metadata;
  readonly spec: {
    readonly type?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly externalIPs?: readonly string[];
    readonly ports?: readonly { readonly port: number; readonly nodePort?: number }[];
  };
  readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip?: string }[] } };
}

export function serviceOf({ metadata, spec, status }: RawService): Service {
  const { selector = {}, clusterIP, clusterIPs = [], externalIPs = [], ports = [] } = spec;
  const ingress = status?.loadBalancer?.ingress ?? [];
  // A name for something outside: whoever dials it dials what that name stands for.
  const external = spec.type === 'ExternalName';
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? '',
    attributes: attributesOf(metadata),
    selector: Object.keys(selector).length > 0 && !external ? selector : undefined,
    clusterAddresses: external ? [] : canonicals([clusterIP, ...clusterIPs].filter((ip) => ip !== 'None')),
    otherAddresses: canonicals([...externalIPs, ...ingress.map(({ ip }) => ip)]),
    ports: ports.map(({ port }) => port),
    nodePorts: ports.flatMap(({ nodePort }) => nodePort || []),
  };
}

interface RawTarget {
  readonly targetRef?: { readonly kind?: string };
}

export interface RawSlice {
  readonly metadata: Metadata;
  readonly endpoints?: readonly (RawTarget & { readonly addresses?: readonly string[] })[] | null;
}

const SERVICE_OF_SLICE = 'kubernetes.io/service-name';

/** EndpointSlice of discovery.k8s.io, v1 and v1beta1, which are the same as far as they are read. */
export function sliceOf({ metadata, endpoints }: RawSlice): Slice {
  const foreign = (endpoints ?? []).filter(({ targetRef }) => targetRef?.kind !== 'Pod');
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? '',
    service: metadata.labels?.[SERVICE_OF_SLICE] ?? '',
    addresses: canonicals(foreign.flatMap(({ addresses = [] }) => addresses)),
  };
}

export interface RawEndpoints {
  readonly metadata: Metadata;
  readonly subsets?:
    | readonly {
        readonly addresses?: readonly (RawTarget & { readonly ip: string })[];
        readonly notReadyAddresses?: readonly (RawTarget & { readonly ip: string })[];
      }[]
    | null;
}

/** Endpoints, which are called after their service. */
export function sliceOfEndpoints({ metadata, subsets }: RawEndpoints): Slice {
  const all = (subsets ?? []).flatMap(({ addresses = [], notReadyAddresses = [] }) => [
    ...addresses,
    ...notReadyAddresses,
  ]);
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? '',
    service: metadata.name,
    addresses: canonicals(all.filter(({ targetRef }) => targetRef?.kind !== 'Pod').map(({ ip }) => ip)),
  };
}

export interface RawNode {
  readonly metadata: Metadata;
  readonly spec?: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
  };
}

export function nodeOf({ metadata, spec = {}, status = {} }: RawNode): Node {
  const addresses = (status.addresses ?? []).filter(({ type }) => type.endsWith('IP'));
  const podPrefixes = [...new Set([...(spec.podCIDR ? [spec.podCIDR] : []), ...(spec.podCIDRs ?? [])])];
  return {
    name: metadata.name,
    addresses: canonicals(addresses.map(({ address }) => address)),
    podPrefixes,
    gateways: canonicals([
      ...podPrefixes.flatMap(beginningOf),
      ...Object.entries(metadata.annotations ?? {}).flatMap(([key, value]) => (NOTED.test(key) ? value : [])),
    ]),
  };
}

/** Where network plugins note the address that a node has among pods: Calico's tunnels, Cilium's own interface. */
const NOTED =
  /^(projectcalico\.org\/IPv[46](IPIP|VXLAN|Wireguard)\w*Addr|(io\.cilium\.network\.|network\.cilium\.io\/)ipv[46]-cilium-host)$/;

/**
 * The first two addresses of a node's pods, which are the node's own where pods are on a bridge or on cables, or behind
 * Flannel's tunnels: what a pod sees of those whose addresses the node hides (kube-proxy's masquerading). Where one is a
 * pod's, that pod goes first.
 */
function beginningOf(prefix: string): string[] {
  if (!ipaddr.isValidCIDR(prefix)) return [];
  const [address] = ipaddr.parseCIDR(prefix);
  const network = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  const first = network.networkAddressFromCIDR(prefix);
  const bytes = first.toByteArray();
  return [first, ipaddr.fromByteArray([...bytes.slice(0, -1), bytes.at(-1)! + 1])].map(String);
}

export const controllerOf =
  (kind: string) =>
  ({ metadata }: { readonly metadata: Metadata }): Controller => ({
    kind,
    uid: metadata.uid ?? '',
    owner: ownerOf(metadata),
  });

function ownerOf({ ownerReferences = [] }: Metadata): Owner | undefined {
  const owner = ownerReferences.find(({ controller }) => controller);
  return owner && { kind: owner.kind, name: owner.name, uid: owner.uid };
}

function attributesOf({ annotations = {} }: Metadata): Readonly<Record<string, string>> {
  const ours = Object.entries(annotations).filter(([key]) => key.startsWith(ATTRIBUTE));
  return Object.fromEntries(ours.map(([key, value]) => [key.slice(ATTRIBUTE.length), value]));
}
