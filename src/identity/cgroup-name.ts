/**
 * From the path of a cgroup to a name. Paths are as in `/proc/PID/cgroup`: from the root of the hierarchy, with a
 * leading slash. Recorded layouts are in `test/fixtures/cgroup-paths.json`.
 *
 * @module
 */
import type { Identity } from './identity.js';

/** Characters of a container id that people and tools show. */
const SHORT_ID = 12;

/**
 * How runtimes name the cgroup of a container, id first in the groups. Plain ids are Docker's and the kubelet's with
 * the cgroupfs driver; scopes are theirs with the systemd driver. Monitors (`conmon`) are no container.
 */
const CONTAINER = [
  /^(?:docker|cri-containerd|containerd|nerdctl|crio|libpod|podman|buildkit)-([0-9a-f]{64})(?:\.scope)?$/,
  /^([0-9a-f]{64})$/,
  // The systemd path where containerd was not told of the systemd driver.
  /:cri-containerd:([0-9a-f]{64})$/,
  // ECS: the task's id and the container's number in it.
  /^([0-9a-f]{32})-[0-9]+$/,
];

/** Machines of systemd-nspawn, containers of LXC: their own names. */
const MACHINE = [/^machine-(.+)\.scope$/, /^lxc\.payload\.(.+)$/];

/**
 * The name that a path gives: the container or the systemd unit nearest to the leaf, otherwise the directory's own
 * name. Slices only order units and name nothing, but for a process that sits directly in one.
 */
export function nameOf(path: string): Pick<Identity, 'service' | 'workload'> {
  const parts = path.split('/').filter(Boolean);
  for (const part of parts.toReversed()) {
    const named = container(part) ?? unit(part);
    if (named) return named;
  }
  const leaf = parts.at(-1);
  // Processes that nobody put anywhere: kernel threads, and all of them without systemd.
  if (leaf === undefined) return { service: 'host', workload: 'host' };
  return { service: leaf, workload: leaf };
}

/**
 * A pod as the kubelet names its cgroup. With systemd's driver the name has all that is above, the kubelet's own root
 * too, and `_` for the `-` of the uid, which would be a level (systemd.slice(5)).
 */
const POD =
  /^(?:(?:.+-)?kubepods(?:-burstable|-besteffort)?-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?::|$)/;

/** The uid of the pod that a cgroup belongs to, the innermost; of a static pod the hash of its manifest. */
export function podOfPath(path: string): string | undefined {
  const found = path
    .split('/')
    .toReversed()
    .map((part) => POD.exec(part)?.[1])
    .find(Boolean);
  return found?.replaceAll('_', '-');
}

/** The full id of the container that a cgroup belongs to, the innermost. */
export function containerOfPath(path: string): string | undefined {
  for (const part of path.split('/').toReversed())
    for (const pattern of CONTAINER) {
      const id = pattern.exec(part)?.[1];
      if (id) return id;
    }
  return undefined;
}

function container(part: string) {
  for (const pattern of CONTAINER) {
    const id = pattern.exec(part)?.[1]?.slice(0, SHORT_ID);
    if (id) return { service: `container:${id}`, workload: `container:${id}` };
  }
  for (const pattern of MACHINE) {
    const name = pattern.exec(unescaped(part))?.[1];
    if (name) return { service: name, workload: name };
  }
  return undefined;
}

/** What programs append to the scopes and transient units that they make by the hundred. */
const SERIAL = [
  /^(run)-(?:u\d+|p\d+-i\d+|r[0-9a-f]{32})$/,
  /^(.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  /^(.+)-[0-9a-f]{32,64}$/,
];

/**
 * `nginx.service` is nginx; `postgresql@15-main.service` is postgresql, whose workload tells the instance;
 * `session-3.scope` and `run-u12.service` lose their serial numbers.
 */
function unit(part: string) {
  const [, stem, kind] = /^(.+)\.(service|scope)$/.exec(unescaped(part)) ?? [];
  if (stem === undefined) return undefined;
  const template = stem.replace(/(?<=.)@.*$/, '');
  const serial = kind === 'scope' ? [...SERIAL, /^(.+)-\d+$/] : SERIAL;
  const service = serial.map((pattern) => pattern.exec(template)?.[1]).find(Boolean) ?? template;
  return { service, workload: service === template ? stem : service };
}

/**
 * systemd writes what a unit's name may not hold as `\x2d` (systemd.unit(5), "String Escaping"), and puts `_` before
 * names that the kernel could take for a control file (`cg_escape`).
 */
function unescaped(part: string): string {
  return part.replace(/^_(?=[^/]*\.(service|scope)$)/, '').replace(/(?:\\x[0-9a-f]{2})+/g, (bytes) =>
    Buffer.from(bytes.replaceAll('\\x', ''), 'hex')
      .toString('utf8')
      .replace(/[/\p{C}]/gu, '_'),
  );
}
