/**
 * The parts of Kubernetes, with the least that each must be told. Ports and paths are the usual ones: the node has its
 * own network, /var/lib, /var/log and /run.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { DOMAIN } from './dns.js';
import type { Node } from './node.js';

export const NODE_NAME = 'meshtap-node';
/** The first of the cluster's networks of this size, which the only node gets. */
export const POD_NETWORK = '10.244.0.0/24';
export const SERVICE_NETWORK = '10.96.0.0/16';
/** What every pod of the tests is made of, and the sandboxes that hold their namespaces. */
export const PAUSE_IMAGE = 'localhost/pause:1';

/** Where build.sh leaves the programs. */
const binaries = join(process.env.MESHTAP_K8S_CACHE ?? join(homedir(), '.cache/meshtap-k8s'), 'bin');
export const binary = (name: string): string => join(binaries, name);

/** How to reach the API server as administrator. */
export interface Access {
  readonly server: string;
  readonly token: string;
  /** PEM. */
  readonly ca: string;
  /** The file that tells kubectl the same. */
  readonly kubeconfig: string;
}

/** The key pair of the API server, the key that signs service accounts' tokens, and the administrator's token. */
export function writeAccess({ state, address }: Node): Access {
  const file = (name: string) => join(state, name);
  const names = [
    'DNS:localhost',
    'DNS:kubernetes.default.svc',
    'IP:127.0.0.1',
    'IP:10.96.0.1',
    `IP:${address}`,
  ];
  const certificate = `req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=kube-apiserver -addext subjectAltName=${names}`;
  openssl([...certificate.split(' '), '-keyout', file('tls.key'), '-out', file('tls.crt')]);
  openssl(['genrsa', '-out', file('accounts.key'), '2048']);
  const token = randomBytes(16).toString('hex');
  writeFileSync(file('tokens.csv'), `${token},admin,admin,"system:masters"\n`);

  const server = `https://${address}:6443`;
  const kubeconfig = file('kubeconfig');
  writeJson(kubeconfig, {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority': file('tls.crt') } }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  });
  return { server, token, ca: readFileSync(file('tls.crt'), 'utf8'), kubeconfig };
}

export const etcd = ({ state }: Node) => ['etcd', '--data-dir', join(state, 'etcd'), '--unsafe-no-fsync'];

export const apiServer = ({ state, address }: Node) => [
  binary('kube-apiserver'),
  '--etcd-servers=http://127.0.0.1:2379',
  `--advertise-address=${address}`,
  `--tls-cert-file=${state}/tls.crt`,
  `--tls-private-key-file=${state}/tls.key`,
  `--token-auth-file=${state}/tokens.csv`,
  '--authorization-mode=RBAC',
  '--service-account-issuer=https://kubernetes.default.svc',
  `--service-account-signing-key-file=${state}/accounts.key`,
  `--service-account-key-file=${state}/accounts.key`,
  `--service-cluster-ip-range=${SERVICE_NETWORK}`,
  '--kubelet-preferred-address-types=InternalIP',
  '--allow-privileged',
  '--profiling=false',
];

export const controllerManager = ({ state }: Node) => [
  binary('kube-controller-manager'),
  `--kubeconfig=${state}/kubeconfig`,
  `--service-account-private-key-file=${state}/accounts.key`,
  `--root-ca-file=${state}/tls.crt`,
  '--allocate-node-cidrs',
  '--cluster-cidr=10.244.0.0/16',
  '--leader-elect=false',
];

export const scheduler = ({ state }: Node) => [
  binary('kube-scheduler'),
  `--kubeconfig=${state}/kubeconfig`,
  '--leader-elect=false',
];

/** Each pod on a cable of its own, so that all traffic is routed, as on most clouds; no bridge. */
export function containerd({ state }: Node): string[] {
  const networks = join(state, 'networks');
  mkdirSync(networks, { recursive: true });
  writeJson(join(networks, 'pods.conflist'), {
    cniVersion: '0.4.0',
    name: 'pods',
    plugins: [
      {
        type: 'ptp',
        ipMasq: true, // whoever is outside of the cluster knows the node's address only
        ipam: { type: 'host-local', ranges: [[{ subnet: POD_NETWORK }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
    ],
  });
  const config = join(state, 'containerd.toml');
  writeFileSync(
    config,
    `version = 2
     [plugins."io.containerd.grpc.v1.cri"]
       sandbox_image = "${PAUSE_IMAGE}"
       restrict_oom_score_adj = true
       disable_apparmor = true
       [plugins."io.containerd.grpc.v1.cri".cni]
         bin_dir = "/usr/lib/cni"
         conf_dir = "${networks}"
       [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
         runtime_type = "io.containerd.runc.v2"
    `,
  );
  return ['containerd', '--config', config];
}

export const manifests = ({ state }: Node) => join(state, 'manifests');

export function kubelet(node: Node): string[] {
  const { state, address, cgroups } = node;
  const config = join(state, 'kubelet.json');
  mkdirSync(manifests(node), { recursive: true });
  writeJson(config, {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    cgroupDriver: 'cgroupfs',
    cgroupRoot: cgroups.path,
    clusterDNS: [address],
    clusterDomain: DOMAIN,
    failSwapOn: false,
    // The machine is not ours to fill, and not ours to complain about.
    evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    makeIPTablesUtilChains: true,
    // More than this may be refused to root, too.
    maxOpenFiles: 20_000,
    oomScoreAdj: 0,
    resolvConf: '',
    staticPodPath: manifests(node),
    syncFrequency: '5s', // how soon it tells again what it could not tell the API server
    volumePluginDir: join(state, 'volume-plugins'),
  });
  return [
    binary('kubelet'),
    `--kubeconfig=${state}/kubeconfig`,
    `--config=${config}`,
    `--hostname-override=${NODE_NAME}`,
    `--node-ip=${address}`,
    '--container-runtime=remote',
    '--container-runtime-endpoint=unix:///run/containerd/containerd.sock',
  ];
}

export const proxy = ({ state }: Node) => [
  binary('kube-proxy'),
  `--kubeconfig=${state}/kubeconfig`,
  `--hostname-override=${NODE_NAME}`,
  '--proxy-mode=iptables',
  `--cluster-cidr=${POD_NETWORK}`,
  '--oom-score-adj=0',
  // The size of the table of connections is the whole machine's.
  '--conntrack-max-per-core=0',
  '--conntrack-tcp-timeout-established=0',
  '--conntrack-tcp-timeout-close-wait=0',
];

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, JSON.stringify(value, null, 2));
}
