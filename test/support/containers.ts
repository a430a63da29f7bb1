/**
 * Containers of the test's own, by engines of the test's own: podman, and containerd as the kubelet uses it.
 *
 * @module
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Client, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/** To its end; the agent under test, in this process, goes on meanwhile. */
async function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { env: { ...process.env, ...env } });
  return stdout;
}

/** One directory of one name in every hierarchy of cgroups, of either version; engines make theirs in all. */
export class CgroupEverywhere implements AsyncDisposable {
  static #made = 0;
  /** From the root of each hierarchy. */
  readonly path = `/meshtap-containers-${process.pid}-${CgroupEverywhere.#made++}`;

  /** Removes it, once the last process has left. */
  async [Symbol.asyncDispose](): Promise<void> {
    const roots = readdirSync('/sys/fs/cgroup').map((name) => join('/sys/fs/cgroup', name));
    for (let attempt = 0; attempt < 500; attempt++) {
      if (['/sys/fs/cgroup', ...roots].every((root) => removed(join(root, this.path)))) return;
      await sleep(20);
    }
    throw new Error(`${this.path} can not be removed: some process is still in it`);
  }
}

function removed(directory: string): boolean {
  if (!existsSync(directory)) return true;
  const below = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  if (!below.map(({ name }) => removed(join(directory, name))).every(Boolean)) return false;
  try {
    rmdirSync(directory);
    return true;
  } catch {
    return false;
  }
}

async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + 50_000; Date.now() < end; await sleep(50)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`${what}: never`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await exit;
}

