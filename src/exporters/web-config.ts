/**
 * TLS, basic auth and headers with the keys of Prometheus' own web configuration file
 * (https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { OutgoingHttpHeaders } from 'node:http';
import { dirname, resolve } from 'node:path';
import type { SecureVersion, TLSSocket, TlsOptions } from 'node:tls';
import bcrypt from 'bcryptjs';
import { parse } from 'yaml';
import { z } from 'zod';
import { explain, MeshtapError } from '../errors.js';

const VERSIONS = { TLS10: 'TLSv1', TLS11: 'TLSv1.1', TLS12: 'TLSv1.2', TLS13: 'TLSv1.3' } as const;
const version = z
  .enum(['TLS10', 'TLS11', 'TLS12', 'TLS13'])
  .transform((name): SecureVersion => VERSIONS[name]);

const BCRYPT = 'a bcrypt hash, as `htpasswd -nBC 10 "" | tr -d ":\\n"` prints it';

/** `http2`, `curve_preferences` and `client_allowed_sans` are not there: a key that does nothing would deceive. */
export const webConfigSchema = z.strictObject({
  tls_server_config: z
    .strictObject({
      cert_file: z.string(),
      key_file: z.string(),
      client_auth_type: z
        .enum([
          'NoClientCert',
          'RequestClientCert',
          'RequireAnyClientCert',
          'VerifyClientCertIfGiven',
          'RequireAndVerifyClientCert',
        ])
        .default('NoClientCert'),
      client_ca_file: z.string().optional(),
      min_version: version.default('TLSv1.2'),
      max_version: version.optional(),
    })
    .refine((tls) => !/Verify/.test(tls.client_auth_type) || tls.client_ca_file !== undefined, {
      error: 'client_auth_type asks to verify clients, so client_ca_file must name whom to trust',
    })
    .optional(),
  basic_auth_users: z
    .record(
      z.string(),
      z.string().regex(/^\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}$/, { error: `expected ${BCRYPT}` }),
    )
    .optional(),
  http_server_config: z
    .strictObject({
      headers: z
        .partialRecord(
          z.enum([
            'Content-Security-Policy',
            'X-Frame-Options',
            'X-Content-Type-Options',
            'X-XSS-Protection',
            'Strict-Transport-Security',
          ]),
          z.string(),
        )
        .default({}),
    })
    .optional(),
});

/** The file as it is written. */
export type WebConfigInput = z.input<typeof webConfigSchema>;

/** How a server is protected. */
export interface WebConfig {
  /** Absent: plain HTTP. */
  readonly tls?: TlsOptions;
  /** Whether a TLS client may speak, where Node's own check is not enough. */
  admits(socket: TLSSocket): boolean;
  /** Whether an `Authorization` header opens the door. */
  authorized(header: string | undefined): Promise<boolean>;
  /** Whether a client needs more than the address: TLS, which proves the server's name, or a password. */
  readonly guarded: boolean;
  /** Sent with every answer. */
  readonly headers: OutgoingHttpHeaders;
}

/** No TLS, no password, no headers. */
export const OPEN: WebConfig = {
  admits: () => true,
  authorized: async () => true,
  guarded: false,
  headers: {},
};

/**
 * Reads the file; paths in it are relative to it. Throws CONFIG_INVALID that names the file and the key.
 * Certificates are read once: a renewed one takes a restart.
 */
export function loadWebConfig(file: string): WebConfig {
  const value: unknown = parsed(file);
  const result = webConfigSchema.safeParse(value ?? {});
  if (!result.success) {
    const [issue] = result.error.issues;
    const key = issue?.path.join('.') || 'the file';
    throw new MeshtapError('CONFIG_INVALID', `${file}: ${key}: ${issue?.message}`);
  }
  const { tls_server_config: tls, basic_auth_users: users, http_server_config: http } = result.data;
  const read = (path: string, key: string): Buffer => {
    try {
      return readFileSync(resolve(dirname(file), path));
    } catch (cause) {
      throw new MeshtapError('CONFIG_INVALID', `${file}: tls_server_config.${key}: can not be read`, {
        cause,
      });
    }
  };
  const auth = tls?.client_auth_type ?? 'NoClientCert';
  return {
    ...(tls && {
      tls: {
        cert: read(tls.cert_file, 'cert_file'),
        key: read(tls.key_file, 'key_file'),
        ...(tls.client_ca_file !== undefined && { ca: read(tls.client_ca_file, 'client_ca_file') }),
        requestCert: auth !== 'NoClientCert',
        rejectUnauthorized: auth === 'RequireAndVerifyClientCert',
        minVersion: tls.min_version,
        ...(tls.max_version && { maxVersion: tls.max_version }),
      },
    }),
    admits: (socket) => {
      const given = Object.keys(socket.getPeerCertificate() ?? {}).length > 0;
      if (auth === 'RequireAnyClientCert') return given;
      if (auth === 'VerifyClientCertIfGiven') return !given || socket.authorized;
      return true;
    },
    authorized: users ? basicAuth(users) : OPEN.authorized,
    guarded: tls !== undefined || users !== undefined,
    headers: http?.headers ?? {},
  };
}

function parsed(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new MeshtapError('CONFIG_INVALID', `${file}: can not be read as YAML: ${explain(cause)}`, {
      cause,
    });
  }
}

/** A hash of no password: unknown users take as long to refuse as known ones. */
const NOBODY = '$2b$10$rZ.YUr85ZbqqDGqlU46lIeybFsVYgwTN4LP8FQvh/qdvZou.3/DIW';

/**
 * A comparison costs tens of milliseconds on purpose, so what was right once is remembered (as a digest), and what
 * has yet to be found out is found out one at a time.
 */
function basicAuth(users: Readonly<Record<string, string>>): WebConfig['authorized'] {
  const right = new Set<string>();
  let turn: Promise<unknown> = Promise.resolve();
  return async (header) => {
    const [, encoded] = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(header ?? '') ?? [];
    if (encoded === undefined) return false;
    const digest = createHash('sha256').update(encoded).digest('base64');
    if (right.has(digest)) return true;
    const [, user = '', password = ''] =
      /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
    const known = Object.hasOwn(users, user) ? users[user] : undefined;
    const compared = turn.then(() =>
      bcrypt.compare(password, (known ?? NOBODY).replace(/^\$2[xy]?\$/, '$2b$')),
    );
    turn = compared.catch(() => undefined);
    const ok = (await compared) && known !== undefined;
    if (ok) right.add(digest);
    return ok;
  };
}
