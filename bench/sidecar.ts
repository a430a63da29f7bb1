import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Certificate } from '../test/support/tls.js';
import { freePort, inCgroup, listens } from './processes.js';

/**
 * A sidecar at either end, as a service mesh has them: the client speaks plain HTTP to the one beside it, that one TLS
 * with certificates on both sides (connections kept) to the one beside the server, and that one plain HTTP to the
 * server. nginx plays both, with one worker each; it does less than a mesh's proxy, so it flatters sidecars.
 */
export class Sidecars implements AsyncDisposable {
  readonly port: number;
  readonly #cgroups: readonly string[];
  readonly #certificate: Certificate;
  readonly #directory: string;
  readonly #children: readonly ChildProcess[];

  private constructor(
    port: number,
    cgroups: readonly string[],
    certificate: Certificate,
    directory: string,
    children: readonly ChildProcess[],
  ) {
    this.port = port;
    this.#cgroups = cgroups;
    this.#certificate = certificate;
    this.#directory = directory;
    this.#children = children;
  }

  /** Between clients and `port`, in cgroups below `cgroup`. */
  static async start(cgroup: string, port: number): Promise<Sidecars> {
    const [outer, inner] = [await freePort(), await freePort()];
    const certificate = new Certificate();
    const directory = mkdtempSync(join(tmpdir(), 'meshtap-sidecars-'));
    const { key, certificate: file } = certificate;
    const proxies = {
      'client-sidecar': `listen 127.0.0.1:${outer};
        location / {
          proxy_pass https://upstream;
          proxy_ssl_certificate ${file}; proxy_ssl_certificate_key ${key};
          proxy_ssl_trusted_certificate ${file}; proxy_ssl_verify on; proxy_ssl_name 127.0.0.1;
        }`,
      'server-sidecar': `listen 127.0.0.1:${inner} ssl;
        ssl_certificate ${file}; ssl_certificate_key ${key};
        ssl_verify_client on; ssl_client_certificate ${file};
        location / { proxy_pass http://upstream; }`,
    };
    const upstreams = { 'client-sidecar': inner, 'server-sidecar': port };
    const cgroups: string[] = [];
    const children: ChildProcess[] = [];
    for (const name of ['server-sidecar', 'client-sidecar'] as const) {
      const own = join(cgroup, name);
      mkdirSync(own);
      cgroups.push(own);
      const path = join(directory, `${name}.conf`);
      writeFileSync(path, configuration(join(directory, name), upstreams[name], proxies[name]));
      children.push(
        spawn(...inCgroup(own, 'nginx', '-c', path, '-e', 'stderr'), {
          stdio: ['ignore', 'inherit', 'inherit'],
        }),
      );
    }
    const sidecars = new Sidecars(outer, cgroups, certificate, directory, children);
    if (!(await listens(`http://127.0.0.1:${outer}/small`))) {
      await sidecars[Symbol.asyncDispose]();
      throw new Error('the sidecars do not answer');
    }
    return sidecars;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children)
      if (child.exitCode === null && child.kill('SIGTERM')) await once(child, 'exit');
    for (const cgroup of this.#cgroups) rmdirSync(cgroup);
    rmSync(this.#directory, { recursive: true, force: true });
    this.#certificate[Symbol.dispose]();
  }
}

const configuration = (place: string, upstream: number, server: string) => `
daemon off;
user root;
worker_processes 1;
pid ${place}.pid;
error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${place}-body;
  proxy_temp_path ${place}-proxy;
  fastcgi_temp_path ${place}-fastcgi;
  uwsgi_temp_path ${place}-uwsgi;
  scgi_temp_path ${place}-scgi;
  upstream upstream { server 127.0.0.1:${upstream}; keepalive 64; keepalive_requests 1000000000; }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  server { ${server} }
}
`;