/** podman with its own storage, and its service at a socket. */
export class Podman implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'meshtap-podman-'));
  readonly #environment = { CONTAINERS_CONF: join(this.#directory, 'containers.conf') };
  #service: ChildProcess | undefined;
  readonly socket = join(this.#directory, 'podman.sock');

  static async start(): Promise<Podman> {
    const podman = new Podman();
    writeFileSync(
      podman.#environment.CONTAINERS_CONF,
      [
        '[containers]',
        'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]',
        '[engine]',
        'runtime = "runc"',
        'cgroup_manager = "cgroupfs"',
        'events_logger = "file"',
      ].join('\n'),
    );
    await podman.#makeImage();
    podman.#service = spawn(
      'podman',
      [...podman.#globals(), 'system', 'service', '--time=0', `unix://${podman.socket}`],
      {
        env: { ...process.env, ...podman.#environment },
        stdio: 'ignore',
      },
    );
    await until('the socket of podman', () => (existsSync(podman.socket) ? true : undefined));
    return podman;
  }

  #globals(): string[] {
    const at = (name: string) => join(this.#directory, name);
    return [
      '--root',
      at('root'),
      '--runroot',
      at('run'),
      '--tmpdir',
      at('tmp'),
      '--storage-driver',
      'overlay',
    ];
  }

  /** Of busybox, which serves and fetches pages. It waits for ever if it is told nothing else. */
  async #makeImage(): Promise<void> {
    const rootfs = join(this.#directory, 'rootfs');
    mkdirSync(join(rootfs, 'bin'), { recursive: true });
    mkdirSync(join(rootfs, 'www'));
    mkdirSync(join(rootfs, 'tmp'));
    copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
    writeFileSync(join(rootfs, 'www/index.html'), 'hello\n');
    const archive = join(this.#directory, 'rootfs.tar');
    await run('tar', ['-C', rootfs, '-cf', archive, '.']);
    await this.run('import', '--change', 'CMD ["/bin/busybox", "sleep", "100000"]', archive, IMAGE);
  }

  /** Runs a command to its end. */
  run(...args: string[]): Promise<string> {
    return run('podman', [...this.#globals(), ...args], this.#environment);
  }

  /** Starts a container. @returns its full id */
  async start(name: string, { cgroup, netns, labels = {}, command }: ContainerOptions): Promise<string> {
    const label = Object.entries(labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]);
    const where = ['--cgroup-parent', cgroup, '--network', `ns:/var/run/netns/${netns}`];
    return (await this.run('run', '--detach', '--name', name, ...where, ...label, IMAGE, ...command)).trim();
  }

  /** The image as a file that other engines can take. */
  async saveImage(): Promise<string> {
    const archive = join(this.#directory, 'image.tar');
    if (!existsSync(archive))
      await this.run('save', '--format', 'docker-archive', '--output', archive, IMAGE);
    return archive;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run('rm', '--all', '--force', '--time', '0');
    if (this.#service) await ended(this.#service);
    // What cleans up behind the last container may still be at it, and mounts the storage on itself.
    await until('the end of podman', async () => {
      const mounts = readFileSync('/proc/mounts', 'utf8')
        .split('\n')
        .map((line) => line.split(' ')[1] ?? '');
      const own = mounts.filter((mount) => mount.startsWith(this.#directory)).toReversed();
      for (const mount of own) await run('umount', ['--lazy', mount]).catch(() => {});
      try {
        rmSync(this.#directory, { recursive: true, force: true });
        return true;
      } catch {
        return undefined;
      }
    });
  }
}

const IMAGE = 'localhost/meshtap-test:1';

export interface ContainerOptions {
  /** The cgroup above it. */
  cgroup: string;
  /** A named network namespace. */
  netns: string;
  labels?: Record<string, string>;
  command: readonly string[];
}

/** What of the Container Runtime Interface is needed to play the kubelet; k8s.io/cri-api, v1. */
const PROTO = `
syntax = "proto3";
package runtime.v1;
service RuntimeService {
  rpc Version(VersionRequest) returns (VersionResponse) {}
  rpc RunPodSandbox(RunPodSandboxRequest) returns (RunPodSandboxResponse) {}
  rpc StopPodSandbox(SandboxId) returns (Empty) {}
  rpc RemovePodSandbox(SandboxId) returns (Empty) {}
  rpc PodSandboxStatus(SandboxId) returns (PodSandboxStatusResponse) {}
  rpc CreateContainer(CreateContainerRequest) returns (ContainerId) {}
  rpc StartContainer(ContainerId) returns (Empty) {}
}
message Empty {}
message VersionRequest { string version = 1; }
message VersionResponse { string version = 1; }
message SandboxId { string pod_sandbox_id = 1; }
message ContainerId { string container_id = 1; }
message PodSandboxMetadata { string name = 1; string uid = 2; string namespace = 3; uint32 attempt = 4; }
message LinuxPodSandboxConfig { string cgroup_parent = 1; }
message PodSandboxConfig {
  PodSandboxMetadata metadata = 1; string hostname = 2; string log_directory = 3;
  map<string, string> labels = 6; map<string, string> annotations = 7; LinuxPodSandboxConfig linux = 8;
}
message RunPodSandboxRequest { PodSandboxConfig config = 1; }
message RunPodSandboxResponse { string pod_sandbox_id = 1; }
message PodSandboxNetworkStatus { string ip = 1; }
message PodSandboxStatus { string id = 1; PodSandboxNetworkStatus network = 5; }
message PodSandboxStatusResponse { PodSandboxStatus status = 1; }
message ContainerMetadata { string name = 1; uint32 attempt = 2; }
message ImageSpec { string image = 1; }
message ContainerConfig {
  ContainerMetadata metadata = 1; ImageSpec image = 2; repeated string command = 3; map<string, string> labels = 9;
}
message CreateContainerRequest { string pod_sandbox_id = 1; ContainerConfig config = 2; PodSandboxConfig sandbox_config = 3; }
`;

interface Sandbox {
  readonly id: string;
  readonly uid: string;
  readonly ip: string;
  readonly config: object;
}

/** containerd in a network namespace of its own, with a bridge between its pods. */
export class Containerd implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'meshtap-containerd-'));
  readonly #netns = `meshtap-containerd-${process.pid}`;
  readonly #sandboxes: Sandbox[] = [];
  #daemon: ChildProcess | undefined;
  #client: Client | undefined;
  readonly socket = join(this.#directory, 'containerd.sock');

  /** `image`: an archive with the image of its pods. */
  static async start(image: string): Promise<Containerd> {
    const containerd = new Containerd();
    await containerd.#start(image);
    return containerd;
  }

  async #start(image: string): Promise<void> {
    const at = (name: string) => join(this.#directory, name);
    mkdirSync(at('cni'));
    writeFileSync(
      at('cni/10-bridge.conflist'),
      JSON.stringify({
        cniVersion: '0.4.0',
        name: 'meshtap',
        plugins: [
          {
            type: 'bridge',
            bridge: 'mesh0',
            isGateway: true,
            ipam: { type: 'host-local', dataDir: at('ipam'), ranges: [[{ subnet: '10.77.1.0/24' }]] },
          },
        ],
      }),
    );
    writeFileSync(
      at('config.toml'),
      `version = 2
root = "${at('root')}"
state = "${at('state')}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "${this.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${at('cni')}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`,
    );
    await run('ip', ['netns', 'add', this.#netns]);
    await run('ip', ['-n', this.#netns, 'link', 'set', 'lo', 'up']);
    const command = ['containerd', '--config', at('config.toml'), '--log-level', 'error'];
    this.#daemon = spawn('nsenter', [`--net=/var/run/netns/${this.#netns}`, ...command], { stdio: 'ignore' });
    writeFileSync(at('cri.proto'), PROTO);
    const definition = loadSync(at('cri.proto'), { keepCase: true, defaults: true });
    // biome-ignore lint/suspicious/noExplicitAny: made from the text above
    const { v1 } = loadPackageDefinition(definition).runtime as any;
    this.#client = new v1.RuntimeService(`unix://${this.socket}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
    });
    await until('an answer of containerd', () => this.#call('Version', {}).catch(() => undefined));
    await run('ctr', ['--address', this.socket, '--namespace', 'k8s.io', 'images', 'import', image]);
  }

  #call<Answer = object>(method: string, request: object): Promise<Answer> {
    // biome-ignore lint/suspicious/noExplicitAny: made from the text above
    const client = this.#client as any;
    return new Promise((resolve, reject) => {
      client[method](request, { deadline: Date.now() + 60_000 }, (error: Error | null, answer: Answer) =>
        error ? reject(error) : resolve(answer),
      );
    });
  }

  /** Starts a pod with one container, labelled and placed as the kubelet does it. */
  async startPod(
    name: string,
    { cgroup, labels = {}, command }: Omit<ContainerOptions, 'netns'>,
  ): Promise<Sandbox> {
    const uid = randomUUID();
    const config = {
      metadata: { name, uid, namespace: 'shop', attempt: 0 },
      hostname: name,
      log_directory: join(this.#directory, 'logs', uid),
      labels: {
        ...labels,
        'io.kubernetes.pod.name': name,
        'io.kubernetes.pod.namespace': 'shop',
        'io.kubernetes.pod.uid': uid,
      },
      linux: { cgroup_parent: `${cgroup}/kubepods/besteffort/pod${uid}` },
    };
    const { pod_sandbox_id: id } = await this.#call<{ pod_sandbox_id: string }>('RunPodSandbox', { config });
    const { status } = await this.#call<{ status: { network: { ip: string } } }>('PodSandboxStatus', {
      pod_sandbox_id: id,
    });
    const sandbox = { id, uid, ip: status.network.ip, config };
    this.#sandboxes.push(sandbox);
    const container = await this.#call('CreateContainer', {
      pod_sandbox_id: id,
      config: { metadata: { name: 'main', attempt: 0 }, image: { image: IMAGE }, command },
      sandbox_config: config,
    });
    await this.#call('StartContainer', container);
    return sandbox;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id } of this.#sandboxes) {
      await this.#call('StopPodSandbox', { pod_sandbox_id: id });
      await this.#call('RemovePodSandbox', { pod_sandbox_id: id });
    }
    this.#client?.close();
    if (this.#daemon) await ended(this.#daemon);
    await run('ip', ['netns', 'del', this.#netns]);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
