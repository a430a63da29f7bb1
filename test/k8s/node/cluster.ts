import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Api } from './api.js';
import * as components from './components.js';
import { type Access, writeAccess } from './components.js';
import { serveNames } from './dns.js';
import { Node } from './node.js';

/** What the tests are told, as JSON in the file that MESHTAP_K8S names. */
export interface Facts extends Access {
  /** The node's address, and this machine's as the node sees it. */
  readonly node: string;
  readonly outside: string;
  /** The node's first process, whose namespaces are the node's. */
  readonly pid: number;
  /** Where what lies below /var/lib and /var/log on the node lies here, in `lib` and `log`. */
  readonly state: string;
  /** Where the kubelet finds pods that nobody else tells it of. */
  readonly manifests: string;
  /** The directory of the node's pods, of cgroup version 2; and the same from the root of any hierarchy. */
  readonly cgroup: string;
  readonly cgroupPath: string;
}

/** A node of Kubernetes that runs everything there is of it. */
export class Cluster implements AsyncDisposable {
  readonly node: Node;
  readonly #access: Access;
  readonly #end = new AbortController();
  #names: Promise<void> = Promise.resolve();

  /** @param archives images for containerd. Resolves when a pod could run. */
  static async start(archives: readonly string[], signal: AbortSignal): Promise<Cluster> {
    const node = await Node.start();
    try {
      const cluster = new Cluster(node);
      await cluster.#startAll(archives, signal);
      return cluster;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(node: Node) {
    this.node = node;
    this.#access = writeAccess(node);
  }

  get facts(): Facts {
    const { address, outside, pid, state, cgroups } = this.node;
    const cgroupPath = `${cgroups.path}/kubepods`;
    return {
      ...this.#access,
      node: address,
      outside,
      pid,
      state,
      manifests: components.manifests(this.node),
      cgroup: `${cgroups.v2}/kubepods`,
      cgroupPath,
    };
  }

  async #startAll(archives: readonly string[], signal: AbortSignal): Promise<void> {
    const { node } = this;
    node.start('etcd', components.etcd(node));
    node.start('kube-apiserver', components.apiServer(node));
    node.start('containerd', components.containerd(node));
    await this.#until('containerd', signal, () => node.run(['ctr', 'version']));
    for (const archive of archives) node.run(['ctr', '--namespace=k8s.io', 'images', 'import', archive]);
    await this.#until('the API server', signal, () => this.kubectl('get', '--raw=/readyz'));
    node.start('kube-controller-manager', components.controllerManager(node));
    node.start('kube-scheduler', components.scheduler(node));
    node.start('kubelet', components.kubelet(node));
    node.start('kube-proxy', components.proxy(node));
    const ready = ['wait', '--for=condition=Ready', `node/${components.NODE_NAME}`, '--timeout=1s'];
    await this.#until('the node', signal, () => this.kubectl(...ready));
    this.#names = serveNames(node, new Api(this.#access), this.#end.signal);
    // Pods are refused until it is there.
    await this.#until('the service account', signal, () => this.kubectl('get', 'serviceaccount', 'default'));
  }

  kubectl(...args: readonly string[]): string {
    const access = `--kubeconfig=${this.#access.kubeconfig}`;
    return execFileSync(components.binary('kubectl'), [access, ...args], { encoding: 'utf8', stdio: 'pipe' });
  }

  async #until(what: string, signal: AbortSignal, check: () => void): Promise<void> {
    const started = Date.now();
    for (;;) {
      signal.throwIfAborted();
      try {
        check();
        console.error(`k8s: ${what} is ready (${((Date.now() - started) / 1000).toFixed(1)} s)`);
        return;
      } catch (error) {
        const words = this.node.lastWords();
        if (words) throw new Error(words);
        if (Date.now() - started > 300_000) throw new Error(`${what} is not ready after 5 minutes: ${error}`);
        await sleep(500);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#names;
    await this.node[Symbol.asyncDispose]();
  }
}
