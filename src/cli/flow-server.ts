import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import type { Agent } from '../agent.js';
import type { Config } from '../config/schema.js';
import { MeshtapError } from '../errors.js';
import type { ObserverServer, ServerTls } from '../flows/observer-server.js';
import { VERSION } from '../metrics/version.js';
import { flowsOf } from './runtime-files.js';

/** Serves flows. Rejects with PORT_IN_USE or FLOWS_FAILED if it can not be where it was told to be. */
export async function flowServer(
  { flows: hub }: Agent,
  config: Config,
  name: string,
  log: Logger,
): Promise<ObserverServer> {
  const { server } = config.flows;
  const { serveObserver } = await import('../flows/observer-server.js');
  const socket = runtimeFile(flowsOf(name), log);
  return serveObserver({
    hub,
    ...(socket !== undefined && { socket }),
    ...(server && { tcp: { ...server.listen, tls: server.tls && serverTls(server.tls) } }),
    version: VERSION,
    log,
  });
}

/** A path in /run, or in this user's part of it; undefined where there is no such place. */
function runtimeFile(path: string, log: Logger): string | undefined {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return path;
  } catch (error) {
    log.warn({ err: error }, 'meshtap observe will not find this agent');
    return undefined;
  }
}

function serverTls({
  certFile,
  keyFile,
  clientCaFile,
}: NonNullable<NonNullable<Config['flows']['server']>['tls']>): ServerTls {
  const read = (key: string, file: string) => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new MeshtapError('CONFIG_INVALID', `flows.server.tls.${key}: ${file} can not be read`, { cause });
    }
  };
  return {
    cert: read('certFile', certFile),
    key: read('keyFile', keyFile),
    clientCa: clientCaFile === undefined ? undefined : read('clientCaFile', clientCaFile),
  };
}
