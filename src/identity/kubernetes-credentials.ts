import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { MeshtapError, type MeshtapErrorOptions } from '../errors.js';

/** How to reach an API server and who to be there. */
export interface Cluster {
  readonly server: URL;
  /** What `node:tls` is given. */
  readonly tls: {
    readonly ca?: Buffer;
    readonly cert?: Buffer;
    readonly key?: Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** The bearer token, as it is now. `refused`: the one given before was not accepted. Throws IDENTITY_FAILED. */
  token(refused?: boolean): string | undefined;
}

/** Where Kubernetes puts a pod's credentials (kubernetes.io, "Accessing the API from within a Pod"). */
const IN_CLUSTER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** How long a token is used before its file is looked at again, milliseconds. The kubelet changes it well in advance. */
const TOKEN_FRESH = 10_000;

/**
 * The credentials of the pod that this process runs in. Throws IDENTITY_FAILED where it runs in none.
 *
 * `folder` is for tests.
 */
export function inCluster(environment = process.env, folder = IN_CLUSTER): Cluster {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = environment;
  if (!host)
    throw new MeshtapError(
      'IDENTITY_FAILED',
      'this process is in no pod: KUBERNETES_SERVICE_HOST is not set',
      {
        hint: 'Outside of a pod name a kubeconfig file: identity.kubernetes.kubeconfig',
      },
    );
  return {
    server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    tls: { ca: read(`${folder}/ca.crt`) },
    token: tokenFile(`${folder}/token`),
  };
}

const text = z.string().min(1).nullish();
const data = z.base64().nullish();

/** What is used of a kubeconfig (kubernetes.io, reference "kubeconfig (v1)"). */
const kubeconfig = z.object({
  'current-context': text,
  contexts: z
    .array(z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: text }) }))
    .nullish(),
  clusters: z
    .array(
      z.object({
        name: z.string(),
        cluster: z.object({
          server: z.url({ protocol: /^https?$/ }),
          'certificate-authority': text,
          'certificate-authority-data': data,
          'insecure-skip-tls-verify': z.boolean().nullish(),
          'tls-server-name': text,
        }),
      }),
    )
    .nullish(),
  users: z
    .array(
      z.object({
        name: z.string(),
        user: z.object({
          token: text,
          tokenFile: text,
          'client-certificate': text,
          'client-certificate-data': data,
          'client-key': text,
          'client-key-data': data,
          exec: z.unknown().optional(),
          'auth-provider': z.unknown().optional(),
        }),
      }),
    )
    .nullish(),
});

/**
 * The credentials of a kubeconfig file: tokens and client certificates, in the file or in files it names. Throws
 * IDENTITY_FAILED for a file that can not be read or used, such as one that has a program make credentials.
 */
export function fromKubeconfig(file: string, context?: string): Cluster {
  const { data: config, error } = kubeconfig.safeParse(parseFile(file));
  if (!config) {
    const [issue] = error.issues;
    throw unusable(file, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const pick = <T extends { name: string }>(kind: string, list: T[] | null | undefined, name: string): T => {
    const found = list?.find((each) => each.name === name);
    if (!found) throw unusable(file, `there is no ${kind} ${JSON.stringify(name)}`);
    return found;
  };
  const names = pick('context', config.contexts, context ?? config['current-context'] ?? '').context;
  const { cluster } = pick('cluster', config.clusters, names.cluster);
  const user = names.user ? pick('user', config.users, names.user).user : undefined;
  if (user?.exec || user?.['auth-provider'])
    throw unusable(file, `the user ${JSON.stringify(names.user)} gets its credentials from a program`, {
      hint: 'Make a ServiceAccount for meshtap and use its token (deploy/kubernetes.yaml)',
    });

  // Relative paths are relative to the file.
  const near = (path: string) => resolve(dirname(file), path);
  const bytes = (inline: string | null | undefined, path: string | null | undefined) => {
    if (inline) return Buffer.from(inline, 'base64');
    return path ? read(near(path)) : undefined;
  };
  const ca = bytes(cluster['certificate-authority-data'], cluster['certificate-authority']);
  const cert = bytes(user?.['client-certificate-data'], user?.['client-certificate']);
  const key = bytes(user?.['client-key-data'], user?.['client-key']);
  return {
    server: new URL(cluster.server),
    tls: {
      ...(ca && { ca }),
      ...(cert && { cert }),
      ...(key && { key }),
      ...(cluster['tls-server-name'] && { servername: cluster['tls-server-name'] }),
      ...(cluster['insecure-skip-tls-verify'] && { rejectUnauthorized: false }),
    },
    token: user?.tokenFile ? tokenFile(near(user.tokenFile)) : () => user?.token ?? undefined,
  };
}

function parseFile(file: string): unknown {
  try {
    return parse(read(file).toString());
  } catch (cause) {
    if (cause instanceof MeshtapError) throw cause;
    throw unusable(file, 'it is not YAML', { cause });
  }
}

/** A token that somebody replaces before it expires. What was read last is kept where the file is gone for a moment. */
function tokenFile(file: string): Cluster['token'] {
  let token: string | undefined;
  let modified = -1;
  let lookedAt = Number.NEGATIVE_INFINITY;
  return (refused = false) => {
    const now = performance.now();
    if (!refused && now - lookedAt < TOKEN_FRESH) return token;
    lookedAt = now;
    const stat = statSync(file, { throwIfNoEntry: false });
    if (token === undefined || refused || (stat && stat.mtimeMs !== modified)) {
      try {
        token = read(file).toString().trim();
        modified = stat?.mtimeMs ?? -1;
      } catch (error) {
        if (token === undefined) throw error;
      }
    }
    return token;
  };
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new MeshtapError('IDENTITY_FAILED', `${file} can not be read`, { cause });
  }
}

function unusable(file: string, why: string, options: MeshtapErrorOptions = {}): MeshtapError {
  return new MeshtapError('IDENTITY_FAILED', `${file} is no kubeconfig that can be used: ${why}`, options);
}
