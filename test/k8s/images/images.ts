import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAUSE_IMAGE } from '../node/components.js';
import { type Image, Layer, saveImages } from '../node/images.js';

const root = join(import.meta.dirname, '../../..');
const here = (name: string) => join(import.meta.dirname, name);

/** Everything that has a shell. */
const TOOLS = ['sh', 'sleep', 'cat', 'env', 'curl', 'ab', 'nginx'].map(which);

/** The sandboxes', the tools', and the four services' of bookinfo under the names that the article's manifest has. */
export function saveBookinfo(archive: string): void {
  using base = new Layer();
  base.addPrograms(process.execPath, ...TOOLS).addFile('/etc/nsswitch.conf', 'hosts: files dns\n');
  base.copy(here('bookinfo.js'), '/srv/bookinfo.mjs').copy(here('ratings.conf'), '/srv/ratings.conf');
  base.addFile('/var/log/nginx/error.log', ''); // it is opened before the configuration is read
  const image = (name: string, ...entrypoint: string[]): Image => ({
    names: [name],
    layers: [base],
    entrypoint,
  });
  const service = (name: string, ...entrypoint: string[]) =>
    image(`docker.io/istio/examples-bookinfo-${name}-v1:1.17.0`, ...entrypoint);
  saveImages(archive, [
    image(PAUSE_IMAGE, 'sleep', 'infinity'),
    image('localhost/tools:1'),
    ...['productpage', 'details', 'reviews'].map((name) =>
      service(name, process.execPath, '/srv/bookinfo.mjs', name),
    ),
    service('ratings', 'nginx', '-c', '/srv/ratings.conf'),
  ]);
}

/** The agent as deploy/Containerfile makes it: Node, libbpf, the package as it would be published, what it depends on. */
export function saveAgent(archive: string, name: string): void {
  const work = mkdtempSync(join(tmpdir(), 'meshtap-package-'));
  try {
    using base = new Layer();
    using agent = new Layer();
    base.addPrograms(process.execPath, library('libbpf.so.1'));
    npm('pack', '--silent', '--pack-destination', work);
    execFileSync('tar', ['-C', work, '-xzf', join(work, readdirSync(work)[0]!)]);
    const modules = '/opt/meshtap/node_modules';
    agent.copy(join(work, 'package'), join(modules, 'meshtap'));
    for (const name of runtimeDependencies())
      agent.copy(join(root, 'node_modules', name), join(modules, name));
    const entrypoint = [process.execPath, join(modules, 'meshtap/dist/cli/main.js')];
    saveImages(archive, [{ names: [name], layers: [base, agent], entrypoint }]);
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** What an install of the package brings, peers too; what lies inside of another comes with it. */
function runtimeDependencies(): Set<string> {
  const { peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const paths = npm('ls', '--omit=dev', '--all', '--parseable').split('\n');
  const [, ...names] = paths.map((path) => path.split('/node_modules/')[1]);
  return new Set([...Object.keys(peerDependencies), ...names.filter((name) => name !== undefined)]);
}

function npm(...args: string[]): string {
  return execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

function which(program: string): string {
  return execFileSync('sh', ['-c', 'command -v "$0"', program], { encoding: 'utf8' }).trim();
}

/** Where the dynamic linker finds a library. */
function library(name: string): string {
  const cache = execFileSync('ldconfig', ['-p'], { encoding: 'utf8' });
  const line = cache.split('\n').find((line) => line.startsWith(`\t${name} (libc6,x86-64)`));
  if (!line) throw new Error(`no ${name} on this machine`);
  return line.slice(line.indexOf(' => ') + 4);
}
